//! What is pushed, piece by piece, and never to its end where it is not what it has to be.

use std::io;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::BoxStream;

use super::super::failure::Failure;
use super::super::upload::Broken;
use super::BlobSource;
use crate::oci::{Digest, Hasher};

/// The digest of `bytes`, if it is `expected`.
pub(super) fn check(expected: &Digest, bytes: &[u8]) -> Result<Digest, Failure> {
    let mut hasher = Hasher::new(expected.algorithm());
    hasher.update(bytes);
    wanted(expected, hasher)
}

fn wanted(expected: &Digest, hasher: Hasher) -> Result<Digest, Failure> {
    let actual = hasher.finish();
    if actual == *expected {
        return Ok(actual);
    }
    Err(Failure::Digest {
        expected: expected.clone(),
        actual,
    })
}

/// Whose fault it was.
pub(super) enum Trouble {
    Source(io::Error),
    Target(Broken),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

/// The blob that a source has to be.
pub(super) struct Wanted<'a> {
    pub(super) digest: &'a Digest,
    pub(super) size: Option<u64>,
}

/// A source cut into pieces, hashed as it flows: its end is handed out only where all of it was
/// what was wanted.
pub(super) struct Pieces<'a> {
    stream: BoxStream<'static, io::Result<Bytes>>,
    left: Bytes,
    hasher: Option<Hasher>,
    wanted: &'a Wanted<'a>,
    /// Whether nothing comes after what was handed out last.
    pub(super) ended: bool,
}

impl<'a> Pieces<'a> {
    pub(super) async fn open<S: BlobSource>(
        source: &S,
        wanted: &'a Wanted<'a>,
    ) -> Result<Self, Trouble> {
        Ok(Self {
            stream: source.open().await?,
            left: Bytes::new(),
            hasher: Some(Hasher::new(wanted.digest.algorithm())),
            wanted,
            ended: false,
        })
    }

    /// The next `length` bytes, or what is left.
    pub(super) async fn next(&mut self, length: usize) -> Result<Bytes, Trouble> {
        self.extend(Bytes::new(), length).await
    }

    /// The same, with `start` in front.
    pub(super) async fn extend(&mut self, start: Bytes, length: usize) -> Result<Bytes, Trouble> {
        let mut piece = BytesMut::from(start);
        loop {
            let room = length.saturating_sub(piece.len());
            let taken = self.left.split_to(room.min(self.left.len()));
            piece.extend_from_slice(&taken);
            if !self.left.is_empty() {
                return Ok(piece.freeze());
            }
            // Also where the piece is full: whether it is the last one shows only there.
            let Some(more) = self.stream.next().await else {
                self.finish()?;
                return Ok(piece.freeze());
            };
            self.take(more?)?;
        }
    }

    fn take(&mut self, more: Bytes) -> Result<(), Trouble> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&more);
            if let Some(size) = self.wanted.size
                && hasher.length() > size
            {
                return Err(wrong(Failure::TooLarge {
                    what: "content to push",
                    limit: format!("{size} bytes"),
                }));
            }
        }
        self.left = more;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        self.ended = true;
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        wanted(self.wanted.digest, hasher).map_err(wrong)?;
        Ok(())
    }
}

fn wrong(failure: Failure) -> Trouble {
    Trouble::Target(Broken::finally(failure))
}
