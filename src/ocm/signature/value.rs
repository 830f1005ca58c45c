//! The bytes of one signature, and whether a key made them.

use std::time::SystemTime;

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

/// The key that a signature verified with.
#[derive(Debug)]
pub(super) struct Signed {
    /// The digest of the key or certificate.
    pub(super) key: Digest,
    /// The subject of the certificate, where it is one.
    pub(super) subject: Option<String>,
}

/// Checks that `key`, or somebody whom the authority `key` certified for `at`, signed the digest
/// that `signature` names.
pub(super) fn verify(
    signature: &Signature,
    digest: &Digest,
    key: &PublicKey,
    at: SystemTime,
) -> Result<Signed> {
    let scheme = Scheme::of(signature)?;
    let Value { bytes, chain } = decode(signature, scheme)?;
    let unsupported = |problem: String| Error::Unsupported {
        name: signature.name.clone(),
        problem,
    };
    let (rsa, signed) = match (&key.authority, &key.rsa) {
        (Some(authority), _) if !chain.is_empty() => {
            let leaf = authority.leaf(&chain, at).map_err(|problem| Error::Chain {
                name: signature.name.clone(),
                problem,
            })?;
            let signed = Signed {
                key: leaf.digest,
                subject: Some(leaf.subject),
            };
            (leaf.rsa, signed)
        }
        (_, Some(rsa)) => {
            let signed = Signed {
                key: key.digest().clone(),
                subject: key.subject.clone(),
            };
            (rsa.clone(), signed)
        }
        (_, None) => {
            return Err(unsupported(
                "the key given is that of an authority, and the signature brings no certificate \
                 that could lead to it"
                    .to_owned(),
            ));
        }
    };
    check_issuer(signature, signed.subject.as_deref())?;
    let hashed = hex::decode(digest.hex()).expect("a digest is hexadecimal by its type");
    let verified = match (scheme, digest.algorithm()) {
        (Scheme::Pkcs1V15, Algorithm::Sha256) => {
            rsa.verify(Pkcs1v15Sign::new::<Sha256>(), &hashed, &bytes)
        }
        (Scheme::Pkcs1V15, Algorithm::Sha512) => {
            rsa.verify(Pkcs1v15Sign::new::<Sha512>(), &hashed, &bytes)
        }
        (Scheme::Pss, Algorithm::Sha256) => rsa.verify(any_salt::<Sha256>(), &hashed, &bytes),
        (Scheme::Pss, Algorithm::Sha512) => rsa.verify(any_salt::<Sha512>(), &hashed, &bytes),
    };
    verified.map_err(|_| Error::Refused {
        name: signature.name.clone(),
        key: signed.key.clone(),
    })?;
    Ok(signed)
}

/// Go signs with as long a salt as fits, other tools with one as long as the digest.
fn any_salt<D: sha2::Digest>() -> Pss<D> {
    Pss {
        salt_len: None,
        ..Pss::new()
    }
}

/// What the value of a signature holds.
struct Value {
    bytes: Vec<u8>,
    /// Certificates in binary form, the signer's first.
    chain: Vec<Vec<u8>>,
}

fn decode(signature: &Signature, scheme: Scheme) -> Result<Value> {
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
            let bytes = hex::decode(value);
            Ok(Value {
                bytes: bytes.map_err(|source| malformed(format!("its value: {source}")))?,
                chain: Vec::new(),
            })
        }
        ("application/x-pem-file", _) => from_pem(signature, value).map_err(malformed),
        (other, _) => Err(malformed(format!(
            "its media type {other:?} does not fit its algorithm {:?}",
            signature.signature.algorithm
        ))),
    }
}

/// The `SIGNATURE` block and the certificates behind it. They are the signer's own word: they count
/// only as far as they lead to an authority that is configured.
fn from_pem(signature: &Signature, value: &str) -> Result<Value, String> {
    let mut blocks = pem::blocks(value)?.into_iter();
    let first = blocks.next().filter(|block| block.label == "SIGNATURE");
    let block = first.ok_or("its value does not begin with a PEM block \"SIGNATURE\"")?;
    let algorithm = &signature.signature.algorithm;
    for (key, value) in &block.headers {
        if key == "Signature Algorithm" && value != algorithm {
            return Err(format!(
                "it says algorithm {algorithm:?}, and {value:?} in its value"
            ));
        }
    }
    let chain = blocks.map(|block| match block.label.as_str() {
        "CERTIFICATE" => Ok(block.der),
        other => Err(format!("its value holds a PEM block {other:?}")),
    });
    Ok(Value {
        bytes: block.der,
        chain: chain.collect::<Result<_, _>>()?,
    })
}

fn check_issuer(signature: &Signature, subject: Option<&str>) -> Result<()> {
    let issuer = signature.signature.issuer.as_deref().unwrap_or_default();
    match subject {
        Some(subject) if !issuer.is_empty() && !is_same_name(issuer, subject) => {
            Err(Error::WrongIssuer {
                name: signature.name.clone(),
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
            })
        }
        _ => Ok(()),
    }
}
