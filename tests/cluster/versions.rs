//! Versions that change, vanish, are shared, and refer to others.

use kube::ResourceExt as _;
use serde_json::json;

use crate::component::{Component, RULES};
use crate::scene::{TIMEOUT, shared_scene};
use crate::site::{PRIVATE, Site, message};
use crate::support::wait::{self, eventually};

/// The guide for an own component in the public registry, looked at every second.
fn guide_of(site: &Site<'_>, component: &str) -> String {
    site.guide("public.example.org/versions")
        .replace("  serviceAccountName: air-gapped-ops\n", "")
        .replace(
            "component: phoban.io/podinfo",
            &format!("component: {component}"),
        )
        .replace("interval: 1m0s\n  component", "interval: 1s\n  component")
        .replace(">=v6.3.5", ">=1")
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn version_that_is_pushed_again_is_taken_and_told_of_once() {
    let scene = shared_scene().await;
    let name = "example.org/republished";
    let push = async |image: &str| {
        let component = Component::podinfo(name, "1.0.0", image, RULES);
        component.push(&scene.public, "versions").await;
    };
    push("registry.example.org/first:1").await;
    let site = Site::without_secret(scene, "republished").await;
    site.apply(&guide_of(&site, name)).await;
    site.deployed("registry.example.org/first:1").await;
    let before = site.ready("ComponentVersion", "podinfo").await;

    push("registry.example.org/second:1").await;
    site.deployed("registry.example.org/second:1").await;

    let after = site.run("ComponentVersion", "podinfo", "once-more").await;
    let told = site.events("ComponentVersionRepublished").await;
    assert_eq!(told.len(), 1, "{told:?}");
    for status in [&before.data["status"], &after.data["status"]] {
        let digest = status["digest"].as_str().unwrap();
        assert!(told[0].contains(digest), "{told:?}");
    }
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn b58_version_that_vanished_stays_in_use_and_is_told_of_once() {
    let scene = shared_scene().await;
    let name = "example.org/vanishing";
    for version in ["1.0.0", "1.1.0"] {
        let image = format!("registry.example.org/vanishing:{version}");
        let component = Component::podinfo(name, version, &image, RULES);
        component.push(&scene.public, "versions").await;
    }
    let site = Site::without_secret(scene, "vanishing").await;
    site.apply(&guide_of(&site, name)).await;
    site.deployed("registry.example.org/vanishing:1.1.0").await;
    site.ready("ComponentVersion", "podinfo").await;

    let repository = format!("versions/component-descriptors/{name}");
    scene.public.delete_tag(&repository, "1.1.0").await;
    eventually("it is told of", TIMEOUT, async || {
        let told = site.events("ComponentVersionInvalid").await;
        told.into_iter().next().ok_or_else(|| "nothing".to_owned())
    })
    .await;
    for token in ["first", "second", "third"] {
        let found = site.run("ComponentVersion", "podinfo", token).await;
        assert_eq!(found.data["status"]["reconciledVersion"], "1.1.0");
        assert!(wait::is_ready(Some(&found)), "{}", message(&found));
    }
    let told = site.events("ComponentVersionInvalid").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("1.1.0") && told[0].contains("no longer listed"));
}

const TWIN: &str = "
apiVersion: delivery.ocm.software/v1alpha1
kind: ComponentVersion
metadata: {name: twin}
spec:
  interval: 10m
  component: phoban.io/podinfo
  version: {semver: '>=v6.3.5'}
  repository: {url: ghcr.io/phoban01/air-gapped}
  serviceAccountName: air-gapped-ops
";

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn descriptor_of_two_owners_stays_for_the_second() {
    let site = Site::complete(shared_scene().await, "twins").await;
    site.apply(TWIN).await;
    let twin = site.ready("ComponentVersion", "twin").await;
    let descriptor = site.list("ComponentDescriptor").await.remove(0);
    assert_eq!(descriptor.owner_references().len(), 2);

    site.delete("ComponentVersion", "podinfo").await;
    let name = descriptor.name_any();
    let uid = twin.uid().unwrap();
    let found = site
        .until("ComponentDescriptor", &name, "owned by one", |found| {
            found.owner_references().len() == 1
        })
        .await;
    assert_eq!(found.owner_references()[0].uid, uid);
    assert_eq!(found.data["spec"], descriptor.data["spec"]);
    // Another run of the owner that is left finds nothing to repair.
    let again = site.run("ComponentVersion", "twin", "again").await;
    assert!(wait::is_ready(Some(&again)), "{}", message(&again));
    let after = site.get("ComponentDescriptor", &name).await;
    assert_eq!(after.resource_version(), found.resource_version());

    site.delete("ComponentVersion", "twin").await;
    wait::until_gone(&site.api("ComponentDescriptor"), &name).await;
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn resource_of_a_component_that_is_referred_to_is_deployed() {
    let site = Site::new(shared_scene().await, "nested").await;
    let guide = site
        .guide(PRIVATE)
        .replace(PRIVATE, "ghcr.io/example/air-gapped")
        .replace(
            "component: phoban.io/podinfo",
            "component: example.org/product",
        )
        .replace(">=v6.3.5", "2.x")
        .replace(
            "name: deployment\n",
            "name: deployment\n      referencePath: [{name: fronted}]\n",
        )
        .replace(
            "name: config ",
            "name: config\n      referencePath: [{name: frontend}] ",
        );
    site.apply(&guide).await;
    let said = site
        .fails(
            "Resource",
            "podinfo-deployment",
            "ComponentDescriptorNotFound",
        )
        .await;
    for word in ["fronted", "frontend", "backend"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }

    site.apply(&guide.replace("{name: fronted}", "{name: frontend}"))
        .await;
    let image = "ghcr.io/example/air-gapped/stefanprodan/podinfo:6.3.5@sha256:\
        d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";
    site.deployed(image).await;
    let descriptors = site.list("ComponentDescriptor").await;
    assert_eq!(descriptors.len(), 3);
    let found = site.ready("ComponentVersion", "podinfo").await;
    let tree = &found.data["status"]["componentDescriptor"];
    assert_eq!(tree["references"][0]["name"], json!("frontend"));
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn rules_of_a_new_version_never_meet_files_of_the_old_one() {
    let scene = shared_scene().await;
    let name = "example.org/torn";
    let whole = Component::podinfo(name, "1.0.0", "registry.example.org/torn:1.0.0", RULES);
    whole.push(&scene.public, "versions").await;
    let site = Site::without_secret(scene, "torn").await;
    site.apply(&guide_of(&site, name)).await;
    site.deployed("registry.example.org/torn:1.0.0").await;
    let before = site.ready("Localization", "podinfo-deployment").await;

    // The new version has rules and image, but lacks the files: its Resource fails.
    Component::new(name, "1.1.0")
        .with_blob(
            "config",
            "PlainText",
            "application/octet-stream",
            RULES.into(),
        )
        .with_image("image", "registry.example.org/torn:1.1.0")
        .push(&scene.public, "versions")
        .await;
    site.fails("Resource", "podinfo-deployment", "GetResourceFailed")
        .await;
    let said = site
        .fails("Localization", "podinfo-deployment", "SourceRefNotReady")
        .await;
    assert!(said.contains("has not caught up"), "{said}");
    let after = site.get("Localization", "podinfo-deployment").await;
    let digest = |object: &kube::api::DynamicObject| {
        object.data["status"]["latestSnapshotDigest"].to_string()
    };
    assert_eq!(digest(&after), digest(&before));

    // As soon as there is a whole one, all of it is taken.
    let whole = Component::podinfo(name, "1.2.0", "registry.example.org/torn:1.2.0", RULES);
    whole.push(&scene.public, "versions").await;
    site.deployed("registry.example.org/torn:1.2.0").await;
    site.ready("Localization", "podinfo-deployment").await;
}
