//! The paths an archive has used so far, in bounded memory, and what may not come after them.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::error::shown;
use super::{EntryPath, Error, Limits, Result};

/// As many links in a row as Linux follows (`path_resolution(7)`).
const LONGEST_CHAIN: usize = 40;

/// A path by 128 bits of its SHA-256: short, and nobody finds two that are equal.
type Key = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    File,
    /// A directory that only the path of another entry implies.
    ImpliedDirectory,
    Directory,
    /// A symbolic link that was dropped, by where it points.
    Link(Key),
}

/// What lies at each path.
#[derive(Debug)]
pub(super) struct Known {
    places: HashMap<Key, Place>,
    allowed: u64,
}

impl Known {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            places: HashMap::new(),
            allowed: limits.entries,
        }
    }

    /// Places a file: nothing may be there yet.
    pub(super) fn add_file(&mut self, path: &EntryPath) -> Result<()> {
        self.add(path, Place::File)
    }

    /// Places a directory. The same one may come again: archives that were appended to have it.
    /// Gives whether it is the first time.
    pub(super) fn add_directory(&mut self, path: &EntryPath) -> Result<bool> {
        let key = *self
            .imply_parents(path)?
            .last()
            .expect("a path has a component");
        match self.places.get(&key) {
            Some(Place::Directory) => Ok(false),
            Some(Place::ImpliedDirectory) => {
                self.places.insert(key, Place::Directory);
                Ok(true)
            }
            Some(Place::File | Place::Link(_)) => Err(taken(path)),
            None => self.insert(key, Place::Directory).map(|()| true),
        }
    }

    /// Places a symbolic link that is dropped, so that nothing is written through it later.
    ///
    /// Refuses one that leaves the root, by itself or by way of other links: `..` is accepted in
    /// front of the target only, where it is about directories that are known to be no links.
    pub(super) fn add_link(
        &mut self,
        path: &EntryPath,
        target: &[u8],
        limits: &Limits,
    ) -> Result<()> {
        let refuse = |problem| Error::FollowLink {
            path: path.clone(),
            target: shown(target),
            problem,
        };
        let target_path = resolve(path, target, limits).map_err(refuse)?;
        let target_key = target_path
            .as_ref()
            .map_or([0; 16], |path| keys(path)[path.components().count() - 1]);
        self.add(path, Place::Link(target_key))?;
        let mut next = target_key;
        for _ in 0..LONGEST_CHAIN {
            match self.places.get(&next) {
                Some(Place::Link(target)) => next = *target,
                _ => return Ok(()),
            }
        }
        Err(refuse("it is part of a cycle or a long chain of links"))
    }

    fn add(&mut self, path: &EntryPath, place: Place) -> Result<()> {
        let key = *self
            .imply_parents(path)?
            .last()
            .expect("a path has a component");
        if self.places.contains_key(&key) {
            return Err(taken(path));
        }
        self.insert(key, place)
    }

    fn imply_parents(&mut self, path: &EntryPath) -> Result<Vec<Key>> {
        let keys = keys(path);
        for parent in &keys[..keys.len() - 1] {
            match self.places.get(parent) {
                Some(Place::Directory | Place::ImpliedDirectory) => {}
                Some(Place::File) => {
                    return Err(Error::PlaceEntry {
                        path: path.clone(),
                        problem: "it lies below a file",
                    });
                }
                Some(Place::Link(_)) => {
                    return Err(Error::PlaceEntry {
                        path: path.clone(),
                        problem: "it lies below a symbolic link",
                    });
                }
                None => self.insert(*parent, Place::ImpliedDirectory)?,
            }
        }
        Ok(keys)
    }

    fn insert(&mut self, key: Key, place: Place) -> Result<()> {
        if self.places.len() as u64 >= self.allowed {
            return Err(Error::ExceedLimit {
                allowed: self.allowed,
                unit: "entries",
            });
        }
        self.places.insert(key, place);
        Ok(())
    }
}

fn taken(path: &EntryPath) -> Error {
    Error::PlaceEntry {
        path: path.clone(),
        problem: "an earlier entry has the same path",
    }
}

/// The keys of all directories above `path`, then its own.
fn keys(path: &EntryPath) -> Vec<Key> {
    let mut hasher = Sha256::new();
    path.components()
        .map(|component| {
            hasher.update(component.as_bytes());
            hasher.update(b"/");
            let digest = hasher.clone().finalize();
            Key::try_from(&digest[..16]).expect("SHA-256 has 32 bytes")
        })
        .collect()
}

/// Where the link at `path` points, `None` for the root.
fn resolve(
    path: &EntryPath,
    target: &[u8],
    limits: &Limits,
) -> Result<Option<EntryPath>, &'static str> {
    const LEAVES: &str = "it leaves the archive";
    if target.is_empty() {
        return Err("the target is empty");
    }
    if target.starts_with(b"/") {
        return Err("the target is absolute");
    }
    let mut parents: Vec<&str> = path.components().collect();
    parents.pop();
    let mut rest = target;
    while let Some(behind) = strip_front(rest, b"..").or_else(|| strip_front(rest, b".")) {
        if rest.starts_with(b"..") && parents.pop().is_none() {
            return Err(LEAVES);
        }
        rest = behind;
    }
    let joined = [parents.join("/").as_bytes(), b"/", rest].concat();
    let joined = joined.strip_prefix(b"/").unwrap_or(&joined);
    EntryPath::parse(joined, limits).map_err(|_| "the target is not a plain relative path")
}

/// What follows `component` and its separators at the start of `path`.
fn strip_front<'a>(path: &'a [u8], component: &[u8]) -> Option<&'a [u8]> {
    let rest = path.strip_prefix(component)?;
    if !rest.is_empty() && !rest.starts_with(b"/") {
        return None;
    }
    let start = rest.iter().position(|byte| *byte != b'/');
    Some(&rest[start.unwrap_or(rest.len())..])
}
