//! Certificate chains in signatures, verified up to the one authority that is configured.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rsa::RsaPublicKey;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use super::key;
use crate::oci::Digest;

/// What a certificate has to be issued for: `id-kp-codeSigning` (RFC 5280, section 4.2.1.12).
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");

/// A certificate authority: whose certificates for code signing are taken.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    der: Vec<u8>,
    begins: Duration,
    ends: Duration,
}

/// Who signed, by a certificate that leads up to the authority.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) rsa: RsaPublicKey,
    pub(super) subject: String,
    pub(super) digest: Digest,
}

impl Authority {
    /// The authority whose certificate this is; `None` where it is that of no authority.
    pub(super) fn of(der: &[u8], certificate: &Certificate) -> Option<Self> {
        let certificate = certificate.tbs_certificate();
        let constraints = certificate.get_extension::<BasicConstraints>();
        let (_, BasicConstraints { ca, .. }) = constraints.ok()??;
        let validity = certificate.validity();
        ca.then(|| Self {
            der: der.to_vec(),
            begins: validity.not_before.to_unix_duration(),
            ends: validity.not_after.to_unix_duration(),
        })
    }

    /// The first certificate of `chain`, if the others lead from it to this authority at the time
    /// `at`, and if it is for signing code.
    pub(super) fn leaf(&self, chain: &[Vec<u8>], at: SystemTime) -> Result<Leaf, String> {
        for der in chain {
            refuse_root(der)?;
        }
        let [leaf, intermediates @ ..] = chain else {
            return Err("it brings no certificate, and the key given is an authority's".to_owned());
        };
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since < self.begins || since > self.ends {
            return Err(
                "the period of the authority's certificate is over or yet to come".to_owned(),
            );
        }
        let root = CertificateDer::from(self.der.as_slice());
        let anchor = anchor_from_trusted_cert(&root)
            .map_err(|source| format!("the authority's certificate cannot be used: {source}"))?;
        let intermediates: Vec<CertificateDer<'_>> = intermediates
            .iter()
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let der = CertificateDer::from(leaf.as_slice());
        EndEntityCert::try_from(&der)
            .map_err(|source| refused(&source))?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &intermediates,
                UnixTime::since_unix_epoch(since),
                // Authorities need not say what they issue certificates for; the signer's own
                // certificate is asked below.
                KeyUsage::required_if_present(CODE_SIGNING.as_bytes()),
                None,
                None,
            )
            .map_err(|source| refused(&source))?;
        let certificate = parse(leaf)?;
        if !is_for_code_signing(&certificate) {
            return Err("its certificate is not for code signing".to_owned());
        }
        let (rsa, subject) = key::of_certificate(&certificate)?;
        Ok(Leaf {
            rsa,
            subject,
            digest: Digest::of(leaf),
        })
    }
}

fn refused(source: &webpki::Error) -> String {
    use webpki::Error;
    let reason = match source {
        Error::CertExpired { .. } => "a certificate has expired".to_owned(),
        Error::CertNotValidYet { .. } => "a certificate is not valid yet".to_owned(),
        Error::UnknownIssuer => "an issuer is unknown".to_owned(),
        Error::CaUsedAsEndEntity => "an authority signs certificates, not components".to_owned(),
        Error::RequiredEkuNotFoundContext(_) => "a certificate is not for code signing".to_owned(),
        other => other.to_string(),
    };
    format!("its certificate does not lead to the authority given: {reason}")
}

fn is_for_code_signing(certificate: &Certificate) -> bool {
    let purposes = certificate
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>();
    matches!(purposes, Ok(Some((_, purposes))) if purposes.0.contains(&CODE_SIGNING))
}

/// An authority that a signature brings along proves nothing: whoever signs can make one.
fn refuse_root(der: &[u8]) -> Result<(), String> {
    let certificate = parse(der)?;
    let certificate = certificate.tbs_certificate();
    if certificate.subject() == certificate.issuer() {
        return Err(format!(
            "it brings a certificate that is signed by itself, of {:?}: sign with the chain below \
             the authority, without the authority",
            certificate.subject().to_string()
        ));
    }
    Ok(())
}

fn parse(der: &[u8]) -> Result<Certificate, String> {
    Certificate::from_der(der).map_err(|source| format!("its certificate is malformed: {source}"))
}
