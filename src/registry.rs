//! The hardened way out: one HTTP transport, and the client of OCI registries on top of it.
//!
//! Nothing here trusts what it talks to. Every body has a limit, every wait an end, every dialled
//! address is checked after name resolution, credentials go to the host they are for and to no
//! other, and content is handed on only together with the check of its digest.
//!
//! - [`Transport`]: connections, trust, time-outs, retries, redirects, one gate for each host.
//! - [`Credentials`]: what the Secrets of one object say, matched by host and path.
//! - [`Pool`] and [`Client`]: tags, manifests and blobs of a repository, to read and to push.
//! - [`BlobSource`]: where a pushed blob comes from, opened anew where a push begins again.
//!
//! ```no_run
//! # async fn example() -> Result<(), ocm_controller::registry::Error> {
//! use ocm_controller::registry::{Credentials, Pool, RepositoryUrl, Settings, Transport};
//!
//! let pool = Pool::new(Transport::new(Settings::default())?);
//! let place = "ghcr.io/team/ocm".parse::<RepositoryUrl>()?;
//! let repository = place.join("component-descriptors/example.org/shop")?;
//! let client = pool.client(&repository, &Credentials::default());
//! let tags = client.list_tags(repository.name()).await?;
//! # Ok(()) }
//! ```

mod answer;
mod auth;
mod blob;
mod body;
mod challenge;
mod client;
mod connector;
mod counters;
mod credentials;
mod docker_config;
mod download;
mod endpoint;
mod failure;
mod flights;
mod gate;
mod manifest;
mod ocm_config;
mod origin;
mod policy;
mod pool;
mod proxy;
mod push;
mod scope;
mod secret;
mod settings;
mod tags;
mod tls;
mod transport;
mod tunnel;
mod upload;

#[cfg(test)]
pub(crate) mod tests;

pub use blob::{BlobReader, BlobStream};
pub use client::{Client, Reference, Resolved};
pub use counters::{Counters, HostCount, RequestKind};
pub use credentials::{Credential, Credentials};
pub use download::Download;
pub use endpoint::{Endpoint, RegistryRepository, RepositoryUrl, Scheme};
pub use failure::Failure;
pub use manifest::{Content, Descriptor, ImageIndex, ImageManifest, Manifest, media_type};
pub use pool::Pool;
pub use proxy::Proxies;
pub use push::{BlobPush, BlobSource, Deleted, RegistryBlob, WholeBlob};
pub use scope::Purpose;
pub use settings::{Limits, Override, Settings, Timeouts};
pub use tags::TagList;
pub use tls::ExtraRoots;
pub use transport::Transport;

use std::time::Duration;

use crate::repository::ArchiveError;

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong on the way to a registry, and for whom.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tags of a repository could not be listed.
    #[error("failed to list tags of {repository:?}")]
    ListTags {
        /// Host and repository.
        repository: String,
        /// Why.
        source: Failure,
    },

    /// A tag could not be resolved, or a manifest not be pulled.
    #[error("failed to pull {reference:?}")]
    Pull {
        /// Host, repository, and tag or digest.
        reference: String,
        /// Why.
        source: Failure,
    },

    /// A blob could not be pulled, or not to its end.
    #[error("failed to pull blob {reference:?}")]
    PullBlob {
        /// Host, repository and digest, or the URL.
        reference: String,
        /// Why.
        source: Failure,
    },

    /// An archive, or something in it, cannot be read or written.
    #[error("failed to use archive {reference:?}")]
    Archive {
        /// The archive, and what in it.
        reference: String,
        /// Why.
        source: ArchiveError,
    },

    /// Something could not be pushed, or is not there after it was accepted.
    #[error("failed to push {reference:?}")]
    Push {
        /// Host, repository, and tag or digest.
        reference: String,
        /// Why.
        source: Failure,
    },

    /// What was to be pushed could not be read to its end.
    #[error("failed to read what is pushed to {reference:?}")]
    ReadSource {
        /// Host, repository and digest.
        reference: String,
        /// Why.
        source: std::io::Error,
    },

    /// A manifest could not be deleted.
    #[error("failed to delete {reference:?}")]
    Delete {
        /// Host, repository and digest.
        reference: String,
        /// Why.
        source: Failure,
    },

    /// A Secret that was to hold credentials does not. Its content is never shown.
    #[error("failed to read credentials from {}: {problem}", place(secret, key))]
    ReadCredentials {
        /// The Secret, as the caller named it, or the file.
        secret: String,
        /// The key in the Secret's data; empty for a file.
        key: String,
        /// What does not fit, without the content.
        problem: String,
    },

    /// Not a place where a registry could be.
    #[error("{text:?} is not a registry URL: {problem}")]
    ParseUrl {
        /// The text as given, shortened.
        text: String,
        /// What does not fit.
        problem: String,
    },

    /// Not a `HOST[:PORT]=ADDRESS:PORT`.
    #[error("{text:?} is not of the form HOST[:PORT]=ADDRESS:PORT")]
    ParseOverride {
        /// The text as given.
        text: String,
    },

    /// An environment variable that names no proxy which can be used. It may hold a password.
    #[error("failed to use the proxy in {variable}: {problem}")]
    ParseProxy {
        /// The variable.
        variable: &'static str,
        /// What does not fit, without the value.
        problem: String,
    },

    /// The trusted certificates of this program could not be set up.
    #[error("failed to read trusted certificates from {file:?}: {problem}")]
    ReadRoots {
        /// The file, or what stands for it.
        file: String,
        /// What does not fit.
        problem: String,
    },
}

/// A key of a Secret, or a file where there is no key.
fn place(secret: &str, key: &str) -> String {
    if key.is_empty() {
        format!("{secret:?}")
    } else {
        format!("Secret {secret:?}, key {key:?}")
    }
}

/// What a caller can do about an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The network or the registry is unwell: the same request may succeed later.
    Transient,
    /// Wrong or missing credentials (401).
    Unauthorized,
    /// The registry knows who asks and does not allow it (403).
    Forbidden,
    /// There is no such repository, tag, manifest or blob.
    NotFound,
    /// What came is not what was asked for, or is malformed, or too large.
    InvalidContent,
    /// This program refuses: address, redirect, realm, certificate.
    RefusedByPolicy,
    /// A setting, a Secret or a URL is malformed and has to be changed first.
    Misconfigured,
}

impl Error {
    /// What kind of error it is.
    pub fn class(&self) -> Class {
        match self {
            Self::ListTags { source, .. }
            | Self::Pull { source, .. }
            | Self::PullBlob { source, .. }
            | Self::Push { source, .. }
            | Self::Delete { source, .. } => source.class(),
            Self::Archive { source, .. } if source.is_not_found() => Class::NotFound,
            Self::Archive { .. } => Class::InvalidContent,
            Self::ReadSource { .. } => Class::Transient,
            Self::ReadCredentials { .. }
            | Self::ParseUrl { .. }
            | Self::ParseOverride { .. }
            | Self::ParseProxy { .. }
            | Self::ReadRoots { .. } => Class::Misconfigured,
        }
    }

    /// How long the host asked to be left alone, where it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ListTags { source, .. }
            | Self::Pull { source, .. }
            | Self::PullBlob { source, .. }
            | Self::Push { source, .. }
            | Self::Delete { source, .. } => source.retry_after(),
            Self::Archive { .. }
            | Self::ReadSource { .. }
            | Self::ReadCredentials { .. }
            | Self::ParseUrl { .. }
            | Self::ParseOverride { .. }
            | Self::ParseProxy { .. }
            | Self::ReadRoots { .. } => None,
        }
    }

    /// Whether the registry answered that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.class() == Class::NotFound
    }
}

/// The first error of this module among `error` and its causes, also where it was handed through
/// an [`std::io::Error`].
pub fn error_in<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found);
        }
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

#[cfg(test)]
mod error_tests {
    use super::*;

    #[test]
    fn error_is_found_behind_an_input_error() {
        let text = "x".to_owned();
        let registry = Error::ParseOverride { text };
        let read = std::io::Error::other(registry);
        assert!(matches!(error_in(&read), Some(Error::ParseOverride { .. })));
        assert!(error_in(&std::fmt::Error).is_none());
    }
}
