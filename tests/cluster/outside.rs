//! Snapshots in the reference registry, with TLS and a password, in place of the controller's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;

use kube::ResourceExt as _;
use ocm_controller::oci::Digest;
use ocm_controller::publish::{BuiltIn, NewImage, Remote, Snapshots as _};
use ocm_controller::registry::{Pool, RepositoryUrl, Settings, Transport};
use ocm_controller::snapshot::{Artifact, ContentKind, Repository, SnapshotLayer};
use ocm_controller::store::Store;
use serde_json::json;

use crate::release::give_rights;
use crate::scene::{PASSWORD, Scene, TIMEOUT, USER};
use crate::site::{PRIVATE, Site};
use crate::support::cluster::Flux;
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::scratch;
use crate::support::wait::eventually;

/// The two Secrets that namespaces pull with.
const PULL_SECRET: &str = "ocm-registry-pull";
const CA_SECRET: &str = "ocm-registry-ca";

/// An empty registry for snapshots.
pub async fn registry() -> Registry {
    Registry::start(RegistryOptions {
        tls: vec!["snapshots.example.org".to_owned()],
        password: Some((USER.to_owned(), PASSWORD.to_owned())),
    })
    .await
}

/// One program of several: with a content store of its own.
struct Program {
    store: Store,
    remote: Remote,
}

impl Program {
    fn new(registry: &Registry) -> Self {
        let folder = scratch::folder("store");
        let settings = Settings {
            allow_loopback: true,
            extra_roots: Some(registry.ca_pem().as_bytes().to_vec()),
            ..Settings::default()
        };
        let pool = Pool::new(Transport::new(settings).expect("good settings"));
        let host = registry.address().to_string();
        let url: RepositoryUrl = format!("oci://{host}/ocm/snapshots")
            .parse()
            .expect("a URL");
        let credentials = folder.join("password.json");
        fs::write(&credentials, registry.docker_config(&host)).expect("the folder is writable");
        let store = Store::open(folder.join("data")).expect("a new store");
        Self {
            remote: Remote::new(store.clone(), pool, url, Some(credentials)),
            store,
        }
    }

    /// What a step of the chain has made.
    fn image(&self) -> NewImage {
        let mut writer = self.store.writer().expect("a store");
        writer
            .write_all(&vec![7; 1 << 20])
            .expect("the disk has room");
        let stored = writer.commit().expect("the disk has room");
        NewImage {
            repository: repository(),
            tag: "1.0".parse().expect("a tag"),
            layer: SnapshotLayer {
                media_type: ContentKind::Files.layer_media_type().to_owned(),
                digest: stored.digest,
                size: stored.size,
            },
            artifact: Artifact::Files,
            owner: "uid".to_owned(),
        }
    }

    async fn is_there(&self, image: &NewImage) -> bool {
        let NewImage {
            repository,
            tag,
            layer,
            ..
        } = image;
        let found = self.remote.find(repository, tag, &layer.digest).await;
        found.expect("the registry answers").is_some()
    }

    async fn publish(&self) -> Digest {
        let published = self.remote.publish(self.image()).await;
        published.expect("the registry takes it").manifest
    }
}

fn repository() -> Repository {
    Repository::new("team-a", "podinfo-x7k2a9q").expect("a name")
}

/// How many requests of each method have changed something.
fn changes(registry: &Registry) -> BTreeMap<String, usize> {
    let mut changes = BTreeMap::new();
    for access in registry.requests() {
        if !matches!(access.method.as_str(), "GET" | "HEAD") && access.status < 400 {
            *changes.entry(access.method).or_default() += 1;
        }
    }
    changes
}

#[tokio::test]
#[ignore = "needs the reference registry"]
async fn snapshot_of_two_programs_is_one_and_the_same_as_the_built_in() {
    let registry = registry().await;
    let (one, other) = (Program::new(&registry), Program::new(&registry));
    let (first, second) = tokio::join!(one.publish(), other.publish());
    let built_in = BuiltIn::new(one.store.clone());
    let served = built_in.publish(one.image()).await.expect("a store");
    assert_eq!((&first, &second), (&served.manifest, &served.manifest));
    let (_, bytes) = registry
        .manifest("ocm/snapshots/team-a/podinfo-x7k2a9q", "1.0")
        .await;
    assert_eq!(Digest::of(bytes), served.manifest);
    assert!(one.is_there(&one.image()).await && other.is_there(&other.image()).await);
}

#[tokio::test]
#[ignore = "needs the reference registry"]
async fn unchanged_snapshot_is_not_pushed_again_and_a_lost_one_is() {
    let registry = registry().await;
    let program = Program::new(&registry);
    let manifest = program.publish().await;
    let before = changes(&registry);
    let requests = registry.requests().len();
    program.publish().await;
    assert_eq!(registry.requests().len(), requests);
    assert!(program.is_there(&program.image()).await);
    assert_eq!(registry.requests().len(), requests + 1, "one HEAD");

    // A content store that was lost is filled again without pushing anything.
    let anew = Program::new(&registry);
    assert!(!anew.is_there(&anew.image()).await);
    assert_eq!(anew.publish().await, manifest);
    assert_eq!(changes(&registry), before);

    // What was deleted there is missed, and made again.
    let gone = [(repository(), manifest.clone())];
    anew.remote.release(&gone).await;
    assert!(!program.is_there(&program.image()).await);
    assert_eq!(program.publish().await, manifest);
    assert!(program.is_there(&program.image()).await);
}

#[tokio::test]
#[ignore = "needs the reference registry"]
async fn snapshot_stays_while_its_registry_does_not_answer() {
    let mut registry = registry().await;
    let program = Program::new(&registry);
    program.publish().await;
    registry.stop().await;
    assert!(program.is_there(&program.image()).await);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn guide_is_deployed_from_another_registry_which_is_cleaned_afterwards() {
    let registry = registry().await;
    let host = registry.address().to_string();
    let mut arguments = arguments(&registry);
    arguments.push("--gc-interval=1s".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let scene = Scene::start_with(Flux::Kustomize, &arguments).await;
    allow(&scene, &host).await;
    scene.load_private("phoban01-air-gapped").await;
    let site = Site::new(&scene, "outside").await;
    site.apply(&site.guide(PRIVATE)).await;
    let said = site
        .fails("FluxDeployer", "podinfo", "SourceRefNotReady")
        .await;
    assert!(said.contains("Secret ocm-system/snapshots"), "{said}");
    give_secrets(&scene, &registry, &host).await;
    site.settled().await;

    let source = site.ready("OCIRepository", "podinfo").await;
    let url = source.data["spec"]["url"].as_str().expect("a URL");
    assert!(
        url.starts_with(&format!("oci://{host}/ocm/{}/", site.namespace)),
        "{url}"
    );
    assert_eq!(source.data["spec"]["secretRef"]["name"], PULL_SECRET);
    secrets_are_copied(&site).await;
    let pulled = registry.requests();
    let pulls = pulls_of_flux(&pulled);
    assert!(pulls > 0, "{pulled:?}");
    let mut repositories = Vec::new();
    for snapshot in site.list("Snapshot").await {
        let place = format!("ocm/{}/{}", site.namespace, snapshot.name_any());
        let url = snapshot.data["status"]["repositoryURL"].as_str();
        assert_eq!(url, Some(format!("https://{host}/{place}").as_str()));
        assert!(!registry.tags(&place).await.is_empty(), "{place}");
        repositories.push(place);
    }
    assert_eq!(repositories.len(), 2);

    for (kind, name) in [
        ("FluxDeployer", "podinfo"),
        ("Localization", "podinfo-deployment"),
        ("Resource", "podinfo-deployment"),
    ] {
        site.delete(kind, name).await;
    }
    eventually("the registry is cleaned", TIMEOUT, async || {
        for place in &repositories {
            let left = registry.tags(place).await;
            if !left.is_empty() {
                return Err(format!("{place} has {left:?}"));
            }
        }
        Ok(())
    })
    .await;
}

/// What the namespace pulls with is that of the controller's own namespace; what somebody else
/// has put into a namespace is left as it is.
async fn secrets_are_copied(site: &Site<'_>) {
    let cluster = &site.scene.cluster;
    let own = Site::at(site.scene, "ocm-system".to_owned(), String::new()).await;
    for (source, copy) in [("snapshots", PULL_SECRET), ("snapshots-ca", CA_SECRET)] {
        let (source, copy) = (
            own.get("Secret", source).await,
            site.get("Secret", copy).await,
        );
        assert_eq!(source.data["data"], copy.data["data"]);
        assert_eq!(source.data["type"], copy.data["type"]);
    }
    let theirs = Site::new(site.scene, "outside-theirs").await;
    let literal = "--from-literal=.dockerconfigjson={\"auths\":{}}";
    let kind = "--type=kubernetes.io/dockerconfigjson";
    let namespace = format!("--namespace={}", theirs.namespace);
    let create = [
        "create",
        "secret",
        "generic",
        PULL_SECRET,
        kind,
        literal,
        &namespace,
    ];
    cluster.kubectl(&create).await;
    theirs.apply(&theirs.guide(PRIVATE)).await;
    theirs.ready("FluxDeployer", "podinfo").await;
    let left = theirs.get("Secret", PULL_SECRET).await;
    assert!(left.owner_references().is_empty() && left.labels().is_empty());
    theirs.delete("FluxDeployer", "podinfo").await;

    // A changed password comes to the namespaces without anybody asking.
    let changed = json!({"stringData": {".dockerconfigjson": "{\"auths\":{}}"}});
    let before = own.get("Secret", "snapshots").await;
    own.patch("Secret", "snapshots", changed).await;
    site.until("Secret", PULL_SECRET, "changed", |copy| {
        copy.data["data"] == left.data["data"]
    })
    .await;
    let back = json!({"data": before.data["data"]});
    own.patch("Secret", "snapshots", back).await;
    site.until("Secret", PULL_SECRET, "back", |copy| {
        copy.data["data"] == before.data["data"]
    })
    .await;
}

/// The arguments by which a controller pushes there.
pub fn arguments(registry: &Registry) -> Vec<String> {
    let host = registry.address().to_string();
    let password = scratch::folder("outside").join("password.json");
    fs::write(&password, registry.docker_config(&host)).expect("the folder is writable");
    vec![
        format!("--registry=oci://{host}/ocm"),
        format!("--registry-credentials={}", password.display()),
        "--registry-pull-secret=snapshots".to_owned(),
        "--registry-ca-secret=snapshots-ca".to_owned(),
        format!("--ca-file={}", registry.ca_file().display()),
    ]
}

/// Gives the rights that the chart does for that.
pub async fn allow(scene: &Scene, host: &str) {
    let values = [
        format!("--set=outsideRegistry.url=oci://{host}/ocm"),
        "--set=outsideRegistry.pullSecret=snapshots".to_owned(),
        "--set=outsideRegistry.caSecret=snapshots-ca".to_owned(),
    ];
    give_rights(&scene.cluster, "ocm-system", &values).await;
}

/// Makes the Secrets by which Flux pulls from there, for the controller to copy.
pub async fn give_secrets(scene: &Scene, registry: &Registry, host: &str) {
    let cluster = &scene.cluster;
    let server = format!("--docker-server={host}");
    let (user, password) = (
        format!("--docker-username={USER}"),
        format!("--docker-password={PASSWORD}"),
    );
    let namespace = "ocm-system";
    cluster
        .kubectl(&[
            "create",
            "secret",
            "docker-registry",
            "-n",
            namespace,
            "snapshots",
            &server,
            &user,
            &password,
        ])
        .await;
    let authority = format!("--from-file=ca.crt={}", registry.ca_file().display());
    cluster
        .kubectl(&[
            "create",
            "secret",
            "generic",
            "-n",
            namespace,
            "snapshots-ca",
            &authority,
        ])
        .await;
}

fn pulls_of_flux(requests: &[crate::support::registry::Access]) -> usize {
    let is_blob = |path: &str| path.contains("/blobs/");
    requests
        .iter()
        .filter(|access| access.method == "GET" && is_blob(&access.path))
        .filter(|access| !access.user_agent.starts_with("ocm-controller"))
        .count()
}
