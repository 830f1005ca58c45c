//! A snapshot: one layer of content, made into an OCI image that Flux can pull.
//!
//! Everything here is a pure function of its input: the same layer under the same annotations is
//! the same manifest to the byte, so a store that was lost is made again to the same digests.

mod helm;
mod manifest;
mod repository;

pub use helm::chart_config;
pub use manifest::{Artifact, ContentKind, Image, MANIFEST_MEDIA_TYPE, SnapshotLayer, image};
pub use repository::{Namespace, Repository, tag_for};

/// Why a snapshot cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the name of a Kubernetes namespace.
    #[error(
        "{text:?} is not a namespace: expected 1 to 63 lower-case letters, digits and \"-\", \
         starting and ending with a letter or digit"
    )]
    ParseNamespace {
        /// The text as given.
        text: String,
    },

    /// Not `<namespace>/<snapshot name>`.
    #[error("{text:?} is not the repository of a snapshot: expected \"NAMESPACE/SNAPSHOT\"")]
    ParseRepository {
        /// The text as given.
        text: String,
    },

    /// `Chart.yaml` is not chart metadata.
    #[error("failed to read the chart's metadata; check Chart.yaml")]
    ParseChart {
        /// What the parser said.
        source: serde_yaml::Error,
    },

    /// `Chart.yaml` lacks what no chart is valid without.
    #[error("the chart's metadata has no {field:?}; set it in Chart.yaml")]
    IncompleteChart {
        /// The missing field.
        field: &'static str,
    },
}

/// Results of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// JSON of this module's own types, in the order of their fields.
fn encode(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("text, numbers, lists and maps of text are always JSON")
}
