//! What goes wrong says what it is and how it is mended, and heals by itself once it is.

use serde_json::json;

use crate::component::{Component, RULES};
use crate::scene::{PASSWORD, exclusive_scene, ready_condition, shared_scene};
use crate::site::{PRIVATE, Site, message};
use crate::support::wait;
use crate::support::{fixture, tools};

/// Asserts that a message has all these words.
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b68_wrong_password_names_host_and_secret_and_heals_with_the_right_one() {
    let scene = shared_scene().await;
    let site = Site::without_secret(scene, "password").await;
    let namespace = &site.namespace;
    scene.give_password(namespace, "ghcr-cred", "wrong").await;
    site.apply(&site.guide(PRIVATE)).await;

    let said = site
        .fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    assert_says(&said, &["phoban.io/podinfo", "ghcr.io", "401", "ghcr-cred"]);
    assert!(!said.contains("wrong"), "{said}");

    site.delete("Secret", "ghcr-cred").await;
    scene.give_password(namespace, "ghcr-cred", PASSWORD).await;
    site.ready("ComponentVersion", "podinfo").await;
    site.ready("Localization", "podinfo-deployment").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b68_missing_secret_is_named_and_heals_once_it_is_there() {
    let scene = shared_scene().await;
    let site = Site::without_secret(scene, "secret").await;
    site.apply(&site.guide(PRIVATE)).await;

    let said = site
        .fails(
            "ComponentVersion",
            "podinfo",
            "AuthenticatedContextCreationFailed",
        )
        .await;
    let secret = format!("{}/ghcr-cred", site.namespace);
    assert_says(&said, &[PRIVATE, &secret, "air-gapped-ops", "create it"]);
    // Who reads it says where to look.
    let said = site
        .fails("Resource", "podinfo-deployment", "ComponentVersionNotReady")
        .await;
    assert_says(&said, &["podinfo", "ghcr-cred"]);

    scene
        .give_password(&site.namespace, "ghcr-cred", PASSWORD)
        .await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b68_missing_service_account_is_named_and_heals_once_it_is_there() {
    let scene = shared_scene().await;
    let site = Site::new(scene, "account").await;
    let guide = site.guide(PRIVATE);
    let (account, others): (Vec<&str>, Vec<&str>) = guide
        .split("\n---\n")
        .partition(|document| document.contains("kind: ServiceAccount"));
    site.apply(&others.join("\n---\n")).await;

    let said = site
        .fails(
            "ComponentVersion",
            "podinfo",
            "AuthenticatedContextCreationFailed",
        )
        .await;
    let name = format!("{}/air-gapped-ops", site.namespace);
    assert_says(&said, &[PRIVATE, &name, "serviceAccountName"]);

    site.apply(account[0]).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn unknown_component_is_named_with_the_place_where_it_was_looked_for() {
    let site = Site::new(shared_scene().await, "component").await;
    let guide = site.guide(PRIVATE);
    site.apply(&guide.replace(
        "component: phoban.io/podinfo",
        "component: phoban.io/podimfo",
    ))
    .await;

    let said = site
        .fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    assert_says(&said, &["phoban.io/podimfo", "ghcr.io", "404"]);

    site.apply(&guide).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn constraint_that_nothing_satisfies_is_told_what_there_is() {
    let site = Site::new(shared_scene().await, "constraint").await;
    let guide = site.guide(PRIVATE);
    site.apply(&guide.replace(">=v6.3.5", ">=7")).await;

    let said = site
        .fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    assert_says(&said, &["phoban.io/podinfo", ">=7", "6.3.5, 6.2.3"]);

    site.apply(&guide).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn resource_that_is_not_there_is_told_what_there_is() {
    let site = Site::new(shared_scene().await, "resource").await;
    let guide = site.guide(PRIVATE);
    site.apply(&guide.replace("name: deployment", "name: deploiment"))
        .await;

    let said = site
        .fails("Resource", "podinfo-deployment", "GetResourceFailed")
        .await;
    assert_says(
        &said,
        &[
            "deploiment",
            "phoban.io/podinfo:6.3.5",
            "config",
            "deployment",
            "image",
        ],
    );

    site.apply(&guide).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn source_that_does_not_exist_is_named_and_used_as_soon_as_it_does() {
    let site = Site::new(shared_scene().await, "source").await;
    let guide = site.guide(PRIVATE);
    let (resource, others): (Vec<&str>, Vec<&str>) = guide
        .split("\n---\n")
        .partition(|document| document.contains("\nkind: Resource\n"));
    site.apply(&others.join("\n---\n")).await;

    let said = site
        .fails(
            "Localization",
            "podinfo-deployment",
            "SourceRefNotReadyWithError",
        )
        .await;
    let name = format!("Resource {}/podinfo-deployment", site.namespace);
    assert_says(&said, &[&name, "does not exist"]);
    let said = site
        .fails("FluxDeployer", "podinfo", "SourceRefNotReady")
        .await;
    assert_says(&said, &["podinfo-deployment"]);

    site.apply(resource[0]).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn rules_that_are_not_there_are_named_with_what_there_is() {
    let site = Site::new(shared_scene().await, "config").await;
    let guide = site.guide(PRIVATE);
    site.apply(&guide.replace("name: config ", "name: konfig "))
        .await;
    let said = site
        .fails(
            "Localization",
            "podinfo-deployment",
            "ConfigRefNotReadyWithError",
        )
        .await;
    assert_says(&said, &["spec.configRef", "konfig", "config", "deployment"]);

    let elsewhere = json!({"spec": {"configRef": {"name": "podimfo"}}});
    site.patch("Localization", "podinfo-deployment", elsewhere)
        .await;
    let name = format!("ComponentVersion {}/podimfo", site.namespace);
    site.until(
        "Localization",
        "podinfo-deployment",
        "missing the other",
        |found| {
            let said = ready_condition(found).map(|condition| condition["message"].to_string());
            said.is_some_and(|said| said.contains(&name) && said.contains("does not exist"))
        },
    )
    .await;

    site.apply(&guide).await;
    let back = json!({"spec": {"configRef": {"name": "podinfo"}}});
    site.patch("Localization", "podinfo-deployment", back).await;
    site.settled().await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn rule_that_matches_nothing_names_rule_file_and_the_nearest_path() {
    let scene = shared_scene().await;
    let pushed = async |version, rules: &str| {
        let image = format!("registry.example.org/podinfo:{version}");
        let component = Component::podinfo("example.org/misspelt", version, &image, rules);
        component.push(&scene.public, "rules").await;
    };
    pushed("1.0.0", &RULES.replace("containers[0]", "container[0]")).await;
    let site = Site::without_secret(scene, "rule").await;
    let guide = site
        .guide("public.example.org/rules")
        .replace("  serviceAccountName: air-gapped-ops\n", "")
        .replace(
            "component: phoban.io/podinfo",
            "component: example.org/misspelt",
        )
        .replace("interval: 1m0s\n  component", "interval: 1s\n  component")
        .replace(">=v6.3.5", ">=1");
    site.apply(&guide).await;

    let said = site
        .fails(
            "Localization",
            "podinfo-deployment",
            "ReconcileMutationObjectFailed",
        )
        .await;
    assert_says(
        &said,
        &[
            "\"image\"",
            "deployment.yaml",
            "spec.template.spec.container[0].image",
            "a map with containers",
        ],
    );
    // Nothing half done goes on to Flux.
    assert!(site.list("OCIRepository").await.is_empty());

    pushed("1.0.1", RULES).await;
    site.deployed("registry.example.org/podinfo:1.0.1").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f01_registry_that_is_down_is_named_and_what_is_deployed_stays() {
    let scene = shared_scene().await;
    let mut registry = scene.fragile.lock().await;
    registry
        .load(&fixture("registry/phoban01-public"), |_| true)
        .await;
    let site = Site::without_secret(scene, "down").await;
    let guide = site
        .guide("fragile.example.org/phoban01")
        .replace("  serviceAccountName: air-gapped-ops\n", "")
        .replace("interval: 1m0s\n  component", "interval: 1s\n  component");
    site.apply(&guide).await;
    site.deployed("ghcr.io/stefanprodan/podinfo:6.4.0").await;
    let before = site.get("OCIRepository", "podinfo").await;

    registry.stop().await;
    let said = site
        .fails("ComponentVersion", "podinfo", "CheckVersionFailedReason")
        .await;
    assert_says(&said, &["phoban.io/podinfo", "fragile.example.org"]);
    // A run in the middle of it finds what it needs in the store.
    let found = site
        .run("Localization", "podinfo-deployment", "while-down")
        .await;
    assert!(wait::is_ready(Some(&found)), "{}", message(&found));
    let after = site.get("OCIRepository", "podinfo").await;
    assert_eq!(after.metadata.generation, before.metadata.generation);

    registry.start_again().await;
    site.ready("ComponentVersion", "podinfo").await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn f26_kind_of_flux_that_is_not_installed_is_named_and_used_once_it_is() {
    let scene = exclusive_scene().await;
    let site = Site::complete(&scene, "installed").await;
    let chart = json!({"spec": {
        "kustomizationTemplate": null,
        "helmReleaseTemplate": {"interval": "1m0s"},
    }});
    site.patch("FluxDeployer", "podinfo", chart).await;
    let said = site
        .fails("FluxDeployer", "podinfo", "FluxNotInstalled")
        .await;
    assert_says(
        &said,
        &["HelmRelease", "helm.toolkit.fluxcd.io", "install Flux"],
    );

    scene
        .cluster
        .apply_crds(&tools::flux_crds("helm-controller"))
        .await;
    site.ready("FluxDeployer", "podinfo").await;
    site.until("HelmRelease", "podinfo", "written", |_| true)
        .await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b59_reference_into_another_namespace_is_refused() {
    let scene = shared_scene().await;
    let theirs = Site::complete(scene, "theirs").await;
    let ours = Site::new(scene, "ours").await;
    ours.apply(&ours.guide(PRIVATE)).await;
    ours.settled().await;
    let digest = ours.get("OCIRepository", "podinfo").await.data["spec"]["ref"].clone();

    let elsewhere = json!({"namespace": theirs.namespace});
    let source = json!({"spec": {"sourceRef": elsewhere}});
    for (kind, name, patch) in [
        ("Resource", "podinfo-deployment", &source),
        ("Localization", "podinfo-deployment", &source),
        ("FluxDeployer", "podinfo", &source),
    ] {
        ours.patch(kind, name, patch.clone()).await;
        let said = ours.fails(kind, name, "AccessDenied").await;
        assert_says(&said, &[&theirs.namespace, "--no-cross-namespace-refs"]);
        let back = json!({"spec": {"sourceRef": {"namespace": null}}});
        ours.patch(kind, name, back).await;
        ours.ready(kind, name).await;
    }
    let config = json!({"spec": {"configRef": {"namespace": theirs.namespace}}});
    ours.patch("Localization", "podinfo-deployment", config)
        .await;
    let said = ours
        .fails("Localization", "podinfo-deployment", "AccessDenied")
        .await;
    assert_says(&said, &[&theirs.namespace, "--no-cross-namespace-refs"]);
    let after = ours.get("OCIRepository", "podinfo").await;
    assert_eq!(after.data["spec"]["ref"], digest);
}
