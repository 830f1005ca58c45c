//! B54: one bit changed anywhere in what the fixtures hold, for every signature of them and by
//! every normalisation.

use super::*;
use crate::ocm::fixture::{blob, descriptor};
use crate::ocm::{Descriptor, Normalisation};

/// A component version, with all that it refers to, as somebody signed it.
struct Signed {
    name: String,
    /// The root first.
    closure: Vec<ReadComponent>,
    /// The descriptors as they are written, and the folders that they and their blobs are in.
    texts: Vec<(Vec<u8>, &'static str)>,
    signer: Signer,
}

/// A component version of a folder: which one, and its folder.
type Member = (&'static str, &'static str, &'static str);

const OLDER: Member = ("ctf/podinfo-signed", PODINFO, "6.3.5");
const NEWER: Member = ("ctf/podinfo-signed", PODINFO, "6.4.0");
const UNSIGNED: Member = ("ctf/podinfo-signed", PODINFO, "6.2.3");
const OTHER_SCHEMA: Member = ("ctf/podinfo-v3alpha1", PODINFO, "6.3.5");
const PRODUCT: Member = ("ctf/product-signed", "example.org/product", "2.0.0");
const ECHO: Member = ("ctf/product-signed", "example.org/echo", "1.2.0");

impl Signed {
    /// As the reference tools signed it.
    fn by_alice(members: &[Member], name: &str) -> Self {
        let of =
            |(folder, component, version): &Member| read(folder, "ghcr.io", component, version);
        let text = |(folder, component, version): &Member| {
            let text = descriptor(folder, "ghcr.io", component, version);
            (text, *folder)
        };
        Self {
            name: format!("{} {}, by {name}", members[0].1, members[0].2),
            closure: members.iter().map(of).collect(),
            texts: members.iter().map(text).collect(),
            signer: signer(name, ALICE),
        }
    }

    /// As this test signs it.
    fn by_bob(members: &[Member], normalisation: &str) -> Self {
        let mut signed = Self::by_alice(members, "bob");
        signed.name = format!("{}, {normalisation}", signed.name);
        signed.signer = signer("bob", BOB);
        let spec = ["SHA-256", normalisation];
        sign(&mut signed.closure, "bob", spec, Algorithm::Sha256);
        signed
    }

    /// The closure with another text for one descriptor, if it is one.
    fn with(&self, at: usize, text: &[u8]) -> Option<Vec<ReadComponent>> {
        let mut closure = self.closure.clone();
        let by_bob = closure[at].descriptor.signatures.drain(..);
        let by_bob: Vec<_> = by_bob.filter(|found| found.name == "bob").collect();
        closure[at].descriptor = Descriptor::parse(text).ok()?;
        closure[at].descriptor.signatures.extend(by_bob);
        Some(closure)
    }
}

/// Every signature there is.
fn all() -> Vec<Signed> {
    let mut all = vec![
        Signed::by_alice(&[OLDER], "alice"),
        Signed::by_alice(&[NEWER], "alice-v3"),
        Signed::by_alice(&[PRODUCT, OLDER, ECHO], "alice"),
        Signed::by_alice(&[ECHO], "alice"),
    ];
    for version in ["v1", "v2", "v3", "v4alpha1"] {
        let normalisation = format!("jsonNormalisation/{version}");
        for member in [UNSIGNED, OTHER_SCHEMA] {
            all.push(Signed::by_bob(&[member], &normalisation));
        }
    }
    all
}

/// What of a closure decides about what is delivered. What is not delivered where signatures are
/// asked for, a resource without a recorded digest, is filled in by the `original`; so are the
/// digests of references, which are computed and not believed.
fn output(
    closure: &[ReadComponent],
    original: &[ReadComponent],
) -> Vec<(String, Vec<Option<Found>>)> {
    let outputs = closure.iter().zip(original).map(|(component, original)| {
        let mut filled = component.descriptor.clone();
        let known = &original.descriptor;
        for (resource, known) in filled.resources.iter_mut().zip(&known.resources) {
            if resource.digest.is_none() {
                resource.digest.clone_from(&known.digest);
            }
        }
        for (reference, known) in filled.references.iter_mut().zip(&known.references) {
            reference.digest.clone_from(&known.digest);
        }
        let resources = component.descriptor.resources.iter();
        let found = resources.map(|resource| look(component, resource));
        (Normalisation::V3.apply(&filled).unwrap(), found.collect())
    });
    outputs.collect()
}

/// Changes one bit of each byte, another one from byte to byte.
fn flips(original: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..original.len()).map(|position| {
        let mut changed = original.to_vec();
        changed[position] ^= 1 << (position % 8);
        (position, changed)
    })
}

#[test]
fn b54_changed_bit_of_a_descriptor_never_verifies_or_changes_nothing() {
    let (mut refused, mut unchanged) = (0, 0);
    for signed in all() {
        let expected = output(&signed.closure, &signed.closure);
        let signers = std::slice::from_ref(&signed.signer);
        check(signed.closure.clone(), signers).unwrap();
        let claims = authenticate(&signed.closure[0].descriptor, signers).unwrap();
        for (at, (text, _)) in signed.texts.iter().enumerate() {
            for (position, changed) in flips(text) {
                let Some(closure) = signed.with(at, &changed) else {
                    refused += 1;
                    continue;
                };
                // Keys are slow, and say the same of the same signatures.
                let is_known =
                    closure[0].descriptor.signatures == signed.closure[0].descriptor.signatures;
                let verified = if is_known {
                    let contents = found_for(&closure, &claims);
                    verify(closure, &claims, &contents)
                } else {
                    check(closure, signers)
                };
                match verified {
                    Ok(verified) => {
                        let found = output(&verified, &signed.closure);
                        assert_eq!(found, expected, "{}: byte {position} of {at}", signed.name);
                        unchanged += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(
        refused > 10_000 && unchanged > 1_000,
        "{refused} {unchanged}"
    );
}

#[test]
fn b54_changed_bit_of_a_blob_never_verifies() {
    for signed in all() {
        let signers = std::slice::from_ref(&signed.signer);
        let claims = authenticate(&signed.closure[0].descriptor, signers).unwrap();
        let contents = found_for(&signed.closure, &claims);
        let last = signed.closure.len() - 1;
        let layer = |found: &Wanted| {
            let component = &signed.closure[found.component];
            let access = &component.descriptor.resources[found.resource].access;
            let digest = access.object().get("localReference")?.as_str()?;
            let digest: Digest = digest.parse().unwrap();
            // The digest of what is a whole artifact is that of a manifest in it.
            let is_blob = contents[found] == Found::Content(digest.clone());
            is_blob.then_some((*found, digest))
        };
        let mut of_last = contents.keys().filter(|found| found.component == last);
        let (wanted, digest): (Wanted, Digest) = of_last.find_map(layer).unwrap();
        let content = blob(signed.texts[last].1, &digest);
        let with = |bytes: &[u8]| {
            let mut contents = contents.clone();
            contents.insert(wanted, Found::Content(Digest::of(bytes)));
            verify(signed.closure.clone(), &claims, &contents)
        };
        with(&content).unwrap();
        for (position, changed) in flips(&content) {
            let refused = with(&changed);
            assert!(
                matches!(
                    refused,
                    Err(Error::OtherContent { .. } | Error::OtherComponent { .. })
                ),
                "{}: byte {position}",
                signed.name
            );
        }
    }
}

#[test]
fn b54_changed_bit_of_key_or_signature_never_verifies() {
    for signed in all() {
        let root = &signed.closure[0].descriptor;
        let value = root.signatures[0].signature.value.clone();
        for (position, changed) in flips(&hex::decode(&value).unwrap()) {
            let mut root = root.clone();
            root.signatures[0].signature.value = hex::encode(changed);
            let refused = authenticate(&root, std::slice::from_ref(&signed.signer));
            assert!(refused.is_err(), "{}: byte {position}", signed.name);
        }
    }
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
}
