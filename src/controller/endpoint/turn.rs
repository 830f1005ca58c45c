//! The certificate in its Secret, and the turn from one to the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::keys::MANAGED_BY;
use super::{EndpointSettings, Error, Step};
use crate::controller::FIELD_MANAGER;
use crate::oci::Digest;
use crate::serve::certificate::{self, ServerCertificate, check_authorities, issue};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";

/// How long a new certificate waits until it is shown, so that its authority is known before.
const LEAD: Duration = Duration::from_mins(2);

/// The same for a certificate that somebody else has put there. Its time may be short.
const FOREIGN_LEAD: Duration = Duration::from_secs(20);

/// The end of each certificate in PEM.
const PEM_END: &str = "-----END CERTIFICATE-----\n";

/// A certificate with those who vouch for it.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) certificate: ServerCertificate,
    authorities: String,
    digest: Digest,
    lead: Duration,
}

impl Loaded {
    fn read(secret: &Secret, lead: Duration) -> Result<Self, Error> {
        let name = secret.name_any();
        let value = |key: &'static str| {
            let data = secret.data.as_ref();
            let value = data.and_then(|data| data.get(key));
            value.map(|value| value.0.as_slice()).ok_or_else(|| {
                let name = name.clone();
                Error::MissingKey { name, key }
            })
        };
        let unusable = |source: certificate::Error| Error::Certificate {
            name: name.clone(),
            source,
        };
        let (chain, key) = (value(CERTIFICATE)?, value(KEY)?);
        let authorities = value(AUTHORITIES)?;
        check_authorities(authorities).map_err(unusable)?;
        Ok(Self {
            certificate: ServerCertificate::parse(chain, key).map_err(unusable)?,
            authorities: String::from_utf8_lossy(authorities).into_owned(),
            digest: Digest::of(chain),
            lead,
        })
    }
}

/// The certificate to use, given the Secret that was `found` and the authorities that clients
/// trust already. One of ours is changed when it is old or for another host, and made where there
/// is none. Somebody else's is used as it is.
pub(super) fn advance_certificate(
    found: Option<Secret>,
    trusted: &str,
    settings: &EndpointSettings,
    now: SystemTime,
) -> Result<(Loaded, Step), Error> {
    if let Some(secret) = &found
        && !is_ours(secret)
    {
        // Looked at again whenever the watch shows a change.
        let until = now + super::LONGEST_PAUSE;
        return Ok((Loaded::read(secret, FOREIGN_LEAD)?, Step::Keep { until }));
    }
    let lead = LEAD.min(settings.life / 6);
    // One of ours that cannot be read was damaged by somebody, and is made anew.
    let stored = found
        .as_ref()
        .and_then(|secret| Loaded::read(secret, lead).ok());
    if let Some(loaded) = &stored {
        let until = loaded.certificate.expires() - settings.life / 3;
        if now < until && loaded.certificate.is_for(settings.host()) {
            return Ok((loaded.clone(), Step::Keep { until }));
        }
    }
    let trusted = stored
        .as_ref()
        .map_or(trusted, |loaded| &loaded.authorities);
    let secret = make(found.unwrap_or_default(), trusted, settings, now)?;
    Ok((Loaded::read(&secret, lead)?, Step::Write(Box::new(secret))))
}

fn is_ours(secret: &Secret) -> bool {
    secret.labels().get(MANAGED_BY).map(String::as_str) == Some(FIELD_MANAGER)
}

fn make(
    mut secret: Secret,
    trusted: &str,
    settings: &EndpointSettings,
    now: SystemTime,
) -> Result<Secret, Error> {
    let name = &settings.certificate_secret;
    let issued = issue(settings.host(), settings.life, now).map_err(|source| {
        let name = name.clone();
        Error::Certificate { name, source }
    })?;
    // The newest of those before is the one that is in use.
    let before = trusted.split_inclusive(PEM_END).next().unwrap_or_default();
    let authorities = union(&issued.authority, before);
    secret.metadata.name = Some(name.clone());
    let labels = secret.labels_mut();
    labels.insert(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned());
    secret.type_ = Some("kubernetes.io/tls".to_owned());
    secret.data = Some(BTreeMap::from([
        (
            CERTIFICATE.to_owned(),
            ByteString(issued.certificate.into()),
        ),
        (KEY.to_owned(), ByteString(issued.key.as_bytes().to_vec())),
        (AUTHORITIES.to_owned(), ByteString(authorities.into())),
    ]));
    Ok(secret)
}

/// All certificates of both texts, each once.
fn union(one: &str, other: &str) -> String {
    let mut all = one.to_owned();
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    for certificate in other.split_inclusive(PEM_END) {
        if !all.contains(certificate.trim()) {
            all.push_str(certificate);
        }
    }
    all
}

/// Whether all certificates of `authorities` are in `text`.
pub(super) fn has_all(text: &str, authorities: &str) -> bool {
    let mut certificates = authorities.split_inclusive(PEM_END);
    certificates.all(|certificate| text.contains(certificate.trim()))
}

/// The certificate that is shown, and the one that will be.
#[derive(Debug, Default)]
pub(super) struct Tls {
    shown: Option<Loaded>,
    next: Option<Next>,
    /// Whether the server has been given the one that is shown.
    is_told: bool,
}

/// A certificate that will be shown.
#[derive(Debug)]
struct Next {
    loaded: Loaded,
    /// When its authority has had the time to spread.
    due: Instant,
    /// Whether those who have not been told of it are waited for.
    waits: bool,
}

/// How often is looked whether all know a new authority, once its time to spread is over.
const LOOK: Duration = Duration::from_secs(2);

impl Tls {
    /// Takes note of what the Secret holds. It is shown once its authority has had the time to
    /// spread, but at once where what is shown is of no use.
    pub(super) fn see(&mut self, loaded: Loaded, host: &str, now: Instant) {
        let Some(shown) = &mut self.shown else {
            self.shown = Some(loaded);
            return;
        };
        if shown.digest == loaded.digest {
            *shown = loaded;
            self.next = None;
        } else if self
            .next
            .as_ref()
            .is_none_or(|next| next.loaded.digest != loaded.digest)
        {
            let is_useless =
                shown.certificate.expires() <= SystemTime::now() || !shown.certificate.is_for(host);
            let lead = if is_useless {
                Duration::ZERO
            } else {
                loaded.lead
            };
            self.next = Some(Next {
                loaded,
                due: now + lead,
                waits: !is_useless,
            });
        }
    }

    /// Whether this is what is shown or will be.
    pub(super) fn knows(&self, loaded: &Loaded) -> bool {
        let next = self.next.as_ref().map(|next| &next.loaded);
        let mut known = self.shown.iter().chain(next);
        known.any(|known| known.digest == loaded.digest)
    }

    /// Goes on to the next certificate where it is due, and `is_known` says of its authorities that
    /// all who pull have been told of them. Nobody is waited for once what is shown has expired.
    /// Whether the server has to be told.
    pub(super) fn take_turn(&mut self, now: Instant, is_known: impl Fn(&str) -> bool) -> bool {
        let shown = self.shown.as_ref();
        let has_expired =
            shown.is_none_or(|shown| shown.certificate.expires() <= SystemTime::now());
        let may_turn = |next: &mut Next| {
            let waits = next.waits && !has_expired;
            next.due <= now && (!waits || is_known(&next.loaded.authorities))
        };
        if let Some(next) = self.next.take_if(may_turn) {
            self.shown = Some(next.loaded);
            self.is_told = false;
        }
        let is_news = self.shown.is_some() && !self.is_told;
        self.is_told |= is_news;
        is_news
    }

    /// The time until the next turn, if there is one ahead.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Duration> {
        let due = self.next.as_ref()?.due;
        let left = due.saturating_duration_since(now);
        Some(if left.is_zero() { LOOK } else { left })
    }

    /// What is shown.
    pub(super) fn shown(&self) -> Option<&Loaded> {
        self.shown.as_ref()
    }

    /// Whom clients have to trust, now and after the next turn.
    pub(super) fn authorities(&self) -> String {
        let next = self
            .next
            .as_ref()
            .map(|next| next.loaded.authorities.as_str());
        let shown = self.shown.as_ref().map(|shown| shown.authorities.as_str());
        union(next.unwrap_or_default(), shown.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
