//! Localization and Configuration: gather (source, rules, images) -> substitutions (pure) ->
//! publish (store, Snapshot).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;

use super::context::Context;
use super::driver::Reconcile;
use super::lookup::{Role, Source, Unavailable};
use super::origin::{self, Origin, origin, path_of, selector_of};
use super::outcome::{Fault, Outcome, Retry, Waiting, retry_of};
use super::produce;
use super::resource::{forget_refused, identity};
use super::triggers::HasSnapshot;
use crate::api::{
    ComponentVersion, Configuration, Localization, MutationSpec, MutationStatus, ObjectReference,
    Reason, ResourceReference,
};
use crate::edit::Missing;
use crate::mutation::{self, ConfigData, LoadedImages, Substitution, localize, reference_paths};
use crate::oci::Digest;
use crate::ocm;
use crate::pipeline;
use crate::snapshot::{self, Namespace};

/// What can go wrong with a Localization or Configuration.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{message}")]
    Denied { message: String },

    #[error("{message}")]
    Unusable { message: String },

    #[error("{field} names a ComponentVersion and no resource of it: add {field}.resourceRef")]
    MissingResourceRef { field: &'static str },

    #[error("the namespace cannot be used")]
    ParseNamespace { source: snapshot::Error },

    #[error("failed to reach the component of {field}")]
    Origin {
        field: &'static str,
        source: origin::Error,
    },

    #[error("failed to find the resource of {field}")]
    FindResource {
        field: &'static str,
        source: ocm::Error,
    },

    #[error("failed to get the resource of {field}")]
    GetResource {
        field: &'static str,
        source: pipeline::Error,
    },

    #[error("failed to reconcile mutation object: failed to localize resource")]
    Localize { source: mutation::Error },

    #[error("failed to reconcile mutation object")]
    Substitute { source: pipeline::Error },

    #[error("failed to publish the result")]
    Publish { source: produce::Error },
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Denied { .. } => Reason::AccessDenied,
            Self::Unusable { .. }
            | Self::MissingResourceRef { .. }
            | Self::ParseNamespace { .. } => Reason::InvalidSpec,
            Self::Origin {
                field: SOURCE_REF, ..
            }
            | Self::FindResource {
                field: SOURCE_REF, ..
            }
            | Self::GetResource {
                field: SOURCE_REF, ..
            } => Reason::SourceRefNotReadyWithError,
            Self::Origin { .. } | Self::FindResource { .. } | Self::GetResource { .. } => {
                Reason::ConfigRefNotReadyWithError
            }
            Self::Substitute { source } if source.is_not_an_archive() => {
                Reason::SourceNotATarArchive
            }
            Self::Localize { .. } | Self::Substitute { .. } => {
                Reason::ReconcileMutationObjectFailed
            }
            Self::Publish { source } => source.reason(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Denied { .. }
            | Self::Unusable { .. }
            | Self::MissingResourceRef { .. }
            | Self::ParseNamespace { .. } => Retry::OnChange,
            Self::Origin { source, .. } => source.retry(),
            Self::GetResource {
                source: pipeline::Error::Components(source),
                ..
            } => retry_of(source),
            Self::FindResource { .. }
            | Self::GetResource { .. }
            | Self::Localize { .. }
            | Self::Substitute { .. }
            | Self::Publish { .. } => Retry::Backoff,
        }
    }
}

const SOURCE_REF: &str = "spec.sourceRef";
const CONFIG_REF: &str = "spec.configRef";

/// The two kinds that change files by rules.
pub(super) trait Mutates: Reconcile<Status = MutationStatus> + HasSnapshot {
    /// The key of the event's annotation that holds the result's digest.
    const DIGEST_KEY: &'static str;

    /// What they have in common.
    fn spec(&self) -> &MutationSpec;
}

impl Mutates for Localization {
    const DIGEST_KEY: &'static str = "localization_digest";

    fn spec(&self) -> &MutationSpec {
        &self.spec.mutation
    }
}

impl Mutates for Configuration {
    const DIGEST_KEY: &'static str = "configuration_digest";

    fn spec(&self) -> &MutationSpec {
        &self.spec.mutation
    }
}

/// Implements [`Reconcile`] for the two kinds, which differ in name only.
macro_rules! reconcile {
    ($kind:ty, $name:literal) => {
        impl Reconcile for $kind {
            const NAME: &'static str = $name;
            type Status = MutationStatus;
            type Error = Error;

            fn status(&self) -> Option<&MutationStatus> {
                self.status.as_ref()
            }

            fn is_suspended(&self) -> bool {
                self.spec.mutation.suspend.unwrap_or_default()
            }

            fn interval(&self) -> Option<Duration> {
                Some(self.spec.mutation.interval.into())
            }

            async fn reconcile(&self, context: &Context) -> Result<Outcome<MutationStatus>, Error> {
                mutate(self, context).await
            }
        }
    };
}

reconcile!(Localization, "localization");
reconcile!(Configuration, "configuration");

/// The archive to change.
struct Input {
    layer: Digest,
    /// The version of the component that it came from.
    version: Option<String>,
}

/// The rules, and the component that they belong to.
struct Rules {
    data: ConfigData,
    component: Arc<ComponentVersion>,
    origin: Origin,
    identity: BTreeMap<String, String>,
    /// The version of the resource that holds them: the result's tag.
    version: String,
}

/// Why there is no outcome yet.
enum Halt {
    Waiting(Waiting),
    Failed(Error),
}

impl From<Unavailable> for Halt {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::Waiting(waiting) => Self::Waiting(waiting),
            Unavailable::Denied(message) => Self::Failed(Error::Denied { message }),
            Unavailable::Unusable(message) => Self::Failed(Error::Unusable { message }),
        }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

async fn mutate<K: Mutates>(
    object: &K,
    context: &Context,
) -> Result<Outcome<MutationStatus>, Error> {
    match try_mutate(object, context).await {
        Ok(outcome) => Ok(outcome),
        Err(Halt::Waiting(waiting)) => Ok(Outcome::waiting(
            object.status().cloned().unwrap_or_default(),
            waiting,
        )),
        Err(Halt::Failed(error)) => Err(error),
    }
}

async fn try_mutate<K: Mutates>(
    object: &K,
    context: &Context,
) -> Result<Outcome<MutationStatus>, Halt> {
    let spec = object.spec();
    let own = object.namespace().unwrap_or_default();
    let input = input(context, &spec.source_ref, &own).await?;
    let rules = rules(context, spec, &own).await?;
    let substitutions = localization(context, &rules).await?;
    let namespace: Namespace = own
        .parse()
        .map_err(|source| Error::ParseNamespace { source })?;
    let layer = context
        .pipeline
        .substitute(&namespace, &input.layer, substitutions)
        .await
        .map_err(|source| Error::Substitute { source })?;
    let mut identity = rules.identity.clone();
    identity.insert(
        "mutation-object-uuid".to_owned(),
        object.uid().unwrap_or_default(),
    );
    let snapshot_name = produce::publish(context, object, &layer, &identity, &rules.version)
        .await
        .map_err(|source| Error::Publish { source })?;
    let status = MutationStatus {
        latest_snapshot_digest: Some(layer.digest.to_string()),
        latest_source_version: input.version,
        latest_config_version: Some(rules.origin.component.descriptor.version.to_string()),
        snapshot_name: Some(snapshot_name),
        ..object.status().cloned().unwrap_or_default()
    };
    Ok(Outcome::ready(status, "Reconciliation success")
        .again_after(spec.interval.into())
        .about(K::DIGEST_KEY, layer.digest.to_string()))
}

/// Finds the archive that is to be changed.
async fn input(context: &Context, reference: &ObjectReference, own: &str) -> Result<Input, Halt> {
    match context.find(reference, own, Role::Source)? {
        Source::Snapshot(snapshot) => Ok(Input {
            layer: snapshot
                .spec
                .digest
                .parse()
                .map_err(|source| Error::Substitute {
                    source: pipeline::Error::ParseDigest { source },
                })?,
            version: snapshot.spec.identity.get("component-version").cloned(),
        }),
        Source::Component(component) => {
            let wanted = resource_ref(reference, SOURCE_REF)?;
            let (origin, resource) = resource(context, &component, wanted, SOURCE_REF).await?;
            let layer = context
                .pipeline
                .resource(&origin.place, &origin.component, &resource)
                .await
                .map_err(|source| failed_to_get(context, &component, SOURCE_REF, source))?;
            let version = origin.component.descriptor.version.to_string();
            Ok(Input {
                layer: layer.digest,
                version: Some(version),
            })
        }
    }
}

/// Reads the rules from the resource that `configRef` names.
async fn rules(context: &Context, spec: &MutationSpec, own: &str) -> Result<Rules, Halt> {
    let reference = spec.config_ref.as_ref().ok_or_else(|| Error::Unusable {
        message: "spec.configRef is missing: name the ComponentVersion and the resource that hold \
                  the rules"
            .to_owned(),
    })?;
    let Source::Component(component) = context.find(reference, own, Role::Config)? else {
        let message = format!(
            "spec.configRef names a {}: rules are read from a resource of a ComponentVersion",
            reference.kind
        );
        return Err(Error::Unusable { message }.into());
    };
    let wanted = resource_ref(reference, CONFIG_REF)?;
    let (origin, resource) = resource(context, &component, wanted, CONFIG_REF).await?;
    let data = context
        .pipeline
        .config_data(&origin.place, &origin.component, &resource)
        .await
        .map_err(|source| failed_to_get(context, &component, CONFIG_REF, source))?;
    let asked = wanted.version.clone().filter(|version| !version.is_empty());
    let version = asked.unwrap_or_else(|| resource.version.clone());
    let identity = identity(wanted, &origin, &version);
    Ok(Rules {
        data,
        component,
        origin,
        identity,
        version,
    })
}

/// What the rules for images write, as the component says now where its images are.
async fn localization(context: &Context, rules: &Rules) -> Result<Vec<Substitution>, Error> {
    let mut components = BTreeMap::new();
    for path in reference_paths(&rules.data.localization) {
        let full: Vec<_> = rules.origin.path.iter().chain(&path).cloned().collect();
        let below = origin(context, &rules.component, &full)
            .await
            .map_err(|source| Error::Origin {
                field: CONFIG_REF,
                source,
            })?;
        components.insert(path, below.component);
    }
    let missing = if context.settings.lenient_localization {
        Missing::Create
    } else {
        Missing::Refuse
    };
    let images = LoadedImages {
        components: &components,
        reference: |component: &_, resource: &_| {
            let pins = context.settings.pin_images;
            pins.reference(component, resource, rules.origin.place.signed_only)
        },
    };
    localize(&rules.data.localization, &images, missing)
        .map_err(|source| Error::Localize { source })
}

async fn resource(
    context: &Context,
    component: &ComponentVersion,
    wanted: &ResourceReference,
    field: &'static str,
) -> Result<(Origin, ocm::Resource), Error> {
    let origin = origin(context, component, &path_of(wanted))
        .await
        .map_err(|source| Error::Origin { field, source })?;
    let found = origin
        .component
        .descriptor
        .find_resource(&selector_of(wanted))
        .map_err(|source| Error::FindResource { field, source })?;
    let resource = found.resource.clone();
    Ok((origin, resource))
}

fn failed_to_get(
    context: &Context,
    component: &ComponentVersion,
    field: &'static str,
    source: pipeline::Error,
) -> Error {
    forget_refused(context, component, &source);
    Error::GetResource { field, source }
}

fn resource_ref<'a>(
    reference: &'a ObjectReference,
    field: &'static str,
) -> Result<&'a ResourceReference, Error> {
    reference
        .resource_ref
        .as_ref()
        .ok_or(Error::MissingResourceRef { field })
}
