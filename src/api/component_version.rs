//! ComponentVersion: finds, verifies and follows a component in an OCM repository.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::reference::LocalName;
use super::schema::{interval, preserved_list, repository_url};

/// Finds the highest version of a component that a constraint allows, verifies it, and makes it
/// available to Resources, Localizations and Configurations.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "delivery.ocm.software",
    version = "v1alpha1",
    kind = "ComponentVersion",
    namespaced,
    shortname = "cv",
    category = "ocm",
    status = "ComponentVersionStatus",
    derive = "PartialEq",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.reconciledVersion"
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
pub struct ComponentVersionSpec {
    /// The component's name, such as `example.org/shop/frontend`.
    #[x_kube(validation = ("self != ''", "a component has a name such as example.org/shop"))]
    pub component: String,

    /// Which versions are wanted.
    pub version: VersionConstraint,

    /// The OCM repository that holds the component.
    pub repository: Repository,

    /// An OCM repository that each version is copied to first, and then read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Repository>,

    /// How often the repository is asked for new versions.
    #[schemars(schema_with = "interval")]
    pub interval: Duration,

    /// Signatures that a version must carry; all of them must verify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Vec<Signature>>,

    /// Whether reconciliation is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,

    /// A ServiceAccount of the same namespace; its `imagePullSecrets` are credentials for the
    /// repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
}

/// Which versions are wanted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionConstraint {
    /// A version or constraint such as `>=v6.3.5`, `~1.2` or `1.x || >=2.5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
}

/// An OCM repository in an OCI registry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repository {
    /// Host, port and path, with or without scheme, such as `ghcr.io/acme/ocm`. Plain HTTP only
    /// with `http://`.
    #[schemars(schema_with = "repository_url")]
    pub url: String,

    /// A Secret of the same namespace with credentials: `.dockerconfigjson`,
    /// `.ocmcredentialconfig`, or `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalName>,
}

/// A signature that a component version must carry.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// The signature's name in the component descriptor.
    pub name: String,

    /// The key that it must verify with.
    pub public_key: PublicKey,
}

/// A public key, inline or in a Secret.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// A Secret of the same namespace; its data key is the signature's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalName>,

    /// The PEM text of the key or certificate, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What was found.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentVersionStatus {
    /// The generation that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The component version and those that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_descriptor: Option<DescriptorReference>,

    /// The version that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciled_version: Option<String>,

    /// The digest of the component version's manifest in the repository: a version that is pushed
    /// again with other content is noticed by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// Whether the signatures that `spec.verify` asks for were verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,

    /// The repository that the version is read from.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        rename = "replicatedRepositoryURL"
    )]
    pub replicated_repository_url: Option<String>,

    /// The last value of the annotation `reconcile.fluxcd.io/requestedAt` that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// A component version, its ComponentDescriptor object, and the versions that it refers to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescriptorReference {
    /// The component's name at the root; the reference's name below it.
    pub name: String,

    /// The component's version.
    pub version: String,

    /// The reference's extra identity.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_identity: BTreeMap<String, String>,

    /// The ComponentDescriptor object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component_descriptor_ref: Option<DescriptorName>,

    /// The digest of the component version's manifest in the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// The component versions that this one refers to, in the same form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "preserved_list")]
    pub references: Vec<DescriptorReference>,
}

/// Name and namespace of an object whose kind is known.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorName {
    /// The object's name.
    pub name: String,

    /// The object's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}
