//! Why a step of the chain failed.

use crate::oci::Digest;
use crate::{archive, components, mutation, publish, store};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The resource cannot be read from its registry.
    #[error(transparent)]
    Components(#[from] components::Error),

    /// The content is not an archive as it should be.
    #[error("failed to read the content of {what}")]
    Archive {
        /// Whose content.
        what: String,
        /// What does not fit.
        source: archive::Error,
    },

    /// The rules cannot be read or applied.
    #[error("failed to apply the rules")]
    Mutation {
        /// What does not fit.
        source: mutation::Error,
    },

    /// The content of the source has gone from the store; its owner makes it again.
    #[error("content {digest} is not in the store; it is being made again")]
    ContentMissing {
        /// The layer's digest.
        digest: Digest,
    },

    /// What a snapshot names as its digest is none.
    #[error("the snapshot's digest cannot be used")]
    ParseDigest {
        /// What does not fit.
        source: crate::oci::Error,
    },

    /// A result that should be one text is several files, or none.
    #[error("expected one file, found none or several: name a resource that is a single text")]
    NotOneFile,

    /// A chart has no Chart.yaml in its folder, or that one no name or version.
    #[error("the chart has no Chart.yaml with a version and a name that a folder can have")]
    NoChart,

    /// A packed chart has no usable Chart.yaml.
    #[error("failed to read the chart's metadata")]
    Chart {
        /// What does not fit.
        source: crate::snapshot::Error,
    },

    /// The result cannot be published.
    #[error("failed to publish the layer")]
    Publish {
        /// The cause.
        source: publish::Error,
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
    /// Whether the content is something else than an archive of files.
    pub fn is_not_an_archive(&self) -> bool {
        match self {
            Self::Archive { source, .. } => source.is_not_an_archive(),
            Self::Mutation {
                source: mutation::Error::RewriteArchive { source },
            } => source.is_not_an_archive(),
            _ => false,
        }
    }
}

/// Results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;
