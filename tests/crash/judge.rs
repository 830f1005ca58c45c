//! What the process has said, against what it left.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::checker::{self, Tree};

/// Of each tag, the manifests that it may name; `-` stands for its absence.
#[derive(Debug, Default)]
pub(crate) struct Promised(BTreeMap<String, BTreeSet<String>>);

impl Promised {
    /// Takes in what a process has said until its end.
    pub(crate) fn hear(&mut self, said: &str) {
        for line in said.split_inclusive('\n') {
            let line = line.strip_suffix('\n').expect("lines are written whole");
            let words: Vec<&str> = line.split(' ').collect();
            let [word, tag, manifest] = words[..] else {
                panic!("it said {line:?}");
            };
            let may = self
                .0
                .entry(tag.to_owned())
                .or_insert_with(|| ["-".to_owned()].into());
            if word == "must" {
                may.clear();
            }
            may.insert(manifest.to_owned());
        }
    }

    /// Panics where anything in `folder` is torn, or not what was promised. What may be comes down
    /// to what is.
    pub(crate) fn judge(&mut self, folder: &Path) {
        let mut tree = Tree::new();
        read(folder, folder, &mut tree);
        let findings = checker::judge(&tree);
        assert!(findings.torn.is_empty(), "torn: {:?}", findings.torn);
        assert!(
            findings.torn_tags.is_empty(),
            "torn: {:?}",
            findings.torn_tags
        );
        for (tag, may) in &mut self.0 {
            let found = findings.tags.get(tag);
            let named = found.map_or("-", String::as_str);
            assert!(
                may.contains(named),
                "{tag} names {named}, not one of {may:?}"
            );
            if let Some(manifest) = found.filter(|_| !may.contains("-")) {
                let missing = findings.missing_for(&tree, manifest);
                assert!(missing.is_empty(), "{tag} has lost {missing:?}");
            }
            *may = [named.to_owned()].into();
        }
        for tag in findings.tags.keys() {
            assert!(self.0.contains_key(tag), "nobody spoke of {tag}");
        }
    }
}

fn read(root: &Path, folder: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, tree);
        } else {
            let name = path.strip_prefix(root).unwrap().to_owned();
            tree.insert(name, fs::read(&path).unwrap());
        }
    }
}
