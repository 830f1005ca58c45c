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
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native.certs);
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
