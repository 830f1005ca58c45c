//! Packs an archive anew, in the order of its source, and changes the files that rules name.

use std::convert::Infallible;
use std::io::{Read, Write};

use super::writer::Writer;
use super::{Entry, EntryKind, EntryPath, Error, Limits, Reader, Result};

/// Changes some files of an archive.
pub trait Rewrite {
    /// Why a file could not be rewritten.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Whether the file at `path` is to be rewritten. It is then held in memory, within
    /// [`Limits::file_bytes`]; all others are copied through. `path` is that of the source.
    fn wants(&mut self, path: &EntryPath) -> bool;

    /// The new content of a file that was wanted.
    fn rewrite(&mut self, path: &EntryPath, content: Vec<u8>) -> Result<Vec<u8>, Self::Error>;
}

/// Where the entries of the source lie in what is packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// Where they are.
    Keep,
    /// All below a new folder.
    Below(EntryPath),
    /// Below this folder instead of the one folder that the source has at its top. A chart has to
    /// lie in a folder of its name. Files beside the folder are refused, except those that macOS
    /// puts there (`._name`), which are left out.
    RenameTop(EntryPath),
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// Files and directories that were written.
    pub entries: u64,
    /// Symbolic links of the source that were left out. All of them point into the archive.
    pub dropped_links: u64,
    /// Files that the rewriter wanted and rewrote.
    pub rewritten_files: u64,
    /// Bytes of the tar archive within the gzip.
    pub unpacked_bytes: u64,
}

/// Why an archive was not rewritten: `E` is the rewriter's error.
#[derive(Debug, thiserror::Error)]
pub enum RewriteError<E: std::error::Error + 'static = Infallible> {
    /// The archive itself.
    #[error(transparent)]
    Archive(#[from] Error),

    /// The rewriter refused a file.
    #[error("failed to rewrite file {path:?}")]
    RewriteFile {
        /// The file.
        path: EntryPath,
        /// What the rewriter said.
        source: E,
    },
}

/// Packs `source`, a tar archive that may be compressed, to `sink` as canonical tar+gzip.
///
/// The entries keep their order. Owners, times and the names of users are left out; a file has
/// mode 0644, or 0755 where anyone may execute it, a directory 0755. On an error the sink holds a
/// part of an archive, which must be thrown away.
pub fn rewrite<R: Rewrite>(
    source: impl Read,
    sink: impl Write,
    limits: &Limits,
    layout: &Layout,
    rewriter: &mut R,
) -> Result<Rewritten, RewriteError<R::Error>> {
    let mut reader = Reader::open(source, limits)?;
    let mut writer = Writer::new(sink);
    let mut placement = Placement::new(layout, limits);
    let mut entries = 0;
    let mut rewritten_files = 0;
    if let Layout::Below(folder) = layout {
        writer.directory(folder)?;
        entries += 1;
    }
    while let Some(entry) = reader.next_entry()? {
        let Some(target) = placement.place(&entry)? else {
            continue;
        };
        entries += 1;
        match entry.kind {
            EntryKind::Directory => writer.directory(&target)?,
            EntryKind::File { executable, .. } if rewriter.wants(&entry.path) => {
                let content = reader.read_file(&entry.path)?;
                let content = rewriter.rewrite(&entry.path, content).map_err(|source| {
                    RewriteError::RewriteFile {
                        path: entry.path,
                        source,
                    }
                })?;
                rewritten_files += 1;
                let size = content.len() as u64;
                writer.file(&target, executable, size, content.as_slice())?;
            }
            EntryKind::File { executable, size } => {
                writer.file(&target, executable, size, reader.body())?;
            }
        }
    }
    let unpacked_bytes = writer.finish()?;
    Ok(Rewritten {
        entries,
        dropped_links: reader.dropped_links(),
        rewritten_files,
        unpacked_bytes,
    })
}

/// Packs `source` as [`rewrite`] does, with every file as it is.
pub fn normalize(
    source: impl Read,
    sink: impl Write,
    limits: &Limits,
    layout: &Layout,
) -> Result<Rewritten> {
    normalize_seeing(source, sink, limits, layout, |_| {})
}

/// As [`normalize`]; `see` is shown the path of each file of the source as it passes.
pub fn normalize_seeing(
    source: impl Read,
    sink: impl Write,
    limits: &Limits,
    layout: &Layout,
    see: impl FnMut(&EntryPath),
) -> Result<Rewritten> {
    rewrite(source, sink, limits, layout, &mut Unchanged(see)).map_err(|error| match error {
        RewriteError::Archive(error) => error,
        RewriteError::RewriteFile { source, .. } => match source {},
    })
}

/// Packs `content` as the one file of an archive, in the form that [`rewrite`] writes.
///
/// The header of a file says its size, so the content is held, within [`Limits::file_bytes`].
pub fn pack_single_file(
    path: &EntryPath,
    content: impl Read,
    sink: impl Write,
    limits: &Limits,
) -> Result<Rewritten> {
    let allowed = limits.file_bytes;
    let mut held = Vec::new();
    content
        .take(allowed.saturating_add(1))
        .read_to_end(&mut held)
        .map_err(Error::from_read)?;
    let size = held.len() as u64;
    if size > allowed {
        let path = path.clone();
        return Err(Error::HoldFile { path, allowed });
    }
    let mut writer = Writer::new(sink);
    writer.file(path, false, size, held.as_slice())?;
    let unpacked_bytes = writer.finish()?;
    Ok(Rewritten {
        entries: 1,
        dropped_links: 0,
        rewritten_files: 0,
        unpacked_bytes,
    })
}

/// Looks at all files and wants none.
struct Unchanged<F>(F);

impl<F: FnMut(&EntryPath)> Rewrite for Unchanged<F> {
    type Error = Infallible;

    fn wants(&mut self, path: &EntryPath) -> bool {
        (self.0)(path);
        false
    }

    fn rewrite(&mut self, _: &EntryPath, content: Vec<u8>) -> Result<Vec<u8>, Infallible> {
        Ok(content)
    }
}

/// Applies a [`Layout`] to one entry after the other.
struct Placement<'a> {
    layout: &'a Layout,
    limits: &'a Limits,
    /// The folder at the top of the source, once it was seen.
    top: Option<String>,
}

impl<'a> Placement<'a> {
    fn new(layout: &'a Layout, limits: &'a Limits) -> Self {
        Self {
            layout,
            limits,
            top: None,
        }
    }

    /// Where `entry` goes, `None` for one that is left out.
    fn place(&mut self, entry: &Entry) -> Result<Option<EntryPath>> {
        match self.layout {
            Layout::Keep => Ok(Some(entry.path.clone())),
            Layout::Below(folder) => {
                EntryPath::below(folder, entry.path.as_str(), self.limits).map(Some)
            }
            Layout::RenameTop(folder) => self.rename_top(entry, folder),
        }
    }

    fn rename_top(&mut self, entry: &Entry, folder: &EntryPath) -> Result<Option<EntryPath>> {
        let (top, rest) = entry.path.split_top();
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        if is_file && rest.is_none() && top.starts_with("._") {
            return Ok(None);
        }
        let known = self.top.get_or_insert_with(|| top.to_owned());
        if known != top || (is_file && rest.is_none()) {
            return Err(Error::RenameTop {
                path: entry.path.clone(),
            });
        }
        match rest {
            Some(rest) => EntryPath::below(folder, rest, self.limits).map(Some),
            None => Ok(Some(folder.clone())),
        }
    }
}
