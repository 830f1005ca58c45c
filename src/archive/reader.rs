//! Reads a tar archive entry by entry and refuses whatever could be read in two ways.

use std::io::{self, Read};

use super::compression::{Decompressed, decompress};
use super::error::shown;
use super::extensions::Extensions;
use super::header::{BLOCK, Block, Header, ZERO_BLOCK, has_checksum, has_magic, padding};
use super::inspect::Content;
use super::known::Known;
use super::{EntryPath, Error, Limits, Result};

/// Bytes that are skipped or copied in one piece.
pub(super) const PIECE: usize = 64 << 10;

/// A file or directory of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// The bytes of its content.
        size: u64,
        /// Whether anyone may execute it.
        executable: bool,
    },
    /// A directory.
    Directory,
}

/// Reads the entries of a tar archive in their order, decompressing it where it is compressed.
///
/// Files and directories come out. Symbolic links that stay within the archive are dropped and
/// counted. Everything else is an error, and so is every path that is used twice, except that of
/// a directory, which comes out once.
pub struct Reader<R: Read> {
    source: Decompressed<R>,
    limits: Limits,
    known: Known,
    /// Bytes of the current content that were not read yet, and of the padding behind it.
    content: u64,
    padding: usize,
    started: bool,
    ended: bool,
    entries: u64,
    dropped_links: u64,
}

impl<R: Read> Reader<R> {
    /// Starts to read `source`, which may be compressed.
    pub fn open(source: R, limits: &Limits) -> Result<Self> {
        Ok(Self {
            source: decompress(source, limits)?,
            limits: limits.clone(),
            known: Known::new(limits),
            content: 0,
            padding: 0,
            started: false,
            ended: false,
            entries: 0,
            dropped_links: 0,
        })
    }

    /// The next file or directory, or `None` at the end of the archive. What was not read of the
    /// content before is skipped.
    ///
    /// The end is reached only when the source is: what is behind the archive was then looked at.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let Some(header) = self.next_header()? else {
                if extensions.is_empty() {
                    return Ok(None);
                }
                return Err(Error::ReachEnd {
                    place: "an extended header without an entry",
                });
            };
            match header.kind {
                b'x' | b'g' | b'L' | b'K' => {
                    // A header that is about no entry in particular counts as one.
                    if header.kind == b'g' {
                        self.count_entry()?;
                    }
                    let content = self.read_extension_content(header.size)?;
                    extensions.add(&header, content, &self.limits)?;
                }
                _ => {
                    self.count_entry()?;
                    if let Some(entry) = self.accept(header, std::mem::take(&mut extensions))? {
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }

    /// The content of the entry that came last; empty for a directory.
    pub fn body(&mut self) -> Body<'_, R> {
        Body { reader: self }
    }

    /// The content of the entry that came last, whole. `path` is for the error where it is larger
    /// than [`Limits::file_bytes`].
    pub fn read_file(&mut self, path: &EntryPath) -> Result<Vec<u8>> {
        if self.content > self.limits.file_bytes {
            return Err(Error::HoldFile {
                path: path.clone(),
                allowed: self.limits.file_bytes,
            });
        }
        // Not reserved at once: the header may promise more than the source has.
        let mut content = Vec::new();
        self.body()
            .read_to_end(&mut content)
            .map_err(Error::from_read)?;
        Ok(content)
    }

    /// Entries so far, as [`Limits::entries`] counts them: dropped links, directories that come
    /// again and the root among them.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Symbolic links that were dropped so far.
    pub fn dropped_links(&self) -> u64 {
        self.dropped_links
    }

    /// Bytes after decompression so far.
    pub fn unpacked_bytes(&self) -> u64 {
        self.source.unpacked_bytes()
    }

    fn count_entry(&mut self) -> Result<()> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Error::ExceedLimit {
                allowed: self.limits.entries,
                unit: "entries",
            });
        }
        Ok(())
    }

    /// The next header, or `None` where the archive ends as it should: with two blocks of zeros,
    /// with one, or, as some write it, with none.
    fn next_header(&mut self) -> Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let mut block = ZERO_BLOCK;
        let count = self.fill(&mut block)?;
        if count < BLOCK || !has_checksum(&block) {
            if !self.started && block != ZERO_BLOCK && !(count == BLOCK && has_magic(&block)) {
                return Err(Error::DetectTar {
                    found: Content::detect(&block[..count]),
                });
            }
            return self.end(&block, count).map(|()| None);
        }
        self.started = true;
        let header = Header::parse(&block)?;
        self.check_size(&header)?;
        self.expect_content(header.size);
        Ok(Some(header))
    }

    /// Checks that what is here is the end, and that only zeros follow.
    fn end(&mut self, block: &Block, count: usize) -> Result<()> {
        self.ended = true;
        if count == 0 {
            if !self.started {
                return Err(Error::FindContent);
            }
            return Ok(());
        }
        if count < BLOCK {
            return Err(Error::ReachEnd {
                place: "a header of an entry",
            });
        }
        if *block != ZERO_BLOCK {
            return Err(Error::ParseHeader {
                entry: shown(
                    block[..100]
                        .split(|byte| *byte == 0)
                        .next()
                        .unwrap_or_default(),
                ),
                problem: "the checksum is wrong",
            });
        }
        let mut rest = vec![0; PIECE];
        loop {
            let count = self.fill(&mut rest)?;
            if rest[..count].iter().any(|byte| *byte != 0) {
                return Err(Error::ParseHeader {
                    entry: "end of the archive".to_owned(),
                    problem: "something other than zeros follows it",
                });
            }
            if count < rest.len() {
                return Ok(());
            }
        }
    }

    fn read_extension_content(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > self.limits.pax_bytes {
            return Err(Error::ExceedLimit {
                allowed: self.limits.pax_bytes,
                unit: "bytes in an extended header",
            });
        }
        let mut content = Vec::new();
        self.body()
            .read_to_end(&mut content)
            .map_err(Error::from_read)?;
        Ok(content)
    }

    /// Makes an entry of its headers, `None` for what is left out.
    fn accept(&mut self, mut header: Header, extensions: Extensions) -> Result<Option<Entry>> {
        extensions.apply(&mut header)?;
        self.check_size(&header)?;
        self.expect_content(header.size);
        let is_folder_name = header.name.ends_with(b"/");
        let path = EntryPath::parse(&header.name, &self.limits)?;
        let refuse = |kind| Error::AcceptEntry {
            entry: shown(&header.name),
            kind,
        };
        let Header {
            size, executable, ..
        } = header;
        match header.kind {
            // Before POSIX, a directory was a file whose name ends so.
            0 if is_folder_name => self.accept_directory(path, &header),
            b'0' | 0 if !is_folder_name => {
                let path = path.ok_or_else(|| refuse("a file that is named as the root"))?;
                self.known.add_file(&path)?;
                let kind = EntryKind::File { size, executable };
                Ok(Some(Entry { path, kind }))
            }
            b'0' => Err(refuse("a file that is named as a directory")),
            b'5' => self.accept_directory(path, &header),
            b'2' => {
                let path = path.ok_or_else(|| refuse("a link that is named as the root"))?;
                expect_no_content(&header)?;
                self.known
                    .add_link(&path, &header.link_name, &self.limits)?;
                self.dropped_links += 1;
                Ok(None)
            }
            b'1' => Err(refuse("a hard link")),
            b'3' | b'4' => Err(refuse("a device")),
            b'6' => Err(refuse("a FIFO")),
            b'S' => Err(refuse("a sparse file")),
            _ => Err(refuse("of an unknown type")),
        }
    }

    fn accept_directory(
        &mut self,
        path: Option<EntryPath>,
        header: &Header,
    ) -> Result<Option<Entry>> {
        expect_no_content(header)?;
        // The root itself is there anyway.
        let Some(path) = path else { return Ok(None) };
        let is_new = self.known.add_directory(&path)?;
        let kind = EntryKind::Directory;
        Ok(is_new.then_some(Entry { path, kind }))
    }

    /// Refuses a size that cannot be read to its end anyway, before it is used for anything.
    fn check_size(&self, header: &Header) -> Result<()> {
        if header.size > self.limits.unpacked_bytes {
            return Err(Error::ExceedLimit {
                allowed: self.limits.unpacked_bytes,
                unit: "bytes after decompression",
            });
        }
        Ok(())
    }

    fn expect_content(&mut self, size: u64) {
        self.content = size;
        self.padding = padding(size);
    }

    fn skip_content(&mut self) -> Result<()> {
        io::copy(&mut self.body(), &mut io::sink()).map_err(Error::from_read)?;
        let mut padding = [0; BLOCK];
        let expected = std::mem::take(&mut self.padding);
        let count = self.fill(&mut padding[..expected])?;
        // Published images have archives that end right behind the last content, since a writer
        // was never closed. All content is there, so it is the end. A part of the padding is not.
        if count == 0 && expected > 0 {
            self.ended = true;
        } else if count < expected {
            return Err(Error::ReachEnd {
                place: "the padding behind an entry",
            });
        }
        Ok(())
    }

    /// Reads until `buffer` is full or the source ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.source.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_read(error)),
            }
        }
        Ok(filled)
    }
}

/// Readers differ in whether such a content is there.
fn expect_no_content(header: &Header) -> Result<()> {
    if header.size == 0 {
        return Ok(());
    }
    Err(Error::ParseHeader {
        entry: shown(&header.name),
        problem: "an entry that is no file has a size",
    })
}

/// The content of one entry, from [`Reader::body`]. A content that is cut off is an error.
pub struct Body<'a, R: Read> {
    reader: &'a mut Reader<R>,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.reader.content).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.source.read(&mut buffer[..wanted])?;
        if count == 0 {
            let place = "the content of an entry";
            return Err(Error::ReachEnd { place }.into());
        }
        self.reader.content -= count as u64;
        Ok(count)
    }
}
