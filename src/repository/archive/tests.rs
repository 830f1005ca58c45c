use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;
use crate::ocm::{ComponentName, OcmRepository, Version};
use crate::repository::component::{self, InPlace, Wanted};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A copy of a fixture that a test may spoil.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("blobs")).unwrap();
    for below in ["", "blobs"] {
        for entry in fs::read_dir(fixture(name).join(below)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let target = folder.path().join(below).join(entry.file_name());
                fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
            }
        }
    }
    folder
}

fn repository(prefix: &str, component: &str) -> RepositoryName {
    let text = format!("{prefix}component-descriptors/{component}");
    text.parse().unwrap()
}

fn versions(archive: &Archive, repository: &RepositoryName) -> Vec<String> {
    let mut versions: Vec<_> = component::versions(&archive.index().tags(repository))
        .iter()
        .map(Version::to_string)
        .collect();
    versions.sort();
    versions
}

/// Reads a component version and every blob that its manifest names.
async fn read(
    archive: &Archive,
    prefix: &str,
    name: &str,
    version: &str,
) -> Result<crate::ocm::ReadComponent, Box<dyn std::error::Error>> {
    let repository = repository(prefix, name);
    let (name, version): (ComponentName, Version) = (name.parse()?, version.parse()?);
    let place = OcmRepository::archive("test".to_owned());
    let tag = Reference::Tag(version.tag().clone());
    let digest = archive.resolve(&repository, &tag).await?.digest;
    let wanted = Wanted {
        place: &place,
        repository: &repository,
        name: &name,
        version: &version,
    };
    let parts = InPlace {
        artifacts: archive,
        wanted: &wanted,
    };
    let (component, _) = component::read(&parts, &wanted, &digest).await?;
    for layer in &component.layers {
        let blob = archive
            .blob(&repository, &layer.digest, Some(layer.size))
            .await?;
        blob.collect("layer", 1 << 20).await?;
    }
    Ok(component)
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    crate::chain::chain(error)
}

/// Folder, versions, and of the version in front: schema-independent facts of the README there.
#[tokio::test]
async fn every_fixture_is_read_as_its_readme_says() {
    const PODINFO: &str = "phoban.io/podinfo";
    let podinfo: &[&str] = &["config", "deployment", "image"];
    let three: &[&str] = &["6.2.3", "6.3.5", "6.4.0"];
    let two: &[&str] = &["6.2.3", "6.3.5"];
    let one: &[&str] = &["6.3.5"];
    for (folder, prefix, name, found, resources) in [
        ("ctf/podinfo-public", "", PODINFO, three, podinfo),
        ("ctf/podinfo-signed", "", PODINFO, three, podinfo),
        ("ctf/podinfo-copied", "", PODINFO, one, podinfo),
        ("ctf/podinfo-v3alpha1", "", PODINFO, one, podinfo),
        (
            "ctf/product-signed",
            "",
            "example.org/product",
            &["2.0.0"],
            &["notes"],
        ),
        (
            "registry/phoban01-public",
            "phoban01/",
            PODINFO,
            three,
            podinfo,
        ),
        (
            "registry/phoban01-air-gapped",
            "phoban01/air-gapped/",
            PODINFO,
            two,
            podinfo,
        ),
        (
            "registry/phoban01-air-gapped-v1",
            "phoban01/air-gapped-v1/",
            PODINFO,
            two,
            podinfo,
        ),
        (
            "registry/phoban01-air-gapped-blobs",
            "phoban01/air-gapped-blobs/",
            PODINFO,
            two,
            podinfo,
        ),
        (
            "registry/example-air-gapped",
            "example/air-gapped/",
            PODINFO,
            one,
            podinfo,
        ),
        (
            "archive/component-archive",
            "",
            "phoban.io/archive",
            &["1.0.0"],
            &["config"],
        ),
    ] {
        let archive = Archive::open(&fixture(folder)).unwrap();
        assert_eq!(
            versions(&archive, &repository(prefix, name)),
            found,
            "{folder}"
        );
        for version in found {
            let read = read(&archive, prefix, name, version).await.unwrap();
            let names: Vec<_> = read
                .descriptor
                .resources
                .iter()
                .map(|found| &found.name)
                .collect();
            assert_eq!(names, resources, "{folder} {version}");
            for resource in &read.descriptor.resources {
                let has_digest = resource.content_digest().is_some();
                assert_eq!(has_digest, folder != "ctf/podinfo-v3alpha1", "{folder}");
            }
        }
    }
    let product = Archive::open(&fixture("ctf/product-signed")).unwrap();
    let product = read(&product, "", "example.org/product", "2.0.0")
        .await
        .unwrap();
    let references = product.descriptor.references.iter();
    let references: Vec<_> = references
        .map(|found| {
            (
                found.name.as_str(),
                found.component_name.as_str(),
                found.digest.is_some(),
            )
        })
        .collect();
    let expected = [
        ("frontend", "phoban.io/podinfo", true),
        ("backend", "example.org/echo", true),
    ];
    assert_eq!(references, expected);
}

/// The folder of a fixture as a tar file.
fn packed(folder: &str, compressed: bool) -> (TempDir, PathBuf) {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("archive");
    let file = fs::File::create(&path).unwrap();
    let mut sink: Box<dyn std::io::Write> = if compressed {
        Box::new(flate2::write::GzEncoder::new(
            file,
            flate2::Compression::fast(),
        ))
    } else {
        Box::new(file)
    };
    let mut builder = tar::Builder::new(&mut sink);
    builder.append_dir_all(".", fixture(folder)).unwrap();
    builder.finish().unwrap();
    drop(builder);
    drop(sink);
    (target, path)
}

#[tokio::test]
async fn tar_files_hold_what_their_folders_hold() {
    for compressed in [false, true] {
        let (_folder, path) = packed("ctf/podinfo-signed", compressed);
        let archive = Archive::open(&path).unwrap();
        let found = read(&archive, "", "phoban.io/podinfo", "6.3.5")
            .await
            .unwrap();
        assert_eq!(found.descriptor.signatures.len(), 1);
        let (_folder, path) = packed("archive/component-archive", compressed);
        let archive = Archive::open(&path).unwrap();
        read(&archive, "", "phoban.io/archive", "1.0.0")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn commit_7f937fe5_links_in_an_archive_are_refused() {
    let refused = |folder: &TempDir| {
        let error = Archive::open(folder.path())
            .err()
            .expect("a link was followed");
        assert!(told(&error).contains("is a link"), "{}", told(&error));
    };
    for (fixture_name, document) in [
        ("ctf/podinfo-signed", index::FILE),
        ("archive/component-archive", super::component::FILE),
    ] {
        let folder = copy(fixture_name);
        let inside = folder.path().join(document);
        let outside = folder.path().join("outside");
        fs::rename(&inside, &outside).unwrap();
        symlink(&outside, &inside).unwrap();
        refused(&folder);
    }

    let folder = copy("archive/component-archive");
    fs::rename(folder.path().join("blobs"), folder.path().join("elsewhere")).unwrap();
    symlink(folder.path().join("elsewhere"), folder.path().join("blobs")).unwrap();
    refused(&folder);

    let folder = copy("ctf/podinfo-signed");
    for entry in fs::read_dir(folder.path().join("blobs")).unwrap() {
        let path = entry.unwrap().path();
        let outside = folder.path().join(path.file_name().unwrap());
        fs::rename(&path, &outside).unwrap();
        symlink(&outside, &path).unwrap();
    }
    let archive = Archive::open(folder.path()).unwrap();
    let error = read(&archive, "", "phoban.io/podinfo", "6.3.5")
        .await
        .unwrap_err();
    assert!(told(&*error).contains("is a link"), "{}", told(&*error));
}

/// A tar file with one entry beside the index.
fn tar_with(write: impl FnOnce(&mut tar::Builder<fs::File>)) -> (TempDir, PathBuf) {
    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("archive.tar");
    let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
    let index = br#"{"schemaVersion":1,"artifacts":[]}"#;
    let mut header = tar::Header::new_gnu();
    header.set_size(index.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, index::FILE, &index[..])
        .unwrap();
    write(&mut builder);
    builder.finish().unwrap();
    (target, path)
}

#[test]
fn entries_that_lead_out_of_an_archive_are_refused() {
    let (_folder, path) = tar_with(|_| {});
    Archive::open(&path).unwrap();

    let (_folder, path) = tar_with(|builder| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let target = "../artifact-index.json";
        builder
            .append_link(&mut header, "blobs/sha256.00", target)
            .unwrap();
    });
    let error = Archive::open(&path).err().unwrap();
    assert!(told(&error).contains("link"), "{}", told(&error));

    for name in ["blobs/../../outside", "/etc/outside"] {
        let (_folder, path) = tar_with(|builder| {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, &b""[..]).unwrap();
        });
        assert!(Archive::open(&path).is_err(), "{name}");
    }
}

#[test]
fn local_reference_of_a_component_archive_is_a_name_and_no_path() {
    for reference in [
        "../component-descriptor.yaml",
        "..",
        ".",
        "",
        "/etc/passwd",
        "a/b",
    ] {
        let folder = copy("archive/component-archive");
        let file = folder.path().join(super::component::FILE);
        let text = fs::read_to_string(&file).unwrap();
        let line = text
            .lines()
            .find(|line| line.contains("localReference"))
            .unwrap();
        let changed = text.replace(line.trim(), &format!("localReference: {reference:?}"));
        fs::write(&file, changed).unwrap();
        assert!(Archive::open(folder.path()).is_err(), "{reference:?}");
    }
}

#[tokio::test]
async fn content_that_is_not_what_its_name_says_is_refused() {
    let folder = copy("ctf/podinfo-signed");
    let archive = Archive::open(folder.path()).unwrap();
    for entry in fs::read_dir(folder.path().join("blobs")).unwrap() {
        let path = entry.unwrap().path();
        let mut content = fs::read(&path).unwrap();
        content[0] ^= 1;
        fs::write(&path, &content).unwrap();
        let result = read(&archive, "", "phoban.io/podinfo", "6.3.5").await;
        let is_used = path.file_name().unwrap().to_str().unwrap().to_owned();
        if let Err(error) = result {
            let told = told(&*error);
            assert!(told.contains("its content has digest"), "{is_used}: {told}");
        }
        content[0] ^= 1;
        fs::write(&path, &content).unwrap();
    }
    let repository = repository("", "phoban.io/podinfo");
    let tag = Reference::Tag("6.3.5".parse().unwrap());
    let digest = archive.resolve(&repository, &tag).await.unwrap().digest;
    fs::write(
        folder.path().join("blobs").join(files::file_name(&digest)),
        "{}",
    )
    .unwrap();
    assert!(
        read(&archive, "", "phoban.io/podinfo", "6.3.5")
            .await
            .is_err()
    );
}

#[test]
fn index_that_means_two_things_is_refused() {
    let digest = |text: &str| Digest::of(text).to_string();
    let entry = |tag: &str, content: &str| json!({"repository": "component-descriptors/a.io/b", "tag": tag, "digest": digest(content)});
    for (artifacts, accepted) in [
        (json!([entry("1.0.0", "a"), entry("1.0.0", "a")]), true),
        (json!([entry("1.0.0", "a"), entry("1.0.0", "b")]), false),
        (
            json!([{"repository": "../x", "tag": "1", "digest": digest("a")}]),
            false,
        ),
        (
            json!([{"repository": "x", "tag": "../1", "digest": digest("a")}]),
            false,
        ),
        (
            json!([{"repository": "x", "digest": "sha256:../../x"}]),
            false,
        ),
        (json!(null), true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = json!({"schemaVersion": 1, "artifacts": artifacts}).to_string();
        fs::write(folder.path().join(index::FILE), &text).unwrap();
        assert_eq!(Archive::open(folder.path()).is_ok(), accepted, "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(index::FILE), r#"{"schemaVersion":2}"#).unwrap();
    assert!(Archive::open(folder.path()).is_err());
}

#[test]
fn only_archives_are_written_to_and_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    assert!(Archive::create(folder.path(), None).is_err());
    assert!(Archive::create(&folder.path().join("letter.txt"), None).is_err());
    let copied = copy("archive/component-archive");
    assert!(Archive::create(copied.path(), None).is_err());
    assert!(Archive::create(copied.path(), Some(Form::TarGzip)).is_err());

    let path = folder.path().join("deep/archive");
    let first = Archive::create(&path, None).unwrap();
    let error = Archive::create(&path, None).err().unwrap();
    assert!(told(&error).contains("another process"), "{}", told(&error));
    drop(first);
    Archive::create(&path, None).unwrap();
}
