//! Writes tar+gzip in one canonical form: the same entries give the same bytes.

use std::io::{self, Read, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::header::{self, BLOCK, LARGEST_OCTAL_SIZE, ZERO_BLOCK, padding};
use super::pax;
use super::reader::PIECE;
use super::{EntryPath, Error, Result};
use crate::oci::{Algorithm, Digest, Hasher};

/// The level of everything that is packed. Another level, as another encoder, gives other digests
/// for the same content, and so a rollout of everything: a test holds it to a digest.
const LEVEL: u32 = 1;

/// The operating system that RFC 1952 calls unknown.
const NO_OPERATING_SYSTEM: u8 = 255;

const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;
const DIRECTORY_MODE: u32 = 0o755;

/// The bytes for a name in a header.
const NAME_BYTES: usize = 100;

/// The name of all PAX headers. Readers that know them do not show it.
const PAX_NAME: &[u8] = b"PaxHeaders/entry";

/// Packs entries in the order in which they are given.
pub(super) struct Writer<W: Write> {
    gzip: GzEncoder<W>,
    digest: Hasher,
    /// What the encoder gets next. It always gets pieces of one size, so that its output depends
    /// on the content alone and not on how the content arrived.
    piece: Vec<u8>,
    filled: usize,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(sink: W) -> Self {
        let gzip = GzBuilder::new()
            .mtime(0)
            .operating_system(NO_OPERATING_SYSTEM)
            .write(sink, Compression::new(LEVEL));
        Self {
            gzip,
            digest: Hasher::new(Algorithm::Sha256),
            piece: vec![0; PIECE],
            filled: 0,
        }
    }

    /// Writes a directory.
    pub(super) fn directory(&mut self, path: &EntryPath) -> Result<()> {
        self.header(&format!("{path}/"), b'5', 0, DIRECTORY_MODE)
    }

    /// Writes a file whose content is `size` bytes of `content`, which has no more than that.
    pub(super) fn file(
        &mut self,
        path: &EntryPath,
        executable: bool,
        size: u64,
        mut content: impl Read,
    ) -> Result<()> {
        let mode = if executable {
            EXECUTABLE_MODE
        } else {
            FILE_MODE
        };
        self.header(path.as_str(), b'0', size, mode)?;
        loop {
            match content.read(&mut self.piece[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.take_in(count)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read(error)),
            }
        }
        self.write(&ZERO_BLOCK[..padding(size)])
    }

    /// Ends the archive. Gives the digest of the tar archive within the gzip, and its length.
    pub(super) fn finish(mut self) -> Result<(Digest, u64)> {
        self.write(&ZERO_BLOCK)?;
        self.write(&ZERO_BLOCK)?;
        self.flush_piece()?;
        let mut sink = self.gzip.finish().map_err(Error::from_write)?;
        sink.flush().map_err(Error::from_write)?;
        let length = self.digest.length();
        Ok((self.digest.finish(), length))
    }

    fn header(&mut self, name: &str, kind: u8, size: u64, mode: u32) -> Result<()> {
        let mut records = String::new();
        if name.len() > NAME_BYTES || !name.is_ascii() {
            records.push_str(&pax::record("path", name));
        }
        if size > LARGEST_OCTAL_SIZE {
            records.push_str(&pax::record("size", &size.to_string()));
        }
        if !records.is_empty() {
            let length = records.len() as u64;
            self.write(&header::canonical(PAX_NAME, b'x', length, FILE_MODE))?;
            self.write(records.as_bytes())?;
            self.write(&ZERO_BLOCK[..padding(length)])?;
        }
        self.write(&header::canonical(&short_name(name), kind, size, mode))
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = &mut self.piece[self.filled..];
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.take_in(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// Counts `count` more bytes of the piece as filled. It has room again afterwards.
    fn take_in(&mut self, count: usize) -> Result<()> {
        let end = self.filled + count;
        self.digest.update(&self.piece[self.filled..end]);
        self.filled = end;
        if self.filled == PIECE {
            self.flush_piece()?;
        }
        Ok(())
    }

    fn flush_piece(&mut self) -> Result<()> {
        let piece = &self.piece[..self.filled];
        self.gzip.write_all(piece).map_err(Error::from_write)?;
        self.filled = 0;
        Ok(())
    }
}

/// A name that fits into a header, for readers that do not know PAX.
fn short_name(name: &str) -> Vec<u8> {
    let ascii = name
        .chars()
        .map(|c| u8::try_from(c).ok().filter(u8::is_ascii));
    ascii
        .map(|byte| byte.unwrap_or(b'_'))
        .take(NAME_BYTES)
        .collect()
}

const _: () = assert!(PIECE.is_multiple_of(BLOCK));
