//! Why content outside of registries is not fetched.

use crate::oci::Digest;
use crate::registry;

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why content outside of registries is not fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request may be more than a question.
    #[error("verb {verb:?} is not sent: content is fetched by GET or POST")]
    Verb {
        /// As the access gives it.
        verb: String,
    },

    /// A header field that no access may set, or that is none.
    #[error("header field {name:?} is not sent: {problem}")]
    Header {
        /// Its name.
        name: String,
        /// What does not fit.
        problem: &'static str,
    },

    /// What the access has the request carry cannot be sent.
    #[error("the body cannot be sent: {problem}")]
    Body {
        /// What does not fit.
        problem: &'static str,
    },

    /// Not a place to ask.
    #[error("{field} {url:?} cannot be asked: {problem}")]
    Url {
        /// The field of the access.
        field: &'static str,
        /// Without query and user.
        url: String,
        /// What does not fit.
        problem: String,
    },

    /// The access does not name one version of one chart.
    #[error("helmChart {chart:?} cannot be found: {problem}")]
    Chart {
        /// As the access gives it.
        chart: String,
        /// What does not fit.
        problem: String,
    },

    /// The chart repository's list of its charts is none, or the entry is not usable.
    #[error("the index of chart repository {repository:?} cannot be used: {problem}")]
    Index {
        /// Its URL.
        repository: String,
        /// What does not fit.
        problem: String,
    },

    /// The chart repository has no such chart.
    #[error("chart repository {repository:?} has no version {version} of chart {name:?}: {known}")]
    NoChart {
        /// Its URL.
        repository: String,
        /// The chart.
        name: String,
        /// The version, which has to be the same letter by letter.
        version: String,
        /// What it has.
        known: String,
    },

    /// Component and chart repository disagree.
    #[error(
        "chart repository {repository:?} lists the chart with digest {listed}, and the component \
         records {recorded}"
    )]
    OtherChart {
        /// Its URL.
        repository: String,
        /// What the index says.
        listed: Digest,
        /// What the component says.
        recorded: Digest,
    },

    /// The request failed.
    #[error("the request failed")]
    Fetch {
        /// Why.
        source: registry::Error,
    },

    /// Certificates of the access cannot be used.
    #[error("caCert cannot be used")]
    Roots {
        /// What does not fit.
        source: registry::Error,
    },

    /// The work was broken off by a defect.
    #[error("the work was broken off")]
    Aborted {
        /// The cause.
        source: tokio::task::JoinError,
    },
}
