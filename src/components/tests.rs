//! Verification against registries that change their mind, or are unwell.

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::ocm::fixture::read;
use crate::ocm::signature::Verified;
use crate::ocm::signature::tests::{ALICE, signer};
use crate::ocm::{Accepted, Resource};
use crate::registry::tests::server::{Reply, Server, Then, plain_manifest, settings};
use crate::registry::{self, Class, Transport};

/// What is at the place of the image.
const SIGNED: &str = "d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f";

/// The manifest of the image that was signed.
fn signed_manifest() -> Vec<u8> {
    let digest = format!("sha256:{SIGNED}").parse().unwrap();
    crate::ocm::fixture::blob("registry/phoban01-public", &digest)
}

fn manifest(bytes: &[u8]) -> Reply {
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let digest = Digest::of(bytes).to_string();
    Reply::new(200, bytes)
        .header("Content-Type", media_type)
        .header("Docker-Content-Digest", &digest)
}

/// The signed podinfo, whose image is at a registry that answers by a script.
struct Scene {
    server: Server,
    components: Components,
    place: Place,
    root: ReadComponent,
    _folder: TempDir,
}

impl Scene {
    async fn new(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let server = Server::start(move |_, before| script(before)).await;
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let transport = Transport::new(settings()).unwrap();
        let mut root = read(
            "ctf/podinfo-signed",
            "ghcr.io",
            "phoban.io/podinfo",
            "6.3.5",
        );
        // Where an image is, is not signed: this is what a transfer changes.
        let image = format!("{}/stefanprodan/podinfo:6.3.5", server.address);
        let access = json!({"type": "ociArtifact", "imageReference": image});
        root.descriptor.resources[2].access = serde_json::from_value(access).unwrap();
        let place = Place {
            repository: server.url().parse().unwrap(),
            archive: None,
            credentials: Arc::new(Credentials::default()),
            namespace: "tenant".parse().unwrap(),
            holder: "0b1c".to_owned(),
        };
        Self {
            server,
            components: Components::new(Pool::new(transport), store),
            place,
            root,
            _folder: folder,
        }
    }

    async fn verify(&self) -> Result<()> {
        let signers = [signer("alice", ALICE)];
        let verified = self
            .components
            .verify(&self.place, self.root.clone(), &signers)
            .await;
        verified.map(|_| ())
    }

    /// Finds the image's content, as a step does that comes after the verification.
    async fn locate(&self, change: fn(&mut Resource)) -> Result<Content> {
        let mut resource = self.root.descriptor.resources[2].clone();
        change(&mut resource);
        let again = Verified::again(self.root.clone(), &self.root.digest).unwrap();
        let component = Accepted::Verified(again);
        self.components
            .locate(&self.place, &component, &resource)
            .await
    }
}

#[tokio::test]
async fn ghsa_wfqx_gjrf_g28r_cve_2022_47633_other_answer_than_the_verified_one_is_not_used() {
    let scene = Scene::new(|before| match before {
        0 => manifest(&signed_manifest()),
        _ => manifest(plain_manifest().as_bytes()),
    })
    .await;
    scene.verify().await.unwrap();
    // By the digest that was signed, or by the tag where the digest may be that of something else.
    let by_tag = |resource: &mut Resource| {
        let digest = resource.digest.as_mut().unwrap();
        "genericBlobDigest/v1".clone_into(&mut digest.normalisation_algorithm);
    };
    for change in [|_: &mut Resource| (), by_tag] {
        let error = scene.locate(change).await.unwrap_err();
        let mismatch = matches!(error, Error::DigestMismatch { .. });
        let wrong = registry::error_in(&error).map(registry::Error::class);
        assert!(
            mismatch || wrong == Some(Class::InvalidContent),
            "{error:?}"
        );
    }
    let asked: Vec<_> = scene
        .server
        .seen()
        .iter()
        .map(|seen| seen.path.clone())
        .collect();
    assert!(
        asked[1].ends_with(SIGNED) && asked[2].ends_with("6.3.5"),
        "{asked:?}"
    );
}

#[tokio::test]
async fn ghsa_2v5f_5r6w_p67r_registry_that_is_unwell_verifies_nothing_and_condemns_nothing() {
    let unwell: [fn() -> Reply; 7] = [
        || Reply::new(429, ""),
        || Reply::new(429, "").header("Retry-After", "3600"),
        || Reply::new(500, ""),
        || Reply::new(503, ""),
        || Reply::new(401, ""),
        || Reply::raw(""),
        || Reply::raw("").then(Then::Hang),
    ];
    for reply in unwell {
        let scene = Scene::new(move |_| reply()).await;
        let error = scene.verify().await.unwrap_err();
        // Only what was found not to be what was signed is a verdict.
        assert!(!matches!(error, Error::Signature { .. }), "{error:?}");
        assert!(registry::error_in(&error).is_some(), "{error:?}");
        assert!(!scene.server.seen().is_empty());
    }
    let scene = Scene::new(|_| manifest(plain_manifest().as_bytes())).await;
    let error = scene.verify().await.unwrap_err();
    assert!(matches!(error, Error::Signature { .. }), "{error:?}");
}
