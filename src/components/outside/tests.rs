//! Content of every access that is fetched, from scripted servers on loopback.

use std::io::Read as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::*;
use crate::archive::Limits;
use crate::chain::chain;
use crate::ocm::Accepted;
use crate::ocm::signature::{Found, Verified};
use crate::pipeline::Pipeline;
use crate::registry::Settings;
use crate::registry::media_type::OCI_MANIFEST;
use crate::registry::tests::server::{Reply, Server, TlsIdentity, settings, transport};
use crate::repository::Archive;
use crate::repository::component::made;

const NAME: &str = "example.org/outside";
const CHART_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// A component in an archive, and what reads it.
struct Scene {
    pipeline: Pipeline,
    place: Place,
    component: Accepted,
    _folder: TempDir,
}

impl Scene {
    async fn new(settings: Settings, resources: Value) -> Self {
        Self::with_blobs(settings, resources, Vec::new()).await
    }

    async fn with_blobs(
        settings: Settings,
        resources: Value,
        blobs: Vec<(crate::ocm::BlobDescriptor, Bytes)>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::create(&folder.path().join("ctf"), None).unwrap();
        made::store(&archive, NAME, &resources, blobs).await;
        let store = Store::open(folder.path().join("store")).unwrap();
        let components = Components::new(Pool::new(transport(settings)), store.clone());
        let place = Place {
            repository: OcmRepository::archive("test".to_owned()),
            archive: Some(Arc::new(archive)),
            credentials: Arc::default(),
            namespace: "tenant".parse().unwrap(),
            holder: "0b1c".to_owned(),
        };
        let (name, version) = (NAME.parse().unwrap(), "1.0.0".parse().unwrap());
        let digest = components.resolve(&place, &name, &version).await.unwrap();
        let component = components.read(&place, &name, &version, &digest);
        Self {
            component: Accepted::NotAsked(component.await.unwrap()),
            pipeline: Pipeline::new(components, store, Limits::default()),
            place,
            _folder: folder,
        }
    }

    fn resource(&self, name: &str) -> crate::ocm::Resource {
        let mut all = self.component.descriptor.resources.iter();
        all.find(|found| found.name == name).unwrap().clone()
    }

    async fn layer(&self, name: &str) -> Result<crate::pipeline::Layer, String> {
        let resource = self.resource(name);
        let made = self
            .pipeline
            .resource(&self.place, &self.component, &resource)
            .await;
        made.map_err(|error| chain(&error))
    }

    /// The bytes of a resource as they come.
    async fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let resource = self.resource(name);
        let components = self.pipeline.components();
        let content = components.locate(&self.place, &self.component, &resource);
        let content = content.await.map_err(|error| chain(&error))?;
        let mut reader = components.open(&self.place, &content);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).map(|_| bytes)
        });
        read.await.unwrap().map_err(|error| chain(&error))
    }

    async fn found(&self, name: &str, algorithm: crate::oci::Algorithm) -> Found {
        let resource = self.resource(name);
        let components = self.pipeline.components();
        let found = components.find(&self.place, &self.component, &resource, algorithm);
        found.await.unwrap()
    }
}

fn trusting() -> Settings {
    Settings {
        trusted_hosts: vec!["127.0.0.1".to_owned()],
        ..settings()
    }
}

fn digest(algorithm: crate::oci::Algorithm, bytes: &[u8]) -> Found {
    let mut hasher = crate::oci::Hasher::new(algorithm);
    hasher.update(bytes);
    Found::Content(hasher.finish())
}

/// A chart repository with one chart.
async fn repository(chart: Vec<u8>) -> Server {
    let index = "entries: {podinfo: [{version: 6.3.5, urls: [podinfo.tgz]}]}";
    Server::start(move |seen, _| match seen.path.as_str() {
        "/index.yaml" => Reply::new(200, index),
        _ => Reply::new(200, &chart),
    })
    .await
}

fn helm(repository: &str) -> Value {
    json!({"type": "helm/v1", "helmRepository": repository, "helmChart": "podinfo:6.3.5"})
}

#[tokio::test]
async fn chart_of_a_repository_becomes_a_chart_and_is_asked_for_once() {
    let chart = made::chart("podinfo", "6.3.5");
    let server = repository(chart.clone()).await;
    let access = helm(&server.url());
    let recorded = Digest::of(&chart);
    let resources = json!([
        made::resource("signed", "helmChart", &access, Some(recorded.hex())),
        made::resource("plain", "helmChart", &access, None),
    ]);
    let scene = Scene::new(trusting(), resources).await;
    let mut asked = 0;
    for name in ["signed", "plain"] {
        let layer = scene.layer(name).await.unwrap();
        assert!(layer.is_chart);
        assert_eq!(layer.digest, recorded, "a packed chart keeps its bytes");
        let version = scene.pipeline.chart_version(&layer).await.unwrap();
        assert_eq!(version.as_deref(), Some("6.3.5"));
        asked += 2;
        assert_eq!(server.seen().len(), asked, "index and chart");
        assert_eq!(scene.layer(name).await.unwrap(), layer);
        assert_eq!(server.seen().len(), asked);
    }
}

#[tokio::test]
async fn answer_without_a_recorded_digest_is_held_to_what_came_first() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::new(200, "replicas: 1\n"),
        _ => Reply::new(200, "replicas: 2\n"),
    })
    .await;
    let access = json!({"type": "wget", "url": format!("{}/values.yaml", server.url())});
    let resources = json!([made::resource("values", "yaml", &access, None)]);
    let scene = Scene::new(trusting(), resources).await;
    for _ in 0..2 {
        assert_eq!(scene.bytes("values").await.unwrap(), b"replicas: 1\n");
        assert_eq!(server.seen().len(), 1);
    }
    let stored = Digest::of("replicas: 1\n");
    assert!(scene.pipeline.store().remove_blob(&stored).unwrap());
    let told = scene.bytes("values").await.unwrap_err();
    assert!(told.contains("content has digest"), "{told}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn content_that_is_not_what_is_recorded_is_refused() {
    let server = repository(made::chart("podinfo", "6.3.5")).await;
    let other = Digest::of("other");
    let wget = json!({"type": "wget", "url": server.url()});
    let resources = json!([
        made::resource(
            "chart",
            "helmChart",
            &helm(&server.url()),
            Some(other.hex())
        ),
        made::resource("answer", "blob", &wget, Some(other.hex())),
    ]);
    let scene = Scene::new(trusting(), resources).await;
    for name in ["chart", "answer"] {
        let told = scene.layer(name).await.unwrap_err();
        assert!(told.contains("content has digest"), "{told}");
        assert!(scene.bytes(name).await.is_err());
    }
}

#[tokio::test]
async fn verification_looks_at_what_is_there() {
    use crate::oci::Algorithm::{Sha256, Sha512};
    let chart = made::chart("podinfo", "6.3.5");
    let server = repository(chart.clone()).await;
    let wget = json!({"type": "wget", "url": format!("{}/podinfo.tgz", server.url())});
    let resources = json!([
        made::resource(
            "chart",
            "helmChart",
            &helm(&server.url()),
            Some(&"ab".repeat(32))
        ),
        made::resource("answer", "blob", &wget, None),
    ]);
    let scene = Scene::new(trusting(), resources).await;
    for name in ["chart", "answer"] {
        for algorithm in [Sha256, Sha512] {
            assert_eq!(
                scene.found(name, algorithm).await,
                digest(algorithm, &chart)
            );
        }
    }
}

/// An image with a chart, its configuration, and what proves its provenance.
struct ChartImage {
    chart: Vec<u8>,
    manifest: String,
}

impl ChartImage {
    fn new() -> Self {
        let chart = made::chart("podinfo", "6.3.5");
        let entry = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()});
        let proof = "application/vnd.cncf.helm.chart.provenance.v1.prov";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": entry("application/vnd.cncf.helm.config.v1+json", b"{}"),
            "layers": [entry(proof, b"proof"), entry(CHART_TYPE, &chart)],
        });
        Self {
            chart,
            manifest: manifest.to_string(),
        }
    }

    /// A registry that answers as `r.example.org`, and the settings that reach it.
    async fn serve(self) -> (Server, Settings) {
        let identity = TlsIdentity::of("r.example.org");
        let blob = format!("/v2/charts/podinfo/blobs/{}", Digest::of(&self.chart));
        let server = Server::start_tls(&identity, move |seen, _| {
            if seen.path == blob {
                return Reply::new(200, &self.chart);
            }
            if seen.path.starts_with("/v2/charts/podinfo/manifests/") {
                return Reply::manifest(&self.manifest);
            }
            Reply::new(404, "")
        })
        .await;
        let settings = Settings {
            overrides: vec![format!("r.example.org={}", server.address).parse().unwrap()],
            extra_roots: Some(identity.authority_pem.clone().into_bytes()),
            ..settings()
        };
        (server, settings)
    }
}

#[tokio::test]
async fn chart_in_a_registry_is_its_chart_layer_whatever_is_recorded_of_it() {
    use crate::oci::Algorithm::{Sha256, Sha512};
    let image = ChartImage::new();
    let chart = image.chart.clone();
    let (layer, whole) = (Digest::of(&chart), Digest::of(&image.manifest));
    let (_server, settings) = image.serve().await;
    let access = json!({"type": "helm", "helmRepository": "oci://r.example.org/charts",
                        "helmChart": "podinfo", "version": "6.3.5"});
    let of = |name, recorded: Option<&Digest>| {
        made::resource(name, "helmChart", &access, recorded.map(Digest::hex))
    };
    let other = Digest::of("other");
    let resources = json!([
        of("none", None),
        of("layer", Some(&layer)),
        of("image", Some(&whole)),
        of("other", Some(&other)),
    ]);
    let scene = Scene::new(settings, resources).await;
    for name in ["none", "layer", "image"] {
        let made = scene.layer(name).await.unwrap();
        assert!(made.is_chart, "{name}");
        assert_eq!(made.digest, layer, "{name}");
    }
    assert_eq!(scene.found("layer", Sha256).await, Found::Content(layer));
    assert_eq!(scene.found("image", Sha256).await, Found::Content(whole));
    assert_eq!(scene.found("layer", Sha512).await, digest(Sha512, &chart));
    let told = scene.layer("other").await.unwrap_err();
    assert!(told.contains("in its descriptor"), "{told}");
}

#[tokio::test]
async fn blob_of_a_registry_is_read_whether_its_size_is_known_or_not() {
    use crate::oci::Algorithm::{Sha256, Sha512};
    let image = ChartImage::new();
    let chart = image.chart.clone();
    let (server, settings) = image.serve().await;
    let access = |size: Value| {
        json!({"type": "ociBlob/v1", "ref": "r.example.org/charts/podinfo", "size": size,
               "mediaType": CHART_TYPE, "digest": Digest::of(&chart)})
    };
    let resources = json!([
        made::resource("known", "helmChart", &access(json!(chart.len())), None),
        made::resource("unknown", "helmChart", &access(json!(-1)), None),
        made::resource(
            "wrong",
            "helmChart",
            &access(json!(-1)),
            Some(&"ab".repeat(32))
        ),
    ]);
    let scene = Scene::new(settings, resources).await;
    for name in ["known", "unknown"] {
        assert!(scene.layer(name).await.unwrap().is_chart);
        assert_eq!(scene.bytes(name).await.unwrap(), chart);
        assert_eq!(scene.found(name, Sha256).await, digest(Sha256, &chart));
        assert_eq!(scene.found(name, Sha512).await, digest(Sha512, &chart));
    }
    let before = server.seen().len();
    let told = scene.layer("wrong").await.unwrap_err();
    assert!(told.contains("in its descriptor"), "{told}");
    assert_eq!(server.seen().len(), before);
}

#[tokio::test]
async fn other_types_are_refused_by_name() {
    let accesses = [
        json!({"type": "gitHub", "repoUrl": "github.com/a/b", "commit": "0".repeat(40)}),
        json!({"type": "git/v1", "repository": "https://github.com/a/b"}),
        json!({"type": "s3/v2", "bucketName": "b", "objectKey": "k"}),
        json!({"type": "npm", "registry": "https://r.org", "package": "p", "version": "1"}),
        json!({"type": "maven", "repoUrl": "https://r.org", "groupId": "g", "artifactId": "a",
               "version": "1"}),
        json!({"type": "ocm", "resourceRef": {}}),
    ];
    let name = |count: usize| format!("resource-{count}");
    let resources: Vec<_> = accesses
        .iter()
        .enumerate()
        .map(|(count, access)| made::resource(&name(count), "blob", access, None))
        .collect();
    let scene = Scene::new(settings(), json!(resources)).await;
    for (count, access) in accesses.iter().enumerate() {
        let told = scene.layer(&name(count)).await.unwrap_err();
        let kind = format!("access type {}, which is not fetched", access["type"]);
        assert!(told.contains(&kind), "{told}");
    }
}

/// The successor of the reference tool records the digest of an image as that of any blob.
#[tokio::test]
async fn packed_image_is_verified_by_its_manifest_whatever_its_digest_is_called() {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/ctf/podinfo-copied/blobs")
        .join("sha256.cdd69d5ab57d7984a18fee872189d40084286ba72683ae28d3ada643ca67db8b");
    let set = std::fs::read(fixture).unwrap();
    let media_type = "application/vnd.oci.image.manifest.v1+tar+gzip";
    let (blob, bytes) = made::blob(media_type, set);
    let access = json!({"type": "localBlob", "localReference": blob.digest,
                        "mediaType": media_type});
    let image = "d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";
    let resources = json!([
        made::resource("image", "ociImage", &access, Some(image)),
        made::resource("file", "blob", &access, Some(blob.digest.hex())),
    ]);
    let mut scene =
        Scene::with_blobs(settings(), resources, vec![(blob.clone(), bytes.clone())]).await;
    let sha256 = crate::oci::Algorithm::Sha256;
    let image = format!("sha256:{image}").parse().unwrap();
    assert_eq!(scene.found("image", sha256).await, Found::Content(image));
    assert_eq!(
        scene.found("file", sha256).await,
        Found::Content(blob.digest)
    );
    for name in ["image", "file"] {
        assert_eq!(scene.bytes(name).await.unwrap(), bytes);
    }
    let Accepted::NotAsked(component) = scene.component else {
        unreachable!("it was not asked for")
    };
    let digest = component.digest.clone();
    scene.component = Accepted::Verified(Verified::again(component, &digest).unwrap());
    let told = scene.bytes("image").await.unwrap_err();
    assert!(told.contains("a manifest inside the blob"), "{told}");
    assert_eq!(scene.bytes("file").await.unwrap(), bytes);
}
