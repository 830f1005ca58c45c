//! How the store writes, names and removes files.
//!
//! Two rules make what is written whole or absent, also over a power loss: a file is synced before
//! it gets its name, and the folder is synced after. A sync that fails is never repeated into
//! "worked": Linux may drop the dirty pages and report the second attempt as a success, so the
//! file is thrown away instead.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::files::{FileSystem, Found, Handle, Stamp};

/// How often a file is named anew whose folder was removed in between.
const NAMING_ATTEMPTS: usize = 4;

/// The folder that the store lives in.
#[derive(Debug)]
pub(super) struct Disk {
    files: Arc<dyn FileSystem>,
    root: PathBuf,
    /// Folders whose own entry this process has synced. Folders are made and removed under this
    /// lock, so that nobody takes one for durable that was just made again.
    durable: Mutex<HashSet<PathBuf>>,
    /// Files whose name this process has synced. One that it found may be there in memory only: the
    /// process that wrote it may have ended before it could sync the name.
    settled: Mutex<HashSet<PathBuf>>,
    /// Files whose name a sync has failed for. A second sync could say "worked" of a name that the
    /// first one lost, so they are named anew before.
    doubtful: Mutex<HashSet<PathBuf>>,
    /// For the names of temporary files.
    count: AtomicU64,
}

/// A file that nobody reads yet; it goes when dropped, unless it got its name.
#[derive(Debug)]
pub(super) struct Temporary {
    files: Arc<dyn FileSystem>,
    handle: Box<dyn Handle>,
    path: PathBuf,
    is_named: bool,
}

impl Temporary {
    /// Makes the content durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.handle.flush()?;
        self.handle.sync()
    }

    /// What tells this file from others.
    pub(super) fn stamp(&self) -> io::Result<Stamp> {
        match self.handle.found()? {
            Found::File(stamp) => Ok(stamp),
            Found::Folder | Found::Other => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

impl Write for Temporary {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.handle.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.handle.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_named {
            // What stays behind is removed at the next start.
            let _ = self.files.remove_file(&self.path);
        }
    }
}

impl Disk {
    pub(super) fn new(files: Arc<dyn FileSystem>, root: PathBuf) -> Self {
        Self {
            files,
            root,
            durable: Mutex::default(),
            settled: Mutex::default(),
            doubtful: Mutex::default(),
            count: AtomicU64::new(0),
        }
    }

    pub(super) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Creates `folder` with its parents up to the root, each durably; cheap where it exists.
    ///
    /// A folder that somebody removed at run time is made again.
    pub(super) fn ensure_folder(&self, folder: &Path) -> io::Result<()> {
        self.ensure_folder_under(folder, &mut self.durable())
    }

    fn ensure_folder_under(&self, folder: &Path, durable: &mut HashSet<PathBuf>) -> io::Result<()> {
        if durable.contains(folder) && matches!(self.files.look(folder), Ok(Found::Folder)) {
            return Ok(());
        }
        if folder == self.root {
            self.files.create_root(folder)?;
        } else {
            let parent = folder.parent().unwrap_or(&self.root);
            self.ensure_folder_under(parent, durable)?;
            match self.files.create_folder(folder) {
                Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(source),
                _ => self.files.sync_folder(parent)?,
            }
        }
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// Removes a folder if it is empty; says whether it is gone.
    pub(super) fn remove_folder(&self, folder: &Path) -> io::Result<bool> {
        let mut durable = self.durable();
        match self.files.remove_folder(folder) {
            Ok(()) => {
                durable.remove(folder);
                Ok(true)
            }
            Err(source) if is_absent(&source) => Ok(true),
            Err(source) if source.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(source) => Err(source),
        }
    }

    /// A new file in `folder` that goes when dropped.
    pub(super) fn temporary(&self, folder: &Path) -> io::Result<Temporary> {
        self.ensure_folder(folder)?;
        loop {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}", std::process::id()));
            match self.files.create_file(&path) {
                Ok(handle) => {
                    return Ok(Temporary {
                        files: Arc::clone(&self.files),
                        handle,
                        path,
                        is_named: false,
                    });
                }
                // Left by a process of the same number.
                Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(source),
            }
        }
    }

    /// Gives a synced file its name in one step, in place of what had it.
    pub(super) fn name(&self, temporary: &mut Temporary, target: &Path) -> io::Result<()> {
        let folder = target.parent().unwrap_or(&self.root);
        self.settled().remove(target);
        let mut attempts = 0;
        loop {
            self.ensure_folder(folder)?;
            match self.files.rename(&temporary.path, target) {
                Ok(()) => break,
                // An empty folder may be cleared away at any time.
                Err(source) if is_absent(&source) && attempts < NAMING_ATTEMPTS => attempts += 1,
                Err(source) => return Err(source),
            }
        }
        temporary.is_named = true;
        self.doubtful().remove(target);
        Ok(())
    }

    /// Makes the name of `target` durable, with the folder that it is in: that may have been
    /// removed and made again by another before the file got its name.
    pub(super) fn settle(&self, target: &Path) -> io::Result<()> {
        let folder = target.parent().unwrap_or(&self.root);
        self.ensure_folder(folder)?;
        if let Err(source) = self.files.sync_folder(folder) {
            self.doubtful().insert(target.to_owned());
            return Err(source);
        }
        self.settled().insert(target.to_owned());
        Ok(())
    }

    /// As [`Self::settle`], for a file that may have been settled before.
    pub(super) fn settle_once(&self, target: &Path) -> io::Result<()> {
        if self.settled().contains(target) {
            return Ok(());
        }
        if self.doubtful().contains(target) {
            self.name_again(target)?;
        }
        self.settle(target)
    }

    /// Takes a file's name away and gives it back, so that the next sync has something to write.
    fn name_again(&self, target: &Path) -> io::Result<()> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.path("tmp");
        self.ensure_folder(&folder)?;
        let away = folder.join(format!("{}-{number}", std::process::id()));
        self.files.rename(target, &away)?;
        self.files.rename(&away, target)?;
        self.doubtful().remove(target);
        Ok(())
    }

    /// Opens a regular file; `None` where there is none.
    pub(super) fn open(&self, path: &Path) -> io::Result<Option<(Box<dyn Handle>, Stamp)>> {
        let handle = match self.files.open(path) {
            Ok(handle) => handle,
            Err(source) if is_absent(&source) => return Ok(None),
            Err(source) => return Err(source),
        };
        match handle.found()? {
            Found::File(stamp) => Ok(Some((handle, stamp))),
            Found::Folder | Found::Other => Ok(None),
        }
    }

    /// Looks at a regular file without opening it.
    pub(super) fn look(&self, path: &Path) -> io::Result<Option<Stamp>> {
        match self.files.look(path) {
            Ok(Found::File(stamp)) => Ok(Some(stamp)),
            Ok(Found::Folder | Found::Other) => Ok(None),
            Err(source) if is_absent(&source) => Ok(None),
            Err(source) => Err(source),
        }
    }

    /// Whether a folder lies there.
    pub(super) fn is_folder(&self, path: &Path) -> bool {
        matches!(self.files.look(path), Ok(Found::Folder))
    }

    /// The content of a file of at most `limit` bytes; a longer one is an error.
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some((handle, _)) = self.open(path)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        handle.take(limit + 1).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(content))
    }

    /// The names in a folder, in no order; none where the folder is absent.
    pub(super) fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        match self.files.list(folder) {
            Ok(names) => Ok(names),
            Err(source) if is_absent(&source) => Ok(Vec::new()),
            Err(source) => Err(source),
        }
    }

    /// Moves a file, over what has the name, without syncing: losing the move is harmless. Says
    /// whether it was there.
    pub(super) fn set_aside(&self, path: &Path, target: &Path) -> io::Result<bool> {
        self.ensure_folder(target.parent().unwrap_or(&self.root))?;
        self.settled().remove(path);
        match self.files.rename(path, target) {
            Ok(()) => Ok(true),
            Err(source) if is_absent(&source) => Ok(false),
            Err(source) => Err(source),
        }
    }

    /// Removes a file; says whether it was there.
    pub(super) fn remove(&self, path: &Path) -> io::Result<bool> {
        self.settled().remove(path);
        match self.files.remove_file(path) {
            Ok(()) => Ok(true),
            Err(source) if is_absent(&source) => Ok(false),
            Err(source) => Err(source),
        }
    }

    /// Takes the lock that keeps a second process out; `None` where another one has it.
    pub(super) fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Handle>>> {
        self.files.lock(path)
    }

    /// How many bytes can still be written.
    pub(super) fn free(&self) -> io::Result<u64> {
        self.files.free(&self.root)
    }

    fn doubtful(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A missing file and a foreign file in the place of a folder read the same: not there.
fn is_absent(source: &io::Error) -> bool {
    matches!(
        source.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
