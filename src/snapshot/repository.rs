//! Where a snapshot is served: repository `<namespace>/<snapshot name>`, tag = its version.

use std::fmt;
use std::str::FromStr;

use crate::oci::{Digest, RepositoryName, Tag};

use super::Error;

/// The longest tag that the distribution specification allows.
const TAG_LIMIT: usize = 128;

/// The name of a Kubernetes namespace (RFC 1123 label), the border between tenants.
///
/// Safe as a part of a path or a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = text.as_bytes();
        let fits = bytes.len() <= 63
            && bytes.first().is_some_and(word)
            && bytes.last().is_some_and(word)
            && bytes.iter().all(|byte| word(byte) || *byte == b'-');
        if !fits {
            return Err(Error::ParseNamespace {
                text: text.chars().take(100).collect(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The repository of one snapshot: its namespace and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    namespace: Namespace,
    name: String,
}

impl Repository {
    /// The repository of snapshot `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Result<Self, Error> {
        format!("{namespace}/{name}").parse()
    }

    /// The namespace that the snapshot is in.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The snapshot's name: one path segment, never `.` or `..`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Repository {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::ParseRepository {
            text: text.chars().take(300).collect(),
        };
        text.parse::<RepositoryName>().map_err(|_| wrong())?;
        let (namespace, name) = text.split_once('/').ok_or_else(wrong)?;
        if name.contains('/') {
            return Err(wrong());
        }
        Ok(Self {
            namespace: namespace.parse()?,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// The tag that stands for `version`.
///
/// A version that is a tag stays as it is. `+` becomes `.build-`, as OCM writes versions into
/// tags; any other character that no tag may hold becomes `-`; what is too long keeps its front
/// and ends in eight digits of its digest. Without a version the tag is `latest`.
#[expect(clippy::missing_panics_doc, reason = "no version reaches it")]
pub fn tag_for(version: &str) -> Tag {
    let fitting: String = version
        .replace('+', ".build-")
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') => c,
            _ => '-',
        })
        .collect();
    let mut text = match fitting.as_bytes().first() {
        None => "latest".to_owned(),
        Some(b'.' | b'-') => format!("_{fitting}"),
        Some(_) => fitting,
    };
    if text.len() > TAG_LIMIT {
        text.truncate(TAG_LIMIT - 9);
        text = format!("{text}-{}", &Digest::of(version).hex()[..8]);
    }
    text.parse()
        .expect("only characters that fit a tag, in a length that fits, are left")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn version_becomes_the_tag_that_ocm_would_write() {
        let cases = [
            ("6.3.5", "6.3.5"),
            ("v1.0.0-rc.1", "v1.0.0-rc.1"),
            ("1.0.0+git.abc", "1.0.0.build-git.abc"),
            (".5", "_.5"),
            ("a b/ü", "a-b--"),
            ("", "latest"),
        ];
        for (version, tag) in cases {
            assert_eq!(tag_for(version).as_str(), tag, "{version:?}");
        }
    }

    #[test]
    fn long_versions_with_the_same_front_get_different_tags() {
        let front = "1".repeat(140);
        let (one, other) = (tag_for(&format!("{front}a")), tag_for(&format!("{front}b")));
        assert_eq!(one.as_str().len(), TAG_LIMIT);
        assert_ne!(one, other);
    }

    #[test]
    fn repository_is_a_namespace_and_a_name() {
        let repository = Repository::new("ocm-system", "podinfo-deployment-x7k2a9q").unwrap();
        assert_eq!(repository.namespace().as_str(), "ocm-system");
        assert_eq!(repository.name(), "podinfo-deployment-x7k2a9q");
        assert_eq!(
            repository.to_string(),
            "ocm-system/podinfo-deployment-x7k2a9q"
        );
    }

    #[test]
    fn what_could_leave_a_folder_is_no_repository() {
        let long = "a".repeat(64);
        for text in [
            "", "a", "a/", "/a", "a/b/c", "a/..", "../a", "a//b", "A/b", "a.b/c", "a/b\0",
        ] {
            assert!(text.parse::<Repository>().is_err(), "{text:?} was taken");
        }
        assert!(Repository::new(&long, "x").is_err());
        assert!(Repository::new("ns", &"n".repeat(253)).is_err());
    }

    proptest! {
        #[test]
        fn every_version_has_a_tag(version in "\\PC{0,200}") {
            let tag = tag_for(&version);
            prop_assert!(tag.as_str().parse::<Tag>().is_ok());
            prop_assert_eq!(tag_for(tag.as_str()), tag);
        }
    }
}
