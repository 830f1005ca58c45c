//! Why one exchange with a host failed.

use std::time::Duration;

use http::StatusCode;

use super::Class;
use crate::oci::Digest;

/// How much of an error answer is shown.
const SHOWN: usize = 200;

/// Why an exchange with a host failed, in words for its user.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing was sent: an address, redirect, realm or URL is against the rules.
    #[error("refused {target:?}: {reason}")]
    Refused {
        /// The host, address or URL.
        target: String,
        /// Which rule, and the setting that changes it where there is one.
        reason: String,
    },

    /// No connection.
    #[error("failed to connect to {host:?}: {problem}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system said.
        problem: String,
    },

    /// The host's certificate is not trusted, or TLS could not be agreed on.
    #[error("failed to establish TLS with {host:?}: {problem}")]
    Tls {
        /// Host and port.
        host: String,
        /// What the TLS library said.
        problem: String,
    },

    /// The exchange broke off.
    #[error("connection to {host:?} broke: {problem}")]
    Interrupted {
        /// Host and port.
        host: String,
        /// What the HTTP library said.
        problem: String,
    },

    /// A wait came to its end.
    #[error("timed out after {after:?} waiting for {host:?} to {what}")]
    TimedOut {
        /// Host and port.
        host: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },

    /// The host sends, but too slowly.
    #[error("{host:?} sends less than {minimum} bytes per second")]
    TooSlow {
        /// Host and port.
        host: String,
        /// The least rate that is accepted.
        minimum: u64,
    },

    /// The host asked to be left alone for longer than a request waits in place.
    #[error("{host:?} asks for no requests for another {wait:?}")]
    Throttled {
        /// Host and port.
        host: String,
        /// What is left of the wait.
        wait: Duration,
    },

    /// Wrong or missing credentials.
    #[error("{status}; {problem}")]
    Unauthorized {
        /// What the host answered.
        status: StatusCode,
        /// Which credential was or was not used, and what the host said to it.
        problem: String,
    },

    /// Known, and not allowed.
    #[error("{status} from {host:?}{detail}")]
    Forbidden {
        /// What the host answered.
        status: StatusCode,
        /// Host and port.
        host: String,
        /// The start of its explanation.
        detail: String,
    },

    /// No such repository, tag, manifest or blob.
    #[error("{status} from {host:?}{detail}")]
    NotFound {
        /// What the host answered.
        status: StatusCode,
        /// Host and port.
        host: String,
        /// The start of its explanation.
        detail: String,
    },

    /// Any other answer than the one wanted.
    #[error("{status} from {host:?}{detail}")]
    Status {
        /// What the host answered.
        status: StatusCode,
        /// Host and port.
        host: String,
        /// The start of its explanation.
        detail: String,
        /// When the host wants to be asked again.
        retry_after: Option<Duration>,
    },

    /// More than the limit.
    #[error("{what} is larger than {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit with its unit.
        limit: String,
    },

    /// Content that is not what was asked for.
    #[error("{problem}")]
    Invalid {
        /// What does not fit.
        problem: String,
    },

    /// Content with another digest than it was asked by.
    #[error("content has digest {actual}, expected {expected}")]
    Digest {
        /// The digest it was asked by, or that the registry announced.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
}

impl Failure {
    pub(super) fn invalid(problem: impl Into<String>) -> Self {
        Self::Invalid {
            problem: problem.into(),
        }
    }

    pub(super) fn refused(target: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Refused {
            target: target.into(),
            reason: reason.into(),
        }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { .. } | Self::Tls { .. } => Class::RefusedByPolicy,
            Self::Connect { .. }
            | Self::Interrupted { .. }
            | Self::TimedOut { .. }
            | Self::TooSlow { .. }
            | Self::Throttled { .. } => Class::Transient,
            Self::Unauthorized { .. } => Class::Unauthorized,
            Self::Forbidden { .. } => Class::Forbidden,
            Self::NotFound { .. } => Class::NotFound,
            Self::Status { status, .. } if is_temporary(*status) => Class::Transient,
            Self::Status { .. }
            | Self::TooLarge { .. }
            | Self::Invalid { .. }
            | Self::Digest { .. } => Class::InvalidContent,
        }
    }

    /// How long the host asked to be left alone, where it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { wait, .. } => Some(*wait),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Whether an answer says that the host is unwell, not that the request is wrong.
pub(super) fn is_temporary(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429) || status.is_server_error()
}

/// The start of an error answer for a message: the registry's own words where it is in the
/// distribution specification's form, else its text; one line, shortened, harmless to print.
pub(super) fn detail(body: &[u8]) -> String {
    let envelope = serde_json::from_slice::<oci_distribution::errors::OciEnvelope>(body);
    let text = match envelope {
        Ok(envelope) => envelope
            .errors
            .iter()
            .map(|error| error.message.as_str())
            .filter(|message| !message.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    format!(": {}", shown.chars().take(SHOWN).collect::<String>())
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn error_answer_is_shortened_and_escaped() {
        let text = detail(format!("<html>\n\u{1b}[31m{}", "x".repeat(5000)).as_bytes());
        assert!(text.starts_with(": <html>\\n\\u{1b}[31mxxx"), "{text}");
        assert!(text.chars().count() <= SHOWN + 2);
    }

    #[test]
    fn error_answer_in_the_registry_form_shows_its_message() {
        let body = br#"{"errors":[{"code":"DENIED","message":"requested access is denied"}]}"#;
        assert_eq!(detail(body), ": requested access is denied");
        assert_eq!(detail(b""), "");
    }
}
