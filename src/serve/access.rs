//! What the registry shows of itself and whom it lets in, as it is at the moment.
//!
//! The server reads it for each connection and each request; who keeps certificate and keys
//! changes it while the server runs.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use http::request::Parts;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::ServerCertificate;
use super::distribution::Authorizer;
use super::listen::Acceptor;
use super::pull::{NoRandomness, PullKeys, Salt};
use crate::snapshot::{Namespace, Repository};

/// Certificate, keys, and exceptions; clones share them. Without a certificate no connection is
/// made, and without keys nobody is let in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    state: Arc<RwLock<State>>,
}

#[derive(Debug, Default)]
struct State {
    certificate: Option<Arc<CertifiedKey>>,
    keys: Option<PullKeys>,
    /// The salt of each namespace's password.
    salts: HashMap<Namespace, Salt>,
    /// Whether a namespace that is not among them has no password. At the start they may not all be
    /// known yet, and what the keys have made is good.
    has_all_salts: bool,
    /// Repositories that a namespace may read although they are another's, by who asked for it.
    guests: HashMap<Guest, Repository>,
}

/// Somebody in a namespace that reads what lies in another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Guest {
    /// The namespace.
    pub namespace: String,
    /// The reader's name.
    pub name: String,
}

impl Access {
    /// New connections are shown `certificate`.
    pub fn show(&self, certificate: &ServerCertificate) {
        self.change(|state| state.certificate = Some(Arc::clone(&certificate.certified)));
    }

    /// From now on passwords of `keys` are taken.
    pub fn take(&self, keys: PullKeys) {
        self.change(|state| state.keys = Some(keys));
    }

    /// From now on `namespace` has a password with this salt, and none that it had before.
    pub fn expect(&self, namespace: Namespace, salt: Salt) {
        self.change(|state| _ = state.salts.insert(namespace, salt));
    }

    /// The salt of the password of `namespace`; a new one where it has none.
    pub fn salt_of(&self, namespace: &Namespace) -> Result<Salt, NoRandomness> {
        if let Some(salt) = self.look(|state| state.salts.get(namespace).copied()) {
            return Ok(salt);
        }
        let salt = Salt::random()?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        Ok(*state.salts.entry(namespace.clone()).or_insert(salt))
    }

    /// From now on `namespace` has no password.
    pub fn lock_out(&self, namespace: &Namespace) {
        self.change(|state| _ = state.salts.remove(namespace));
    }

    /// All namespaces that have a password are known.
    pub fn lock_out_others(&self) {
        self.change(|state| state.has_all_salts = true);
    }

    /// Lets `guest`'s namespace read `repository`, and none that it named before.
    pub fn invite(&self, guest: Guest, repository: Option<Repository>) {
        self.change(|state| match repository {
            Some(repository) => {
                state.guests.insert(guest, repository);
            }
            None => {
                state.guests.remove(&guest);
            }
        });
    }

    /// The acceptor that shows the certificate. TLS 1.2 and 1.3, HTTP/1.1 only.
    pub fn tls(&self) -> Result<Tls, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls(TlsAcceptor::from(Arc::new(config))))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn is_expected(&self, namespace: &Namespace, salt: Salt) -> bool {
        match self.salts.get(namespace) {
            Some(expected) => *expected == salt,
            None => !self.has_all_salts,
        }
    }

    fn may_read(&self, namespace: &Namespace, repository: &Repository) -> bool {
        repository.namespace() == namespace
            || self.guests.iter().any(|(guest, invited)| {
                guest.namespace == namespace.as_str() && invited == repository
            })
    }
}

impl ResolvesServerCert for Access {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.look(|state| state.certificate.clone())
    }
}

impl Authorizer for Access {
    fn allows(&self, request: &Parts, repository: Option<&Repository>) -> bool {
        self.look(|state| {
            let keys = state.keys.as_ref();
            let proven = keys.and_then(|keys| keys.namespace_of(&request.headers));
            let Some((namespace, salt)) = proven else {
                return false;
            };
            if !state.is_expected(&namespace, salt) {
                return false;
            }
            repository.is_none_or(|repository| state.may_read(&namespace, repository))
        })
    }
}

/// HTTP inside TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl Acceptor for Tls {
    type Stream = TlsStream<TcpStream>;

    async fn accept(&self, socket: TcpStream) -> io::Result<Self::Stream> {
        self.0.accept(socket).await
    }
}

#[cfg(test)]
mod tests;
