//! Who looks again when something changes: the queues of the controllers, and what fills them.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::{Resource, ResourceExt as _};
use serde_json::Value;

use super::context::Context;
use super::driver::Reconcile;
use super::informer::{Change, Listener};
use super::lookup::names;
use super::mutation::artifact_of;
use super::queue::Queue;
use super::tenant::{self, PULL_SECRET};
use crate::api::{
    ComponentDescriptor, ComponentVersion, Configuration, FluxDeployer, Localization, MutationSpec,
    MutationStatus, OcmResource, RECONCILE_REQUEST, Reason, Snapshot, ValuesFrom, is_ready,
};

/// The queues of all controllers.
#[derive(Clone)]
pub(super) struct Queues {
    pub(super) component_versions: Queue<ComponentVersion>,
    pub(super) resources: Queue<OcmResource>,
    pub(super) localizations: Queue<Localization>,
    pub(super) configurations: Queue<Configuration>,
    pub(super) snapshots: Queue<Snapshot>,
    pub(super) flux_deployers: Queue<FluxDeployer>,
}

impl Queues {
    /// Has the owners of a Snapshot make its content again.
    pub(super) fn make_again(&self, snapshot: &ObjectMeta) {
        let namespace = snapshot.namespace.as_deref().unwrap_or_default();
        for name in owners(snapshot, "Resource") {
            self.resources.push(namespace, name);
        }
        for name in owners(snapshot, "Localization") {
            self.localizations.push(namespace, name);
        }
        for name in owners(snapshot, "Configuration") {
            self.configurations.push(namespace, name);
        }
    }
}

/// What fills the queues: dependents are found by what the watches show.
#[derive(Clone)]
pub(super) struct Triggers {
    pub(super) context: Arc<Context>,
    pub(super) queues: Queues,
}

impl Triggers {
    /// Wakes `queue` for an object's own changes, but not for those of its status.
    pub(super) fn own<K: Reconcile>(queue: &Queue<K>) -> Listener<K> {
        let queue = queue.clone();
        Listener {
            fingerprint: |object| fingerprint(&wishes(object.meta())),
            notify: Box::new(move |object, _| {
                queue.push(&object.namespace().unwrap_or_default(), &object.name_any());
            }),
        }
    }

    /// Wakes those who read a component version.
    pub(super) fn component_version(&self) -> Listener<ComponentVersion> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| {
                let status = object.status.as_ref();
                fingerprint(&(
                    status.map(|status| (&status.digest, &status.replicated_repository_url)),
                    status.map(|status| format!("{:?}", status.component_descriptor)),
                    status.map(|status| ready_reason(&status.conditions)),
                ))
            },
            notify: Box::new(move |object, _| triggers.readers_of(object)),
        }
    }

    /// Wakes the component versions that a descriptor object belongs to, once it is gone.
    pub(super) fn component_descriptor(&self) -> Listener<PartialObjectMeta<ComponentDescriptor>> {
        let triggers = self.clone();
        let kind = ApiResource::erase::<ComponentDescriptor>(&());
        Listener {
            fingerprint: |_| 0,
            notify: Box::new(move |object, change| {
                if change == Change::Deleted {
                    triggers
                        .context
                        .applier
                        .written()
                        .forget(&kind, object.meta());
                    let namespace = object.namespace().unwrap_or_default();
                    let queue = &triggers.queues.component_versions;
                    owners(object.meta(), "ComponentVersion")
                        .for_each(|name| queue.push(&namespace, name));
                }
            }),
        }
    }

    /// Wakes those who read the result of an object, when it gets one.
    pub(super) fn producer<K: Reconcile + HasSnapshot>(&self) -> Listener<K> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| fingerprint(&(object.snapshot_name(), object.progress())),
            notify: Box::new(move |object, _| triggers.readers_of(object)),
        }
    }

    /// Wakes those who read a snapshot, and its owner where its content has to be made again.
    pub(super) fn snapshot(&self) -> Listener<Snapshot> {
        let triggers = self.clone();
        let resource = ApiResource::erase::<Snapshot>(&());
        Listener {
            fingerprint: |object| {
                let status = object.status.as_ref();
                fingerprint(&(
                    &object.spec.digest,
                    &object.spec.identity,
                    status.map(|status| (&status.digest, &status.manifest_digest, &status.tag)),
                    status.map(|status| (&status.repository_url, is_ready(&status.conditions))),
                ))
            },
            notify: Box::new(move |object, change| {
                let namespace = object.namespace().unwrap_or_default();
                if change == Change::Deleted {
                    triggers
                        .context
                        .applier
                        .written()
                        .forget(&resource, object.meta());
                }
                triggers.readers_of(object);
                for kind in ["Resource", "Localization", "Configuration"] {
                    for name in owners(object.meta(), kind) {
                        triggers.readers(kind, &namespace, name);
                    }
                }
                if change == Change::Deleted || content_is_missing(object) {
                    triggers.queues.make_again(object.meta());
                }
            }),
        }
    }

    /// Wakes the deployer that an object of Flux was written for.
    pub(super) fn flux_object(&self, kind: ApiResource) -> Listener<DynamicObject> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| {
                fingerprint(&(
                    object.metadata.generation,
                    super::flux_deployer::is_ready(object),
                ))
            },
            notify: Box::new(move |object, change| {
                if change == Change::Deleted {
                    triggers
                        .context
                        .applier
                        .written()
                        .forget(&kind, object.meta());
                }
                let namespace = object.namespace().unwrap_or_default();
                let queue = &triggers.queues.flux_deployers;
                owners(object.meta(), "FluxDeployer").for_each(|name| queue.push(&namespace, name));
            }),
        }
    }

    /// Wakes all deployers, when a kind that they write is removed from the cluster or is back.
    pub(super) fn flux_kind(&self) -> Box<dyn Fn() + Send> {
        let (deployers, queue) = (
            self.context.caches.flux_deployers.clone(),
            self.queues.flux_deployers.clone(),
        );
        Box::new(move || queue.push_all(&deployers))
    }

    /// Wakes those who are to own a namespace's Secrets when one of the owners goes, so that the
    /// Secrets do not go with the last of these while others pull.
    pub(super) fn owner_of_tenant_secrets(&self) -> Listener<FluxDeployer> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| fingerprint(&object.metadata.uid),
            notify: Box::new(move |object, change| {
                if change == Change::Applied {
                    return;
                }
                let namespace = object.namespace().unwrap_or_default();
                for name in tenant::heirs(object, &triggers.context) {
                    triggers.queues.flux_deployers.push(&namespace, &name);
                }
            }),
        }
    }

    /// Wakes the deployers that an altered Secret was written for, and where it is gone all those
    /// of its namespace.
    pub(super) fn tenant_secret(&self) -> Listener<Secret> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| {
                let data = object.data.iter().flatten();
                let data: Vec<_> = data.map(|(key, value)| (key, &value.0)).collect();
                fingerprint(&(&object.metadata.uid, &object.type_, data))
            },
            notify: Box::new(move |object, change| {
                let namespace = object.namespace().unwrap_or_default();
                let queue = &triggers.queues.flux_deployers;
                let settings = &triggers.context.settings;
                if let Some(endpoint) = &triggers.context.endpoint
                    && object.name_any() == settings.selection.named(PULL_SECRET)
                {
                    endpoint.see(object, change);
                }
                if change == Change::Applied {
                    return owners(object.meta(), "FluxDeployer")
                        .for_each(|name| queue.push(&namespace, name));
                }
                triggers.context.told.forget(object);
                let deployers = triggers.context.caches.flux_deployers.state();
                deployers
                    .iter()
                    .filter(|deployer| deployer.namespace().as_ref() == Some(&namespace))
                    .for_each(|deployer| queue.push(&namespace, &deployer.name_any()));
            }),
        }
    }

    /// Wakes those who use a Secret that has changed.
    pub(super) fn secret(&self) -> Listener<PartialObjectMeta<Secret>> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| fingerprint(&object.metadata.resource_version),
            notify: Box::new(move |object, _| {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                for component in triggers.context.credentials.changed(&namespace, &name) {
                    triggers
                        .queues
                        .component_versions
                        .push(&namespace, &component);
                    triggers.readers("ComponentVersion", &namespace, &component);
                }
                triggers.configured(|own, values| {
                    own == namespace
                        && values
                            .secret_source
                            .as_ref()
                            .is_some_and(|from| from.source_ref.name == name)
                });
            }),
        }
    }

    /// Wakes those who take values from a ConfigMap.
    pub(super) fn config_map(&self) -> Listener<PartialObjectMeta<ConfigMap>> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| fingerprint(&object.metadata.resource_version),
            notify: Box::new(move |object, _| {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                triggers.configured(|own, values| {
                    own == namespace
                        && values
                            .config_map_source
                            .as_ref()
                            .is_some_and(|from| from.source_ref.name == name)
                });
            }),
        }
    }

    /// Wakes those who take values from a source of Flux, when it has fetched something else.
    pub(super) fn flux_source(&self) -> Listener<DynamicObject> {
        let triggers = self.clone();
        Listener {
            fingerprint: |object| {
                fingerprint(
                    &artifact_of(object)
                        .map(|artifact| artifact.get("digest").map(Value::to_string)),
                )
            },
            notify: Box::new(move |object, _| {
                let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
                let kind = object.types.as_ref().map(|types| types.kind.as_str());
                triggers.configured(|own, values| {
                    values.flux_source.as_ref().is_some_and(|from| {
                        let reference = &from.source_ref;
                        let lies_in = reference.namespace.as_deref().unwrap_or(own);
                        reference.name == name
                            && lies_in == namespace
                            && kind.is_none_or(|kind| kind == reference.kind)
                    })
                });
            }),
        }
    }

    /// Wakes all objects whose values come from where `reads` says, given their namespace.
    fn configured(&self, reads: impl Fn(&str, &ValuesFrom) -> bool) {
        let reads = |own: &str, spec: &MutationSpec| {
            spec.values_from
                .as_ref()
                .is_some_and(|values| reads(own, values))
        };
        for found in self.context.caches.localizations.state() {
            let own = found.namespace().unwrap_or_default();
            if reads(&own, &found.spec.mutation) {
                self.queues.localizations.push(&own, &found.name_any());
            }
        }
        for found in self.context.caches.configurations.state() {
            let own = found.namespace().unwrap_or_default();
            if reads(&own, &found.spec.mutation) {
                self.queues.configurations.push(&own, &found.name_any());
            }
        }
    }

    fn readers_of<K: Resource<DynamicType = ()>>(&self, object: &K) {
        self.readers(
            &K::kind(&()),
            &object.namespace().unwrap_or_default(),
            &object.name_any(),
        );
    }

    /// Wakes all objects with a reference to the one that is named.
    fn readers(&self, kind: &str, namespace: &str, name: &str) {
        let reads = |own: &str, reference: &crate::api::ObjectReference| {
            names(reference, own, kind, namespace, name)
        };
        for found in self.context.caches.resources.state() {
            let own = found.namespace().unwrap_or_default();
            if reads(&own, &found.spec.source_ref) {
                self.queues.resources.push(&own, &found.name_any());
            }
        }
        for found in self.context.caches.localizations.state() {
            let own = found.namespace().unwrap_or_default();
            if references(&found.spec.mutation).any(|reference| reads(&own, reference)) {
                self.queues.localizations.push(&own, &found.name_any());
            }
        }
        for found in self.context.caches.configurations.state() {
            let own = found.namespace().unwrap_or_default();
            if references(&found.spec.mutation).any(|reference| reads(&own, reference)) {
                self.queues.configurations.push(&own, &found.name_any());
            }
        }
        for found in self.context.caches.flux_deployers.state() {
            let own = found.namespace().unwrap_or_default();
            if reads(&own, &found.spec.source_ref) {
                self.queues.flux_deployers.push(&own, &found.name_any());
            }
        }
    }
}

/// All objects of this group that a mutation reads.
fn references(spec: &MutationSpec) -> impl Iterator<Item = &crate::api::ObjectReference> {
    let values = spec
        .values_from
        .as_ref()
        .and_then(|values| values.source_ref.as_ref());
    std::iter::once(&spec.source_ref)
        .chain(&spec.config_ref)
        .chain(values)
}

/// What somebody wants of an object: its spec, a run, its end.
fn wishes(meta: &ObjectMeta) -> impl Hash + '_ {
    (
        &meta.uid,
        meta.generation,
        meta.deletion_timestamp.is_some(),
        meta.annotations
            .as_ref()
            .and_then(|annotations| annotations.get(RECONCILE_REQUEST)),
        meta.finalizers.as_ref(),
    )
}

/// The names of an object's owners of this kind.
pub(super) fn owners<'a>(meta: &'a ObjectMeta, kind: &'a str) -> impl Iterator<Item = &'a str> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners
        .iter()
        .filter(move |owner| owner.kind == kind)
        .map(|owner| owner.name.as_str())
}

/// Whether a Snapshot waits for its content to be made again.
pub(super) fn content_is_missing(snapshot: &Snapshot) -> bool {
    let conditions = snapshot.status.iter().flat_map(|status| &status.conditions);
    conditions
        .into_iter()
        .any(|found| found.reason == Reason::SnapshotContentMissing.as_str())
}

fn ready_reason(conditions: &[Condition]) -> Option<(&str, &str)> {
    let ready = conditions.iter().find(|found| found.type_ == "Ready")?;
    Some((&ready.status, &ready.reason))
}

fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A kind whose result is a snapshot.
pub(super) trait HasSnapshot {
    /// The name of the Snapshot object, once it has one.
    fn snapshot_name(&self) -> Option<&str>;

    /// Which spec was looked at last, and of which versions the result was made.
    fn progress(&self) -> (Option<i64>, Option<&str>, Option<&str>);
}

impl HasSnapshot for OcmResource {
    fn snapshot_name(&self) -> Option<&str> {
        self.status.as_ref()?.snapshot_name.as_deref()
    }

    fn progress(&self) -> (Option<i64>, Option<&str>, Option<&str>) {
        let status = self.status.as_ref();
        (
            status.and_then(|status| status.observed_generation),
            status.and_then(|status| status.last_applied_component_version.as_deref()),
            status.and_then(|status| status.last_applied_resource_version.as_deref()),
        )
    }
}

impl HasSnapshot for Localization {
    fn snapshot_name(&self) -> Option<&str> {
        self.status.as_ref()?.snapshot_name.as_deref()
    }

    fn progress(&self) -> (Option<i64>, Option<&str>, Option<&str>) {
        progress_of(self.status.as_ref())
    }
}

impl HasSnapshot for Configuration {
    fn snapshot_name(&self) -> Option<&str> {
        self.status.as_ref()?.snapshot_name.as_deref()
    }

    fn progress(&self) -> (Option<i64>, Option<&str>, Option<&str>) {
        progress_of(self.status.as_ref())
    }
}

fn progress_of(status: Option<&MutationStatus>) -> (Option<i64>, Option<&str>, Option<&str>) {
    (
        status.and_then(|status| status.observed_generation),
        status.and_then(|status| status.latest_source_version.as_deref()),
        status.and_then(|status| status.latest_config_version.as_deref()),
    )
}
