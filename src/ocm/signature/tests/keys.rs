//! B57: which keys are taken.

use super::*;

fn problem(text: impl AsRef<[u8]>) -> String {
    PublicKey::parse(text.as_ref()).unwrap_err().to_string()
}

fn fixture(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys");
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

#[test]
fn b57_keys_and_certificates_are_taken_in_their_usual_forms() {
    let mut closure = vec![podinfo("6.3.5")];
    sign(
        &mut closure,
        "bob",
        ["SHA-256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    let relabelled = fixture("bob-pkcs1.pub").replace("RSA PUBLIC KEY", "PUBLIC KEY");
    for text in [
        fixture("bob.pub"),
        fixture("bob-pkcs1.pub"),
        relabelled,
        fixture("bob.crt"),
        fixture("bob.pub").replace('\n', "\r\n"),
        format!("the key of bob\n{}\n", fixture("bob.pub")),
    ] {
        check(closure.clone(), &[signer("bob", &text)]).unwrap();
    }
}

#[test]
fn b57_other_keys_are_refused_and_the_reason_is_said() {
    let bob = fixture("bob.pub");
    let der = hex::decode("3082010a0282010100").unwrap();
    for (text, expected) in [
        (fixture("bob.key").into_bytes(), "private key"),
        (
            fixture("ec.pub").into_bytes(),
            "RSA key of 2048 to 8192 bits",
        ),
        (
            fixture("rsa512.pub").into_bytes(),
            "RSA key of 2048 to 8192 bits",
        ),
        (fixture("rsa1024.pub").into_bytes(), "1024 bits"),
        (format!("{bob}{bob}").into_bytes(), "found 2"),
        (Vec::new(), "found 0"),
        (b"alice".to_vec(), "found 0"),
        (der, "no text"),
        (bob.replace("-----END", "-----STOP").into_bytes(), "no end"),
        (bob.replace("MII", "M!I").into_bytes(), "no base64"),
        (bob.replace("PUBLIC", "SECRET").into_bytes(), "SECRET KEY"),
        (vec![b'\n'; 1 << 20], "larger than"),
    ] {
        let problem = problem(text);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn b57_private_key_is_not_repeated_in_the_message() {
    let key = fixture("bob.key");
    let problem = problem(&key);
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!problem.contains(line));
    }
}

#[test]
fn issuer_of_a_signature_is_the_certificates_subject() {
    let mut closure = vec![podinfo("6.3.5")];
    sign(
        &mut closure,
        "bob",
        ["SHA-256", "jsonNormalisation/v3"],
        Algorithm::Sha256,
    );
    let certificate = signer("bob", &fixture("bob.crt"));
    for (issuer, is_bob) in [
        ("CN=bob,O=Example", true),
        ("O=Example, CN=bob", true),
        ("CN=bob", false),
        ("bob", false),
        ("CN=alice,O=Example", false),
        ("", true),
    ] {
        let value = &mut closure[0].descriptor.signatures[1].signature;
        value.issuer = Some(issuer.to_owned());
        let checked = check(closure.clone(), std::slice::from_ref(&certificate));
        assert_eq!(checked.is_ok(), is_bob, "{issuer:?} {checked:?}");
        // A bare key has no subject that could differ.
        check(closure.clone(), &[signer("bob", BOB)]).unwrap();
    }
}
