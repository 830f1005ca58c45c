//! Compressed content: told apart by its first bytes, decompressed under a bound.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::{Error, Limits, Result};

/// Compressed bytes that are read ahead of the decoder.
const READ_AHEAD: usize = 64 << 10;

/// How content is packed, as its first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not compressed, or not in a way that is known.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// Recognised to be refused by name.
    Bzip2,
    /// Recognised to be refused by name.
    Xz,
    /// Recognised to be refused by name.
    Zip,
}

impl Compression {
    /// How many bytes [`Compression::detect`] looks at.
    pub const DETECTED_BY: usize = 10;

    /// Tells the compression by the first bytes of the content.
    pub fn detect(first_bytes: &[u8]) -> Self {
        match first_bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or a skippable frame in front of one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            // With the start of a block or of the end, since a text may well start with "BZh".
            [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x31,
                0x41,
                0x59,
                0x26,
                0x53,
                0x59,
                ..,
            ]
            | [
                b'B',
                b'Z',
                b'h',
                b'1'..=b'9',
                0x17,
                0x72,
                0x45,
                0x38,
                0x50,
                0x90,
                ..,
            ] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Zip,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zip => "zip",
        })
    }
}

/// Decompresses `source` by what its first bytes say.
///
/// All members of a gzip stream and all frames of a zstd stream are read as one content. What
/// comes out is not looked at again: gzip within gzip stays gzip.
///
/// Fails where the source cannot be read, or is compressed in a way that is not supported. The
/// limits on bytes and ratio are enforced by the reads that follow; those fail with an
/// [`io::Error`] that carries an [`Error`].
pub fn decompress<R: Read>(mut source: R, limits: &Limits) -> Result<Decompressed<R>> {
    let mut first_bytes = Vec::with_capacity(Compression::DETECTED_BY);
    (&mut source)
        .take(Compression::DETECTED_BY as u64)
        .read_to_end(&mut first_bytes)
        .map_err(Error::from_read)?;
    let compression = Compression::detect(&first_bytes);
    let metered = Metered {
        source: Cursor::new(first_bytes).chain(source),
        bytes: 0,
    };
    let decoder = match compression {
        Compression::None => Decoder::Plain(metered),
        Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(buffered(metered)))),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(buffered(metered))
                .and_then(|mut decoder| {
                    decoder.window_log_max(limits.zstd_window_log)?;
                    Ok(decoder)
                })
                .map_err(|source| Error::Decompress {
                    compression,
                    source,
                })?;
            Decoder::Zstd(Box::new(decoder))
        }
        Compression::Bzip2 | Compression::Xz | Compression::Zip => {
            return Err(Error::DetectCompression { compression });
        }
    };
    Ok(Decompressed {
        decoder,
        compression,
        limits: limits.clone(),
        unpacked: 0,
    })
}

fn buffered<R: Read>(source: R) -> BufReader<R> {
    BufReader::with_capacity(READ_AHEAD, source)
}

/// Decompressed content, made by [`decompress`]. Every byte that comes out is counted.
pub struct Decompressed<R: Read> {
    decoder: Decoder<R>,
    compression: Compression,
    limits: Limits,
    unpacked: u64,
}

type Source<R> = Metered<io::Chain<Cursor<Vec<u8>>, R>>;

enum Decoder<R: Read> {
    Plain(Source<R>),
    Gzip(Box<MultiGzDecoder<BufReader<Source<R>>>>),
    Zstd(Box<zstd::Decoder<'static, BufReader<Source<R>>>>),
}

impl<R: Read> Decompressed<R> {
    /// How the source is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Bytes that came out so far.
    pub fn unpacked_bytes(&self) -> u64 {
        self.unpacked
    }

    /// Bytes that were taken from the source so far, those read ahead included.
    pub fn packed_bytes(&self) -> u64 {
        match &self.decoder {
            Decoder::Plain(source) => source.bytes,
            Decoder::Gzip(decoder) => decoder.get_ref().get_ref().bytes,
            Decoder::Zstd(decoder) => decoder.get_ref().get_ref().bytes,
        }
    }

    fn enforce_limits(&self) -> Result<()> {
        if self.unpacked > self.limits.unpacked_bytes {
            return Err(Error::ExceedLimit {
                allowed: self.limits.unpacked_bytes,
                unit: "bytes after decompression",
            });
        }
        let allowed = self.packed_bytes().saturating_mul(self.limits.ratio);
        if self.unpacked > self.limits.ratio_free_bytes && self.unpacked > allowed {
            return Err(Error::ExceedLimit {
                allowed: self.limits.ratio,
                unit: "bytes after decompression for one byte before it",
            });
        }
        Ok(())
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.decoder {
            Decoder::Plain(source) => source.read(buffer),
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zstd(decoder) => decoder.read(buffer),
        };
        let compression = self.compression;
        let count = read.map_err(|error| told_apart(compression, error))?;
        self.unpacked += count as u64;
        self.enforce_limits()?;
        Ok(count)
    }
}

/// Tells what the decoder found wrong with the content from what went wrong below it: only the
/// latter is worth another try.
fn told_apart(compression: Compression, error: io::Error) -> io::Error {
    if compression == Compression::None || error.kind() == io::ErrorKind::Interrupted {
        return error;
    }
    match Error::unwrap_io(error) {
        Ok(error) => error.into(),
        Err(source) => Error::Decompress {
            compression,
            source,
        }
        .into(),
    }
}

/// Counts what is read, and marks a failure of the source as one.
struct Metered<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Ok(count) => {
                self.bytes += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(Error::from_read(error).into()),
        }
    }
}
