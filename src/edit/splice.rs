//! Replaces ranges of a text.

use std::cmp::Reverse;
use std::ops::Range;

use super::tree::Id;

/// A range of the old text and what takes its place.
#[derive(Debug)]
pub(super) struct Splice {
    pub(super) range: Range<usize>,
    pub(super) text: String,
    /// Where it comes among those at the same place.
    pub(super) order: Order,
}

/// At one place the value that is changed there comes first, then what is added behind it to the
/// innermost collection, then to those around it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Change,
    Add(Reverse<Id>),
}

/// Puts `splices`, which are in the order of the text and do not overlap, into `text`.
pub(super) fn join(text: &str, splices: &[Splice]) -> String {
    let grown: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut joined = String::with_capacity(text.len() + grown);
    let mut at = 0;
    for splice in splices {
        joined.push_str(&text[at..splice.range.start]);
        joined.push_str(&splice.text);
        at = splice.range.end;
    }
    joined.push_str(&text[at..]);
    joined
}
