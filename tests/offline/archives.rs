//! `ocm-controller verify` and `transfer` on archives, without a registry.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::command_line::{printed, run};
use crate::files::path;

const PODINFO: &str = "phoban.io/podinfo:6.3.5";

/// Archives that hold podinfo as alice signed it, with its image packed into them.
struct Archives {
    folder: TempDir,
}

impl Archives {
    fn new() -> Self {
        let archives = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        // The copy has no signature; it comes from the component that was signed, later.
        for fixture in ["podinfo-copied", "podinfo-signed"] {
            let source = path("tests/fixtures/ctf").join(fixture);
            archives.transfer(&format!("ctf::{}//{PODINFO}", source.display()), "folder");
        }
        archives
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn transfer(&self, source: &str, target: &str) {
        let target = self.path(target).display().to_string();
        let moved = run(&["transfer", source, &target]);
        let told = String::from_utf8_lossy(&moved.stderr).into_owned();
        assert!(moved.status.success(), "{source}: {told}");
    }

    /// Exit code, and what is printed and complained of.
    fn verify(&self, archive: &str, signer: &str) -> (Option<i32>, String) {
        let key = path("tests/fixtures/keys").join(format!("{signer}.pub"));
        let key = format!("--key=alice={}", key.display());
        let place = format!("{}//{PODINFO}", self.path(archive).display());
        let output = run(&["verify", &key, &place]);
        let told = printed(&output) + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), told)
    }

    /// The content of the folder as the older component archive.
    fn component_archive(&self, name: &str) {
        let read =
            |file: PathBuf| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
        let blobs = self.path("folder").join("blobs");
        let blob = |digest: &Value| blobs.join(digest.as_str().unwrap().replace(':', "."));
        let index = read(self.path("folder").join("artifact-index.json"));
        let manifest = read(blob(&index["artifacts"][0]["digest"]));
        let descriptor = blob(&manifest["layers"][0]["digest"]);
        let archive = self.path(name);
        fs::create_dir_all(archive.join("blobs")).unwrap();
        fs::copy(descriptor, archive.join("component-descriptor.yaml")).unwrap();
        for layer in &manifest["layers"].as_array().unwrap()[1..] {
            let from = blob(&layer["digest"]);
            let to = archive.join("blobs").join(from.file_name().unwrap());
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn archive_of_every_form_verifies_with_the_key_of_its_signer_alone() {
    let archives = Archives::new();
    let folder = archives.path("folder").display().to_string();
    for name in ["again.tar", "again.tgz"] {
        archives.transfer(&format!("{folder}//{PODINFO}"), name);
    }
    archives.component_archive("older");
    for name in ["folder", "again.tar", "again.tgz", "older"] {
        let (code, told) = archives.verify(name, "alice");
        assert_eq!(code, Some(0), "{name}: {told}");
        assert!(told.starts_with("verified "), "{name}: {told}");
        let read = told.lines().filter(|line| line.contains("bytes read"));
        assert_eq!(read.count(), 3, "{name}: {told}");

        let (code, told) = archives.verify(name, "mallory");
        assert_eq!(code, Some(1), "{name}");
        assert!(told.contains("does not verify with the key"), "{told}");
    }
}

/// Each file of the archive that is not as it was is a finding: manifest, config, descriptor, blobs.
#[test]
fn b54_changed_byte_in_any_file_of_an_archive_is_a_finding() {
    let archives = Archives::new();
    let blobs = archives.path("folder").join("blobs");
    // What the first of the two transfers left behind is named by nothing any more.
    let (_, told) = archives.verify("folder", "alice");
    assert!(told.starts_with("verified "), "{told}");
    let used = used_blobs(&archives.path("folder"));
    assert_eq!(used.len(), 6);
    for name in used {
        let file = blobs.join(&name);
        let sound = fs::read(&file).unwrap();
        let mut spoiled = sound.clone();
        let middle = spoiled.len() / 2;
        spoiled[middle] ^= 1;
        fs::write(&file, spoiled).unwrap();
        let (code, told) = archives.verify("folder", "alice");
        assert_eq!(code, Some(1), "{name}: {told}");
        fs::write(&file, sound).unwrap();
    }
    assert_eq!(archives.verify("folder", "alice").0, Some(0));
}

/// The files that the only artifact of an archive consists of.
fn used_blobs(archive: &Path) -> Vec<String> {
    let read = |file: &Path| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
    let name = |digest: &Value| digest.as_str().unwrap().replace(':', ".");
    let index = read(&archive.join("artifact-index.json"));
    let top = name(&index["artifacts"][0]["digest"]);
    let manifest = read(&archive.join("blobs").join(&top));
    let layers = manifest["layers"].as_array().unwrap();
    let blobs = layers.iter().map(|layer| name(&layer["digest"]));
    blobs
        .chain([top, name(&manifest["config"]["digest"])])
        .collect()
}
