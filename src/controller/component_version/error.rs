//! What can go wrong with a ComponentVersion.

use super::verify;
use crate::api::Reason;
use crate::controller::outcome::{Fault, Retry, retry_of};
use crate::controller::{apply, credentials};
use crate::ocm::{self, Version};
use crate::{components, registry, snapshot, transfer};

/// What can go wrong with a ComponentVersion.
#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum Error {
    #[error("spec.{field} cannot be used")]
    ParseSpec {
        field: &'static str,
        source: ocm::Error,
    },

    #[error("the namespace cannot be used")]
    ParseNamespace { source: snapshot::Error },

    #[error("authentication failed for repository: {repository}")]
    ReadCredentials {
        repository: String,
        source: credentials::Error,
    },

    #[error("version check failed for {component} {constraint}")]
    CheckVersion {
        component: String,
        constraint: String,
        source: components::Error,
    },

    #[error(
        "version check failed for {component} {constraint} with error: no matching versions found for constraint '{constraint}'; {found}"
    )]
    NoMatch {
        component: String,
        constraint: String,
        found: String,
    },

    #[error("failed to verify {component} with constraint {constraint}")]
    Verify {
        component: String,
        constraint: String,
        source: verify::Error,
    },

    #[error(
        "failed to verify {component} with constraint {constraint}: none of its versions is what was signed (tried: {tried})"
    )]
    NoneVerifies {
        component: String,
        constraint: String,
        tried: String,
        /// Why the newest one is not.
        source: verify::Error,
    },

    #[error("failed to replicate {component} to {destination:?}")]
    Replicate {
        component: String,
        destination: String,
        source: Box<transfer::Error>,
    },

    #[error("failed to look for {component} in destination {destination:?}")]
    CheckDestination {
        component: String,
        destination: String,
        source: components::Error,
    },

    #[error("spec.{field} cannot be used")]
    DialSpec {
        field: &'static str,
        source: registry::Error,
    },

    #[error("failed to read version {version}")]
    ReadVersion {
        version: Version,
        source: components::Error,
    },

    #[error("failed to read what version {version} refers to")]
    FollowReferences {
        version: Version,
        source: components::Error,
    },

    #[error("failed to write ComponentDescriptor {name}")]
    WriteDescriptor { name: String, source: apply::Error },
}

impl Error {
    /// Whether it was found out that what is there is not what was signed.
    pub(super) fn is_verdict(&self) -> bool {
        match self {
            Self::Verify { source, .. } | Self::NoneVerifies { source, .. } => source.is_verdict(),
            _ => false,
        }
    }
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::ParseSpec {
                field: "version.semver",
                ..
            }
            | Self::CheckVersion { .. }
            | Self::NoMatch { .. } => Reason::CheckVersionFailed,
            Self::ParseSpec { .. } | Self::ParseNamespace { .. } | Self::DialSpec { .. } => {
                Reason::InvalidSpec
            }
            Self::ReadCredentials { .. } => Reason::AuthenticatedContextCreationFailed,
            Self::Verify { .. } | Self::NoneVerifies { .. } => Reason::ComponentVerificationFailed,
            Self::Replicate { .. } | Self::CheckDestination { .. } => Reason::TransferFailed,
            Self::ReadVersion { .. } => Reason::ComponentVersionInvalid,
            Self::FollowReferences { .. } => Reason::ParseReferencesFailed,
            Self::WriteDescriptor { .. } => Reason::CreateOrUpdateComponentDescriptorFailed,
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::ParseSpec { .. } | Self::ParseNamespace { .. } | Self::DialSpec { .. } => {
                Retry::OnChange
            }
            Self::Verify { source, .. } | Self::NoneVerifies { source, .. } => source.retry(),
            Self::ReadCredentials { .. } | Self::NoMatch { .. } => Retry::Backoff,
            Self::Replicate { source, .. } => retry_of(source),
            Self::CheckVersion { source, .. }
            | Self::CheckDestination { source, .. }
            | Self::ReadVersion { source, .. }
            | Self::FollowReferences { source, .. } => retry_of(source),
            Self::WriteDescriptor { source, .. } => source.retry(),
        }
    }
}
