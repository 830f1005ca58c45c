//! How objects name each other and the resources of a component.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::preserved_value;

/// Names an object whose result is used, and for a ComponentVersion, which of its resources.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectReference {
    /// Absent means `delivery.ocm.software/v1alpha1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,

    /// ComponentVersion, Resource, Localization, Configuration or Snapshot.
    #[x_kube(validation = ("self != ''", "a reference needs a kind"))]
    pub kind: String,

    /// The object's name.
    #[x_kube(validation = ("self != ''", "a reference needs a name"))]
    pub name: String,

    /// Absent means the namespace of the object that refers. Another namespace is refused unless
    /// the controller runs with `--no-cross-namespace-refs=false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,

    /// Which resource of the component; needed where the kind is ComponentVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_ref: Option<ResourceReference>,
}

/// Names a resource inside a component version.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceReference {
    /// The resource's name.
    pub name: String,

    /// Decides between resources that are alike in name and extraIdentity. A version that no
    /// such resource has (often `latest`) is accepted, with an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// The extra identity that the resource has, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_identity: Option<BTreeMap<String, String>>,

    /// Labels of the resource. Accepted for compatibility; resources are not found by labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<Label>>,

    /// The way from the root component to the one that has the resource: identities of component
    /// references, from the root downwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_path: Option<Vec<BTreeMap<String, String>>>,
}

/// A label of the Open Component Model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// The label's name.
    pub name: String,

    /// Any JSON value.
    #[schemars(schema_with = "preserved_value")]
    pub value: Value,

    /// The version of the value's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,

    /// Whether the label is covered by signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<bool>,

    /// How the label is merged at transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
}

/// How a label is merged when a component version is transferred again.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merge {
    /// The merge algorithm's name.
    pub algorithm: String,

    /// The algorithm's configuration, any JSON value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_value")]
    pub config: Option<Value>,
}

/// Names a Secret or ConfigMap in the namespace of the object that refers.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalName {
    /// The object's name.
    #[serde(default)]
    pub name: String,
}

/// Names an object as Flux does.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReference {
    /// The API version; absent means the one that Flux serves the kind under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,

    /// GitRepository, OCIRepository or Bucket, or a kind of this group where a field says so.
    pub kind: String,

    /// The object's name.
    pub name: String,

    /// Absent means the namespace of the object that refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
