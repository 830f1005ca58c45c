//! FluxDeployer: gather (snapshot) -> Flux objects (pure) -> publish (cluster).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::{ObjectRef, Store as Cache};

use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::apply::{self, Creation, controller_reference};
use super::context::Context;
use super::driver::Reconcile;
use super::endpoint::Endpoint;
use super::lookup::{Role, Source, Unavailable};
use super::outcome::{Fault, Outcome, Retry, Waiting};
use super::snapshot::{pullable, repository_of};
use super::tenant;
use crate::api::{FluxDeployer, FluxDeployerStatus, Reason, Snapshot, flux};
use crate::deploy::{self, FluxObject, Refusal, flux_objects};

/// How often what was written is checked where the deployer names no interval.
const DEFAULT_INTERVAL: Duration = Duration::from_mins(10);

/// What can go wrong with a FluxDeployer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{message}")]
    Denied { message: String },

    #[error("{message}")]
    Unusable { message: String },

    #[error(transparent)]
    Deploy(deploy::Error),

    #[error(transparent)]
    Refused(Refusal),

    #[error("failed to create kustomization sources")]
    WriteKustomization { source: apply::Error },

    #[error("failed to create helm sources")]
    WriteHelmRelease { source: apply::Error },
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Denied { .. } | Self::Refused(_) => Reason::AccessDenied,
            Self::Unusable { .. } | Self::Deploy(_) => Reason::InvalidSpec,
            Self::WriteKustomization { source } => {
                source.reason(Reason::CreateOrUpdateKustomizationFailed)
            }
            Self::WriteHelmRelease { source } => source.reason(Reason::CreateOrUpdateHelmFailed),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Denied { .. } | Self::Unusable { .. } | Self::Deploy(_) | Self::Refused(_) => {
                Retry::OnChange
            }
            Self::WriteKustomization { source } | Self::WriteHelmRelease { source } => {
                source.retry()
            }
        }
    }
}

impl Reconcile for FluxDeployer {
    const NAME: &'static str = "flux_deployer";
    type Status = FluxDeployerStatus;
    type Error = Error;

    fn status(&self) -> Option<&FluxDeployerStatus> {
        self.status.as_ref()
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend.unwrap_or_default()
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.spec.interval.map_or(DEFAULT_INTERVAL, Duration::from))
    }

    async fn reconcile(&self, context: &Context) -> Result<Outcome<FluxDeployerStatus>, Error> {
        let status = self.status.clone().unwrap_or_default();
        let snapshot = match self.gather(context) {
            Ok(snapshot) => snapshot,
            Err(Unavailable::Waiting(waiting)) => return Ok(Outcome::waiting(status, waiting)),
            Err(Unavailable::Denied(message)) => return Err(Error::Denied { message }),
            Err(Unavailable::Unusable(message)) => return Err(Error::Unusable { message }),
        };
        let Some(source) = pullable(&snapshot, context) else {
            let message = format!("snapshot {} cannot be pulled yet", snapshot.name_any());
            return Ok(Outcome::waiting(
                status,
                Waiting::new(Reason::SourceRefNotReady, message),
            ));
        };
        let allowed = context.settings.templates.apply(self);
        let allowed = allowed.map_err(Error::Refused)?;
        let objects = flux_objects(&allowed, &source).map_err(Error::Deploy)?;
        if !objects.is_empty() {
            if let Some(endpoint) = &context.endpoint {
                self.invite(endpoint, &snapshot);
            }
            let told = tenant::tell(self, context).await;
            if let Err(awaited) = told.map_err(|source| self.write_failed(source))? {
                let waiting = Waiting::new(Reason::SourceRefNotReady, awaited);
                return Ok(Outcome::waiting(status, waiting));
            }
        }
        self.publish(context, &objects)
            .await
            .map_err(|source| self.write_failed(source))?;
        let status = self.written(status, &objects, &snapshot);
        if let Some(waiting) = self.still_waits_for(context, &objects) {
            return Ok(Outcome::waiting(status, waiting));
        }
        let message = format!("FluxDeployer '{}' is ready", self.name_any());
        let interval = self.interval().unwrap_or(DEFAULT_INTERVAL);
        Ok(Outcome::ready(status, message).again_after(interval))
    }
}

impl FluxDeployer {
    fn gather(&self, context: &Context) -> Result<Arc<Snapshot>, Unavailable> {
        let own = self.namespace().unwrap_or_default();
        match context.find(&self.spec.source_ref, &own, Role::Source)? {
            Source::Snapshot(snapshot) => Ok(snapshot),
            Source::Component(_) => Err(Unavailable::Unusable(
                "sourceRef names a ComponentVersion: name a Resource, Localization or Configuration, \
                 whose result can be deployed"
                    .to_owned(),
            )),
        }
    }

    /// Lets this namespace pull what lies in another one, where references may go there.
    fn invite(&self, endpoint: &Endpoint, snapshot: &Snapshot) {
        let own = self.namespace().unwrap_or_default();
        let is_elsewhere = snapshot.namespace().as_ref() != Some(&own);
        let repository = is_elsewhere.then(|| repository_of(snapshot).ok()).flatten();
        endpoint.invite(&own, &self.name_any(), repository);
    }

    /// Writes `objects`, and removes those that an earlier template asked for.
    async fn publish(&self, context: &Context, objects: &[FluxObject]) -> Result<(), apply::Error> {
        for FluxObject { kind, object } in objects {
            let mut object = object.clone();
            object.metadata.owner_references = Some(vec![controller_reference(self)]);
            if let Some(labels) = context.settings.selection.inherited(self) {
                object
                    .metadata
                    .labels
                    .get_or_insert_default()
                    .extend(labels);
            }
            let seen = self.seen(context, kind);
            let seen = seen.as_ref().map(|seen| &seen.metadata);
            context
                .applier
                .apply(kind, &object, FIELD_MANAGER, Creation::Exclusive, seen)
                .await?;
        }
        for kind in [
            flux::oci_repository(),
            flux::kustomization(),
            flux::helm_release(),
        ] {
            let is_wanted = objects.iter().any(|found| found.kind == kind);
            let seen = self
                .seen(context, &kind)
                .filter(|seen| self.owns(&seen.metadata));
            if let (false, Some(seen)) = (is_wanted, seen) {
                context.applier.delete(&kind, &seen.metadata).await?;
            }
        }
        Ok(())
    }

    fn owns(&self, meta: &ObjectMeta) -> bool {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        owners
            .iter()
            .any(|owner| Some(&owner.uid) == self.metadata.uid.as_ref())
    }

    /// The object of this deployer's name as the watch shows it.
    fn seen(&self, context: &Context, kind: &ApiResource) -> Option<Arc<DynamicObject>> {
        let namespace = self.namespace().unwrap_or_default();
        let object = ObjectRef::new_with(&self.name_any(), kind.clone()).within(&namespace);
        cache(context, kind).get(&object)
    }

    fn written(
        &self,
        status: FluxDeployerStatus,
        objects: &[FluxObject],
        snapshot: &Snapshot,
    ) -> FluxDeployerStatus {
        let name = format!(
            "{}/{}",
            self.namespace().unwrap_or_default(),
            self.name_any()
        );
        let written = |kind: &ApiResource| {
            objects
                .iter()
                .any(|found| found.kind == *kind)
                .then(|| name.clone())
        };
        FluxDeployerStatus {
            oci_repository: written(&flux::oci_repository()),
            kustomization: written(&flux::kustomization()),
            helm_release: written(&flux::helm_release()),
            last_applied_version: (!objects.is_empty()).then(|| snapshot.spec.tag.clone()),
            ..status
        }
    }

    fn still_waits_for(&self, context: &Context, objects: &[FluxObject]) -> Option<Waiting> {
        if !self.spec.wait_for_ready.unwrap_or_default() {
            return None;
        }
        let late = objects.iter().find(|found| {
            !self.seen(context, &found.kind).is_some_and(|seen| {
                context.applier.is_seen(&found.kind, &seen.metadata) && is_ready(&seen)
            })
        })?;
        let message = format!(
            "waiting for ready condition on created sources: {} {} is not ready",
            late.kind.kind,
            late.object.name_any()
        );
        Some(Waiting::new(Reason::CreatedObjectsNotReady, message))
    }

    fn write_failed(&self, source: apply::Error) -> Error {
        if self.spec.helm_release_template.is_some() {
            Error::WriteHelmRelease { source }
        } else {
            Error::WriteKustomization { source }
        }
    }
}

fn cache<'a>(context: &'a Context, kind: &ApiResource) -> &'a Cache<DynamicObject> {
    match kind.kind.as_str() {
        "OCIRepository" => &context.caches.oci_repositories,
        "Kustomization" => &context.caches.kustomizations,
        _ => &context.caches.helm_releases,
    }
}

/// Whether Flux says that an object of its own is ready in its present form.
pub(super) fn is_ready(object: &DynamicObject) -> bool {
    let Some(status) = object.data.get("status") else {
        return false;
    };
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    let conditions = status.get("conditions").and_then(Value::as_array);
    let is_true = |condition: &Value| {
        condition.get("type").is_some_and(|kind| kind == "Ready")
            && condition
                .get("status")
                .is_some_and(|status| status == "True")
    };
    observed == object.metadata.generation
        && conditions.is_some_and(|found| found.iter().any(is_true))
}

/// Keeps of an object of Flux what [`is_ready`], the reading of values and garbage collection need.
pub(super) fn prune(object: &mut DynamicObject) {
    let status = object
        .data
        .get_mut("status")
        .map(Value::take)
        .unwrap_or_default();
    let artifact = status
        .get("artifact")
        .map(|found| json!({"url": found.get("url"), "digest": found.get("digest")}));
    let deployed = object.data.pointer("/spec/ref/digest").cloned();
    object.data = json!({"spec": {"ref": {"digest": deployed}}, "status": {
        "observedGeneration": status.get("observedGeneration"),
        "conditions": status.get("conditions"),
        "artifact": artifact,
    }});
}
