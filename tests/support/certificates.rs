//! Certificates of a test's own authority.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

/// A certificate and its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// A certificate authority that exists for one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority; its name stands in error messages about certificates.
    pub fn new(name: &str) -> Self {
        let issuer = CertifiedIssuer::self_signed(authority_params(name), new_key());
        Self {
            issuer: issuer.expect("valid parameters"),
        }
    }

    /// The authority's own certificate: what a client has to trust.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// An authority below this one.
    pub fn below(&self, name: &str) -> Self {
        let params = authority_params(name);
        let issuer = CertifiedIssuer::signed_by(params, new_key(), &self.issuer);
        Self {
            issuer: issuer.expect("valid parameters"),
        }
    }

    /// A certificate in PEM for signing code by the private key of `key`, also PEM.
    pub fn certify_signer(&self, name: &str, key: &str) -> String {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let key = KeyPair::from_pem(key).expect("a private key");
        let certificate = params.signed_by(&key, &self.issuer);
        certificate.expect("valid parameters").pem()
    }

    /// A server certificate for these host names and addresses.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let mut params = params(names[0], names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = new_key();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("valid parameters");
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A new ECDSA P-256 key: made in no time, and known to every program here.
pub fn new_key() -> KeyPair {
    KeyPair::generate().expect("the system has random numbers")
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).expect("valid host names");
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}
