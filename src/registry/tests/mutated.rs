//! What registries, Secrets and archives may send, changed at random: an error or a value, and
//! never a panic.

use super::server::plain_manifest;
use crate::mutation::ConfigData;
use crate::oci::{Digest, ImageReference};
use crate::ocm::signature::PublicKey;
use crate::ocm::{ComponentManifest, Constraint, Descriptor, OcmRepository, Version};
use crate::registry::{Credentials, Manifest, media_type};

const KEY: &str = include_str!("../../../tests/fixtures/keys/alice.pub");
const DESCRIPTOR: &str = "
meta: {schemaVersion: v2}
component:
  name: example.org/shop
  version: 1.0.0
  provider: acme
  labels: [{name: a, value: {b: [1, null]}, signing: true}]
  componentReferences: [{name: db, componentName: example.org/db, version: 2.0.0}]
  resources:
  - name: image
    version: 1.0.0
    type: ociImage
    extraIdentity: {arch: amd64}
    digest: {hashAlgorithm: SHA-256, normalisationAlgorithm: ociArtifactDigest/v1, value: aa}
    access: {type: ociArtifact, imageReference: 'r.example/a:1'}
signatures:
- name: alice
  digest: {hashAlgorithm: SHA-256, normalisationAlgorithm: jsonNormalisation/v1, value: bb}
  signature: {algorithm: RSASSA-PSS, mediaType: application/vnd.ocm.signature.rsa, value: cc}
";

/// Changes `text` at one to four places, the same way for the same `seed`.
fn mutated(text: &str, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..random.usize(1..=4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.usize(..bytes.len());
        let to = random.usize(at..=bytes.len().min(at + 40));
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => drop(bytes.drain(at..to)),
            2 => bytes.truncate(at),
            3 => {
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            4 => {
                let hostile: [&[u8]; 8] = [
                    b"\0",
                    b"\n",
                    b"\"",
                    b"{[",
                    b"-1",
                    b"99999999999999999999",
                    b"\xff\xfe",
                    b":",
                ];
                let inserted = random.choice(hostile).unwrap_or_default();
                bytes.splice(at..at, inserted.iter().copied());
            }
            _ => bytes[at] = random.u8(..),
        }
    }
    bytes
}

/// Reads each of many changed forms of `text`.
fn hold(text: &str, read: impl Fn(&[u8])) {
    for seed in 0..1_500 {
        read(&mutated(text, seed));
    }
}

/// The same for what is a text already.
fn hold_texts(texts: &[&str], read: impl Fn(&str)) {
    for text in texts {
        hold(text, |bytes| read(&String::from_utf8_lossy(bytes)));
    }
}

#[test]
fn commit_a3a74df3_56ba10a60_no_parser_of_foreign_content_panics() {
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{}","size":2,"annotations":{{"a":"b"}}}}]}}"#,
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        Digest::of("x"),
    );
    for manifest in [&plain_manifest(), &index] {
        hold(manifest, |bytes| {
            let _ = Manifest::stored(Digest::of(bytes), None, bytes.to_vec().into());
            let _ = ComponentManifest::parse(bytes, media_type::OCI_MANIFEST);
        });
    }
    hold(DESCRIPTOR, |bytes| drop(Descriptor::parse(bytes)));
    hold(KEY, |bytes| drop(PublicKey::parse(bytes)));
    let docker =
        r#"{"auths":{"ghcr.io/team":{"auth":"Ym90OnB3"},"r.example:5000":{"identitytoken":"t"}}}"#;
    hold(docker, |bytes| {
        drop(Credentials::default().add_docker_config("secret", "key", bytes));
    });
    let ocm = "type: credentials.config.ocm.software/v1\nconsumers:\n- identity: {type: OCIRegistry, \
               hostname: r.example, port: '5000', pathprefix: a}\n  credentials: [{properties: \
               {username: u, password: p}}]\n";
    hold(ocm, |bytes| {
        drop(Credentials::default().add_ocm_config("secret", "key", bytes));
    });
    let rules = "configuration: {defaults: {a: 1}, rules: [{value: (( a )), file: f, path: b[0].c}]}\n\
                 localization: [{file: f, image: a.b, resource: {name: image}}]\n";
    hold_texts(&[rules], |text| drop(ConfigData::parse(text.as_bytes())));
    let digest = Digest::of("x").to_string();
    let image = format!("r.example:5000/a/b:1.0@{digest}");
    hold_texts(
        &[
            &digest,
            &image,
            "https://r.example:5000/a/b",
            ">=1.2 <2 || ~3.x",
            "v1.2.3-rc.1+b",
        ],
        |text| {
            drop(text.parse::<Digest>());
            drop(text.parse::<ImageReference>());
            drop(text.parse::<OcmRepository>());
            drop(text.parse::<Constraint>());
            drop(text.parse::<Version>());
        },
    );
}
