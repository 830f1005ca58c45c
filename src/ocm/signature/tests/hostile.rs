//! B55, B56, and the ways in which other verifiers were got round.

use super::*;

const BY_ALICE: &str = "alice";

fn refused(closure: Vec<ReadComponent>, name: &str) -> Error {
    check(closure, &[signer(name, ALICE)]).unwrap_err()
}

#[test]
fn b55_image_that_leads_elsewhere_is_refused() {
    let mut component = podinfo("6.3.5");
    let access = serde_json::json!({"type": "ociArtifact",
                                    "imageReference": "ghcr.io/stefanprodan/podinfo:6.4.0"});
    component.descriptor.resources[2].access = serde_json::from_value(access).unwrap();
    let error = refused(vec![component], BY_ALICE);
    assert!(matches!(error, Error::OtherContent { .. }), "{error}");
}

#[test]
fn b56_cve_2026_22703_cve_2022_23649_cve_2022_35929_cve_2022_36056_signature_of_something_else_is_refused()
 {
    let (older, newer) = (podinfo("6.3.5"), podinfo("6.4.0"));
    let product = product();
    for (mut target, from) in [
        (vec![newer.clone()], &older),
        (vec![older.clone()], &newer),
        (vec![podinfo("6.2.3")], &older),
        (product.clone(), &older),
        (vec![older.clone()], &product[0]),
    ] {
        target[0].descriptor.signatures = from.descriptor.signatures.clone();
        let name = from.descriptor.signatures[0].name.clone();
        let error = refused(target, &name);
        assert!(matches!(error, Error::OtherComponent { .. }), "{error}");
    }
    let error = refused(vec![newer], BY_ALICE);
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn b56_signature_with_another_hash_or_digest_is_refused() {
    let change = |change: &dyn Fn(&mut Signature)| {
        let mut component = podinfo("6.4.0");
        change(&mut component.descriptor.signatures[0]);
        refused(vec![component], "alice-v3")
    };
    for error in [
        change(&|found| found.digest.hash_algorithm = "SHA-512".to_owned()),
        change(&|found| found.digest.hash_algorithm = "MD5".to_owned()),
        change(&|found| found.digest.hash_algorithm = "NO-DIGEST".to_owned()),
        change(&|found| found.digest.value = "0".repeat(64)),
        change(&|found| found.digest.value.clear()),
        change(&|found| found.digest.normalisation_algorithm = "jsonNormalisation/v9".to_owned()),
        change(&|found| found.digest.normalisation_algorithm = "jsonNormalisation/v1".to_owned()),
        change(&|found| found.signature.algorithm = "RSASSA-PSS".to_owned()),
        change(&|found| found.signature.algorithm = "sigstore".to_owned()),
        change(&|found| found.signature.algorithm = "none".to_owned()),
        change(&|found| found.signature.media_type = "text/plain".to_owned()),
        change(&|found| found.signature.value.clear()),
        change(&|found| found.signature.value = "00".repeat(256)),
        change(&|found| found.signature.value = "ff".repeat(1 << 20)),
    ] {
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn b56_resource_that_is_left_out_later_is_refused() {
    for position in 0..3 {
        let mut component = podinfo("6.3.5");
        component.descriptor.resources[position].digest = Some(DigestSpec {
            hash_algorithm: "NO-DIGEST".to_owned(),
            normalisation_algorithm: "EXCLUDE-FROM-SIGNATURE".to_owned(),
            value: "NO-DIGEST".to_owned(),
        });
        let error = refused(vec![component], BY_ALICE);
        assert!(matches!(error, Error::OtherComponent { .. }), "{error}");
    }
}

#[test]
fn resource_added_removed_or_swapped_is_refused() {
    let original = podinfo("6.3.5");
    let mut fewer = original.clone();
    fewer.descriptor.resources.pop();
    let mut more = original.clone();
    let mut added = more.descriptor.resources[0].clone();
    added.name = "added".to_owned();
    more.descriptor.resources.push(added);
    let mut swapped = original;
    let digest = swapped.descriptor.resources[0].digest.clone();
    let access = swapped.descriptor.resources[0].access.clone();
    swapped.descriptor.resources[1].digest = digest;
    swapped.descriptor.resources[1].access = access;
    for component in [fewer, more, swapped] {
        let error = refused(vec![component], BY_ALICE);
        assert!(matches!(error, Error::OtherComponent { .. }), "{error}");
    }
}

#[test]
fn reference_to_something_else_is_refused() {
    let mut other = product();
    other[2].descriptor.resources.pop();
    let error = refused(other, BY_ALICE);
    assert!(matches!(error, Error::OtherReference { .. }), "{error}");
    let mut without_digest = product();
    without_digest[2].descriptor.resources.pop();
    without_digest[0].descriptor.references[1].digest = None;
    let error = refused(without_digest, BY_ALICE);
    assert!(matches!(error, Error::OtherComponent { .. }), "{error}");
    let mut lacking = product();
    lacking.pop();
    let error = refused(lacking, BY_ALICE);
    assert!(matches!(error, Error::NotRead { .. }), "{error}");
    let mut circle = product();
    let back = circle[0].descriptor.clone();
    let mut reference = circle[0].descriptor.references[0].clone();
    (reference.component_name, reference.version) = (back.name, back.version);
    circle[1].descriptor.references.push(reference);
    let error = refused(circle, BY_ALICE);
    assert!(matches!(error, Error::NotRead { .. }), "{error}");
}

#[test]
fn cve_2026_35205_missing_proof_is_no_proof() {
    let component = podinfo("6.3.5");
    assert!(matches!(
        check(vec![component.clone()], &[]),
        Err(Error::NothingAsked)
    ));
    let claims = authenticate(&component.descriptor, &[signer(BY_ALICE, ALICE)]).unwrap();
    let contents = found_for(std::slice::from_ref(&component), &claims);
    let nothing = verify(vec![component.clone()], &[], &contents);
    assert!(matches!(nothing, Err(Error::NothingAsked)));
    assert!(matches!(
        verify(Vec::<ReadComponent>::new(), &claims, &contents),
        Err(Error::NothingAsked)
    ));
    let unsigned = refused(vec![podinfo("6.2.3")], BY_ALICE);
    assert!(unsigned.to_string().ends_with("it has none"), "{unsigned}");
}

#[test]
fn cve_2023_33957_cve_2023_33958_cve_2024_29902_cve_2024_29903_many_signatures_cost_little_and_prove_nothing()
 {
    let mut component = podinfo("6.3.5");
    let genuine = component.descriptor.signatures[0].clone();
    component.descriptor.signatures = (0..10_000)
        .map(|index| Signature {
            name: format!("mallory-{index}"),
            ..genuine.clone()
        })
        .collect();
    let error = refused(vec![component.clone()], BY_ALICE);
    assert!(error.to_string().len() < 500, "{error}");
    component.descriptor.signatures.truncate(10);
    component
        .descriptor
        .signatures
        .extend([genuine.clone(), genuine]);
    let error = refused(vec![component], BY_ALICE);
    assert!(matches!(error, Error::Several { .. }), "{error}");
}

#[test]
fn rustsec_2020_0024_one_key_does_not_stand_for_two_signatures() {
    let component = podinfo("6.3.5");
    let both = [signer(BY_ALICE, ALICE), signer("alice-v3", ALICE)];
    let refused = check(vec![component.clone()], &both);
    assert!(matches!(refused, Err(Error::Missing { .. })));
    let mut closure = vec![component];
    sign(
        &mut closure,
        "bob",
        ["SHA-256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    let both = [signer(BY_ALICE, ALICE), signer("bob", BOB)];
    check(closure.clone(), &both).unwrap();
    let wrong = [signer(BY_ALICE, ALICE), signer("bob", ALICE)];
    assert!(matches!(check(closure, &wrong), Err(Error::Refused { .. })));
}
