//! Which addresses may be dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services of clouds that lie outside the link-local ranges.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Who chose the host that is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The user: an object's URL, a setting.
    Named,
    /// Another host, by a redirect or a token realm.
    Foreign,
}

/// Decides about addresses, after name resolution.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressPolicy {
    pub(super) allow_loopback: bool,
    pub(super) denied: Vec<IpAddr>,
}

impl AddressPolicy {
    /// Says why `address` may not be dialled, if so. `trusted` tells that the operator named the
    /// address or the host in a setting, which makes a foreign host as good as a named one.
    pub(super) fn check(
        &self,
        address: IpAddr,
        origin: Origin,
        trusted: bool,
    ) -> Result<(), &'static str> {
        let address = unwrapped(address);
        if address.is_unspecified() || address == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Err("the address is unspecified");
        }
        if address.is_multicast() {
            return Err("the address is multicast");
        }
        if is_link_local(address) || METADATA.contains(&address) {
            return Err("the address is link-local or a metadata service");
        }
        if self
            .denied
            .iter()
            .any(|denied| unwrapped(*denied) == address)
        {
            return Err("the address is the API server's or this program's own");
        }
        if is_loopback(address) && !self.allow_loopback {
            return Err("the address is loopback; --allow-loopback permits it");
        }
        let foreign = origin == Origin::Foreign && !trusted;
        if foreign && (is_loopback(address) || is_private(address)) {
            return Err(
                "another host points to this loopback or private address; name it as a trusted host if it is right",
            );
        }
        Ok(())
    }
}

/// The IPv4 address inside an IPv6 one (mapped, compatible, NAT64), else the address itself.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    let [prefix @ .., high, low] = v6.segments();
    let nat64 = prefix == [0x64, 0xff9b, 0, 0, 0, 0];
    let compatible = prefix == [0; 6] && high != 0;
    if nat64 || compatible {
        return IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    }
    address
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// RFC 1918, RFC 6598 (shared), `0.0.0.0/8`, and IPv6 unique local and site-local addresses.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || a == 0 || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0,
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    fn allowed(policy: &AddressPolicy, address: &str, origin: Origin) -> bool {
        policy
            .check(address.parse().unwrap(), origin, false)
            .is_ok()
    }

    #[test]
    fn a2f47d42_addresses_of_no_registry_are_never_dialled() {
        let policy = AddressPolicy {
            allow_loopback: true,
            denied: vec!["10.96.0.1".parse().unwrap()],
        };
        for address in [
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "100.100.100.200",
            "10.96.0.1",
            "::ffff:10.96.0.1",
        ] {
            assert!(!allowed(&policy, address, Origin::Named), "{address}");
        }
    }

    #[test]
    fn loopback_needs_the_setting() {
        let open = AddressPolicy {
            allow_loopback: true,
            denied: Vec::new(),
        };
        for address in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert!(!allowed(&AddressPolicy::default(), address, Origin::Named));
            assert!(allowed(&open, address, Origin::Named), "{address}");
            assert!(!allowed(&open, address, Origin::Foreign), "{address}");
        }
    }

    #[test]
    fn private_address_is_for_the_user_to_name_and_not_for_a_registry() {
        let policy = AddressPolicy::default();
        for address in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "fd12::1",
        ] {
            assert!(allowed(&policy, address, Origin::Named), "{address}");
            assert!(!allowed(&policy, address, Origin::Foreign), "{address}");
            let address = address.parse().unwrap();
            assert!(policy.check(address, Origin::Foreign, true).is_ok());
        }
        assert!(allowed(&policy, "140.82.121.34", Origin::Foreign));
    }
}
