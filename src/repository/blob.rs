//! Content on its way, checked as it flows.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio_util::io::ReaderStream;

use super::{ArchiveError, Artifacts};
use crate::oci::{Digest, RepositoryName};
use crate::registry::{BlobReader, BlobSource, BlobStream, Error, Result};

/// How much of a file is read at a time.
const PIECE: usize = 64 << 10;

/// The bytes of some content. Only a stream that ended without an error was the content: whoever
/// stores the bytes makes them visible after that and not before.
pub struct Blob {
    size: Option<u64>,
    stream: BoxStream<'static, Result<Bytes>>,
}

impl Blob {
    /// A blob of `size` bytes, if it is known, from a stream that checks itself.
    pub fn new(size: Option<u64>, stream: BoxStream<'static, Result<Bytes>>) -> Self {
        Self { size, stream }
    }

    /// Content that is there already.
    pub fn of(bytes: Bytes) -> Self {
        let size = Some(bytes.len() as u64);
        Self::new(size, futures::stream::iter([Ok(bytes)]).boxed())
    }

    /// How many bytes it is said to have.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next bytes; `None` once all have come and are the right ones.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        self.stream.next().await.transpose()
    }

    /// All of it, if it has at most `limit` bytes. `what` is for the error.
    pub async fn collect(mut self, what: &str, limit: usize) -> Result<Bytes> {
        let too_large = || Error::Archive {
            reference: what.to_owned(),
            source: ArchiveError::TooLarge { limit },
        };
        let mut whole = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if whole.len() + piece.len() > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The bytes as a stream; nothing comes after an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<Bytes>> {
        self.stream
    }

    /// The bytes for code on a blocking thread. An [`Error`] comes as the cause of the
    /// [`io::Error`].
    ///
    /// # Panics
    ///
    /// Reading panics on a thread of the async runtime: use `spawn_blocking`.
    pub fn into_reader(self, runtime: &Handle) -> BlobReader {
        BlobReader::start(self.stream, "the content".to_owned(), runtime)
    }
}

/// Content of a place, on its way to another one.
pub struct StoredBlob<'a> {
    /// The place.
    pub artifacts: &'a dyn Artifacts,
    /// The repository there.
    pub repository: &'a RepositoryName,
    /// The content's digest.
    pub digest: &'a Digest,
    /// Its size in bytes.
    pub size: u64,
}

impl BlobSource for StoredBlob<'_> {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        async move {
            let opened = self
                .artifacts
                .blob(self.repository, self.digest, Some(self.size));
            let pieces = opened.await.map_err(io::Error::other)?.into_stream();
            Ok(pieces.map(|piece| piece.map_err(io::Error::other)).boxed())
        }
        .boxed()
    }
}

/// The content of a temporary file; who stores it checks it.
#[derive(Debug)]
pub struct FileBlob(pub NamedTempFile);

impl BlobSource for FileBlob {
    fn open(&self) -> BoxFuture<'_, io::Result<BoxStream<'static, io::Result<Bytes>>>> {
        async move {
            let file = tokio::fs::File::from_std(self.0.reopen()?);
            Ok(ReaderStream::with_capacity(file, PIECE).boxed())
        }
        .boxed()
    }
}

impl From<BlobStream> for Blob {
    fn from(stream: BlobStream) -> Self {
        Self::new(stream.size(), stream.into_stream().boxed())
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Blob({:?} bytes)", self.size)
    }
}
