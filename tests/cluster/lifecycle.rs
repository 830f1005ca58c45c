//! Objects come, change, wait and go; programs crash and start again.

use std::time::Duration;

use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::{Value, json};

use crate::component::Component;
use crate::scene::{ready_condition, shared_scene};
use crate::site::{OF_FLUX, PRIVATE, Site};
use crate::support::fixture;
use crate::support::wait::{self, eventually};

/// The guide's objects of this group.
const GUIDE: [(&str, &str); 4] = [
    ("ComponentVersion", "podinfo"),
    ("Resource", "podinfo-deployment"),
    ("Localization", "podinfo-deployment"),
    ("FluxDeployer", "podinfo"),
];

/// How long a deletion may take: Flux and the garbage collector have their part in it.
const DELETION: Duration = Duration::from_mins(1);

async fn nothing_left(site: &Site<'_>) {
    eventually("no object is left", DELETION, async || {
        let left = site.left().await;
        if left.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })
    .await;
}

fn snapshot_name(object: &DynamicObject) -> String {
    let name = object.data["status"]["snapshotName"].as_str();
    name.expect("it has a snapshot").to_owned()
}

fn owner_uids(object: &DynamicObject) -> Vec<String> {
    let owners = object.owner_references().iter();
    owners.map(|owner| owner.uid.clone()).collect()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn deletion_in_any_order_leaves_nothing() {
    let scene = shared_scene().await;
    let orders = [
        ([0, 1, 2, 3], DeleteParams::default()),
        ([3, 2, 1, 0], DeleteParams::default()),
        ([2, 0, 3, 1], DeleteParams::foreground()),
    ];
    let deletions = orders.map(async |(order, parameters)| {
        let site = Site::complete(scene, "delete").await;
        for at in order {
            let (kind, name) = GUIDE[at];
            let api = site.api(kind);
            api.delete(name, &parameters).await.unwrap();
            wait::until_gone(&api, name).await;
        }
        nothing_left(&site).await;
        // The guide's template has `prune`, which is Flux's to do.
        let deployments = scene.cluster.api("apps/v1", "Deployment", &site.target);
        wait::until_gone(&deployments.await, "podinfo").await;
    });
    futures::future::join_all(deletions).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f44_namespace_goes_with_the_registry_down() {
    let scene = shared_scene().await;
    let mut registry = scene.fragile.lock().await;
    registry
        .load(&fixture("registry/phoban01-public"), |_| true)
        .await;
    let site = Site::without_secret(scene, "gone").await;
    let guide = site
        .guide("fragile.example.org/phoban01")
        .replace("  serviceAccountName: air-gapped-ops\n", "");
    site.apply(&guide).await;
    site.deployed("ghcr.io/stefanprodan/podinfo:6.4.0").await;

    registry.stop().await;
    site.request("ComponentVersion", "podinfo", "while-down")
        .await;
    site.delete_namespace().await;

    site.namespace_gone(DELETION).await;
    assert_eq!(site.left().await, Vec::<String>::new());
    registry.start_again().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn requested_run_is_answered_by_every_kind() {
    let site = Site::complete(shared_scene().await, "requested").await;
    let snapshot = snapshot_name(&site.get("Localization", "podinfo-deployment").await);
    let all = GUIDE.into_iter().chain([("Snapshot", snapshot.as_str())]);
    for (kind, name) in all {
        let before = site.get(kind, name).await;
        let after = site.run(kind, name, "2026-11-23T10:00:00Z").await;
        assert!(wait::is_ready(Some(&after)), "{kind}");
        assert_eq!(ready_condition(&after), ready_condition(&before), "{kind}");
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn suspended_object_is_left_alone_until_it_goes_on() {
    let site = Site::complete(shared_scene().await, "suspend").await;
    for (kind, name) in GUIDE {
        site.patch(kind, name, json!({"spec": {"suspend": true}}))
            .await;
        site.request(kind, name, "suspended").await;
    }
    let older = json!({"spec": {"version": {"semver": "6.2.3"}}});
    site.patch("ComponentVersion", "podinfo", older).await;
    site.delete("Kustomization", "podinfo").await;
    // By the time that another chain is through, this one would have been as well.
    Site::complete(site.scene, "suspend-probe").await;
    for (kind, name) in GUIDE {
        let found = site.get(kind, name).await;
        let answered = &found.data["status"]["lastHandledReconcileAt"];
        assert_eq!(*answered, Value::Null, "{kind}");
    }
    let found = site.get("ComponentVersion", "podinfo").await;
    assert_eq!(found.data["status"]["reconciledVersion"], "6.3.5");
    let kustomizations = site.api("Kustomization");
    wait::until_gone(&kustomizations, "podinfo").await;

    for (kind, name) in GUIDE {
        site.patch(kind, name, json!({"spec": {"suspend": null}}))
            .await;
    }
    site.deployed("ghcr.io/phoban01/air-gapped/stefanprodan/podinfo:6.2.3")
        .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn drift_is_put_back_at_once() {
    let site = Site::complete(shared_scene().await, "drift").await;
    let repository = site.get("OCIRepository", "podinfo").await;

    let edit = json!({"spec": {"ref": {"digest": format!("sha256:{}", "0".repeat(64))}}});
    site.patch("OCIRepository", "podinfo", edit).await;
    site.until("OCIRepository", "podinfo", "put back", |found| {
        found.data["spec"]["ref"] == repository.data["spec"]["ref"]
    })
    .await;
    let edit = json!({"spec": {"path": "./elsewhere", "targetNamespace": "default"}});
    site.patch("Kustomization", "podinfo", edit).await;
    site.until("Kustomization", "podinfo", "put back", |found| {
        found.data["spec"]["path"] == "./"
            && found.data["spec"]["targetNamespace"] == site.target.as_str()
    })
    .await;

    let resource = snapshot_name(&site.get("Resource", "podinfo-deployment").await);
    let localization = snapshot_name(&site.get("Localization", "podinfo-deployment").await);
    let descriptor = &site.list("ComponentDescriptor").await[0];
    for (kind, name) in [
        ("OCIRepository", "podinfo"),
        ("Kustomization", "podinfo"),
        ("Snapshot", &resource),
        ("Snapshot", &localization),
        ("ComponentDescriptor", &descriptor.name_any()),
    ] {
        let before = site.get(kind, name).await;
        site.delete(kind, name).await;
        let after = site
            .until(kind, name, "there again", |found| {
                found.metadata.uid != before.metadata.uid
            })
            .await;
        assert_eq!(after.data["spec"], before.data["spec"], "{kind} {name}");
        assert_eq!(after.owner_references(), before.owner_references());
    }
    site.ready("Snapshot", &localization).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b63_object_of_a_template_that_is_gone_goes_as_well() {
    let site = Site::complete(shared_scene().await, "template").await;
    let chart = json!({"spec": {
        "kustomizationTemplate": null,
        "helmReleaseTemplate": {"interval": "1m0s"},
    }});
    site.patch("FluxDeployer", "podinfo", chart).await;
    site.until("HelmRelease", "podinfo", "written", |_| true)
        .await;
    wait::until_gone(&site.api("Kustomization"), "podinfo").await;
    let found = site.ready("FluxDeployer", "podinfo").await;
    let name = format!("{}/podinfo", site.namespace);
    assert_eq!(found.data["status"]["helmRelease"], name);
    assert_eq!(found.data["status"]["kustomization"], Value::Null);

    let none = json!({"spec": {"helmReleaseTemplate": null}});
    site.patch("FluxDeployer", "podinfo", none).await;
    for kind in OF_FLUX {
        wait::until_gone(&site.api(kind), "podinfo").await;
    }

    let back = json!({"spec": {"kustomizationTemplate": {
        "interval": "1m0s",
        "path": "./",
        "prune": true,
        "targetNamespace": site.target,
    }}});
    site.patch("FluxDeployer", "podinfo", back).await;
    site.settled().await;
}

const THEIRS: &str = "
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata:
  name: podinfo
  ownerReferences: [{apiVersion: v1, kind: Secret, name: theirs, uid: UID}]
spec: {interval: 1h, url: oci://registry.example.org/theirs, suspend: true}
";

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b62_object_of_somebody_else_is_a_conflict_and_untouched() {
    let site = Site::new(shared_scene().await, "conflict").await;
    site.apply("{apiVersion: v1, kind: Secret, metadata: {name: theirs}}")
        .await;
    let owner = site.get("Secret", "theirs").await;
    let theirs = THEIRS.replace("UID", &owner.uid().unwrap());
    site.apply(&theirs).await;
    let before = site.get("OCIRepository", "podinfo").await;

    site.apply(&site.guide(PRIVATE)).await;
    let said = site.fails("FluxDeployer", "podinfo", "Conflict").await;
    let name = format!("OCIRepository {}/podinfo", site.namespace);
    for word in [&name, "Secret \"theirs\"", "another name"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    let after = site.get("OCIRepository", "podinfo").await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(after.owner_references(), before.owner_references());
    assert_eq!(after.data["spec"], before.data["spec"]);
    let managers = after.managed_fields().iter();
    let mut managers = managers.filter_map(|entry| entry.manager.as_deref());
    assert!(!managers.any(|manager| manager.starts_with("ocm-controller")));
    assert!(site.list("Kustomization").await.is_empty());

    site.delete("OCIRepository", "podinfo").await;
    site.settled().await;
}

const SECOND: &str = "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {name: site}
spec:
  interval: 10m
  component: example.org/site
  version: {semver: 1.x}
  repository: {url: public.example.org/chain}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Localization
metadata: {name: second}
spec:
  interval: 10m
  sourceRef: {kind: Localization, name: podinfo-deployment}
  configRef: {kind: ComponentVersion, name: site, resourceRef: {name: config}}
";

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn localization_of_a_localization_has_the_changes_of_both() {
    let scene = shared_scene().await;
    let rule = "\
- name: color
  file: deployment.yaml
  registry: spec.template.spec.containers[0].env[0].value
  resource: {name: image}";
    Component::podinfo(
        "example.org/site",
        "1.0.0",
        "registry.example.org/site:1",
        rule,
    )
    .push(&scene.public, "chain")
    .await;
    let site = Site::new(scene, "chain").await;
    site.apply(SECOND).await;
    let guide = site.guide(PRIVATE);
    let deployer = "kind: Localization\n    name: podinfo-deployment\n  kustomizationTemplate";
    assert!(guide.contains(deployer));
    site.apply(&guide.replace(deployer, &deployer.replace("podinfo-deployment", "second")))
        .await;

    site.settled().await;
    let deployments = scene.cluster.api("apps/v1", "Deployment", &site.target);
    let found = deployments.await.get("podinfo").await.unwrap();
    let container = &found.data["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"][0]["value"], "registry.example.org");
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f42_objects_deleted_in_the_middle_of_their_work_leave_nothing() {
    let scene = shared_scene().await;
    let attempts = [0, 20, 60, 120, 250, 500].map(async |pause| {
        let site = Site::new(scene, "middle").await;
        site.apply(&site.guide(PRIVATE)).await;
        // Not a wait for something: any moment is as good as another.
        tokio::time::sleep(Duration::from_millis(pause)).await;
        for (kind, name) in GUIDE {
            site.delete(kind, name).await;
        }
        site
    });
    let sites = futures::future::join_all(attempts).await;
    // By the time that another chain is through, all of them are over and done with.
    Site::complete(scene, "middle-probe").await;
    for site in &sites {
        nothing_left(site).await;
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f43_object_made_again_under_the_same_name_gets_a_result_of_its_own() {
    let site = Site::complete(shared_scene().await, "again").await;
    for (kind, name, document) in [
        ("Resource", "podinfo-deployment", "kind: Resource"),
        ("Localization", "podinfo-deployment", "kind: Localization"),
        ("FluxDeployer", "podinfo", "kind: FluxDeployer"),
        ("ComponentVersion", "podinfo", "kind: ComponentVersion"),
    ] {
        let before = site.get(kind, name).await;
        let guide = site.guide(PRIVATE);
        let manifest = guide
            .split("\n---\n")
            .find(|text| text.contains(&format!("\n{document}\n")));
        site.delete(kind, name).await;
        site.apply(manifest.expect("the guide has one of each"))
            .await;

        let after = site.ready(kind, name).await;
        assert_ne!(after.metadata.uid, before.metadata.uid, "{kind}");
        let uid = after.uid().unwrap();
        let child = match kind {
            "ComponentVersion" => {
                let descriptor = &after.data["status"]["componentDescriptor"];
                let name = &descriptor["componentDescriptorRef"]["name"];
                ("ComponentDescriptor", name.as_str().unwrap().to_owned())
            }
            "FluxDeployer" => ("OCIRepository", "podinfo".to_owned()),
            _ => ("Snapshot", snapshot_name(&after)),
        };
        site.until(child.0, &child.1, "owned by the new one", |found| {
            owner_uids(found) == [uid.clone()]
        })
        .await;
    }
    site.settled().await;
    // What belonged to those of before has gone with them.
    eventually("only the new results are left", DELETION, async || {
        let count = site.list("Snapshot").await.len();
        if count == 2 {
            Ok(())
        } else {
            Err(format!("{count} snapshots"))
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b67_object_with_the_longest_name_has_a_result_that_can_be_pulled() {
    let site = Site::complete(shared_scene().await, "long").await;
    let name = ["long.name"; 26].join("-")[..253].to_owned();
    let guide = site.guide(PRIVATE);
    for kind in ["Resource", "Localization"] {
        let manifest = guide
            .split("\n---\n")
            .find(|text| text.contains(&format!("\nkind: {kind}\n")))
            .expect("the guide has one of each");
        site.apply(&manifest.replace("name: podinfo-deployment", &format!("name: {name}")))
            .await;
    }
    let long = site.ready("Localization", &name).await;
    let snapshot = site.ready("Snapshot", &snapshot_name(&long)).await;
    assert!(snapshot.name_any().starts_with("long.name-long.name"));

    let deployer = json!({"spec": {"sourceRef": {"name": name}}});
    site.patch("FluxDeployer", "podinfo", deployer).await;
    let url = format!("/{}/{}", site.namespace, snapshot.name_any());
    let from_it = |found: &DynamicObject| {
        let named = found.data["spec"]["url"].as_str();
        named.is_some_and(|named| named.ends_with(&url)) && wait::is_ready(Some(found))
    };
    site.until("OCIRepository", "podinfo", "pulled from it", from_it)
        .await;
}
