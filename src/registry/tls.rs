//! Trust: the system's certificates, the program's own, and those that a Secret adds.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::{Error, Result};
use crate::oci::Digest;

/// More certificates than any bundle of a site has.
const MOST_CERTIFICATES: usize = 1_000;

/// Certificate authorities to trust beside those of the program, for one credential's host.
#[derive(Clone)]
pub struct ExtraRoots {
    digest: Digest,
    certificates: Arc<[CertificateDer<'static>]>,
}

impl ExtraRoots {
    /// Reads certificates in PEM from `key` of a Secret.
    ///
    /// # Errors
    ///
    /// If it holds no certificate, or something that is none. The error does not show it.
    pub fn from_secret(secret: &str, key: &str, pem: &[u8]) -> Result<Self> {
        let certificates = parse(pem).map_err(|problem| Error::ReadCredentials {
            secret: secret.to_owned(),
            key: key.to_owned(),
            problem,
        })?;
        Ok(Self {
            digest: Digest::of(pem),
            certificates: certificates.into(),
        })
    }

    /// Reads certificates in PEM that something else than a Secret holds; `what` names it.
    ///
    /// # Errors
    ///
    /// If it holds no certificate, or something that is none.
    pub fn from_pem(what: &str, pem: &[u8]) -> Result<Self> {
        let certificates = parse(pem).map_err(|problem| Error::ReadRoots {
            file: what.to_owned(),
            problem,
        })?;
        Ok(Self {
            digest: Digest::of(pem),
            certificates: certificates.into(),
        })
    }

    /// The digest of the PEM text: equal trust, equal digest.
    pub(super) fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl fmt::Debug for ExtraRoots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ExtraRoots({})", self.digest)
    }
}

fn parse(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .take(MOST_CERTIFICATES + 1)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "expected certificates in PEM".to_owned())?;
    if certificates.is_empty() {
        return Err("expected at least one certificate in PEM".to_owned());
    }
    if certificates.len() > MOST_CERTIFICATES {
        return Err(format!("more than {MOST_CERTIFICATES} certificates"));
    }
    let mut probe = RootCertStore::empty();
    for certificate in &certificates {
        probe
            .add(certificate.clone())
            .map_err(|source| format!("a certificate cannot be used: {source}"))?;
    }
    Ok(certificates)
}

/// The certificates that every connection trusts: the system's (`SSL_CERT_FILE` and
/// `SSL_CERT_DIR` are honoured) and those of the settings.
pub(super) fn base_roots(extra: Option<&[u8]>) -> Result<RootCertStore> {
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "skipped unreadable system certificates");
    }
    let is_named = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .iter()
        .any(|variable| std::env::var_os(variable).is_some());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_roots(native.certs, is_named));
    if let Some(pem) = extra {
        let wrong = |problem| Error::ReadRoots {
            file: "--ca-file".to_owned(),
            problem,
        };
        for certificate in parse(pem).map_err(wrong)? {
            roots
                .add(certificate)
                .map_err(|source| wrong(source.to_string()))?;
        }
    }
    Ok(roots)
}

/// What was found on the system. An image from scratch has nothing; Mozilla's list stands in for
/// it, but never for certificates that somebody named, which may be fewer for a reason.
fn system_roots(
    found: Vec<CertificateDer<'static>>,
    is_named: bool,
) -> Vec<CertificateDer<'static>> {
    if found.is_empty() && !is_named {
        let built_in = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        tracing::info!(
            certificates = built_in.len(),
            "the system has no certificates: public authorities of Mozilla's list are trusted"
        );
        return built_in.to_vec();
    }
    found
}

/// The TLS settings for connections that trust `base` and `extra`: TLS 1.2 or newer, by ring.
pub(super) fn config(base: &RootCertStore, extra: Option<&ExtraRoots>) -> ClientConfig {
    let mut roots = base.clone();
    if let Some(extra) = extra {
        roots.add_parsable_certificates(extra.certificates.iter().cloned());
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_authorities_stand_in_only_where_nothing_was_found_and_nothing_named() {
        let found = vec![CertificateDer::from(vec![1])];
        assert_eq!(system_roots(found.clone(), false), found);
        assert_eq!(system_roots(found.clone(), true), found);
        assert!(system_roots(Vec::new(), true).is_empty());
        let mut roots = RootCertStore::empty();
        let (usable, broken) = roots.add_parsable_certificates(system_roots(Vec::new(), false));
        assert!(usable > 100 && broken == 0, "{usable} {broken}");
    }
}
