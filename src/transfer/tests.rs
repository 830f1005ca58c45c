use std::path::{Path, PathBuf};

use super::*;
use crate::ocm::Access;
use crate::registry::{Settings, Transport};
use crate::repository::{Archive, Artifacts as _};

const PODINFO: &str = "phoban.io/podinfo";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// From the archive `from` to the archive `to`.
fn transfer(from: &Path, to: &Path, options: Options) -> Transfer {
    Transfer {
        source: Source {
            artifacts: Arc::new(Archive::open(from).unwrap()),
            place: OcmRepository::archive(from.display().to_string()),
        },
        destination: Destination {
            target: Arc::new(Archive::create(to, None).unwrap()),
            place: OcmRepository::archive(to.display().to_string()),
        },
        pool: Pool::new(Transport::new(Settings::default()).unwrap()),
        credentials: Arc::default(),
        options,
        progress: Arc::new(Silent),
    }
}

async fn moved(from: &Path, to: &Path, name: &str, options: Options) -> Result<Vec<Moved>> {
    let name = name.parse().unwrap();
    transfer(from, to, options).run(&name, None).await
}

/// All files of a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn archive_to_archive_in_every_form_keeps_all_and_moves_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut from = fixture("ctf/podinfo-copied");
    let options = Options {
        copy_resources: true,
        ..Options::default()
    };
    let before = Archive::open(&from).unwrap();
    for name in ["one", "two.tar", "three.tgz", "four"] {
        let to = folder.path().join(name);
        let first = moved(&from, &to, PODINFO, options).await.unwrap();
        assert_eq!(first.len(), 1, "{name}");
        assert_eq!(first[0].outcome, Outcome::Transferred);
        // Config, deployment and image; not counted are descriptor and config of the version.
        assert_eq!(first[0].counts.blobs_sent, 3);
        let again = moved(&from, &to, PODINFO, options).await.unwrap();
        assert_eq!(again[0].outcome, Outcome::Unchanged);
        assert_eq!(again[0].counts, Counts::default());
        assert_eq!(again[0].digest, first[0].digest);

        let repository = format!("component-descriptors/{PODINFO}").parse().unwrap();
        let tag = Reference::Tag("6.3.5".parse().unwrap());
        let after = Archive::open(&to).unwrap();
        for archive in [&before, &after] {
            archive.manifest(&repository, &tag).await.unwrap();
        }
        from = to;
    }
    assert_eq!(
        files(&folder.path().join("four")),
        ["artifact-index.json", "blobs"]
    );
    // Manifest, its config and descriptor, and three blobs: nothing temporary stays.
    assert_eq!(files(&folder.path().join("four/blobs")).len(), 6);
}

#[tokio::test]
async fn component_archive_becomes_a_transport_archive() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("ctf");
    let from = fixture("archive/component-archive");
    let moved = moved(&from, &to, "phoban.io/archive", Options::default()).await;
    assert_eq!(moved.unwrap()[0].counts.blobs_sent, 1);
    let read = transfer(&to, &folder.path().join("other"), Options::default());
    let name = "phoban.io/archive".parse().unwrap();
    let version = "1.0.0".parse().unwrap();
    let digest = read.resolve(&name, &version).await.unwrap();
    let read = read
        .read(&read.source, &name, &version, &digest)
        .await
        .unwrap();
    let access = read.component.descriptor.resources[0]
        .access
        .typed()
        .unwrap();
    let Access::LocalBlob(blob) = access else {
        panic!("{access:?}")
    };
    assert!(blob.local_reference.starts_with("sha256:"));
}

#[tokio::test]
async fn other_content_of_a_version_is_replaced_only_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("ctf");
    let plain = Options::default();
    moved(&fixture("ctf/podinfo-v3alpha1"), &to, PODINFO, plain)
        .await
        .unwrap();
    let other = fixture("ctf/podinfo-public");
    let before = std::fs::read(to.join("artifact-index.json")).unwrap();
    let version = "6.3.5".parse().unwrap();
    let name = PODINFO.parse().unwrap();
    let refused = transfer(&other, &to, plain)
        .run(&name, Some(&version))
        .await;
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("use --overwrite"), "{error}");
    assert_eq!(
        std::fs::read(to.join("artifact-index.json")).unwrap(),
        before
    );
    let overwrite = Options {
        overwrite: true,
        ..plain
    };
    let moved = transfer(&other, &to, overwrite)
        .run(&name, Some(&version))
        .await;
    assert_eq!(moved.unwrap()[0].outcome, Outcome::Transferred);
}

#[tokio::test]
async fn signatures_that_come_later_are_added_to_a_version_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("ctf");
    let plain = Options::default();
    moved(&fixture("ctf/podinfo-public"), &to, PODINFO, plain)
        .await
        .unwrap();
    let signed = moved(&fixture("ctf/podinfo-signed"), &to, PODINFO, plain)
        .await
        .unwrap();
    let outcomes: Vec<_> = signed.iter().map(|moved| moved.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Unchanged,
            Outcome::Transferred,
            Outcome::Transferred
        ]
    );
    assert!(signed.iter().all(|moved| moved.counts.blobs_sent == 0));
    // And back: what is there has the signatures already.
    let back = moved(&fixture("ctf/podinfo-public"), &to, PODINFO, plain)
        .await
        .unwrap();
    assert!(back.iter().all(|moved| moved.outcome == Outcome::Unchanged));
}

#[tokio::test]
async fn missing_reference_is_an_error_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("ctf");
    let recursive = Options {
        recursive: true,
        ..Options::default()
    };
    let from = fixture("ctf/product-signed");
    let error = moved(&from, &to, "example.org/product", recursive)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(PODINFO), "{error}");
    assert_eq!(files(&to.join("blobs")).len(), 0);
    let alone = moved(&from, &to, "example.org/product", Options::default())
        .await
        .unwrap();
    assert_eq!(alone.len(), 1);
}
