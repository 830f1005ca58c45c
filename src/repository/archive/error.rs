//! What is wrong with an archive.

use std::io;
use std::path::{Path, PathBuf};

use crate::archive;
use crate::oci::Digest;
use crate::ocm;

/// What is wrong with an archive, or with a file in it.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be opened.
    #[error("failed to open {path:?}")]
    Open {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// It is no archive that is known.
    #[error(
        "it holds neither an artifact-index.json (Common Transport Archive) nor a \
         component-descriptor.yaml (component archive)"
    )]
    Unknown,

    /// A component archive was to be written.
    #[error(
        "it is a component archive, which holds one component version and cannot be written: \
         name another path"
    )]
    NotWritable,

    /// What is there has another form than the one that was asked for.
    #[error("what is there is a {found}, and a {wanted} was asked for: name another path")]
    OtherForm {
        /// What is there.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },

    /// Somebody else writes it.
    #[error("another process writes it: wait for its end")]
    Locked,

    /// A file of it is a link, or no file.
    #[error("{file:?} is a link or no regular file, which is refused: it could lead anywhere")]
    NotRegular {
        /// The file, relative to the archive.
        file: String,
    },

    /// There is no such thing in it.
    #[error("the archive does not hold it")]
    NotFound,

    /// A document of it is malformed.
    #[error("{file:?} is malformed: {problem}")]
    Malformed {
        /// The file, relative to the archive.
        file: &'static str,
        /// What does not fit.
        problem: String,
    },

    /// Its component descriptor is malformed.
    #[error("its component descriptor is malformed")]
    Descriptor {
        /// What does not fit.
        source: ocm::Error,
    },

    /// Content is not what its name says.
    #[error("its content has digest {actual}")]
    Digest {
        /// The digest that was found.
        actual: Digest,
    },

    /// Content is not as long as it was said to be.
    #[error("its content has {actual} bytes where {expected} were expected")]
    Size {
        /// What was said.
        expected: u64,
        /// What was found.
        actual: u64,
    },

    /// Content is larger than it may be where it is used.
    #[error("it is larger than {limit} bytes")]
    TooLarge {
        /// How large it may be.
        limit: usize,
    },

    /// An artifact in it consists of more manifests than can be one resource.
    #[error("it consists of more than {limit} manifests, or of manifests nested too deep")]
    TooManyManifests {
        /// How many there may be.
        limit: usize,
    },

    /// A tar file cannot be unpacked.
    #[error("failed to unpack it")]
    Unpack {
        /// Why.
        source: archive::Error,
    },

    /// A tar file has an entry that no archive has.
    #[error("its entry {entry:?} is refused: {problem}")]
    RefuseEntry {
        /// The entry.
        entry: String,
        /// Why.
        problem: &'static str,
    },

    /// There is no place for temporary files.
    #[error("failed to write a temporary file (TMPDIR says where)")]
    Spool {
        /// Why.
        source: io::Error,
    },

    /// A file cannot be read to its end.
    #[error("failed to read it")]
    Read {
        /// Why.
        source: io::Error,
    },

    /// A file cannot be written.
    #[error("failed to write {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ArchiveError {
    pub(super) fn open(path: &Path, source: io::Error) -> Self {
        Self::Open {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Write { path, source }
    }

    /// Whether the archive, or what was asked of it, is not there.
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::NotFound => true,
            Self::Open { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}
