//! `docs/security/inputs.md` lists each hostile input and fault that a test is named after, and
//! each test that it lists is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::{below, text};

const DOCUMENT: &str = "docs/security/inputs.md";

/// Tests: (file, name).
type Tests = BTreeSet<(String, String)>;

#[test]
fn every_hostile_input_with_a_test_is_documented() {
    let (named, documented) = (named_in_code(), documented());
    let mut missing = Vec::new();
    for (id, tests) in &named {
        let row = documented.get(id);
        if row.map(|(_, tests)| tests) != Some(tests) {
            let words = row.map_or("in your words", |(words, _)| words);
            missing.push(format!("| {id} | {words} | {} |", cell(tests)));
        }
    }
    assert!(
        missing.is_empty(),
        "{DOCUMENT} must have these rows:\n{}",
        missing.join("\n")
    );
    for id in documented.keys() {
        assert!(
            named.contains_key(id),
            "{DOCUMENT} has a row {id}, and no test is named after it"
        );
    }
}

/// Each threat has its mitigation and tests that exist.
#[test]
fn evidence_of_each_threat_exists() {
    let mut rows = 0;
    for line in text("docs/security/threats.md").lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", threat, mitigation, evidence, ""] = cells[..] else {
            continue;
        };
        if threat == "threat" || threat.starts_with("---") {
            continue;
        }
        assert!(!mitigation.is_empty() && !evidence.is_empty(), "{threat}");
        for (file, name) in tests_of(evidence) {
            let code = text(&file);
            let is_there = code.lines().any(|line| function(line) == Some(&*name));
            assert!(is_there, "{threat}: there is no test {name} in {file}");
        }
        rows += 1;
    }
    assert!(rows > 10);
}

#[test]
fn ids_are_read_from_names() {
    assert_eq!(ids("b16_gzip_bomb_is_refused"), ["B16"]);
    assert_eq!(ids("b28_f06_f07_blob_is_whole"), ["B28", "F06", "F07"]);
    assert_eq!(ids("b23_cve_2021_41190_two"), ["B23", "CVE-2021-41190"]);
    assert_eq!(
        ids("rustsec_2026_0067_cve_2026_33056_folder"),
        ["RUSTSEC-2026-0067", "CVE-2026-33056"]
    );
    assert_eq!(ids("ghsa_8xwf_rjm4_xvhv_chain"), ["GHSA-8xwf-rjm4-xvhv"]);
    assert_eq!(ids("f215e513d_realm"), Vec::<String>::new());
    assert_eq!(ids("later_rule_wins_b16"), Vec::<String>::new());
}

/// The tests of each id.
fn named_in_code() -> BTreeMap<String, Tests> {
    let mut tests: BTreeMap<String, Tests> = BTreeMap::new();
    for folder in ["src", "tests"] {
        for (file, code) in below(folder, ".rs") {
            for line in code.lines() {
                let Some(name) = function(line) else { continue };
                for id in ids(name) {
                    let test = (file.clone(), name.to_owned());
                    tests.entry(id).or_default().insert(test);
                }
            }
        }
    }
    tests
}

/// The name of the function that this line begins.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line
        .strip_prefix("async fn ")
        .or_else(|| line.strip_prefix("fn "))?;
    Some(&rest[..rest.find(['(', '<'])?])
}

/// The ids at the beginning of a test's name: a letter and two digits, or that of an advisory.
fn ids(name: &str) -> Vec<String> {
    let mut ids = Vec::new();
    let mut words = name.split('_').peekable();
    while let Some(word) = words.next() {
        let is_short = word.len() == 3
            && word.starts_with(['b', 'f'])
            && word[1..].bytes().all(|byte| byte.is_ascii_digit());
        let is_hash = word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_short {
            ids.push(word.to_uppercase());
        } else if matches!(word, "cve" | "rustsec") {
            let (Some(year), Some(number)) = (words.next(), words.next()) else {
                break;
            };
            ids.push(format!("{}-{year}-{number}", word.to_uppercase()));
        } else if word == "ghsa" {
            let parts: Vec<&str> = words.by_ref().take(3).collect();
            ids.push(format!("GHSA-{}", parts.join("-")));
        } else if !is_hash {
            break;
        }
    }
    ids
}

/// Reads the rows `| id | words | file: test, test; file: test |`.
fn documented() -> BTreeMap<String, (String, Tests)> {
    let mut rows = BTreeMap::new();
    for line in text(DOCUMENT).lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", id, words, tests, ""] = cells[..] else {
            continue;
        };
        let is_numbered = id.starts_with(['B', 'F', 'C', 'R'])
            && id.ends_with(|last: char| last.is_ascii_digit());
        if !is_numbered && !id.starts_with("GHSA-") {
            continue;
        }
        assert!(!words.is_empty(), "{DOCUMENT}: row {id} says nothing");
        let row = (words.to_owned(), tests_of(tests));
        let before = rows.insert(id.to_owned(), row);
        assert!(before.is_none(), "{DOCUMENT}: there are two rows {id}");
    }
    rows
}

/// Reads `file: test, test; file: test`.
fn tests_of(cell: &str) -> Tests {
    let of_files = cell.split("; ").flat_map(|of_file| {
        let (file, names) = of_file.split_once(": ").unwrap_or((of_file, ""));
        names
            .split(", ")
            .map(|name| (unquoted(file), unquoted(name)))
    });
    of_files.collect()
}

fn unquoted(text: &str) -> String {
    text.trim_matches('`').to_owned()
}

/// The tests as a row has them.
fn cell(tests: &Tests) -> String {
    let mut by_file: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, name) in tests {
        by_file.entry(file).or_default().push(format!("`{name}`"));
    }
    let files: Vec<String> = by_file
        .iter()
        .map(|(file, names)| format!("`{file}`: {}", names.join(", ")))
        .collect();
    files.join("; ")
}
