//! Signatures with certificates: who is certified by the authority that is configured, and how.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

/// 2027-01-15, within the period of all certificates here.
fn middle() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2028, 1, 1);
    params
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn root(common_name: &str) -> Issuer {
    CertifiedIssuer::self_signed(authority_params(common_name), KeyPair::generate().unwrap())
        .unwrap()
}

fn intermediate(issuer: &Issuer) -> Issuer {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(authority_params("intermediate"), key, issuer).unwrap()
}

/// Bob's certificate for signing code, as `change` makes it.
fn leaf(issuer: &Issuer, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = params("bob");
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    change(&mut params);
    let key = KeyPair::from_pem(BOB_PRIVATE).unwrap();
    params.signed_by(&key, issuer).unwrap().pem()
}

/// Podinfo with a signature of bob's that brings `chain`.
fn signed(chain: &[String], issuer: Option<&str>) -> Vec<ReadComponent> {
    let mut closure = vec![podinfo("6.3.5")];
    closure[0].descriptor.signatures.clear();
    sign(
        &mut closure,
        "bob",
        ["SHA-256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    let value = &mut closure[0].descriptor.signatures[0].signature;
    let encoded = STANDARD.encode(hex::decode(&value.value).unwrap());
    value.media_type = "application/x-pem-file".to_owned();
    value.issuer = issuer.map(str::to_owned);
    value.value = format!(
        "-----BEGIN SIGNATURE-----\nSignature Algorithm: RSASSA-PKCS1-V1_5\n\n{encoded}\n\
         -----END SIGNATURE-----\n{}",
        chain.concat()
    );
    closure
}

fn checked(closure: Vec<ReadComponent>, trusted: &str, at: SystemTime) -> Result<()> {
    let signer = Signer {
        at,
        ..signer("bob", trusted)
    };
    check(closure, &[signer]).map(|_| ())
}

#[track_caller]
fn assert_refused(result: Result<()>, expected: &str) {
    let error = result.unwrap_err();
    assert!(
        matches!(error, Error::Chain { .. } | Error::WrongIssuer { .. }),
        "{error:?}"
    );
    let text = error.to_string();
    assert!(text.contains(expected), "{text}");
}

#[test]
fn signer_who_is_certified_by_the_authority_is_named() {
    let root = root("root");
    let intermediate = intermediate(&root);
    let direct = [leaf(&root, |_| ())];
    let through = [leaf(&intermediate, |_| ()), intermediate.pem()];
    for chain in [&direct[..], &through[..]] {
        for issuer in [None, Some("CN=bob"), Some("bob")] {
            checked(signed(chain, issuer), &root.pem(), middle()).unwrap();
        }
        let closure = signed(chain, None);
        let signer = Signer {
            at: middle(),
            ..signer("bob", &root.pem())
        };
        let claims = authenticate(&closure[0].descriptor, &[signer]).unwrap();
        assert_eq!(claims[0].subject.as_deref(), Some("CN=bob"));
    }
}

#[test]
fn cve_2026_40109_chain_leads_to_the_authority_that_is_configured() {
    let (ours, theirs) = (root("root"), root("root"));
    let chain = [leaf(&theirs, |_| ())];
    let refused = checked(signed(&chain, None), &ours.pem(), middle());
    assert_refused(refused, "does not lead to the authority");
    let between = intermediate(&theirs);
    let chain = [leaf(&between, |_| ()), between.pem()];
    let refused = checked(signed(&chain, None), &ours.pem(), middle());
    assert_refused(refused, "does not lead to the authority");
    // The certificate between is missing.
    let between = intermediate(&ours);
    let refused = checked(
        signed(&[leaf(&between, |_| ())], None),
        &ours.pem(),
        middle(),
    );
    assert_refused(refused, "does not lead to the authority");
}

#[test]
fn cve_2026_40109_root_inside_the_signature_is_refused() {
    let (ours, theirs) = (root("root"), root("theirs"));
    for (issuer, trusted) in [(&theirs, &ours), (&ours, &ours)] {
        let chain = [leaf(issuer, |_| ()), issuer.pem()];
        let refused = checked(signed(&chain, None), &trusted.pem(), middle());
        assert_refused(refused, "signed by itself");
    }
    // A signer who certifies himself.
    let bob = include_str!("../../../../tests/fixtures/keys/bob.crt").to_owned();
    let refused = checked(signed(&[bob], None), &ours.pem(), middle());
    assert_refused(refused, "signed by itself");
}

#[test]
fn cve_2026_40109_certificate_is_for_code_signing() {
    let root = root("root");
    for purposes in [Vec::new(), vec![ExtendedKeyUsagePurpose::ServerAuth]] {
        let chain = [leaf(&root, |params| params.extended_key_usages = purposes)];
        let refused = checked(signed(&chain, None), &root.pem(), middle());
        assert_refused(refused, "code signing");
    }
    // An authority signs certificates, not components.
    let chain = [leaf(&root, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })];
    let refused = checked(signed(&chain, None), &root.pem(), middle());
    assert_refused(refused, "does not lead to the authority");
}

#[test]
fn cve_2026_40109_certificates_are_valid_now() {
    let year = Duration::from_hours(366 * 24);
    let root = root("root");
    let chain = [leaf(&root, |_| ())];
    for at in [middle() - 2 * year, middle() + 2 * year] {
        let refused = checked(signed(&chain, None), &root.pem(), at);
        assert_refused(refused, "period of the authority's certificate");
    }
    let short = [leaf(&root, |params| {
        params.not_after = date_time_ymd(2026, 2, 1);
    })];
    let refused = checked(signed(&short, None), &root.pem(), middle());
    assert_refused(refused, "expired");
    let late = [leaf(&root, |params| {
        params.not_before = date_time_ymd(2027, 6, 1);
    })];
    let refused = checked(signed(&late, None), &root.pem(), middle());
    assert_refused(refused, "not valid yet");
}

#[test]
fn cve_2026_40109_issuer_is_the_subject_of_the_signers_certificate() {
    let root = root("root");
    let chain = [leaf(&root, |_| ())];
    for issuer in ["CN=alice", "CN=root", "CN=bob,O=Example"] {
        let refused = checked(signed(&chain, Some(issuer)), &root.pem(), middle());
        assert_refused(refused, "is issued by");
    }
}

#[test]
fn certificate_of_the_authority_does_not_make_another_key_valid() {
    let root = root("root");
    let chain = [leaf(&root, |_| ())];
    let mut closure = signed(&chain, None);
    let other = signed(&chain, None);
    closure[0].descriptor.signatures[0].digest.value = "0".repeat(64);
    assert!(checked(closure, &root.pem(), middle()).is_err());
    // An authority with a key that is not RSA signs nothing itself.
    let mut bare = other;
    let value = &mut bare[0].descriptor.signatures[0].signature;
    let end = value.value.find("-----BEGIN CERTIFICATE").unwrap();
    value.value.truncate(end);
    let refused = checked(bare, &root.pem(), middle());
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
}
