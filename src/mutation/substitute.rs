//! Writes values into the files of an archive, which flows through.

use std::collections::HashMap;
use std::io::{Read, Write};

use super::{Error, Result, Substitution};
use crate::archive::{self, EntryPath, Layout, Limits, Rewrite, RewriteError, Rewritten};
use crate::edit::{self, Edit};

/// Most files that a message names instead of a missing one.
const MAX_NEAR: usize = 8;

/// How an archive is read and written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bounds of the archive.
    pub limits: Limits,
    /// Bounds of one file that is changed.
    pub edit_limits: edit::Limits,
    /// Where the entries go.
    pub layout: Layout,
    /// What the files of rules are relative to.
    pub root: Root,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            edit_limits: edit::Limits::default(),
            layout: Layout::Keep,
            root: Root::Archive,
        }
    }
}

/// What the files of rules are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The archive.
    Archive,
    /// The folder of a Helm chart, which is the one at the top of its archive. Rules may also name
    /// that folder, as the original wants it.
    Chart,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The archive; its `rewritten_files` are the files that were parsed, each once.
    pub archive: Rewritten,
    /// Values that were handed to the editor, each once.
    pub values: usize,
}

/// Copies the archive `source` to `sink` with `substitutions` made in their order.
///
/// Only the files that substitutions name are read into memory; each is parsed and written once,
/// however many values it gets. On an error the sink holds a part of an archive, which must be
/// thrown away.
pub fn substitute(
    source: impl Read,
    substitutions: &[Substitution],
    settings: &Settings,
    sink: impl Write,
) -> Result<Written> {
    let mut rewriter = Rewriter::new(substitutions, settings)?;
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
    rewriter.all_found()?;
    Ok(Written {
        archive,
        values: rewriter.values,
    })
}

impl Substitution {
    /// The same for the editor.
    pub(super) fn to_edit(&self) -> Result<Edit> {
        let path = self.path.parse().map_err(|source| Error::ParsePath {
            rule: self.rule.clone(),
            file: self.file.clone(),
            path: self.path.clone(),
            source: Box::new(source),
        })?;
        Ok(Edit {
            path,
            value: self.value.clone(),
            missing: self.missing,
        })
    }

    /// The error of the editor, told of the rule. An error about the file as a whole is told of
    /// the first of its rules.
    pub(super) fn failed(&self, source: edit::Error) -> Error {
        let (rule, file) = (self.rule.clone(), self.file.clone());
        let by_edit = source.edit().is_some();
        let source = Box::new(source);
        if by_edit {
            let path = self.path.clone();
            return Error::WriteValue {
                rule,
                file,
                path,
                source,
            };
        }
        Error::EditFile { rule, file, source }
    }
}

/// All substitutions in one file of the rules.
#[derive(Debug, Default)]
struct File {
    /// Their places in the list, ascending.
    substitutions: Vec<usize>,
    /// The entry that the file turned out to be.
    found: Option<EntryPath>,
}

struct Rewriter<'a> {
    substitutions: &'a [Substitution],
    edits: Vec<Edit>,
    settings: &'a Settings,
    files: HashMap<&'a str, File>,
    /// Files of the archive by their names, where a rule's file has such a name.
    same_name: HashMap<&'a str, Vec<String>>,
    /// The first files of the archive.
    first: Vec<String>,
    values: usize,
}

impl<'a> Rewriter<'a> {
    fn new(substitutions: &'a [Substitution], settings: &'a Settings) -> Result<Self> {
        let mut files = HashMap::<_, File>::new();
        let mut same_name = HashMap::new();
        let mut edits = Vec::with_capacity(substitutions.len());
        for (index, one) in substitutions.iter().enumerate() {
            edits.push(one.to_edit()?);
            let file = one.file.as_str();
            files.entry(file).or_default().substitutions.push(index);
            same_name.entry(file_name(file)).or_insert_with(Vec::new);
        }
        Ok(Self {
            substitutions,
            edits,
            settings,
            files,
            same_name,
            first: Vec::new(),
            values: 0,
        })
    }

    fn remember(&mut self, path: &str) {
        if let Some(known) = self.same_name.get_mut(file_name(path))
            && known.len() < MAX_NEAR
        {
            known.push(path.to_owned());
        }
        if self.first.len() < MAX_NEAR {
            self.first.push(path.to_owned());
        }
    }

    /// Refuses substitutions whose file was in no entry; the first one is told of.
    fn all_found(&self) -> Result<()> {
        let missing = self.files.values().filter(|file| file.found.is_none());
        let Some(first) = missing.filter_map(|file| file.substitutions.first()).min() else {
            return Ok(());
        };
        let substitution = &self.substitutions[*first];
        let near = match self.same_name.get(file_name(substitution.file.as_str())) {
            Some(same_name) if !same_name.is_empty() => {
                format!("files of that name are {same_name:?}")
            }
            _ if self.first.is_empty() => "the archive has no files".to_owned(),
            _ => format!("the archive begins with {:?}", self.first),
        };
        Err(Error::FindFile {
            rule: substitution.rule.clone(),
            file: substitution.file.clone(),
            near,
        })
    }
}

impl Rewrite for Rewriter<'_> {
    type Error = Error;

    fn wants(&mut self, path: &EntryPath) -> bool {
        self.remember(path.as_str());
        let names: Vec<&str> = names(self.settings.root, path.as_str()).collect();
        let mut wanted = false;
        for name in names {
            if let Some(file) = self.files.get_mut(name)
                && file.found.is_none()
            {
                file.found = Some(path.clone());
                wanted = true;
            }
        }
        wanted
    }

    fn rewrite(&mut self, path: &EntryPath, content: Vec<u8>) -> Result<Vec<u8>> {
        let files =
            names(self.settings.root, path.as_str()).filter_map(|name| self.files.get(name));
        let mut places: Vec<usize> = files
            .filter(|file| file.found.as_ref() == Some(path))
            .flat_map(|file| file.substitutions.iter().copied())
            .collect();
        // Rules of one file may name it in two ways; their order is that of the document.
        places.sort_unstable();
        let edits: Vec<Edit> = places
            .iter()
            .map(|place| self.edits[*place].clone())
            .collect();
        self.values += edits.len();
        edit::apply(&content, &edits, &self.settings.edit_limits).map_err(|error| {
            let place = places[error.edit().unwrap_or_default()];
            self.substitutions[place].failed(error)
        })
    }
}

/// The names under which rules may mean the entry at `path`.
fn names(root: Root, path: &str) -> impl Iterator<Item = &str> {
    let below_top = match root {
        Root::Archive => None,
        Root::Chart => path.split_once('/').map(|(_, rest)| rest),
    };
    [path].into_iter().chain(below_top)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests;
