//! Signatures that `spec.verify` asks for: keys -> signature -> everything below -> content.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{Chosen, Wanted, choose};
use crate::api::{self, ComponentVersion, Reason};
use crate::chain::chain;
use crate::components::{self, Place, Resolved};
use crate::controller::context::Context;
use crate::controller::credentials;
use crate::controller::outcome::{Note, Retry, retry_of};
use crate::oci::Digest;
use crate::ocm::signature::{self, Claim, PublicKey, Signer, Verified};
use crate::ocm::{Accepted, ReadComponent, Version};

/// How many versions that are passed over get an event each.
const MAX_NOTES: usize = 3;

/// Why nothing was verified.
#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum Error {
    #[error(
        "signature {signature:?}: kubernetes secret reference not provided, nor publicKey.value: give one of them"
    )]
    NoKey { signature: String },

    #[error("failed to get the key of signature {signature:?}")]
    ReadSecret {
        signature: String,
        source: credentials::Error,
    },

    #[error(
        "Secret {secret:?} has no data key {signature:?}: keys are looked up by the signature's name"
    )]
    MissingKey { secret: String, signature: String },

    #[error("publicKey.value of signature {signature:?} is no base64")]
    DecodeKey {
        signature: String,
        source: base64::DecodeError,
    },

    #[error("the key of signature {signature:?}")]
    ParseKey {
        signature: String,
        source: signature::Error,
    },

    #[error(transparent)]
    Verify { source: components::Error },
}

impl Error {
    /// When to look again: a key in the spec changes with the spec only.
    pub(super) fn retry(&self) -> Retry {
        match self {
            Self::NoKey { .. } | Self::DecodeKey { .. } => Retry::OnChange,
            Self::Verify { source } => retry_of(source),
            Self::ReadSecret { .. } | Self::MissingKey { .. } | Self::ParseKey { .. } => {
                Retry::Backoff
            }
        }
    }

    /// Whether it was found out that this version is not what was signed: then another may be.
    /// A registry that did not answer says nothing about the version.
    pub(super) fn is_verdict(&self) -> bool {
        matches!(
            self,
            Self::Verify {
                source: components::Error::Signature { .. }
            }
        )
    }
}

/// The version that is taken, with all that it refers to, the root first.
pub(super) struct Taken {
    pub(super) closure: Accepted<Vec<Resolved>>,
    /// Which keys signed which digest, for the event.
    claims: Vec<Claim>,
}

impl Taken {
    /// Without a look at signatures, since none was asked for.
    pub(super) fn unverified(closure: Vec<Resolved>) -> Self {
        Self {
            closure: Accepted::NotAsked(closure),
            claims: Vec::new(),
        }
    }

    /// For the status: whether signatures were verified, where they were asked for.
    pub(super) fn is_verified(&self) -> Option<bool> {
        matches!(self.closure, Accepted::Verified(_)).then_some(true)
    }

    /// Who signed what, for people.
    fn told(&self) -> String {
        let claims = self.claims.iter().map(|claim| {
            let Claim {
                name,
                key,
                subject,
                spec,
                ..
            } = claim;
            let of = subject.as_ref().map(|subject| format!(" of {subject:?}"));
            format!(
                "{name:?} ({} {}, key {key}{})",
                spec.hash_algorithm,
                spec.value,
                of.unwrap_or_default()
            )
        });
        claims.collect::<Vec<_>>().join(", ")
    }
}

/// Whether signatures are asked for.
pub(in crate::controller) fn is_asked(component: &ComponentVersion) -> bool {
    component
        .spec
        .verify
        .as_ref()
        .is_some_and(|signatures| !signatures.is_empty())
}

/// A component version that `owner` took before, read again: where signatures are asked for, only
/// if they were verified then, and it has the digest that was `recorded` with that.
pub(in crate::controller) fn accept_again(
    owner: &ComponentVersion,
    component: ReadComponent,
    recorded: Option<&Digest>,
) -> Option<Accepted> {
    if !is_asked(owner) {
        return Some(Accepted::NotAsked(component));
    }
    let recorded = recorded.filter(|_| was_verified(owner))?;
    Verified::again(component, recorded).map(Accepted::Verified)
}

/// Whether the signatures of what the status names were verified.
pub(in crate::controller) fn was_verified(component: &ComponentVersion) -> bool {
    let status = component.status.as_ref();
    status.is_some_and(|status| status.verified == Some(true))
}

/// The signatures that are asked for, with their keys as they are now.
pub(super) async fn signers(
    component: &ComponentVersion,
    context: &Context,
) -> Result<Vec<Signer>, Error> {
    let mut signers = Vec::new();
    for asked in component.spec.verify.iter().flatten() {
        let text = key(component, context, asked).await?;
        let key = PublicKey::parse(&text).map_err(|source| Error::ParseKey {
            signature: asked.name.clone(),
            source,
        })?;
        signers.push(Signer {
            name: asked.name.clone(),
            key,
            at: SystemTime::now(),
        });
    }
    Ok(signers)
}

async fn key(
    component: &ComponentVersion,
    context: &Context,
    asked: &api::Signature,
) -> Result<Vec<u8>, Error> {
    let signature = asked.name.clone();
    let given = |text: &&str| !text.is_empty();
    if let Some(value) = asked.public_key.value.as_deref().filter(given) {
        // Line breaks come with `base64` and with block scalars.
        let value: String = value.split_ascii_whitespace().collect();
        return STANDARD
            .decode(value)
            .map_err(|source| Error::DecodeKey { signature, source });
    }
    let secret = asked.public_key.secret_ref.as_ref();
    let Some(secret) = secret.map(|found| &*found.name).filter(given) else {
        return Err(Error::NoKey { signature });
    };
    let named_by = format!("the key of signature {signature:?} in spec.verify");
    let mut data = context
        .credentials
        .secret(component, secret, &named_by)
        .await
        .map_err(|source| Error::ReadSecret {
            signature: signature.clone(),
            source,
        })?;
    data.remove(&signature).ok_or_else(|| Error::MissingKey {
        secret: secret.to_owned(),
        signature,
    })
}

/// Verifies the chosen version.
pub(super) async fn accept(
    context: &Context,
    place: &Place,
    asked: &Wanted,
    version: &Version,
    digest: &Digest,
    signers: &[Signer],
) -> Result<Taken, Error> {
    let components = context.pipeline.components();
    let failed = |source| Error::Verify { source };
    let root = components
        .read(place, &asked.component, version, digest)
        .await
        .map_err(failed)?;
    let (closure, claims) = components
        .verify(place, root, signers)
        .await
        .map_err(failed)?;
    Ok(Taken {
        closure: closure.into(),
        claims,
    })
}

impl ComponentVersion {
    /// Chooses the newest version that verifies. Whatever keeps one from being read keeps the
    /// version in use: only what was found not to be what was signed is passed over.
    pub(super) async fn choose_verified(
        &self,
        context: &Context,
        place: &Place,
        wanted: &Wanted,
        signers: &[Signer],
    ) -> Result<(Chosen, Taken), super::Error> {
        let available = self.available(context, place, wanted).await?;
        // A version that was taken when no signature was asked for has no claim to stay.
        let current = self.in_use(wanted).filter(|_| was_verified(self));
        let current = current.map(|(version, _)| version);
        let candidates = choose::candidates(&wanted.constraint, current.as_ref(), &available);
        let mut refused: Vec<(Version, Error)> = Vec::new();
        for version in candidates {
            let is_listed = available.contains(version);
            let mut chosen = self
                .take(context, place, wanted, version.clone(), is_listed)
                .await?;
            let taken = accept(context, place, wanted, version, &chosen.digest, signers).await;
            match taken {
                Ok(taken) => {
                    self.tell(&mut chosen, &taken, &refused);
                    return Ok((chosen, taken));
                }
                Err(error) if error.is_verdict() => refused.push((version.clone(), error)),
                Err(error) => return Err(failed(self, error)),
            }
        }
        let tried: Vec<_> = refused
            .iter()
            .map(|(version, _)| version.as_str())
            .collect();
        let tried = tried.join(", ");
        let (_, source) = refused
            .into_iter()
            .next()
            .ok_or_else(|| self.no_match(&available))?;
        Err(super::Error::NoneVerifies {
            component: self.spec.component.clone(),
            constraint: self.constraint(),
            tried,
            source,
        })
    }

    /// Tells, once for each change, who signed what is taken, and why newer versions are not.
    fn tell(&self, chosen: &mut Chosen, taken: &Taken, refused: &[(Version, Error)]) {
        chosen.refused = refused.iter().map(|(version, _)| version.clone()).collect();
        let status = self.status.as_ref();
        let digest = chosen.digest.to_string();
        let is_taken = status.is_some_and(|status| status.digest.as_ref() == Some(&digest));
        if !is_taken || !was_verified(self) {
            let (component, version) = (&self.spec.component, &chosen.version);
            let signers = taken.told();
            chosen.notes.push(Note {
                reason: Reason::Succeeded,
                message: format!("verified {component}:{version}@{digest}, signed by {signers}"),
            });
        }
        let before = status.and_then(|status| {
            let is_ready = |found: &&Condition| found.type_ == "Ready";
            Some(&status.conditions.iter().find(is_ready)?.message)
        });
        if before == Some(&chosen.message()) {
            return;
        }
        chosen
            .notes
            .extend(refused.iter().take(MAX_NOTES).map(|(version, error)| Note {
                reason: Reason::ComponentVerificationFailed,
                message: format!("version {version} is not used: {}", chain(error)),
            }));
    }
}

/// What keeps `component` from being verified, as its own error.
pub(super) fn failed(component: &ComponentVersion, source: Error) -> super::Error {
    super::Error::Verify {
        component: component.spec.component.clone(),
        constraint: component.constraint(),
        source,
    }
}
