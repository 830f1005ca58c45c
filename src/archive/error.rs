//! Why an archive was refused.

use std::io;

use super::{Compression, Content, EntryPath};

/// The result of reading or writing an archive.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an archive could not be read, was refused, or could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed, not its content.
    #[error("failed to read the content")]
    Read {
        /// What the source said.
        source: io::Error,
    },

    /// The sink failed.
    #[error("failed to write the content")]
    Write {
        /// What the sink said.
        source: io::Error,
    },

    /// The compressed content is damaged, cut off, or followed by something else.
    #[error("failed to decompress {compression} content")]
    Decompress {
        /// How the content is compressed.
        compression: Compression,
        /// What the decoder said.
        source: io::Error,
    },

    /// The content is packed in a way that is not read.
    #[error("unsupported compression {compression}: pack the content as tar, tar+gzip or tar+zstd")]
    DetectCompression {
        /// How the content is packed.
        compression: Compression,
    },

    /// The content is empty.
    #[error("source resource data cannot be empty")]
    FindContent,

    /// The content is no tar archive.
    #[error(
        "expected tarred directory content for configuration/localization resources, got {found}"
    )]
    DetectTar {
        /// What it looks like instead.
        found: Content,
    },

    /// The archive ends before it is complete.
    #[error("the archive ends within {place}: it was cut off")]
    ReachEnd {
        /// The part that is incomplete.
        place: &'static str,
    },

    /// A tar or PAX header that is malformed, or that others would read differently.
    #[error("refused header of entry {entry:?}: {problem}")]
    ParseHeader {
        /// The name of the entry, shortened, or what is known of it.
        entry: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// A path that is not a plain relative one.
    #[error("refused path {path:?}: {problem}")]
    ParsePath {
        /// The path, shortened.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// A symbolic link that could lead out of the archive.
    #[error("refused symbolic link {path:?} to {target:?}: {problem}")]
    FollowLink {
        /// Where the link is.
        path: EntryPath,
        /// Where it points, shortened.
        target: String,
        /// What is wrong.
        problem: &'static str,
    },

    /// An entry that is neither a file, a directory nor a symbolic link.
    #[error("refused entry {entry:?}: it is {kind}; only files and directories are accepted")]
    AcceptEntry {
        /// The name of the entry, shortened.
        entry: String,
        /// What it is.
        kind: &'static str,
    },

    /// A path that was used before, or that lies below one that is no directory.
    #[error("refused entry {path:?}: {problem}")]
    PlaceEntry {
        /// The path of the later entry.
        path: EntryPath,
        /// What it conflicts with.
        problem: &'static str,
    },

    /// One of the [`Limits`](super::Limits).
    #[error("the archive exceeds the limit of {allowed} {unit}")]
    ExceedLimit {
        /// The limit.
        allowed: u64,
        /// What is counted.
        unit: &'static str,
    },

    /// A file that would have to be held in memory is too large for that.
    #[error("file {path:?} exceeds the limit of {allowed} bytes for a file that is held in memory")]
    HoldFile {
        /// The file.
        path: EntryPath,
        /// The limit.
        allowed: u64,
    },

    /// The top folder cannot be renamed: something lies beside it.
    #[error("expected one folder at the top of the archive and nothing beside it, found {path:?}")]
    RenameTop {
        /// What lies beside the folder, or is a file where the folder should be.
        path: EntryPath,
    },
}

impl Error {
    /// Whether the content is something else than an archive.
    pub fn is_not_an_archive(&self) -> bool {
        matches!(
            self,
            Self::DetectTar { .. } | Self::FindContent | Self::DetectCompression { .. }
        )
    }

    /// The error of a read from [`Decompressed`](super::Decompressed) or [`Body`](super::Body): one
    /// of ours that travelled through [`io::Read`], or the source's.
    pub fn from_read(error: io::Error) -> Self {
        Self::unwrap_io(error).unwrap_or_else(|source| Self::Read { source })
    }

    /// The error of a write, as [`Error::from_read`] is of a read.
    pub(super) fn from_write(error: io::Error) -> Self {
        Self::unwrap_io(error).unwrap_or_else(|source| Self::Write { source })
    }

    /// Our own error where `error` only carries it, else `error` itself.
    pub(super) fn unwrap_io(error: io::Error) -> Result<Self, io::Error> {
        error.downcast::<Self>()
    }
}

impl From<Error> for io::Error {
    /// Wraps the error for its way through a decoder, that is, through [`io::Read`].
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// A name from a header for a message: as text, and short enough for a condition or an event.
pub(super) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 128;
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}
