//! How Flux pulls: certificate, passwords, and who may read what.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::future::join_all;
use kube::ResourceExt as _;
use kube::api::{DynamicObject, PostParams};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

use crate::component::{Component, RULES};
use crate::scene::{Scene, TIMEOUT, exclusive_scene, shared_scene};
use crate::site::Site;
use crate::support::certificates::Authority;
use crate::support::cluster::Flux;
use crate::support::wait::{self, eventually};
use crate::support::web;

/// The Secret with the authorities to trust.
pub const CA: &str = "ocm-registry-ca";
const PULL: &str = "ocm-registry-pull";
const CERTIFICATE: &str = "ocm-registry-tls-certs";

/// A value of a Secret as text.
pub fn value(secret: &DynamicObject, key: &str) -> String {
    let encoded = secret.data["data"][key].as_str().unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(encoded).expect("base64");
    String::from_utf8(bytes).expect("a text")
}

/// Whom a client trusts, and how it logs in: what Flux reads from the two Secrets.
pub struct Pull {
    client: Client,
    pub login: Option<(String, String)>,
}

impl Pull {
    pub async fn of(site: &Site<'_>, address: SocketAddr) -> Self {
        let authorities = value(&site.get("Secret", CA).await, "ca.crt");
        let config = value(&site.get("Secret", PULL).await, ".dockerconfigjson");
        let config: Value = serde_json::from_str(&config).expect("JSON");
        let login = &config["auths"][address.to_string()];
        let text = |key: &str| login[key].as_str().expect("a text").to_owned();
        Self {
            client: trusting(&authorities),
            login: Some((text("username"), text("password"))),
        }
    }

    /// What a path is answered with.
    pub async fn ask(&self, method: Method, address: SocketAddr, path: &str) -> reqwest::Response {
        let url = format!("https://{address}/v2/{path}");
        let mut request = self.client.request(method, url);
        if let Some((user, password)) = &self.login {
            request = request.basic_auth(user, Some(password));
        }
        let answer = request.send().await;
        answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))
    }

    /// The status with which a path is answered.
    pub async fn status(&self, address: SocketAddr, path: &str) -> u16 {
        self.ask(Method::GET, address, path).await.status().as_u16()
    }

    /// The manifest of this digest.
    pub async fn manifest(&self, address: SocketAddr, repository: &str, digest: &str) -> Value {
        let path = format!("{repository}/manifests/{digest}");
        let answer = self.ask(Method::GET, address, &path).await;
        assert_eq!(answer.status(), 200);
        serde_json::from_str(&answer.text().await.expect("a text")).expect("JSON")
    }
}

fn trusting(authorities: &str) -> Client {
    web::install_tls_provider();
    let certificates = Certificate::from_pem_bundle(authorities.as_bytes()).expect("PEM");
    Client::builder()
        .no_proxy()
        .tls_certs_only(certificates)
        .timeout(TIMEOUT)
        .build()
        .expect("a TLS provider is installed")
}

/// Where the registry of this scene is.
pub async fn address_of(scene: &Scene) -> SocketAddr {
    scene.controller.lock().await.registry_address()
}

/// Waits until a Secret fulfils `condition`.
async fn secret(
    site: &Site<'_>,
    name: &str,
    what: &str,
    condition: impl Fn(&DynamicObject) -> bool + Send + Sync,
) -> DynamicObject {
    site.until("Secret", name, what, condition).await
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn secrets_of_a_namespace_are_repaired_and_go_with_the_last_deployer() {
    let scene = shared_scene().await;
    let site = Site::complete(scene, "tenant").await;
    let authorities = site.get("Secret", CA).await;
    assert_eq!(authorities.data["type"], "Opaque");
    let keys: Vec<&String> = authorities.data["data"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(keys, ["ca.crt"]);
    let pull = site.get("Secret", PULL).await;
    assert_eq!(pull.data["type"], "kubernetes.io/dockerconfigjson");
    let repository = site.get("OCIRepository", "podinfo").await;
    assert_eq!(repository.data["spec"]["certSecretRef"]["name"], CA);
    assert_eq!(repository.data["spec"]["secretRef"]["name"], PULL);
    assert!(repository.data["spec"].get("insecure").is_none());
    for snapshot in site.list("Snapshot").await {
        let url = snapshot.data["status"]["repositoryURL"]
            .as_str()
            .unwrap_or_default();
        assert!(url.starts_with("https://"), "{url}");
    }

    let wrong = json!({"data": {"ca.crt": BASE64_STANDARD.encode("nobody")}});
    site.patch("Secret", CA, wrong).await;
    let right = authorities.data["data"].clone();
    secret(&site, CA, "repaired", |found| found.data["data"] == right).await;

    // Without its Secret a namespace has no password; as one that is made again it gets another.
    let address = address_of(scene).await;
    let before = Pull::of(&site, address).await;
    site.delete("Secret", PULL).await;
    let password = pull.data["data"].clone();
    secret(&site, PULL, "back", |found| found.data["data"] != password).await;
    assert_eq!(before.ask(Method::GET, address, "").await.status(), 401);
    let after = Pull::of(&site, address).await;
    assert_eq!(after.ask(Method::GET, address, "").await.status(), 200);

    // A second deployer is a second owner, so the Secrets outlive the first one.
    let mut second = site.get("FluxDeployer", "podinfo").await;
    second.metadata = kube::api::ObjectMeta {
        name: Some("second".to_owned()),
        ..Default::default()
    };
    second.data["status"] = Value::Null;
    let created = site
        .api("FluxDeployer")
        .create(&PostParams::default(), &second)
        .await;
    created.expect("it is valid");
    secret(&site, CA, "owned by both", |found| {
        found.owner_references().len() == 2
    })
    .await;
    site.ready("FluxDeployer", "second").await;
    site.delete("FluxDeployer", "podinfo").await;
    secret(&site, CA, "owned by one", |found| {
        found.owner_references().len() == 1
    })
    .await;
    site.ready("OCIRepository", "second").await;
    site.delete("FluxDeployer", "second").await;
    for name in [CA, PULL] {
        wait::until_gone(&site.api("Secret"), name).await;
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn eight_of_many_deployers_own_the_secrets_and_others_follow_before_these_go() {
    const OWNERS: usize = 8;
    let scene = shared_scene().await;
    let site = Site::complete(scene, "owners").await;
    let first = site.get("FluxDeployer", "podinfo").await;
    for number in 1..12 {
        let mut next = first.clone();
        next.metadata = kube::api::ObjectMeta {
            name: Some(format!("deployer-{number}")),
            ..Default::default()
        };
        next.data["status"] = Value::Null;
        let api = site.api("FluxDeployer");
        let created = api.create(&PostParams::default(), &next).await;
        let name = created.expect("it is valid").name_any();
        site.ready("FluxDeployer", &name).await;
    }
    let before = secret(&site, CA, "owned", |found| {
        found.owner_references().len() == OWNERS
    })
    .await;

    let owners = before.owner_references().iter();
    let gone: Vec<String> = owners.map(|owner| owner.name.clone()).collect();
    join_all(gone.iter().map(|name| site.delete("FluxDeployer", name))).await;
    let after = secret(&site, CA, "owned by the others", |found| {
        let owners = found.owner_references();
        owners.len() == 12 - OWNERS && owners.iter().all(|owner| !gone.contains(&owner.name))
    })
    .await;
    assert_eq!(after.uid(), before.uid(), "it was gone in between");

    let left = site.list("FluxDeployer").await;
    join_all(left.iter().map(|deployer| async {
        site.delete("FluxDeployer", &deployer.name_any()).await;
    }))
    .await;
    wait::until_gone(&site.api("Secret"), CA).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn secret_of_somebody_else_is_left_alone() {
    let scene = shared_scene().await;
    let site = Site::new(scene, "foreign").await;
    let theirs = "
apiVersion: v1
kind: Secret
metadata: {name: ocm-registry-ca}
stringData: {ca.crt: theirs}
";
    site.apply(theirs).await;
    site.apply(&site.guide(crate::site::PRIVATE)).await;
    let message = site.fails("FluxDeployer", "podinfo", "Conflict").await;
    assert!(message.contains("Secret"), "{message}");
    assert!(
        message.contains("ocm-registry-ca exists and belongs to nobody"),
        "{message}"
    );
    assert_eq!(value(&site.get("Secret", CA).await, "ca.crt"), "theirs");

    site.delete("Secret", CA).await;
    site.ready("FluxDeployer", "podinfo").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn no_private_key_leaves_the_namespace_of_the_controller() {
    let scene = shared_scene().await;
    let site = Site::complete(scene, "keys").await;
    let all = scene
        .cluster
        .api("v1", "Secret", "ocm-system")
        .await
        .get(CERTIFICATE)
        .await
        .expect("the controller has made it");
    assert!(value(&all, "tls.key").contains("PRIVATE KEY"));
    for found in site.list("Secret").await {
        let data = found.data["data"].as_object().expect("data");
        for key in data.keys() {
            let text = value(&found, key);
            assert!(!text.contains("PRIVATE KEY"), "{}", found.name_any());
        }
    }
}

/// The namespace of a tenant, with what may be asked of its registry repositories.
struct Tenant<'a> {
    site: Site<'a>,
    paths: Vec<String>,
}

async fn tenant<'a>(scene: &'a Scene, name: &str, url: &str, image: &str) -> Tenant<'a> {
    let site = Site::new(scene, name).await;
    let guide = site
        .guide(url)
        .replace(
            "component: phoban.io/podinfo",
            "component: example.org/twin",
        )
        .replace(">=v6.3.5", ">=1");
    site.apply(&guide).await;
    site.deployed(image).await;
    site.ready("FluxDeployer", "podinfo").await;
    let address = address_of(scene).await;
    let pull = Pull::of(&site, address).await;
    let mut paths = Vec::new();
    for snapshot in site.list("Snapshot").await {
        let repository = format!("{}/{}", site.namespace, snapshot.name_any());
        let status = &snapshot.data["status"];
        let tag = status["tag"].as_str().expect("a tag");
        let digest = status["manifestDigest"].as_str().expect("a digest");
        let manifest = format!("{repository}/manifests/{digest}");
        let text = pull.manifest(address, &repository, digest).await;
        for blob in [&text["config"], &text["layers"][0]] {
            let digest = blob["digest"].as_str().expect("a digest");
            paths.push(format!("{repository}/blobs/{digest}"));
        }
        paths.push(format!("{repository}/referrers/{digest}"));
        paths.push(format!("{repository}/manifests/{tag}"));
        paths.push(format!("{repository}/tags/list"));
        paths.push(manifest);
    }
    Tenant { site, paths }
}

/// The same component and version from two registries, with other content each.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b83_tenants_read_their_own_snapshots_and_no_others() {
    const COMPONENT: &str = "example.org/twin";
    let scene = shared_scene().await;
    let (image, other_image) = ("one.example.org/podinfo:1", "two.example.org/podinfo:1");
    Component::podinfo(COMPONENT, "1.0.0", image, RULES)
        .push(&scene.private, "twin")
        .await;
    Component::podinfo(COMPONENT, "1.0.0", other_image, RULES)
        .push(&scene.public, "twin")
        .await;
    let one = tenant(scene, "one", "ghcr.io/twin", image).await;
    let two = tenant(scene, "two", "public.example.org/twin", other_image).await;
    assert!(one.paths.len() >= 12 && two.paths.len() >= 12);
    let address = address_of(scene).await;

    let (ours, theirs) = (
        Pull::of(&one.site, address).await,
        Pull::of(&two.site, address).await,
    );
    let nobody = Pull {
        client: ours.client.clone(),
        login: None,
    };
    let liar = Pull {
        client: ours.client.clone(),
        login: theirs
            .login
            .clone()
            .map(|(_, password)| (one.site.namespace.clone(), password)),
    };
    for (pull, may_read) in [
        (&ours, Some(&one)),
        (&theirs, Some(&two)),
        (&nobody, None),
        (&liar, None),
    ] {
        for owner in [&one, &two] {
            let is_own = may_read.is_some_and(|own| std::ptr::eq(own, owner));
            for path in &owner.paths {
                for method in [Method::GET, Method::HEAD] {
                    let answer = pull.ask(method.clone(), address, path).await;
                    let expected = if is_own { 200 } else { 401 };
                    assert_eq!(answer.status(), expected, "{method} {path}");
                }
            }
            if !is_own {
                // What is there and what is not look the same to who may not read.
                let there = pull.ask(Method::GET, address, &owner.paths[0]).await;
                let absent = format!("{}/none/tags/list", owner.site.namespace);
                let absent = pull.ask(Method::GET, address, &absent).await;
                assert_eq!(
                    there.headers()["www-authenticate"],
                    absent.headers()["www-authenticate"]
                );
                assert_eq!(there.text().await.unwrap(), absent.text().await.unwrap());
            }
        }
    }
    // A blob of the other one is not to be had through a repository of one's own either.
    let repository = |tenant: &Tenant| {
        let (repository, _) = tenant.paths[0].split_once("/blobs/").expect("a blob");
        repository.to_owned()
    };
    let own: BTreeSet<&str> = blobs(&one).collect();
    let foreign: Vec<&str> = blobs(&two).filter(|digest| !own.contains(digest)).collect();
    assert!(!foreign.is_empty(), "the tenants have different content");
    for digest in foreign {
        let path = format!("{}/blobs/{digest}", repository(&one));
        assert_eq!(ours.ask(Method::GET, address, &path).await.status(), 404);
    }
}

fn blobs<'a>(tenant: &'a Tenant<'_>) -> impl Iterator<Item = &'a str> {
    let paths = tenant.paths.iter();
    paths.filter_map(|path| path.split_once("/blobs/").map(|(_, digest)| digest))
}

/// What the deployer's OCIRepository names: repository path and digest.
pub async fn pulled(site: &Site<'_>) -> (String, String, Value) {
    let found = site.ready("OCIRepository", "podinfo").await;
    let spec = found.data["spec"].clone();
    let url = spec["url"].as_str().expect("a URL").to_owned();
    let (_, repository) = url
        .trim_start_matches("oci://")
        .split_once('/')
        .expect("a path");
    let digest = spec["ref"]["digest"].as_str().expect("a digest").to_owned();
    (repository.to_owned(), digest, spec)
}

/// Pulls everything as Flux does it, with what the Secrets say at the moment.
async fn pull_once(site: &Site<'_>, address: SocketAddr, repository: &str, digest: &str) {
    let pull = Pull::of(site, address).await;
    let manifest = pull.manifest(address, repository, digest).await;
    let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
    let path = format!("{repository}/blobs/{layer}");
    let answer = pull.ask(Method::GET, address, &path).await;
    assert_eq!(answer.status(), 200);
    assert!(
        !answer
            .bytes()
            .await
            .expect("the rest of the answer")
            .is_empty()
    );
}

/// Has Flux itself pull once, under a name of its own.
async fn flux_pulls(site: &Site<'_>, number: usize, spec: &Value) {
    let name = format!("pull-{number}");
    let object = json!({
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "OCIRepository",
        "metadata": {"name": name},
        "spec": spec,
    });
    let object = serde_json::from_value(object).expect("an object");
    let created = site
        .api("OCIRepository")
        .create(&PostParams::default(), &object)
        .await;
    created.expect("it is valid");
    site.ready("OCIRepository", &name).await;
    site.delete("OCIRepository", &name).await;
}

/// What Flux complained of.
async fn warnings(site: &Site<'_>) -> Vec<String> {
    let events = site.list("Event").await;
    let warnings = events.iter().filter(|event| {
        event.data["type"] == "Warning" && event.data["regarding"]["kind"] == "OCIRepository"
    });
    warnings
        .map(|event| event.data["note"].to_string())
        .collect()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f13_changing_certificate_and_password_under_running_pulls_fails_none() {
    let scene = Scene::start_with(Flux::Kustomize, &["--registry-certificate-lifetime=30s"]).await;
    scene.load_private("phoban01-air-gapped").await;
    let site = Site::complete(&scene, "turning").await;
    let address = address_of(&scene).await;
    let (repository, digest, spec) = pulled(&site).await;
    let first = Pull::of(&site, address).await;

    let kept = scene.cluster.api("v1", "Secret", "ocm-system").await;
    let mut seen = BTreeSet::new();
    let mut passwords = BTreeSet::new();
    let mut number = 0;
    // Three certificates are two turns, and all of it happens while pulls go on.
    while seen.len() < 4 || passwords.len() < 3 {
        seen.insert(value(&kept.get(CERTIFICATE).await.unwrap(), "tls.crt"));
        passwords.insert(Pull::of(&site, address).await.login);
        pull_once(&site, address, &repository, &digest).await;
        flux_pulls(&site, number, &spec).await;
        number += 1;
    }
    assert_eq!(warnings(&site).await, Vec::<String>::new());
    assert!(number > 10, "only {number} pulls");
    // What was first is long gone, so the turns did happen.
    let url = format!("https://{address}/v2/");
    let refused = first.client.get(&url).send().await;
    assert!(refused.is_err(), "the first authority is still shown");
    let now = Pull::of(&site, address).await;
    let late = Pull {
        client: now.client,
        login: first.login,
    };
    assert_eq!(late.ask(Method::GET, address, "").await.status(), 401);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f13_certificate_of_the_user_is_taken_without_a_restart_and_never_written() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "own-cert").await;
    let address = address_of(&scene).await;
    let (repository, digest, _) = pulled(&site).await;
    let authority = Authority::new("the user's authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let kept = scene.cluster.api("v1", "Secret", "ocm-system").await;
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let theirs = json!({
        "metadata": {"labels": {"app.kubernetes.io/managed-by": "cert-manager"}},
        "data": {
            "tls.crt": encode(&identity.certificate),
            "tls.key": encode(&identity.key),
            "ca.crt": encode(&authority.pem()),
        },
    });
    let patch = kube::api::Patch::Merge(theirs);
    let written = kept
        .patch(CERTIFICATE, &kube::api::PatchParams::default(), &patch)
        .await;
    let version = written.expect("it is valid").resource_version();

    let wanted = authority.pem();
    secret(&site, CA, "extended by the user's authority", |found| {
        value(found, "ca.crt").contains(wanted.trim())
    })
    .await;
    let client = trusting(&authority.pem());
    let url = format!("https://{address}/v2/");
    eventually("the user's certificate is shown", TIMEOUT, async || {
        pull_once(&site, address, &repository, &digest).await;
        client
            .get(&url)
            .send()
            .await
            .map_err(|error| format!("{error:?}"))
    })
    .await;
    let found = kept.get(CERTIFICATE).await.unwrap();
    assert_eq!(found.resource_version(), version);

    // Without it, the controller makes one of its own again.
    let parameters = kube::api::DeleteParams::default();
    kept.delete(CERTIFICATE, &parameters).await.unwrap();
    wait::until(
        &kept,
        CERTIFICATE,
        "made",
        |found: Option<&DynamicObject>| {
            found.is_some_and(|found| value(found, "tls.crt") != identity.certificate)
        },
    )
    .await;
    pull_once(&site, address, &repository, &digest).await;
}
