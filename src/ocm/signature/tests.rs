use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use sha2::{Sha256, Sha512};

use super::*;
use crate::ocm::fixture::read;
use crate::ocm::{ReadComponent, Resource, SignatureValue};

mod chains;
mod flips;
mod hostile;
mod keys;

pub(super) const PODINFO: &str = "phoban.io/podinfo";
pub(crate) const ALICE: &str = include_str!("../../../tests/fixtures/keys/alice.pub");
const MALLORY: &str = include_str!("../../../tests/fixtures/keys/mallory.pub");
pub(crate) const BOB: &str = include_str!("../../../tests/fixtures/keys/bob.pub");
const BOB_PRIVATE: &str = include_str!("../../../tests/fixtures/keys/bob.key");

/// Any time: certificates are made around it.
const NOW: SystemTime = SystemTime::UNIX_EPOCH;

/// What hangs at the reference of each image that the fixtures name.
const IMAGES: [(&str, &str); 5] = [
    (
        "ghcr.io/stefanprodan/podinfo:6.2.3",
        "b840aafccba2a26e9a110878723afea81942def62271618942103963af100ad0",
    ),
    (
        "ghcr.io/stefanprodan/podinfo:6.3.5",
        "d3185f0fd842aa87a446453958f2bbb1446f04307c727c82b13cb9f1bc88d24f",
    ),
    (
        "ghcr.io/stefanprodan/podinfo:6.4.0",
        "88ef18f99101ff16c67bd2e04a6a518fc7b3440eddbeb1585951e505223a3baf",
    ),
    (
        "ghcr.io/example/echo:1.0.0-amd64",
        "389e76aa60e9319daa2c09e4d1cf6e939b6e8c73b54e856d3c15c4045c480f89",
    ),
    (
        "ghcr.io/example/echo:1.0.0-arm64",
        "1ae7308a19510c0aa88766d5099c48f0bb136594b0d11072483e985e97fafb25",
    ),
];

pub(crate) fn signer(name: &str, pem: &str) -> Signer {
    Signer {
        name: name.to_owned(),
        key: PublicKey::parse(pem.as_bytes()).unwrap(),
        at: NOW,
    }
}

pub(super) fn podinfo(version: &str) -> ReadComponent {
    read("ctf/podinfo-signed", "ghcr.io", PODINFO, version)
}

/// The product, podinfo and echo: what a walk from the product reads.
fn product() -> Vec<ReadComponent> {
    let of_product =
        |name: &str, version: &str| read("ctf/product-signed", "ghcr.io", name, version);
    vec![
        of_product("example.org/product", "2.0.0"),
        podinfo("6.3.5"),
        of_product("example.org/echo", "1.2.0"),
    ]
}

/// What a registry with the fixtures' content shows for one resource.
fn look(component: &ReadComponent, resource: &Resource) -> Option<Found> {
    let access = resource.access.object();
    if let Some(reference) = access.get("imageReference") {
        let (_, digest) = IMAGES.iter().find(|(image, _)| image == reference)?;
        return Some(Found::Content(format!("sha256:{digest}").parse().unwrap()));
    }
    let digest: Digest = access.get("localReference")?.as_str()?.parse().ok()?;
    if component
        .manifests
        .iter()
        .any(|manifest| manifest.digest == digest)
    {
        return Some(Found::Content(digest));
    }
    let layer = component
        .layers
        .iter()
        .find(|layer| layer.digest == digest)?;
    if layer.media_type.ends_with("+tar+gzip") {
        return Some(Found::Unreadable);
    }
    Some(Found::Content(digest))
}

pub(super) fn found_for(closure: &[ReadComponent], claims: &[Claim]) -> Contents {
    let found = wanted(closure, claims).into_iter().filter_map(|wanted| {
        let component = &closure[wanted.component];
        let resource = &component.descriptor.resources[wanted.resource];
        Some((wanted, look(component, resource)?))
    });
    found.collect()
}

/// All three steps over content as it is in the fixtures.
fn check(closure: Vec<ReadComponent>, signers: &[Signer]) -> Result<Verified<Vec<ReadComponent>>> {
    let claims = authenticate(&closure[0].descriptor, signers)?;
    let contents = found_for(&closure, &claims);
    verify(closure, &claims, &contents)
}

/// Signs what the closure is as bob, under `name`.
pub(crate) fn sign(
    closure: &mut [ReadComponent],
    name: &str,
    spec: [&str; 2],
    algorithm: Algorithm,
) {
    let [hash_algorithm, normalisation] = spec;
    let unsigned = Claim {
        name: name.to_owned(),
        key: Digest::of(""),
        subject: None,
        spec: DigestSpec {
            hash_algorithm: hash_algorithm.to_owned(),
            normalisation_algorithm: normalisation.to_owned(),
            value: String::new(),
        },
        digest: crate::oci::Hasher::new(algorithm).finish(),
        normalisation: Normalisation::named(normalisation).unwrap(),
    };
    let contents = found_for(closure, std::slice::from_ref(&unsigned));
    let digest = Run::new(closure, &unsigned)
        .digest_of_root(&contents)
        .unwrap();
    let hashed = hex::decode(digest.hex()).unwrap();
    let padding = match algorithm {
        Algorithm::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
        Algorithm::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
    };
    let key = RsaPrivateKey::from_pkcs8_pem(BOB_PRIVATE).unwrap();
    let value = hex::encode(key.sign(padding, &hashed).unwrap());
    closure[0].descriptor.signatures.push(Signature {
        name: name.to_owned(),
        digest: DigestSpec {
            value: digest.hex().to_owned(),
            ..unsigned.spec
        },
        signature: SignatureValue {
            algorithm: "RSASSA-PKCS1-V1_5".to_owned(),
            value,
            media_type: "application/vnd.ocm.signature.rsa".to_owned(),
            issuer: None,
        },
        timestamp: None,
    });
}

#[test]
fn what_the_reference_tools_signed_verifies_with_the_signers_key_alone() {
    let cases = [
        ("alice", vec![podinfo("6.3.5")]),
        ("alice-v3", vec![podinfo("6.4.0")]),
        ("alice", product()),
        ("alice", vec![product().remove(2)]),
    ];
    for (name, closure) in cases {
        let verified = check(closure.clone(), &[signer(name, ALICE)]).unwrap();
        assert_eq!(*verified, closure);
        let refused = check(closure, &[signer(name, MALLORY)]);
        assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    }
}

#[test]
fn every_form_of_signature_verifies() {
    for (hash, algorithm) in [
        ("SHA-256", Algorithm::Sha256),
        ("sha256", Algorithm::Sha256),
        ("SHA-512", Algorithm::Sha512),
        ("sha512", Algorithm::Sha512),
    ] {
        for version in ["v1", "v2", "v3", "v4alpha1"] {
            let mut closure = product();
            closure[0].descriptor.signatures.clear();
            let normalisation = format!("jsonNormalisation/{version}");
            sign(&mut closure, "bob", [hash, &normalisation], algorithm);
            check(closure, &[signer("bob", BOB)])
                .unwrap_or_else(|error| panic!("{hash} {version}: {error}"));
        }
    }
}

#[test]
fn legacy_spelling_of_the_hash_is_part_of_what_is_signed() {
    let mut closure = vec![podinfo("6.2.3")];
    sign(
        &mut closure,
        "new",
        ["SHA-256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    sign(
        &mut closure,
        "old",
        ["sha256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    let digests: Vec<_> = closure[0]
        .descriptor
        .signatures
        .iter()
        .map(|found| &found.digest.value)
        .collect();
    assert_ne!(digests[0], digests[1]);
}

#[test]
fn pem_value_verifies_whoever_it_says_it_is_by() {
    use base64::Engine as _;
    let mut closure = vec![podinfo("6.3.5")];
    closure[0].descriptor.signatures.clear();
    sign(
        &mut closure,
        "bob",
        ["SHA-256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    let value = &mut closure[0].descriptor.signatures[0].signature;
    let bytes = hex::decode(&value.value).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
    let certificate = include_str!("../../../tests/fixtures/keys/bob.crt");
    value.media_type = "application/x-pem-file".to_owned();
    value.value = format!(
        "-----BEGIN SIGNATURE-----\nSignature Algorithm: RSASSA-PKCS1-V1_5\n\n{encoded}\n\
         -----END SIGNATURE-----\n{certificate}"
    );
    check(closure.clone(), &[signer("bob", BOB)]).unwrap();
    // The certificate in the value vouches for nothing.
    let refused = check(closure.clone(), &[signer("bob", ALICE)]);
    assert!(matches!(refused, Err(Error::Refused { .. })));
    let value = &mut closure[0].descriptor.signatures[0].signature.value;
    *value = value.replace("PKCS1-V1_5", "PSS");
    let refused = check(closure, &[signer("bob", BOB)]);
    assert!(matches!(refused, Err(Error::Malformed { .. })));
}

#[test]
fn digests_that_the_root_lists_stand_for_those_of_the_references() {
    let mut closure = product();
    let digests: Vec<_> = closure[0]
        .descriptor
        .references
        .iter_mut()
        .map(|reference| reference.digest.take())
        .collect();
    let listed =
        closure[1..].iter_mut().zip(digests).map(|(below, digest)| {
            let descriptor = &mut below.descriptor;
            let resources = descriptor.resources.iter_mut().map(|resource| {
                super::super::NestedResourceDigest {
                    name: resource.name.clone(),
                    version: resource.version.clone(),
                    extra_identity: resource.extra_identity.clone(),
                    digest: resource.digest.take().unwrap(),
                }
            });
            super::super::NestedDigest {
                resource_digests: resources.collect(),
                name: descriptor.name.clone(),
                version: descriptor.version.clone(),
                digest,
            }
        });
    closure[0].descriptor.nested_digests = listed.collect();
    check(closure.clone(), &[signer("alice", ALICE)]).unwrap();

    let mut other = closure.clone();
    other[0].descriptor.nested_digests[1].resource_digests[0]
        .digest
        .value = "0".repeat(64);
    assert!(check(other, &[signer("alice", ALICE)]).is_err());
    let mut lacking = closure.clone();
    lacking[0].descriptor.nested_digests[1]
        .resource_digests
        .pop();
    let refused = check(lacking, &[signer("alice", ALICE)]);
    assert!(
        matches!(refused, Err(Error::NotListed { .. })),
        "{refused:?}"
    );
    closure[0].descriptor.nested_digests.pop();
    let refused = check(closure, &[signer("alice", ALICE)]);
    assert!(
        matches!(refused, Err(Error::NotListed { .. })),
        "{refused:?}"
    );
}

#[test]
fn digest_that_is_not_recorded_is_taken_from_the_content() {
    let mut closure = vec![podinfo("6.3.5")];
    for resource in &mut closure[0].descriptor.resources {
        resource.digest = None;
    }
    check(closure.clone(), &[signer("alice", ALICE)]).unwrap();
    let claims = authenticate(&closure[0].descriptor, &[signer("alice", ALICE)]).unwrap();
    let refused = verify(closure, &claims, &Contents::new());
    assert!(matches!(refused, Err(Error::UnknownContent { .. })));
}
