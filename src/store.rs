//! The content store: one directory, addressed by digest, that survives a crash at any moment.
//!
//! ```text
//! version                        the layout's version
//! lock                           held by the process that has the store open
//! tmp/                           what is being written; emptied at start-up
//! blobs/<algorithm>/<2>/<hex>    immutable content
//! refs/tags/<namespace>/<snapshot>/<tag>
//! refs/derivations/<namespace>/<algorithm>/<2>/<hex>
//! refs/grants/<namespace>/<holder>/<digest of the repository's URL>/<algorithm>-<hex>
//! notes/<name>                   what the process wants to know after a restart
//! trash/                         content that was swept; emptied by the next sweep, and at start-up
//! quarantine/                    content that did not match its digest; emptied at start-up
//! ```
//!
//! **Writing.** Content is hashed on its way into `tmp/`, synced, renamed to its digest, and the
//! folder is synced: a name is there with all of its bytes or it is not there. Temporary files lie
//! in one folder because the digest, and so the right folder, is unknown until the last byte; it
//! is inside the root, so the rename stays on one file system, and start-up has one folder to
//! clear.
//!
//! **Reading.** A name is trusted lazily. The first time a process opens a blob it is hashed
//! whole, and again whenever its inode, size or times are no longer those that were hashed; later
//! opens cost one `stat`. A blob that is not what its name says is moved to `quarantine/` and
//! reported as absent, so that the caller fetches it again. An open [`Blob`] keeps its bytes when
//! the blob is removed or replaced.
//!
//! That does not notice what rots under a file whose times stay: a [`Rereading`] does, a little at a
//! time while the store is in use, and [`scrub`] at once while it is not.
//!
//! **Removing** is the work of a [`Collection`]: what the cluster needs is marked, what nothing
//! points to is moved to `trash/` after a grace, and unlinked by the next collection.
//!
//! **Losing** the directory, or any file in it, costs time and never correctness.
//!
//! All calls block on the file system: async callers use [`tokio::task::spawn_blocking`].

mod blob;
mod counts;
mod disk;
mod files;
mod garbage;
mod live;
mod plan;
mod pointer;
mod reread;
mod scrub;
mod survey;
mod uses;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tracing::warn;

use crate::oci::Digest;

pub use blob::{Blob, BlobWriter, Stored};
pub use counts::{CacheStatistics, Cached, Statistics};
pub use garbage::{Collection, Swept};
pub use live::{Live, LiveSnapshot};
pub use plan::Plan;
pub use pointer::{Holder, TagRecord};
pub use reread::{Reread, Rereading};
pub use scrub::{Finding, FindingKind, Scrubbed, scrub};
pub use uses::Hold;

use counts::Counts;
use disk::Disk;
use files::{FileSystem, Handle, OperatingSystem, Stamp};
use uses::Uses;

/// The layout that this program writes.
const LAYOUT_VERSION: u32 = 1;

/// How many blobs can be hashed at the same time before their first use.
const VERIFYING_SHARDS: usize = 16;

/// How many repositories can have tags written at the same time.
const TAGGING_SHARDS: usize = 16;

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system refused; the operation left nothing half done.
    #[error("failed to {action} {path:?} in the content store{}", hint(source))]
    Access {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },

    /// The directory was written by a newer program.
    #[error(
        "the content store {path:?} has layout version {found:?}, this program knows up to \
         {LAYOUT_VERSION}; use the newer program or an empty directory"
    )]
    NewerLayout {
        /// The store's root.
        path: PathBuf,
        /// What its `version` file says.
        found: String,
    },

    /// There is nothing to read.
    #[error("{path:?} holds no content store")]
    NoStore {
        /// The folder.
        path: PathBuf,
    },

    /// Another process has the store open.
    #[error("the content store {path:?} is in use by another process; stop that one first")]
    InUse {
        /// The store's root.
        path: PathBuf,
    },

    /// The written content is not what was asked for; nothing was stored.
    #[error("content has digest {found}, expected {expected}; nothing was stored")]
    Mismatch {
        /// What the content had to be.
        expected: Digest,
        /// What it is.
        found: Digest,
    },

    /// A blob is larger than the caller wants to hold in memory.
    #[error("blob {digest} has {size} bytes, more than the {limit} that may be read at once")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The caller's limit in bytes.
        limit: u64,
    },

    /// A record cannot be written as JSON, or is too long for a pointer file.
    #[error("failed to encode the record {path:?}: {problem}")]
    Encode {
        /// The pointer file.
        path: PathBuf,
        /// What does not fit.
        problem: String,
    },
}

impl Error {
    /// Whether it is the file system's doing, and so can go away by itself or by somebody else's
    /// work on the machine.
    pub fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Access { .. })
    }

    /// Whether the device or the quota is full, which goes away when space is made.
    pub fn is_storage_full(&self) -> bool {
        match self {
            Self::Access { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::NewerLayout { .. }
            | Self::NoStore { .. }
            | Self::InUse { .. }
            | Self::Mismatch { .. }
            | Self::TooLarge { .. }
            | Self::Encode { .. } => false,
        }
    }

    fn access(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Access {
            action,
            path,
            source,
        }
    }
}

/// What to do about an error of the file system, where that is known.
fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on the volume of --data-dir, or lower --store-size-limit"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount the volume of --data-dir writable",
        io::ErrorKind::PermissionDenied => "; let the user that this program runs as write to it",
        _ => "",
    }
}

/// Results of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A handle on the store; clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Disk,
    /// Blobs whose bytes this process has hashed, and the file that it saw. Names of blobs change
    /// under this lock only, so that a fresh blob is never quarantined in place of a bad one.
    verified: Mutex<HashMap<Digest, Stamp>>,
    /// Two readers of the same unverified blob hash it once, one after the other.
    verifying: [Mutex<()>; VERIFYING_SHARDS],
    /// The tags of a repository are written and removed one after the other.
    tagging: [Mutex<()>; TAGGING_SHARDS],
    uses: Arc<Uses>,
    counts: Counts,
    /// Held open for the lock on it.
    _lock: Box<dyn Handle>,
}

impl Store {
    /// Opens the store in `root`, which is created where it is absent.
    ///
    /// Removes what an interrupted process left in `tmp/`, `trash/` and `quarantine/` without
    /// reading a blob. Files that the store does not know are left alone. Fails where the layout is
    /// newer, where another process has the store open, and where the directory cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::open_on(Arc::new(OperatingSystem), &root.into())
    }

    fn open_on(files: Arc<dyn FileSystem>, root: &Path) -> Result<Self> {
        let disk = Disk::new(files, root.to_owned());
        let version = check_layout(&disk, root)?;
        disk.ensure_folder(root)
            .map_err(Error::access("create", root))?;
        let store = Self::locked(disk, root)?;
        for folder in ["tmp", blob::TRASH, "quarantine"] {
            store.clear(folder)?;
        }
        if version.is_none() {
            store.replace_file(
                &root.join("version"),
                format!("{LAYOUT_VERSION}\n").as_bytes(),
            )?;
        }
        store.check_writable()?;
        Ok(store)
    }

    /// Opens a store that is there, and changes nothing in it.
    fn open_as_it_is(files: Arc<dyn FileSystem>, root: &Path) -> Result<Self> {
        let disk = Disk::new(files, root.to_owned());
        if check_layout(&disk, root)?.is_none() {
            return Err(Error::NoStore {
                path: root.to_owned(),
            });
        }
        Self::locked(disk, root)
    }

    fn locked(disk: Disk, root: &Path) -> Result<Self> {
        let lock_path = root.join("lock");
        let lock = disk
            .lock(&lock_path)
            .map_err(Error::access("lock", &lock_path))?
            .ok_or_else(|| Error::InUse {
                path: root.to_owned(),
            })?;
        Ok(Self {
            inner: Arc::new(Inner {
                disk,
                verified: Mutex::default(),
                verifying: std::array::from_fn(|_| Mutex::default()),
                tagging: std::array::from_fn(|_| Mutex::default()),
                uses: Arc::default(),
                counts: Counts::default(),
                _lock: lock,
            }),
        })
    }

    /// Writes, syncs and removes a small file: whether the store can take content now.
    pub fn check_writable(&self) -> Result<()> {
        let folder = self.temporary_folder();
        let attempt = || {
            let mut file = self.disk().temporary(&folder)?;
            io::Write::write_all(&mut file, b"probe")?;
            file.sync()
        };
        attempt().map_err(Error::access("write to", &folder))
    }

    /// Puts `content` under `target` in one step, durably, in place of what was there.
    fn replace_file(&self, target: &Path, content: &[u8]) -> Result<()> {
        let attempt = || {
            let mut temporary = self.disk().temporary(&self.temporary_folder())?;
            io::Write::write_all(&mut temporary, content)?;
            temporary.sync()?;
            self.disk().name(&mut temporary, target)?;
            self.disk().settle(target)
        };
        attempt().map_err(Error::access("write", target))
    }

    /// Removes the files of a folder that only leftovers lie in.
    fn clear(&self, folder: &str) -> Result<()> {
        let folder = self.disk().path(folder);
        let names = self.disk().list(&folder);
        for name in names.map_err(Error::access("list", &folder))? {
            let path = folder.join(name);
            // A folder in here is not ours; it is in nobody's way.
            if self.disk().is_folder(&path) {
                continue;
            }
            let removed = self.disk().remove(&path);
            removed.map_err(Error::access("remove", &path))?;
        }
        Ok(())
    }

    /// Begins work: what it uses of the store stays until the hold is dropped, also what nothing
    /// points to yet.
    pub fn hold(&self) -> Hold {
        self.uses().hold()
    }

    fn uses(&self) -> &Arc<Uses> {
        &self.inner.uses
    }

    fn temporary_folder(&self) -> PathBuf {
        self.disk().path("tmp")
    }

    fn disk(&self) -> &Disk {
        &self.inner.disk
    }
}

/// Reads the layout's version before anything is touched; `None` where the store is new.
fn check_layout(disk: &Disk, root: &Path) -> Result<Option<u32>> {
    let path = root.join("version");
    let found = disk.read(&path, 64).map_err(Error::access("read", &path))?;
    let Some(found) = found else {
        return Ok(None);
    };
    let found = String::from_utf8_lossy(&found).trim().to_owned();
    match found.parse::<u32>() {
        Ok(version) if version <= LAYOUT_VERSION => Ok(Some(version)),
        // The file is written whole or not at all, so an unknown text is a layout of the future.
        _ => {
            warn!(root = %root.display(), %found, "content store has an unknown layout");
            Err(Error::NewerLayout {
                path: root.to_owned(),
                found,
            })
        }
    }
}

#[cfg(test)]
mod tests;
