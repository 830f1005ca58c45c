//! Archives as places of artifacts: the Common Transport Archive (`artifact-index.json` and
//! `blobs/`), and the older component archive (`component-descriptor.yaml` and `blobs/`), each as
//! a folder, a tar file, or a compressed tar file.
//!
//! A tar file is unpacked into a temporary folder first, checked and bounded: archives hold
//! gigabytes, and memory does not. The names of the unpacked files are this program's own. A
//! component archive is read as if it were a transport archive with one artifact in it.

mod component;
mod error;
mod files;
mod index;
mod set;
mod spool;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use tempfile::TempDir;

pub use error::ArchiveError;

use self::files::Files;
use self::index::Index;
use super::{Answer, Artifacts, Blob, Target};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::ocm::MAX_MANIFEST;
use crate::registry::{
    BlobSource, Endpoint, Error, Manifest, Reference, Resolved, Result, WholeBlob,
};

/// How an archive is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A folder with its files.
    Folder,
    /// A tar file.
    Tar,
    /// A tar file, compressed with gzip.
    TarGzip,
}

impl Form {
    /// The form that a file's name tells; none where it has no suffix that is known.
    pub fn by_suffix(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let is_named = |suffix| {
            name.strip_suffix(suffix)
                .is_some_and(|front: &str| !front.is_empty())
        };
        if is_named(".tgz") || is_named(".tar.gz") {
            return Some(Self::TarGzip);
        }
        is_named(".tar").then_some(Self::Tar)
    }
}

/// An archive on disk; cheap to clone.
#[derive(Clone)]
pub struct Archive {
    inner: Arc<Inner>,
}

struct Inner {
    /// What the user called it.
    path: PathBuf,
    files: Files,
    index: Mutex<Index>,
    /// What a component archive would hold if it were a transport archive.
    made_up: HashMap<Digest, Bytes>,
    /// What it becomes when it has been written; `None` where it is only read.
    output: Option<Form>,
    /// Held while a folder is written.
    _lock: Option<std::fs::File>,
    /// The unpacked content of a tar file.
    _spool: Option<TempDir>,
}

impl Archive {
    /// Opens the archive at `path` for reading. Blocks; a tar file is unpacked.
    pub fn open(path: &Path) -> Result<Self> {
        Self::read(path).map_err(|source| wrong(path, source))
    }

    /// Opens the transport archive at `path` for reading and writing, or begins a new one. Blocks.
    ///
    /// A tar file is written anew as a whole by [`Target::finish`]. A component archive cannot be
    /// written.
    pub fn create(path: &Path, form: Option<Form>) -> Result<Self> {
        write::create(path, form).map_err(|source| wrong(path, source))
    }

    /// Unpacks an artifact set (one artifact as a tar file) and gives the digest of its artifact.
    /// `label` is for messages. Blocks.
    pub fn unpack_set(label: &str, source: impl std::io::Read) -> Result<(Self, Digest)> {
        set::unpack(label, source).map_err(|source| wrong(Path::new(label), source))
    }

    /// Checks all that an unpacked artifact set consists of, from the manifest `main` down.
    pub async fn check_set(&self, main: &Digest) -> Result<Manifest> {
        set::check(self, main).await
    }

    fn read(path: &Path) -> Result<Self, ArchiveError> {
        let metadata =
            std::fs::metadata(path).map_err(|source| ArchiveError::open(path, source))?;
        let (folder, spool) = if metadata.is_dir() {
            (path.to_owned(), None)
        } else {
            let spool = tempfile::tempdir().map_err(|source| ArchiveError::Spool { source })?;
            spool::unpack(path, spool.path())?;
            (spool.path().to_owned(), Some(spool))
        };
        let mut files = Files::new(folder);
        let (index, made_up) = if files.exists(index::FILE)? {
            (Index::read(&files)?, HashMap::new())
        } else if files.exists(component::FILE)? {
            component::read(&mut files)?
        } else {
            return Err(ArchiveError::Unknown);
        };
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                files,
                index: Mutex::new(index),
                made_up,
                output: None,
                _lock: None,
                _spool: spool,
            }),
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.inner
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Content for the error messages of this archive.
    fn reference(&self, repository: &RepositoryName, what: impl std::fmt::Display) -> String {
        format!("{}//{repository}@{what}", self.inner.path.display())
    }

    fn find(&self, repository: &RepositoryName, reference: &Reference) -> Result<Resolved> {
        let found = self.index().resolve(repository, reference);
        let found = match (found, reference) {
            (Some(found), _) => Some(found),
            // Manifests below an index have no entry of their own.
            (None, Reference::Digest(digest)) => Some(Resolved {
                digest: digest.clone(),
                media_type: String::new(),
            }),
            (None, Reference::Tag(_)) => None,
        };
        found.ok_or_else(|| Error::Archive {
            reference: self.reference(repository, reference),
            source: ArchiveError::NotFound,
        })
    }

    fn content(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: Option<u64>,
    ) -> Result<Blob> {
        if let Some(bytes) = self.inner.made_up.get(digest) {
            return Ok(Blob::of(bytes.clone()));
        }
        let reference = self.reference(repository, digest);
        self.inner.files.open(digest, size, reference)
    }

    async fn read_manifest(
        &self,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Manifest> {
        let found = self.find(repository, reference)?;
        let what = self.reference(repository, reference);
        let blob = self.content(repository, &found.digest, None)?;
        let bytes = blob.collect(&what, MAX_MANIFEST).await?;
        let announced = (!found.media_type.is_empty()).then_some(found.media_type.as_str());
        Manifest::stored(found.digest, announced, bytes).map_err(|source| Error::Pull {
            reference: what,
            source,
        })
    }
}

fn wrong(path: &Path, source: ArchiveError) -> Error {
    let reference = path.display().to_string();
    Error::Archive { reference, source }
}

impl Artifacts for Archive {
    fn name(&self) -> String {
        self.inner.path.display().to_string()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        None
    }

    fn tags<'a>(&'a self, repository: &'a RepositoryName) -> Answer<'a, Vec<Tag>> {
        async move { Ok(self.index().tags(repository)) }.boxed()
    }

    fn resolve<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Resolved> {
        async move {
            let found = self.find(repository, reference)?;
            if !found.media_type.is_empty() {
                return Ok(found);
            }
            let manifest = self.read_manifest(repository, reference).await?;
            Ok(Resolved {
                digest: manifest.digest,
                media_type: manifest.media_type,
            })
        }
        .boxed()
    }

    fn manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
    ) -> Answer<'a, Manifest> {
        self.read_manifest(repository, reference).boxed()
    }

    fn blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: Option<u64>,
    ) -> Answer<'a, Blob> {
        async move { self.content(repository, digest, size) }.boxed()
    }
}

impl Target for Archive {
    fn has_blob<'a>(&'a self, _: &'a RepositoryName, digest: &'a Digest) -> Answer<'a, bool> {
        async move {
            let found = self.inner.files.has(digest);
            found.map_err(|source| wrong(&self.inner.path, source))
        }
        .boxed()
    }

    /// All repositories of an archive share their content.
    fn mount<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        _: &'a RepositoryName,
    ) -> Answer<'a, bool> {
        self.has_blob(repository, digest)
    }

    fn put_blob<'a>(
        &'a self,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        size: u64,
        content: &'a dyn BlobSource,
    ) -> Answer<'a, ()> {
        async move {
            let reference = self.reference(repository, digest);
            self.inner
                .files
                .store(digest, size, content, reference)
                .await
        }
        .boxed()
    }

    fn put_manifest<'a>(
        &'a self,
        repository: &'a RepositoryName,
        reference: &'a Reference,
        media_type: &'a str,
        bytes: Bytes,
    ) -> Answer<'a, ()> {
        async move {
            let digest = Digest::of(&bytes);
            let size = bytes.len() as u64;
            self.put_blob(repository, &digest, size, &WholeBlob(bytes))
                .await?;
            let tag = match reference {
                Reference::Tag(tag) => Some(tag.clone()),
                Reference::Digest(_) => None,
            };
            let mut index = self.index();
            index.set(repository.clone(), tag, digest, media_type.to_owned());
            // The content first, what names it last: nobody finds a name without content.
            index
                .write(&self.inner.files)
                .map_err(|source| wrong(&self.inner.path, source))
        }
        .boxed()
    }

    fn finish(&self) -> Answer<'_, ()> {
        let archive = self.clone();
        async move {
            let path = archive.inner.path.clone();
            let packing = tokio::task::spawn_blocking(move || write::finish(&archive));
            let packed = packing.await.map_err(|source| {
                wrong(
                    &path,
                    ArchiveError::Write {
                        path: path.clone(),
                        source: std::io::Error::other(source),
                    },
                )
            })?;
            packed.map_err(|source| wrong(&path, source))
        }
        .boxed()
    }
}
