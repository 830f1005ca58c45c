//! Dialling: overrides, name resolution, and the check of the address that is really dialled.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::policy::{AddressPolicy, Origin};
use super::settings::Override;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{address}: {reason}")]
    Refused {
        address: String,
        reason: &'static str,
    },

    #[error("failed to resolve the name")]
    Resolve { source: std::io::Error },

    #[error("{address}")]
    Connect {
        address: SocketAddr,
        source: std::io::Error,
    },

    #[error("no connection within {after:?}")]
    TimedOut { after: Duration },

    #[error("the name resolves to no address")]
    NoAddress,
}

/// What all dialling shares.
#[derive(Debug)]
pub(super) struct DialRules {
    pub(super) overrides: Vec<Override>,
    pub(super) policy: AddressPolicy,
    pub(super) trusted_hosts: Vec<String>,
    pub(super) timeout: Duration,
}

/// Opens TCP connections for one [`Origin`]; connections of the two never share a pool.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    rules: Arc<DialRules>,
    origin: Origin,
}

impl Dialer {
    pub(super) fn new(rules: Arc<DialRules>, origin: Origin) -> Self {
        Self { rules, origin }
    }

    async fn dial(self, host: String, port: u16) -> Result<TcpStream, DialError> {
        let after = self.rules.timeout;
        match tokio::time::timeout(after, self.connect(&host, port)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DialError::TimedOut { after }),
        }
    }

    /// Checks each address and dials exactly the checked one, so that a name that resolves
    /// differently a moment later (DNS rebinding) gains nothing.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let overridden = self
            .rules
            .overrides
            .iter()
            .find_map(|rule| rule.address_for(host, port));
        let trusted = overridden.is_some() || is_listed(&self.rules.trusted_hosts, host);
        let addresses: Vec<SocketAddr> = match overridden {
            Some(address) => vec![address],
            None => tokio::net::lookup_host((host, port))
                .await
                .map_err(|source| DialError::Resolve { source })?
                .collect(),
        };
        let mut last = DialError::NoAddress;
        for address in addresses {
            if let Err(reason) = self.rules.policy.check(address.ip(), self.origin, trusted) {
                last = DialError::Refused {
                    address: address.ip().to_string(),
                    reason,
                };
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    // Only costs latency where it fails.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => last = DialError::Connect { address, source },
            }
        }
        Err(last)
    }
}

/// Whether `host` is in a list of hosts of the settings.
pub(super) fn is_listed(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host))
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let default = if uri.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        let port = uri.port_u16().unwrap_or(default);
        Box::pin(async move { dialer.dial(host, port).await.map(TokioIo::new) })
    }
}
