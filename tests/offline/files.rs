//! The files of this repository.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_json::Value;

/// A file or folder of this repository.
pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The text of a file.
pub(crate) fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file below a folder whose name ends so: its path in the repository and its text. Sorted.
pub(crate) fn below(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect(&path(folder), ending, &mut found);
    found.sort();
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.unwrap().path();
        if entry.is_dir() {
            collect(&entry, ending, found);
        } else if entry.to_string_lossy().ends_with(ending) {
            let name = entry.strip_prefix(path("")).unwrap();
            let name = name.to_str().unwrap().to_owned();
            let content = text(&name);
            found.push((name, content));
        }
    }
}

/// All documents for people: those in `docs`, and those that lie where people look for them.
pub(crate) fn all_documents() -> Vec<(String, String)> {
    let mut found = below("docs", ".md");
    for name in [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ] {
        found.push((name.to_owned(), text(name)));
    }
    found.extend(below("charts", ".md"));
    found
}

/// The fenced blocks of a document that are marked as `language`.
pub(crate) fn blocks<'a>(document: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("```{language}\n");
    let starts: Vec<usize> = document
        .match_indices(&begin)
        .map(|(at, found)| at + found.len())
        .collect();
    starts.into_iter().map(|start| {
        let (block, _) = document[start..]
            .split_once("\n```")
            .expect("a block has an end");
        block
    })
}

/// The documents of a YAML text.
pub(crate) fn documents(yaml: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(yaml)
        .map(|document| Value::deserialize(document).expect("valid YAML"))
        .filter(|document| !document.is_null())
        .collect()
}
