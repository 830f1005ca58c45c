//! References that lead where they must not: into the namespace of others, or in a circle.

use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::component::{Component, PODINFO};
use crate::scene::shared_scene;
use crate::site::Site;
use crate::support::fixture;

/// Asserts that a message has all these words.
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

/// A Localization or Configuration of the guide's component.
fn mutation(kind: &str, name: &str, source: &str, rest: &str) -> String {
    format!(
        "
apiVersion: delivery.ocm.software/v1alpha1
kind: {kind}
metadata: {{name: {name}}}
spec:
  interval: 5m
  sourceRef: {source}
  configRef: {{kind: ComponentVersion, name: podinfo, resourceRef: {{name: config}}}}
  {rest}
"
    )
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b59_values_and_rules_of_another_namespace_are_refused() {
    let scene = shared_scene().await;
    let theirs = Site::complete(scene, "their-values").await;
    let ours = Site::complete(scene, "our-values").await;
    let source = "{kind: Resource, name: podinfo-deployment}";
    let manifest = mutation(
        "Configuration",
        "configured",
        source,
        "values: {replicas: 2}",
    );
    ours.apply(&manifest).await;
    let before = ours.ready("Configuration", "configured").await;
    let digest = &before.data["status"]["latestSnapshotDigest"];

    let snapshot = theirs.list("Snapshot").await[0].name_any();
    let theirs = &theirs.namespace;
    let values = |source: Value| json!({"values": null, "valuesFrom": source});
    for (patch, back) in [
        (
            values(
                json!({"sourceRef": {"kind": "Snapshot", "name": snapshot, "namespace": theirs}}),
            ),
            json!({"values": {"replicas": 2}, "valuesFrom": null}),
        ),
        (
            values(json!({"fluxSource": {
                "sourceRef": {"kind": "OCIRepository", "name": "podinfo", "namespace": theirs},
                "path": "deployment.yaml",
            }})),
            json!({"values": {"replicas": 2}, "valuesFrom": null}),
        ),
        (
            json!({"sourceRef": {"namespace": theirs}}),
            json!({"sourceRef": {"namespace": null}}),
        ),
        (
            json!({"configRef": {"namespace": theirs}}),
            json!({"configRef": {"namespace": null}}),
        ),
    ] {
        ours.patch("Configuration", "configured", json!({"spec": patch}))
            .await;
        let said = ours
            .fails("Configuration", "configured", "AccessDenied")
            .await;
        assert_says(&said, &[theirs, "--no-cross-namespace-refs"]);
        ours.patch("Configuration", "configured", json!({"spec": back}))
            .await;
        let after = ours.ready("Configuration", "configured").await;
        assert_eq!(&after.data["status"]["latestSnapshotDigest"], digest);
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b65_circle_is_told_without_a_loop_and_heals_once_it_is_broken() {
    let site = Site::complete(shared_scene().await, "circle").await;
    let deployed = site.get("OCIRepository", "podinfo").await.data["spec"]["ref"].clone();
    let source = "{kind: Localization, name: podinfo-deployment}";
    site.apply(&mutation("Localization", "second", source, ""))
        .await;
    site.ready("Localization", "second").await;

    let back = json!({"kind": "Localization", "name": "second"});
    site.patch(
        "Localization",
        "podinfo-deployment",
        json!({"spec": {"sourceRef": back}}),
    )
    .await;
    let name = |name: &str| format!("Localization {}/{name}", site.namespace);
    for (object, other) in [
        ("podinfo-deployment", "second"),
        ("second", "podinfo-deployment"),
    ] {
        let said = site.fails("Localization", object, "InvalidSpec").await;
        let way = [name(object), name(other), name(object)].join(" -> ");
        assert_says(&said, &["reads what it makes itself", &way]);
    }
    // One that reads itself, and one that reads those which stand in a circle.
    for (object, read) in [("itself", "itself"), ("reader", "second")] {
        let source = format!("{{kind: Localization, name: {read}}}");
        site.apply(&mutation("Localization", object, &source, ""))
            .await;
    }
    let said = site.fails("Localization", "itself", "InvalidSpec").await;
    assert_says(&said, &[&[name("itself"), name("itself")].join(" -> ")]);

    // Each run writes no more than that it was made.
    let writes = || {
        let log = site.scene.cluster.audit_log().into_iter();
        let ours = log.filter(|event| {
            event.namespace == site.namespace
                && event.resource == "localizations"
                && event.user.ends_with(":ocm-controller")
                && event.is_write()
        });
        ours.count()
    };
    let before = writes();
    for (object, token) in [("podinfo-deployment", "one"), ("second", "two")] {
        site.run("Localization", object, token).await;
    }
    let written = writes() - before;
    assert!(written <= 4, "{written} writes for two runs");
    let after = site.get("OCIRepository", "podinfo").await;
    assert_eq!(after.data["spec"]["ref"], deployed);

    let source = json!({"kind": "Resource", "name": "podinfo-deployment"});
    site.patch(
        "Localization",
        "podinfo-deployment",
        json!({"spec": {"sourceRef": source}}),
    )
    .await;
    for object in ["podinfo-deployment", "second", "reader"] {
        site.ready("Localization", object).await;
    }
}

/// Values that are made of the own result would grow with each round, for ever.
#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b65_values_that_are_made_of_themselves_are_refused_by_whatever_way_they_come() {
    let scene = shared_scene().await;
    let config = "configuration:
  defaults: {begun: x}
  rules:
  - file: deployment.yaml
    path: spec.template.spec.containers[0].env[0].value
    value: '(( spec.template.spec.containers[0].env[0].value \"x\" || begun ))'
";
    let manifests = std::fs::read(fixture(PODINFO)).expect("the fixture is there");
    Component::new("example.org/growing", "1.0.0")
        .with_blob("config", "PlainText", "text/plain", config.into())
        .with_blob("deployment", "Directory", "application/x-tgz", manifests)
        .push(&scene.public, "growing")
        .await;
    let site = Site::without_secret(scene, "growing").await;
    let chain = "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {name: podinfo}
spec:
  interval: 1m0s
  component: example.org/growing
  version: {semver: 1.0.0}
  repository: {url: public.example.org/growing}
---
apiVersion: delivery.ocm.software/v1alpha1
kind: FluxDeployer
metadata: {name: podinfo}
spec:
  sourceRef: {kind: Configuration, name: configured}
  kustomizationTemplate: {interval: 1m0s, path: ./, prune: true, targetNamespace: TARGET}
";
    site.apply(&chain.replace("TARGET", &site.target)).await;
    let source = "{kind: ComponentVersion, name: podinfo, resourceRef: {name: deployment}}";
    let manifest = mutation("Configuration", "configured", source, "values: {begun: y}");
    site.apply(&manifest).await;
    let before = site.ready("Configuration", "configured").await;
    site.ready("OCIRepository", "podinfo").await;
    let digest = &before.data["status"]["latestSnapshotDigest"];
    let snapshot = &before.data["status"]["snapshotName"];

    for (values, by) in [
        (
            json!({"sourceRef": {"kind": "Configuration", "name": "configured"}}),
            "-> Configuration",
        ),
        (
            json!({"sourceRef": {"kind": "Snapshot", "name": snapshot}}),
            "-> Snapshot",
        ),
        (
            json!({"sourceRef": null, "fluxSource": {
                "sourceRef": {"kind": "OCIRepository", "name": "podinfo"},
                "path": "deployment.yaml",
            }}),
            "-> OCIRepository",
        ),
    ] {
        let patch = json!({"spec": {"values": null, "valuesFrom": values}});
        site.patch("Configuration", "configured", patch).await;
        let told = |object: &kube::api::DynamicObject| {
            let conditions = object.data["status"]["conditions"].to_string();
            conditions.contains("InvalidSpec") && conditions.contains(by)
        };
        site.until("Configuration", "configured", "refused", told)
            .await;
    }
    let after = site.get("Configuration", "configured").await;
    assert_eq!(&after.data["status"]["latestSnapshotDigest"], digest);
}
