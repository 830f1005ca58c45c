//! Several of this program in one cluster: each looks after its own objects, with no more rights
//! than the chart gives it for that.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt as _;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::release::Release;
use crate::scene::{PASSWORD, Scene, TIMEOUT};
use crate::site::Site;
use crate::support::cluster::Flux;
use crate::support::cluster::audit::AuditEvent;
use crate::support::in_repository;
use crate::support::wait::eventually;

/// The label by which Flux shares its work as well.
const KEY: &str = "sharding.fluxcd.io/key";

/// A cluster whose own controller is stopped.
async fn scene() -> &'static Scene {
    static SCENE: OnceCell<Scene> = OnceCell::const_new();
    SCENE
        .get_or_init(|| async {
            let scene = Scene::start_with(Flux::Kustomize, &[]).await;
            scene.load_private("phoban01-air-gapped").await;
            scene.controller.lock().await.stop().await;
            scene
        })
        .await
}

async fn chain_is_ready(site: &Site<'_>, suffix: &str) {
    for (kind, name) in [
        ("FluxDeployer", "podinfo"),
        ("OCIRepository", "podinfo"),
        ("Localization", "podinfo-deployment"),
    ] {
        site.ready(kind, &format!("{name}{suffix}")).await;
    }
}

/// Who wrote each object of the namespace that ends with `suffix` or belongs to such a one.
fn writers(scene: &Scene, site: &Site<'_>) -> BTreeMap<String, BTreeSet<String>> {
    let mut writers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for event in scene.cluster.audit_log() {
        let is_ours = event.user.ends_with(":ocm-controller") && event.namespace == site.namespace;
        let shared = ["events", "componentdescriptors", "secrets"];
        if is_ours && event.is_write() && !shared.contains(&event.resource.as_str()) {
            let object = format!("{}/{}", event.resource, event.name);
            writers.entry(object).or_default().insert(event.user);
        }
    }
    writers
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn each_object_is_handled_by_the_one_shard_that_its_label_names() {
    let scene = scene().await;
    let selector = |text: &str| vec![format!("--set=watchLabelSelector={text}")];
    let one = Release::start(scene, "shard-one", &selector(&format!("{KEY}=one"))).await;
    let rest = Release::start(scene, "shard-rest", &selector(&format!("!{KEY}"))).await;
    let site = Site::new(scene, "sharded").await;
    site.apply(&site.chain("-one", &json!({KEY: "one"}))).await;
    site.apply(&site.chain("-rest", &json!({}))).await;
    chain_is_ready(&site, "-one").await;
    chain_is_ready(&site, "-rest").await;

    let writers = writers(scene, &site);
    for (object, users) in &writers {
        assert_eq!(users.len(), 1, "{object} was written by {users:?}");
    }
    let of = |user: &str| {
        let written = writers.iter().filter(|(_, users)| users.contains(user));
        written
            .map(|(object, _)| object.clone())
            .collect::<Vec<_>>()
    };
    // The version, the resource and its Snapshot, the localization and its, the deployer, and two
    // objects of Flux.
    assert_eq!(
        (of(&one.user).len(), of(&rest.user).len()),
        (8, 8),
        "{writers:?}"
    );
    assert!(
        of(&one.user).iter().all(|object| object.contains("-one")),
        "{writers:?}"
    );

    // A chain that gets the other label goes over to the other shard, with all that it made.
    for (kind, name) in [
        ("ComponentVersion", "podinfo-one"),
        ("Resource", "podinfo-deployment-one"),
        ("Localization", "podinfo-deployment-one"),
        ("FluxDeployer", "podinfo-one"),
    ] {
        site.patch(kind, name, json!({"metadata": {"labels": {KEY: null}}}))
            .await;
    }
    let place = rest.controller.registry_address().to_string();
    site.until(
        "OCIRepository",
        "podinfo-one",
        "served by the other",
        |found| {
            let url = found.data["spec"]["url"].as_str();
            url.is_some_and(|url| url.contains(&place)) && found.labels().get(KEY).is_none()
        },
    )
    .await;
    chain_is_ready(&site, "-one").await;
    for snapshot in site.list("Snapshot").await {
        assert!(
            !snapshot.labels().contains_key(KEY),
            "{}",
            snapshot.name_any()
        );
    }
    for release in [&one, &rest] {
        let refused = release
            .asked(scene)
            .into_iter()
            .filter(|event| event.code == 403);
        let refused: Vec<AuditEvent> = refused.collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn nothing_is_asked_of_namespaces_that_are_not_watched_and_no_right_is_needed_there() {
    let scene = scene().await;
    let (site, other) = (
        Site::new(scene, "watched").await,
        Site::new(scene, "unwatched").await,
    );
    let values = [
        format!("--set=watchNamespaces={{{}}}", site.namespace),
        format!("--set=watchSecrets={{{}}}", site.namespace),
    ];
    let mut release = Release::start(scene, "narrow", &values).await;
    // Nobody else looks at it.
    let labels = json!({KEY: "none"});
    let guide = |site: &Site<'_>| {
        site.chain("", &labels)
            .replace("\"interval\":\"1m0s\"", "\"interval\":\"30m\"")
    };
    other.apply(&guide(&other)).await;
    site.apply(&guide(&site)).await;
    chain_is_ready(&site, "").await;

    // A Secret that is rotated is used at once: the interval is far away.
    let secret = |password: &str| {
        let config = json!({"auths": {"ghcr.io": {"username": "ops", "password": password}}});
        json!({"stringData": {".dockerconfigjson": config.to_string()}})
    };
    site.patch("Secret", "ghcr-cred", secret("wrong")).await;
    let said = site
        .fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    assert!(said.contains("401"), "{said}");
    site.patch("Secret", "ghcr-cred", secret(PASSWORD)).await;
    site.ready("ComponentVersion", "podinfo").await;

    // Watches are logged when they end.
    release.controller.stop().await;
    let user = release.user.clone();
    let own = user.split(':').nth(2).expect("its namespace").to_owned();
    for event in release.asked(scene) {
        let place = &event.namespace;
        assert!(*place == site.namespace || *place == own, "{event:?}");
        assert!(event.code != 403, "{event:?}");
    }
    let untouched = other.get("ComponentVersion", "podinfo").await;
    assert_eq!(untouched.data["status"], json!({"observedGeneration": -1}));
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b64_stored_object_that_no_longer_fits_says_so_and_holds_up_no_other() {
    let scene = scene().await;
    let site = Site::new(scene, "undecodable").await;
    let values = [format!("--set=watchNamespaces={{{}}}", site.namespace)];
    let mut release = Release::start(scene, "strict", &values).await;
    let name = "customresourcedefinition/localizations.delivery.ocm.software";
    let anything = json!([{
        "op": "replace",
        "path": "/spec/versions/0/schema/openAPIV3Schema",
        "value": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }]);
    let patch = format!("--patch={anything}");
    scene
        .cluster
        .kubectl(&["patch", name, "--type=json", &patch])
        .await;
    let bad = json!({
        "apiVersion": "delivery.ocm.software/v1alpha1",
        "kind": "Localization",
        "metadata": {"name": "bad", "labels": {KEY: "none"}},
        "spec": {"interval": 5, "sourceRef": {"kind": "Resource", "name": "podinfo"}},
    });
    // The API server takes a moment to know the new schema.
    eventually("it is stored", TIMEOUT, async || {
        let object = serde_json::from_value(bad.clone()).expect("an object");
        let (api, parameters) = (site.api("Localization"), PostParams::default());
        let created = api.create(&parameters, &object);
        created.await.map(|_| ()).map_err(|error| error.to_string())
    })
    .await;
    scene.cluster.apply_crds(&in_repository("crds")).await;

    let said = site.fails("Localization", "bad", "InvalidSpec").await;
    assert!(said.contains("spec.interval: 5 is not of type"), "{said}");
    site.apply(&site.chain("", &json!({KEY: "none"}))).await;
    chain_is_ready(&site, "").await;
    // Once it is mended, it is looked at as any other.
    site.patch("Localization", "bad", json!({"spec": {"interval": "5m"}}))
        .await;
    site.fails("Localization", "bad", "SourceRefNotReadyWithError")
        .await;

    release.controller.stop().await;
    let log = std::fs::read_to_string(release.controller.log()).expect("it has a log");
    let lines = log
        .lines()
        .filter(|line| line.contains("cannot be decoded"));
    assert_eq!(lines.count(), 1, "it is logged once");
    let writes = release
        .asked(scene)
        .into_iter()
        .filter(|event| event.is_write() && event.subresource == "status" && event.name == "bad");
    assert_eq!(
        writes.count(),
        2,
        "once that it cannot be read, once what it waits for"
    );
}
