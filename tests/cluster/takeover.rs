//! Objects as the Go ocm-controller left them are met and kept.

use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::scene::exclusive_scene;
use crate::site::{PRIVATE, Site};
use crate::support::wait;

/// Names as it gave them: the object's, and seven letters by chance.
const RESOURCE: &str = "podinfo-deployment-qv7h2xk";
const LOCALIZATION: &str = "podinfo-deployment-zd04mwp";

const FINALIZER: &str = "finalizers.snapshot.ocm.software";

/// What it names itself when it writes.
const MANAGER: &str = "manager";

async fn create(site: &Site<'_>, owner: &DynamicObject, kind: &str, name: &str, rest: Value) {
    let types = owner.types.clone().expect("it has a kind");
    let mut object = json!({
        "metadata": {
            "name": name,
            "ownerReferences": [{
                "apiVersion": types.api_version,
                "kind": types.kind,
                "name": owner.name_any(),
                "uid": owner.metadata.uid,
            }],
        },
        "spec": rest["spec"],
    });
    if let Some(finalizers) = rest.get("finalizers") {
        object["metadata"]["finalizers"] = finalizers.clone();
    }
    let api = site.api(kind);
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    let parameters = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let created = api.create(&parameters, &with_kind(object, kind)).await;
    created.unwrap_or_else(|error| panic!("failed to create {kind} {name}: {error}"));
}

fn with_kind(mut object: DynamicObject, kind: &str) -> DynamicObject {
    let api_version = match kind {
        "OCIRepository" => "source.toolkit.fluxcd.io/v1",
        "Kustomization" => "kustomize.toolkit.fluxcd.io/v1",
        _ => "delivery.ocm.software/v1alpha1",
    };
    object.types = Some(kube::api::TypeMeta {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    });
    object
}

async fn snapshot(site: &Site<'_>, kind: &str, name: &str) {
    let owner = with_kind(site.get(kind, "podinfo-deployment").await, kind);
    let rest = json!({
        "finalizers": [FINALIZER],
        "spec": {
            "identity": {"component-name": "phoban.io-podinfo-6.2.3-old", "resource-name": "old"},
            "digest": format!("sha256:{}", "1".repeat(64)),
            "tag": "6.2.3",
        },
    });
    create(site, &owner, "Snapshot", name, rest).await;
    let status = json!({"status": {"snapshotName": name, "observedGeneration": 1}});
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api = site.api(kind);
    let patch = Patch::Merge(status);
    api.patch_status("podinfo-deployment", &parameters, &patch)
        .await
        .expect("a status can be patched");
}

/// What the original had in the cluster when it was taken out of service.
async fn original(site: &Site<'_>) {
    site.apply(&site.guide(PRIVATE)).await;
    snapshot(site, "Resource", RESOURCE).await;
    snapshot(site, "Localization", LOCALIZATION).await;
    let deployer = with_kind(site.get("FluxDeployer", "podinfo").await, "FluxDeployer");
    let repository = json!({"spec": {
        "interval": "1m0s",
        "url": "oci://registry.ocm-system.svc.cluster.local:5000/sha-4711",
        "ref": {"tag": "6.2.3"},
        "certSecretRef": {"name": "ocm-registry-tls-certs"},
    }});
    create(site, &deployer, "OCIRepository", "podinfo", repository).await;
    let kustomization = json!({"spec": {
        "interval": "1m0s",
        "path": "./",
        "prune": true,
        "retryInterval": "7s",
        "targetNamespace": site.target,
        "sourceRef": {"kind": "OCIRepository", "name": "podinfo", "namespace": site.namespace},
    }});
    create(site, &deployer, "Kustomization", "podinfo", kustomization).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn objects_of_the_original_are_taken_over() {
    let scene = exclusive_scene().await;
    scene.controller.lock().await.kill();
    let site = Site::new(&scene, "takeover").await;
    original(&site).await;
    let before = site.get("OCIRepository", "podinfo").await;

    scene.controller.lock().await.start_again().await;
    site.settled().await;

    for (kind, name) in [("Resource", RESOURCE), ("Localization", LOCALIZATION)] {
        let owner = site.get(kind, "podinfo-deployment").await;
        assert_eq!(owner.data["status"]["snapshotName"], name);
        let found = site.ready("Snapshot", name).await;
        assert!(found.finalizers().is_empty(), "{:?}", found.finalizers());
        let digest = &owner.data["status"]["latestSnapshotDigest"];
        assert_eq!(found.data["spec"]["digest"], *digest, "{kind}");
        // Nothing of the old identity is mixed into the new one.
        assert_ne!(found.data["spec"]["identity"]["resource-name"], "old");
    }
    assert_eq!(site.list("Snapshot").await.len(), 2);
    let after = site.get("OCIRepository", "podinfo").await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    let spec = &after.data["spec"];
    assert_ne!(spec["certSecretRef"]["name"], "ocm-registry-tls-certs");
    let manifest = &site.get("Snapshot", LOCALIZATION).await.data["status"]["manifestDigest"];
    assert_eq!(spec["ref"]["digest"], *manifest);
    assert_eq!(after.owner_references()[0].controller, Some(true));
    let kustomization = site.get("Kustomization", "podinfo").await;
    assert_eq!(kustomization.data["spec"]["retryInterval"], Value::Null);

    for (kind, name) in [
        ("FluxDeployer", "podinfo"),
        ("Localization", "podinfo-deployment"),
        ("Resource", "podinfo-deployment"),
        ("ComponentVersion", "podinfo"),
    ] {
        site.delete(kind, name).await;
    }
    wait::until_gone(&site.api("OCIRepository"), "podinfo").await;
    wait::until_gone(&site.api("Snapshot"), RESOURCE).await;
    wait::until_gone(&site.api("Snapshot"), LOCALIZATION).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn snapshot_that_waits_for_the_originals_finalizer_goes() {
    let scene = exclusive_scene().await;
    scene.controller.lock().await.kill();
    let site = Site::new(&scene, "finalizer").await;
    original(&site).await;
    let suspended = json!({"spec": {"suspend": true}});
    site.patch("Snapshot", LOCALIZATION, suspended).await;
    for kind in ["Resource", "Localization"] {
        site.delete(kind, "podinfo-deployment").await;
    }
    site.delete("Snapshot", RESOURCE).await;
    site.until("Snapshot", RESOURCE, "on its way out", |found| {
        found.metadata.deletion_timestamp.is_some()
    })
    .await;

    scene.controller.lock().await.start_again().await;
    wait::until_gone(&site.api("Snapshot"), RESOURCE).await;
    wait::until_gone(&site.api("Snapshot"), LOCALIZATION).await;
}
