//! Signatures: whether a component version, with all it refers to and all content, is what the
//! holder of a key signed.
//!
//! Three steps, so that nothing is fetched for a signature that does not hold anyhow:
//! [`authenticate`] checks with the keys which digests were signed ([`Claim`]), [`wanted`] says
//! which content has to be looked at, and [`verify`] completes the descriptors with what was found
//! there, normalises them, and compares the digest of the root with that of each claim. Only then
//! there is a [`Verified`], which later steps ask for ([`super::Accepted`]).
//!
//! Access specifications are not signed: an access may lead anywhere. So each recorded digest is
//! compared with what is found where the access leads now, and whoever uses content later has to
//! hold it to the recorded digest again.

mod chain;
mod complete;
mod error;
mod key;
mod pem;
mod value;
mod verified;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub use error::{Error, Result};
pub use key::PublicKey;
pub use verified::Verified;

use self::complete::Run;
use super::descriptor::{Descriptor, DigestSpec, Resource, Signature};
use super::error::component_version;
use super::normalise::Normalisation;
use crate::oci::{Algorithm, Digest};

/// How many signatures one component version may carry.
const MAX_SIGNATURES: usize = 1_000;

/// A signature that is asked for, and the key that it has to verify with.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The signature's name in the descriptor.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// The time at which certificates have to be valid.
    pub at: SystemTime,
}

/// What a key's holder signed: a digest. Whether it is that of a component version is what
/// [`verify`] finds out.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The signature's name.
    pub name: String,
    /// The digest of the key or certificate that it verified with.
    pub key: Digest,
    /// The subject of the certificate, where it is one.
    pub subject: Option<String>,
    /// The digest that was signed, as the signature spells it.
    pub spec: DigestSpec,
    digest: Digest,
    normalisation: Normalisation,
}

/// Checks the signatures that `signers` name, all of them, over the digests that they state.
pub fn authenticate(root: &Descriptor, signers: &[Signer]) -> Result<Vec<Claim>> {
    if signers.is_empty() {
        return Err(Error::NothingAsked);
    }
    signers.iter().map(|signer| claim(root, signer)).collect()
}

fn claim(root: &Descriptor, signer: &Signer) -> Result<Claim> {
    let signature = find(root, &signer.name)?;
    let spec = &signature.digest;
    let malformed = |problem: String| Error::Malformed {
        name: signer.name.clone(),
        problem,
    };
    let digest = spec.digest().ok_or_else(|| {
        malformed(format!(
            "{:?} {:?} is no digest that is supported; expected SHA-256 or SHA-512",
            spec.hash_algorithm, spec.value
        ))
    })?;
    let normalisation = Normalisation::named(&spec.normalisation_algorithm).ok_or_else(|| {
        malformed(format!(
            "the normalisation {:?} is not known; known are jsonNormalisation/v1, v2, v3 and \
             v4alpha1",
            spec.normalisation_algorithm
        ))
    })?;
    let made_by = value::verify(signature, &digest, &signer.key, signer.at)?;
    Ok(Claim {
        name: signer.name.clone(),
        key: made_by.key,
        subject: made_by.subject,
        spec: spec.clone(),
        digest,
        normalisation,
    })
}

fn find<'a>(root: &'a Descriptor, name: &str) -> Result<&'a Signature> {
    let component = || component_version(&root.name, &root.version);
    let signatures = root.signatures.iter().take(MAX_SIGNATURES);
    let mut matching = signatures.clone().filter(|found| found.name == name);
    match (matching.next(), matching.next()) {
        (Some(signature), None) => Ok(signature),
        (Some(_), Some(_)) => Err(Error::Several {
            component: component(),
            name: name.to_owned(),
        }),
        (None, _) => {
            let names: Vec<_> = signatures.take(10).map(|found| &*found.name).collect();
            Err(Error::Missing {
                component: component(),
                name: name.to_owned(),
                found: if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                },
            })
        }
    }
}

/// Content that has to be looked at: a resource of a component version, and how it is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wanted {
    /// The position of the component version in the closure.
    pub component: usize,
    /// The position of the resource in it.
    pub resource: usize,
    /// Whether by SHA-512 instead of SHA-256.
    pub by_sha512: bool,
}

/// What is found where the access of a resource leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Found {
    /// Content with this digest: of the blob, or of the manifest of an OCI artifact.
    Content(Digest),
    /// The access is of a kind that this program cannot read, so that it cannot use the content
    /// either. The recorded digest stands.
    Unreadable,
}

/// What was found, by what was wanted.
pub type Contents = BTreeMap<Wanted, Found>;

/// The content that [`verify`] needs to know of, for the `closure` of a component version: itself
/// first, then all that it refers to.
pub fn wanted<C: AsRef<Descriptor>>(closure: &[C], claims: &[Claim]) -> Vec<Wanted> {
    let mut wanted = std::collections::BTreeSet::new();
    for claim in claims {
        let run = Run::new(closure, claim);
        for (component, found) in closure.iter().enumerate() {
            for (resource, found) in found.as_ref().resources.iter().enumerate() {
                if let Some(algorithm) = run.algorithm(component, found) {
                    wanted.insert(Wanted::new(component, resource, algorithm));
                }
            }
        }
    }
    wanted.into_iter().collect()
}

impl Wanted {
    fn new(component: usize, resource: usize, algorithm: Algorithm) -> Self {
        Self {
            component,
            resource,
            by_sha512: algorithm == Algorithm::Sha512,
        }
    }

    /// How the content is hashed.
    pub fn algorithm(self) -> Algorithm {
        if self.by_sha512 {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        }
    }
}

/// Checks that the component version at the head of `closure` is what each of `claims` is about,
/// with `contents` found for it.
pub fn verify<C: AsRef<Descriptor>>(
    closure: Vec<C>,
    claims: &[Claim],
    contents: &Contents,
) -> Result<Verified<Vec<C>>> {
    let Some(root) = closure.first().filter(|_| !claims.is_empty()) else {
        return Err(Error::NothingAsked);
    };
    let root = root.as_ref();
    for claim in claims {
        let found = Run::new(&closure, claim).digest_of_root(contents)?;
        if found != claim.digest {
            return Err(Error::OtherComponent {
                component: component_version(&root.name, &root.version),
                name: claim.name.clone(),
                expected: claim.digest.to_string(),
                found: found.to_string(),
            });
        }
    }
    Ok(Verified::new(closure))
}

impl AsRef<Descriptor> for Descriptor {
    fn as_ref(&self) -> &Descriptor {
        self
    }
}

impl AsRef<Descriptor> for super::ReadComponent {
    fn as_ref(&self) -> &Descriptor {
        &self.descriptor
    }
}

impl Resource {
    /// Whether signatures leave its content out, or there is none.
    pub fn is_excluded(&self) -> bool {
        self.access.is_none() || self.digest.as_ref().is_some_and(DigestSpec::is_exclusion)
    }

    /// Whether its content is an artifact in a registry, which is known by its manifest.
    fn is_artifact(&self) -> bool {
        use super::Access;
        matches!(
            self.access.typed(),
            Ok(Access::OciArtifact { .. } | Access::RelativeOciReference { .. })
        )
    }
}

impl DigestSpec {
    /// Whether it says that the content is not covered (`NO-DIGEST`).
    fn is_exclusion(&self) -> bool {
        const NONE: &str = "NO-DIGEST";
        self.normalisation_algorithm == "EXCLUDE-FROM-SIGNATURE"
            && self.hash_algorithm == NONE
            && self.value == NONE
    }
}

#[cfg(test)]
pub(crate) mod tests;
