//! Where a client's broadcasts and multicasts go on this machine's networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use onepoll::interfaces::{V4Address, interfaces_up};
use onepoll::service::any_address;

/// Where to send a broadcast for `to`. Without a default route the system refuses
/// 255.255.255.255; then it goes to the broadcast address of each network instead.
pub fn broadcast_destinations(to: SocketAddrV4) -> io::Result<Vec<SocketAddrV4>> {
    destinations(to, is_routed, networks)
}

fn destinations(
    to: SocketAddrV4,
    is_routed: impl Fn(SocketAddr) -> io::Result<()>,
    networks: impl Fn() -> Vec<V4Address>,
) -> io::Result<Vec<SocketAddrV4>> {
    let Err(error) = is_routed(to.into()) else { return Ok(vec![to]) };
    if !to.ip().is_broadcast() {
        return Err(error);
    }
    let own = networks().into_iter().filter_map(|network| network.broadcast);
    let own = own.map(|address| SocketAddrV4::new(address, to.port()));
    let own: Vec<_> = own.filter(|address| is_routed((*address).into()).is_ok()).collect();
    if own.is_empty() { Err(error) } else { Ok(own) }
}

/// Which interfaces to send to a group from if the user names none: the system's
/// choice (`None`), or each interface that is up if the system has no route; and
/// loopback, for members on this machine.
pub fn multicast_interfaces(group: SocketAddr) -> Vec<Option<IpAddr>> {
    if group.is_ipv6() {
        return vec![None];
    }
    let mut interfaces = match is_routed(group) {
        Ok(()) => vec![None],
        Err(_) => networks().into_iter().map(|network| Some(network.address.into())).collect(),
    };
    interfaces.push(Some(Ipv4Addr::LOCALHOST.into()));
    interfaces
}

/// The IPv4 addresses of all interfaces but loopback; empty if they cannot be listed.
fn networks() -> Vec<V4Address> {
    let interfaces = interfaces_up().unwrap_or_default();
    interfaces.into_iter().filter(|interface| !interface.is_loopback).flat_map(|other| other.v4).collect()
}

/// Checks that the system has a route to an address. Connecting a UDP socket looks
/// it up without sending anything (connect(2)).
fn is_routed(address: SocketAddr) -> io::Result<()> {
    let socket = UdpSocket::bind(any_address(address))?;
    socket.set_broadcast(true)?;
    socket.connect(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onepoll::interfaces::LOOPBACK_BROADCAST;

    const EVERYBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::BROADCAST, 9);

    fn no_route(_: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::NetworkUnreachable.into())
    }

    fn network(last: u8, has_broadcast: bool) -> V4Address {
        let broadcast = has_broadcast.then_some(Ipv4Addr::new(10, 0, last, 255));
        V4Address { address: Ipv4Addr::new(10, 0, last, 1), broadcast }
    }

    #[test]
    fn with_a_route_a_broadcast_goes_where_it_was_asked_to() {
        for to in [EVERYBODY, SocketAddrV4::new(LOOPBACK_BROADCAST, 9)] {
            let found = destinations(to, |_| Ok(()), || vec![network(1, true)]);
            assert_eq!(found.unwrap(), [to]);
        }
    }

    #[test]
    fn without_a_default_route_it_goes_to_each_network_that_has_a_broadcast_address() {
        let only_own =
            |address: SocketAddr| if address == EVERYBODY.into() { no_route(address) } else { Ok(()) };
        let networks = || vec![network(1, true), network(2, false), network(3, true)];
        let found = destinations(EVERYBODY, only_own, networks).unwrap();
        assert_eq!(found, [1, 3].map(|last| SocketAddrV4::new(Ipv4Addr::new(10, 0, last, 255), 9)));
    }

    #[test]
    fn where_nothing_can_be_sent_to_the_systems_error_is_told() {
        for networks in [vec![], vec![network(1, true)], vec![network(1, false)]] {
            let error = destinations(EVERYBODY, no_route, || networks.clone()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable);
        }
        // Only 255.255.255.255 can be replaced.
        let to = SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 255), 9);
        let only_own = |address: SocketAddr| if address == to.into() { no_route(address) } else { Ok(()) };
        assert!(destinations(to, only_own, || vec![network(1, true)]).is_err());
    }
}
