//! `transfer` by the real program, between real registries and archives.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::support::registry::{Access, Registry, RegistryOptions};
use crate::support::{fixture, scratch, web};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ocm-controller");
const IMAGE: &str = "sha256:d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";
const PODINFO: &str = "phoban.io/podinfo";

/// Runs the program with registries under their names.
async fn transfer(registries: &[(&str, &Registry)], arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command
        .arg("transfer")
        .args(arguments)
        .arg("--allow-loopback");
    for (host, registry) in registries {
        command.arg(format!("--resolve={host}={}", registry.address()));
        command.arg(format!("--ca-file={}", registry.ca_file().display()));
    }
    let output = command.stdin(Stdio::null()).output().await;
    output.expect("the program runs")
}

/// The same, which has to succeed; gives what it lists.
async fn transferred(registries: &[(&str, &Registry)], arguments: &[&str]) -> Vec<Value> {
    let arguments = [arguments, &["-o", "json"]].concat();
    let output = transfer(registries, &arguments).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("a JSON list")
}

async fn registry(name: &str) -> Registry {
    web::install_tls_provider();
    Registry::start(RegistryOptions {
        tls: vec![name.to_owned()],
        password: None,
    })
    .await
}

/// The public side: a registry that answers as `ghcr.io` and has the images.
async fn public() -> Registry {
    let registry = registry("ghcr.io").await;
    let images = fixture("registry").join("phoban01-public");
    registry.load(&images, |_| true).await;
    registry
}

fn uploads(requests: &[Access]) -> usize {
    let is_upload = |access: &&Access| {
        access.path.contains("/blobs/uploads/") && access.method != "GET" && access.status < 400
    };
    requests.iter().filter(is_upload).count()
}

/// The access of the image in a component version at a registry.
async fn image_access(registry: &Registry, repository: &str, tag: &str) -> Value {
    let (_, manifest) = registry.manifest(repository, tag).await;
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    let layer = &manifest["layers"][0];
    assert_eq!(
        layer["mediaType"],
        "application/vnd.ocm.software.component-descriptor.v2+json"
    );
    let digest = layer["digest"].as_str().expect("a digest");
    let descriptor = registry.blob(repository, digest).await;
    let descriptor: Value = serde_json::from_slice(&descriptor).expect("a descriptor");
    descriptor["component"]["resources"][2]["access"].clone()
}

/// The step of the guide: `ocm transfer component --copy-resources ghcr.io/phoban01//phoban.io/podinfo
/// $AIR_GAPPED_REGISTRY`, with the name of this program.
#[tokio::test]
#[ignore = "needs registries"]
async fn command_of_the_guide_fills_the_private_registry() {
    let registry = public().await;
    let hosts = [("ghcr.io", &registry)];
    let command = [
        "component",
        "--copy-resources",
        "ghcr.io/phoban01//phoban.io/podinfo",
        "ghcr.io/phoban01/air-gapped",
    ];
    let listed = transferred(&hosts, &command).await;
    let versions: Vec<_> = listed.iter().map(|found| &found["version"]).collect();
    assert_eq!(versions, ["6.2.3", "6.3.5", "6.4.0"]);
    let repository = format!("phoban01/air-gapped/component-descriptors/{PODINFO}");
    for tag in ["6.2.3", "6.3.5", "6.4.0"] {
        let access = image_access(&registry, &repository, tag).await;
        let image = format!("ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:{tag}");
        assert_eq!(
            access,
            json!({"imageReference": image, "type": "ociArtifact"})
        );
    }
    let images = "phoban01/air-gapped/stefanprodan/podinfo";
    let (_, copied) = registry.manifest(images, "6.3.5").await;
    assert_eq!(Registry::digest(&copied), IMAGE);
    // Both sides are one registry: it takes its own blobs over and none is sent.
    assert!(
        listed.iter().all(|found| found["blobsSent"] == 0),
        "{listed:?}"
    );
    assert!(listed.iter().any(|found| found["blobsMounted"] != 0));

    let before = uploads(&registry.requests());
    let again = transferred(&hosts, &command).await;
    assert!(
        again.iter().all(|found| found["outcome"] == "unchanged"),
        "{again:?}"
    );
    assert_eq!(uploads(&registry.requests()), before);
}

#[tokio::test]
#[ignore = "needs registries"]
async fn signed_component_is_the_same_through_registries_and_archives() {
    let (first, second) = tokio::join!(public(), registry("mirror.example.org"));
    let hosts = [("ghcr.io", &first), ("mirror.example.org", &second)];
    let folder = scratch::folder("transfer");
    let path = |name: &str| folder.join(name).display().to_string();
    let signed = fixture("ctf").join("podinfo-signed");
    let component = |place: &str| format!("{place}//{PODINFO}:6.3.5");
    let stops = [
        path("first.tgz"),
        "ghcr.io/acme".to_owned(),
        "https://mirror.example.org/site/ocm".to_owned(),
        path("last"),
        path("last.tar"),
    ];
    let mut from = format!("ctf::{}", signed.display());
    for to in &stops {
        let arguments = ["--copy-resources", &component(&from), to];
        let listed = transferred(&hosts, &arguments).await;
        assert_eq!(listed[0]["outcome"], "transferred", "{to}");
        let before = uploads(&first.requests()) + uploads(&second.requests());
        let again = transferred(&hosts, &arguments).await;
        assert_eq!(again[0]["outcome"], "unchanged", "{to}");
        assert_eq!(again[0]["digest"], listed[0]["digest"], "{to}");
        let after = uploads(&first.requests()) + uploads(&second.requests());
        assert_eq!(after, before, "{to}");
        verify::signed_by(&hosts, to, "alice", true).await;
        verify::signed_by(&hosts, to, "mallory", false).await;
        from.clone_from(to);
    }
    let repository = format!("site/ocm/component-descriptors/{PODINFO}");
    let access = image_access(&second, &repository, "6.3.5").await;
    let image = "mirror.example.org/site/ocm/stefanprodan/podinfo:6.3.5";
    assert_eq!(access["imageReference"], image);
    let (_, copied) = second
        .manifest("site/ocm/stefanprodan/podinfo", "6.3.5")
        .await;
    assert_eq!(Registry::digest(&copied), IMAGE);
    // And what is deployed from there names the last registry, by its own rules.
    let last = "https://mirror.example.org/site/ocm";
    let deployment = verify::localized(&hosts, last).await;
    assert!(
        deployment.contains(&format!("image: {image}\n")),
        "{deployment}"
    );
    assert!(!deployment.contains("ghcr.io"), "{deployment}");
}

/// The names that the two reference tools give to copied images, and that a component keeps on its
/// way through an archive.
#[tokio::test]
#[ignore = "needs registries"]
async fn images_are_named_as_the_reference_tools_name_them() {
    let (public, mirror) = tokio::join!(public(), registry("mirror.example.org"));
    let hosts = [("ghcr.io", &public), ("mirror.example.org", &mirror)];
    let tagged = "mirror.example.org/a/stefanprodan/podinfo:6.3.5";
    let podinfo = |place: &str| format!("{place}//{PODINFO}:6.3.5");
    let source = podinfo("ghcr.io/phoban01");
    for (target, names, expected) in [
        ("a", "as-written", tagged.to_owned()),
        ("b", "pinned", tagged.replace("/a/", "/b/") + "@" + IMAGE),
    ] {
        let place = format!("mirror.example.org/{target}");
        let names = format!("--image-names={names}");
        transferred(&hosts, &["--copy-resources", &names, &source, &place]).await;
        let repository = format!("{target}/component-descriptors/{PODINFO}");
        let access = image_access(&mirror, &repository, "6.3.5").await;
        assert_eq!(access["imageReference"], expected);
    }
    // A name with a digest is copied as one.
    let (pinned, place) = (podinfo("mirror.example.org/b"), "ghcr.io/third");
    transferred(&hosts, &["--copy-resources", &pinned, place]).await;
    let repository = format!("third/component-descriptors/{PODINFO}");
    let access = image_access(&public, &repository, "6.3.5").await;
    let expected = format!("ghcr.io/third/stefanprodan/podinfo:6.3.5@{IMAGE}");
    assert_eq!(access["imageReference"], expected);
}

#[tokio::test]
#[ignore = "needs registries"]
async fn references_come_along_and_what_is_missing_is_named() {
    let source = registry("ghcr.io").await;
    let airy = fixture("registry").join("example-air-gapped");
    source.load(&airy, |_| true).await;
    let target = registry("mirror.example.org").await;
    let hosts = [("ghcr.io", &source), ("mirror.example.org", &target)];
    let product = "ghcr.io/example/air-gapped//example.org/product:2.0.0";
    let arguments = [
        "--copy-resources",
        "--recursive",
        product,
        "mirror.example.org/x",
    ];
    let listed = transferred(&hosts, &arguments).await;
    let names: Vec<_> = listed
        .iter()
        .map(|found| found["component"].as_str())
        .collect();
    let expected = ["example.org/echo", PODINFO, "example.org/product"].map(Some);
    assert_eq!(names, expected);
    for (image, tag) in [
        ("x/echo", "1.0.0-amd64"),
        ("x/echo", "1.0.0-arm64"),
        ("x/example.org/echo/echo", "0.3.0"),
        ("x/stefanprodan/podinfo", "6.3.5"),
    ] {
        target.manifest(image, tag).await;
    }

    let arm64 = "sha256:1ae7308a19510c0aa88766d5099c48f0bb136594b0d11072483e985e97fafb25";
    source.delete_tag("example/air-gapped/echo", arm64).await;
    let folder = scratch::folder("transfer");
    let archive = folder.join("archive").display().to_string();
    let refused = transfer(&hosts, &["-V", "-r", product, "mirror.example.org/y"]).await;
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(
        told.contains("image") && told.contains("example.org/echo:1.2.0"),
        "{told}"
    );
    let wrong = transfer(&hosts, &["ghcr.io/example", &archive]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

/// How many bytes the large blob has.
const LARGE: u64 = 1 << 30;

/// A registry with one component version whose image has a layer of a GiB of zeros, made as it is
/// sent.
struct Sparse {
    blobs: Vec<(String, Vec<u8>)>,
    component: String,
    image: String,
    layer: String,
}

fn descriptor_of(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Registry::digest(bytes), "size": bytes.len()})
}

impl Sparse {
    fn new(address: &str) -> Self {
        let mut hasher = Sha256::new();
        let zeros = vec![0; 1 << 20];
        for _ in 0..LARGE / (1 << 20) {
            hasher.update(&zeros);
        }
        let layer = format!("sha256:{}", hex::encode(hasher.finalize()));
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let mut blobs = Vec::new();
        let mut add = |bytes: Vec<u8>| {
            let digest = Registry::digest(&bytes);
            blobs.push((digest.clone(), bytes));
            digest
        };
        let config = b"{}".to_vec();
        let image = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": descriptor_of("application/vnd.oci.image.config.v1+json", &config),
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                        "digest": layer, "size": LARGE}],
        });
        add(config);
        let image = add(image.to_string().into_bytes());
        let descriptor = json!({"meta": {"schemaVersion": "v2"}, "component": {
            "name": "example.org/large", "version": "1.0.0", "provider": "example.org",
            "repositoryContexts": [], "sources": [], "componentReferences": [],
            "resources": [{"name": "image", "version": "1.0.0", "type": "ociImage",
                "relation": "external", "access": {"type": "ociArtifact",
                "imageReference": format!("{address}/from/large/image:1.0.0")}}]}});
        let descriptor = descriptor.to_string().into_bytes();
        let layer_type = "application/vnd.ocm.software.component-descriptor.v2+json";
        let described = descriptor_of(layer_type, &descriptor);
        add(descriptor);
        let config = json!({"componentDescriptorLayer": described})
            .to_string()
            .into_bytes();
        let config_type = "application/vnd.ocm.software.component.config.v1+json";
        let component = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": descriptor_of(config_type, &config), "layers": [described],
        });
        add(config);
        let component = add(component.to_string().into_bytes());
        Self {
            blobs,
            component,
            image,
            layer,
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response {
        let wanted = path.rsplit('/').next().unwrap_or_default();
        let wanted = match wanted {
            "1.0.0" if path.contains("component-descriptors") => &self.component,
            "1.0.0" => &self.image,
            other => other,
        };
        if wanted == self.layer {
            let piece = Bytes::from(vec![0; 64 << 10]);
            let pieces = LARGE / piece.len() as u64;
            let stream = futures::stream::iter(
                (0..pieces).map(move |_| Ok::<_, std::convert::Infallible>(piece.clone())),
            );
            return ([(header::CONTENT_LENGTH, LARGE)], Body::from_stream(stream)).into_response();
        }
        let Some((digest, bytes)) = self.blobs.iter().find(|(digest, _)| digest == wanted) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let media_type = if path.contains("/manifests/") {
            "application/vnd.oci.image.manifest.v1+json"
        } else {
            "application/octet-stream"
        };
        let headers = [
            (header::CONTENT_TYPE.as_str(), media_type),
            ("docker-content-digest", digest),
        ];
        if *method == Method::HEAD {
            return headers.into_response();
        }
        (headers, bytes.clone()).into_response()
    }
}

async fn serve(State(sparse): State<Arc<Sparse>>, request: Request) -> Response {
    sparse.answer(request.method(), request.uri().path())
}

/// The most memory that a process had so far, in KiB.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs registries"]
async fn large_blob_flows_from_registry_to_registry_in_bounded_memory() {
    let target = Registry::start(RegistryOptions::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let sparse = Arc::new(Sparse::new(&address));
    let router = Router::new()
        .fallback(serve)
        .with_state(Arc::clone(&sparse));
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut child = Command::new(PROGRAM)
        .args([
            "transfer",
            "--allow-loopback",
            "--copy-resources",
            "-o",
            "json",
        ])
        .arg(format!("http://{address}/from//example.org/large:1.0.0"))
        .arg(format!("http://{}/to", target.address()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let process = child.id().expect("a running program");
    let mut most = 0;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.expect("a status"),
            _ = ticks.tick() => most = peak(process).unwrap_or(most),
        }
    };
    server.abort();
    assert!(status.success());
    // The registry checked the digest before it took the blob.
    target.manifest("to/large/image", "1.0.0").await;
    let size = target.blob_size("to/large/image", &sparse.layer).await;
    assert_eq!(size, LARGE);
    assert!(most > 0 && most < 64 << 10, "{most} KiB");
}

/// Verification through the library, as the controller does it.
mod verify {
    use super::*;
    use std::collections::BTreeMap;

    use ocm_controller::archive::{Limits, Reader};
    use ocm_controller::components::{Components, Place};
    use ocm_controller::edit::Missing;
    use ocm_controller::mutation::{LoadedImages, localize};
    use ocm_controller::ocm::signature::{PublicKey, Signer};
    use ocm_controller::ocm::{Accepted, ReadComponent, Resource, location};
    use ocm_controller::pipeline::Pipeline;
    use ocm_controller::registry::{Pool, Settings, Transport};
    use ocm_controller::repository::{Archive, Location};
    use ocm_controller::store::Store;

    /// Whether podinfo 6.3.5 at `place` is what `key` signed.
    pub(super) async fn signed_by(
        hosts: &[(&str, &Registry)],
        place: &str,
        key: &str,
        expected: bool,
    ) {
        let (components, place, root) = podinfo(hosts, place).await;
        let pem = fs::read(key_file(key)).expect("a key");
        let signer = Signer {
            name: "alice".to_owned(),
            key: PublicKey::parse(&pem).expect("a key"),
            at: std::time::SystemTime::now(),
        };
        let verified = components.verify(&place, root, &[signer]).await;
        assert_eq!(verified.is_ok(), expected, "{key}: {:?}", verified.err());
    }

    /// The Deployment of podinfo 6.3.5 at `place`, localized by the rules that it brings along.
    pub(super) async fn localized(hosts: &[(&str, &Registry)], place: &str) -> String {
        let (components, place, root) = podinfo(hosts, place).await;
        let store = Store::open(scratch::folder("layers")).expect("a store");
        let pipeline = Pipeline::new(components, store.clone(), Limits::default());
        let component = Accepted::NotAsked(root);
        let resource = |name: &str| {
            let mut all = component.descriptor.resources.iter();
            all.find(|found| found.name == name).expect("a resource")
        };
        let config = pipeline.config_data(&place, &component, resource("config"));
        let config = config.await.expect("rules");
        let images = LoadedImages {
            components: &BTreeMap::from([(Vec::new(), component.clone())]),
            reference: |component: &Accepted, resource: &Resource| {
                Ok(location(component, resource)?)
            },
        };
        let substitutions = localize(&config.localization, &images, Missing::Refuse);
        let substitutions = substitutions.expect("rules that apply");
        let layer = pipeline.resource(&place, &component, resource("deployment"));
        let layer = layer.await.expect("a layer");
        let layer = pipeline
            .substitute(&place.namespace, &layer, substitutions)
            .await
            .expect("localized");
        let blob = store.open_blob(&layer.digest).expect("a store");
        let blob = blob.expect("the layer is there");
        let limits = Limits::default();
        let mut reader = Reader::open(blob, &limits).expect("an archive");
        while let Some(entry) = reader.next_entry().expect("an archive") {
            if entry.path.as_str() == "deployment.yaml" {
                let content = reader.read_file(&entry.path).expect("a file");
                return String::from_utf8(content).expect("text");
            }
        }
        panic!("the Deployment is not there");
    }

    /// podinfo 6.3.5 at `place`, and what reads it there.
    async fn podinfo(
        hosts: &[(&str, &Registry)],
        place: &str,
    ) -> (Components, Place, ReadComponent) {
        let location: Location = place.parse().expect("a place");
        let mut roots = Vec::new();
        let mut overrides = Vec::new();
        for (host, registry) in hosts {
            roots.extend_from_slice(registry.ca_pem().as_bytes());
            let text = format!("{host}={}", registry.address());
            overrides.push(text.parse().expect("an override"));
        }
        let transport = Transport::new(Settings {
            overrides,
            allow_loopback: true,
            extra_roots: Some(roots),
            ..Settings::default()
        });
        let folder = scratch::folder("store");
        let store = Store::open(&folder).expect("a store");
        let components = Components::new(Pool::new(transport.expect("roots")), store);
        let archive = match &location {
            Location::Registry(_) => None,
            Location::Archive { path, .. } => Some(Archive::open(path).expect("an archive")),
        };
        let place = Place {
            repository: location.repository(),
            archive: archive.map(|archive| Arc::new(archive) as _),
            credentials: Arc::default(),
            namespace: "test".parse().expect("a namespace"),
            holder: String::new(),
        };
        let name = PODINFO.parse().expect("a name");
        let version = "6.3.5".parse().expect("a version");
        let digest = components.resolve(&place, &name, &version).await;
        let digest = digest.expect("the version is there");
        let root = components.read(&place, &name, &version, &digest).await;
        let root = root.expect("it can be read");
        (components, place, root)
    }

    fn key_file(key: &str) -> PathBuf {
        fixture("keys").join(Path::new(key).with_extension("pub"))
    }
}
