//! Every file-system call of the store, and nothing else.
//!
//! Two rules make what is written whole or absent, also over a power loss: a file is synced before
//! it gets its name, and the folder is synced after. A sync that fails is never repeated into
//! "worked": Linux may drop the dirty pages and report the second attempt as a success, so the
//! file is thrown away instead.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tempfile::{NamedTempFile, TempPath};

/// What tells a file that was changed behind the store's back from the one that was hashed.
///
/// Times are those of the file system; a rename moves the change time on some of them, so a stamp
/// is taken after the file has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The folder that the store lives in.
#[derive(Debug)]
pub(super) struct Disk {
    root: PathBuf,
    /// Folders whose own entry this process has synced.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Disk {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            durable: Mutex::default(),
        }
    }

    pub(super) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Creates `folder` with its parents up to the root, each durably; cheap where it exists.
    ///
    /// A folder that somebody removed at run time is made again.
    pub(super) fn ensure_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() && self.durable().contains(folder) {
            return Ok(());
        }
        if folder == self.root {
            fs::create_dir_all(folder)?;
        } else {
            let parent = folder.parent().unwrap_or(&self.root);
            self.ensure_folder(parent)?;
            match fs::create_dir(folder) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(source),
                _ => sync_folder(parent)?,
            }
        }
        self.durable().insert(folder.to_owned());
        Ok(())
    }

    /// A nameless-to-readers file in `folder` that goes when dropped.
    pub(super) fn temporary(&self, folder: &Path) -> io::Result<NamedTempFile> {
        self.ensure_folder(folder)?;
        NamedTempFile::new_in(folder)
    }

    /// Makes the content of a temporary file durable; it has no name that anybody reads yet.
    pub(super) fn finish(temporary: NamedTempFile) -> io::Result<(File, TempPath)> {
        temporary.as_file().sync_all()?;
        Ok(temporary.into_parts())
    }

    /// Gives the file its name unless that is taken; says whether it was free.
    pub(super) fn name_new(temporary: TempPath, target: &Path) -> io::Result<Option<TempPath>> {
        match temporary.persist_noclobber(target) {
            Ok(()) => Ok(None),
            Err(failure) if failure.error.kind() == io::ErrorKind::AlreadyExists => {
                Ok(Some(failure.path))
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// Gives the file its name in one step, in place of what had it.
    pub(super) fn name_over(temporary: TempPath, target: &Path) -> io::Result<()> {
        temporary.persist(target).map_err(|failure| failure.error)
    }

    /// Opens a regular file; `None` where there is none.
    pub(super) fn open(path: &Path) -> io::Result<Option<(File, Metadata)>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(source) if is_absent(&source) => return Ok(None),
            Err(source) => return Err(source),
        };
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some((file, metadata)))
    }

    /// Looks at a regular file without opening it.
    pub(super) fn look(path: &Path) -> io::Result<Option<Metadata>> {
        match fs::symlink_metadata(path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata)),
            Err(source) if is_absent(&source) => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// The content of a file of at most `limit` bytes; a longer one is an error.
    pub(super) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((file, _)) = Self::open(path)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        file.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(content))
    }

    /// The names in a folder, in no order; none where the folder is absent.
    pub(super) fn list(folder: &Path) -> io::Result<Vec<OsString>> {
        match fs::read_dir(folder) {
            Ok(entries) => entries
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect(),
            Err(source) if is_absent(&source) => Ok(Vec::new()),
            Err(source) => Err(source),
        }
    }

    /// Moves a file, over what has the name, without syncing: losing the move is harmless.
    pub(super) fn set_aside(&self, path: &Path, target: &Path) -> io::Result<()> {
        self.ensure_folder(target.parent().unwrap_or(&self.root))?;
        fs::rename(path, target)
    }

    /// Removes a file; says whether it was there.
    pub(super) fn remove(path: &Path) -> io::Result<bool> {
        match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(source) if is_absent(&source) => Ok(false),
            Err(source) => Err(source),
        }
    }

    /// Takes the lock that keeps a second process out; `None` where another one has it.
    pub(super) fn lock(path: &Path) -> io::Result<Option<File>> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }

    fn durable(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the names in `folder` durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A missing file and a foreign file in the place of a folder read the same: not there.
fn is_absent(source: &io::Error) -> bool {
    matches!(
        source.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
