//! Changes the value at a path of a YAML or JSON file and nothing else.
//!
//! A file is read into values that know their bytes ([`parse`]). [`apply`] decides for all edits
//! of a file which values change, writes only those bytes, and reads the result again to see that
//! it says what was wanted: comments, order, quotes, line ends and other documents stay.
//!
//! A text is written so that every reader, of YAML 1.1 or 1.2, reads that text back.

mod file;
mod path;
mod plan;
mod read;
mod scalar;
mod splice;
mod tree;
mod verify;
mod write;

pub use file::{File, Kind, Value};
pub use path::{ParsePathError, Path};

/// What a file may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The size of the file, before and after.
    pub bytes: usize,
    /// Lists and maps inside each other, in the file and in what is written.
    pub depth: usize,
    /// Keys and values of all documents, every alias counted as what it stands for.
    pub nodes: usize,
    /// Documents with content.
    pub documents: usize,
    /// Anchors in one document.
    pub anchors: usize,
    /// Values looked at to find those that the edits name.
    pub visits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            depth: 64,
            nodes: 250_000,
            documents: 4096,
            anchors: 10_000,
            visits: 20_000_000,
        }
    }
}

/// A value to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Where to. Without a choice of a document it is the first one that has the path.
    pub path: Path,
    /// What to write.
    pub value: serde_json::Value,
    /// What to do where the path does not exist.
    pub missing: Missing,
}

/// What an [`Edit`] does where its path does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Fail, and tell how far the path exists. Of several elements, those without it stay as
    /// they are as long as one has it.
    Refuse,
    /// Create what is missing: keys in maps and below null, elements behind the end of a list
    /// (those before them are null). Without a choice of a document it is created in the first.
    Create,
}

/// Why a file was not changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// Neither YAML nor JSON.
    #[error("failed to read line {line} as YAML: {problem}")]
    Parse {
        /// The 1-based line.
        line: usize,
        /// What the parser says.
        problem: String,
    },

    /// A template of Helm, which is YAML only after Helm ran.
    #[error(
        "failed to read line {line} as YAML: \"{{{{\" looks like a Helm template; change its \
         values.yaml instead"
    )]
    HelmTemplate {
        /// The 1-based line.
        line: usize,
    },

    /// The same key twice in one map.
    #[error("found key {key:?} a second time on line {line}")]
    DuplicateKey {
        /// The 1-based line of the second.
        line: usize,
        /// The key.
        key: String,
    },

    /// Beyond a limit.
    #[error("found more than {limit} {what} at line {line}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// The 1-based line where the limit was passed.
        line: usize,
    },

    /// An edit that cannot be done.
    #[error("failed to change {path:?}")]
    Change {
        /// The place of the edit in the list that was given.
        edit: usize,
        /// Its path.
        path: String,
        /// Why not.
        source: Refusal,
    },

    /// The file would not read as it should, or its other values would change.
    #[error("failed to write the value near line {line} so that it reads back as wanted")]
    Unsound {
        /// The 1-based line, in the file as it is.
        line: usize,
    },
}

/// Why an [`Edit`] cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path does not exist.
    #[error("nothing is there; {nearest:?} on line {line} is {found}")]
    NoMatch {
        /// The longest part of the path that exists.
        nearest: String,
        /// The 1-based line of its value.
        line: usize,
        /// What its value is.
        found: String,
    },

    /// A key below a list or scalar, or an index below a map or scalar.
    #[error("{step:?} does not fit: {nearest:?} on line {line} is {found}")]
    WrongKind {
        /// The step that does not fit.
        step: String,
        /// The part of the path before it.
        nearest: String,
        /// The 1-based line of its value.
        line: usize,
        /// What its value is.
        found: String,
    },

    /// The path goes on behind an alias, so the value is that of another place too.
    #[error("the path goes through the alias {alias:?} on line {line}; name the value itself")]
    ThroughAlias {
        /// The alias as written, with its `*`.
        alias: String,
        /// Its 1-based line.
        line: usize,
    },

    /// The value may come through a merge key, so it is that of another place too.
    #[error("{key:?} may come through the merge key \"<<\" on line {line}; name the value itself")]
    ThroughMerge {
        /// The key that is not there itself.
        key: String,
        /// The 1-based line of the merge key.
        line: usize,
    },

    /// The value has an anchor, or is part of one, whose aliases would change or break.
    #[error("the anchor {anchor:?} on line {line} is used on line {used}, which would change too")]
    Shared {
        /// The anchor's name.
        anchor: String,
        /// The 1-based line of the value that it names.
        line: usize,
        /// The 1-based line of the first alias.
        used: usize,
    },

    /// The file does not have the document that the path names.
    #[error("there is no document {wanted}; the file has {count}")]
    NoDocument {
        /// The document, counted from 0.
        wanted: usize,
        /// How many documents with content there are.
        count: usize,
    },

    /// Beyond a limit.
    #[error("more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The result of this module's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The place in the list of the edit that failed, where it is not the file that is wrong.
    pub fn edit(&self) -> Option<usize> {
        match self {
            Self::Change { edit, .. } => Some(*edit),
            Self::Parse { .. }
            | Self::HelmTemplate { .. }
            | Self::DuplicateKey { .. }
            | Self::TooLarge { .. }
            | Self::Unsound { .. } => None,
        }
    }
}

/// Reads a YAML or JSON file to look at.
pub fn parse<'t>(bytes: &'t [u8], limits: &Limits) -> Result<File<'t>> {
    let tree = read::tree(bytes, limits)?;
    Ok(File { tree })
}

/// Does `edits` in their order and gives the whole file back.
///
/// A later edit sees what an earlier one wrote. An edit whose value is there already changes
/// nothing, so that a second run gives the same bytes.
pub fn apply(bytes: &[u8], edits: &[Edit], limits: &Limits) -> Result<Vec<u8>> {
    let tree = read::tree(bytes, limits)?;
    let mut plan = plan::Plan::new(&tree);
    let mut budget = plan::Budget::new(limits);
    for (number, edit) in edits.iter().enumerate() {
        plan.add(edit, &mut budget)
            .map_err(|source| Error::Change {
                edit: number,
                path: edit.path.to_string(),
                source,
            })?;
    }
    let splices = write::splices(&plan);
    if splices.is_empty() {
        return Ok(bytes.to_vec());
    }
    let text = splice::join(tree.text, &splices);
    let line = |at: usize| tree.text[..at].matches('\n').count() + 1;
    let unsound = || Error::Unsound {
        line: line(splices[0].range.start),
    };
    let written = read::tree(text.as_bytes(), limits).map_err(|error| match error {
        Error::TooLarge { .. } => error,
        _ => unsound(),
    })?;
    verify::same(&plan, &written).map_err(|at| Error::Unsound { line: line(at) })?;
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests;
