//! The bytes of a resource's content as a stream, each blob checked as it flows.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read};

use tokio::runtime::Handle;

use super::content::Piece;
use super::kept::Home;
use super::{Components, Content, Place};
use crate::oci::Digest;
use crate::registry::BlobReader;
use crate::repository::Blob;
use crate::store::{self, Cached};

/// The largest blob that is kept as it was pulled, in bytes: rules are read at every reconcile,
/// and larger content is kept in the form that is made of it.
const LARGEST_KEPT: u64 = 1 << 20;

impl Components {
    /// The bytes of `content`, for a thread that may block.
    pub fn open(&self, place: &Place, content: &Content) -> ContentReader {
        ContentReader {
            components: self.clone(),
            place: place.clone(),
            pending: content.source.pieces.iter().cloned().collect(),
            current: None,
            runtime: Handle::current(),
        }
    }
}

/// The bytes of a [`Content`], checked as they flow. Reads block on the network.
pub struct ContentReader {
    components: Components,
    place: Place,
    pending: VecDeque<Piece>,
    current: Option<Open>,
    runtime: Handle,
}

/// A piece that is being read.
enum Open {
    Held(Cursor<Vec<u8>>),
    Kept(store::Blob),
    Pulled(Box<BlobReader>),
}

impl Read for Open {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Held(bytes) => bytes.read(buffer),
            Self::Kept(blob) => blob.read(buffer),
            Self::Pulled(stream) => stream.read(buffer),
        }
    }
}

impl ContentReader {
    fn open(&self, piece: Piece) -> io::Result<Open> {
        match piece {
            Piece::Bytes(bytes) => Ok(Open::Held(Cursor::new(bytes))),
            Piece::Blob { home, digest, size } => {
                let Home { artifacts, name } = &home;
                let (from, is_small) = (home.to_string(), size.is_some_and(is_small));
                if is_small && let Some(kept) = self.kept(&from, &digest)? {
                    return Ok(Open::Kept(kept));
                }
                let opened = artifacts.blob(name, &digest, size);
                let blob = self.runtime.block_on(opened).map_err(io::Error::other)?;
                if is_small {
                    return self.keep(&from, &digest, blob);
                }
                let store = &self.components.store;
                store.count_lookup(Cached::Content, None);
                Ok(self.stream(blob))
            }
            Piece::Remote(remote, digest) => {
                let from = remote.to_string();
                if let Some(kept) = self.kept(&from, &digest)? {
                    return Ok(Open::Kept(kept));
                }
                let expected = std::slice::from_ref(&digest);
                let fetched = self.components.fetch(&self.place, &remote, expected);
                let fetched = self.runtime.block_on(fetched).map_err(io::Error::other)?;
                let blob = fetched.map_err(io::Error::other)?.content;
                if blob.size().is_some_and(is_small) {
                    return self.keep(&from, &digest, blob);
                }
                Ok(self.stream(blob))
            }
        }
    }

    fn stream(&self, blob: Blob) -> Open {
        Open::Pulled(Box::new(blob.into_reader(&self.runtime)))
    }

    /// What this namespace has pulled from there before, if the store still has it.
    fn kept(&self, from: &str, digest: &Digest) -> io::Result<Option<store::Blob>> {
        let store = &self.components.store;
        let holder = self.place.holder(from);
        let found = match store.is_granted(holder, digest) {
            Ok(true) => store.open_blob(digest),
            Ok(false) => Ok(None),
            Err(error) => Err(error),
        };
        let found = found.map_err(io::Error::other)?;
        let size = found.as_ref().map(store::Blob::size);
        store.count_lookup(Cached::Content, size);
        Ok(found)
    }

    /// Keeps a small blob for the next time.
    fn keep(&self, from: &str, digest: &Digest, blob: Blob) -> io::Result<Open> {
        let limit = usize::try_from(LARGEST_KEPT).unwrap_or(usize::MAX);
        let what = format!("{from}@{digest}");
        let collected = self.runtime.block_on(blob.collect(&what, limit));
        let bytes = collected.map_err(io::Error::other)?;
        let store = &self.components.store;
        if store.contains(digest).map_err(io::Error::other)?.is_none() {
            store
                .write_small(digest, &bytes)
                .map_err(io::Error::other)?;
        }
        let holder = self.place.holder(from);
        store.grant(holder, digest).map_err(io::Error::other)?;
        Ok(Open::Held(Cursor::new(bytes.to_vec())))
    }
}

fn is_small(size: u64) -> bool {
    size <= LARGEST_KEPT
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
            let Some(piece) = self.pending.pop_front() else {
                return Ok(0);
            };
            self.current = Some(self.open(piece)?);
        }
    }
}
