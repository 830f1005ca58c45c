//! Secrets: what is wrong with them is said, and what they hold is said nowhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::endpoint::value;
use crate::scene::{PROGRAM, Scene, USER, arguments_for, install, shared_scene};
use crate::site::{OF_FLUX, OURS, PRIVATE, Site, message};
use crate::support::certificates::new_key;
use crate::support::cluster::{Cluster, Flux, Options};
use crate::support::controller::{Controller, ControllerOptions};
use crate::support::in_repository;
use crate::support::registry::{Registry, RegistryOptions};
use crate::support::wait::is_ready;

/// Asserts that a message has all these words.
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

/// What a kubectl would write of a Secret.
fn secret(name: &str, kind: &str, data: &BTreeMap<&str, String>) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": kind,
        "stringData": data,
    })
    .to_string()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b68_secret_of_values_is_named_whatever_is_wrong_with_it_and_heals() {
    let scene = shared_scene().await;
    let site = Site::new(scene, "values-secret").await;
    site.apply(&site.guide(PRIVATE)).await;
    site.ready("Resource", "podinfo-deployment").await;
    let configuration = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 5m
  sourceRef: {kind: Resource, name: podinfo-deployment}
  configRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: config}}
  valuesFrom: {secretSource: {sourceRef: {name: site}, key: values.yaml}}
";
    site.apply(configuration).await;
    let named = format!("Secret {}/site", site.namespace);
    let says = async |what: &str, words: &[&str]| {
        let told = |object: &DynamicObject| {
            let conditions = object.data["status"]["conditions"].to_string();
            conditions.contains("ValuesNotReady")
                && words.iter().all(|word| conditions.contains(word))
        };
        let found = site.until("Configuration", "configured", what, told).await;
        let said = message(&found);
        assert_says(&said, &[&named]);
        assert!(!said.contains("canary"), "{said}");
    };
    // Secrets are not watched: after some failures it takes a while until one is read again.
    let write = async |key: &str, text: &str| {
        let data = BTreeMap::from([(key, text.to_owned())]);
        site.apply(&secret("site", "Opaque", &data)).await;
        let token = format!("{key} {}", text.len());
        site.request("Configuration", "configured", &token).await;
    };
    says("missing", &["does not exist", "create it"]).await;
    // One of that name elsewhere is none.
    let other = Site::without_secret(scene, "other-values").await;
    let data = BTreeMap::from([("values.yaml", "replicas: 3".to_owned())]);
    other.apply(&secret("site", "Opaque", &data)).await;
    site.run("Configuration", "configured", "elsewhere").await;
    says("missing still", &["does not exist"]).await;

    write("other.yaml", "replicas: 3").await;
    says("without its key", &["no key", "values.yaml", "other.yaml"]).await;
    site.delete("Secret", "site").await;
    write("values.yaml", "canary: [").await;
    says("no YAML", &["cannot be used", "values.yaml"]).await;
    write("values.yaml", &format!("canary: {}", "x".repeat(900_000))).await;
    let large = site.run("Configuration", "configured", "large").await;
    assert!(!message(&large).contains("xxx"), "{}", message(&large));
    write("values.yaml", "replicas: 3").await;
    let good = site.run("Configuration", "configured", "good").await;
    assert!(is_ready(Some(&good)), "{}", message(&good));

    // It goes bad again, and is deleted: what was made of it stays.
    let before = good.data["status"].clone();
    write("values.yaml", "- canary").await;
    site.request("Configuration", "configured", "bad-again")
        .await;
    says("no map", &["cannot be used"]).await;
    site.delete("Secret", "site").await;
    site.request("Configuration", "configured", "gone").await;
    says("gone", &["does not exist"]).await;
    let after = site.get("Configuration", "configured").await.data["status"].clone();
    let digest = "latestSnapshotDigest";
    assert_eq!(before[digest], after[digest]);
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b68_f10_password_is_named_whatever_is_wrong_with_its_secret_and_heals() {
    let scene = shared_scene().await;
    let site = Site::without_secret(scene, "pull-secret").await;
    site.apply(&site.guide(PRIVATE)).await;
    let name = format!("{}/ghcr-cred", site.namespace);
    let config = ".dockerconfigjson";
    let fails = async |words: &[&str]| {
        let told = |object: &DynamicObject| {
            let conditions = object.data["status"]["conditions"].to_string();
            words.iter().all(|word| conditions.contains(word))
        };
        let found = site
            .until("ComponentVersion", "podinfo", "failing", told)
            .await;
        let said = message(&found);
        assert_says(&said, &[&name]);
        assert!(!said.contains("canary"), "{said}");
    };
    fails(&["AuthenticatedContextCreationFailed", "create it"]).await;
    // Of another type, malformed, without the host, too large.
    let canary = BASE64_STANDARD.encode("ops:canary");
    let wrong = json!({"auths": {"elsewhere.example.org": {"auth": canary}}}).to_string();
    let padded = json!({"auths": {"ghcr.io": {"auth": canary, "pad": "x".repeat(900_000)}}});
    for (kind, key, text) in [
        ("Opaque", "password", "canary".to_owned()),
        ("kubernetes.io/dockerconfigjson", config, wrong),
        ("kubernetes.io/dockerconfigjson", config, padded.to_string()),
    ] {
        let data = BTreeMap::from([(key, text)]);
        site.apply(&secret("ghcr-cred", kind, &data)).await;
        let found = site.run("ComponentVersion", "podinfo", key).await;
        assert!(!message(&found).contains("canary"), "{}", message(&found));
        let found = site.run("ComponentVersion", "podinfo", kind).await;
        assert_eq!(
            crate::scene::ready_condition(&found).expect("it was looked at")["status"],
            "False"
        );
        site.delete("Secret", "ghcr-cred").await;
    }
    scene
        .give_password(&site.namespace, "ghcr-cred", crate::scene::PASSWORD)
        .await;
    site.request("ComponentVersion", "podinfo", "right").await;
    site.settled().await;
    // Deleted while in use: what is deployed stays, and is told where it is asked for next.
    site.delete("Secret", "ghcr-cred").await;
    let newer = json!({"spec": {"version": {"semver": "6.2.3"}}});
    site.patch("ComponentVersion", "podinfo", newer).await;
    site.request("ComponentVersion", "podinfo", "without").await;
    site.deployed(crate::site::IMAGE).await;
    scene
        .give_password(&site.namespace, "ghcr-cred", crate::scene::PASSWORD)
        .await;
    site.request("ComponentVersion", "podinfo", "there-again")
        .await;
    site.ready("ComponentVersion", "podinfo").await;
}

/// Every form in which a secret could be written down.
fn forms(name: &str, secret: &str) -> Vec<(String, String)> {
    let encoded = BASE64_STANDARD.encode(secret);
    let inner = BASE64_STANDARD.encode(format!("{USER}:{secret}"));
    let mut percent = String::new();
    for byte in secret.bytes() {
        write!(percent, "%{byte:02X}").expect("writing to a text does not fail");
    }
    let debug = format!("{:?}", secret.as_bytes());
    let debug = debug.trim_matches(['[', ']']).to_owned();
    let forms = [
        ("plain", secret.to_owned()),
        ("base64", encoded),
        ("login", inner),
        ("percent", percent),
        ("bytes", debug),
    ];
    forms
        .into_iter()
        .map(|(form, text)| (format!("{name} ({form})"), text))
        .collect()
}

/// Everything that the API server tells of a kind in all namespaces.
async fn told_of(cluster: &Cluster, api_version: &str, kind: &str) -> Vec<Value> {
    let api = cluster.api(api_version, kind, "default").await;
    let all: kube::Api<DynamicObject> = kube::Api::all_with(
        api.into_client(),
        &kube::core::ApiResource {
            group: api_version
                .split_once('/')
                .map_or("", |(group, _)| group)
                .to_owned(),
            version: api_version
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            plural: plural(kind),
        },
    );
    let found = all.list(&ListParams::default()).await.expect(kind);
    let items = found.items.into_iter();
    items
        .map(|object| serde_json::to_value(object).expect("JSON"))
        .collect()
}

fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{lower}s"),
    }
}

const CANARY: &str = "canary-of-the-password-Zq7x";
const VALUES: &str = "canary-of-the-values-Wd3k";
const WRONG: &str = "canary-of-a-wrong-password-Hj2v";
const BROKEN: &str = "canary-in-a-broken-secret-Pm9s";

/// A scene whose controller logs all that it can, and the token of its account.
async fn talkative() -> (Scene, String) {
    let registry = |name: &str, password: Option<&str>| RegistryOptions {
        tls: vec![name.to_owned()],
        password: password.map(|password| (USER.to_owned(), password.to_owned())),
    };
    let options = Options {
        flux: Flux::Kustomize,
        audit: true,
        crds: vec![in_repository("crds")],
    };
    let (cluster, private, public, fragile) = tokio::join!(
        Cluster::start(options),
        Registry::start(registry("ghcr.io", Some(CANARY))),
        Registry::start(registry("public.example.org", None)),
        Registry::start(registry("fragile.example.org", None)),
    );
    install(&cluster).await;
    let token = cluster
        .service_account_token("ocm-system", "ocm-controller")
        .await;
    let mut arguments = arguments_for(&[("ghcr.io", &private)]);
    "--log-level=trace".clone_into(&mut arguments[0]);
    let options = ControllerOptions {
        token: token.clone(),
        arguments,
        ..ControllerOptions::default()
    };
    let controller = Controller::start(&cluster, PROGRAM, options).await;
    let scene = Scene {
        cluster,
        private,
        public,
        fragile: Mutex::new(fragile),
        controller: Mutex::new(controller),
    };
    scene.load_private("phoban01-air-gapped").await;
    (scene, token)
}

/// Everything goes well, with values of a Secret.
async fn goes_well(scene: &Scene) -> Site<'_> {
    let site = Site::without_secret(scene, "canary").await;

    scene
        .give_password(&site.namespace, "ghcr-cred", CANARY)
        .await;
    site.apply(&site.guide(PRIVATE)).await;
    let data = BTreeMap::from([(
        "values.yaml",
        format!("replicas: 2\ncolor: {VALUES}\n{VALUES}: {VALUES}\n"),
    )]);
    site.apply(&secret("site", "Opaque", &data)).await;
    let configuration = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 5m
  sourceRef: {kind: Resource, name: podinfo-deployment}
  configRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: config}}
  valuesFrom: {secretSource: {sourceRef: {name: site}, key: values.yaml}}
";
    site.apply(configuration).await;
    site.settled().await;
    site.ready("Configuration", "configured").await;
    site
}

/// It goes badly: a wrong password, a Secret that cannot be read, a private key for a public one.
/// Gives that key.
async fn goes_badly(scene: &Scene) -> String {
    let bad = Site::without_secret(scene, "canary-bad").await;
    scene
        .give_password(&bad.namespace, "ghcr-cred", WRONG)
        .await;
    bad.apply(&bad.guide(PRIVATE)).await;
    bad.fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    let data = BTreeMap::from([(
        ".dockerconfigjson",
        format!("{{\"auths\": {{\"{BROKEN}\": 1}}}}"),
    )]);
    bad.delete("Secret", "ghcr-cred").await;
    bad.apply(&secret(
        "ghcr-cred",
        "kubernetes.io/dockerconfigjson",
        &data,
    ))
    .await;
    bad.run("ComponentVersion", "podinfo", "broken").await;
    let key = new_key().serialize_pem();
    let keys = Site::without_secret(scene, "canary-key").await;
    scene
        .give_password(&keys.namespace, "ghcr-cred", CANARY)
        .await;
    keys.apply(&keys.guide(PRIVATE)).await;
    let data = BTreeMap::from([("mine", key.clone())]);
    keys.apply(&secret("keys", "Opaque", &data)).await;
    let verify = json!({"spec": {"verify": [
        {"name": "mine", "publicKey": {"secretRef": {"name": "keys"}}},
    ]}});
    keys.patch("ComponentVersion", "podinfo", verify).await;
    keys.run("ComponentVersion", "podinfo", "private-key").await;
    key
}

/// All secrets of the run, each by what it is.
async fn secrets_of(site: &Site<'_>, token: String, key: &str) -> Vec<(&'static str, String)> {
    let mut secrets = vec![
        ("password", CANARY.to_owned()),
        ("wrong password", WRONG.to_owned()),
        ("broken Secret", BROKEN.to_owned()),
        ("values", VALUES.to_owned()),
        ("token of the account", token),
    ];
    secrets.extend(
        key.lines()
            .nth(1)
            .map(|line| ("private key", line.to_owned())),
    );
    let own = |name: &'static str| {
        let cluster = &site.scene.cluster;
        async move {
            let api = cluster.api("v1", "Secret", "ocm-system").await;
            api.get(name).await.expect(name)
        }
    };
    let certificate = value(&own("ocm-registry-tls-certs").await, "tls.key");
    let line = certificate.lines().nth(1).expect("PEM has lines");
    secrets.push(("key of the registry", line.to_owned()));
    let pull = value(
        &site.get("Secret", "ocm-registry-pull").await,
        ".dockerconfigjson",
    );
    let pull: Value = serde_json::from_str(&pull).expect("JSON");
    let login = pull["auths"].as_object().expect("a map").values().next();
    let password = login.expect("one")["password"].as_str().expect("a text");
    secrets.push(("pull password", password.to_owned()));
    let pull_key = own("ocm-registry-pull-key").await;
    for encoded in pull_key.data["data"].as_object().expect("a map").values() {
        secrets.push(("pull key", encoded.as_str().expect("base64").to_owned()));
    }
    secrets
}

/// Where they could be: what the process has said and was started with, and what it has written.
async fn places_of(scene: &Scene) -> Vec<(String, String)> {
    let mut controller = scene.controller.lock().await;
    let id = controller.process().id();
    let read = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{id}/{file}")).expect("it runs");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut places = vec![
        ("log".to_owned(), controller.process().output()),
        ("metrics".to_owned(), controller.metrics().await),
        ("arguments".to_owned(), read("cmdline")),
        ("environment".to_owned(), read("environ")),
    ];
    assert!(places[0].1.contains("TRACE"), "the log tells everything");
    for kind in OURS {
        let api_version = "delivery.ocm.software/v1alpha1";
        for object in told_of(&scene.cluster, api_version, kind).await {
            places.push((
                format!("{kind} {}", object["metadata"]["name"]),
                object.to_string(),
            ));
        }
    }
    for (api_version, kind) in [
        ("source.toolkit.fluxcd.io/v1", OF_FLUX[0]),
        ("kustomize.toolkit.fluxcd.io/v1", OF_FLUX[1]),
        ("events.k8s.io/v1", "Event"),
        ("v1", "ConfigMap"),
    ] {
        for object in told_of(&scene.cluster, api_version, kind).await {
            places.push((
                format!("{kind} {}", object["metadata"]["name"]),
                object.to_string(),
            ));
        }
    }
    assert!(places.len() > 40, "{} places", places.len());
    // Each Secret holds its own, and what the controller has written no other's.
    for object in told_of(&scene.cluster, "v1", "Secret").await {
        let name = object["metadata"]["name"].as_str().expect("a name");
        if name == "ocm-registry-ca" {
            places.push((format!("Secret {name}"), object.to_string()));
        }
    }
    places
}

/// A whole run, at the most talkative log level, with secrets that are easy to find again.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn cve_2024_31216_secrets_of_a_whole_run_are_in_no_log_event_status_metric_or_object_of_others()
 {
    let (scene, token) = talkative().await;
    let site = goes_well(&scene).await;
    let key = goes_badly(&scene).await;
    let secrets = secrets_of(&site, token, &key).await;
    let places = places_of(&scene).await;
    let mut found = Vec::new();
    for (name, secret) in &secrets {
        for (form, text) in forms(name, secret) {
            for (place, content) in &places {
                if let Some(at) = content.find(&text) {
                    let begin = content[..at].rfind('\n').map_or(0, |at| at + 1);
                    let line: String = content[begin..].chars().take(300).collect();
                    found.push(format!("{form} in {place}: {line}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
