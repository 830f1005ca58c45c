//! `Cargo.lock` fits `deny.toml`, as far as that can be told without `cargo deny` and its data.

use std::collections::BTreeSet;

use semver::{Version, VersionReq};
use serde_json::Value;

use crate::files::{below, path, text};

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

/// What `deny.toml` bans: name, and which versions.
fn banned() -> Vec<(String, VersionReq)> {
    let text = text("deny.toml");
    let lines = text.lines();
    let banned = lines.filter_map(|line| {
        let rest = line.trim().strip_prefix("{ crate = \"")?;
        let banned = &rest[..rest.find('"')?];
        let (name, versions) = banned.split_once('@').unwrap_or((banned, "*"));
        Some((name.to_owned(), VersionReq::parse(versions).unwrap()))
    });
    banned.collect()
}

fn is_banned(name: &str, version: &str) -> bool {
    let version = Version::parse(version).unwrap();
    let banned = banned();
    banned
        .iter()
        .any(|(banned, versions)| banned == name && versions.matches(&version))
}

#[test]
fn banned_crates_are_not_locked() {
    let banned = banned();
    assert!(banned.len() > 10);
    for (name, version, _) in locked() {
        let is_banned = banned
            .iter()
            .any(|(banned, versions)| *banned == name && versions.matches(&version));
        assert!(!is_banned, "{name} {version} is banned");
    }
    assert!(is_banned("tar", "0.4.44") && !is_banned("tar", "0.4.45"));
}

#[test]
fn rustsec_2023_0034_rustsec_2024_0003_rustsec_2024_0332_rustsec_2026_0258_weak_http_2_is_banned() {
    assert!(is_banned("h2", "0.4.15"));
    // There is none at all: everything speaks HTTP/1.1.
    assert!(locked().iter().all(|(name, ..)| name != "h2"));
}

#[test]
fn rustsec_2024_0336_rustsec_2024_0399_weak_tls_is_banned() {
    assert!(is_banned("rustls", "0.23.4") && is_banned("rustls", "0.23.17"));
    assert!(is_banned("rustls", "0.22.3"));
}

#[test]
fn rustsec_2026_0049_rustsec_2026_0098_rustsec_2026_0099_rustsec_2026_0104_weak_certificates_are_banned()
 {
    assert!(is_banned("rustls-webpki", "0.103.12"));
}

#[test]
fn rustsec_2025_0067_rustsec_2025_0068_rustsec_2024_0320_yaml_readers_that_nobody_keeps_are_banned()
{
    for name in ["libyml", "serde_yml", "yaml-rust"] {
        assert!(is_banned(name, "99.0.0"), "{name}");
    }
}

/// Nothing in a Secret, a manifest or an archive can be run, since nothing is.
#[test]
fn cve_2021_41254_cve_2022_24817_no_program_is_started() {
    for (file, code) in below("src", ".rs") {
        // Tests start themselves.
        if file.contains("/tests") {
            continue;
        }
        for name in [
            "process::Command",
            "Command::new",
            "CommandExt",
            "libc::exec",
        ] {
            assert!(!code.contains(name), "{file} names {name}");
        }
    }
}

/// The licences of `deny.toml`.
fn accepted() -> Vec<String> {
    let text = text("deny.toml");
    let (_, list) = text.split_once("\nallow = [").expect("a list of licences");
    let (list, _) = list.split_once(']').expect("its end");
    let names = list.split(',').map(|name| name.trim().trim_matches('"'));
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Whether an expression of SPDX can be fulfilled by these licences. (`/` is an old way to write
/// "or".)
fn is_accepted(expression: &str, accepted: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let mut depth = 0;
    let mut parts = vec![String::new()];
    let mut operators = Vec::new();
    for word in expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
    {
        match word {
            "OR" | "AND" if depth == 0 => {
                operators.push(word.to_owned());
                parts.push(String::new());
                continue;
            }
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        let part = parts.last_mut().expect("there is one");
        if !part.is_empty() {
            part.push(' ');
        }
        part.push_str(word);
    }
    if let [only] = &parts[..] {
        let inner = only.strip_prefix("( ").and_then(|it| it.strip_suffix(" )"));
        return match inner {
            Some(inner) => is_accepted(inner, accepted),
            None => accepted.contains(only),
        };
    }
    // "And" binds closer: each run of it has to be fulfilled as a whole.
    let mut all = is_accepted(&parts[0], accepted);
    for (operator, part) in operators.iter().zip(&parts[1..]) {
        if operator == "OR" {
            if all {
                return true;
            }
            all = is_accepted(part, accepted);
        } else {
            all = all && is_accepted(part, accepted);
        }
    }
    all
}

#[test]
fn expressions_of_licences_are_read() {
    let accepted = ["MIT", "Zlib", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Zlib", true),
        ("(GPL-3.0 OR MIT) AND ISC", false),
        ("GPL-3.0/MIT", true),
        ("Apache-2.0 WITH LLVM-exception OR ISC", true),
        ("ISC AND MIT OR Zlib", true),
    ] {
        assert_eq!(is_accepted(expression, &accepted), expected, "{expression}");
    }
}

/// All crates that the program or its tests are built from, on either architecture.
#[test]
fn licences_are_those_that_are_accepted() {
    let accepted = accepted();
    assert!(accepted.len() > 5, "{accepted:?}");
    for host in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        let output = std::process::Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--offline"])
            .args(["--filter-platform", host])
            .current_dir(path(""))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let used = metadata["resolve"]["nodes"].as_array().unwrap();
        let used: BTreeSet<&str> = used.iter().filter_map(|node| node["id"].as_str()).collect();
        let mut seen = 0;
        for package in metadata["packages"].as_array().unwrap() {
            if package["id"].as_str().is_some_and(|id| used.contains(id)) {
                let (name, licence) = (&package["name"], package["license"].as_str());
                let licence = licence.unwrap_or_default();
                assert!(is_accepted(licence, &accepted), "{name}: {licence:?}");
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen} crates");
    }
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

#[test]
fn rustsec_2023_0071_rsa_is_for_verification_with_public_keys_alone() {
    let deny = text("deny.toml");
    let (before, _) = deny
        .split_once("\"RUSTSEC-2023-0071\"")
        .expect("it is named");
    let reason = before.trim_end().lines().last().unwrap();
    assert!(reason.contains("only verifies"), "{reason}");
    for (file, code) in below("src", ".rs") {
        let is_test = file.contains("/tests") || file.ends_with("tests.rs");
        let shipped = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for private in ["RsaPrivateKey", "SigningKey", "Decryptor", "decrypt("] {
            assert!(is_test || !shipped.contains(private), "{file}: {private}");
        }
    }
}
