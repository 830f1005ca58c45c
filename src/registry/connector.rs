//! Dialling: overrides, proxies, name resolution, and the check of the address that is really
//! dialled.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use super::endpoint::Scheme;
use super::policy::{AddressPolicy, Origin};
use super::proxy::{Proxies, Proxy};
use super::settings::Override;
use super::tunnel::{self, Stream, TunnelError};

/// How long a name that a proxy is going to resolve is looked up here: where a site resolves no
/// names from outside, it is not to be waited for.
const LOOK_UP: Duration = Duration::from_secs(1);

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

    #[error("failed to reach the proxy {proxy}")]
    Proxy {
        proxy: String,
        source: Box<DialError>,
    },

    #[error("failed to pass the proxy {proxy}")]
    Tunnel { proxy: String, source: TunnelError },
}

impl DialError {
    fn proxy(proxy: &Proxy, source: Self) -> Self {
        Self::Proxy {
            proxy: proxy.to_string(),
            source: Box::new(source),
        }
    }
}

/// What is dialled: scheme, host (an IPv6 address without brackets), and port.
type Target = (Scheme, String, u16);

/// What all dialling shares.
#[derive(Debug)]
pub(super) struct DialRules {
    pub(super) overrides: Vec<Override>,
    pub(super) policy: AddressPolicy,
    pub(super) trusted_hosts: Vec<String>,
    pub(super) timeout: Duration,
    pub(super) proxies: Proxies,
    /// For proxies that speak TLS.
    pub(super) proxy_tls: Arc<ClientConfig>,
}

impl DialRules {
    fn overridden(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let mut overrides = self.overrides.iter();
        overrides.find_map(|rule| rule.address_for(host, port))
    }

    /// The proxy through which `host` is reached; an IPv6 address is without brackets. What
    /// `--resolve` names is dialled.
    pub(super) fn proxy(&self, scheme: Scheme, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = self.proxies.find(scheme, host, port)?;
        self.overridden(host, port).is_none().then_some(proxy)
    }
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

    async fn dial(self, (scheme, host, port): Target) -> Result<Stream, DialError> {
        let after = self.rules.timeout;
        let timed_out = || DialError::TimedOut { after };
        let Some(proxy) = self.rules.proxy(scheme, &host, port) else {
            let direct = tokio::time::timeout(after, self.connect(&host, port)).await;
            return direct.unwrap_or_else(|_| Err(timed_out()));
        };
        self.check_behind_proxy(&host, port).await?;
        let passing = self.connect_through(proxy, (scheme, &host, port));
        match tokio::time::timeout(after, passing).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DialError::proxy(proxy, timed_out())),
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Stream, DialError> {
        let overridden = self.rules.overridden(host, port);
        let trusted = overridden.is_some() || is_listed(&self.rules.trusted_hosts, host);
        let addresses = match overridden {
            Some(address) => vec![address],
            None => look_up(host, port).await?,
        };
        let permitted = |address: IpAddr| self.check(address, trusted);
        connect(addresses, permitted).await.map(Stream::direct)
    }

    fn check(&self, address: IpAddr, trusted: bool) -> Result<(), DialError> {
        let checked = self.rules.policy.check(address, self.origin, trusted);
        checked.map_err(|reason| DialError::Refused {
            address: address.to_string(),
            reason,
        })
    }

    /// The proxy resolves the name and dials. As far as the name is known here as well, what it
    /// leads to is checked all the same: by way of a proxy, too, nobody is led to the API server.
    async fn check_behind_proxy(&self, host: &str, port: u16) -> Result<(), DialError> {
        let trusted = is_listed(&self.rules.trusted_hosts, host);
        let patience = LOOK_UP.min(self.rules.timeout / 4);
        let known = match tokio::time::timeout(patience, look_up(host, port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        let mut known = known.iter();
        known.try_for_each(|address| self.check(address.ip(), trusted))
    }

    async fn connect_through(
        &self,
        proxy: &Proxy,
        target: (Scheme, &str, u16),
    ) -> Result<Stream, DialError> {
        // The operator names the proxy, wherever it is.
        let reached = match look_up(&proxy.host, proxy.port).await {
            Ok(addresses) => connect(addresses, |_| Ok(())).await,
            Err(source) => Err(source),
        };
        let stream = reached.map_err(|source| DialError::proxy(proxy, source))?;
        tunnel::through(proxy, stream, &self.rules.proxy_tls, target)
            .await
            .map_err(|source| DialError::Tunnel {
                proxy: proxy.to_string(),
                source,
            })
    }
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|source| DialError::Resolve { source })?;
    Ok(found.collect())
}

/// Checks each address and dials exactly the checked one, so that a name that resolves
/// differently a moment later (DNS rebinding) gains nothing.
async fn connect(
    addresses: Vec<SocketAddr>,
    permitted: impl Fn(IpAddr) -> Result<(), DialError>,
) -> Result<TcpStream, DialError> {
    let mut last = DialError::NoAddress;
    for address in addresses {
        if let Err(refused) = permitted(address.ip()) {
            last = refused;
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

/// Whether `host` is in a list of hosts of the settings.
pub(super) fn is_listed(hosts: &[String], host: &str) -> bool {
    hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host))
}

impl Service<Uri> for Dialer {
    type Response = Stream;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let (scheme, default) = match uri.scheme_str() {
            Some("http") => (Scheme::Http, 80),
            _ => (Scheme::Https, 443),
        };
        let target = (scheme, host.to_owned(), uri.port_u16().unwrap_or(default));
        Box::pin(dialer.dial(target))
    }
}
