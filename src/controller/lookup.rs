//! From references to objects: what an object names, as the watches show it.

use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store as Cache};

use super::context::Context;
use super::driver::Reconcile;
use super::outcome::Waiting;
use super::triggers::HasSnapshot;
use crate::api::{
    API_VERSION, ComponentVersion, ObjectReference, Reason, ResourceReference, Snapshot,
    SnapshotStatus,
};

/// How many objects a chain may have.
const MAX_CHAIN: usize = 100;

/// Where a reference stands, for the reasons that tell about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// `sourceRef` or `valuesFrom`.
    Source,
    /// `configRef`.
    Config,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source ref",
            Self::Config => "config ref",
        }
    }

    fn missing(self, message: String) -> Unavailable {
        let reason = match self {
            Self::Source => Reason::SourceRefNotReadyWithError,
            Self::Config => Reason::ConfigRefNotReadyWithError,
        };
        Unavailable::Waiting(Waiting::new(reason, message))
    }

    fn not_ready(self, message: String) -> Unavailable {
        let reason = match self {
            Self::Source => Reason::SourceRefNotReady,
            Self::Config => Reason::ConfigRefNotReady,
        };
        Unavailable::Waiting(Waiting::new(reason, message))
    }
}

/// Why what a reference names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// Not yet: its watch will tell.
    Waiting(Waiting),
    /// Not from here.
    Denied(String),
    /// Never: no object of that kind can be used.
    Unusable(String),
}

/// What a reference leads to.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// A component version, one of whose resources is meant.
    Component(Arc<ComponentVersion>),
    /// The result of another object.
    Snapshot(Arc<Snapshot>),
}

/// The namespace that `reference` leads to from `own`.
pub(super) fn namespace_of<'a>(reference: &'a ObjectReference, own: &'a str) -> &'a str {
    reference
        .namespace
        .as_deref()
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(own)
}

/// Whether `reference`, in an object of the namespace `own`, names the object.
pub(super) fn names(
    reference: &ObjectReference,
    own: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> bool {
    reference.kind == kind && reference.name == name && namespace_of(reference, own) == namespace
}

impl Context {
    /// What `reference`, in an object of the namespace `own`, leads to, if it can be used now.
    pub(super) fn find(
        &self,
        reference: &ObjectReference,
        own: &str,
        role: Role,
    ) -> Result<Source, Unavailable> {
        let namespace = self.permitted_namespace(reference, own)?;
        let api_version = reference
            .api_version
            .as_deref()
            .filter(|version| !version.is_empty());
        if api_version.is_some_and(|version| version != API_VERSION) {
            let message = format!(
                "{} names a {} of {:?}: only kinds of {API_VERSION} can be used here",
                role.name(),
                reference.kind,
                api_version.unwrap_or_default()
            );
            return Err(Unavailable::Unusable(message));
        }
        let name = &reference.name;
        let caches = &self.caches;
        let producer = match reference.kind.as_str() {
            "ComponentVersion" => {
                return self
                    .find_component(reference, own, role)
                    .map(Source::Component);
            }
            "Resource" => producer(&caches.resources, namespace, name),
            "Localization" => producer(&caches.localizations, namespace, name),
            "Configuration" => producer(&caches.configurations, namespace, name),
            "Snapshot" => Producer::Published(name.clone()),
            kind => {
                let message = format!(
                    "{} names kind {kind:?}: use ComponentVersion, Resource, Localization, \
                     Configuration or Snapshot",
                    role.name()
                );
                return Err(Unavailable::Unusable(message));
            }
        };
        let what = format!("{} {namespace}/{name}", reference.kind);
        let not_ready = || {
            role.not_ready(format!(
                "{} not yet ready: {name} ({what} has no result yet)",
                role.name()
            ))
        };
        let snapshot_name = match producer {
            Producer::Missing => return Err(self.missing(role, &what, namespace)),
            Producer::Pending => return Err(not_ready()),
            Producer::Published(snapshot_name) => snapshot_name,
        };
        let snapshot = get(&caches.snapshots, namespace, &snapshot_name).ok_or_else(not_ready)?;
        let status = snapshot.status.as_ref();
        let current = status.is_some_and(|status| {
            is_servable(status) && status.digest.as_ref() == Some(&snapshot.spec.digest)
        });
        if current {
            Ok(Source::Snapshot(snapshot))
        } else {
            Err(not_ready())
        }
    }

    /// Says that what lies in `namespace` is not there, and why it may not be seen from here.
    fn missing(&self, role: Role, what: &str, namespace: &str) -> Unavailable {
        let hint = self.settings.selection.hint(namespace);
        role.missing(format!("{what} does not exist{hint}"))
    }

    /// The ComponentVersion that `reference` names, if it is ready.
    pub(super) fn find_component(
        &self,
        reference: &ObjectReference,
        own: &str,
        role: Role,
    ) -> Result<Arc<ComponentVersion>, Unavailable> {
        let namespace = self.permitted_namespace(reference, own)?;
        let name = &reference.name;
        let found = get(&self.caches.component_versions, namespace, name).ok_or_else(|| {
            let what = format!("ComponentVersion {namespace}/{name}");
            self.missing(role, &what, namespace)
        })?;
        let has_result = found
            .status
            .as_ref()
            .is_some_and(|status| status.component_descriptor.is_some());
        if has_result {
            return Ok(found);
        }
        let why = found
            .status
            .iter()
            .flat_map(|status| &status.conditions)
            .find(|condition| condition.type_ == "Ready" && condition.status == "False")
            .map(|condition| format!(": {}", condition.message))
            .unwrap_or_default();
        Err(role.not_ready(format!(
            "{} not yet ready: {name} (ComponentVersion {namespace}/{name} has no version yet{why})",
            role.name()
        )))
    }

    /// The component that the content of `reference` comes from, and which resource of it: the
    /// chain is followed back to the Resource at its start.
    pub(super) fn source_component(
        &self,
        reference: &ObjectReference,
        own: &str,
    ) -> Result<(Arc<ComponentVersion>, ResourceReference), Unavailable> {
        let (mut reference, mut own) = (reference.clone(), own.to_owned());
        for _ in 0..MAX_CHAIN {
            let namespace = self.permitted_namespace(&reference, &own)?.to_owned();
            let caches = &self.caches;
            let next = match reference.kind.as_str() {
                "ComponentVersion" => {
                    let component = self.find_component(&reference, &own, Role::Source)?;
                    return Ok((component, reference.resource_ref.unwrap_or_default()));
                }
                "Resource" => get(&caches.resources, &namespace, &reference.name)
                    .map(|found| found.spec.source_ref.clone()),
                "Localization" => get(&caches.localizations, &namespace, &reference.name)
                    .map(|found| found.spec.mutation.source_ref.clone()),
                "Configuration" => get(&caches.configurations, &namespace, &reference.name)
                    .map(|found| found.spec.mutation.source_ref.clone()),
                _ => None,
            };
            let what = format!("{} {namespace}/{}", reference.kind, reference.name);
            reference = next.ok_or_else(|| {
                Role::Source.missing(format!("{what} leads to no ComponentVersion"))
            })?;
            own = namespace;
        }
        Err(Unavailable::Unusable(format!(
            "spec.sourceRef leads through more than {MAX_CHAIN} objects: name rules in spec.configRef"
        )))
    }

    /// What of the chain behind `reference` has not yet caught up, if anything: an object that has
    /// not looked at its spec, or whose result is of another version than what it is made of.
    /// Rules of a new version must not meet files of an old one.
    pub(super) fn lag(&self, reference: &ObjectReference, own: &str) -> Option<Waiting> {
        let (mut reference, mut own) = (reference.clone(), own.to_owned());
        for _ in 0..MAX_CHAIN {
            let namespace = namespace_of(&reference, &own).to_owned();
            let caches = &self.caches;
            let name = &reference.name;
            let next = match reference.kind.as_str() {
                "Resource" => {
                    let found = get(&caches.resources, &namespace, name)?;
                    let version = self.reconciled_version(&found.spec.source_ref, &namespace);
                    let (observed, applied, _) = found.progress();
                    let is_current = version.is_none_or(|version| applied == Some(&version));
                    let is_current = is_current && observed == found.metadata.generation;
                    (
                        is_current || found.is_suspended(),
                        found.spec.source_ref.clone(),
                    )
                }
                "Localization" => {
                    let found = get(&caches.localizations, &namespace, name)?;
                    let source = found.spec.mutation.source_ref.clone();
                    (self.has_caught_up(&*found, &source, &namespace), source)
                }
                "Configuration" => {
                    let found = get(&caches.configurations, &namespace, name)?;
                    let source = found.spec.mutation.source_ref.clone();
                    (self.has_caught_up(&*found, &source, &namespace), source)
                }
                _ => return None,
            };
            let (is_current, source) = next;
            if !is_current {
                let what = format!("{} {namespace}/{name}", reference.kind);
                let message = format!("source ref not yet ready: {what} has not caught up yet");
                return Some(Waiting::new(Reason::SourceRefNotReady, message));
            }
            reference = source;
            own = namespace;
        }
        None
    }

    /// Whether the result of a mutation is of its present spec and of its source's version.
    fn has_caught_up<K>(&self, object: &K, source: &ObjectReference, own: &str) -> bool
    where
        K: HasSnapshot + Reconcile,
    {
        let (observed, made_of, _) = object.progress();
        let version = self.version_of(source, own);
        let is_current = observed == object.meta().generation
            && version.is_none_or(|version| made_of == Some(&version));
        // Who suspends an object wants its result as it is.
        is_current || object.is_suspended()
    }

    fn reconciled_version(&self, reference: &ObjectReference, own: &str) -> Option<String> {
        let namespace = namespace_of(reference, own);
        let found = get(&self.caches.component_versions, namespace, &reference.name)?;
        found.status.as_ref()?.reconciled_version.clone()
    }

    /// The version of the component that the content of `reference` is of, where that is known.
    fn version_of(&self, reference: &ObjectReference, own: &str) -> Option<String> {
        let namespace = namespace_of(reference, own);
        let (caches, name) = (&self.caches, &reference.name);
        if reference.kind == "ComponentVersion" {
            // Content of a component further below has that one's version.
            let below = reference
                .resource_ref
                .as_ref()
                .and_then(|found| found.reference_path.as_ref());
            if below.is_some_and(|path| !path.is_empty()) {
                return None;
            }
            return self.reconciled_version(reference, own);
        }
        let snapshot = match reference.kind.as_str() {
            "Resource" => producer(&caches.resources, namespace, name),
            "Localization" => producer(&caches.localizations, namespace, name),
            "Configuration" => producer(&caches.configurations, namespace, name),
            _ => return None,
        };
        let Producer::Published(snapshot) = snapshot else {
            return None;
        };
        let found = get(&caches.snapshots, namespace, &snapshot)?;
        found.spec.identity.get("component-version").cloned()
    }

    fn permitted_namespace<'a>(
        &self,
        reference: &'a ObjectReference,
        own: &'a str,
    ) -> Result<&'a str, Unavailable> {
        let namespace = namespace_of(reference, own);
        if namespace != own && self.settings.no_cross_namespace_refs {
            return Err(Unavailable::Denied(format!(
                "{} {namespace}/{} lies in another namespace than {own:?}: such references are \
                 refused unless the controller runs with --no-cross-namespace-refs=false",
                reference.kind, reference.name
            )));
        }
        Ok(namespace)
    }
}

/// Whether a snapshot can be pulled, whatever else is under way.
fn is_servable(status: &SnapshotStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|found| found.type_ == "Ready" && found.status == "True")
}

/// An object whose result is a snapshot, and whether it has one yet.
enum Producer {
    Missing,
    Pending,
    Published(String),
}

fn producer<K>(cache: &Cache<K>, namespace: &str, name: &str) -> Producer
where
    K: HasSnapshot + kube::Resource<DynamicType = ()> + Clone + 'static,
{
    match get(cache, namespace, name) {
        None => Producer::Missing,
        Some(found) => found.snapshot_name().map_or(Producer::Pending, |snapshot| {
            Producer::Published(snapshot.to_owned())
        }),
    }
}

/// The object of that name in a cache.
pub(super) fn get<K>(cache: &Cache<K>, namespace: &str, name: &str) -> Option<Arc<K>>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    cache.get(&ObjectRef::new(name).within(namespace))
}
