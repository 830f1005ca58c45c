//! Which version is taken: the highest that the constraint accepts, and never silently an older.

use crate::ocm::{Constraint, Version};

/// How many versions are tried until one verifies, besides the one in use.
const MAX_TRIED: usize = 32;

/// How many versions a message names at most.
const SHOWN: usize = 10;

/// The version to take, and whether it is among those `available`.
///
/// The version in use is left for a newer one that the constraint accepts, or when the constraint
/// no longer accepts it. It is not left for an older one because it has vanished.
pub(super) fn choose(
    constraint: &Constraint,
    current: Option<&Version>,
    available: &[Version],
) -> Option<(Version, bool)> {
    let latest = constraint.best_match(available);
    let current = current.filter(|current| constraint.accepts(current));
    let version = match (current, latest) {
        (Some(current), Some(latest)) if latest.is_newer_than(current) => latest,
        (Some(current), _) => current,
        (None, latest) => latest?,
    };
    Some((version.clone(), available.contains(version)))
}

/// The versions to try one after the other until one verifies, newest first.
///
/// They end with the version in use as long as the constraint accepts it: that an older version
/// carries a signature is no reason to go back to it.
pub(super) fn candidates<'a>(
    constraint: &Constraint,
    current: Option<&'a Version>,
    available: &'a [Version],
) -> Vec<&'a Version> {
    let current = current.filter(|current| constraint.accepts(current));
    let is_wanted = |version: &&Version| {
        constraint.accepts(version) && current.is_none_or(|current| version.is_newer_than(current))
    };
    let mut candidates: Vec<_> = available.iter().filter(is_wanted).collect();
    candidates.sort_by(|left, right| {
        let texts = || right.as_str().cmp(left.as_str());
        right.precedence(left).then_with(texts)
    });
    candidates.truncate(MAX_TRIED);
    candidates.extend(current);
    candidates
}

/// What there is, for the message that nothing of it fits.
pub(super) fn summary(available: &[Version]) -> String {
    if available.is_empty() {
        return "the repository lists no versions".to_owned();
    }
    let mut sorted: Vec<&Version> = available.iter().collect();
    sorted.sort_by(|left, right| right.precedence(left));
    let shown: Vec<String> = sorted.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = sorted.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("the repository has {}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(texts: &[&str]) -> Vec<Version> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn chosen(
        constraint: &str,
        current: Option<&str>,
        available: &[&str],
    ) -> Option<(String, bool)> {
        let current: Option<Version> = current.map(|text| text.parse().unwrap());
        choose(
            &constraint.parse().unwrap(),
            current.as_ref(),
            &versions(available),
        )
        .map(|(version, is_listed)| (version.to_string(), is_listed))
    }

    /// The decision table of the original's own tests.
    #[test]
    fn version_in_use_is_left_only_for_a_newer_one_or_when_excluded() {
        let cases = [
            (">=0.0.2", Some("0.0.3"), "0.0.3", "0.0.3"),
            (">=0.0.2", Some("0.0.1"), "0.0.2", "0.0.2"),
            ("=0.0.3", Some("0.0.2"), "0.0.3", "0.0.3"),
            ("!=0.0.3", Some("0.0.3"), "0.0.2", "0.0.2"),
            ("!=0.0.3", Some("0.0.3"), "0.0.4", "0.0.4"),
            (">=0.0.3", Some("0.0.4"), "0.0.3", "0.0.4"),
            (">=0.0.0", None, "0.0.0", "0.0.0"),
        ];
        for (constraint, current, latest, expected) in cases {
            let found = chosen(constraint, current, &[latest]);
            assert_eq!(
                found.map(|(version, _)| version).as_deref(),
                Some(expected),
                "{constraint}"
            );
        }
    }

    #[test]
    fn text_of_the_version_is_kept() {
        let available = ["v0.0.1", "v0.0.2", "v0.0.4", "v0.0.5"];
        let cases = [
            (">v0.0.1", "v0.0.5"),
            ("v0.0.1", "v0.0.1"),
            ("<=v0.0.2", "v0.0.2"),
            ("=v0.0.1", "v0.0.1"),
            ("!=v0.0.4", "v0.0.5"),
        ];
        for (constraint, expected) in cases {
            assert_eq!(
                chosen(constraint, None, &available),
                Some((expected.to_owned(), true))
            );
        }
    }

    #[test]
    fn b58_vanished_version_stays_and_is_known_to_have_vanished() {
        assert_eq!(
            chosen(">=1", Some("2.0.0"), &["1.0.0"]),
            Some(("2.0.0".to_owned(), false))
        );
    }

    #[test]
    fn b58_cve_2024_23332_signed_older_version_is_no_candidate_while_the_one_in_use_is_accepted() {
        let available = versions(&["1.0.0", "1.2.0", "2.0.0", "1.1.0", "3.0.0-rc.1"]);
        let tried = |constraint: &str, current: Option<&str>| {
            let current: Option<Version> = current.map(|text| text.parse().unwrap());
            let constraint = constraint.parse().unwrap();
            let found = candidates(&constraint, current.as_ref(), &available);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(tried(">=1", None), ["2.0.0", "1.2.0", "1.1.0", "1.0.0"]);
        assert_eq!(tried(">=1", Some("1.1.0")), ["2.0.0", "1.2.0", "1.1.0"]);
        assert_eq!(tried(">=1", Some("2.5.0")), ["2.5.0"]);
        assert_eq!(tried("<2", Some("2.0.0")), ["1.2.0", "1.1.0", "1.0.0"]);
        let many: Vec<Version> = (1..100)
            .map(|minor| format!("1.{minor}.0").parse().unwrap())
            .collect();
        let constraint = ">=1".parse().unwrap();
        let found = candidates(&constraint, many.first(), &many);
        assert_eq!(
            (found.len(), found.last()),
            (MAX_TRIED + 1, Some(&&many[0]))
        );
    }

    #[test]
    fn nothing_that_fits_is_nothing() {
        assert_eq!(chosen(">=2", None, &["1.0.0"]), None);
        assert_eq!(
            summary(&versions(&["1.0.0", "1.2.0"])),
            "the repository has 1.2.0, 1.0.0"
        );
    }
}
