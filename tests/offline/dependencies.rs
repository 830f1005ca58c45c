//! `Cargo.lock` fits `deny.toml`, as far as that can be told without `cargo deny` and its data.

use semver::{Version, VersionReq};

use crate::files::text;

/// Name and version of each crate that is locked, and where it comes from.
fn locked() -> Vec<(String, Version, String)> {
    let lock = text("Cargo.lock");
    let packages = lock.split("[[package]]").skip(1);
    packages
        .map(|package| {
            let field = |name: &str| {
                let begin = format!("{name} = \"");
                let line = package.lines().find_map(|line| line.strip_prefix(&*begin));
                line.map_or("", |line| line.trim_end_matches('"'))
                    .to_owned()
            };
            let version = Version::parse(&field("version")).unwrap();
            (field("name"), version, field("source"))
        })
        .collect()
}

#[test]
fn banned_crates_are_not_locked() {
    let locked = locked();
    let mut seen = 0;
    for line in text("deny.toml").lines() {
        let Some(banned) = line.trim().strip_prefix("{ crate = \"") else {
            continue;
        };
        let banned = &banned[..banned.find('"').unwrap()];
        let (name, versions) = banned.split_once('@').unwrap_or((banned, "*"));
        let versions = VersionReq::parse(versions).unwrap();
        for (_, version, _) in locked.iter().filter(|(locked, _, _)| locked == name) {
            assert!(!versions.matches(version), "{name} {version} is banned");
        }
        seen += 1;
    }
    assert!(seen > 10);
    let version = Version::new(0, 4, 44);
    assert!(VersionReq::parse("<0.4.45").unwrap().matches(&version));
}

#[test]
fn all_crates_come_from_crates_io() {
    let mut ours = Vec::new();
    for (name, _, source) in locked() {
        if source.is_empty() {
            ours.push(name);
        } else {
            assert_eq!(
                source, "registry+https://github.com/rust-lang/crates.io-index",
                "{name}"
            );
        }
    }
    assert_eq!(ours, ["ocm-controller"]);
}

/// The locked versions of one crate.
fn versions(name: &str) -> Vec<Version> {
    let locked = locked().into_iter();
    locked
        .filter_map(|(locked, version, _)| (locked == name).then_some(version))
        .collect()
}

#[test]
fn rustsec_2026_0067_rustsec_2026_0068_tar_is_one_without_known_weaknesses() {
    let found = versions("tar");
    let fixed = Version::new(0, 4, 45);
    assert!(!found.is_empty() && found.iter().all(|version| *version >= fixed));
}

#[test]
fn rustsec_2026_0066_rustsec_2025_0168_other_readers_of_archives_are_not_used() {
    for name in [
        "zip",
        "tokio-tar",
        "astral-tokio-tar",
        "async-tar",
        "krata-tokio-tar",
    ] {
        assert!(versions(name).is_empty(), "{name} is used");
    }
}
