//! The rights that `config/rbac` grants are those that are used: none is missing, none too many.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::scene::{Scene, TIMEOUT};
use crate::site::{OF_FLUX, PRIVATE, Site};
use crate::support::cluster::Flux;
use crate::support::cluster::audit::AuditEvent;
use crate::support::in_repository;
use crate::support::wait::{self, eventually};

/// The Secret by which a namespace knows the registry.
const AUTHORITY: &str = "ocm-registry-ca";

/// A verb on a resource of a group, as `delivery.ocm.software/resources/status patch`.
type Rights = BTreeSet<String>;

const CONFIGURED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data: {values.yaml: 'replicas: 2'}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: Configuration
metadata: {name: configured}
spec:
  interval: 1m0s
  sourceRef: {kind: Localization, name: podinfo-deployment}
  configRef: {kind: ComponentVersion, name: podinfo, resourceRef: {name: config}}
  valuesFrom: {configMapSource: {sourceRef: {name: site}, key: values.yaml}}
";

/// Written by somebody who is not the FluxDeployer that will want the name.
const IN_THE_WAY: &str = "
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: podinfo}
spec: {interval: 1h, url: oci://registry.example.org/theirs, suspend: true}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: podinfo}
spec: {interval: 1h, prune: false, suspend: true, sourceRef: {kind: OCIRepository, name: podinfo}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: podinfo}
spec: {interval: 1h, suspend: true, chartRef: {kind: OCIRepository, name: podinfo}}
";

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn every_right_that_is_granted_is_used_and_none_is_missing() {
    let arguments = [
        "--leader-elect",
        "--runtime-namespace=ocm-system",
        "--registry-certificate-lifetime=30s",
    ];
    let scene = Scene::start_with(Flux::KustomizeAndHelm, &arguments).await;
    scene.load_private("phoban01-air-gapped").await;

    use_all(&scene).await;

    // Watches are logged when they end.
    scene.controller.lock().await.stop().await;
    let granted = granted();
    eventually("all rights were used", TIMEOUT, async || {
        let used: Rights = asked(&scene).iter().flat_map(rights).collect();
        let unused: Vec<&String> = granted.difference(&used).collect();
        if unused.is_empty() {
            Ok(())
        } else {
            Err(format!("never used: {unused:#?}"))
        }
    })
    .await;
    let refused: Vec<AuditEvent> = asked(&scene)
        .into_iter()
        .filter(|event| event.code == 403)
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Makes the controller do all that it can do.
async fn use_all(scene: &Scene) {
    let site = Site::complete(scene, "rights").await;
    let authority = site.get("Secret", AUTHORITY).await;
    take_over(&site).await;
    site.apply(CONFIGURED).await;
    site.ready("Configuration", "configured").await;

    // What is taken away again has to be there first.
    for (template, kind) in [
        ("helmReleaseTemplate", "HelmRelease"),
        ("kustomizationTemplate", "Kustomization"),
    ] {
        switch(&site, template).await;
        site.until(kind, "podinfo", "written", |_| true).await;
    }
    for template in ["helmReleaseTemplate", "kustomizationTemplate"] {
        switch(&site, "").await;
        for kind in OF_FLUX {
            wait::until_gone(&site.api(kind), "podinfo").await;
        }
        site.apply(IN_THE_WAY).await;
        switch(&site, template).await;
        site.fails("FluxDeployer", "podinfo", "Conflict").await;
        for kind in OF_FLUX {
            site.delete(kind, "podinfo").await;
        }
    }
    site.ready("FluxDeployer", "podinfo").await;

    // What is drifted is written again.
    let drift = json!({"spec": {"interval": "9h"}});
    for kind in ["OCIRepository", "Kustomization"] {
        site.patch(kind, "podinfo", drift.clone()).await;
        let repaired = |object: &DynamicObject| object.data["spec"]["interval"] != "9h";
        site.until(kind, "podinfo", "repaired", repaired).await;
    }
    let chart = Site::new(scene, "rights-chart").await;
    chart.apply(&chart.guide(PRIVATE)).await;
    switch(&chart, "helmReleaseTemplate").await;
    chart
        .until("HelmRelease", "podinfo", "written", |_| true)
        .await;
    chart.patch("HelmRelease", "podinfo", drift).await;
    let repaired = |object: &DynamicObject| object.data["spec"]["interval"] != "9h";
    chart
        .until("HelmRelease", "podinfo", "repaired", repaired)
        .await;
    certificate_changed(&site, &authority).await;
}

/// Waits until the registry has another certificate, and the namespace was told of it.
async fn certificate_changed(site: &Site<'_>, before: &DynamicObject) {
    let changed = |object: &DynamicObject| object.data["data"] != before.data["data"];
    site.until("Secret", AUTHORITY, "changed", changed).await;
}

/// Makes the controller meet objects that the Go controller wrote last.
async fn take_over(site: &Site<'_>) {
    let parameters = PatchParams {
        field_manager: Some("manager".to_owned()),
        ..PatchParams::default()
    };
    for (kind, field) in [("Snapshot", "tag"), ("ComponentDescriptor", "version")] {
        let name = site.list(kind).await[0].name_any();
        let drift = Patch::Merge(json!({"spec": {field: "drifted"}}));
        let patched = site.api(kind).patch(&name, &parameters, &drift).await;
        patched.unwrap_or_else(|error| panic!("failed to patch {kind} {name}: {error}"));
        site.run("ComponentVersion", "podinfo", &format!("for {kind}"))
            .await;
        for kind in ["Resource", "Localization"] {
            site.run(kind, "podinfo-deployment", &format!("for {name}"))
                .await;
        }
        let repaired = |object: &DynamicObject| object.data["spec"][field] != "drifted";
        site.until(kind, &name, "repaired", repaired).await;
    }
}

/// Leaves the FluxDeployer with this template alone, or with none.
async fn switch(site: &Site<'_>, template: &str) {
    let mut spec = json!({"kustomizationTemplate": null, "helmReleaseTemplate": null});
    match template {
        "helmReleaseTemplate" => spec[template] = json!({"interval": "1m0s"}),
        "kustomizationTemplate" => {
            spec[template] =
                json!({"interval": "1m0s", "path": "./", "targetNamespace": site.target});
        }
        _ => {}
    }
    site.patch("FluxDeployer", "podinfo", json!({"spec": spec}))
        .await;
}

/// What the controller asked for.
fn asked(scene: &Scene) -> Vec<AuditEvent> {
    let log = scene.cluster.audit_log().into_iter();
    log.filter(|event| event.user == "system:serviceaccount:ocm-system:ocm-controller")
        .collect()
}

/// What a request takes. An apply that makes an object takes the right to create as well.
fn rights(event: &AuditEvent) -> Vec<String> {
    let subresource = if event.subresource.is_empty() {
        String::new()
    } else {
        format!("/{}", event.subresource)
    };
    let resource = format!("{}/{}{subresource}", event.group, event.resource);
    let mut rights = vec![format!("{resource} {}", event.verb)];
    if event.verb == "patch" && event.code == 201 {
        rights.push(format!("{resource} create"));
    }
    rights
}

/// What the roles of `config/rbac` grant.
fn granted() -> Rights {
    let mut granted = Rights::new();
    let folder = std::fs::read_dir(in_repository("config/rbac")).expect("it is in the repository");
    for file in folder {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a text");
        for document in serde_yaml::Deserializer::from_str(&text) {
            let role = Value::deserialize(document).expect("valid YAML");
            for rule in list(&role["rules"]) {
                for group in list(&rule["apiGroups"]) {
                    for resource in list(&rule["resources"]) {
                        for verb in list(&rule["verbs"]) {
                            granted.insert(format!(
                                "{}/{} {}",
                                word(group),
                                word(resource),
                                word(verb)
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(granted.iter().all(|right| !right.contains('*')));
    assert!(!granted.is_empty());
    granted
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a text")
}
