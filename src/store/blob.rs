//! Immutable content by digest: written as a stream, hashed before it is first read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use tracing::warn;

use crate::oci::{Algorithm, Digest, Hasher};

use super::disk::Temporary;
use super::files::{Handle, Stamp};
use super::uses::Used;
use super::{Error, HashMap, Result, Store, VERIFYING_SHARDS};

/// How much of a blob is in memory while it is hashed.
pub(super) const PIECE: usize = 64 * 1024;

/// Where blobs lie that were swept, until the next sweep.
pub(super) const TRASH: &str = "trash";

/// What a finished write stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The digest of the content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Takes content in; nothing is visible until [`BlobWriter::commit`], and nothing is left behind
/// where that is not reached.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    temporary: Temporary,
    hasher: Hasher,
}

impl BlobWriter {
    /// How many bytes were written so far.
    pub fn length(&self) -> u64 {
        self.hasher.length()
    }

    /// Stores the content under its digest, durably.
    pub fn commit(self) -> Result<Stored> {
        self.store_if(|_| Ok(()))
    }

    /// Stores the content if its digest is `expected`; else it is thrown away.
    ///
    /// The writer has to be of the algorithm of `expected`, see [`Store::writer_by`].
    pub fn commit_as(self, expected: &Digest) -> Result<Stored> {
        self.store_if(|found| {
            if found == expected {
                return Ok(());
            }
            Err(Error::Mismatch {
                expected: expected.clone(),
                found: found.clone(),
            })
        })
    }

    fn store_if(self, check: impl FnOnce(&Digest) -> Result<()>) -> Result<Stored> {
        let Self {
            store,
            temporary,
            hasher,
        } = self;
        let size = hasher.length();
        let digest = hasher.finish();
        check(&digest)?;
        store
            .keep(temporary, &digest, size)
            .map_err(Error::access("write", store.blob_path(&digest)))?;
        Ok(Stored { digest, size })
    }
}

impl Write for BlobWriter {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.temporary.write(piece).map_err(|source| {
            let folder = self.store.temporary_folder();
            io::Error::new(source.kind(), Error::access("write to", folder)(source))
        })?;
        self.hasher.update(&piece[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

/// An open blob whose bytes were checked against its digest.
///
/// It stays readable to its end when the blob is removed from the store meanwhile.
#[derive(Debug)]
pub struct Blob {
    handle: Box<dyn Handle>,
    size: u64,
}

impl Blob {
    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, positioned at the start.
    pub fn into_file(self) -> io::Result<File> {
        self.handle.into_file()
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.handle.read(buffer)
    }
}

impl Seek for Blob {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.handle.seek(position)
    }
}

impl Store {
    /// Starts a blob that gets a SHA-256 digest.
    pub fn writer(&self) -> Result<BlobWriter> {
        self.writer_by(Algorithm::Sha256)
    }

    /// Starts a blob that gets a digest by `algorithm`.
    pub fn writer_by(&self, algorithm: Algorithm) -> Result<BlobWriter> {
        let folder = self.temporary_folder();
        let temporary = self
            .disk()
            .temporary(&folder)
            .map_err(Error::access("create a file in", &folder))?;
        Ok(BlobWriter {
            store: self.clone(),
            temporary,
            hasher: Hasher::new(algorithm),
        })
    }

    /// The size of a blob by its name alone: cheap, and no promise about its bytes.
    pub fn contains(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.blob_path(digest);
        let look = || {
            self.disk()
                .look(&path)
                .map_err(Error::access("look at", &path))
        };
        self.uses().touch(Used::Blob(digest.clone()));
        let stamp = match look()? {
            None if self.rescue(digest)? => look()?,
            stamp => stamp,
        };
        Ok(stamp.map(|stamp| stamp.size))
    }

    /// Opens a blob; `None` where it is absent or was not what its digest says.
    ///
    /// The first time, this reads the whole blob (the module's documentation says when again).
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        self.uses().touch(Used::Blob(digest.clone()));
        let opened = match self.open_unchecked(digest)? {
            None if self.rescue(digest)? => self.open_unchecked(digest)?,
            opened => opened,
        };
        let Some((handle, stamp)) = opened else {
            return Ok(None);
        };
        if self.is_verified(digest, stamp) {
            let size = stamp.size;
            return Ok(Some(Blob { handle, size }));
        }
        let shard = usize::from(digest.hex().as_bytes()[0]) % VERIFYING_SHARDS;
        let _turn = self.inner.verifying[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have hashed, replaced or removed it while this one waited.
        let Some((mut handle, stamp)) = self.open_unchecked(digest)? else {
            return Ok(None);
        };
        let size = stamp.size;
        if self.is_verified(digest, stamp) {
            return Ok(Some(Blob { handle, size }));
        }
        match matches(handle.as_mut(), digest) {
            Ok(true) => {
                self.verified().insert(digest.clone(), stamp);
                Ok(Some(Blob { handle, size }))
            }
            Ok(false) => self.quarantine(digest, stamp, "content has another digest"),
            // What the disk cannot read back has to be fetched again as well.
            Err(source) => self.quarantine(digest, stamp, &source.to_string()),
        }
    }

    pub(super) fn open_unchecked(
        &self,
        digest: &Digest,
    ) -> Result<Option<(Box<dyn Handle>, Stamp)>> {
        let path = self.blob_path(digest);
        self.disk().open(&path).map_err(Error::access("open", path))
    }

    /// Hashes a blob even if it was hashed before, as a scrub does; its size where it is sound.
    pub fn recheck(&self, digest: &Digest) -> Result<Option<u64>> {
        self.verified().remove(digest);
        Ok(self.open_blob(digest)?.map(|blob| blob.size()))
    }

    /// Stores small content, such as a manifest, if its digest is `expected`.
    pub fn write_small(&self, expected: &Digest, content: &[u8]) -> Result<Stored> {
        let mut writer = self.writer_by(expected.algorithm())?;
        writer
            .write_all(content)
            .map_err(Error::access("write", self.blob_path(expected)))?;
        writer.commit_as(expected)
    }

    /// The whole of a blob of at most `limit` bytes, for manifests and descriptors.
    pub fn read_small(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(mut blob) = self.open_blob(digest)? else {
            return Ok(None);
        };
        let size = blob.size();
        if size > limit {
            return Err(Error::TooLarge {
                digest: digest.clone(),
                size,
                limit,
            });
        }
        let mut content = Vec::new();
        blob.read_to_end(&mut content)
            .map_err(Error::access("read", self.blob_path(digest)))?;
        Ok(Some(content))
    }

    /// Removes a blob; says whether it was there. Open readers keep its bytes.
    pub fn remove_blob(&self, digest: &Digest) -> Result<bool> {
        let path = self.blob_path(digest);
        let mut verified = self.verified();
        verified.remove(digest);
        self.disk()
            .remove(&path)
            .map_err(Error::access("remove", &path))
    }

    /// Moves a blob to the trash if `is_old` says so of its last use, asked when nobody can name
    /// or take it back any more; its size where it did.
    pub(super) fn trash(
        &self,
        digest: &Digest,
        is_old: impl Fn(u64) -> bool,
    ) -> Result<Option<u64>> {
        let (path, target) = (self.blob_path(digest), self.trash_path(digest));
        let mut verified = self.verified();
        if !is_old(self.uses().last(&Used::Blob(digest.clone()))) {
            return Ok(None);
        }
        let failed = Error::access("remove", &path);
        let moved = || {
            let size = self.disk().look(&path)?.map_or(0, |stamp| stamp.size);
            Ok((size, self.disk().set_aside(&path, &target)?))
        };
        let (size, has_moved) = moved().map_err(failed)?;
        verified.remove(digest);
        Ok(has_moved.then_some(size))
    }

    /// Takes a blob out of the trash again, where somebody wants it in time.
    fn rescue(&self, digest: &Digest) -> Result<bool> {
        let (path, source) = (self.blob_path(digest), self.trash_path(digest));
        let _names = self.verified();
        let is_there = self
            .disk()
            .look(&source)
            .map_err(Error::access("look at", &source))?;
        if is_there.is_none() {
            return Ok(false);
        }
        let rescued = self.disk().set_aside(&source, &path);
        rescued.map_err(Error::access("take back", &path))
    }

    /// Gives finished content its name.
    ///
    /// A sound blob of that name stays as it is. One that this process never hashed, or that was
    /// changed since, is replaced: these bytes are known to be right.
    fn keep(&self, mut temporary: Temporary, digest: &Digest, size: u64) -> io::Result<()> {
        let target = self.blob_path(digest);
        self.uses().touch(Used::Blob(digest.clone()));
        temporary.sync()?;
        {
            let mut verified = self.verified();
            let present = self.disk().look(&target)?;
            let is_sound = present.is_some_and(|present| {
                present.size == size && verified.get(digest) == Some(&present)
            });
            if !is_sound {
                self.disk().name(&mut temporary, &target)?;
                verified.insert(digest.clone(), temporary.stamp()?);
            }
        }
        // Also where the name was there before: the process that wrote it may have died in between.
        self.disk().settle_once(&target)
    }

    /// Moves a bad blob out of the way and reports it as absent.
    pub(super) fn quarantine(
        &self,
        digest: &Digest,
        bad: Stamp,
        problem: &str,
    ) -> Result<Option<Blob>> {
        let path = self.blob_path(digest);
        let mut verified = self.verified();
        let failed = Error::access("quarantine", &path);
        // A writer may have put sound content in its place meanwhile; the next open finds that.
        let mut set_aside = || {
            if self.disk().look(&path)? != Some(bad) {
                return Ok(false);
            }
            verified.remove(digest);
            let target = self.disk().path("quarantine").join(file_name(digest));
            self.disk().set_aside(&path, &target)
        };
        if set_aside().map_err(failed)? {
            self.inner.counts.quarantined();
            warn!(%digest, problem, "quarantined a damaged blob");
        }
        Ok(None)
    }

    fn is_verified(&self, digest: &Digest, stamp: Stamp) -> bool {
        self.verified().get(digest) == Some(&stamp)
    }

    fn verified(&self) -> MutexGuard<'_, HashMap<Digest, Stamp>> {
        self.inner
            .verified
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn trash_path(&self, digest: &Digest) -> PathBuf {
        self.disk().path(TRASH).join(file_name(digest))
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.disk()
            .path("blobs")
            .join(digest.algorithm().name())
            .join(&hex[..2])
            .join(hex)
    }
}

/// The name of a blob where all lie in one folder.
fn file_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm().name(), digest.hex())
}

/// Hashes a file from its start and leaves it there again.
pub(super) fn matches(file: &mut dyn Handle, digest: &Digest) -> io::Result<bool> {
    let mut hasher = Hasher::new(digest.algorithm());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => hasher.update(&piece[..length]),
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(source),
        }
    }
    file.rewind()?;
    Ok(hasher.finish() == *digest)
}
