//! The files of an archive: a few documents, and blobs that are named by their digests.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::Blob;
use super::ArchiveError;
use crate::oci::{Digest, Hasher};
use crate::registry::{BlobSource, Error, Result};

/// The folder of the blobs.
pub(super) const BLOBS: &str = "blobs";

/// How much of a file is read at a time.
const PIECE: usize = 64 << 10;

/// The files below a folder. Links are not followed.
pub(super) struct Files {
    root: PathBuf,
    /// Blobs whose files are not named by their digest, which only component archives have.
    named: HashMap<Digest, String>,
}

impl Files {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            named: HashMap::new(),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The same files, where `named` are the names of blobs.
    pub(super) fn name_blobs(&mut self, named: HashMap<Digest, String>) {
        self.named = named;
    }

    /// Whether a document is there.
    pub(super) fn exists(&self, name: &str) -> Result<bool, ArchiveError> {
        match regular(&self.root.join(name)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A document as a whole.
    pub(super) fn document(&self, name: &str, limit: usize) -> Result<Vec<u8>, ArchiveError> {
        let mut content = Vec::new();
        regular(&self.root.join(name))?
            .take(limit as u64 + 1)
            .read_to_end(&mut content)
            .map_err(|source| ArchiveError::Read { source })?;
        if content.len() > limit {
            return Err(ArchiveError::TooLarge { limit });
        }
        Ok(content)
    }

    /// Replaces a document: readers see the old one or the new one.
    pub(super) fn replace(&self, name: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let path = self.root.join(name);
        let wrong = || ArchiveError::write(&path);
        let mut file = NamedTempFile::new_in(&self.root).map_err(wrong())?;
        io::Write::write_all(&mut file, content).map_err(wrong())?;
        readable(file.as_file()).map_err(wrong())?;
        file.as_file().sync_all().map_err(wrong())?;
        file.persist(&path).map_err(|error| wrong()(error.error))?;
        sync_folder(&self.root).map_err(wrong())
    }

    pub(super) fn has(&self, digest: &Digest) -> Result<bool, ArchiveError> {
        match self.blob_file(digest) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A file below `blobs/`, whose name is one segment.
    pub(super) fn blob_named(&self, name: &str) -> Result<File, ArchiveError> {
        let is_segment = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        if !is_segment || name.len() > 255 {
            let file = name.chars().take(300).collect();
            return Err(ArchiveError::NotRegular { file });
        }
        let folder = self.root.join(BLOBS);
        let metadata =
            fs::symlink_metadata(&folder).map_err(|source| ArchiveError::open(&folder, source))?;
        if !metadata.is_dir() {
            let file = BLOBS.to_owned();
            return Err(ArchiveError::NotRegular { file });
        }
        regular(&folder.join(name))
    }

    fn blob_file(&self, digest: &Digest) -> Result<File, ArchiveError> {
        match self.named.get(digest) {
            Some(name) => self.blob_named(name),
            None => self.blob_named(&file_name(digest)),
        }
    }

    /// A blob, checked as it is read.
    pub(super) fn open(
        &self,
        digest: &Digest,
        size: Option<u64>,
        reference: String,
    ) -> Result<Blob> {
        let wrong = |source| Error::Archive {
            reference: reference.clone(),
            source,
        };
        let file = self.blob_file(digest).map_err(|error| {
            wrong(if error.is_not_found() {
                ArchiveError::NotFound
            } else {
                error
            })
        })?;
        let metadata = file.metadata();
        let length = metadata
            .map_err(|source| wrong(ArchiveError::Read { source }))?
            .len();
        if let Some(expected) = size.filter(|expected| *expected != length) {
            let actual = length;
            return Err(wrong(ArchiveError::Size { expected, actual }));
        }
        let reading = Reading {
            file: tokio::fs::File::from_std(file),
            hasher: Some(Hasher::new(digest.algorithm())),
            digest: digest.clone(),
            reference,
        };
        let pieces = futures::stream::try_unfold(reading, |mut reading| async move {
            let piece = reading.piece().await?;
            Ok(piece.map(|piece| (piece, reading)))
        });
        Ok(Blob::new(Some(length), pieces.boxed()))
    }

    /// Stores a blob: it is there whole and right, or it is not there.
    pub(super) async fn store(
        &self,
        digest: &Digest,
        size: u64,
        content: &dyn BlobSource,
        reference: String,
    ) -> Result<()> {
        let wrong = |source| Error::Archive {
            reference: reference.clone(),
            source,
        };
        if self.has(digest).map_err(wrong)? {
            return Ok(());
        }
        let folder = self.root.join(BLOBS);
        let path = folder.join(file_name(digest));
        let failed = |source| wrong(ArchiveError::write(&path)(source));
        let file = NamedTempFile::new_in(&folder).map_err(failed)?;
        let clone = file.as_file().try_clone().map_err(failed)?;
        let mut sink = tokio::fs::File::from_std(clone);
        let mut hasher = Hasher::new(digest.algorithm());
        let unread = |source| wrong(ArchiveError::Read { source });
        let mut content = content.open().await.map_err(unread)?;
        while let Some(piece) = content.next().await {
            let piece = piece.map_err(unread)?;
            hasher.update(&piece);
            sink.write_all(&piece).await.map_err(failed)?;
        }
        let actual = hasher.length();
        if actual != size {
            let expected = size;
            return Err(wrong(ArchiveError::Size { expected, actual }));
        }
        let actual = hasher.finish();
        if actual != *digest {
            return Err(wrong(ArchiveError::Digest { actual }));
        }
        sink.flush().await.map_err(failed)?;
        sink.sync_all().await.map_err(failed)?;
        readable(file.as_file()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        sync_folder(&folder).map_err(failed)
    }
}

/// A blob that is being read.
struct Reading {
    file: tokio::fs::File,
    hasher: Option<Hasher>,
    digest: Digest,
    reference: String,
}

impl Reading {
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        let mut piece = BytesMut::with_capacity(PIECE);
        let outcome = self.file.read_buf(&mut piece).await;
        let wrong = |source| Error::Archive {
            reference: self.reference.clone(),
            source,
        };
        let count = outcome.map_err(|source| wrong(ArchiveError::Read { source }))?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&piece);
            }
            return Ok(Some(piece.freeze()));
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(actual) if actual != self.digest => Err(wrong(ArchiveError::Digest { actual })),
            _ => Ok(None),
        }
    }
}

/// The file of a blob.
pub(super) fn file_name(digest: &Digest) -> String {
    format!("{}.{}", digest.algorithm().name(), digest.hex())
}

/// Opens a regular file; the last segment of the path may be no link.
fn regular(path: &Path) -> Result<File, ArchiveError> {
    let opened = OpenOptions::new()
        .read(true)
        // A FIFO would block until somebody writes to it.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let not_regular = || ArchiveError::NotRegular {
        file: path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default(),
    };
    let file = match opened {
        Ok(file) => file,
        Err(source) if source.raw_os_error() == Some(libc::ELOOP) => return Err(not_regular()),
        Err(source) => return Err(ArchiveError::open(path, source)),
    };
    let metadata = file
        .metadata()
        .map_err(|source| ArchiveError::Read { source })?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    Ok(file)
}

/// Temporary files are for their owner alone; an archive is handed on.
pub(super) fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// Makes a rename last.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
