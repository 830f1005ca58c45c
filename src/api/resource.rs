//! Resource: takes one resource out of a component version.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::reference::ObjectReference;
use super::schema::interval;

/// Takes one resource out of a component version and publishes it as a Snapshot.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "delivery.ocm.software",
    version = "v1alpha1",
    kind = "Resource",
    root = "OcmResource",
    plural = "resources",
    singular = "resource",
    namespaced,
    shortname = "res",
    category = "ocm",
    status = "ResourceStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Source Version",
        type_ = "string",
        json_path = ".status.lastAppliedComponentVersion"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Status",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpec {
    /// The ComponentVersion, and in `resourceRef` which of its resources.
    #[x_kube(validation = ("has(self.resourceRef)", "sourceRef.resourceRef must name a resource of the component"))]
    pub source_ref: ObjectReference,

    /// How often the resource is checked.
    #[schemars(schema_with = "interval")]
    pub interval: Duration,

    /// Whether reconciliation is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What was published.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The version of the resource that was published: the one asked for, else the component's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_resource_version: Option<String>,

    /// The version of the component that it was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_component_version: Option<String>,

    /// The Snapshot object that holds the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<String>,

    /// The digest of the published layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_snapshot_digest: Option<String>,

    /// The last value of the annotation `reconcile.fluxcd.io/requestedAt` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
