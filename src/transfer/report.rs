//! What a transfer did.

use serde::Serialize;

use crate::oci::Digest;
use crate::ocm::{ComponentName, Version};

/// What became of one component version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// The component.
    pub component: ComponentName,
    /// Its version.
    pub version: Version,
    /// The digest of its manifest at the target.
    pub digest: Digest,
    /// What was done.
    pub outcome: Outcome,
    /// What it took.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What was done with a component version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// It was written.
    Transferred,
    /// It was there already.
    Unchanged,
}

/// How content came to the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Blobs that were sent.
    pub blobs_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Blobs that the target took over from another of its repositories.
    pub blobs_mounted: u64,
    /// Blobs that the target had.
    pub blobs_present: u64,
}
