//! Certificates of the registry: made here, or read from a Secret.
//!
//! Each certificate that is made has an authority of its own, whose key is forgotten as soon as it
//! has signed: nothing that could sign another one is ever kept.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::client::verify_server_name;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_cert::der::Decode as _;
use zeroize::Zeroizing;

/// How far before now a certificate begins, for clients whose clock is late.
const LATE_CLOCKS: Duration = Duration::from_mins(5);

/// The end of the names of Services, which may be left out inside the cluster.
const CLUSTER_DOMAIN: &str = ".cluster.local";

/// What is wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be made.
    #[error("failed to make a certificate for {names:?}")]
    Make {
        /// The names that it should have.
        names: Vec<String>,
        /// The cause.
        source: rcgen::Error,
    },

    /// No PEM, or none with what it should hold.
    #[error("failed to read {what} as PEM")]
    ReadPem {
        /// Which data key.
        what: &'static str,
        /// The cause.
        source: rustls::pki_types::pem::Error,
    },

    /// There is no certificate in it.
    #[error("{what} holds no certificate")]
    Empty {
        /// Which data key.
        what: &'static str,
    },

    /// The first certificate is none.
    #[error("failed to read the first certificate of tls.crt")]
    ReadCertificate {
        /// The cause.
        source: x509_cert::der::Error,
    },

    /// The key cannot be used.
    #[error("failed to use the key of tls.key for the certificate of tls.crt")]
    UseKey {
        /// The cause.
        source: rustls::Error,
    },
}

/// A new certificate, all PEM.
#[derive(Clone)]
pub struct Issued {
    /// The server's certificate.
    pub certificate: String,
    /// Its key.
    pub key: Zeroizing<String>,
    /// What a client has to trust.
    pub authority: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// Makes a certificate for a server that is reached as `host`, good for `life` from `now`.
pub fn issue(host: &str, life: Duration, now: SystemTime) -> Result<Issued, Error> {
    let names = names(host);
    let failed = |source| Error::Make {
        names: names.clone(),
        source,
    };
    let mut authority = params(&[], life, now).map_err(failed)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().map_err(failed)?;
    // Authorities of one name with different keys confuse people, and some programs.
    let digits = hex::encode(&authority_key.public_key_raw()[1..7]);
    let name = format!("ocm-controller registry authority {digits}");
    authority.distinguished_name.push(DnType::CommonName, name);
    let authority = CertifiedIssuer::self_signed(authority, authority_key).map_err(failed)?;

    let mut server = params(&names, life, now).map_err(failed)?;
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    server
        .distinguished_name
        .push(DnType::CommonName, "ocm-controller registry");
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = server.signed_by(&key, &authority).map_err(failed)?;
    Ok(Issued {
        certificate: certificate.pem(),
        key: Zeroizing::new(key.serialize_pem()),
        authority: authority.pem(),
    })
}

fn params(
    names: &[String],
    life: Duration,
    now: SystemTime,
) -> Result<CertificateParams, rcgen::Error> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = epoch + since_epoch.saturating_sub(LATE_CLOCKS);
    params.not_after = epoch + since_epoch + life;
    Ok(params)
}

/// The names under which a server is reached that people call `host`.
fn names(host: &str) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    if let Some(service) = host.strip_suffix(CLUSTER_DOMAIN) {
        names.push(service.to_owned());
        names.extend(service.strip_suffix(".svc").map(str::to_owned));
    }
    if host == "localhost" {
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    }
    names
}

/// A certificate with its key, ready to be shown to clients.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    pub(super) certified: Arc<CertifiedKey>,
    expires: SystemTime,
}

impl ServerCertificate {
    /// Reads a chain and its key, both PEM.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        let chain = certificates(chain, "tls.crt")?;
        let first = x509_cert::Certificate::from_der(&chain[0])
            .map_err(|source| Error::ReadCertificate { source })?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|source| Error::ReadPem {
            what: "tls.key",
            source,
        })?;
        let use_key = |source| Error::UseKey { source };
        let key = any_supported_type(&key).map_err(use_key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(use_key)?;
        Ok(Self {
            certified: Arc::new(certified),
            expires: UNIX_EPOCH
                + first
                    .tbs_certificate()
                    .validity()
                    .not_after
                    .to_unix_duration(),
        })
    }

    /// When it is no longer good.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// Whether a client that dials `host` takes it for that host's.
    pub fn is_for(&self, host: &str) -> bool {
        let Ok(parsed) = ParsedCertificate::try_from(&self.certified.cert[0]) else {
            return false;
        };
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => match ServerName::try_from(host) {
                Ok(name) => name,
                Err(_) => return false,
            },
        };
        verify_server_name(&parsed, &name).is_ok()
    }
}

/// The certificates in a PEM text, which has one at least.
pub(super) fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| Error::ReadPem { what, source })?;
    if found.is_empty() {
        return Err(Error::Empty { what });
    }
    Ok(found)
}

/// Whether a PEM text holds certificates that a client can trust.
pub fn check_authorities(pem: &[u8]) -> Result<(), Error> {
    certificates(pem, "ca.crt").map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn parsed(issued: &Issued) -> ServerCertificate {
        ServerCertificate::parse(issued.certificate.as_bytes(), issued.key.as_bytes()).unwrap()
    }

    #[test]
    fn certificate_is_for_the_service_and_nobody_else() {
        let now = SystemTime::now();
        let issued = issue("registry.ocm-system.svc.cluster.local", DAY, now).unwrap();
        let certificate = parsed(&issued);
        for host in [
            "registry.ocm-system.svc.cluster.local",
            "registry.ocm-system.svc",
            "registry.ocm-system",
        ] {
            assert!(certificate.is_for(host), "{host}");
        }
        assert!(!certificate.is_for("registry"));
        assert!(!certificate.is_for("127.0.0.1"));
        let left = certificate.expires().duration_since(now).unwrap();
        assert!(left <= DAY && left + Duration::from_secs(2) > DAY);
    }

    #[test]
    fn certificate_is_for_an_address() {
        let certificate = parsed(&issue("127.0.0.1", DAY, SystemTime::now()).unwrap());
        assert!(certificate.is_for("127.0.0.1"));
        assert!(!certificate.is_for("127.0.0.2"));
    }

    #[test]
    fn each_certificate_has_an_authority_of_its_own() {
        let one = issue("localhost", DAY, SystemTime::now()).unwrap();
        let other = issue("localhost", DAY, SystemTime::now()).unwrap();
        assert_ne!(one.authority, other.authority);
        let key = ServerCertificate::parse(one.certificate.as_bytes(), other.key.as_bytes());
        assert!(matches!(key, Err(Error::UseKey { .. })));
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let issued = issue("localhost", DAY, SystemTime::now()).unwrap();
        let parse = |chain: &str, key: &str| {
            let failure = ServerCertificate::parse(chain.as_bytes(), key.as_bytes());
            failure.unwrap_err().to_string()
        };
        assert_eq!(parse("", &issued.key), "tls.crt holds no certificate");
        assert_eq!(
            parse(&issued.certificate, ""),
            "failed to read tls.key as PEM"
        );
        assert!(check_authorities(b"nothing").is_err());
        check_authorities(issued.authority.as_bytes()).unwrap();
    }
}
