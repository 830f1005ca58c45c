//! Looks at content without changing it: what it is, whether it keeps the rules, one file of it.

use std::fmt;
use std::io::{self, Chain, Cursor, Read, Write};

use super::header::{BLOCK, Block, ZERO_BLOCK, has_checksum, has_magic};
use super::{Compression, Entry, EntryKind, EntryPath, Error, Limits, Reader, Result, decompress};

/// Bytes of the source that [`inspect`] holds: the longest gzip header that is accepted, or the
/// longest zstd block, with room to spare.
const INSPECTED: u64 = 256 << 10;

/// What content is, under its compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A tar archive, by its first block.
    Tar,
    /// Text in UTF-8, as YAML is.
    Text,
    /// Not one byte.
    Empty,
    /// Compressed once more, or in a way that is not supported.
    Packed(Compression),
    /// Something else.
    Other,
}

impl Content {
    /// Tells what content is by its first 512 bytes, or all of it where it is shorter.
    pub fn detect(first_bytes: &[u8]) -> Self {
        if first_bytes.is_empty() {
            return Self::Empty;
        }
        if let Ok(block) = <&Block>::try_from(first_bytes)
            && (has_checksum(block) || has_magic(block) || *block == ZERO_BLOCK)
        {
            return Self::Tar;
        }
        match Compression::detect(first_bytes) {
            Compression::None if is_text(first_bytes) => Self::Text,
            Compression::None => Self::Other,
            compression => Self::Packed(compression),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tar => formatter.write_str("a tar archive"),
            Self::Text => formatter.write_str("plain text"),
            Self::Empty => formatter.write_str("nothing"),
            Self::Packed(compression) => write!(formatter, "{compression} content"),
            Self::Other => formatter.write_str("unknown binary content"),
        }
    }
}

/// What [`inspect`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// How the content is compressed.
    pub compression: Compression,
    /// What it is under that.
    pub content: Content,
}

/// Content that was looked at, and is still whole.
pub struct Inspected<R> {
    /// What it is.
    pub kind: Kind,
    /// All of it, from the first byte, compressed as it was.
    pub source: Chain<Cursor<Vec<u8>>, R>,
}

/// Tells what `source` is without consuming it: no more than 256 KiB are held to do so.
///
/// This is a look at the start. Content that is damaged, or that exceeds a limit, shows itself
/// when it is read.
pub fn inspect<R: Read>(mut source: R, limits: &Limits) -> Result<Inspected<R>> {
    let mut start = Vec::new();
    (&mut source)
        .take(INSPECTED)
        .read_to_end(&mut start)
        .map_err(Error::from_read)?;
    let compression = Compression::detect(&start);
    let content = match decompress(start.as_slice(), limits) {
        Ok(decompressed) => {
            let mut first_bytes = Vec::with_capacity(BLOCK);
            // What came out before an error still tells what it is.
            let read = decompressed
                .take(BLOCK as u64)
                .read_to_end(&mut first_bytes);
            match read {
                Err(_) if first_bytes.is_empty() => Content::Other,
                _ => Content::detect(&first_bytes),
            }
        }
        Err(_) => Content::Packed(compression),
    };
    Ok(Inspected {
        kind: Kind {
            compression,
            content,
        },
        source: Cursor::new(start).chain(source),
    })
}

/// What [`check`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Entries, as [`Reader::entries`] counts them.
    pub entries: u64,
    /// Bytes after decompression.
    pub unpacked_bytes: u64,
    /// Symbolic links, all of which stay within the archive.
    pub links: u64,
}

/// Reads an archive to its end, with all rules and limits, and keeps nothing of it.
pub fn check(source: impl Read, limits: &Limits) -> Result<Summary> {
    check_seeing(source, limits, |_| {})
}

fn check_seeing(
    source: impl Read,
    limits: &Limits,
    mut see: impl FnMut(&Entry),
) -> Result<Summary> {
    let mut reader = Reader::open(source, limits)?;
    while let Some(entry) = reader.next_entry()? {
        see(&entry);
    }
    Ok(Summary {
        entries: reader.entries(),
        unpacked_bytes: reader.unpacked_bytes(),
        links: reader.dropped_links(),
    })
}

/// Copies an archive byte by byte, as it is compressed, and checks it on the way as [`check`]
/// does. `see` is shown each entry as it passes.
///
/// On an error the sink holds a part of the source, which must be thrown away. On success it
/// holds all of it.
pub fn copy_checked(
    source: impl Read,
    sink: impl Write,
    limits: &Limits,
    see: impl FnMut(&Entry),
) -> Result<Summary> {
    check_seeing(Tee { source, sink }, limits, see)
}

/// Writes everything that is read from the source to the sink.
struct Tee<R, W> {
    source: R,
    sink: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.sink
            .write_all(&buffer[..count])
            .map_err(|source| io::Error::from(Error::Write { source }))?;
        Ok(count)
    }
}

/// A file that [`find_file`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lies.
    pub path: EntryPath,
    /// Its content.
    pub content: Vec<u8>,
}

/// The first file in the order of the archive that `is_wanted`, or `None` where there is none.
///
/// The content is bounded by [`Limits::file_bytes`]. What is behind the file is not read, so the
/// rules are checked up to it only.
pub fn find_file(
    source: impl Read,
    limits: &Limits,
    mut is_wanted: impl FnMut(&EntryPath) -> bool,
) -> Result<Option<Found>> {
    let mut reader = Reader::open(source, limits)?;
    while let Some(entry) = reader.next_entry()? {
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        if is_file && is_wanted(&entry.path) {
            let content = reader.read_file(&entry.path)?;
            let path = entry.path;
            return Ok(Some(Found { path, content }));
        }
    }
    Ok(None)
}

fn is_text(bytes: &[u8]) -> bool {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // A character may be cut by the end of what is looked at.
        Err(error) if error.error_len().is_none() && bytes.len() == BLOCK => {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            std::str::from_utf8(valid).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}
