//! What a power failure can leave of a [`World`].

use std::collections::BTreeMap;
use std::ffi::OsString;

use fastrand::Rng;

use super::world::{Node, World, empty_folder};

/// How a crash treats what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::tests) enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All names are there, with all bytes.
    Kept,
    /// All names are there, with the first of their bytes.
    Halved,
    /// All names are there, with zeros for bytes.
    Zeroed,
    /// Each name and each file has a fate of its own.
    Mixed,
}

impl World {
    /// What a disk could hold that lost its power now.
    pub(in crate::store::tests) fn after_crash(&self, fate: Fate, random: &mut Rng) -> Self {
        let mut after = Self::new();
        let mut seen = BTreeMap::new();
        self.copy_folder(0, 0, &mut after, fate, random, &mut seen);
        after
    }

    fn copy_folder(
        &self,
        from: usize,
        to: usize,
        after: &mut Self,
        fate: Fate,
        random: &mut Rng,
        seen: &mut BTreeMap<(usize, OsString), bool>,
    ) {
        for (name, node) in self.survivors(from, fate, random, seen) {
            let copied = after.nodes.len();
            match &self.nodes[node] {
                Node::File {
                    content, durable, ..
                } => {
                    let content = survived(content, durable.as_deref(), fate, random);
                    after.nodes.push(Node::File {
                        durable: Some(content.clone()),
                        content,
                        modified: 0,
                        is_lost: false,
                    });
                }
                Node::Folder { .. } => {
                    after.nodes.push(empty_folder());
                    self.copy_folder(node, copied, after, fate, random, seen);
                }
            }
            if let Node::Folder {
                entries, durable, ..
            } = &mut after.nodes[to]
            {
                entries.insert(name.clone(), copied);
                durable.insert(name, copied);
            }
        }
    }

    /// The names of a folder that a crash leaves.
    fn survivors(
        &self,
        folder: usize,
        fate: Fate,
        random: &mut Rng,
        seen: &mut BTreeMap<(usize, OsString), bool>,
    ) -> BTreeMap<OsString, usize> {
        let Node::Folder {
            durable, pending, ..
        } = &self.nodes[folder]
        else {
            return BTreeMap::new();
        };
        let mut names = durable.clone();
        for change in pending {
            let is_possible = change.after.as_ref().is_none_or(|other| {
                self.is_durable(other) || self.decides(other, fate, random, seen)
            });
            let here = (folder, change.name.clone());
            if is_possible && self.decides(&here, fate, random, seen) {
                match change.node {
                    Some(node) => names.insert(change.name.clone(), node),
                    None => names.remove(&change.name),
                };
            }
        }
        names
    }

    fn is_durable(&self, (folder, name): &(usize, OsString)) -> bool {
        match &self.nodes[*folder] {
            Node::Folder { pending, .. } => !pending.iter().any(|change| change.name == *name),
            Node::File { .. } => false,
        }
    }

    /// Whether the disk has seen the changes of a name.
    #[expect(clippy::unused_self, reason = "reads as a question to the world")]
    fn decides(
        &self,
        name: &(usize, OsString),
        fate: Fate,
        random: &mut Rng,
        seen: &mut BTreeMap<(usize, OsString), bool>,
    ) -> bool {
        match fate {
            Fate::Lost => false,
            Fate::Kept | Fate::Halved | Fate::Zeroed => true,
            Fate::Mixed => *seen.entry(name.clone()).or_insert_with(|| random.bool()),
        }
    }
}

/// The bytes of a file that a crash leaves.
fn survived(content: &[u8], durable: Option<&[u8]>, fate: Fate, random: &mut Rng) -> Vec<u8> {
    if durable == Some(content) {
        return content.to_vec();
    }
    let fate = match fate {
        Fate::Mixed => [Fate::Lost, Fate::Kept, Fate::Halved, Fate::Zeroed][random.usize(..4)],
        fate => fate,
    };
    match fate {
        Fate::Lost => durable.unwrap_or_default().to_vec(),
        Fate::Kept | Fate::Mixed => content.to_vec(),
        Fate::Halved => content[..random.usize(..=content.len())].to_vec(),
        Fate::Zeroed => vec![0; content.len()],
    }
}
