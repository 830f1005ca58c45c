//! Version constraints, in the language of the Go library that users know it from.

use std::fmt;
use std::str::FromStr;

use super::error::{Error, excerpt};
use super::version::{Numbers, Version};

mod parse;

/// How long a constraint may be, in bytes.
const MAX_LENGTH: usize = 512;
/// How many alternatives, separated by `||`, a constraint may have.
const MAX_GROUPS: usize = 32;

/// A constraint on versions, such as `>=1.2 <2 || ~2.3`.
///
/// The language is that of Masterminds/semver 3.5.0 as it behaves, which the `semver` crate's
/// differs from: `||`, hyphen ranges, `!=`, a `v` prefix, blanks for "and", and pre-releases that
/// are admitted for a whole group where any comparator in it names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    text: String,
    groups: Vec<Group>,
}

/// Comparators that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    comparators: Vec<Comparator>,
    admits_prereleases: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparator {
    operator: Operator,
    bound: Numbers,
    /// How much of the bound was written.
    precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Which numbers of a bound were written, before the first one left out or given as a wildcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    Nothing,
    Major,
    Minor,
    Patch,
}

impl Constraint {
    /// The constraint as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `version` satisfies it.
    pub fn accepts(&self, version: &Version) -> bool {
        self.accepts_numbers(version.numbers())
    }

    /// The newest of `versions` that satisfies it.
    ///
    /// Of versions that differ in build metadata only, the one with the greatest text is taken, so
    /// that the choice does not depend on the order in which a registry lists its tags.
    pub fn best_match<'a>(
        &self,
        versions: impl IntoIterator<Item = &'a Version>,
    ) -> Option<&'a Version> {
        versions
            .into_iter()
            .filter(|version| self.accepts(version))
            .max_by(|left, right| {
                left.precedence(right)
                    .then_with(|| left.as_str().cmp(right.as_str()))
            })
    }

    fn accepts_numbers(&self, version: &Numbers) -> bool {
        self.groups.iter().any(|group| {
            (version.prerelease.is_empty() || group.admits_prereleases)
                && group
                    .comparators
                    .iter()
                    .all(|comparator| comparator.accepts(version))
        })
    }
}

impl Comparator {
    fn accepts(&self, version: &Numbers) -> bool {
        let order = version.precedence(&self.bound);
        match self.operator {
            Operator::Equal if self.precision == Precision::Patch => order.is_eq(),
            Operator::Equal | Operator::Tilde => order.is_ge() && self.tilde_admits(version),
            Operator::NotEqual => self.differs(version),
            Operator::Greater => self.is_exceeded(version),
            Operator::GreaterOrEqual => order.is_ge(),
            Operator::Less => order.is_lt(),
            Operator::LessOrEqual => self.is_not_exceeded(version),
            Operator::Caret => order.is_ge() && self.caret_admits(version),
        }
    }

    /// The upper side of `~`: the same major, and the same minor number where one was written.
    fn tilde_admits(&self, version: &Numbers) -> bool {
        let bound = &self.bound;
        let is_zero = (bound.major, bound.minor, bound.patch) == (0, 0, 0);
        match self.precision {
            Precision::Nothing => true,
            Precision::Major => version.major == bound.major,
            // `~0.0.0` means any version, in the library's own words a special case.
            Precision::Patch if is_zero => true,
            Precision::Minor | Precision::Patch => {
                (version.major, version.minor) == (bound.major, bound.minor)
            }
        }
    }

    /// The upper side of `^`: nothing left of the first number that is not zero may change.
    fn caret_admits(&self, version: &Numbers) -> bool {
        let bound = &self.bound;
        if bound.major > 0 || self.precision == Precision::Major {
            return version.major == bound.major;
        }
        if version.major > 0 {
            return false;
        }
        if bound.minor > 0 || self.precision == Precision::Minor {
            return version.minor == bound.minor;
        }
        version.minor == 0 && version.patch == bound.patch
    }

    fn differs(&self, version: &Numbers) -> bool {
        let bound = &self.bound;
        match self.precision {
            // `!=*` differs from nothing but `0.0.0`, as the library has it.
            Precision::Nothing | Precision::Patch => version.precedence(bound).is_ne(),
            Precision::Major => version.major != bound.major,
            Precision::Minor => {
                (version.major, version.minor) != (bound.major, bound.minor)
                    || version.prerelease != bound.prerelease
            }
        }
    }

    /// `>`: beyond everything that a partial bound covers.
    fn is_exceeded(&self, version: &Numbers) -> bool {
        let bound = &self.bound;
        match self.precision {
            Precision::Nothing | Precision::Patch => version.precedence(bound).is_gt(),
            Precision::Major => version.major > bound.major,
            Precision::Minor => (version.major, version.minor) > (bound.major, bound.minor),
        }
    }

    /// `<=`: up to the end of what a partial bound covers.
    fn is_not_exceeded(&self, version: &Numbers) -> bool {
        let bound = &self.bound;
        match self.precision {
            Precision::Patch => version.precedence(bound).is_le(),
            Precision::Major => version.major <= bound.major,
            Precision::Nothing | Precision::Minor => {
                (version.major, version.minor) <= (bound.major, bound.minor)
            }
        }
    }
}

impl FromStr for Constraint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let groups = parse::groups(text).map_err(|problem| Error::ParseConstraint {
            text: excerpt(text),
            problem,
        })?;
        Ok(Self {
            text: text.to_owned(),
            groups,
        })
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the Go library says to each pair; the first lines of the file tell how it was made.
    const MASTERMINDS: &str = include_str!("../../tests/fixtures/semver/masterminds.tsv");

    fn constraint(text: &str) -> Constraint {
        text.parse().unwrap()
    }

    fn verdict(constraint: &str, version: &str) -> &'static str {
        let Ok(constraint) = constraint.parse::<Constraint>() else {
            return "invalid";
        };
        // A constraint that is invalid has `-` for a version in the table.
        let Ok(version) = version.parse::<Version>() else {
            return "valid";
        };
        if constraint.accepts(&version) {
            "accepted"
        } else {
            "refused"
        }
    }

    #[test]
    fn b52_constraints_mean_what_they_mean_to_masterminds() {
        let mut pairs = 0;
        let mut differing = Vec::new();
        for line in MASTERMINDS.lines().filter(|line| !line.starts_with('#')) {
            let [quoted, version, expected] =
                line.split('\t').collect::<Vec<_>>().try_into().unwrap();
            let text: String = serde_json::from_str(quoted).unwrap();
            pairs += 1;
            let found = verdict(&text, version);
            if found != expected {
                differing.push(format!("{quoted} {version}: {expected}, not {found}"));
            }
        }
        assert!(pairs >= 500, "only {pairs} pairs in the table");
        assert!(
            differing.is_empty(),
            "{} of {pairs} differ:\n{}",
            differing.len(),
            differing.join("\n")
        );
    }

    #[test]
    fn b52_constraint_of_any_length_is_answered() {
        let error = "1||".repeat(10_240 / 3).parse::<Constraint>().unwrap_err();
        assert!(error.to_string().contains("longer than 512"), "{error}");
        assert!(error.to_string().len() < 300);
    }

    #[test]
    fn newest_matching_version_is_chosen() {
        let versions: Vec<Version> = ["6.2.3", "6.4.0", "v6.3.5", "7.0.0-rc.1", "6.3.5+a"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let best = |text: &str| {
            let found = constraint(text).best_match(&versions);
            found.map(Version::as_str)
        };
        assert_eq!(best(">=6"), Some("6.4.0"));
        assert_eq!(best("~6.2"), Some("6.2.3"));
        assert_eq!(best(">=6-0"), Some("7.0.0-rc.1"));
        assert_eq!(best("^5"), None);
    }

    #[test]
    fn b51_choice_between_equal_versions_does_not_depend_on_their_order() {
        let a: Version = "1.0.0+a".parse().unwrap();
        let b: Version = "1.0.0+b".parse().unwrap();
        let any = constraint("*");
        assert_eq!(any.best_match([&a, &b]), Some(&b));
        assert_eq!(any.best_match([&b, &a]), Some(&b));
    }
}
