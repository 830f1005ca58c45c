//! Versions of components, and the tags they are stored under.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::{Error, excerpt};
use crate::oci::Tag;

/// What stands for `+` in a tag, which may not hold one.
const BUILD_MARK: &str = ".build-";

/// A version by relaxed semantic versioning: `[v]MAJOR[.MINOR[.PATCH]][-PRERELEASE][+BUILD]`.
///
/// Missing numbers count as zero, leading zeros of the three numbers are tolerated. The text is
/// kept as it was written, and two versions are equal when their texts are; which one is newer is
/// the question of [`Version::precedence`]. Every version has a [`tag`](Version::tag), so one
/// whose tag were longer than 128 characters is refused.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    tag: Tag,
    numbers: Numbers,
}

/// The parts of a version that its precedence comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) patch: u64,
    /// Without the dash; empty for a release.
    pub(super) prerelease: String,
}

impl Version {
    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The tag under which a component of this version is stored: `+` becomes `.build-`.
    pub fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The version that `tag` stands for; an error where it is no version's tag.
    pub fn from_tag(tag: &Tag) -> Result<Self, Error> {
        match tag.as_str().rsplit_once(BUILD_MARK) {
            Some((front, build)) => format!("{front}+{build}").parse(),
            None => tag.as_str().parse(),
        }
    }

    /// Whether it has a pre-release part, such as `-rc.1`.
    pub fn is_prerelease(&self) -> bool {
        !self.numbers.prerelease.is_empty()
    }

    /// The order of semantic versioning 2.0.0, section 11: build metadata does not count.
    ///
    /// This is no `Ord`, because versions of equal precedence need not be equal.
    pub fn precedence(&self, other: &Self) -> Ordering {
        self.numbers.precedence(&other.numbers)
    }

    /// Whether it comes after `other` by [`Version::precedence`].
    pub fn is_newer_than(&self, other: &Self) -> bool {
        self.precedence(other) == Ordering::Greater
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }
}

impl Numbers {
    pub(super) fn precedence(&self, other: &Self) -> Ordering {
        (self.major, self.minor, self.patch)
            .cmp(&(other.major, other.minor, other.patch))
            .then_with(|| compare_prereleases(&self.prerelease, &other.prerelease))
    }

    /// Parses a whole version; `None` where the text is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = split_off(text, '+');
        let (numbers, prerelease) = split_off(text, '-');
        if !build.is_none_or(identifiers_fit) || !prerelease.is_none_or(prerelease_fits) {
            return None;
        }
        let mut parts = numbers.splitn(3, '.').map(parse_number);
        let major = parts.next()??;
        let minor = parts.next().unwrap_or(Some(0))?;
        let patch = parts.next().unwrap_or(Some(0))?;
        Some(Self {
            major,
            minor,
            patch,
            prerelease: prerelease.unwrap_or_default().to_owned(),
        })
    }
}

fn split_off(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((front, rest)) => (front, Some(rest)),
        None => (text, None),
    }
}

fn parse_number(text: &str) -> Option<u64> {
    // `str::parse` alone would take a sign.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Dot-separated identifiers of letters, digits and dashes.
fn identifiers_fit(text: &str) -> bool {
    text.split('.').all(|identifier| {
        !identifier.is_empty()
            && identifier
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

/// Identifiers of which the numeric ones have no leading zero.
fn prerelease_fits(text: &str) -> bool {
    identifiers_fit(text)
        && text.split('.').all(|identifier| {
            identifier.len() == 1
                || !identifier.starts_with('0')
                || identifier.bytes().any(|byte| !byte.is_ascii_digit())
        })
}

/// A release (empty text) comes after all its pre-releases.
fn compare_prereleases(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let mut left = left.split('.');
    let mut right = right.split('.');
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => compare_identifiers(left, right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn compare_identifiers(left: &str, right: &str) -> Ordering {
    // A number too large for 64 bits is compared as text, as the Go library does.
    match (parse_number(left), parse_number(right)) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |problem| Error::ParseVersion {
            text: excerpt(text),
            problem,
        };
        let numbers = Numbers::parse(text)
            .ok_or_else(|| wrong("expected [v]MAJOR[.MINOR[.PATCH]][-PRERELEASE][+BUILD]"))?;
        let tag = text
            .replace('+', BUILD_MARK)
            .parse()
            .map_err(|_| wrong("its tag is longer than 128 characters"))?;
        Ok(Self {
            text: text.to_owned(),
            tag,
            numbers,
        })
    }
}

impl TryFrom<String> for Version {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Version {}

impl std::hash::Hash for Version {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn b51_version_becomes_a_tag_and_the_tag_that_version() {
        for (text, tag) in [
            ("1.0.0+build.7", "1.0.0.build-build.7"),
            ("1.0.0+7", "1.0.0.build-7"),
            ("1.0.0-a.build-b+c", "1.0.0-a.build-b.build-c"),
            ("v1.0.0", "v1.0.0"),
            ("1.0", "1.0"),
            ("1", "1"),
            ("01.0.0", "01.0.0"),
            ("1.0.0-rc.1", "1.0.0-rc.1"),
        ] {
            assert_eq!(version(text).tag().as_str(), tag);
            let back = Version::from_tag(&tag.parse().unwrap()).unwrap();
            assert_eq!(back.as_str(), text);
        }
    }

    #[test]
    fn b51_text_that_is_no_version_is_refused() {
        let long = format!("1.0.0-{}", "a".repeat(400));
        for text in [
            "",
            "v",
            "latest",
            "1.",
            "1..0",
            "1.2.3.4",
            "V1.0.0",
            "vv1",
            "1.0.0-",
            "1.0.0+",
            "1.0.0-01",
            "1.0.0-a..b",
            "1.0.0+a+b",
            "1.0.0 ",
            " 1.0.0",
            "+1.0.0",
            "-1",
            "1.-1",
            "1.0.0-ä",
            "99999999999999999999.0.0",
            &long,
        ] {
            assert!(
                text.parse::<Version>().is_err(),
                "{text:?} was taken for a version"
            );
        }
    }

    #[test]
    fn precedence_is_that_of_semantic_versioning() {
        let ascending = [
            "0.9",
            "1.0.0-1",
            "1.0.0-2",
            "1.0.0-10",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "v1",
            "1.0.1",
            "1.10.0",
            "2",
        ];
        for (index, lower) in ascending.iter().enumerate() {
            for higher in &ascending[index + 1..] {
                assert!(
                    version(higher).is_newer_than(&version(lower)),
                    "{higher} is not newer than {lower}"
                );
                assert!(!version(lower).is_newer_than(&version(higher)));
            }
        }
    }

    #[test]
    fn b51_build_metadata_does_not_make_a_version_newer() {
        let (first, second) = (version("1.0.0+a"), version("1.0.0+b"));
        assert_eq!(first.precedence(&second), Ordering::Equal);
        assert_ne!(first, second);
    }

    #[test]
    fn b33_fallback_tag_of_referrers_is_no_version() {
        let tag = format!("sha256-{}", crate::oci::Digest::of("x").hex());
        let found = Version::from_tag(&tag.parse().unwrap());
        assert!(found.is_err(), "{found:?}");
    }
}
