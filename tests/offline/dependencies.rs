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
