//! The grammar of constraints.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{Comparator, Group, MAX_GROUPS, MAX_LENGTH, Numbers, Operator, Precision};

/// A bound: one to three numbers or wildcards, a pre-release, build metadata.
///
/// The `|` among the digits looks like an oversight in the Go library, but it decides how a hyphen
/// range beside a `||` without blanks is read, so it is kept.
const BOUND: &str = r"v?[0-9|xX*]+(?:\.[0-9|xX*]+)?(?:\.[0-9|xX*]+)?(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?";

const BLANKS: [char; 5] = [' ', '\t', '\n', '\r', '\x0c'];

static RANGE: LazyLock<Regex> = LazyLock::new(|| {
    let blank = r"[ \t\n\r\x0c]";
    compiled(&format!(
        "{blank}*({BOUND}){blank}+-{blank}+({BOUND}){blank}*"
    ))
});

static LEADING_BOUND: LazyLock<Regex> = LazyLock::new(|| compiled(&format!("^{BOUND}")));

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is constant and a test compiles it")
}

/// The operators, those first that begin with another one.
const OPERATORS: [(&str, Operator); 11] = [
    ("!=", Operator::NotEqual),
    (">=", Operator::GreaterOrEqual),
    ("=>", Operator::GreaterOrEqual),
    ("<=", Operator::LessOrEqual),
    ("=<", Operator::LessOrEqual),
    ("~>", Operator::Tilde),
    ("=", Operator::Equal),
    (">", Operator::Greater),
    ("<", Operator::Less),
    ("~", Operator::Tilde),
    ("^", Operator::Caret),
];

/// Parses the alternatives of a constraint; the error is what is wrong with it.
pub(super) fn groups(text: &str) -> Result<Vec<Group>, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} bytes"));
    }
    // Hyphen ranges are rewritten in the text before it is taken apart. That decides what
    // `^1.2 - 1.4` is (an error), so it has to happen in the same order as in the Go library.
    let rewritten = RANGE.replace_all(text, |range: &Captures<'_>| {
        format!(">= {}, <= {} ", &range[1], &range[2])
    });
    let alternatives: Vec<&str> = rewritten.split("||").collect();
    if alternatives.len() > MAX_GROUPS {
        return Err(format!(
            "it has more than {MAX_GROUPS} alternatives joined by \"||\""
        ));
    }
    alternatives.into_iter().map(group).collect()
}

fn group(text: &str) -> Result<Group, String> {
    let mut comparators = Vec::new();
    let mut rest = text.trim_start_matches(BLANKS);
    loop {
        let (comparator, behind) = leading_comparator(rest)?;
        comparators.push(comparator);
        let next = behind.trim_start_matches(BLANKS);
        rest = if next.is_empty() {
            break;
        } else if let Some(next) = next.strip_prefix(',') {
            next.trim_start_matches(BLANKS)
        } else if next.len() < behind.len() {
            next
        } else {
            return Err(format!("{behind:?} was not expected"));
        };
    }
    let admits_prereleases = comparators
        .iter()
        .any(|comparator| !comparator.bound.prerelease.is_empty());
    Ok(Group {
        comparators,
        admits_prereleases,
    })
}

fn leading_comparator(text: &str) -> Result<(Comparator, &str), String> {
    let (operator, rest) = OPERATORS
        .iter()
        .find_map(|(sign, operator)| Some((*operator, text.strip_prefix(sign)?)))
        .unwrap_or((Operator::Equal, text));
    let rest = rest.trim_start_matches(BLANKS);
    let Some(found) = LEADING_BOUND.find(rest) else {
        return Err(if rest.is_empty() {
            "a version is missing".to_owned()
        } else {
            format!("{rest:?} does not start with a version")
        });
    };
    let (bound, precision) =
        bound(found.as_str()).ok_or_else(|| format!("{:?} is not a version", found.as_str()))?;
    let comparator = Comparator {
        operator,
        bound,
        precision,
    };
    Ok((comparator, &rest[found.end()..]))
}

/// The numbers of a bound, zeros behind the last one that was written.
fn bound(text: &str) -> Option<(Numbers, Precision)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    // Build metadata does not count, and the pattern has seen to its form.
    let text = text.split('+').next().unwrap_or(text);
    let (numbers, prerelease) = match text.split_once('-') {
        Some((numbers, prerelease)) => (numbers, format!("-{prerelease}")),
        None => (text, String::new()),
    };
    let mut written = Vec::with_capacity(3);
    for part in numbers.split('.') {
        if matches!(part, "x" | "X" | "*") {
            break;
        }
        written.push(part);
    }
    let (numbers, precision) = match written.as_slice() {
        [] => ("0.0.0".to_owned(), Precision::Nothing),
        [major] => (format!("{major}.0.0"), Precision::Major),
        [major, minor] => (format!("{major}.{minor}.0"), Precision::Minor),
        _ => (numbers.to_owned(), Precision::Patch),
    };
    let whole = format!("{numbers}{prerelease}");
    Some((Numbers::parse(&whole)?, precision))
}
