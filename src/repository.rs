//! Places that hold component versions, behind one trait: OCI registries, Common Transport
//! Archives, and component archives.
//!
//! A place is a set of repositories of OCI artifacts. [`Artifacts`] reads them and [`Target`] writes
//! them; a component version is an artifact in the repository that its name gives, and
//! [`component`] reads and writes it whatever the place is. [`Location`] is how a place is written
//! on a command line.
//!
//! What an archive holds is as hostile as what a registry answers: nothing in it leads out of its
//! folder, links are refused, each content is checked against its digest as it flows, and all is
//! bounded.

mod archive;
mod blob;
pub mod component;
mod location;
mod registry;
mod tree;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use archive::{Archive, ArchiveError, Form};
pub use blob::{Blob, FileBlob, StoredBlob};
pub use location::{ComponentReference, Location, ParseError};
pub use registry::RegistryArtifacts;
pub use tree::{ArtifactTree, MOST_MANIFESTS, TreeError};

use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::{BlobSource, Endpoint, Manifest, Reference, Resolved, Result};

/// What a place answers, later. Errors are those of the way to a registry, whatever the place is:
/// [`crate::registry::Error::Archive`] is an archive's.
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// Reads the artifacts of a place.
pub trait Artifacts: Send + Sync {
    /// The place, for messages: a host, or the path of an archive.
    fn name(&self) -> String;

    /// The registry behind it, if it is one: content moves inside a registry without being read.
    fn endpoint(&self) -> Option<&Endpoint>;

    /// The tags of a repository, in no order.
    fn tags<'a>(&'a self, repository: &'a RepositoryName) -> Answer<'a, Vec<Tag>>;

    /// What `reference` names now.
    fn resolve<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Resolved>;

    /// The manifest that `reference` names, checked.
    fn manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Manifest>;

    /// The content with `digest`, checked as it flows; also against `size`, where it is known.
    fn blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: Option<u64>,
    ) -> Answer<'a, Blob>;
}

impl fmt::Debug for dyn Artifacts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Artifacts({})", self.name())
    }
}

/// Writes the artifacts of a place. Whatever refers to content is written after it.
pub trait Target: Artifacts {
    /// Whether the repository has the content.
    fn has_blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
    ) -> Answer<'a, bool>;

    /// Takes the content over from another repository of the same place, if that can be done
    /// without reading it.
    fn mount<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        from: &'a RepositoryName,
    ) -> Answer<'a, bool>;

    /// Stores content of which digest and size are known, if it is not there. It is there whole
    /// afterwards, or not at all.
    fn put_blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: u64,
        content: &'a dyn BlobSource,
    ) -> Answer<'a, ()>;

    /// Stores a manifest under a tag, or under its digest alone.
    fn put_manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
        media_type: &'a str,
        bytes: Bytes,
    ) -> Answer<'a, ()>;

    /// Ends the writing: what is one file in the end becomes that file now.
    fn finish(&self) -> Answer<'_, ()>;
}

/// A place that is read, shared.
pub type SharedArtifacts = Arc<dyn Artifacts>;
