//! What can go wrong with a Localization or Configuration.

use super::SOURCE_REF;
use super::values::ValuesError;
use crate::api::Reason;
use crate::controller::lookup::Unavailable;
use crate::controller::outcome::{Fault, Retry, Waiting, retry_of};
use crate::controller::{origin, produce};
use crate::mutation;
use crate::ocm;
use crate::pipeline;
use crate::snapshot;

/// What can go wrong with a Localization or Configuration.
#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum Error {
    #[error("{message}")]
    Denied { message: String },

    #[error("{message}")]
    Unusable { message: String },

    #[error("this object reads what it makes itself: {way}; have one of these read something else")]
    Circle { way: String },

    #[error("{field} names a ComponentVersion and no resource of it: add {field}.resourceRef")]
    MissingResourceRef { field: &'static str },

    #[error("the namespace cannot be used")]
    ParseNamespace { source: snapshot::Error },

    #[error("failed to reach the component of {field}")]
    Origin {
        field: &'static str,
        source: origin::Error,
    },

    #[error("failed to find the resource of {field}")]
    FindResource {
        field: &'static str,
        source: ocm::Error,
    },

    #[error("failed to get the resource of {field}")]
    GetResource {
        field: &'static str,
        source: pipeline::Error,
    },

    #[error("failed to read the values")]
    Values { source: ValuesError },

    #[error("failed to reconcile mutation object: failed to localize resource")]
    Localize { source: mutation::Error },

    #[error(
        "failed to reconcile mutation object: failed to apply config ref: failed to configure resource"
    )]
    Configure { source: mutation::Error },

    #[error(
        "failed to reconcile mutation object: the values of the Secret do not fit: {violations}"
    )]
    ConfigureSecret { violations: String },

    #[error("the work was broken off")]
    Aborted { source: tokio::task::JoinError },

    #[error("failed to reconcile mutation object")]
    Substitute { source: pipeline::Error },

    #[error("failed to publish the result")]
    Publish { source: produce::Error },
}

impl Fault for Error {
    fn reason(&self) -> Reason {
        match self {
            Self::Denied { .. } => Reason::AccessDenied,
            Self::Unusable { .. }
            | Self::Circle { .. }
            | Self::MissingResourceRef { .. }
            | Self::ParseNamespace { .. } => Reason::InvalidSpec,
            Self::Origin {
                field: SOURCE_REF, ..
            }
            | Self::FindResource {
                field: SOURCE_REF, ..
            }
            | Self::GetResource {
                field: SOURCE_REF, ..
            } => Reason::SourceRefNotReadyWithError,
            Self::Origin { .. } | Self::FindResource { .. } | Self::GetResource { .. } => {
                Reason::ConfigRefNotReadyWithError
            }
            Self::Substitute { source } if source.is_not_an_archive() => {
                Reason::SourceNotATarArchive
            }
            Self::Values { .. } => Reason::ValuesNotReady,
            Self::Localize { .. }
            | Self::Configure { .. }
            | Self::ConfigureSecret { .. }
            | Self::Aborted { .. }
            | Self::Substitute { .. } => Reason::ReconcileMutationObjectFailed,
            Self::Publish { source } => source.reason(),
        }
    }

    fn retry(&self) -> Retry {
        match self {
            Self::Denied { .. }
            | Self::Unusable { .. }
            | Self::MissingResourceRef { .. }
            | Self::ParseNamespace { .. } => Retry::OnChange,
            Self::Origin { source, .. } => source.retry(),
            Self::GetResource { source, .. } | Self::Substitute { source } => retry_of(source),
            Self::Values { source } => retry_of(source),
            // A circle may be broken at another object, which need not wake this one.
            Self::Circle { .. }
            | Self::FindResource { .. }
            | Self::Localize { .. }
            | Self::Configure { .. }
            | Self::ConfigureSecret { .. }
            | Self::Aborted { .. }
            | Self::Publish { .. } => Retry::Backoff,
        }
    }
}

/// Why there is no outcome yet.
pub(super) enum Halt {
    Waiting(Waiting),
    /// Content that was read before is being made again.
    MadeAgain(Waiting),
    Failed(Box<Error>),
}

impl From<Unavailable> for Halt {
    fn from(unavailable: Unavailable) -> Self {
        match unavailable {
            Unavailable::Waiting(waiting) => Self::Waiting(waiting),
            Unavailable::Denied(message) => Error::Denied { message }.into(),
            Unavailable::Unusable(message) => Error::Unusable { message }.into(),
        }
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(Box::new(error))
    }
}
