//! Names of components.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, excerpt};

/// The name of a component: a DNS domain and a path below it, such as `example.org/shop/frontend`.
///
/// The grammar is that of the descriptor schemas, at most 255 characters, all lower case. What
/// could not be a path of an OCI repository is refused by
/// [`OcmRepository::component_repository`](super::OcmRepository::component_repository).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComponentName(String);

impl ComponentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A domain of at least two labels, the last one of at least two letters and nothing else.
    fn domain_fits(domain: &str) -> bool {
        let Some((labels, top)) = domain.rsplit_once('.') else {
            return false;
        };
        let label_fits = |label: &str| {
            label.starts_with(|first: char| first.is_ascii_lowercase())
                && label.bytes().all(|byte| word(byte) || byte == b'-')
        };
        labels.split('.').all(label_fits)
            && top.len() >= 2
            && top.bytes().all(|byte| byte.is_ascii_lowercase())
    }

    fn segment_fits(segment: &str) -> bool {
        segment.split('.').all(|part| {
            part.starts_with(|first: char| first.is_ascii_lowercase())
                && part
                    .bytes()
                    .all(|byte| word(byte) || matches!(byte, b'-' | b'_'))
        })
    }
}

fn word(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

impl FromStr for ComponentName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fits = text.len() <= 255
            && text.split_once('/').is_some_and(|(domain, path)| {
                Self::domain_fits(domain) && path.split('/').all(Self::segment_fits)
            });
        if !fits {
            return Err(Error::ParseComponentName {
                text: excerpt(text),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ComponentName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ComponentName> for String {
    fn from(name: ComponentName) -> Self {
        name.0
    }
}

impl fmt::Debug for ComponentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, formatter)
    }
}

impl fmt::Display for ComponentName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_components_are_accepted() {
        for text in [
            "phoban.io/podinfo",
            "example.org/shop/frontend",
            "ocm.software/demos/podinfo",
            "github.com/open-component-model/ocm-demo-index",
            "a-1.example.org/a_b.c-d/e",
        ] {
            assert_eq!(text.parse::<ComponentName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn b22_text_that_is_no_component_name_is_refused() {
        let long = format!("example.org/{}", "a".repeat(255));
        for text in [
            "",
            ".",
            "..",
            "podinfo",
            "phoban.io",
            "phoban.io/",
            "phoban.io//podinfo",
            "/phoban.io/podinfo",
            "phoban/podinfo",
            "phoban.i/podinfo",
            "phoban.i0/podinfo",
            "Phoban.io/podinfo",
            "phoban.io/Podinfo",
            "phoban.io/..",
            "phoban.io/../secret",
            "phoban.io/a..b",
            "phoban.io/%2e%2e",
            "phoban.io/1a",
            "phoban.io/podinfo:1.0.0",
            "phoban.io/podinfo@sha256",
            "phoban.io/pod info",
            "phoban.io/podinfo\n",
            &long,
        ] {
            assert!(
                text.parse::<ComponentName>().is_err(),
                "{text:?} was taken for a component name"
            );
        }
    }
}
