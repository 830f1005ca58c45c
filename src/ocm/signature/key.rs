//! Public keys that signatures are verified with.

use std::collections::BTreeSet;

use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::chain::Authority;
use super::pem::{self, Block};
use super::{Error, Result};
use crate::oci::Digest;

/// The shortest modulus that is taken, in bits (NIST SP 800-131A).
const MIN_BITS: u32 = 2048;

/// The longest modulus that is taken, in bits: a longer one only takes time.
const MAX_BITS: u32 = 8192;

/// The largest text of a key, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// A public key, from a PEM text with a key or a certificate.
///
/// A certificate stands for the key in it and its subject: neither its period nor who issued it is
/// looked at, since whoever configured it has chosen it. That of a certificate authority stands
/// for the signers as well whose certificates lead to it.
#[derive(Debug, Clone)]
pub struct PublicKey {
    /// The key itself; an authority's may be of another kind.
    pub(super) rsa: Option<RsaPublicKey>,
    /// The subject of the certificate, where the key is one.
    pub(super) subject: Option<String>,
    /// The authority, where the certificate is one's.
    pub(super) authority: Option<Authority>,
    digest: Digest,
}

impl PublicKey {
    /// Reads a PEM text with exactly one block: `PUBLIC KEY` (RFC 5280), `RSA PUBLIC KEY`
    /// (RFC 8017) or `CERTIFICATE`.
    ///
    /// Only RSA, of 2048 bits at least. A private key is refused, although its public half could
    /// be had: it does not belong where public keys are kept.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > MAX_TEXT {
            return Err(refused(format!("it is larger than {MAX_TEXT} bytes")));
        }
        let text = std::str::from_utf8(text).map_err(|_| {
            refused("it is no text; give it as PEM (\"-----BEGIN PUBLIC KEY-----\")".to_owned())
        })?;
        let blocks = pem::blocks(text).map_err(refused)?;
        let [block] = blocks.as_slice() else {
            return Err(refused(format!(
                "expected one PEM block (\"-----BEGIN PUBLIC KEY-----\"), found {}",
                blocks.len()
            )));
        };
        Self::decode(block).map_err(refused)
    }

    /// The digest of the key or certificate in its binary form (DER), to tell it from others.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    fn decode(block: &Block) -> Result<Self, String> {
        let digest = Digest::of(&block.der);
        match block.label.as_str() {
            // Tools confuse the two labels, so both forms are tried for either.
            "PUBLIC KEY" | "RSA PUBLIC KEY" => {
                let key = RsaPublicKey::from_public_key_der(&block.der)
                    .or_else(|_| RsaPublicKey::from_pkcs1_der(&block.der));
                let key = key.map_err(|_| format!("its {ONLY_RSA}"))?;
                Ok(Self {
                    rsa: Some(check_length(key)?),
                    subject: None,
                    authority: None,
                    digest,
                })
            }
            "CERTIFICATE" => {
                let certificate = Certificate::from_der(&block.der)
                    .map_err(|source| format!("its certificate is malformed: {source}"))?;
                let authority = Authority::of(&block.der, &certificate);
                let (rsa, subject) = match of_certificate(&certificate) {
                    Ok((rsa, subject)) => (Some(rsa), subject),
                    Err(_) if authority.is_some() => (None, subject_of(&certificate)),
                    Err(problem) => return Err(problem),
                };
                Ok(Self {
                    rsa,
                    subject: Some(subject),
                    authority,
                    digest,
                })
            }
            label if label.contains("PRIVATE KEY") => Err(format!(
                "it is a private key ({label:?}); replace it by its public key, and take care that \
                 nobody has read it here"
            )),
            label => Err(format!(
                "its PEM block is a {label:?}; expected \"PUBLIC KEY\", \"RSA PUBLIC KEY\" or \
                 \"CERTIFICATE\""
            )),
        }
    }
}

/// The key and the subject of a certificate.
pub(super) fn of_certificate(certificate: &Certificate) -> Result<(RsaPublicKey, String), String> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let key = info.to_der().ok();
    let key = key.and_then(|der| RsaPublicKey::from_public_key_der(&der).ok());
    let key = key.ok_or_else(|| format!("the certificate's {ONLY_RSA}"))?;
    Ok((check_length(key)?, subject_of(certificate)))
}

fn subject_of(certificate: &Certificate) -> String {
    certificate.tbs_certificate().subject().to_string()
}

fn check_length(key: RsaPublicKey) -> Result<RsaPublicKey, String> {
    let bits = key.n().bits();
    if (MIN_BITS..=MAX_BITS).contains(&bits) {
        return Ok(key);
    }
    Err(format!(
        "it has {bits} bits; an RSA key has at least {MIN_BITS} and at most {MAX_BITS}"
    ))
}

const ONLY_RSA: &str =
    "key is not an RSA key of 2048 to 8192 bits, the only kind that is supported";

fn refused(problem: String) -> Error {
    Error::ParseKey { problem }
}

/// Whether the name that a signature gives is that of a certificate's subject.
///
/// Both are sets of attributes such as `CN=alice,O=Example`, in any order (RFC 4514). A name
/// without an attribute type is a common name.
pub(super) fn is_same_name(issuer: &str, subject: &str) -> bool {
    let issuer = if issuer.contains('=') {
        issuer.to_owned()
    } else {
        format!("CN={issuer}")
    };
    attributes(&issuer) == attributes(subject)
}

fn attributes(name: &str) -> BTreeSet<String> {
    let mut attributes = BTreeSet::new();
    let mut current = String::new();
    let mut characters = name.chars();
    loop {
        match characters.next() {
            Some('\\') => {
                current.push('\\');
                current.extend(characters.next());
            }
            Some(',' | '+') => {
                insert(&mut attributes, &current);
                current.clear();
            }
            Some(character) => current.push(character),
            None => {
                insert(&mut attributes, &current);
                return attributes;
            }
        }
    }
}

fn insert(attributes: &mut BTreeSet<String>, attribute: &str) {
    if let Some((kind, value)) = attribute.split_once('=') {
        attributes.insert(format!("{}={}", kind.trim().to_uppercase(), value.trim()));
    }
}
