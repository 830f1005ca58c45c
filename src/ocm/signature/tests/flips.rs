//! B54: one bit changed anywhere.

use super::*;
use crate::ocm::{Descriptor, Normalisation};

/// The descriptor as a text of which every byte is a part of a value or of the notation.
fn text(component: &ReadComponent) -> Vec<u8> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/ctf/podinfo-signed/blobs"
    );
    let mut texts = std::fs::read_dir(folder).unwrap().filter_map(|entry| {
        let archive = std::fs::read(entry.unwrap().path()).unwrap();
        let end = archive.len().min(512 + 4096);
        let text = archive.get(512..end)?;
        let length = text
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(text.len());
        let text = &text[..length];
        let descriptor = Descriptor::parse(text).ok()?;
        (descriptor == component.descriptor).then(|| text.to_vec())
    });
    texts.next().unwrap()
}

/// What of a component version decides about what is delivered. A resource without a recorded
/// digest is filled in by the `original`: it is not delivered at all.
fn output(component: &ReadComponent, original: &ReadComponent) -> (String, Vec<Option<Found>>) {
    let mut filled = component.descriptor.clone();
    let known = original.descriptor.resources.iter();
    for (resource, known) in filled.resources.iter_mut().zip(known) {
        resource
            .digest
            .get_or_insert_with(|| known.digest.clone().unwrap());
    }
    let resources = component.descriptor.resources.iter();
    (
        Normalisation::V3.apply(&filled).unwrap(),
        resources
            .map(|resource| look(component, resource))
            .collect(),
    )
}

#[test]
fn b54_changed_bit_of_the_descriptor_never_verifies_or_changes_nothing() {
    let component = podinfo("6.3.5");
    let original = text(&component);
    let expected = output(&component, &component);
    let alice = [signer("alice", ALICE)];
    check(vec![component.clone()], &alice).unwrap();
    let (mut refused, mut unchanged) = (0, 0);
    for bit in 0..original.len() * 8 {
        let position = bit / 8;
        let mut changed = original.clone();
        changed[position] ^= 1 << (bit % 8);
        let Ok(descriptor) = Descriptor::parse(&changed) else {
            refused += 1;
            continue;
        };
        let changed = ReadComponent {
            descriptor,
            ..component.clone()
        };
        match check(vec![changed], &alice) {
            Ok(verified) => {
                assert_eq!(
                    output(&verified.closure()[0], &component),
                    expected,
                    "byte {position}"
                );
                unchanged += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 1_000 && unchanged > 0, "{refused} {unchanged}");
}

#[test]
fn b54_changed_bit_of_a_blob_never_verifies() {
    let component = podinfo("6.3.5");
    let claims = authenticate(&component.descriptor, &[signer("alice", ALICE)]).unwrap();
    let contents = found_for(std::slice::from_ref(&component), &claims);
    let digest = component.descriptor.resources[1].content_digest().unwrap();
    let file = digest.to_string().replace(':', ".");
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/ctf/podinfo-signed/blobs"
    );
    let blob = std::fs::read(format!("{folder}/{file}")).unwrap();
    let with = |bytes: &[u8]| {
        let mut contents = contents.clone();
        let wanted = Wanted::new(0, 1, Algorithm::Sha256);
        contents.insert(wanted, Found::Content(Digest::of(bytes)));
        verify(vec![component.clone()], &claims, &contents)
    };
    with(&blob).unwrap();
    for position in 0..blob.len() {
        let mut changed = blob.clone();
        changed[position] ^= 1 << (position % 8);
        let refused = with(&changed);
        assert!(
            matches!(refused, Err(Error::OtherContent { .. })),
            "byte {position}"
        );
    }
}

#[test]
fn b54_changed_bit_of_key_or_signature_never_verifies() {
    let component = podinfo("6.3.5");
    for position in 0..ALICE.len() {
        let mut changed = ALICE.as_bytes().to_vec();
        changed[position] ^= 1;
        if let Ok(key) = PublicKey::parse(&changed)
            && key.digest() != signer("alice", ALICE).key.digest()
        {
            let name = "alice".to_owned();
            let refused = authenticate(&component.descriptor, &[Signer { name, key, at: NOW }]);
            assert!(refused.is_err(), "byte {position}");
        }
    }
    let alice = [signer("alice", ALICE)];
    let value = component.descriptor.signatures[0].signature.value.clone();
    for position in 0..value.len() / 2 {
        let mut bytes = hex::decode(&value).unwrap();
        bytes[position] ^= 1 << (position % 8);
        let mut changed = component.descriptor.clone();
        changed.signatures[0].signature.value = hex::encode(bytes);
        assert!(authenticate(&changed, &alice).is_err(), "byte {position}");
    }
}
