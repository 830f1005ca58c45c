//! The file system as the store needs it: a trait, so that tests can put one in its place that
//! fails, fills up, or loses what was not synced.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What tells a file that was changed behind the store's back from the one that was hashed.
///
/// Times are those of the file system; a rename moves the change time on some of them, so a stamp
/// is taken after the file has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) modified: (i64, i64),
    pub(super) changed: (i64, i64),
}

/// What lies under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A regular file.
    File(Stamp),
    /// A folder.
    Folder,
    /// Something that the store has nothing to do with.
    Other,
}

/// An open file.
pub(super) trait Handle: Read + Write + Seek + Debug + Send + Sync {
    /// What is open.
    fn found(&self) -> io::Result<Found>;

    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;

    /// Has what the system keeps of the content in memory dropped, so that a read asks the disk.
    fn forget_cached(&self);

    /// The file as the standard library has it, to read from.
    fn into_file(self: Box<Self>) -> io::Result<File>;
}

/// The calls that the store makes. Each is one of the file system's, or nearly.
pub(super) trait FileSystem: Debug + Send + Sync {
    /// Creates a folder whose parent is there.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder with its parents, for the root alone.
    fn create_root(&self, path: &Path) -> io::Result<()>;

    /// Creates a file that is not there yet.
    fn create_file(&self, path: &Path) -> io::Result<Box<dyn Handle>>;

    /// Opens what is there to read it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>>;

    /// Looks at what is there, without following a link.
    fn look(&self, path: &Path) -> io::Result<Found>;

    /// The names in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Gives a file another name, in place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes the lock on a file, which is held as long as the handle; `None` where another has it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Handle>>>;

    /// How many bytes can still be written.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The operating system's.
#[derive(Debug)]
pub(super) struct OperatingSystem;

impl FileSystem for OperatingSystem {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create_root(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_file(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(File::open(path)?))
    }

    fn look(&self, path: &Path) -> io::Result<Found> {
        Ok(found(&fs::symlink_metadata(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Handle>>> {
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl Handle for File {
    fn found(&self) -> io::Result<Found> {
        Ok(found(&self.metadata()?))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }

    fn forget_cached(&self) {
        // Where the file system does not take the hint, the read is served from memory.
        let _ = rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed);
    }

    fn into_file(self: Box<Self>) -> io::Result<File> {
        Ok(*self)
    }
}

fn found(metadata: &Metadata) -> Found {
    if metadata.is_dir() {
        return Found::Folder;
    }
    if !metadata.is_file() {
        return Found::Other;
    }
    Found::File(Stamp {
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}
