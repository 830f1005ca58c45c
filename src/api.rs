//! The objects: `delivery.ocm.software/v1alpha1`.
//!
//! One file a kind. Descriptions become the text of `kubectl explain`; what one object can say
//! wrong is refused by the API server through the patterns and CEL rules here. Kinds, fields,
//! short names, columns, condition types and reasons are those of the Go ocm-controller, so that
//! what people keep in their Git repositories applies unchanged; fields of our own say so.

#![allow(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derives wrap copies of the types in private blocks, and each printer column has a type"
)]

mod component_descriptor;
mod component_version;
mod condition;
mod crds;
pub mod flux;
mod flux_deployer;
mod mutation;
mod reference;
mod resource;
mod schema;
mod snapshot;

pub use component_descriptor::{ComponentDescriptor, ComponentDescriptorSpec};
pub use component_version::{
    ComponentVersion, ComponentVersionSpec, ComponentVersionStatus, DescriptorName,
    DescriptorReference, PublicKey, Repository, Signature, VersionConstraint,
};
pub use condition::{ConditionType, Conditions, Reason, State, is_ready, truncated};
pub use crds::crds;
pub use flux_deployer::{FluxDeployer, FluxDeployerSpec, FluxDeployerStatus};
pub use mutation::{
    ConfigMapSource, Configuration, ConfigurationSpec, FluxSource, Localization, LocalizationSpec,
    MutationSpec, MutationStatus, Patch, PatchSource, PatchTarget, SecretSource, ValuesFrom,
};
pub use reference::{Label, LocalName, Merge, ObjectReference, ResourceReference, SourceReference};
pub use resource::{OcmResource, ResourceSpec, ResourceStatus};
pub use snapshot::{Snapshot, SnapshotSpec, SnapshotStatus};

/// The API group of all kinds.
pub const GROUP: &str = "delivery.ocm.software";

/// The one version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// `apiVersion` of all kinds, which a reference without one means.
pub const API_VERSION: &str = "delivery.ocm.software/v1alpha1";

/// Setting this annotation to a new value makes the object reconcile at once, as in Flux; the
/// value is answered in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUEST: &str = "reconcile.fluxcd.io/requestedAt";

/// The finalizer that the Go ocm-controller put on Snapshots. It is taken off where it is met.
pub const ORIGINAL_SNAPSHOT_FINALIZER: &str = "finalizers.snapshot.ocm.software";
