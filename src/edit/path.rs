//! Paths into a document: the part of yq's path language that rules are written in.

mod parse;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// The longest path that is read, in bytes.
const LONGEST: usize = 4096;
/// The most steps that a path may have.
const MOST_STEPS: usize = 128;
/// The highest index, counted from either end: a path must not be able to ask for a huge list.
const HIGHEST_INDEX: i64 = 10_000;

/// Where in a file a value is: `spec.template.spec.containers[0].image`.
///
/// The syntax is yq's, with or without the leading dot:
///
/// | written | means |
/// |---|---|
/// | `a.b`, `a."k.v"`, `a["k.v"]` | the value of a key |
/// | `a.app-*` | every key that fits, `*` for any characters, `?` for one |
/// | `a[0]`, `a[-1]` | the element at an index, from the end where negative |
/// | `a[]` | every element of a list, every value of a map |
/// | `a[] \| select(.name == "x") \| .image` | only those for which the comparison holds |
/// | `(a[] \| select(.name == "x")).image` | the same |
/// | `select(document_index == 1) \| a.b` | only in the second document of the file |
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    pub(super) document: Option<usize>,
    pub(super) steps: Vec<Step>,
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Key(String),
    /// A key with `*` or `?` in it, as [`Glob::matches`] reads them.
    Glob(Glob),
    Index(i64),
    All,
    Select(Filter),
}

/// `select(.name == "x")`: a comparison of something below an element with a literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Filter {
    /// Keys and indexes only.
    pub(super) steps: Vec<Step>,
    pub(super) equal: bool,
    pub(super) literal: Value,
}

/// A text with `*` for any characters and `?` for one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Glob(pub(super) String);

/// Why a text is not a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a path: {problem} at character {position}")]
pub struct ParsePathError {
    /// The text as given, shortened where it is very long.
    pub path: String,
    /// The 1-based character where it stops making sense.
    pub position: usize,
    /// What is wrong there.
    pub problem: String,
}

impl Path {
    /// The document that the path is bound to, counted from 0; documents without content do not
    /// count.
    pub fn document(&self) -> Option<usize> {
        self.document
    }

    /// A path of plain keys and indexes, as a walk over a document finds it.
    pub(super) fn concrete(steps: Vec<Step>) -> Self {
        Self {
            document: None,
            steps,
        }
    }
}

impl FromStr for Path {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        parse::path(text)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(index) = self.document {
            write!(formatter, "select(document_index == {index}) | ")?;
            if !matches!(self.steps.first(), Some(Step::Select(_))) {
                formatter.write_str(".")?;
            }
        }
        write_steps(&self.steps, formatter)
    }
}

/// Writes `steps` without a leading dot, `.` where there are none.
pub(super) fn write_steps(steps: &[Step], formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut place = Place::Start;
    for step in steps {
        match (place, step) {
            (Place::Start, _) | (Place::AfterStep, Step::Index(_) | Step::All) => {}
            (Place::AfterSelect | Place::AfterStep, Step::Select(_)) => {
                formatter.write_str(" | ")?;
            }
            (Place::AfterSelect, _) => formatter.write_str(" | .")?,
            (Place::AfterStep, Step::Key(_) | Step::Glob(_)) => formatter.write_str(".")?,
        }
        write!(formatter, "{step}")?;
        place = match step {
            Step::Select(_) => Place::AfterSelect,
            _ => Place::AfterStep,
        };
    }
    if steps.is_empty() {
        formatter.write_str(".")?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Place {
    Start,
    AfterStep,
    AfterSelect,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) if parse::is_bare_key(key) => formatter.write_str(key),
            Self::Key(key) => write!(formatter, "{}", Value::from(key.as_str())),
            Self::Glob(glob) => formatter.write_str(&glob.0),
            Self::Index(index) => write!(formatter, "[{index}]"),
            Self::All => formatter.write_str("[]"),
            Self::Select(filter) => {
                formatter.write_str("select(.")?;
                if !filter.steps.is_empty() {
                    write_steps(&filter.steps, formatter)?;
                }
                let operator = if filter.equal { "==" } else { "!=" };
                write!(formatter, " {operator} {})", filter.literal)
            }
        }
    }
}

impl Glob {
    /// Whether `text` fits, in time bounded by the product of both lengths.
    pub(super) fn matches(&self, text: &str) -> bool {
        let pattern: Vec<char> = self.0.chars().collect();
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut next) = (0, 0);
        // Where to go on when the characters behind the last `*` do not fit.
        let mut retry = None;
        while next < text.len() {
            match pattern.get(at) {
                Some('*') => {
                    retry = Some((at, next));
                    at += 1;
                }
                Some(wanted) if *wanted == '?' || *wanted == text[next] => {
                    at += 1;
                    next += 1;
                }
                _ => {
                    let Some((star, taken)) = retry else {
                        return false;
                    };
                    retry = Some((star, taken + 1));
                    at = star + 1;
                    next = taken + 1;
                }
            }
        }
        pattern[at..].iter().all(|rest| *rest == '*')
    }
}

#[cfg(test)]
mod tests;
