//! `NO_PROXY`: what is reached without a proxy.

use std::net::IpAddr;

/// Hosts that are reached without a proxy.
#[derive(Debug, Clone, Default)]
pub(super) struct Exceptions {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// `*`
    Everything,
    /// `10.0.0.0/8`
    Network { address: IpAddr, bits: u8 },
    /// `10.1.2.3`, `10.1.2.3:5000`, `fd00::1`, `[fd00::1]:5000`
    Address { address: IpAddr, port: Option<u16> },
    /// `example.org` with all below it; `.example.org` or `*.example.org` only what is below.
    Domain {
        name: String,
        itself: bool,
        port: Option<u16>,
    },
}

impl Exceptions {
    /// Reads a list with commas. What is no rule is for nothing, as for Go.
    pub(super) fn parse(text: &str) -> Self {
        let entries = text.split(',').map(|entry| entry.trim().to_lowercase());
        Self {
            rules: entries.filter_map(|entry| Rule::parse(&entry)).collect(),
        }
    }

    /// Whether `host` at `port` is among them. This machine itself always is.
    pub(super) fn contain(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address: Option<IpAddr> = host.parse().ok();
        host == "localhost"
            || address.is_some_and(|address| address.to_canonical().is_loopback())
            || self
                .rules
                .iter()
                .any(|rule| rule.fits(&host, address, port))
    }
}

impl Rule {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            return (bits <= longest).then_some(Self::Network { address, bits });
        }
        if let Ok(address) = bare(entry).parse() {
            return Some(Self::Address {
                address,
                port: None,
            });
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        if let Ok(address) = bare(host).parse() {
            return Some(Self::Address { address, port });
        }
        let below = host.strip_prefix("*.").or_else(|| host.strip_prefix('.'));
        let name = below.unwrap_or(host).to_owned();
        (!name.is_empty()).then_some(Self::Domain {
            name,
            itself: below.is_none(),
            port,
        })
    }

    fn fits(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let at = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match self {
            Self::Everything => true,
            Self::Network {
                address: network,
                bits,
            } => address.is_some_and(|address| is_within(address, *network, *bits)),
            Self::Address {
                address: own,
                port: wanted,
            } => {
                address.is_some_and(|address| address.to_canonical() == own.to_canonical())
                    && at(wanted)
            }
            Self::Domain {
                name,
                itself,
                port: wanted,
            } => {
                let rest = host.strip_suffix(name.as_str());
                rest.is_some_and(|rest| rest.ends_with('.') || (rest.is_empty() && *itself))
                    && at(wanted)
            }
        }
    }
}

fn bare(host: &str) -> &str {
    let within = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    within.unwrap_or(host)
}

/// Whether the first `bits` of the two are the same.
fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let (left, right, width) = match (address.to_canonical(), network) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            (u128::from(left.to_bits()), u128::from(right.to_bits()), 32)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits(), right.to_bits(), 128),
        _ => return false,
    };
    let outside = width - u32::from(bits);
    (left ^ right).checked_shr(outside).unwrap_or(0) == 0
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn exceptions_mean_what_they_mean_to_go() {
        let cases: [(&str, &[&str], &[&str]); 12] = [
            (
                "",
                &["localhost", "127.0.0.1", "127.8.8.8", "::1"],
                &["ghcr.io", "10.0.0.1"],
            ),
            ("*", &["ghcr.io", "10.0.0.1"], &[]),
            (
                "foo.com",
                &["foo.com", "FOO.com", "a.b.foo.com"],
                &["afoo.com", "foo.com.evil.org"],
            ),
            (".foo.com", &["a.foo.com"], &["foo.com", "afoo.com"]),
            ("*.foo.com", &["a.foo.com", "a.b.foo.com"], &["foo.com"]),
            (" a.org , b.org,", &["a.org", "b.org"], &["c.org"]),
            (
                ".svc,.cluster.local",
                &["registry.default.svc"],
                &["svc", "svc.example.org"],
            ),
            (
                "10.0.0.0/8,fd00::/8",
                &["10.9.8.7", "fd12::1", "::ffff:10.1.1.1"],
                &["11.0.0.1", "fe00::1"],
            ),
            ("0.0.0.0/0", &["1.2.3.4"], &["a.org", "fd00::1"]),
            (
                "192.168.1.1",
                &["192.168.1.1"],
                &["192.168.1.2", "192.168.1.1.example.org"],
            ),
            ("fd00::1,[fd00::2]", &["fd00::1", "fd00::2"], &["fd00::3"]),
            ("10.0.0.0/33,x:y,:80,/8,.", &[], &["10.0.0.1", "x", "a.org"]),
        ];
        for (list, direct, through) in cases {
            let exceptions = Exceptions::parse(list);
            for host in direct {
                assert!(exceptions.contain(host, 443), "{list}: {host}");
            }
            for host in through {
                assert!(!exceptions.contain(host, 443), "{list}: {host}");
            }
        }
    }

    #[test]
    fn exception_with_a_port_is_for_that_port_alone() {
        let exceptions = Exceptions::parse("foo.com:5000,10.0.0.1:80,[fd00::1]:443,*.bar.com:1");
        for (host, port) in [
            ("foo.com", 5000),
            ("x.foo.com", 5000),
            ("10.0.0.1", 80),
            ("fd00::1", 443),
            ("a.bar.com", 1),
        ] {
            assert!(exceptions.contain(host, port), "{host}");
            assert!(!exceptions.contain(host, 8443), "{host}");
        }
    }
}
