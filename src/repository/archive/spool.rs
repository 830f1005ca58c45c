//! Unpacks a tar file of an archive into a folder.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{ArchiveError, component, files, index};
use crate::archive::{EntryKind, Limits, Reader};

/// Unpacks the archive in the file `path` into the empty folder `target`.
///
/// Only the documents and the files of `blobs/` are taken, under names that were checked. Links
/// are refused, and so is an entry that comes twice.
pub(super) fn unpack(path: &Path, target: &Path) -> Result<(), ArchiveError> {
    let wrong = |source| ArchiveError::Unpack { source };
    let source = File::open(path).map_err(|source| ArchiveError::open(path, source))?;
    let blobs = target.join(files::BLOBS);
    fs::create_dir(&blobs).map_err(|source| ArchiveError::Spool { source })?;
    let limits = Limits::default();
    let mut reader = Reader::open(source, &limits).map_err(wrong)?;
    let mut seen = HashSet::new();
    while let Some(entry) = reader.next_entry().map_err(wrong)? {
        let name = entry.path.as_str();
        let EntryKind::File { .. } = entry.kind else {
            continue;
        };
        let place = match name.split_once('/') {
            None if name == index::FILE || name == component::FILE => target.join(name),
            Some((files::BLOBS, file)) if !file.contains('/') => blobs.join(file),
            // Other tools may put notes into an archive.
            _ => continue,
        };
        if !seen.insert(name.to_owned()) {
            return Err(ArchiveError::RefuseEntry {
                entry: name.to_owned(),
                problem: "it comes twice",
            });
        }
        let mut file = File::create_new(place).map_err(|source| ArchiveError::Spool { source })?;
        io::copy(&mut reader.body(), &mut file).map_err(|source| ArchiveError::Read { source })?;
    }
    if reader.dropped_links() > 0 {
        return Err(ArchiveError::RefuseEntry {
            entry: path.display().to_string(),
            problem: "it holds symbolic links",
        });
    }
    Ok(())
}
