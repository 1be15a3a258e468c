//! The network interfaces of this machine that are up.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

/// The broadcast address of the loopback network, which the kernel does not list.
pub const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// A network interface that is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as in `eth0`.
    pub name: String,
    /// The number by which socket options name it.
    pub index: u32,
    /// Whether it reaches only this machine.
    pub is_loopback: bool,
    /// Its IPv4 addresses; none before the network has handed one out.
    pub v4: Vec<V4Address>,
    /// Its IPv6 addresses.
    pub v6: Vec<Ipv6Addr>,
}

/// An IPv4 address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V4Address {
    /// The address itself.
    pub address: Ipv4Addr,
    /// The address that reaches all of its network; a link between two machines has none.
    pub broadcast: Option<Ipv4Addr>,
}

impl Interface {
    /// Whether it has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.iter().any(|own| own.address == address),
            IpAddr::V6(address) => self.v6.contains(&address),
        }
    }

    /// The addresses at which other machines reach a socket bound to `wildcard`; the
    /// wildcard of IPv6 stands for both families. Link-local addresses are left out:
    /// they mean nothing without the name of an interface on the other machine.
    fn reachable_at(&self, wildcard: IpAddr) -> impl Iterator<Item = IpAddr> {
        let v4 = self.v4.iter().map(|own| IpAddr::V4(own.address));
        let v6 = self.v6.iter().filter(|own| !own.is_unicast_link_local()).map(|own| IpAddr::V6(*own));
        v4.chain(v6.filter(move |_| wildcard.is_ipv6()))
    }
}

/// A network that this machine is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The machine's own address in it.
    address: IpAddr,
    /// How many bits of the address name the network.
    prefix: u32,
}

impl Network {
    /// The network of this address whose name has this many bits.
    pub fn new(address: IpAddr, prefix: u32) -> Network {
        Network { address, prefix }
    }

    /// The machine's own address in it.
    pub fn own_address(&self) -> IpAddr {
        self.address
    }

    /// Whether an address is in the network.
    pub fn has(&self, address: IpAddr) -> bool {
        let common = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits() ^ other.to_bits()).leading_zeros(),
            _ => return false,
        };
        common >= self.prefix
    }
}

/// Lists the networks that this machine is attached to, without those behind a router.
///
/// # Errors
/// As [`interfaces_up`].
pub fn attached_networks() -> io::Result<Vec<Network>> {
    let up = getifaddrs()?.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP));
    Ok(up.filter_map(|entry| network(&entry)).collect())
}

fn network(entry: &InterfaceAddress) -> Option<Network> {
    let (address, netmask) = (entry.address.as_ref()?, entry.netmask.as_ref()?);
    if let (Some(address), Some(netmask)) = (v4(address), v4(netmask)) {
        return Some(Network::new(address.into(), netmask.to_bits().leading_ones()));
    }
    let (address, netmask) = (address.as_sockaddr_in6()?.ip(), netmask.as_sockaddr_in6()?.ip());
    Some(Network::new(address.into(), netmask.to_bits().leading_ones()))
}

/// Lists the interfaces that are up, in the kernel's order.
///
/// # Errors
/// If the kernel does not say, because no descriptor or memory is left.
pub fn interfaces_up() -> io::Result<Vec<Interface>> {
    let mut interfaces: Vec<Interface> = Vec::new();
    // One entry per address, and one without for the interface itself.
    for entry in getifaddrs()?.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP)) {
        // An address may have a label of its own, as in eth0:1.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let known = interfaces.iter().position(|interface| interface.name == name);
        let at = match known {
            Some(at) => at,
            None => {
                // It may be gone by now.
                let Ok(index) = if_nametoindex(name) else { continue };
                let is_loopback = entry.flags.contains(InterfaceFlags::IFF_LOOPBACK);
                let (v4, v6) = (Vec::new(), Vec::new());
                interfaces.push(Interface { name: name.to_owned(), index, is_loopback, v4, v6 });
                interfaces.len() - 1
            }
        };
        let interface = &mut interfaces[at];
        if let Some(address) = entry.address.as_ref().and_then(v4) {
            let broadcast = if interface.is_loopback { None } else { broadcast(&entry, address) };
            interface.v4.push(V4Address { address, broadcast });
        } else if let Some(address) = entry.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in6) {
            interface.v6.push(address.ip());
        }
    }
    Ok(interfaces)
}

fn v4(address: &SockaddrStorage) -> Option<Ipv4Addr> {
    address.as_sockaddr_in().map(|address| address.ip())
}

/// The broadcast address of an interface: the one that the kernel lists, or else the one
/// that follows from the netmask, since an address that was added without a broadcast
/// address has one all the same.
fn broadcast(entry: &InterfaceAddress, address: Ipv4Addr) -> Option<Ipv4Addr> {
    if !entry.flags.contains(InterfaceFlags::IFF_BROADCAST) {
        return None;
    }
    let listed = entry.broadcast.as_ref().and_then(v4).filter(|listed| !listed.is_unspecified());
    let derived = || {
        let host_bits = !entry.netmask.as_ref().and_then(v4)?.to_bits();
        // Networks of one or two addresses have no room for one (RFC 3021).
        (host_bits > 1).then(|| Ipv4Addr::from_bits(address.to_bits() | host_bits))
    };
    listed.filter(|listed| *listed != address).or_else(derived)
}

/// The broadcast addresses of all attached networks, or that of loopback if there is no
/// network.
///
/// A datagram to 255.255.255.255 leaves only on the interface with the default route, and
/// a machine without a default route refuses it.
///
/// # Errors
/// As [`interfaces_up`].
pub fn broadcast_addresses() -> io::Result<Vec<Ipv4Addr>> {
    Ok(broadcast_addresses_of(&interfaces_up()?))
}

fn broadcast_addresses_of(interfaces: &[Interface]) -> Vec<Ipv4Addr> {
    let mut addresses: Vec<_> =
        interfaces.iter().flat_map(|interface| &interface.v4).filter_map(|own| own.broadcast).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        addresses.push(LOOPBACK_BROADCAST);
    }
    addresses
}

/// Says what to type to reach a service that is bound to a wildcard address.
pub fn in_place_of(wildcard: IpAddr, interfaces: &[Interface]) -> String {
    let others = interfaces.iter().filter(|interface| !interface.is_loopback);
    let addresses: Vec<String> = others
        .flat_map(|interface| {
            interface.reachable_at(wildcard).map(|address| format!("{address} ({})", interface.name))
        })
        .collect();
    match &addresses[..] {
        [] => format!(
            "This machine has no network address yet, so {wildcard} can be reached from this machine only."
        ),
        [only] => format!("From other machines, type {only} in place of {wildcard}."),
        [most @ .., last] => {
            format!("From other machines, type {} or {last} in place of {wildcard}.", most.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lo() -> Interface {
        let own = V4Address { address: Ipv4Addr::LOCALHOST, broadcast: None };
        Interface {
            name: "lo".into(),
            index: 1,
            is_loopback: true,
            v4: vec![own],
            v6: vec![Ipv6Addr::LOCALHOST],
        }
    }

    fn lan(name: &str, network: [u8; 3], v6: &[&str]) -> Interface {
        let [a, b, c] = network;
        let own = V4Address { address: [a, b, c, 10].into(), broadcast: Some(Ipv4Addr::new(a, b, c, 255)) };
        let v6 = v6.iter().map(|address| address.parse().unwrap()).collect();
        Interface { name: name.into(), index: 2, is_loopback: false, v4: vec![own], v6 }
    }

    #[test]
    fn every_network_has_its_broadcast_address_and_loopback_stands_in_for_none() {
        let (one, other) = (lan("eth0", [192, 0, 2], &[]), lan("wlan0", [198, 51, 100], &[]));
        let expected = [[192, 0, 2, 255], [198, 51, 100, 255]].map(Ipv4Addr::from);
        assert_eq!(broadcast_addresses_of(&[lo(), other, one.clone(), one]), expected);
        assert_eq!(broadcast_addresses_of(&[lo()]), [LOOPBACK_BROADCAST]);
        assert_eq!(broadcast_addresses_of(&[]), [LOOPBACK_BROADCAST]);
    }

    #[test]
    fn the_addresses_to_type_are_those_of_the_wildcards_family() {
        let (v4, v6) = ("0.0.0.0".parse().unwrap(), "::".parse().unwrap());
        let one = lan("eth0", [192, 0, 2], &["2001:db8::10", "fe80::1"]);
        let both = [lo(), one.clone(), lan("wlan0", [198, 51, 100], &[])];
        assert_eq!(
            in_place_of(v4, &[lo(), one]),
            "From other machines, type 192.0.2.10 (eth0) in place of 0.0.0.0."
        );
        assert_eq!(
            in_place_of(v6, &both),
            "From other machines, type 192.0.2.10 (eth0), 2001:db8::10 (eth0) or 198.51.100.10 (wlan0) in place of ::."
        );
        let alone = in_place_of(v4, &[lo()]);
        assert!(alone.starts_with("This machine has no network address yet"), "{alone}");
    }

    #[test]
    fn a_network_has_the_addresses_that_begin_as_its_name_does() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let class = Network::new(at("10.9.0.1"), 24);
        assert!(class.has(at("10.9.0.254")) && !class.has(at("10.9.1.1")) && !class.has(at("::1")));
        let alone = Network::new(at("10.9.0.1"), 32);
        assert!(alone.has(at("10.9.0.1")) && !alone.has(at("10.9.0.2")));
        let link = Network::new(at("fe80::1"), 64);
        assert!(link.has(at("fe80::2:3")) && !link.has(at("2001:db8::1")) && !link.has(at("10.9.0.1")));
    }

    #[test]
    fn the_loopback_network_of_this_machine_is_attached() {
        let networks = attached_networks().unwrap();
        let has = |address: [u8; 4]| networks.iter().any(|network| network.has(address.into()));
        assert!(has([127, 9, 9, 9]), "{networks:?}");
    }

    #[test]
    fn the_loopback_interface_of_this_machine_is_listed() {
        let interfaces = interfaces_up().unwrap();
        let lo = interfaces.iter().find(|interface| interface.has(Ipv4Addr::LOCALHOST.into())).unwrap();
        assert!(lo.is_loopback && lo.index > 0);
    }
}
