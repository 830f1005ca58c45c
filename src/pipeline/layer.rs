//! What the steps make: layers, and the records of them.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::truncated;
use crate::mutation::LocalizedImages;
use crate::oci::Digest;
use crate::snapshot::{ContentKind, SnapshotLayer};
use crate::store::Stored;

/// How many images and files a record lists.
const MAX_LISTED: usize = 100;

/// The longest line of such a list, in bytes: a record has a bound.
const MAX_LINE: usize = 300;

/// A step's result: one layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the packed bytes.
    pub digest: Digest,
    /// Their number.
    pub size: u64,
    /// Whether it is a packed Helm chart.
    pub is_chart: bool,
}

/// What [`super::Pipeline::localize_images`] made and found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Localized {
    /// The files with their images localized.
    pub layer: Layer,
    /// How many images come from where the component's copies are.
    pub covered: usize,
    /// How many images no resource of the component covers.
    pub not_covered: usize,
    /// The first hundred of these: `FILE:LINE: IMAGE (why)`.
    pub uncovered: Vec<String>,
    /// The first hundred files that may hold images and could not be read, with the reason.
    pub unreadable: Vec<String>,
}

/// A record of what was derived, with the layer that it is about.
pub(super) trait Derived: Serialize + DeserializeOwned + Send + 'static {
    fn layer(&self) -> &Layer;
}

/// What [`super::prepare::prepare`] made and saw.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Prepared {
    pub(super) layer: Layer,
    pub(super) may_be_chart: bool,
}

impl Derived for Prepared {
    fn layer(&self) -> &Layer {
        &self.layer
    }
}

impl Derived for Layer {
    fn layer(&self) -> &Layer {
        self
    }
}

impl Derived for Localized {
    fn layer(&self) -> &Layer {
        &self.layer
    }
}

impl Layer {
    pub(super) fn new(stored: Stored, is_chart: bool) -> Self {
        Self {
            digest: stored.digest,
            size: stored.size,
            is_chart,
        }
    }

    /// The layer as an image names it.
    pub fn snapshot_layer(&self) -> SnapshotLayer {
        let kind = if self.is_chart {
            ContentKind::HelmChart
        } else {
            ContentKind::Files
        };
        SnapshotLayer {
            media_type: kind.layer_media_type().to_owned(),
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

impl Localized {
    pub(super) fn new(layer: Layer, found: &LocalizedImages) -> Self {
        let uncovered = found.uncovered.iter().map(|one| {
            let (file, line) = (one.file.as_str(), one.line);
            cut(&format!("{file}:{line}: {} ({})", one.image, one.reason))
        });
        let unreadable = found
            .unreadable
            .iter()
            .map(|(file, error)| cut(&format!("{}: {error}", file.as_str())));
        Self {
            layer,
            covered: found.covered,
            not_covered: found.uncovered.len(),
            uncovered: uncovered.take(MAX_LISTED).collect(),
            unreadable: unreadable.take(MAX_LISTED).collect(),
        }
    }
}

fn cut(line: &str) -> String {
    truncated(line, MAX_LINE).to_owned()
}
