//! FluxDeployer: hands a snapshot to Flux.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reference::ObjectReference;
use super::schema::{interval, preserved_object};

/// Deploys a snapshot by writing the Flux objects that pull and apply it.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "delivery.ocm.software",
    version = "v1alpha1",
    kind = "FluxDeployer",
    namespaced,
    shortname = "fd",
    category = "ocm",
    status = "FluxDeployerStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.lastAppliedVersion"
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
#[x_kube(validation = Rule::new("!(has(self.kustomizationTemplate) && has(self.helmReleaseTemplate))")
    .message("set kustomizationTemplate or helmReleaseTemplate, not both"))]
#[serde(rename_all = "camelCase")]
pub struct FluxDeployerSpec {
    /// The object whose snapshot is deployed.
    pub source_ref: ObjectReference,

    /// How often Flux checks the source, and this controller what it wrote. Where absent, the
    /// template's interval, else ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "interval")]
    pub interval: Option<Duration>,

    /// The spec of the Kustomization to write (kustomize.toolkit.fluxcd.io/v1), passed through
    /// as it is, but for `sourceRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_object")]
    pub kustomization_template: Option<Map<String, Value>>,

    /// The spec of the HelmRelease to write (helm.toolkit.fluxcd.io/v2), passed through as it
    /// is, but for `chartRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_object")]
    pub helm_release_template: Option<Map<String, Value>>,

    /// Whether this object is ready only when the objects that it wrote are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_ready: Option<bool>,

    /// Whether reconciliation is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// What was written.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FluxDeployerStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// `NAMESPACE/NAME` of the Kustomization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomization: Option<String>,

    /// `NAMESPACE/NAME` of the OCIRepository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci_repository: Option<String>,

    /// `NAMESPACE/NAME` of the HelmRelease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_release: Option<String>,

    /// The tag of the snapshot that was handed to Flux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_applied_version: Option<String>,

    /// The last value of the annotation `reconcile.fluxcd.io/requestedAt` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
