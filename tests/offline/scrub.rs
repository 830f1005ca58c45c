//! `ocm-controller scrub` on a store with everything wrong that can be.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ocm_controller::oci::Digest;
use ocm_controller::snapshot::{Namespace, Repository};
use ocm_controller::store::{Store, TagRecord};

use crate::command_line::{printed, run};

fn put(store: &Store, content: &[u8]) -> Digest {
    let mut writer = store.writer().unwrap();
    writer.write_all(content).unwrap();
    writer.commit().unwrap().digest
}

fn file(root: &Path, digest: &Digest) -> PathBuf {
    root.join("blobs/sha256")
        .join(&digest.hex()[..2])
        .join(digest.hex())
}

/// A store with a tag, and the content that it leads to.
fn store(root: &Path) -> (Store, Digest) {
    let store = Store::open(root).unwrap();
    let manifest = put(&store, b"{}");
    let repository = Repository::new("tenant", "snapshot").unwrap();
    let record = TagRecord {
        manifest: manifest.clone(),
        size: 2,
        owner: "uid".to_owned(),
        previous: Vec::new(),
    };
    store
        .set_tag(&repository, &"1".parse().unwrap(), record)
        .unwrap();
    (store, manifest)
}

#[test]
fn sound_store_has_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    drop(store(folder.path()));
    let data = format!("--data-dir={}", folder.path().display());
    let output = run(&["scrub", &data]);
    assert!(output.status.success());
    assert_eq!(
        printed(&output),
        "read 1 blobs (2 bytes) and 1 records: 0 findings\n"
    );
}

#[test]
fn f35_scrub_finds_what_rotted_and_repair_sets_it_right() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (store, manifest) = store(root);
    let namespace: Namespace = "tenant".parse().unwrap();
    let (key, sound) = (Digest::of("inputs"), put(&store, b"sound"));
    store.set_derivation(&namespace, &key, &sound).unwrap();
    drop(store);
    fs::write(file(root, &manifest), b"[]").unwrap();
    let derivation = format!(
        "refs/derivations/tenant/sha256/{}/{}",
        &key.hex()[..2],
        key.hex()
    );
    fs::write(root.join(&derivation), b"torn").unwrap();
    let data = format!("--data-dir={}", root.display());

    let output = run(&["scrub", &data]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "blob {manifest}: its content has another digest\n\
         record {derivation}: its content does not match its digest\n\
         tag tenant/snapshot:1: content {manifest} is damaged or not there\n\
         read 2 blobs (7 bytes) and 2 records: 3 findings\n"
    );
    assert_eq!(printed(&output), expected);
    assert_eq!(
        fs::read(file(root, &manifest)).unwrap(),
        b"[]",
        "it was only looked at"
    );

    let output = run(&["scrub", &data, "--repair", "-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_str(&printed(&output)).unwrap();
    let findings = found["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &found["blobs"]), (3, &2.into()));
    assert!(
        findings.iter().all(|finding| finding["repaired"] == true),
        "{found}"
    );

    let output = run(&["scrub", &data]);
    assert_eq!(
        printed(&output),
        "read 1 blobs (5 bytes) and 0 records: 0 findings\n"
    );
    assert!(output.status.success());
}

#[test]
fn store_in_use_or_none_at_all_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store(folder.path());
    let nothing = folder.path().join("nothing");
    let cases = [
        (folder.path(), "in use"),
        (&nothing, "holds no content store"),
    ];
    for (path, problem) in cases {
        let output = run(&["scrub", &format!("--data-dir={}", path.display())]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(problem), "{text}");
    }
    assert!(!nothing.exists());
    drop(store);
}
