//! What the cluster still needs of what was published: whoever collects garbage begins with it,
//! here or in another registry.

use std::collections::{BTreeMap, BTreeSet};

use crate::oci::{Digest, Tag};
use crate::snapshot::{Namespace, Repository};

/// What the cluster needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// The Snapshots, by their repository.
    pub snapshots: BTreeMap<Repository, LiveSnapshot>,
    /// The manifests that objects of Flux are told to pull.
    pub deployed: BTreeSet<Digest>,
    /// The UIDs of the objects with whose credentials is pulled.
    pub holders: BTreeSet<String>,
    /// The namespaces in which there is anything of ours.
    pub namespaces: BTreeSet<Namespace>,
}

/// What one Snapshot needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveSnapshot {
    /// The tag that it has now.
    pub tag: Option<Tag>,
    /// Its layer.
    pub layer: Option<Digest>,
    /// Its manifest.
    pub manifest: Option<Digest>,
}

impl LiveSnapshot {
    /// The content that it names itself.
    pub fn content(&self) -> impl Iterator<Item = &Digest> {
        self.layer.iter().chain(&self.manifest)
    }
}
