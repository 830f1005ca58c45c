//! Signatures with certificates: the authority that a Secret holds decides.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ocm_controller::ocm::{Descriptor, Normalisation};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::component::Component;
use crate::scene::{TIMEOUT, shared_scene};
use crate::site::Site;
use crate::support::certificates::Authority;
use crate::support::fixture;
use crate::support::wait::eventually;

const NAME: &str = "example.org/certified";

/// Bob's signature of `component`, with the certificate that leads to `root`.
fn signature(component: &Component, root: &Authority) -> Value {
    let key = std::fs::read_to_string(fixture("keys").join("bob.key")).expect("bob's key");
    let intermediate = root.below("intermediate");
    let certificate = intermediate.certify_signer("bob", &key);
    let descriptor = component.descriptor().to_string();
    let descriptor = Descriptor::parse(descriptor.as_bytes()).expect("a descriptor");
    let normalised = Normalisation::V3.apply(&descriptor).expect("it has a time");
    let digest = Sha256::digest(normalised);
    let key = RsaPrivateKey::from_pkcs8_pem(&key).expect("a private key");
    let signed = key.sign(Pkcs1v15Sign::new::<Sha256>(), &digest);
    let value = format!(
        "-----BEGIN SIGNATURE-----\nSignature Algorithm: RSASSA-PKCS1-V1_5\n\n{}\n\
         -----END SIGNATURE-----\n{certificate}{}",
        STANDARD.encode(signed.expect("a signature")),
        intermediate.pem(),
    );
    json!([{
        "name": "release",
        "digest": {
            "hashAlgorithm": "SHA-256",
            "normalisationAlgorithm": "jsonNormalisation/v3",
            "value": hex::encode(digest),
        },
        "signature": {
            "algorithm": "RSASSA-PKCS1-V1_5",
            "mediaType": "application/x-pem-file",
            "value": value,
        },
    }])
}

/// A Secret that trusts `root` for the signature.
fn trusting(root: &Authority) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "signers"},
        "stringData": {"release": root.pem()},
    });
    secret.to_string()
}

#[tokio::test]
#[ignore = "needs the tools of `make tools`"]
async fn component_is_verified_by_the_authority_of_its_signers_certificate() {
    let scene = shared_scene().await;
    let site = Site::without_secret(scene, "certified").await;
    let (root, stranger) = (Authority::new("root"), Authority::new("stranger"));
    let text = b"what was certified".to_vec();
    let component =
        Component::new(NAME, "1.0.0").with_blob("text", "plainText", "text/plain", text);
    let signatures = signature(&component, &root);
    component
        .push_signed(&scene.public, "certified", &signatures)
        .await;

    site.apply(&trusting(&stranger)).await;
    let object = json!({
        "apiVersion": "delivery.ocm.software/v1alpha1",
        "kind": "ComponentVersion",
        "metadata": {"name": "certified"},
        "spec": {
            "interval": "10m",
            "component": NAME,
            "version": {"semver": "1.0.0"},
            "repository": {"url": "public.example.org/certified"},
            "verify": [{"name": "release", "publicKey": {"secretRef": {"name": "signers"}}}],
        },
    });
    site.apply(&object.to_string()).await;
    let reason = "ComponentVerificationFailed";
    let said = site.fails("ComponentVersion", "certified", reason).await;
    assert!(said.contains("certificate"), "{said}");

    // The authority is another one now: it counts at the next run.
    site.apply(&trusting(&root)).await;
    site.request("ComponentVersion", "certified", "1").await;
    let found = site.ready("ComponentVersion", "certified").await;
    assert_eq!(found.data["status"]["verified"], true);
    eventually("an event names the signer", TIMEOUT, async || {
        let notes = site.events("Succeeded").await;
        let is_told = |note: &String| note.contains("verified") && note.contains("CN=bob");
        notes
            .iter()
            .any(is_told)
            .then_some(())
            .ok_or_else(|| notes.join("\n"))
    })
    .await;
    let resource = "{apiVersion: delivery.ocm.software/v1alpha1, kind: Resource, \
                    metadata: {name: text}, spec: {interval: 10m, sourceRef: {kind: \
                    ComponentVersion, name: certified, resourceRef: {name: text}}}}";
    site.apply(resource).await;
    site.ready("Resource", "text").await;
}
