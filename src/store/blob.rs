//! Immutable content by digest: written as a stream, hashed before it is first read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{MutexGuard, PoisonError};

use tempfile::NamedTempFile;
use tracing::warn;

use crate::oci::{Algorithm, Digest, Hasher};

use super::disk::{self, Disk, Stamp};
use super::{Error, HashMap, Result, Store, VERIFYING_SHARDS};

/// How much of a blob is in memory while it is hashed.
const PIECE: usize = 64 * 1024;

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
    temporary: NamedTempFile,
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
        let written = self.temporary.write(piece)?;
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
    file: File,
    size: u64,
}

impl Blob {
    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The file, positioned at the start.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for Blob {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
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
        let metadata = Disk::look(&path).map_err(Error::access("look at", &path))?;
        Ok(metadata.map(|metadata| metadata.len()))
    }

    /// Opens a blob; `None` where it is absent or was not what its digest says.
    ///
    /// The first time, this reads the whole blob (the module's documentation says when again).
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        let path = self.blob_path(digest);
        let open = || Disk::open(&path).map_err(Error::access("open", &path));
        let Some((file, metadata)) = open()? else {
            return Ok(None);
        };
        if self.is_verified(digest, Stamp::of(&metadata)) {
            let size = metadata.len();
            return Ok(Some(Blob { file, size }));
        }
        let shard = usize::from(digest.hex().as_bytes()[0]) % VERIFYING_SHARDS;
        let _turn = self.inner.verifying[shard]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have hashed, replaced or removed it while this one waited.
        let Some((mut file, metadata)) = open()? else {
            return Ok(None);
        };
        let stamp = Stamp::of(&metadata);
        let size = metadata.len();
        if self.is_verified(digest, stamp) {
            return Ok(Some(Blob { file, size }));
        }
        match matches(&mut file, digest) {
            Ok(true) => {
                self.verified().insert(digest.clone(), stamp);
                Ok(Some(Blob { file, size }))
            }
            Ok(false) => self.quarantine(digest, stamp, "content has another digest"),
            // What the disk cannot read back has to be fetched again as well.
            Err(source) => self.quarantine(digest, stamp, &source.to_string()),
        }
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
        Disk::remove(&path).map_err(Error::access("remove", &path))
    }

    /// Gives finished content its name.
    ///
    /// A sound blob of that name stays as it is. One that this process never hashed, or that was
    /// changed since, is replaced: these bytes are known to be right.
    fn keep(&self, temporary: NamedTempFile, digest: &Digest, size: u64) -> io::Result<()> {
        let target = self.blob_path(digest);
        let folder = target.parent().unwrap_or(&target);
        self.disk().ensure_folder(folder)?;
        let (file, path) = Disk::finish(temporary)?;
        {
            let mut verified = self.verified();
            if let Some(path) = Disk::name_new(path, &target)? {
                let present = Disk::look(&target)?;
                let is_sound = present.is_some_and(|present| {
                    present.len() == size && verified.get(digest) == Some(&Stamp::of(&present))
                });
                if !is_sound {
                    Disk::name_over(path, &target)?;
                    verified.insert(digest.clone(), Stamp::of(&file.metadata()?));
                }
            } else {
                verified.insert(digest.clone(), Stamp::of(&file.metadata()?));
            }
        }
        // Also where the name was there before: the process that wrote it may have died in between.
        disk::sync_folder(folder)
    }

    /// Moves a bad blob out of the way and reports it as absent.
    fn quarantine(&self, digest: &Digest, bad: Stamp, problem: &str) -> Result<Option<Blob>> {
        let path = self.blob_path(digest);
        let mut verified = self.verified();
        let present = Disk::look(&path).map_err(Error::access("look at", &path))?;
        // A writer may have put sound content in its place meanwhile; the next open finds that.
        if present.is_some_and(|present| Stamp::of(&present) == bad) {
            verified.remove(digest);
            let name = format!("{}-{}", digest.algorithm().name(), digest.hex());
            let target = self.disk().path("quarantine").join(name);
            self.disk()
                .set_aside(&path, &target)
                .map_err(Error::access("quarantine", &path))?;
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

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.disk()
            .path("blobs")
            .join(digest.algorithm().name())
            .join(&hex[..2])
            .join(hex)
    }
}

/// Hashes a file from its start and leaves it there again.
fn matches(file: &mut File, digest: &Digest) -> io::Result<bool> {
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
