//! All limits and times of the way out, in one place.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::proxy::Proxies;
use super::{Error, Result};

/// How a [`super::Transport`] behaves; the defaults are those of the program.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Addresses to dial instead of what a name resolves to (`--resolve`).
    pub overrides: Vec<Override>,
    /// Whether loopback addresses may be dialled (`--allow-loopback`).
    pub allow_loopback: bool,
    /// Addresses that are never dialled: the API server, this program's own service.
    pub denied_addresses: Vec<IpAddr>,
    /// Hosts that a registry may send us on to (redirect, token realm), or a component may name as
    /// web servers, although their address is private; and that a registry may send us on to
    /// although they are of another domain and get a credential.
    pub trusted_hosts: Vec<String>,
    /// The site's proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
    pub proxies: Proxies,
    /// Certificates in PEM to trust beside the system's (`--ca-file`).
    pub extra_roots: Option<Vec<u8>>,
    /// What this program calls itself.
    pub user_agent: Option<String>,
    /// The ends of waits.
    pub timeouts: Timeouts,
    /// The ends of everything else.
    pub limits: Limits,
}

/// How long is waited for what.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the head of an answer, from the request on (including connection and TLS).
    pub head: Duration,
    /// For the next piece of a body.
    pub read: Duration,
    /// For the whole of a small body: manifest, token, tag list.
    pub small_body: Duration,
    /// The time over which `Limits::minimum_rate` is measured.
    pub rate_window: Duration,
    /// For a free place at the gate of a host.
    pub queue: Duration,
    /// The first pause between two tries; doubled for each further one, with jitter.
    pub backoff: Duration,
    /// How long a request sleeps where it is because of Retry-After; longer is an error.
    pub longest_pause: Duration,
    /// How much longer than other answers that to the end of an upload may take: the registry
    /// copies or hashes what it was given.
    pub commit: Duration,
    /// The longest Retry-After that is believed.
    pub longest_retry_after: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            head: Duration::from_secs(30),
            read: Duration::from_secs(30),
            small_body: Duration::from_mins(1),
            rate_window: Duration::from_mins(1),
            queue: Duration::from_mins(2),
            backoff: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            commit: Duration::from_mins(5),
            longest_retry_after: Duration::from_mins(15),
        }
    }
}

/// How much is taken from others. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A manifest or an index.
    pub manifest: usize,
    /// A token answer.
    pub token: usize,
    /// One page of a tag list.
    pub tag_page: usize,
    /// Pages of a tag list.
    pub tag_pages: usize,
    /// Tags of a repository.
    pub tags: usize,
    /// Entries of an index, and layers of a manifest.
    pub manifest_entries: usize,
    /// A blob whose size nobody announced.
    pub blob: u64,
    /// Redirects of one request.
    pub redirects: usize,
    /// Tries of one request, and of one blob without progress.
    pub tries: u32,
    /// Requests at a time to one host.
    pub concurrency: usize,
    /// A piece of an upload, each of which is in memory until the registry has it.
    pub piece: usize,
    /// The largest piece that a registry may ask for.
    pub largest_piece: usize,
    /// Uploads at a time.
    pub uploads: usize,
    /// The least rate at which a registry has to take a piece, in bytes per second.
    pub minimum_upload_rate: u64,
    /// The least rate of a body, in bytes per second.
    pub minimum_rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: 4 << 20,
            token: 64 << 10,
            tag_page: 4 << 20,
            tag_pages: 1_000,
            tags: 100_000,
            manifest_entries: 1_000,
            blob: 16 << 30,
            redirects: 5,
            tries: 3,
            concurrency: 16,
            piece: 8 << 20,
            largest_piece: 32 << 20,
            uploads: 4,
            minimum_upload_rate: 32 << 10,
            minimum_rate: 1 << 10,
        }
    }
}

/// Dial this address instead of what the name resolves to; everything else (TLS name, `Host`,
/// credentials) stays with the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    host: String,
    port: Option<u16>,
    address: SocketAddr,
}

impl Override {
    /// Where `host` on `port` is, if this override is for it. Without a port it is for every one.
    pub(super) fn address_for(&self, host: &str, port: u16) -> Option<SocketAddr> {
        let fits = self.host.eq_ignore_ascii_case(host) && self.port.is_none_or(|own| own == port);
        fits.then_some(self.address)
    }
}

impl FromStr for Override {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::ParseOverride {
            text: text.chars().take(300).collect(),
        };
        let (name, address) = text.split_once('=').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        let (host, port) = match name.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| wrong())?)),
            None => (name, None),
        };
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if host.is_empty() || !host.bytes().all(fits) {
            return Err(wrong());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            address,
        })
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn override_is_for_its_host_and_port_alone() {
        let with_port: Override = "ghcr.io:443=127.0.0.1:5000".parse().unwrap();
        let address = "127.0.0.1:5000".parse().ok();
        assert_eq!(with_port.address_for("GHCR.io", 443), address);
        assert_eq!(with_port.address_for("ghcr.io", 80), None);
        assert_eq!(with_port.address_for("x.ghcr.io", 443), None);
        let every_port: Override = "ghcr.io=[::1]:5000".parse().unwrap();
        assert_eq!(
            every_port.address_for("ghcr.io", 8443),
            "[::1]:5000".parse().ok()
        );
    }

    #[test]
    fn malformed_override_is_refused() {
        for text in [
            "",
            "a",
            "a=",
            "=127.0.0.1:1",
            "a=127.0.0.1",
            "a:x=127.0.0.1:1",
            "a=b:1",
        ] {
            assert!(text.parse::<Override>().is_err(), "{text:?}");
        }
    }
}
