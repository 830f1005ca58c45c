use std::io::Read as _;

use serde_json::{Value, json};

use super::*;
use crate::edit::Missing;
use crate::mutation::{RuleName, RulePath};

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(packed: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = String::new();
        entry.read_to_string(&mut content).unwrap();
        (path, content)
    });
    entries.collect()
}

fn wanted(index: usize, file: &str, path: &str, value: Value, missing: Missing) -> Substitution {
    Substitution {
        rule: RuleName::new("configuration.rules", index, Some(format!("rule-{index}"))),
        file: RulePath::parse(file).unwrap(),
        path: path.to_owned(),
        value,
        missing,
    }
}

fn substituted(
    files: &[(&str, &str)],
    wanted: &[Substitution],
    root: Root,
) -> Result<(Vec<(String, String)>, Written)> {
    let settings = Settings {
        root,
        ..Settings::default()
    };
    let mut sink = Vec::new();
    let written = substitute(&*archive(files), wanted, &settings, &mut sink)?;
    Ok((unpacked(&sink), written))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

const DEPLOYMENT: &str = "# podinfo
spec:
  replicas: 1   # one
  containers:
  - {name: app, image: \"ghcr.io/stefanprodan/podinfo:6.3.5\"}
";

#[test]
fn only_named_values_of_named_files_change() {
    let files = [
        ("a/service.yaml", "x: [  1 ]\n"),
        ("a/deployment.yaml", DEPLOYMENT),
        ("bin", "\u{0}\u{1}"),
    ];
    let wanted = [
        wanted(
            0,
            "./a/deployment.yaml",
            "spec.replicas",
            json!(3),
            Missing::Create,
        ),
        wanted(
            1,
            "/a/deployment.yaml",
            "spec.containers[0].image",
            json!("r.io/x:1"),
            Missing::Refuse,
        ),
        wanted(
            2,
            "a/deployment.yaml",
            "spec.extra",
            json!({"k": ["v"]}),
            Missing::Create,
        ),
    ];
    let (entries, written) = substituted(&files, &wanted, Root::Archive).unwrap();
    assert_eq!((written.archive.rewritten_files, written.values), (1, 3));
    assert_eq!(
        entries[0],
        ("a/service.yaml".to_owned(), "x: [  1 ]\n".to_owned())
    );
    assert_eq!(entries[2].1, "\u{0}\u{1}");
    let changed = &entries[1].1;
    for kept in [
        "# podinfo",
        "# one",
        "name: app",
        "replicas: 3",
        "r.io/x:1",
        "extra:",
    ] {
        assert!(changed.contains(kept), "{kept:?} is not in {changed}");
    }
}

#[test]
fn b73_later_rule_overwrites_earlier_one() {
    let wanted: Vec<_> = ["red", "green", "blue"]
        .into_iter()
        .enumerate()
        .map(|(index, color)| wanted(index, "f.yaml", "color", json!(color), Missing::Refuse))
        .collect();
    let (entries, _) = substituted(&[("f.yaml", "color: none\n")], &wanted, Root::Archive).unwrap();
    assert_eq!(entries[0].1, "color: blue\n");
}

#[test]
fn b73_missing_file_names_its_rule_and_what_is_near() {
    let wanted = [
        wanted(0, "f.yaml", "a", json!(1), Missing::Create),
        wanted(1, "deployment.yaml", "a", json!(1), Missing::Create),
    ];
    let files = [
        ("f.yaml", "a: 1\n"),
        ("manifests/deployment.yaml", DEPLOYMENT),
    ];
    let message = substituted(&files, &wanted, Root::Archive)
        .unwrap_err()
        .to_string();
    for part in [
        "no such file or directory",
        "\"deployment.yaml\"",
        "rule-1",
        "manifests/deployment.yaml",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn b73_symbolic_link_is_no_file() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "real.yaml", &b"a: 1"[..])
        .unwrap();
    let mut link = tar::Header::new_ustar();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder
        .append_link(&mut link, "link.yaml", "real.yaml")
        .unwrap();
    let source = builder.into_inner().unwrap();
    let wanted = [wanted(0, "link.yaml", "a", json!(2), Missing::Create)];
    let error = substitute(&*source, &wanted, &Settings::default(), std::io::sink()).unwrap_err();
    assert!(
        error.to_string().contains("no such file or directory"),
        "{error}"
    );
}

#[test]
fn b74_file_that_is_no_yaml_is_an_error_with_its_rule() {
    for content in ["a: [\n", "a: {{ .Values.x }}\n", "a: 1\na: 2\n"] {
        let wanted = [wanted(0, "f.yaml", "a", json!(1), Missing::Create)];
        let message =
            chain(&substituted(&[("f.yaml", content)], &wanted, Root::Archive).unwrap_err());
        assert!(
            message.contains("rule-0")
                && message.contains("\"f.yaml\"")
                && message.contains("line"),
            "{message}"
        );
    }
}

#[test]
fn b72_path_that_leads_nowhere_names_rule_file_and_path() {
    let cases = [
        ("spec.nope", Missing::Refuse, "spec"),
        ("spec.containers.name", Missing::Create, "containers"),
        ("a..b", Missing::Create, "a..b"),
        ("a[99999999999].b", Missing::Create, "99999999999"),
    ];
    for (path, missing, hint) in cases {
        let wanted = [
            wanted(0, "f.yaml", "spec.replicas", json!(2), Missing::Create),
            wanted(1, "f.yaml", path, json!(1), missing),
        ];
        let message =
            chain(&substituted(&[("f.yaml", DEPLOYMENT)], &wanted, Root::Archive).unwrap_err());
        for part in ["rule-1", "f.yaml", path, hint] {
            assert!(message.contains(part), "{part:?} is not in {message:?}");
        }
    }
}

#[test]
fn b75_texts_read_back_as_they_were() {
    let texts = [
        "a: b",
        "# x",
        "*y",
        "!z",
        "{{ q }}",
        "a\nb\n",
        "\"'",
        "1.20",
        "no",
        "",
        " ",
        "- a",
        "true",
        "a: {b: c}",
    ];
    for text in texts {
        let wanted = [wanted(
            0,
            "f.yaml",
            "data.KEY",
            json!(text),
            Missing::Create,
        )];
        let (entries, _) = substituted(
            &[("f.yaml", "data:\n  KEY: old\n  OTHER: x # y\n")],
            &wanted,
            Root::Archive,
        )
        .unwrap();
        let read: Value = serde_yaml::from_str(&entries[0].1).unwrap();
        assert_eq!(
            read,
            json!({"data": {"KEY": text, "OTHER": "x"}}),
            "{}",
            entries[0].1
        );
    }
}

#[test]
fn files_of_a_chart_are_found_below_its_folder() {
    let files = [
        ("echo/Chart.yaml", "name: echo\n"),
        ("echo/values.yaml", "tag: a\n"),
        ("echo/charts/sub/values.yaml", "tag: s\n"),
    ];
    let wanted = [
        wanted(0, "values.yaml", "tag", json!("b"), Missing::Refuse),
        wanted(1, "echo/values.yaml", "tag", json!("c"), Missing::Refuse),
        wanted(
            2,
            "charts/sub/values.yaml",
            "tag",
            json!("d"),
            Missing::Refuse,
        ),
    ];
    let (entries, written) = substituted(&files, &wanted, Root::Chart).unwrap();
    assert_eq!(
        (entries[1].1.as_str(), entries[2].1.as_str()),
        ("tag: c\n", "tag: d\n")
    );
    assert_eq!(written.archive.rewritten_files, 2);
    assert!(substituted(&files, &wanted[..1], Root::Archive).is_err());
}

#[test]
fn source_that_is_no_archive_is_told_in_the_words_of_the_original() {
    for (source, expected) in [
        ("", "source resource data cannot be empty"),
        (
            "just text\n",
            "expected tarred directory content for configuration/localization resources, got plain text",
        ),
    ] {
        let error = substitute(
            source.as_bytes(),
            &[],
            &Settings::default(),
            std::io::sink(),
        )
        .unwrap_err();
        assert!(chain(&error).contains(expected), "{}", chain(&error));
    }
}

#[test]
fn without_substitutions_the_archive_is_packed_as_it_is_and_stays_so() {
    let files = [("b.yaml", "x: {{\n"), ("a.yaml", "y: 1\n")];
    let mut once = Vec::new();
    substitute(&*archive(&files), &[], &Settings::default(), &mut once).unwrap();
    let mut twice = Vec::new();
    substitute(&*once, &[], &Settings::default(), &mut twice).unwrap();
    assert_eq!(once, twice);
    assert_eq!(
        unpacked(&once)[0],
        ("b.yaml".to_owned(), "x: {{\n".to_owned())
    );
}

#[test]
fn b79_each_file_is_parsed_once_and_each_value_written_once() {
    let names: Vec<String> = (0..1_000).map(|n| format!("manifests/f{n}.yaml")).collect();
    let files: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), "a: 0\nb: {c: 0}\n"))
        .collect();
    let wanted: Vec<_> = (0..10_000)
        .map(|n| {
            wanted(
                n,
                &names[n % 1_000],
                if n % 2 == 0 { "a" } else { "b.c" },
                json!(n),
                Missing::Refuse,
            )
        })
        .collect();
    let (entries, written) = substituted(&files, &wanted, Root::Archive).unwrap();
    assert_eq!(written.archive.rewritten_files, 1_000);
    assert_eq!(written.values, 10_000);
    assert_eq!(entries[0].1, "a: 9000\nb: {c: 0}\n");
}
