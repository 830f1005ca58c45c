//! The bytes of one signature, and whether a key made them.

use rsa::{Pkcs1v15Sign, Pss};
use sha2::{Sha256, Sha512};

use super::key::{PublicKey, is_same_name};
use super::{Error, Result, pem};
use crate::oci::{Algorithm, Digest};
use crate::ocm::descriptor::{Signature, SignatureValue};

/// The largest value of a signature, in characters: a signature and a long chain.
const MAX_VALUE: usize = 128 * 1024;

/// How the digest was padded before the key was applied (RFC 8017).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Pkcs1V15,
    Pss,
}

impl Scheme {
    fn of(signature: &Signature) -> Result<Self> {
        match signature.signature.algorithm.as_str() {
            "RSASSA-PKCS1-V1_5" => Ok(Self::Pkcs1V15),
            "RSASSA-PSS" => Ok(Self::Pss),
            other if other.starts_with("sigstore") => Err(Error::Unsupported {
                name: signature.name.clone(),
                problem: format!(
                    "{other:?} proves that somebody signed, not that the key given did; sign with \
                     an RSA key (RSASSA-PSS)"
                ),
            }),
            other => Err(Error::Unsupported {
                name: signature.name.clone(),
                problem: format!(
                    "its algorithm {other:?} is not known; known are \"RSASSA-PSS\" and \
                     \"RSASSA-PKCS1-V1_5\""
                ),
            }),
        }
    }
}

/// Checks that `key` signed the digest that `signature` names.
pub(super) fn verify(signature: &Signature, digest: &Digest, key: &PublicKey) -> Result<()> {
    let scheme = Scheme::of(signature)?;
    let bytes = decode(signature, scheme)?;
    check_issuer(signature, key)?;
    let hashed = hex::decode(digest.hex()).expect("a digest is hexadecimal by its type");
    let verified = match (scheme, digest.algorithm()) {
        (Scheme::Pkcs1V15, Algorithm::Sha256) => {
            key.rsa
                .verify(Pkcs1v15Sign::new::<Sha256>(), &hashed, &bytes)
        }
        (Scheme::Pkcs1V15, Algorithm::Sha512) => {
            key.rsa
                .verify(Pkcs1v15Sign::new::<Sha512>(), &hashed, &bytes)
        }
        (Scheme::Pss, Algorithm::Sha256) => key.rsa.verify(any_salt::<Sha256>(), &hashed, &bytes),
        (Scheme::Pss, Algorithm::Sha512) => key.rsa.verify(any_salt::<Sha512>(), &hashed, &bytes),
    };
    verified.map_err(|_| Error::Refused {
        name: signature.name.clone(),
        key: key.digest().clone(),
    })
}

/// Go signs with as long a salt as fits, other tools with one as long as the digest.
fn any_salt<D: sha2::Digest>() -> Pss<D> {
    Pss {
        salt_len: None,
        ..Pss::new()
    }
}

fn decode(signature: &Signature, scheme: Scheme) -> Result<Vec<u8>> {
    let malformed = |problem: String| Error::Malformed {
        name: signature.name.clone(),
        problem,
    };
    let SignatureValue {
        value, media_type, ..
    } = &signature.signature;
    if value.len() > MAX_VALUE {
        return Err(malformed(format!(
            "its value is longer than {MAX_VALUE} characters"
        )));
    }
    match (media_type.as_str(), scheme) {
        ("application/vnd.ocm.signature.rsa", _)
        | ("application/vnd.ocm.signature.rsa.pss", Scheme::Pss) => {
            hex::decode(value).map_err(|source| malformed(format!("its value: {source}")))
        }
        ("application/x-pem-file", _) => from_pem(signature, value).map_err(malformed),
        (other, _) => Err(malformed(format!(
            "its media type {other:?} does not fit its algorithm {:?}",
            signature.signature.algorithm
        ))),
    }
}

/// The `SIGNATURE` block. The certificates behind it are the signer's own word: they vouch for
/// nothing, and the key that is configured has to verify the signature all the same.
fn from_pem(signature: &Signature, value: &str) -> Result<Vec<u8>, String> {
    let mut blocks = pem::blocks(value)?.into_iter();
    let first = blocks.next().filter(|block| block.label == "SIGNATURE");
    let block = first.ok_or("its value does not begin with a PEM block \"SIGNATURE\"")?;
    if let Some(other) = blocks.find(|block| block.label != "CERTIFICATE") {
        return Err(format!("its value holds a PEM block {:?}", other.label));
    }
    let algorithm = &signature.signature.algorithm;
    for (key, value) in &block.headers {
        if key == "Signature Algorithm" && value != algorithm {
            return Err(format!(
                "it says algorithm {algorithm:?}, and {value:?} in its value"
            ));
        }
    }
    Ok(block.der)
}

fn check_issuer(signature: &Signature, key: &PublicKey) -> Result<()> {
    let issuer = signature.signature.issuer.as_deref().unwrap_or_default();
    match &key.subject {
        Some(subject) if !issuer.is_empty() && !is_same_name(issuer, subject) => {
            Err(Error::WrongIssuer {
                name: signature.name.clone(),
                issuer: issuer.to_owned(),
                subject: subject.clone(),
            })
        }
        _ => Ok(()),
    }
}
