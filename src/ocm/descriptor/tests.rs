use serde_json::json;

use super::*;
use crate::ocm::fixture::{artifacts, read};

const PODINFO: &str = "phoban.io/podinfo";

/// A v2 descriptor with these resources, as JSON.
fn with_resources(resources: &Value) -> Value {
    json!({
        "meta": {"schemaVersion": "v2"},
        "component": {
            "name": "example.org/shop", "version": "1.4.0", "provider": "example.org",
            "repositoryContexts": null, "sources": null, "componentReferences": null,
            "resources": resources,
        },
    })
}

fn parsed(document: &Value) -> Result<Descriptor> {
    Descriptor::parse(document.to_string().as_bytes())
}

fn resource(name: &str, version: &str) -> Value {
    json!({"name": name, "version": version, "type": "PlainText", "relation": "local",
           "access": {"type": "none"}})
}

#[test]
fn descriptors_of_all_tools_are_read() {
    for (folder, url, component, version) in [
        (
            "registry/phoban01-public",
            "ghcr.io/phoban01",
            PODINFO,
            "6.4.0",
        ),
        (
            "registry/phoban01-air-gapped",
            "ghcr.io/phoban01/air-gapped",
            PODINFO,
            "6.2.3",
        ),
        (
            "registry/phoban01-air-gapped-v1",
            "ghcr.io/phoban01/air-gapped-v1",
            PODINFO,
            "6.3.5",
        ),
        (
            "registry/phoban01-air-gapped-blobs",
            "ghcr.io/phoban01/air-gapped-blobs",
            PODINFO,
            "6.3.5",
        ),
        (
            "registry/example-air-gapped",
            "ghcr.io/example/air-gapped",
            PODINFO,
            "6.3.5",
        ),
        (
            "ctf/podinfo-public",
            "registry.example.org",
            PODINFO,
            "6.2.3",
        ),
        (
            "ctf/podinfo-copied",
            "registry.example.org",
            PODINFO,
            "6.3.5",
        ),
        (
            "ctf/podinfo-v3alpha1",
            "registry.example.org",
            PODINFO,
            "6.3.5",
        ),
        (
            "ctf/podinfo-signed",
            "registry.example.org",
            PODINFO,
            "6.3.5",
        ),
    ] {
        let descriptor = read(folder, url, component, version).descriptor;
        let names: Vec<&str> = descriptor
            .resources
            .iter()
            .map(|found| &*found.name)
            .collect();
        assert_eq!(names, ["config", "deployment", "image"], "{folder}");
        assert_eq!(descriptor.version.as_str(), version, "{folder}");
        assert_eq!(descriptor.provider.name, "phoban.io", "{folder}");
        let image = &descriptor.resources[2];
        assert_eq!(image.relation, Some(Relation::External), "{folder}");
        let expected = (version == "6.3.5" && folder != "ctf/podinfo-v3alpha1")
            .then_some("sha256:d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f");
        if let Some(expected) = expected {
            assert_eq!(
                image.content_digest().unwrap().to_string(),
                expected,
                "{folder}"
            );
        }
    }
}

#[test]
fn all_versions_of_a_repository_are_listed_by_their_tags() {
    let tags: Vec<_> = artifacts("registry/phoban01-public", "ghcr.io/phoban01", PODINFO)
        .into_iter()
        .filter_map(|artifact| artifact.tag)
        .collect();
    assert_eq!(tags, ["6.2.3", "6.3.5", "6.4.0"]);
}

#[test]
fn both_schemas_give_the_same_elements() {
    let v2 = read(
        "ctf/podinfo-public",
        "registry.example.org",
        PODINFO,
        "6.3.5",
    )
    .descriptor;
    let v3 = read(
        "ctf/podinfo-v3alpha1",
        "registry.example.org",
        PODINFO,
        "6.3.5",
    )
    .descriptor;
    assert_eq!((v2.schema, v3.schema), (Schema::V2, Schema::V3Alpha1));
    assert_eq!(v2.resources[2].access, v3.resources[2].access);
    assert_eq!(v2.provider.name, v3.provider.name);
}

#[test]
fn references_and_signatures_are_read() {
    let product = read(
        "ctf/product-signed",
        "registry.example.org",
        "example.org/product",
        "2.0.0",
    );
    let descriptor = product.descriptor;
    let references: Vec<(&str, &str)> = descriptor
        .references
        .iter()
        .map(|found| (&*found.name, found.component_name.as_str()))
        .collect();
    assert_eq!(
        references,
        [("frontend", PODINFO), ("backend", "example.org/echo")]
    );
    let digest = descriptor.references[0].digest.as_ref().unwrap();
    assert_eq!(digest.normalisation_algorithm, "jsonNormalisation/v3");
    assert_eq!(descriptor.signatures[0].name, "alice");
    assert_eq!(
        descriptor.signatures[0].signature.algorithm,
        "RSASSA-PKCS1-V1_5"
    );
}

#[test]
fn spec_of_the_object_is_v3alpha1_with_access_as_written() {
    let echo = read(
        "registry/example-air-gapped",
        "ghcr.io/example/air-gapped",
        "example.org/echo",
        "1.2.0",
    );
    let spec = echo.descriptor.to_v3alpha1_spec();
    assert!(spec.get("references").is_none(), "empty lists are left out");
    assert_eq!(
        spec["sources"],
        json!([{"name": "source", "version": "1.2.0", "type": "filesytem", "access": {
            "commit": "7f94ee7d8b4f8ef1c0c4aa4e2eb5c9c8e3b7b1e4",
            "repoUrl": "github.com/example/echo", "type": "gitHub"}}])
    );
    assert_eq!(
        spec["resources"][3]["extraIdentity"],
        json!({"architecture": "amd64"})
    );
    let product = read(
        "registry/example-air-gapped",
        "ghcr.io/example/air-gapped",
        "example.org/product",
        "2.0.0",
    );
    assert_eq!(
        product.descriptor.to_v3alpha1_spec()["references"][1],
        json!({"name": "backend", "componentName": "example.org/echo", "version": "1.2.0"})
    );
}

#[test]
fn provider_may_be_an_object_in_a_text() {
    let mut document = with_resources(&Value::Null);
    document["component"]["provider"] =
        json!(r#"{"name":"example.org","labels":[{"name":"a","value":1}]}"#);
    let provider = parsed(&document).unwrap().provider;
    assert_eq!(
        (&*provider.name, provider.structured),
        ("example.org", true)
    );
    assert_eq!(provider.labels[0].value, json!(1));
}

#[test]
fn b53_schema_that_is_not_known_is_refused_by_name() {
    for (document, named) in [
        (json!({"meta": {"schemaVersion": "v9"}}), "v9"),
        (json!({"apiVersion": "ocm.software/v4"}), "ocm.software/v4"),
        (json!({}), "neither"),
        (
            json!({"meta": {"schemaVersion": "v2"}, "apiVersion": "ocm.software/v3alpha1"}),
            "both",
        ),
    ] {
        let error = parsed(&document).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn b53_unknown_access_spoils_its_resource_alone() {
    let mut odd = resource("odd", "1");
    odd["access"] = json!({"type": "carrierPigeon/v7", "loft": 3});
    let descriptor = parsed(&with_resources(&json!([odd, resource("fine", "1")]))).unwrap();
    let access = &descriptor.resources[0].access;
    assert_eq!(
        access.typed().unwrap(),
        crate::ocm::Access::Other("carrierPigeon/v7".to_owned())
    );
    assert_eq!(access.object()["loft"], json!(3));
    assert!(descriptor.resources[1].access.is_none());
}

#[test]
fn b22_hostile_resource_names_are_refused() {
    assert!(parsed(&with_resources(&json!([resource("fine-name_1+x", "1")]))).is_ok());
    for name in [
        "", ".", "..", "a/b", "%2e%2e", "A", "-a", "a-", "a b", "a\n",
    ] {
        let document = with_resources(&json!([resource(name, "1")]));
        assert!(parsed(&document).is_err(), "{name:?} was accepted");
    }
}

#[test]
fn elements_of_the_same_identity_are_refused() {
    let same = json!([resource("a1", "1"), resource("a1", "1")]);
    assert!(parsed(&with_resources(&same)).is_err());
    let other = json!([resource("a1", "1"), resource("a1", "2")]);
    assert!(parsed(&with_resources(&other)).is_ok());
}

#[test]
fn b25_descriptor_larger_than_the_bound_is_refused() {
    let mut text = with_resources(&Value::Null).to_string();
    text.push_str(&" ".repeat(MAX_DESCRIPTOR));
    assert!(Descriptor::parse(text.as_bytes()).is_err());
}

#[test]
fn descriptor_of_another_component_is_refused() {
    let descriptor = parsed(&with_resources(&Value::Null)).unwrap();
    let name: ComponentName = "example.org/shop".parse().unwrap();
    let version: Version = "1.4.0".parse().unwrap();
    assert!(descriptor.expect(&name, &version).is_ok());
    let error = descriptor
        .expect(&name, &"1.5.0".parse().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1.4.0") && error.contains("1.5.0"),
        "{error}"
    );
    assert!(
        descriptor
            .expect(&"example.org/x".parse().unwrap(), &version)
            .is_err()
    );
}
