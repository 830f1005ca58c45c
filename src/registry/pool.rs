//! Clients shared by everything that asks for the same registry as the same user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::client::Client;
use super::credentials::Credentials;
use super::endpoint::{Endpoint, RegistryRepository};
use super::transport::Transport;

/// Past this many clients all are made anew: they hold nothing but tokens.
const KEPT: usize = 1_024;

/// A registry, and the fingerprint of a credential.
type Key = (Endpoint, [u8; 32]);

/// The clients of this program, keyed by registry **and** credential: what one user may see
/// with a token, another must not see with it.
#[derive(Clone)]
pub struct Pool {
    transport: Transport,
    clients: Arc<Mutex<HashMap<Key, Client>>>,
}

impl Pool {
    /// An empty pool over `transport`.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            clients: Arc::default(),
        }
    }

    /// The transport below all clients.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// The client for `repository`, as the one that `credentials` know for it.
    pub fn client(&self, repository: &RegistryRepository, credentials: &Credentials) -> Client {
        let credential = credentials.find(repository);
        let key = (repository.endpoint().clone(), credential.fingerprint());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= KEPT && !clients.contains_key(&key) {
            clients.clear();
        }
        let make = || Client::new(self.transport.clone(), key.0.clone(), credential);
        clients.entry(key.clone()).or_insert_with(make).clone()
    }
}
