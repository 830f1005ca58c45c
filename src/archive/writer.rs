//! Writes tar+gzip in one canonical form: the same entries give the same bytes.

use std::io::{self, Read, Write};

use super::gzip::Gzip;
use super::header::{self, LARGEST_OCTAL_SIZE, ZERO_BLOCK, padding};
use super::pax;
use super::reader::PIECE;
use super::{EntryPath, Error, Result};

/// The level of everything that is packed. Another level, as another encoder, gives other digests
/// for the same content, and so a rollout of everything: a test holds it to a digest.
const LEVEL: u32 = 1;

const FILE_MODE: u32 = 0o644;
const EXECUTABLE_MODE: u32 = 0o755;
const DIRECTORY_MODE: u32 = 0o755;

/// The bytes for a name in a header.
const NAME_BYTES: usize = 100;

/// The name of all PAX headers. Readers that know them do not show it.
const PAX_NAME: &[u8] = b"PaxHeaders/entry";

/// Packs entries in the order in which they are given.
pub(super) struct Writer<W: Write> {
    gzip: Gzip<W>,
    piece: Vec<u8>,
    length: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(sink: W) -> Self {
        Self {
            gzip: Gzip::new(sink, LEVEL),
            piece: Vec::new(),
            length: 0,
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
        let mut piece = std::mem::take(&mut self.piece);
        piece.resize(PIECE, 0);
        loop {
            match content.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => self.write(&piece[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read(error)),
            }
        }
        self.piece = piece;
        self.write(&ZERO_BLOCK[..padding(size)])
    }

    /// Ends the archive. Gives the length of the tar archive within the gzip.
    pub(super) fn finish(mut self) -> Result<u64> {
        self.write(&ZERO_BLOCK)?;
        self.write(&ZERO_BLOCK)?;
        self.gzip.finish().map_err(Error::from_write)?;
        Ok(self.length)
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

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.gzip.write_all(bytes).map_err(Error::from_write)?;
        self.length += bytes.len() as u64;
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
