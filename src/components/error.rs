//! What keeps a component version from being read.

use crate::ocm::{self, Identity};
use crate::repository::component;
use crate::{registry, remote, store};

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What keeps a component version from being read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The component version cannot be found or read.
    #[error(transparent)]
    Component(#[from] component::Error),

    /// A resource's content cannot be found by its access.
    #[error("failed to locate the content of resource {resource}")]
    Locate {
        /// The resource.
        resource: Identity,
        /// What does not fit.
        source: ocm::Error,
    },

    /// A resource's content cannot be pulled.
    #[error("failed to pull the content of resource {resource}")]
    Pull {
        /// The resource.
        resource: Identity,
        /// What the registry said.
        source: registry::Error,
    },

    /// A resource's access is of a type that is read but not fetched.
    #[error(
        "resource {resource} has access type {kind:?}, which is not fetched: store its content with the component or in a registry"
    )]
    UnsupportedAccess {
        /// The resource.
        resource: Identity,
        /// The access type.
        kind: String,
    },

    /// A part of an artifact is named by a digest that an archive cannot hold.
    #[error(
        "resource {resource} has parts named by SHA-512 digests, which cannot be archived: push it with SHA-256 digests"
    )]
    UnsupportedDigest {
        /// The resource.
        resource: Identity,
    },

    /// Content outside of registries cannot be fetched.
    #[error("failed to fetch the content of resource {resource}")]
    Fetch {
        /// The resource.
        resource: Identity,
        /// Why.
        source: remote::Error,
    },

    /// An artifact that should be a chart is none.
    #[error(
        "resource {resource} is a chart by its access, and {image} has not one packed chart in it"
    )]
    NoChart {
        /// The resource.
        resource: Identity,
        /// The artifact.
        image: String,
    },

    /// An index leads to more manifests than can be one resource.
    #[error("resource {resource} consists of more than {limit} manifests")]
    TooManyManifests {
        /// The resource.
        resource: Identity,
        /// How many there may be.
        limit: usize,
    },

    /// The content is not what the descriptor says.
    #[error(
        "resource {resource} has digest {found} in its access, but {expected} in its descriptor"
    )]
    DigestMismatch {
        /// The resource.
        resource: Identity,
        /// What the descriptor says.
        expected: crate::oci::Digest,
        /// What the access names.
        found: crate::oci::Digest,
    },

    /// The component version is not what was signed.
    #[error("the signatures do not hold")]
    Signature {
        /// What does not fit.
        source: ocm::signature::Error,
    },

    /// Signatures do not cover the content, or it cannot be compared with what they cover.
    #[error("resource {resource} is not used, since signatures are required: {problem}")]
    Unsigned {
        /// The resource.
        resource: Identity,
        /// What is missing.
        problem: &'static str,
    },

    /// Content could not be read to its end.
    #[error("failed to read the content of resource {resource}")]
    Hash {
        /// The resource.
        resource: Identity,
        /// What does not fit.
        source: std::io::Error,
    },

    /// The repository's address is none.
    #[error("repository {repository:?} cannot be dialled")]
    Address {
        /// The repository.
        repository: String,
        /// What does not fit.
        source: registry::Error,
    },

    /// The content store failed.
    #[error("failed to use the content store")]
    Store {
        /// The cause.
        source: store::Error,
    },

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        registry::error_in(self).is_some_and(registry::Error::is_not_found)
    }
}
