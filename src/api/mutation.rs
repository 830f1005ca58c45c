//! Localization and Configuration: change the files of a source by rules.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reference::{LocalName, ObjectReference, SourceReference};
use super::schema::{interval, preserved_value};

/// Points every image in the manifests of a source at the place where this component's copy of
/// the image is stored.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "delivery.ocm.software",
    version = "v1alpha1",
    kind = "Localization",
    namespaced,
    shortname = "lz",
    category = "ocm",
    status = "MutationStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Source Version",
        type_ = "string",
        json_path = ".status.latestSourceVersion"
    ),
    printcolumn(
        name = "Config Version",
        type_ = "string",
        json_path = ".status.latestConfigVersion"
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
pub struct LocalizationSpec {
    /// What Localization and Configuration have in common.
    #[serde(flatten)]
    pub mutation: MutationSpec,
}

/// Writes the site's settings into the manifests of a source.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "delivery.ocm.software",
    version = "v1alpha1",
    kind = "Configuration",
    namespaced,
    shortname = "cfg",
    category = "ocm",
    status = "MutationStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Source Version",
        type_ = "string",
        json_path = ".status.latestSourceVersion"
    ),
    printcolumn(
        name = "Config Version",
        type_ = "string",
        json_path = ".status.latestConfigVersion"
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
pub struct ConfigurationSpec {
    /// What Localization and Configuration have in common.
    #[serde(flatten)]
    pub mutation: MutationSpec,
}

/// What Localization and Configuration have in common.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutationSpec {
    /// How often the result is checked.
    #[schemars(schema_with = "interval")]
    pub interval: Duration,

    /// The object whose files are changed.
    pub source_ref: ObjectReference,

    /// Where the ConfigData document with the rules is; with kind ComponentVersion, `resourceRef`
    /// names the resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_ref: Option<ObjectReference>,

    /// Configuration values, any JSON value. They go before those of `valuesFrom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_value")]
    pub values: Option<Value>,

    /// Where configuration values come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_from: Option<ValuesFrom>,

    /// A strategic merge of a file of another source with one of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_strategic_merge: Option<Patch>,

    /// Whether reconciliation is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// Where configuration values come from; of several, the first of this order is taken.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// A file in a source of Flux.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux_source: Option<FluxSource>,

    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_source: Option<ConfigMapSource>,

    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_source: Option<SecretSource>,

    /// The content of a resource or snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<ObjectReference>,
}

/// A values file in a source of Flux.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FluxSource {
    /// A GitRepository, OCIRepository or Bucket.
    pub source_ref: SourceReference,

    /// The path of the file inside the source.
    pub path: String,

    /// Where in the file the values are: keys joined by dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

/// Values in a ConfigMap of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// The ConfigMap.
    pub source_ref: LocalName,

    /// The key whose value is a YAML document.
    pub key: String,

    /// Where in the document the values are: keys joined by dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,

    /// Whether the ConfigMap may be missing; the defaults apply then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// Values in a Secret of the same namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// The Secret.
    pub source_ref: LocalName,

    /// The key whose value is a YAML document.
    pub key: String,

    /// Where in the document the values are: keys joined by dots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,

    /// Whether the Secret may be missing; the defaults apply then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optional: Option<bool>,
}

/// A strategic merge: the file of `source` is the base, the file at `target.path` the patch.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Patch {
    /// The base.
    pub source: PatchSource,

    /// The file of the object's own source that is the patch, and is replaced by the result.
    pub target: PatchTarget,
}

/// A file in another source.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatchSource {
    /// A GitRepository, Resource, Localization or Configuration.
    pub source_ref: SourceReference,

    /// The path of the file inside the source.
    pub path: String,
}

/// A file in the object's own source.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PatchTarget {
    /// The path of the file.
    pub path: String,
}

/// What was published.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MutationStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The digest of the published layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_snapshot_digest: Option<String>,

    /// The version of the component that the source came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_source_version: Option<String>,

    /// The version of the component that the rules came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_config_version: Option<String>,

    /// The revision of the patch's source. (The key lacks its last letter in the original.)
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "latestPatchSourceVersio"
    )]
    pub latest_patch_source_version: Option<String>,

    /// Images in the files that no resource of the component covers (of a Localization without
    /// rules), as `FILE:LINE: IMAGE (why)`; the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uncovered_images: Vec<String>,

    /// The Snapshot object that holds the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<String>,

    /// The last value of the annotation `reconcile.fluxcd.io/requestedAt` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
