//! Rules of the schemas that the types do not hold: names and identities of elements.

use std::collections::BTreeSet;

use super::{Descriptor, Result, refused};
use crate::ocm::Identity;

/// Checks the names of all elements, and that no two of a list have the same identity.
pub(super) fn elements(descriptor: &Descriptor) -> Result<()> {
    let resources = descriptor.resources.iter();
    list(
        "resource",
        resources.map(|found| (&*found.name, found.version.as_str(), &found.extra_identity)),
    )?;
    let sources = descriptor.sources.iter();
    list(
        "source",
        sources.map(|found| (&*found.name, found.version.as_str(), &found.extra_identity)),
    )?;
    let references = descriptor.references.iter();
    list(
        "reference",
        references.map(|found| (&*found.name, found.version.as_str(), &found.extra_identity)),
    )
}

fn list<'a>(
    kind: &str,
    elements: impl Iterator<Item = (&'a str, &'a str, &'a Identity)>,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, version, extra_identity) in elements {
        if !name_fits(name) {
            return Err(refused(format!(
                "{kind} {name:?}: names are lower-case letters and digits, with \"-\", \"_\", \
                 \"+\" between them"
            )));
        }
        if !seen.insert((name, version, extra_identity)) {
            return Err(refused(format!(
                "{kind} {name:?} of version {version:?} occurs twice with the same extraIdentity"
            )));
        }
    }
    Ok(())
}

/// The schemas' pattern for names, without their minimum of two characters.
fn name_fits(name: &str) -> bool {
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.first().is_some_and(word)
        && bytes.last().is_some_and(word)
        && bytes
            .iter()
            .all(|byte| word(byte) || matches!(byte, b'-' | b'_' | b'+'))
}
