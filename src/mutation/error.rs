//! What can go wrong between a rule and the file it changes.

use std::fmt;

use super::config_data::{RuleName, RulePath, RuleResource};
use super::localize::BoxedError;
use super::schema::Violation;
use crate::oci::ImageReference;
use crate::{archive, edit};

/// The result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Most places that a message lists.
const SHOWN: usize = 20;

/// Why rules could not be read or applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The content of the config resource is no `ConfigData`.
    #[error("failed to unmarshal content: {problem}")]
    Unmarshal {
        /// What does not fit.
        problem: String,
    },

    /// A rule lacks a field.
    #[error("rule {rule} has no {field:?}")]
    IncompleteRule {
        /// The rule.
        rule: RuleName,
        /// The field.
        field: &'static str,
    },

    /// The file of a rule lies outside of the archive, or is none.
    #[error("rule {rule} names file {file:?}: expected a path inside the archive, without \"..\"")]
    ParseRulePath {
        /// The rule.
        rule: RuleName,
        /// The path as written.
        file: String,
    },

    /// Too many rules.
    #[error("{list} has {count} rules, more than {limit}")]
    TooManyRules {
        /// The list of rules.
        list: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },

    /// Values are not a map in YAML or JSON.
    #[error("failed to parse the values: {problem}")]
    ParseValues {
        /// What does not fit.
        problem: String,
    },

    /// A source of values has none.
    #[error("no values found")]
    NoValues,

    /// The values have nothing at the path that was asked for.
    #[error("subPath not found: {key:?} of {sub_path:?} {problem}")]
    FindSubPath {
        /// The whole path.
        sub_path: String,
        /// The key where it ends.
        key: String,
        /// What is there.
        problem: String,
    },

    /// A rule computes its value by a CUE program.
    #[error(
        "rule {rule} for file {file:?} has a \"mapping\", which is not supported: use image, \
         registry, repository, fullyQualifiedRepository or tag"
    )]
    RefuseMapping {
        /// The rule.
        rule: RuleName,
        /// Its file.
        file: RulePath,
    },

    /// The resource of a rule is not in the component.
    #[error("failed to find resource {resource} named by rule {rule}")]
    FindResource {
        /// The rule.
        rule: RuleName,
        /// The resource.
        resource: Box<RuleResource>,
        /// What was found instead.
        source: BoxedError,
    },

    /// The resource of a rule has no image reference.
    #[error("failed to parse access reference: resource {resource} named by rule {rule}")]
    LocateImage {
        /// The rule.
        rule: RuleName,
        /// The resource.
        resource: Box<RuleResource>,
        /// What its access is.
        source: BoxedError,
    },

    /// A rule writes a tag, and the image has none.
    #[error(
        "rule {rule} writes the tag of {image}, of which only the digest is known: use the \
         \"image\" target"
    )]
    WriteTag {
        /// The rule.
        rule: RuleName,
        /// The image.
        image: Box<ImageReference>,
    },

    /// Expressions refer to what is not there.
    #[error("unresolved nodes:{}", Lines(.nodes))]
    Unresolved {
        /// Each rule with such an expression.
        nodes: Vec<Unresolved>,
    },

    /// An expression could not be evaluated.
    #[error("failed to evaluate rule {rule} for file {file:?}: {problem}")]
    Evaluate {
        /// The rule.
        rule: RuleName,
        /// Its file.
        file: RulePath,
        /// Why not.
        problem: String,
    },

    /// The path of a rule is none.
    #[error("failed to read path {path:?} of rule {rule} for file {file:?}")]
    ParsePath {
        /// The rule.
        rule: RuleName,
        /// Its file.
        file: RulePath,
        /// The path.
        path: String,
        /// What is wrong with it.
        source: Box<edit::ParsePathError>,
    },

    /// The file of a rule is not in the archive.
    #[error("failed to open {file:?} for rule {rule}: no such file or directory; {near}")]
    FindFile {
        /// The rule.
        rule: RuleName,
        /// Its file.
        file: RulePath,
        /// Files that may be meant, for people.
        near: String,
    },

    /// The file of a rule could not be read or written as YAML or JSON.
    #[error("failed to change file {file:?} for rule {rule}")]
    EditFile {
        /// The rule; the first of several.
        rule: RuleName,
        /// Its file.
        file: RulePath,
        /// What the editor says.
        source: Box<edit::Error>,
    },

    /// The file has no place for the value of a rule.
    #[error("failed to write {path:?} in file {file:?} for rule {rule}")]
    WriteValue {
        /// The rule.
        rule: RuleName,
        /// Its file.
        file: RulePath,
        /// Where the value should go.
        path: String,
        /// Why it cannot, and how far the path exists.
        source: Box<edit::Error>,
    },

    /// The source is no archive that can be read, or the result could not be written.
    #[error("failed to rewrite the archive")]
    RewriteArchive {
        /// What is wrong with it.
        source: Box<archive::Error>,
    },

    /// The values violate the schema, which is enforced.
    #[error("the values violate the schema of the component:{}", Lines(.violations))]
    ViolateSchema {
        /// Where and how.
        violations: Vec<Violation>,
    },
}

/// A rule whose expression refers to what is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The rule.
    pub rule: RuleName,
    /// Its file.
    pub file: RulePath,
    /// The expression and what was known where it looked.
    pub problem: String,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}\tin rule {} for file {:?}",
            self.problem, self.rule, self.file
        )
    }
}

/// A list in a message, one line each.
struct Lines<'a, T>(&'a Vec<T>);

impl<T: fmt::Display> fmt::Display for Lines<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.iter().take(SHOWN) {
            write!(formatter, "\n\t{line}")?;
        }
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(formatter, "\n\tand {more} more"),
        }
    }
}
