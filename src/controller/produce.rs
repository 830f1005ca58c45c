//! Publishing a result: image in the store, Snapshot object in the cluster.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::{Resource, ResourceExt as _};
use serde_json::json;

use super::FIELD_MANAGER;
use super::apply::{self, Creation, controller_reference};
use super::context::Context;
use super::lookup::get;
use super::triggers::{HasSnapshot, content_is_missing};
use crate::api::{Reason, Snapshot};
use crate::ocm::snapshot_name;
use crate::pipeline::{self, Layer};
use crate::snapshot::{self, Repository, tag_for};

/// Why a result cannot be published.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to name the snapshot's repository")]
    NameRepository { source: snapshot::Error },

    #[error("failed to publish the result")]
    Publish { source: pipeline::Error },

    #[error("failed to write Snapshot {name}")]
    WriteSnapshot { name: String, source: apply::Error },
}

impl Error {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::NameRepository { .. } => Reason::InvalidSpec,
            Self::Publish { .. } => Reason::StorageOperationFailed,
            Self::WriteSnapshot { source, .. } => {
                source.reason(Reason::CreateOrUpdateSnapshotFailed)
            }
        }
    }
}

/// The identity key by which a chart's tag can be set.
const CHART_VERSION: &str = "chartVersion";

/// Publishes `layer` as the result of `owner`; gives the name of its Snapshot. A chart is tagged by
/// its own version, which is where Helm and Flux look for it, and everything else by `version`.
pub(super) async fn publish<K>(
    context: &Context,
    owner: &K,
    layer: &Layer,
    identity: &BTreeMap<String, String>,
    version: &str,
) -> Result<String, Error>
where
    K: Resource<DynamicType = ()> + HasSnapshot,
{
    let namespace = owner.namespace().unwrap_or_default();
    let uid = owner.uid().unwrap_or_default();
    // A name that was given once is kept for life: the Go ocm-controller's were random.
    let name = owner
        .snapshot_name()
        .map_or_else(|| snapshot_name(&owner.name_any(), &uid), str::to_owned);
    let repository =
        Repository::new(&namespace, &name).map_err(|source| Error::NameRepository { source })?;
    let publish = |source| Error::Publish { source };
    let chart_version = context.pipeline.chart_version(layer).await;
    let tag = match (chart_version.map_err(publish)?, identity.get(CHART_VERSION)) {
        (Some(_), Some(said)) => said.clone(),
        (Some(own), None) => own,
        (None, _) => version.to_owned(),
    };
    context
        .pipeline
        .publish(repository, tag_for(&tag), layer, uid)
        .await
        .map_err(publish)?;
    let kind = ApiResource::erase::<Snapshot>(&());
    let mut object = DynamicObject::new(&name, &kind).data(json!({"spec": {
        "identity": identity,
        "digest": layer.digest,
        "tag": tag,
    }}));
    object.metadata = ObjectMeta {
        owner_references: Some(vec![controller_reference(owner)]),
        namespace: Some(namespace.clone()),
        labels: context.settings.selection.inherited(owner),
        ..object.metadata
    };
    let seen = get(&context.caches.snapshots, &namespace, &name);
    let meta = seen.as_ref().map(|seen| &seen.metadata);
    context
        .applier
        .apply(&kind, &object, FIELD_MANAGER, Creation::Apply, meta)
        .await
        .map_err(|source| Error::WriteSnapshot {
            name: name.clone(),
            source,
        })?;
    // Where only the content was missing the object is the same as before, and its watch is silent.
    if seen.is_some_and(|seen| content_is_missing(&seen)) {
        context.queues.snapshots.push(&namespace, &name);
    }
    Ok(name)
}
