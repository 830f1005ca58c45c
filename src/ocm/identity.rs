//! Identities: what tells one element of a component from the others.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// The attributes that identify an element, sorted by key: its name and its `extraIdentity`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// The identity of an element that is told apart by its name alone.
    pub fn of_name(name: &str) -> Self {
        Self::default().with("name", name)
    }

    /// The same identity with one attribute more, or another value for it.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The value of an attribute.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether it has no attributes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl From<BTreeMap<String, String>> for Identity {
    fn from(attributes: BTreeMap<String, String>) -> Self {
        Self(attributes)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Identity {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(attributes: I) -> Self {
        Self(
            attributes
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}

/// `"key"="value"`, joined by commas, as reference paths are written in snapshot identities.
impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            if index > 0 {
                formatter.write_char(',')?;
            }
            quote(key, formatter)?;
            formatter.write_char('=')?;
            quote(value, formatter)?;
        }
        Ok(())
    }
}

/// Quotes a text as Go does, because these texts are hashed into names.
fn quote(text: &str, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
    formatter.write_char('"')?;
    for character in text.chars() {
        let code = u32::from(character);
        match character {
            '"' | '\\' => write!(formatter, "\\{character}")?,
            '\x07' => formatter.write_str("\\a")?,
            '\x08' => formatter.write_str("\\b")?,
            '\x0c' => formatter.write_str("\\f")?,
            '\n' => formatter.write_str("\\n")?,
            '\r' => formatter.write_str("\\r")?,
            '\t' => formatter.write_str("\\t")?,
            '\x0b' => formatter.write_str("\\v")?,
            ' ' => formatter.write_char(' ')?,
            _ if character.is_ascii_control() => write!(formatter, "\\x{code:02x}")?,
            _ if character.is_control() || character.is_whitespace() => {
                write!(formatter, "\\u{code:04x}")?;
            }
            _ => formatter.write_char(character)?,
        }
    }
    formatter.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_written_sorted_and_quoted() {
        let identity = Identity::of_name("db").with("arch", "arm64");
        assert_eq!(identity.to_string(), r#""arch"="arm64","name"="db""#);
        assert_eq!(Identity::default().to_string(), "");
    }

    #[test]
    fn quoting_is_that_of_go() {
        let identity = Identity::of_name("a\"b\\c\n\t\x01\x7f\u{85}\u{2028} \u{e9}'");
        assert_eq!(
            identity.to_string(),
            r#""name"="a\"b\\c\n\t\x01\x7f\u0085\u2028 é'""#
        );
    }
}
