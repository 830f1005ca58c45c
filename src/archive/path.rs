//! Paths of entries: relative, unambiguous, and the same text on every system.

use std::borrow::Borrow;
use std::fmt;

use super::error::shown;
use super::{Error, Limits, Result};

/// The path of a file or directory in an archive.
///
/// It is relative to the root of the archive, has at least one component, separates them by `/`,
/// and none is empty, `.` or `..`. It holds no backslash, drive letter or control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(String);

impl EntryPath {
    /// Parses a path as a header or a rule names it: `./` in front, `/` behind and doubled `/`
    /// are left out. Gives `None` for the root itself (`.` or nothing).
    pub fn parse(name: &[u8], limits: &Limits) -> Result<Option<Self>> {
        let wrong = |problem| Error::ParsePath {
            path: shown(name),
            problem,
        };
        // Measured before anything is made of it.
        if name.len() > limits.path_bytes {
            return Err(wrong("the path is too long"));
        }
        let text = std::str::from_utf8(name).map_err(|_| wrong("the path is not UTF-8"))?;
        if text.chars().any(char::is_control) {
            return Err(wrong("the path has a control character"));
        }
        if text.contains('\\') {
            return Err(wrong(
                "the path has a backslash, which some systems separate by",
            ));
        }
        if text.starts_with('/') {
            return Err(wrong("the path is absolute"));
        }
        let mut path = String::with_capacity(text.len());
        let mut depth = 0;
        for component in text.split('/') {
            match component {
                "" | "." => continue,
                ".." => return Err(wrong("the path has a component \"..\"")),
                _ if component.len() > limits.name_bytes => {
                    return Err(wrong("a component of the path is too long"));
                }
                _ if path.is_empty() && is_drive(component) => {
                    return Err(wrong("the path starts with a drive letter"));
                }
                _ => {}
            }
            depth += 1;
            if depth > limits.depth {
                return Err(wrong("the path is too deep"));
            }
            if !path.is_empty() {
                path.push('/');
            }
            path.push_str(component);
        }
        Ok((!path.is_empty()).then_some(Self(path)))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0
            .rsplit_once('/')
            .map_or(self.as_str(), |(_, name)| name)
    }

    /// The components in order.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The first component, and what lies below it.
    pub(super) fn split_top(&self) -> (&str, Option<&str>) {
        match self.0.split_once('/') {
            Some((top, rest)) => (top, Some(rest)),
            None => (&self.0, None),
        }
    }

    /// This path below `folder`. The parts were checked, the sum is checked against `limits`.
    pub(super) fn below(folder: &Self, rest: &str, limits: &Limits) -> Result<Self> {
        let joined = format!("{folder}/{rest}");
        let path = Self::parse(joined.as_bytes(), limits)?;
        Ok(path.expect("a path below a folder is not the root"))
    }
}

impl std::str::FromStr for EntryPath {
    type Err = Error;

    /// Parses a path within the default limits; the root is refused.
    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text.as_bytes(), &Limits::default())?.ok_or_else(|| Error::ParsePath {
            path: text.to_owned(),
            problem: "the path names the root, not a file in it",
        })
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl AsRef<str> for EntryPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Lets a set of paths be asked for a plain text.
impl Borrow<str> for EntryPath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for EntryPath {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

fn is_drive(component: &str) -> bool {
    matches!(component.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}
