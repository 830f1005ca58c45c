//! Localizes a whole archive without rules.

use std::io::{Read, Write};

use super::{FileKind, FoundImages, KnownImages, UncoveredImage, find_images};
use crate::archive::{self, EntryPath, Rewrite, RewriteError, Rewritten};
use crate::edit::{self, Edit};
use crate::mutation::{Error, Result, Root, RulePath, Settings, Substitution};

/// What became of an archive that was localized without rules.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalizedImages {
    /// The archive that was written.
    pub archive: Rewritten,
    /// Images that come from where the component's copies are.
    pub covered: usize,
    /// Images that are no resource of the component.
    pub uncovered: Vec<UncoveredImage>,
    /// Files that may hold images and are neither YAML nor JSON, such as templates, with the
    /// reason. They were copied as they are.
    pub unreadable: Vec<(RulePath, edit::Error)>,
}

/// Copies the archive `source` to `sink` with every image of `known` taken from its copy.
///
/// As with [`substitute`](crate::mutation::substitute), files without images are copied through,
/// and on an error the sink holds a part of an archive, which must be thrown away.
pub fn localize_images(
    source: impl Read,
    known: &KnownImages,
    settings: &Settings,
    sink: impl Write,
) -> Result<LocalizedImages> {
    let mut rewriter = Rewriter {
        known,
        settings,
        covered: 0,
        uncovered: Vec::new(),
        unreadable: Vec::new(),
    };
    let archive = archive::rewrite(
        source,
        sink,
        &settings.limits,
        &settings.layout,
        &mut rewriter,
    )
    .map_err(|error| match error {
        RewriteError::Archive(source) => Error::RewriteArchive {
            source: Box::new(source),
        },
        RewriteError::RewriteFile { source, .. } => source,
    })?;
    Ok(LocalizedImages {
        archive,
        covered: rewriter.covered,
        uncovered: rewriter.uncovered,
        unreadable: rewriter.unreadable,
    })
}

struct Rewriter<'a> {
    known: &'a KnownImages,
    settings: &'a Settings,
    covered: usize,
    uncovered: Vec<UncoveredImage>,
    unreadable: Vec<(RulePath, edit::Error)>,
}

impl Rewriter<'_> {
    fn kind(&self, path: &str) -> Option<FileKind> {
        match self.settings.root {
            Root::Archive => FileKind::of(path, false),
            Root::Chart => FileKind::of(path.split_once('/')?.1, true),
        }
    }
}

impl Rewrite for Rewriter<'_> {
    type Error = Error;

    fn wants(&mut self, path: &EntryPath) -> bool {
        self.kind(path.as_str()).is_some()
    }

    fn rewrite(&mut self, path: &EntryPath, content: Vec<u8>) -> Result<Vec<u8>> {
        let (Some(kind), Some(file)) = (self.kind(path.as_str()), RulePath::parse(path.as_str()))
        else {
            return Ok(content);
        };
        let limits = &self.settings.edit_limits;
        let found = match find_images(&file, &content, kind, self.known, limits) {
            Ok(found) => found,
            Err(problem) => {
                self.unreadable.push((file, problem));
                return Ok(content);
            }
        };
        let FoundImages {
            substitutions,
            covered,
            uncovered,
        } = found;
        self.covered += covered;
        self.uncovered.extend(uncovered);
        let edits: Vec<Edit> = substitutions
            .iter()
            .map(Substitution::to_edit)
            .collect::<Result<_>>()?;
        if edits.is_empty() {
            return Ok(content);
        }
        edit::apply(&content, &edits, limits)
            .map_err(|source| substitutions[source.edit().unwrap_or_default()].failed(source))
    }
}
