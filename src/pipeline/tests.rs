//! What signatures do not cover does not change what is deployed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::edit::Missing;
use crate::mutation::{LoadedImages, localize};
use crate::ocm::fixture::{descriptor, read};
use crate::ocm::signature::Signer;
use crate::ocm::signature::tests::{BOB, sign, signer};
use crate::ocm::{Accepted, Descriptor, ReadComponent, Signature, pinned_location};
use crate::registry::{Credentials, Pool, Settings, Transport};
use crate::repository::Archive;

/// A component version whose descriptor is JSON and whose image lies beside it.
const FOLDER: &str = "registry/phoban01-air-gapped-blobs";
const URL: &str = "ghcr.io/phoban01/air-gapped-blobs";
const IMAGE: &str = "sha256:d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";

/// A place that holds it, and bob's signature of it.
struct Scene {
    pipeline: Pipeline,
    place: Place,
    component: ReadComponent,
    text: Vec<u8>,
    signature: Signature,
    signer: Signer,
    _folder: TempDir,
}

/// What comes out of a chain: the digest of the localized layer.
type Deployed = Result<Digest, Box<dyn std::error::Error>>;

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        // Nothing is dialled: what leads out of the archive is refused.
        let transport = Transport::new(Settings::default()).unwrap();
        let components = Components::new(Pool::new(transport), store.clone());
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let archive = Archive::open(&archive.join(FOLDER)).unwrap();
        let component = read(FOLDER, URL, "phoban.io/podinfo", "6.3.5");
        let mut closure = vec![component.clone()];
        let spec = ["SHA-256", "jsonNormalisation/v4alpha1"];
        sign(&mut closure, "bob", spec, crate::oci::Algorithm::Sha256);
        Self {
            pipeline: Pipeline::new(components, store, Limits::default()),
            place: Place {
                repository: URL.parse().unwrap(),
                archive: Some(Arc::new(archive)),
                credentials: Arc::new(Credentials::default()),
                namespace: "tenant".parse().unwrap(),
                holder: "0b1c".to_owned(),
            },
            text: descriptor(FOLDER, URL, "phoban.io/podinfo", "6.3.5"),
            signature: closure[0].descriptor.signatures[0].clone(),
            component,
            signer: signer("bob", BOB),
            _folder: folder,
        }
    }

    /// Verifies the component version with `text` for its descriptor, and localizes its files.
    async fn deploy(&self, text: &[u8]) -> Deployed {
        let mut component = self.component.clone();
        component.descriptor = Descriptor::parse(text)?;
        // Where the text comes from a registry, other text has another digest.
        component.digest = Digest::of(text);
        component.descriptor.signatures.push(self.signature.clone());
        let (pipeline, place) = (&self.pipeline, &self.place);
        let components = pipeline.components();
        let signers = std::slice::from_ref(&self.signer);
        let recorded = component.digest.clone();
        components.verify(place, component.clone(), signers).await?;
        let verified = crate::ocm::signature::Verified::again(component, &recorded);
        let component = Accepted::Verified(verified.ok_or("another digest")?);

        let of_name = |name: &str| {
            let mut resources = component.descriptor.resources.iter();
            resources
                .find(|found| found.name == name)
                .ok_or("no such resource")
        };
        let rules = pipeline
            .config_data(place, &component, of_name("config")?)
            .await?;
        let files = pipeline
            .resource(place, &component, of_name("deployment")?)
            .await?;
        let images = LoadedImages {
            components: &BTreeMap::from([(Vec::new(), component.clone())]),
            reference: |component: &Accepted, resource: &Resource| {
                Ok(pinned_location(component, resource)?)
            },
        };
        let mut substitutions = localize(&rules.localization, &images, Missing::Refuse)?;
        for one in &mut substitutions {
            // From where the image is pulled is not signed; what is pulled there is.
            let image = one.value.as_str().ok_or("no text")?;
            let (_, digest) = image.split_once('@').ok_or("an image without a digest")?;
            assert_eq!(digest, IMAGE);
            one.value = json!(digest);
        }
        let layer = pipeline
            .substitute(&place.namespace, &files, substitutions)
            .await?;
        Ok(layer.digest)
    }
}

#[tokio::test]
async fn b54_changed_byte_of_a_descriptor_never_changes_what_is_deployed() {
    let scene = Scene::new();
    let expected = scene.deploy(&scene.text).await.unwrap();
    let (mut same, mut refused) = (0, 0);
    for position in 0..scene.text.len() {
        let mut changed = scene.text.clone();
        changed[position] ^= 1 << (position % 8);
        match scene.deploy(&changed).await {
            Ok(deployed) => {
                assert_eq!(deployed, expected, "byte {position}");
                same += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(same > 100 && refused > 500, "{same} {refused}");
}

#[tokio::test]
async fn b54_b55_what_is_not_signed_is_refused_or_of_no_consequence() {
    const SAME: bool = true;
    const REFUSED: bool = false;
    let scene = Scene::new();
    let expected = scene.deploy(&scene.text).await.unwrap();
    let label = |signing: bool| json!([{"name": "a", "value": "b", "signing": signing}]);
    let elsewhere = json!({"type": "ociArtifact", "imageReference": "127.0.0.1:1/evil/x:1"});
    let other = |name: &str| {
        let descriptor: Value = serde_json::from_slice(&scene.text).unwrap();
        let resources = descriptor["component"]["resources"].as_array().unwrap();
        let mut found = resources.iter().filter(|found| found["name"] == name);
        found.next().unwrap().clone()
    };
    let reversed = json!([other("image"), other("deployment"), other("config")]);
    let changes = [
        ("/component/repositoryContexts", json!([]), SAME),
        (
            "/component/repositoryContexts/0/baseUrl",
            json!("evil.example"),
            SAME,
        ),
        ("/component/labels", label(false), SAME),
        ("/component/labels", label(true), REFUSED),
        ("/component/provider", json!("evil.example"), REFUSED),
        (
            "/component/creationTime",
            json!("2026-01-01T00:00:00Z"),
            REFUSED,
        ),
        ("/component/resources", reversed, REFUSED),
        ("/component/resources/0/labels", label(false), SAME),
        ("/component/resources/0/labels", label(true), REFUSED),
        (
            "/component/resources/0/srcRefs",
            json!([{"identitySelector": {"name": "x"}}]),
            SAME,
        ),
        (
            "/component/resources/0/relation",
            json!("external"),
            REFUSED,
        ),
        ("/component/resources/0/type", json!("blob"), REFUSED),
        (
            "/component/resources/0/extraIdentity",
            json!({"a": "b"}),
            REFUSED,
        ),
        (
            "/component/resources/1/access/type",
            json!("localBlob/v1"),
            SAME,
        ),
        (
            "/component/resources/1/access",
            other("config")["access"].clone(),
            REFUSED,
        ),
        ("/component/resources/1/access", elsewhere.clone(), REFUSED),
        ("/component/resources/1/digest", Value::Null, REFUSED),
        (
            "/component/resources/1/digest",
            other("config")["digest"].clone(),
            REFUSED,
        ),
        (
            "/component/resources/2/access/referenceName",
            json!("evil/x:1"),
            SAME,
        ),
        ("/component/resources/2/access", elsewhere.clone(), REFUSED),
        // The image is pulled from there, by the digest that was signed.
        (
            "/component/resources/2/access/globalAccess",
            elsewhere,
            SAME,
        ),
        (
            "/component/resources/2/digest/value",
            json!("00".repeat(32)),
            REFUSED,
        ),
        ("/component/resources/2/digest", Value::Null, REFUSED),
        ("/signatures", json!([]), SAME),
    ];
    for (pointer, value, is_same) in changes {
        let mut document: Value = serde_json::from_slice(&scene.text).unwrap();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap();
        match key.parse::<usize>() {
            Ok(index) => parent[index] = value,
            Err(_) => parent[key] = value,
        }
        let deployed = scene.deploy(document.to_string().as_bytes()).await;
        match deployed {
            Ok(deployed) => assert_eq!((deployed, SAME), (expected.clone(), is_same), "{pointer}"),
            Err(error) => assert_eq!(REFUSED, is_same, "{pointer}: {error}"),
        }
    }
}

#[tokio::test]
async fn cve_2026_50195_content_names_neither_its_key_nor_its_place() {
    let scene = Scene::new();
    let (pipeline, place) = (&scene.pipeline, &scene.place);
    let layer = async |position: usize, change: fn(&mut Value)| {
        let mut document: Value = serde_json::from_slice(&scene.text).unwrap();
        let resource = &mut document["component"]["resources"][position];
        // One is called as the other.
        resource["name"] = json!("deployment");
        resource["version"] = json!("../../6.3.5");
        change(resource);
        let mut component = scene.component.clone();
        component.descriptor = Descriptor::parse(document.to_string().as_bytes()).unwrap();
        let resource = component.descriptor.resources[position].clone();
        let component = Accepted::NotAsked(component);
        pipeline
            .resource(place, &component, &resource)
            .await
            .unwrap()
    };
    let files = layer(1, |_| ()).await;
    let named = layer(1, |resource| {
        resource["access"]["referenceName"] = json!("other/repository:latest");
        resource["labels"] = json!([{"name": "org.opencontainers.image.ref.name", "value": "x"}]);
    });
    assert_eq!(named.await.digest, files.digest);
    let other = layer(0, |_| ()).await;
    assert_ne!(other.digest, files.digest);
    assert_eq!(layer(1, |_| ()).await.digest, files.digest);
    let tag = crate::snapshot::tag_for("../../6.3.5");
    assert!(!tag.as_str().contains(['/', ':']), "{tag}");
}
