//! Signatures: what verifies is deployed as it was signed, and nothing else is.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::scene::{PASSWORD, Scene, TIMEOUT};
use crate::support::cluster::Flux;
use crate::support::fixture;
use crate::support::registry::Registry;
use crate::support::wait::{self, eventually};

const IMAGE: &str = "sha256:d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";
const NEWER: &str = "6.4.0";

/// A scene whose private registry holds the signed components and the images they name.
async fn signed_scene() -> Scene {
    let scene = Scene::start_with(Flux::Kustomize, &[]).await;
    for name in ["podinfo-signed", "product-signed"] {
        let archive = fixture("ctf").join(name);
        scene.private.load(&archive, |_| true).await;
    }
    let images = fixture("registry").join("phoban01-public");
    scene
        .private
        .load(&images, |found| found.repository == "stefanprodan/podinfo")
        .await;
    let echo = fixture("registry").join("example-air-gapped");
    load_echo(&scene.private, &echo).await;
    scene.give_password("ocm-system", "ghcr", PASSWORD).await;
    let account = "{apiVersion: v1, kind: ServiceAccount, imagePullSecrets: [{name: ghcr}], \
                   metadata: {name: reader, namespace: ocm-system}}";
    scene.cluster.apply(account).await;
    scene
}

/// The images of echo as they were before their transfer.
pub(crate) async fn load_echo(registry: &Registry, archive: &Path) {
    let moved = tempfile::tempdir().expect("a temporary folder");
    let text = std::fs::read_to_string(archive.join("artifact-index.json")).expect("an archive");
    let text = text.replace("example/air-gapped/echo", "example/echo");
    std::fs::write(moved.path().join("artifact-index.json"), text).expect("it is writable");
    std::os::unix::fs::symlink(archive.join("blobs"), moved.path().join("blobs"))
        .expect("it is writable");
    registry
        .load(moved.path(), |found| found.repository == "example/echo")
        .await;
}

fn key(name: &str) -> String {
    let text = std::fs::read(fixture("keys").join(format!("{name}.pub"))).expect("a key");
    STANDARD.encode(text)
}

/// A ComponentVersion of the signed repository that asks for one signature.
async fn component(scene: &Scene, name: &str, component: &str, semver: &str, verify: &Value) {
    let object = json!({
        "apiVersion": "delivery.ocm.software/v1alpha1",
        "kind": "ComponentVersion",
        "metadata": {"name": name, "namespace": "ocm-system"},
        "spec": {
            "interval": "10m",
            "component": component,
            "version": {"semver": semver},
            "repository": {"url": "ghcr.io"},
            "serviceAccountName": "reader",
            "verify": verify,
        },
    });
    scene.cluster.apply(&object.to_string()).await;
}

fn by(signature: &str, signer: &str) -> Value {
    json!([{"name": signature, "publicKey": {"value": key(signer)}}])
}

async fn notes(scene: &Scene, name: &str) -> Vec<String> {
    let api = scene
        .cluster
        .api("events.k8s.io/v1", "Event", "ocm-system")
        .await;
    let events = api.list(&ListParams::default()).await.expect("events");
    let about = |event: &&DynamicObject| event.data["regarding"]["name"] == name;
    let note = |event: &DynamicObject| event.data["note"].as_str().unwrap_or_default().to_owned();
    events.iter().filter(about).map(note).collect()
}

/// Has the object reconciled now, and waits until it was.
async fn again(scene: &Scene, name: &str, mark: &str) {
    let api = scene.api("ComponentVersion", "ocm-system").await;
    let patch = json!({"metadata": {"annotations": {"reconcile.fluxcd.io/requestedAt": mark}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("it is there");
    let answered = mark.to_owned();
    let is_answered = move |object: Option<&DynamicObject>| {
        object.is_some_and(|found| found.data["status"]["lastHandledReconcileAt"] == answered)
    };
    wait::until(&api, name, "reconciled again", is_answered).await;
}

const CHAIN: &str = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Resource
metadata: {name: deployment, namespace: ocm-system}
spec:
  interval: 10m
  sourceRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: deployment}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {name: localized, namespace: ocm-system}
spec:
  interval: 10m
  sourceRef: {kind: Resource, name: deployment}
  configRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: config}}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: podinfo, namespace: ocm-system}
spec:
  sourceRef: {kind: Localization, name: localized}
  kustomizationTemplate: {interval: 1m, path: ./, prune: true, targetNamespace: default}
";

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn newest_version_that_verifies_is_deployed_with_the_digest_that_was_signed() {
    let mut scene = signed_scene().await;
    // The newest version carries a signature of another name, the oldest none.
    component(
        &scene,
        "podinfo",
        "phoban.io/podinfo",
        ">=6.2.3",
        &by("alice", "alice"),
    )
    .await;
    scene.cluster.apply(CHAIN).await;

    let found = scene
        .ready("ComponentVersion", "ocm-system", "podinfo")
        .await;
    let status = &found.data["status"];
    assert_eq!(status["reconciledVersion"], "6.3.5");
    assert_eq!(status["verified"], true);
    let image = format!("ghcr.io/stefanprodan/podinfo:6.3.5@{IMAGE}");
    scene.deployed("default", "podinfo", &image).await;
    eventually("events tell of it", TIMEOUT, async || {
        let notes = notes(&scene, "podinfo").await;
        let tells = |words: &[&str]| {
            let mut notes = notes.iter();
            notes.any(|note| words.iter().all(|word| note.contains(word)))
        };
        let digest = status["digest"].as_str().expect("a digest");
        if tells(&["version 6.4.0 is not used", "no signature \"alice\""])
            && tells(&[
                "verified phoban.io/podinfo:6.3.5",
                digest,
                "\"alice\"",
                "key sha256:",
            ])
        {
            return Ok(());
        }
        Err(notes.join("\n"))
    })
    .await;

    // The tag leads elsewhere now: the image that runs stays, and nothing is downloaded again.
    let (media_type, manifest) = scene.private.manifest("stefanprodan/podinfo", NEWER).await;
    scene
        .private
        .put_manifest("stefanprodan/podinfo", "6.3.5", &media_type, manifest)
        .await;
    let told = notes(&scene, "podinfo").await.len();
    let before = scene.private.requests().len();
    again(&scene, "podinfo", "1").await;
    let asked = scene.private.requests().split_off(before);
    assert!(!asked.is_empty());
    let is_download = |path: &str| path.contains("/blobs/") || path.contains("/manifests/");
    for request in &asked {
        assert!(
            request.method == "HEAD" || !is_download(&request.path),
            "{request:?}"
        );
    }
    scene
        .ready("ComponentVersion", "ocm-system", "podinfo")
        .await;
    scene.deployed("default", "podinfo", &image).await;
    assert_eq!(notes(&scene, "podinfo").await.len(), told);

    // A registry that does not answer is no verdict: what was verified stays.
    scene.private.stop().await;
    again(&scene, "podinfo", "2").await;
    scene
        .fails(
            "ComponentVersion",
            "ocm-system",
            "podinfo",
            "CheckVersionFailedReason",
        )
        .await;
    let api = scene.api("ComponentVersion", "ocm-system").await;
    let kept = api.get("podinfo").await.expect("it is there");
    assert_eq!(kept.data["status"]["verified"], true);
    assert_eq!(kept.data["status"]["digest"], status["digest"]);
    scene.deployed("default", "podinfo", &image).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn what_does_not_verify_is_never_used() {
    let scene = signed_scene().await;
    let podinfo = "phoban.io/podinfo";
    let no_key = json!([{"name": "alice", "publicKey": {}}]);
    let in_secret =
        |name: &str| json!([{"name": "alice", "publicKey": {"secretRef": {"name": name}}}]);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "keys", "namespace": "ocm-system"},
        "data": {"alice": key("alice"), "bob": key("mallory")},
    });
    scene.cluster.apply(&secret.to_string()).await;
    for (name, semver, verify, expected) in [
        (
            "mallory",
            "6.3.5",
            by("alice", "mallory"),
            "does not verify with the key given",
        ),
        ("unsigned", "6.2.3", by("alice", "alice"), "it has none"),
        (
            "no-key",
            "6.3.5",
            no_key,
            "kubernetes secret reference not provided",
        ),
        ("no-secret", "6.3.5", in_secret("nowhere"), "does not exist"),
        (
            "both",
            "6.3.5",
            json!([by("alice", "alice")[0], by("bob", "mallory")[0]]),
            "no signature \"bob\"",
        ),
    ] {
        component(&scene, name, podinfo, semver, &verify).await;
        let message = scene
            .fails(
                "ComponentVersion",
                "ocm-system",
                name,
                "ComponentVerificationFailed",
            )
            .await;
        assert!(message.contains(expected), "{name}: {message}");
    }
    let descriptors = scene.api("ComponentDescriptor", "ocm-system").await;
    let written = descriptors
        .list(&ListParams::default())
        .await
        .expect("a list");
    assert!(written.items.is_empty(), "{:?}", written.items);

    component(&scene, "in-secret", podinfo, "6.3.5", &in_secret("keys")).await;
    scene
        .ready("ComponentVersion", "ocm-system", "in-secret")
        .await;
    component(
        &scene,
        "product",
        "example.org/product",
        "2.0.0",
        &by("alice", "alice"),
    )
    .await;
    let found = scene
        .ready("ComponentVersion", "ocm-system", "product")
        .await;
    assert_eq!(found.data["status"]["verified"], true);
    let below = &found.data["status"]["componentDescriptor"]["references"];
    assert_eq!(below.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn what_no_longer_is_what_was_signed_is_not_used_either() {
    let scene = signed_scene().await;
    let podinfo = "phoban.io/podinfo";
    // What was taken before signatures were asked for is not used any more.
    component(&scene, "later", podinfo, "6.2.3", &json!([])).await;
    scene.ready("ComponentVersion", "ocm-system", "later").await;
    component(&scene, "later", podinfo, "6.2.3", &by("alice", "alice")).await;
    let failed = "ComponentVerificationFailed";
    scene
        .fails("ComponentVersion", "ocm-system", "later", failed)
        .await;
    let resource = CHAIN.split("---").next().expect("the Resource");
    scene
        .cluster
        .apply(&resource.replace("name: podinfo", "name: later"))
        .await;
    let reason = "ComponentVersionNotReady";
    let message = scene
        .fails("Resource", "ocm-system", "deployment", reason)
        .await;
    assert!(
        message.contains("no version yet that can be used"),
        "{message}"
    );

    component(&scene, "back", podinfo, ">=6.3.5", &json!([])).await;
    let found = scene.ready("ComponentVersion", "ocm-system", "back").await;
    assert_eq!(found.data["status"]["reconciledVersion"], NEWER);
    component(&scene, "back", podinfo, ">=6.3.5", &by("alice", "alice")).await;
    let found = scene.ready("ComponentVersion", "ocm-system", "back").await;
    assert_eq!(found.data["status"]["reconciledVersion"], "6.3.5");
    assert_eq!(found.data["status"]["verified"], true);

    // Nor what another one signed than is trusted now.
    let of_back = resource.replace("name: podinfo", "name: back");
    scene.cluster.apply(&of_back).await;
    scene.ready("Resource", "ocm-system", "deployment").await;
    component(&scene, "back", podinfo, ">=6.3.5", &by("alice", "mallory")).await;
    let found = scene
        .fails("ComponentVersion", "ocm-system", "back", failed)
        .await;
    assert!(found.contains("none of its versions"), "{found}");
    let versions = scene.api("ComponentVersion", "ocm-system").await;
    let found = versions.get("back").await.expect("it is there");
    assert_eq!(found.data["status"]["verified"], false);
    scene
        .cluster
        .apply(&of_back.replace("interval: 10m", "interval: 9m"))
        .await;
    scene
        .fails("Resource", "ocm-system", "deployment", reason)
        .await;

    // B55: the image's reference leads to another image than was signed.
    let (media_type, manifest) = scene
        .private
        .manifest("stefanprodan/podinfo", "6.3.5")
        .await;
    scene
        .private
        .put_manifest("stefanprodan/podinfo", NEWER, &media_type, manifest)
        .await;
    component(&scene, "moved", podinfo, NEWER, &by("alice-v3", "alice")).await;
    let message = scene
        .fails(
            "ComponentVersion",
            "ocm-system",
            "moved",
            "ComponentVerificationFailed",
        )
        .await;
    assert!(message.contains("is not what was signed"), "{message}");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b55_localization_without_rules_writes_the_digest_that_was_signed() {
    let scene = signed_scene().await;
    let key = by("alice", "alice");
    component(&scene, "podinfo", "phoban.io/podinfo", "6.3.5", &key).await;
    let documents: Vec<&str> = CHAIN.split("---").collect();
    let [resource, .., deployer] = documents.as_slice() else {
        panic!("the chain begins with a Resource and ends with a FluxDeployer");
    };
    let localization = "
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {name: localized, namespace: ocm-system}
spec:
  interval: 10m
  sourceRef: {kind: Resource, name: deployment}
";
    for manifest in [resource, localization, deployer] {
        scene.cluster.apply(manifest).await;
    }

    let image = format!("ghcr.io/stefanprodan/podinfo:6.3.5@{IMAGE}");
    scene.deployed("default", "podinfo", &image).await;
}
