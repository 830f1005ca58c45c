//! Resource: gather (component) -> take the resource out -> publish (store, Snapshot).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt as _;

use super::context::Context;
use super::driver::Reconcile;
use super::lookup::{Role, Unavailable};
use super::origin::{self, Origin, origin, path_of, selector_of};
use super::outcome::{Fault, Note, Outcome, Retry, Waiting, retry_of};
use super::produce;
use crate::api::{ComponentVersion, OcmResource, Reason, ResourceReference, ResourceStatus};
use crate::ocm::{self, reference_path};
use crate::pipeline;

/// What can go wrong with a Resource.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("sourceRef.resourceRef is missing: name a resource of the component")]
    MissingResourceRef,

    #[error("{message}")]
    Denied { message: String },

    #[error("{message}")]
    Unusable { message: String },

    #[error("failed to reach the component")]
    Origin { source: origin::Error },

    #[error("failed to get resource from component version {component}")]
    FindResource {
        component: String,
        source: ocm::Error,
    },

    #[error("failed to get resource {resource:?} of component version {component}")]
    GetResource {
        resource: String,
        component: String,
        source: pipeline::Error,
    },

    #[error("failed to publish the resource")]
    Publish { source: produce::Error },
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::MissingResourceRef | Self::Unusable { .. } => Reason::InvalidSpec,
            Self::Denied { .. } => Reason::AccessDenied,
            Self::Origin { source } => source.reason(),
            Self::FindResource { .. } | Self::GetResource { .. } => Reason::GetResourceFailed,
            Self::Publish { source } => source.reason(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::MissingResourceRef | Self::Denied { .. } | Self::Unusable { .. } => {
                Retry::OnChange
            }
            Self::Origin { source } => source.retry(),
            Self::GetResource { source, .. } => retry_of(source),
            Self::FindResource { .. } | Self::Publish { .. } => Retry::Backoff,
        }
    }
}

impl Reconcile for OcmResource {
    const NAME: &'static str = "resource";
    type Status = ResourceStatus;
    type Error = Error;

    fn status(&self) -> Option<&ResourceStatus> {
        self.status.as_ref()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or_default()
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.spec.interval.into())
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome<ResourceStatus>, Error> {
        let wanted = self
            .spec
            .source_ref
            .resource_ref
            .as_ref()
            .ok_or(Error::MissingResourceRef)?;
        let component = match self.gather(context) {
            Ok(component) => component,
            Err(Unavailable::Waiting(waiting)) => {
                let status = self.status.clone().unwrap_or_default();
                return Ok(Outcome::waiting(status, renamed(waiting)));
            }
            Err(Unavailable::Denied(message)) => return Err(Error::Denied { message }),
            Err(Unavailable::Unusable(message)) => return Err(Error::Unusable { message }),
        };
        let origin = origin(context, &component, &path_of(wanted))
            .await
            .map_err(|source| Error::Origin { source })?;
        let found = origin
            .component
            .descriptor
            .find_resource(&selector_of(wanted))
            .map_err(|source| Error::FindResource {
                component: named(&origin),
                source,
            })?;
        let layer = context
            .pipeline
            .resource(&origin.place, &origin.component, found.resource)
            .await
            .map_err(|source| {
                context.credentials.refused(&component, &source);
                let resource = wanted.name.clone();
                Error::GetResource {
                    resource,
                    component: named(&origin),
                    source,
                }
            })?;
        let version = version_of(wanted, &origin);
        let identity = identity(wanted, &origin, &version);
        let snapshot_name = produce::publish(context, self, &layer, &identity, &version)
            .await
            .map_err(|source| Error::Publish { source })?;
        let reconciled = component
            .status
            .as_ref()
            .and_then(|status| status.reconciled_version.clone());
        let message = format!(
            "Applied version: {}",
            reconciled.as_deref().unwrap_or_default()
        );
        let status = ResourceStatus {
            last_applied_resource_version: Some(version.clone()),
            last_applied_component_version: reconciled,
            snapshot_name: Some(snapshot_name),
            latest_snapshot_digest: Some(layer.digest.to_string()),
            ..self.status.clone().unwrap_or_default()
        };
        let notes = other_version(found.other_version, wanted, &found.resource.version);
        Ok(Outcome::ready(status, message)
            .again_after(self.spec.interval.into())
            .noting(notes)
            .about("resource_version", version))
    }
}

impl OcmResource {
    fn gather(&self, context: &Context) -> Result<Arc<ComponentVersion>, Unavailable> {
        let own = self.namespace().unwrap_or_default();
        context.find_component(&self.spec.source_ref, &own, Role::Source)
    }
}

/// The reasons that a Resource gives for what it waits for.
fn renamed(waiting: Waiting) -> Waiting {
    let reason = match waiting.reason {
        Reason::SourceRefNotReadyWithError => Reason::ComponentVersionNotFound,
        _ => Reason::ComponentVersionNotReady,
    };
    Waiting { reason, ..waiting }
}

/// The version that was asked for, else that of the component that has the resource.
fn version_of(wanted: &ResourceReference, origin: &Origin) -> String {
    let asked = wanted.version.clone().filter(|version| !version.is_empty());
    asked.unwrap_or_else(|| origin.component.descriptor.version.to_string())
}

fn named(origin: &Origin) -> String {
    format!(
        "{}:{}",
        origin.component.descriptor.name, origin.component.descriptor.version
    )
}

/// What the snapshot is made from, in the original's keys.
pub(super) fn identity(
    wanted: &ResourceReference,
    origin: &Origin,
    version: &str,
) -> BTreeMap<String, String> {
    let mut identity = BTreeMap::from([
        ("component-name".to_owned(), origin.descriptor_name.clone()),
        (
            "component-version".to_owned(),
            origin.component.descriptor.version.to_string(),
        ),
        ("resource-name".to_owned(), wanted.name.clone()),
        ("resource-version".to_owned(), version.to_owned()),
    ]);
    identity.extend(wanted.extra_identity.clone().unwrap_or_default());
    if !origin.path.is_empty() {
        identity.insert(
            "resource-reference-path".to_owned(),
            reference_path(&origin.path),
        );
    }
    identity
}

fn other_version(is_other: bool, wanted: &ResourceReference, found: &str) -> Vec<Note> {
    let Some(asked) = wanted.version.as_ref().filter(|_| is_other) else {
        return Vec::new();
    };
    let message = format!(
        "resource {:?} has version {found}, not {asked:?} as sourceRef.resourceRef.version says; it \
         is taken all the same",
        wanted.name
    );
    vec![Note {
        reason: Reason::Succeeded,
        message,
    }]
}
