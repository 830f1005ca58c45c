//! What a Localization or Configuration reads: the archive, and the rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::{Error, Halt};
use super::{CONFIG_REF, SOURCE_REF};
use crate::api::{ComponentVersion, ObjectReference, Reason, ResourceReference, Snapshot};
use crate::chain::chain;
use crate::controller::context::Context;
use crate::controller::lookup::{Role, Source};
use crate::controller::origin::{Origin, origin, path_of, selector_of};
use crate::controller::outcome::Waiting;
use crate::controller::resource::identity;
use crate::controller::snapshot::repository_of;
use crate::mutation::ConfigData;
use crate::ocm;
use crate::pipeline::{self, Layer};
use crate::snapshot::tag_for;

/// The archive to change.
pub(super) struct Input {
    pub(super) layer: Layer,
    /// The version of the component that it came from.
    pub(super) version: Option<String>,
}

/// The rules, and the component that they belong to.
pub(super) struct Rules {
    pub(super) data: ConfigData,
    pub(super) component: Arc<ComponentVersion>,
    pub(super) origin: Origin,
    /// The version of the resource that holds them: the result's tag.
    pub(super) version: String,
    pub(super) identity: BTreeMap<String, String>,
}

/// Finds the archive that is to be changed.
pub(super) async fn input(
    context: &Context,
    reference: &ObjectReference,
    own: &str,
) -> Result<Input, Halt> {
    match context.find(reference, own, Role::Source)? {
        Source::Snapshot(snapshot) => {
            let layer = layer_of(context, &snapshot).await?;
            let version = snapshot.spec.identity.get("component-version").cloned();
            Ok(Input { layer, version })
        }
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
                layer,
                version: Some(version),
            })
        }
    }
}

/// The layer of a snapshot; one whose content has gone is being made again.
pub(super) async fn layer_of(context: &Context, snapshot: &Snapshot) -> Result<Layer, Halt> {
    let failed = |source| Halt::from(Error::Substitute { source });
    let digest = snapshot
        .spec
        .digest
        .parse()
        .map_err(|source| failed(pipeline::Error::ParseDigest { source }))?;
    let repository = repository_of(snapshot).map_err(|error| Error::Unusable {
        message: chain(&error),
    })?;
    let found = context
        .pipeline
        .published(&repository, &tag_for(&snapshot.spec.tag), &digest)
        .await
        .map_err(failed)?;
    found.ok_or_else(|| {
        // Its owner makes the content again once the Snapshot was looked at.
        context.queues.snapshots.push(
            snapshot.metadata.namespace.as_deref().unwrap_or_default(),
            snapshot.metadata.name.as_deref().unwrap_or_default(),
        );
        let message = format!(
            "source ref not yet ready: content {digest} of snapshot {repository} is being made again"
        );
        Halt::MadeAgain(Waiting::new(Reason::SourceRefNotReady, message))
    })
}

/// Reads the rules from the resource that `configRef` names.
pub(super) async fn rules(
    context: &Context,
    reference: &ObjectReference,
    own: &str,
) -> Result<Rules, Halt> {
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
        version,
        identity,
    })
}

pub(super) async fn resource(
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
    context.credentials.refused(component, &source);
    Error::GetResource { field, source }
}

pub(super) fn resource_ref<'a>(
    reference: &'a ObjectReference,
    field: &'static str,
) -> Result<&'a ResourceReference, Error> {
    reference
        .resource_ref
        .as_ref()
        .ok_or(Error::MissingResourceRef { field })
}
