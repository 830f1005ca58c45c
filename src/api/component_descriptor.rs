//! ComponentDescriptor: what a component version consists of, for people and other programs.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema::preserved_list;

/// The descriptor of a component version, written by its ComponentVersion for people and other
/// programs to read.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "delivery.ocm.software",
    version = "v1alpha1",
    kind = "ComponentDescriptor",
    namespaced,
    shortname = "cd",
    category = "ocm",
    derive = "PartialEq",
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.version"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct ComponentDescriptorSpec {
    /// The component's version.
    pub version: String,

    /// The resources, as in the `spec` of a descriptor of schema `ocm.software/v3alpha1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_list")]
    pub resources: Option<Vec<Value>>,

    /// The sources, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_list")]
    pub sources: Option<Vec<Value>>,

    /// The references to other components, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "preserved_list")]
    pub references: Option<Vec<Value>>,
}
