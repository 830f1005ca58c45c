//! What is on the disk and in memory, apart.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::ROOT;
use crate::store::files::{Found, Stamp};
use crate::store::tests::crashes::checker::Tree;

/// A file or folder.
#[derive(Debug, Clone)]
pub(super) enum Node {
    File {
        content: Vec<u8>,
        /// What is on the disk for sure; nothing before the first sync.
        durable: Option<Vec<u8>>,
        modified: u64,
        /// A sync failed: the pages are dropped, and later ones say "worked" of nothing.
        is_lost: bool,
    },
    Folder {
        entries: BTreeMap<OsString, usize>,
        durable: BTreeMap<OsString, usize>,
        /// Changes of names since the last sync, oldest first.
        pending: Vec<Change>,
    },
}

/// One change of a name; the disk may see any of them, or not, until the folder is synced.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) name: OsString,
    /// What the name comes to mean; nothing where it is removed.
    pub(super) node: Option<usize>,
    /// The change in another folder without which this one is not seen: a rename never takes the
    /// old name away before the new one is there.
    pub(super) after: Option<(usize, OsString)>,
}

/// When a call fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::tests) struct Fault {
    /// The number of the first call that fails.
    pub(in crate::store::tests) first: u64,
    /// The number of the first after it that does not.
    pub(in crate::store::tests) end: u64,
    pub(in crate::store::tests) kind: io::ErrorKind,
}

/// Everything on the disk and in memory.
#[derive(Debug, Clone)]
pub(in crate::store::tests) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) clock: u64,
    pub(super) calls: u64,
    pub(super) fault: Option<Fault>,
}

impl World {
    /// An empty disk.
    pub(in crate::store::tests) fn new() -> Self {
        Self {
            nodes: vec![empty_folder()],
            clock: 0,
            calls: 0,
            fault: None,
        }
    }

    /// The files below the root, as a process sees them.
    pub(in crate::store::tests) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        if let Ok(root) = self.find(Path::new(ROOT)) {
            self.add_to(&mut tree, root, &PathBuf::new());
        }
        tree
    }

    fn add_to(&self, tree: &mut Tree, node: usize, path: &Path) {
        match &self.nodes[node] {
            Node::File { content, .. } => {
                tree.insert(path.to_owned(), content.clone());
            }
            Node::Folder { entries, .. } => {
                for (name, node) in entries {
                    self.add_to(tree, *node, &path.join(name));
                }
            }
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for part in parts(path) {
            let Node::Folder { entries, .. } = &self.nodes[node] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = *entries.get(part).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    pub(super) fn parent(&self, path: &Path) -> io::Result<(usize, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().unwrap_or(Path::new("/")))?;
        Ok((folder, name.to_owned()))
    }

    pub(super) fn change(&mut self, folder: usize, change: Change) {
        if let Node::Folder {
            entries, pending, ..
        } = &mut self.nodes[folder]
        {
            match change.node {
                Some(node) => entries.insert(change.name.clone(), node),
                None => entries.remove(&change.name),
            };
            pending.push(change);
        }
    }

    pub(super) fn create(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        if self.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (folder, name) = self.parent(path)?;
        let created = self.nodes.len();
        self.nodes.push(node);
        let change = Change {
            name,
            node: Some(created),
            after: None,
        };
        self.change(folder, change);
        Ok(created)
    }

    pub(super) fn found(&self, node: usize) -> Found {
        match &self.nodes[node] {
            Node::Folder { .. } => Found::Folder,
            Node::File {
                content, modified, ..
            } => Found::File(Stamp {
                inode: node as u64,
                size: content.len() as u64,
                modified: (i64::try_from(*modified).unwrap(), 0),
                changed: (0, 0),
            }),
        }
    }

    /// Counts a call, which fails if it is to.
    pub(super) fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        self.clock += 1;
        match self.fault {
            Some(Fault { first, end, kind }) if (first..end).contains(&self.calls) => {
                Err(kind.into())
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn empty_folder() -> Node {
    Node::Folder {
        entries: BTreeMap::new(),
        durable: BTreeMap::new(),
        pending: Vec::new(),
    }
}

fn parts(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.iter().filter(|part| *part != OsStr::new("/"))
}

pub(super) fn sync_folder(world: &mut World, node: usize) {
    if let Node::Folder {
        durable, pending, ..
    } = &mut world.nodes[node]
    {
        // Not the entries as they are: what an earlier sync lost stays lost.
        for Change { name, node, .. } in pending.drain(..) {
            match node {
                Some(node) => durable.insert(name, node),
                None => durable.remove(&name),
            };
        }
    }
}
