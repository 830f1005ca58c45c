//! Publishing: a layer in the content store becomes an image that Flux can pull.
//!
//! From where is behind one trait, [`Snapshots`]: from the content store itself, which this
//! program serves ([`BuiltIn`]), or from another registry, to which the image is pushed
//! ([`Remote`]). The images are the same, byte by byte. The content store has them in both cases:
//! the steps of the chain read from it.

mod builtin;
mod remote;

use std::path::PathBuf;

use futures::future::BoxFuture;

use crate::oci::{Digest, Tag};
use crate::registry;
use crate::snapshot::{self, Artifact, Repository, SnapshotLayer};
use crate::store;

pub use builtin::BuiltIn;
pub use remote::Remote;

/// Why a snapshot could not be published or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content store failed.
    #[error("failed to use the content store")]
    Store {
        /// The cause.
        source: store::Error,
    },

    /// The registry that is pushed to failed.
    #[error("failed to use the registry of snapshots")]
    Registry {
        /// The cause.
        source: registry::Error,
    },

    /// The file with the password of that registry cannot be read.
    #[error("failed to read --registry-credentials {path:?}")]
    ReadCredentials {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },

    /// What was to be pushed is gone from the content store; it is made again.
    #[error("content {digest} is no longer in the content store")]
    ContentMissing {
        /// The content.
        digest: Digest,
    },

    /// A snapshot has no place in that registry.
    #[error("failed to name the repository of snapshot {repository}")]
    NameRepository {
        /// The snapshot.
        repository: snapshot::Repository,
        /// The cause.
        source: registry::Error,
    },

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}

/// A published image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The digest of its layer.
    pub layer: Digest,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The number of bytes of the layer.
    pub size: u64,
    /// Whether the layer is a packed Helm chart.
    pub is_chart: bool,
}

/// What is to be published.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The repository of the snapshot.
    pub repository: Repository,
    /// What names the image there.
    pub tag: Tag,
    /// Its layer, which is in the content store.
    pub layer: SnapshotLayer,
    /// What it is made of beside the layer.
    pub artifact: Artifact,
    /// The UID of the object that it is made for.
    pub owner: String,
}

/// Where the images of snapshots lie for Flux.
pub trait Snapshots: Send + Sync {
    /// Makes the image one that Flux can pull. What is there already is not moved.
    fn publish(&self, image: NewImage) -> BoxFuture<'_, Result<Published, Error>>;

    /// The image that `tag` names in `repository`, if its layer is `layer` and all of it is there
    /// for Flux.
    fn find<'a>(
        &'a self,
        repository: &'a Repository,
        tag: &'a Tag,
        layer: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<Published>, Error>>;

    /// Whether Flux can pull this manifest although the content store does not have it (any more).
    fn serves<'a>(
        &'a self,
        repository: &'a Repository,
        manifest: &'a Digest,
    ) -> BoxFuture<'a, bool>;

    /// Removes manifests that nobody needs any more, as far as that is possible.
    fn release<'a>(&'a self, gone: &'a [(Repository, Digest)]) -> BoxFuture<'a, ()>;
}
