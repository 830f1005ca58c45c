//! Image references: `[HOST/]REPOSITORY[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Digest, Error};

/// Docker Hub, which a reference without a host means.
const DEFAULT_HOST: &str = "docker.io";

/// A tag by the distribution specification: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(String);

impl Tag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::ParseTag {
            text: text.chars().take(200).collect(),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = text.bytes().next().ok_or_else(wrong)?;
        let rest_fits = text
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-');
        if !word(first) || !rest_fits || text.len() > 128 {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Tag {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The path of a repository inside a registry, such as `team/app`.
///
/// Segments of lower-case letters and digits, joined inside by `.`, `_`, `__` or dashes; at most
/// 255 bytes (distribution specification, "Pulling manifests"). Safe as a part of a URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

impl RepositoryName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn segment_fits(segment: &str) -> bool {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = segment.as_bytes();
        let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
            return false;
        };
        let separators_fit = segment
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|run| {
                matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-')
            });
        word(*first) && word(*last) && separators_fit
    }
}

impl FromStr for RepositoryName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() > 255 || !text.split('/').all(Self::segment_fits) {
            return Err(Error::ParseRepository {
                text: text.chars().take(300).collect(),
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(name: RepositoryName) -> Self {
        name.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Where an image is: host, repository, and a tag, a digest, or both.
///
/// Parsed as container tools parse it: the first segment is a host where it holds a `.` or `:` or
/// is `localhost` with a port; otherwise the image is on Docker Hub. Nothing is filled in that was
/// not written: [`fmt::Display`] gives back what was parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    host: Option<String>,
    repository: RepositoryName,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl ImageReference {
    /// The reference of content in `repository` on `host` by its digest alone.
    pub fn by_digest(host: &str, repository: RepositoryName, digest: Digest) -> Self {
        Self {
            host: Some(host.to_owned()),
            repository,
            tag: None,
            digest: Some(digest),
        }
    }

    /// The host, with its port if one was written; `docker.io` where none was.
    pub fn host(&self) -> &str {
        self.host.as_deref().unwrap_or(DEFAULT_HOST)
    }

    /// The repository as written, without the host.
    pub fn repository(&self) -> &RepositoryName {
        &self.repository
    }

    /// Host and repository as written.
    pub fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("{host}/{}", self.repository),
            None => self.repository.to_string(),
        }
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same reference, pinned to `digest`.
    #[must_use]
    pub fn pinned(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    fn split_host(text: &str) -> (Option<&str>, &str) {
        match text.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) => (Some(first), rest),
            _ => (None, text),
        }
    }

    fn host_fits(host: &str) -> bool {
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !name.is_empty() && !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        let port_fits = port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
        let name_fits = if let Some(address) = name.strip_prefix('[') {
            address
                .strip_suffix(']')
                .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        } else {
            name.split('.').all(|label| {
                !label.is_empty()
                    && label
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            })
        };
        port_fits && name_fits
    }
}

impl FromStr for ImageReference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem: String| Error::ParseReference {
            text: text.chars().take(300).collect(),
            problem,
        };
        if text.contains("://") {
            return Err(wrong("it starts with a URL scheme".to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse()
                    .map_err(|source: Error| wrong(source.to_string()))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (host, path) = Self::split_host(rest);
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => {
                let tag = tag
                    .parse()
                    .map_err(|source: Error| wrong(source.to_string()))?;
                (path, Some(tag))
            }
            None => (path, None),
        };
        if let Some(host) = host
            && !Self::host_fits(host)
        {
            return Err(wrong(format!("{host:?} is not a host name")));
        }
        let repository = path
            .parse()
            .map_err(|source: Error| wrong(source.to_string()))?;
        Ok(Self {
            host: host.map(str::to_owned),
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ImageReference {
        text.parse().unwrap()
    }

    #[test]
    fn reference_comes_apart_and_together_again() {
        let digest = Digest::of("x");
        let cases = [
            (
                "ghcr.io/a/b:1.2".to_owned(),
                "ghcr.io",
                "a/b",
                Some("1.2"),
                false,
            ),
            (
                "reg.example.org:5000/a/b:1.2".to_owned(),
                "reg.example.org:5000",
                "a/b",
                Some("1.2"),
                false,
            ),
            ("nginx".to_owned(), "docker.io", "nginx", None, false),
            (
                "localhost:5000/x".to_owned(),
                "localhost:5000",
                "x",
                None,
                false,
            ),
            (
                "[::1]:5000/x:1".to_owned(),
                "[::1]:5000",
                "x",
                Some("1"),
                false,
            ),
            (format!("r.io/x@{digest}"), "r.io", "x", None, true),
            (format!("r.io/x:1@{digest}"), "r.io", "x", Some("1"), true),
        ];
        for (text, host, repository, tag, has_digest) in cases {
            let reference = parsed(&text);
            assert_eq!(reference.host(), host, "{text}");
            assert_eq!(reference.repository().as_str(), repository, "{text}");
            assert_eq!(reference.tag().map(Tag::as_str), tag, "{text}");
            assert_eq!(reference.digest().is_some(), has_digest, "{text}");
            assert_eq!(reference.to_string(), text);
        }
    }

    #[test]
    fn segment_without_dot_or_colon_is_no_host() {
        let reference = parsed("localhost/x:1");
        assert_eq!(
            (reference.host(), reference.repository().as_str()),
            ("docker.io", "localhost/x")
        );
    }

    #[test]
    fn b78_malformed_references_are_refused() {
        for text in [
            "",
            ":1",
            "a:",
            "a@",
            "a@sha256:00",
            "A/b",
            "ghcr.io/A",
            "ghcr.io//a",
            "ghcr.io/a/",
            "https://ghcr.io/a",
            "ghcr.io/a b",
            "-x.io/a",
            "r.io:99999/a",
            "r.io:+1/a",
            "r.io/..",
            "r.io/a:b:c",
            "r.io/../a",
        ] {
            assert!(
                text.parse::<ImageReference>().is_err(),
                "{text:?} was taken for a reference"
            );
        }
    }

    #[test]
    fn pinned_reference_keeps_its_tag() {
        let digest = Digest::of("y");
        let pinned = parsed("ghcr.io/a/b:1.2").pinned(digest.clone());
        assert_eq!(pinned.to_string(), format!("ghcr.io/a/b:1.2@{digest}"));
    }
}
