//! Content outside of OCI registries: what a web server answers (`wget`), and charts in chart
//! repositories (`helm`).
//!
//! Where such content is stands in a component, and signatures do not cover it. So a URL is what
//! somebody unknown wants this program to dial: it reaches no private address unless the settings
//! name the host, it gets a credential only where one is kept for that very place, and what comes
//! is held to the digests that are known of it.

mod chart;
mod error;
mod index;
mod web;

#[cfg(test)]
mod tests;

use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;

pub use chart::{Chart, RepositoryChart, chart_layer};
pub use error::{Error, Result};
pub use web::WebRequest;

use crate::oci::Digest;
use crate::ocm::Access;
use crate::registry::{Credentials, Endpoint, Transport};
use crate::repository::Blob;
use crate::snapshot::ContentKind;

/// What content is where nobody says.
pub const UNKNOWN_MEDIA_TYPE: &str = "application/octet-stream";

/// Content outside of OCI registries, and how it is asked for.
#[derive(Debug, Clone)]
pub enum Remote {
    /// The answer to a request.
    Web(WebRequest),
    /// A chart in a chart repository.
    Chart(RepositoryChart),
}

/// On whose behalf something is asked for.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    /// The way out.
    pub transport: &'a Transport,
    /// Who to be.
    pub credentials: &'a Credentials,
    /// The registry that the component came from; none where it came from an archive.
    pub home: Option<&'a Endpoint>,
}

/// Content on its way.
#[derive(Debug)]
pub struct Fetched {
    /// What it is.
    pub media_type: String,
    /// Its bytes.
    pub content: Blob,
}

impl Remote {
    /// What `access` asks for; `None` where that is nothing of this kind.
    pub fn of(access: &Access) -> Result<Option<Self>> {
        Ok(match access {
            Access::Wget(wget) => Some(Self::Web(WebRequest::of(wget)?)),
            Access::Helm(helm) => match Chart::of(helm)? {
                Chart::Repository(chart) => Some(Self::Chart(chart)),
                Chart::Registry(_) => None,
            },
            _ => None,
        })
    }

    /// Whether it is a packed Helm chart.
    pub fn kind(&self) -> ContentKind {
        let chart = ContentKind::HelmChart;
        match self {
            Self::Chart(_) => chart,
            Self::Web(request) if request.media_type() == Some(chart.layer_media_type()) => chart,
            Self::Web(_) => ContentKind::Files,
        }
    }

    /// Asks for the content, which has to have each of the digests `expected`.
    pub fn fetch<'a>(
        &'a self,
        asker: &'a Asker<'a>,
        expected: &'a [Digest],
    ) -> BoxFuture<'a, Result<Fetched>> {
        match self {
            Self::Web(request) => request.fetch(asker, expected).boxed(),
            Self::Chart(chart) => chart.fetch(asker, expected).boxed(),
        }
    }
}

/// The place, without what could be a secret.
impl fmt::Display for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(request) => fmt::Display::fmt(request, formatter),
            Self::Chart(chart) => fmt::Display::fmt(chart, formatter),
        }
    }
}
