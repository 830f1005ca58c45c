//! What this program is not made of: crates that hostile archives have got the better of.

use std::collections::BTreeMap;

use crate::files::text;

/// The versions of each package in Cargo.lock.
fn locked() -> BTreeMap<String, Vec<semver::Version>> {
    let lock = text("Cargo.lock");
    let mut packages = BTreeMap::<_, Vec<_>>::new();
    let quoted = |line: Option<&str>, key: &str| {
        let value = line?.strip_prefix(key)?.strip_prefix(" = ")?;
        Some(value.trim_matches('"').to_owned())
    };
    for package in lock.split("[[package]]").skip(1) {
        let mut lines = package.trim_start().lines();
        let name = quoted(lines.next(), "name").expect("a package has a name");
        let version = quoted(lines.next(), "version").expect("a package has a version");
        let version = version.parse().expect("a version");
        packages.entry(name).or_default().push(version);
    }
    packages
}

#[test]
fn rustsec_2026_0067_rustsec_2026_0068_tar_is_one_without_known_weaknesses() {
    let locked = locked();
    let fixed = semver::Version::new(0, 4, 45);
    assert!(locked["tar"].iter().all(|version| *version >= fixed));
}

#[test]
fn rustsec_2026_0066_rustsec_2025_0168_other_readers_of_archives_are_not_used() {
    let locked = locked();
    for name in [
        "zip",
        "tokio-tar",
        "astral-tokio-tar",
        "async-tar",
        "krata-tokio-tar",
    ] {
        assert!(!locked.contains_key(name), "{name} is used");
    }
}
