//! The bytes of a resource's content as a stream, each blob checked as it flows.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};

use tokio::runtime::Handle;

use super::content::Piece;
use super::kept::Home;
use super::{Components, Content, Place};
use crate::ocm::BlobDescriptor;
use crate::registry::BlobReader;
use crate::snapshot::Namespace;
use crate::store::{Holder, Store};

/// The largest blob that is kept as it was pulled, in bytes: rules are read at every reconcile,
/// and larger content is kept in the form that is made of it.
const LARGEST_KEPT: u64 = 1 << 20;

impl Components {
    /// The bytes of `content`, for a thread that may block.
    pub fn open(&self, place: &Place, content: &Content) -> ContentReader {
        ContentReader {
            store: self.store.clone(),
            namespace: place.namespace.clone(),
            holder: place.holder.clone(),
            home: content.source.home.clone(),
            pending: content.source.pieces.iter().cloned().collect(),
            current: None,
            runtime: Handle::current(),
        }
    }
}

/// The bytes of a [`Content`], checked as they flow. Reads block on the network.
pub struct ContentReader {
    store: Store,
    namespace: Namespace,
    holder: String,
    home: Home,
    pending: VecDeque<Piece>,
    current: Option<Open>,
    runtime: Handle,
}

/// A blob that is being read.
enum Open {
    Kept(Cursor<Vec<u8>>),
    Pulled(Box<BlobReader>),
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Kept(bytes) => bytes.read(buffer),
            Self::Pulled(stream) => stream.read(buffer),
        }
    }
}

impl ContentReader {
    fn open(&self, blob: &BlobDescriptor) -> io::Result<Open> {
        if blob.size <= LARGEST_KEPT {
            return self.small(blob).map(|bytes| Open::Kept(Cursor::new(bytes)));
        }
        let Home { artifacts, name } = &self.home;
        let opened = artifacts.blob(name, &blob.digest, Some(blob.size));
        let stream = self.runtime.block_on(opened).map_err(io::Error::other)?;
        Ok(Open::Pulled(Box::new(stream.into_reader(&self.runtime))))
    }

    /// A small blob, from the store where this namespace has pulled it before.
    fn small(&self, blob: &BlobDescriptor) -> io::Result<Vec<u8>> {
        let (repository, digest) = (self.home.to_string(), &blob.digest);
        let holder = Holder {
            namespace: &self.namespace,
            uid: &self.holder,
            repository: &repository,
        };
        let is_granted = self
            .store
            .is_granted(holder, digest)
            .map_err(io::Error::other)?;
        if is_granted
            && let Some(bytes) = self
                .store
                .read_small(digest, LARGEST_KEPT)
                .map_err(io::Error::other)?
        {
            return Ok(bytes);
        }
        let limit = usize::try_from(LARGEST_KEPT).unwrap_or(usize::MAX);
        let Home { artifacts, name } = &self.home;
        let what = format!("{repository}@{digest}");
        let pulled = async {
            let opened = artifacts.blob(name, digest, Some(blob.size)).await?;
            opened.collect(&what, limit).await
        };
        let bytes = self.runtime.block_on(pulled).map_err(io::Error::other)?;
        if self
            .store
            .contains(digest)
            .map_err(io::Error::other)?
            .is_none()
        {
            self.store
                .write_small(digest, &bytes)
                .map_err(io::Error::other)?;
        }
        self.store.grant(holder, digest).map_err(io::Error::other)?;
        Ok(bytes.to_vec())
    }
}

impl Read for ContentReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                match current.read(buffer)? {
                    0 => self.current = None,
                    count => return Ok(count),
                }
            }
            self.current = match self.pending.pop_front() {
                None => return Ok(0),
                Some(Piece::Bytes(bytes)) => Some(Open::Kept(Cursor::new(bytes))),
                Some(Piece::Blob(blob)) => Some(self.open(&blob)?),
            };
        }
    }
}
