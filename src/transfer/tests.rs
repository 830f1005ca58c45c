use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::components::{Components, Place};
use crate::oci::Digest;
use crate::ocm::Access;
use crate::ocm::signature::Found;
use crate::registry::tests::server::{Reply, Server, TlsIdentity, settings};
use crate::registry::{Settings, Transport};
use crate::repository::component::made;
use crate::repository::{Archive, Artifacts as _};
use crate::store::Store;

const PODINFO: &str = "phoban.io/podinfo";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// From the archive `from` to the archive `to`.
fn transfer(from: &Path, to: &Path, options: Options) -> Transfer {
    transfer_by(Settings::default(), from, to, options)
}

fn transfer_by(settings: Settings, from: &Path, to: &Path, options: Options) -> Transfer {
    Transfer {
        source: Source {
            artifacts: Arc::new(Archive::open(from).unwrap()),
            place: OcmRepository::archive(from.display().to_string()),
        },
        destination: Destination {
            target: Arc::new(Archive::create(to, None).unwrap()),
            place: OcmRepository::archive(to.display().to_string()),
        },
        pool: Pool::new(Transport::new(settings).unwrap()),
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

const COPY: Options = Options {
    copy_resources: true,
    recursive: false,
    overwrite: false,
    image_names: ImageNames::AsWritten,
};

/// The version of a component at `place`, as a transfer from there reads it.
async fn read(place: &Path, name: &str, version: &str) -> Read {
    let folder = tempfile::tempdir().unwrap();
    let transfer = transfer(place, &folder.path().join("other"), COPY);
    let (name, version) = (name.parse().unwrap(), version.parse().unwrap());
    let digest = transfer.resolve(&name, &version).await.unwrap();
    let read = transfer.read(&transfer.source, &name, &version, &digest);
    read.await.unwrap()
}

/// The access of each resource, by name.
async fn accesses(place: &Path, name: &str, version: &str) -> Vec<(String, serde_json::Value)> {
    let read = read(place, name, version).await;
    let resources = read.component.descriptor.resources.into_iter();
    resources
        .map(|found| (found.name, serde_json::json!(found.access)))
        .collect()
}

#[tokio::test]
async fn content_outside_of_registries_comes_along_as_blobs_of_the_component() {
    let chart = made::chart("podinfo", "6.3.5");
    let packed = chart.clone();
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        "/index.yaml" => Reply::new(
            200,
            "entries: {podinfo: [{version: 6.3.5, urls: [podinfo.tgz]}]}",
        ),
        "/podinfo.tgz" => Reply::new(200, &packed),
        _ => Reply::new(200, "an answer").header("Content-Type", "text/plain"),
    })
    .await;
    let helm = json!({"type": "helm/v1", "helmRepository": server.url(),
                      "helmChart": "podinfo:6.3.5"});
    let wget = json!({"type": "wget", "url": format!("{}/answer", server.url())});
    let digest = Digest::of(&chart);
    let resources = json!([
        made::resource("chart", "helmChart", &helm, Some(digest.hex())),
        made::resource("answer", "blob", &wget, None),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let [from, plain, to] = ["from", "plain", "to"].map(|name| folder.path().join(name));
    let name = "example.org/outside";
    made::store(
        &Archive::create(&from, None).unwrap(),
        name,
        &resources,
        Vec::new(),
    )
    .await;

    let first = moved(&from, &plain, name, Options::default())
        .await
        .unwrap();
    assert_eq!(first[0].counts.blobs_sent, 0);
    assert_eq!(
        accesses(&plain, name, "1.0.0").await,
        accesses(&from, name, "1.0.0").await
    );
    assert!(server.seen().is_empty());

    let settings = Settings {
        trusted_hosts: vec!["127.0.0.1".to_owned()],
        ..settings()
    };
    let component = name.parse().unwrap();
    let copy = || transfer_by(settings.clone(), &from, &to, COPY);
    let first = copy().run(&component, None).await.unwrap();
    assert_eq!(first[0].counts.blobs_sent, 2);
    assert_eq!(server.seen().len(), 3, "index, chart and answer");
    let answer = Digest::of("an answer");
    let expected = [
        (
            "chart",
            json!({"localReference": digest, "type": "localBlob",
            "mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip"}),
        ),
        (
            "answer",
            json!({"localReference": answer, "type": "localBlob",
            "mediaType": "text/plain"}),
        ),
    ];
    let expected = expected.map(|(name, access)| (name.to_owned(), access));
    assert_eq!(accesses(&to, name, "1.0.0").await, expected);

    let again = copy().run(&component, None).await.unwrap();
    assert_eq!(again[0].outcome, Outcome::Unchanged);
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn content_that_is_not_what_is_recorded_is_not_spread() {
    let server = Server::start(|_, _| Reply::new(200, "something else")).await;
    let wget = json!({"type": "wget", "url": server.url()});
    let other = Digest::of("what was meant");
    let resources = json!([made::resource("answer", "blob", &wget, Some(other.hex()))]);
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
    made::store(
        &Archive::create(&from, None).unwrap(),
        "example.org/x",
        &resources,
        Vec::new(),
    )
    .await;
    let settings_alone = settings();
    let settings = Settings {
        trusted_hosts: vec!["127.0.0.1".to_owned()],
        ..settings_alone.clone()
    };
    let refused = transfer_by(settings, &from, &to, COPY);
    let refused = refused.run(&"example.org/x".parse().unwrap(), None).await;
    let told = crate::chain::chain(&refused.unwrap_err());
    assert!(
        told.contains("answer") && told.contains("content has digest"),
        "{told}"
    );
    assert!(files(&to.join("blobs")).is_empty());

    let other = folder.path().join("other");
    let nobody = transfer_by(settings_alone, &from, &other, COPY);
    let refused = nobody.run(&"example.org/x".parse().unwrap(), None).await;
    let told = crate::chain::chain(&refused.unwrap_err());
    assert!(told.contains("name it as a trusted host"), "{told}");
}

/// A registry with one image that is a chart, in which Helm keeps a proof as well.
#[tokio::test]
async fn chart_in_a_registry_stays_an_image_only_where_its_digest_says_so() {
    let chart = made::chart("podinfo", "6.3.5");
    let entry = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
    let chart_type = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": manifest_type,
        "config": entry("application/vnd.cncf.helm.config.v1+json", b"{}"),
        "layers": [entry(chart_type, &chart),
                   entry("application/vnd.cncf.helm.chart.provenance.v1.prov", b"proof")],
    })
    .to_string();
    let (layer, whole) = (Digest::of(&chart), Digest::of(&manifest));
    let identity = TlsIdentity::of("r.example.org");
    let (size, blob) = (chart.len(), format!("/blobs/{layer}"));
    let server = Server::start_tls(&identity, move |seen, _| match seen.path.as_str() {
        path if path.contains("/manifests/") => Reply::manifest(&manifest),
        path if path.ends_with(&blob) => Reply::new(200, &chart),
        path if path.ends_with(Digest::of("{}").hex()) => Reply::new(200, "{}"),
        _ => Reply::new(200, "proof"),
    })
    .await;
    let helm = json!({"type": "helm", "helmRepository": "oci://r.example.org/charts",
                      "helmChart": "podinfo:6.3.5"});
    let blob = json!({"type": "ociBlob", "ref": "r.example.org/charts/podinfo", "size": -1,
                      "mediaType": chart_type, "digest": layer});
    let resources = json!([
        made::resource("none", "helmChart", &helm, None),
        made::resource("layer", "helmChart", &helm, Some(layer.hex())),
        made::resource("image", "helmChart", &helm, Some(whole.hex())),
        made::resource("blob", "helmChart", &blob, None),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
    made::store(
        &Archive::create(&from, None).unwrap(),
        "example.org/x",
        &resources,
        Vec::new(),
    )
    .await;
    let settings = Settings {
        overrides: vec![format!("r.example.org={}", server.address).parse().unwrap()],
        extra_roots: Some(identity.authority_pem.clone().into_bytes()),
        ..settings()
    };
    let copy = transfer_by(settings, &from, &to, COPY);
    copy.run(&"example.org/x".parse().unwrap(), None)
        .await
        .unwrap();
    for (name, access) in accesses(&to, "example.org/x", "1.0.0").await {
        if name == "image" {
            assert_eq!(access["referenceName"], "charts/podinfo:6.3.5");
            assert_eq!(
                access["mediaType"],
                "application/vnd.oci.image.manifest.v1+tar+gzip"
            );
        } else {
            assert_eq!(access["localReference"], json!(layer), "{name}");
            assert_eq!(access["mediaType"], chart_type, "{name}");
        }
    }
    let layers = read(&to, "example.org/x", "1.0.0").await.component.layers;
    let sizes: Vec<_> = layers
        .iter()
        .filter(|found| found.digest == layer)
        .collect();
    assert_eq!(sizes.len(), 1);
    assert_eq!(sizes[0].size, size as u64);
}

#[tokio::test]
async fn signature_that_comes_later_leaves_copied_resources_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("ctf");
    let version = "6.3.5".parse().unwrap();
    let name = PODINFO.parse().unwrap();
    moved(&fixture("ctf/podinfo-copied"), &to, PODINFO, COPY)
        .await
        .unwrap();
    let before = accesses(&to, PODINFO, "6.3.5").await;
    assert_eq!(before[2].1["type"], "localBlob");
    let signed = transfer(&fixture("ctf/podinfo-signed"), &to, Options::default());
    let added = signed.run(&name, Some(&version)).await.unwrap();
    assert_eq!(added[0].outcome, Outcome::Transferred);
    assert_eq!(added[0].counts, Counts::default());
    assert_eq!(accesses(&to, PODINFO, "6.3.5").await, before);
    let read = read(&to, PODINFO, "6.3.5").await.component;
    assert_eq!(read.descriptor.signatures[0].name, "alice");
    // The layers are still there, or the access would lead nowhere.
    assert_eq!(read.layers.len(), 4);
}

/// The successor of the reference tool keeps images as manifests beside the component, and records
/// the digest of a manifest as that of any blob.
#[tokio::test]
async fn component_of_the_newer_tool_has_its_recorded_digests_where_it_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    let source = fixture("registry/phoban01-air-gapped-blobs");
    std::fs::create_dir(&from).unwrap();
    std::fs::create_dir(from.join("blobs")).unwrap();
    for file in std::fs::read_dir(source.join("blobs")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), from.join("blobs").join(file.file_name())).unwrap();
    }
    let index = std::fs::read_to_string(source.join("artifact-index.json")).unwrap();
    let index = index.replace("phoban01/air-gapped-blobs/", "");
    std::fs::write(from.join("artifact-index.json"), index).unwrap();

    let store = Store::open(folder.path().join("store")).unwrap();
    let pool = Pool::new(Transport::new(Settings::default()).unwrap());
    let components = Components::new(pool, store);
    for name in ["to", "to.tar", "to.tgz"] {
        let to = folder.path().join(name);
        moved(&from, &to, PODINFO, COPY).await.unwrap();
        let component = read(&to, PODINFO, "6.3.5").await.component;
        let place = Place {
            repository: OcmRepository::archive(name.to_owned()),
            archive: Some(Arc::new(Archive::open(&to).unwrap())),
            credentials: Arc::default(),
            namespace: "local".parse().unwrap(),
            holder: String::new(),
        };
        for resource in &component.descriptor.resources {
            let recorded = resource.content_digest().unwrap();
            let found = components.find(&place, &component, resource, recorded.algorithm());
            assert_eq!(found.await.unwrap(), Found::Content(recorded), "{name}");
        }
    }
}
