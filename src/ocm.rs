//! The Open Component Model: names, versions, descriptors, and what is found in them.
//!
//! Values only: nothing here reads a registry, a cluster or a clock. A component version is found
//! by [`ComponentName`], [`Constraint`] and [`OcmRepository`]; the artifact that its tag names is
//! read by [`ComponentManifest`] and [`read_descriptor`]; in the [`Descriptor`] a
//! [`ResourceSelector`] finds the resource, and [`location`] says where its image is pulled from.
//! [`Walk`] visits the components that a component refers to, and [`signature::verify`] tells
//! whether all of it is what somebody signed. [`Accepted`] is what content is taken from.

mod accepted;
mod access;
mod artifact;
mod component;
mod component_artifact;
mod constraint;
mod descriptor;
mod document;
mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod identity;
mod image;
mod labels;
mod name;
mod names;
mod normalise;
mod repository;
mod selector;
pub mod signature;
mod version;
mod walk;
mod written;

pub use accepted::Accepted;
pub use access::{
    Access, Git, GitHub, Helm, LocalBlob, Maven, Npm, OciBlob, Ocm, RawAccess, S3, Wget,
};
pub use artifact::{
    BlobDescriptor, ComponentImage, ComponentManifest, MAX_DESCRIPTOR_LAYER, MAX_MANIFEST,
    descriptor_bytes, descriptor_layer, is_artifact_set, is_manifest, read_descriptor,
};
pub use component::{BlobLocation, ReadComponent};
pub use component_artifact::{ComponentArtifact, component_manifest};
pub use constraint::Constraint;
pub use descriptor::{
    Descriptor, DigestSpec, Label, MAX_DESCRIPTOR, NestedDigest, NestedResourceDigest, Provider,
    Reference, Relation, Resource, Schema, Signature, SignatureValue, Source, SourceRef, Timestamp,
};
pub use error::{Error, Result};
pub use identity::Identity;
pub use image::{location, pinned_location};
pub use name::ComponentName;
pub use names::{descriptor_name, reference_path, snapshot_name};
pub use normalise::Normalisation;
pub use repository::OcmRepository;
pub use selector::{FoundResource, ResourceSelector};
pub use version::Version;
pub use walk::{Request, Visited, Walk};
pub use written::{DescriptorDocument, Element, ElementKind};
