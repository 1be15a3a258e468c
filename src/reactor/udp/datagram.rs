//! UDP sockets: opening them, and limiting the answers to one source.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use mio::net::UdpSocket;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::FEWEST_PER_CALL;
use crate::reactor::readiness::Latch;
use crate::service::ids::ServiceId;
use crate::service::limits::Rate;
use crate::service::options::{DEFAULT_UDP_RECEIVE_BUFFER, SocketOptions};
use crate::service::rooms::Room;
use crate::service::sockets::{DatagramSpec, Multicast};
use crate::service::token_bucket::TokenBucket;

#[derive(Debug)]
pub(crate) struct Datagram {
    pub socket: UdpSocket,
    pub service: ServiceId,
    pub address: SocketAddr,
    pub is_connected: bool,
    pub listens_only: bool,
    /// It is bound to a wildcard address: the kernel says which address each
    /// datagram was sent to (IP_PKTINFO), and the answer comes from that one.
    pub tells_destination: bool,
    /// A burst may arrive in one message (UDP_GRO). Once true, it stays so: see
    /// [`Datagram::coalesce`].
    pub coalesces: bool,
    /// How many messages the next call asks for: room for a message costs something
    /// even if none comes.
    pub batch: usize,
    pub latch: Latch,
    pub room: Option<Room>,
}

impl Datagram {
    pub fn open(spec: &DatagramSpec, options: &SocketOptions, service: ServiceId) -> io::Result<Datagram> {
        let socket = Socket::new(Domain::for_address(spec.bind), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // A second daemon on the port would take half of the datagrams. So the
        // address is shared only if every listener gets a copy of each datagram.
        let joins = spec.multicast.is_some_and(|multicast| multicast.join);
        let shared = spec.listens_only || joins || is_broadcast(spec.bind.ip());
        socket.set_reuse_address(shared && options.reuse_address)?;
        socket.set_reuse_port(options.reuse_port)?;
        socket.set_broadcast(options.broadcast)?;
        options.apply_to_any(&socket, spec.bind)?;
        if options.receive_buffer.is_none() {
            socket.set_recv_buffer_size(DEFAULT_UDP_RECEIVE_BUFFER)?;
        }
        let tells_destination = spec.bind.ip().is_unspecified() && spec.connect.is_none();
        if tells_destination {
            match spec.bind {
                SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
        }
        socket.bind(&with_scope(spec.bind, spec.multicast)?.into())?;
        if let Some(multicast) = &spec.multicast {
            multicast.apply(&socket, options)?;
        }
        if let Some(peer) = spec.connect {
            socket.connect(&peer.into())?;
        }
        let socket = UdpSocket::from_std(socket.into());
        Ok(Datagram {
            service,
            address: socket.local_addr()?,
            socket,
            is_connected: spec.connect.is_some(),
            listens_only: spec.listens_only,
            tells_destination,
            coalesces: false,
            batch: FEWEST_PER_CALL,
            latch: Latch::default(),
            room: None,
        })
    }
}

impl Datagram {
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Asks the kernel to hand over a burst in one message. That pays only for
    /// bursts, so it is asked once a burst was seen.
    ///
    /// There is no way back. The kernel says how long the datagrams in a message
    /// are only if the option is set at the time of the receive. If it were
    /// cleared, a burst that was coalesced before would look like one long
    /// datagram. It does not help that the queue is empty: a sender on another core
    /// may have found the option set and queue its burst a moment later.
    #[cfg(target_os = "linux")]
    pub fn coalesce(&mut self) {
        self.coalesces = setsockopt(&self.socket, sockopt::UdpGroSegment, &true).is_ok();
    }

    #[cfg(not(target_os = "linux"))]
    pub fn coalesce(&mut self) {}
}

impl Multicast {
    fn apply(&self, socket: &Socket, options: &SocketOptions) -> io::Result<()> {
        match (self.group, self.interface) {
            (IpAddr::V4(group), interface) => {
                let interface = match interface {
                    Some(IpAddr::V4(interface)) => interface,
                    Some(IpAddr::V6(_)) => return Err(other_family()),
                    None => Ipv4Addr::UNSPECIFIED,
                };
                if self.join {
                    socket
                        .join_multicast_v4(&group, &interface)
                        .map_err(|error| no_interface(error, interface))?;
                    // Otherwise the groups that other sockets joined are received
                    // too.
                    #[cfg(target_os = "linux")]
                    socket.set_multicast_all_v4(false)?;
                }
                socket.set_multicast_if_v4(&interface).map_err(|error| no_interface(error, interface))?;
                if let Some(ttl) = options.ttl {
                    socket.set_multicast_ttl_v4(ttl)?;
                }
            }
            (IpAddr::V6(group), interface) => {
                let index = interface_index_v6(interface)?;
                if self.join {
                    socket.join_multicast_v6(&group, index)?;
                    #[cfg(target_os = "linux")]
                    socket.set_multicast_all_v6(false)?;
                }
                socket.set_multicast_if_v6(index)?;
                if let Some(ttl) = options.ttl {
                    socket.set_multicast_hops_v6(ttl)?;
                }
            }
        }
        Ok(())
    }
}

fn other_family() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the interface is of another address family than the group")
}

fn no_interface(error: io::Error, interface: Ipv4Addr) -> io::Error {
    use nix::libc::{EADDRNOTAVAIL, ENODEV};
    match error.raw_os_error() {
        Some(EADDRNOTAVAIL | ENODEV) if !interface.is_unspecified() => io::Error::new(
            io::ErrorKind::NotFound,
            format!("no interface of this machine has the address {interface}"),
        ),
        _ => error,
    }
}

fn interface_index_v6(interface: Option<IpAddr>) -> io::Result<u32> {
    match interface {
        Some(IpAddr::V6(interface)) => interface_index(IpAddr::V6(interface)),
        Some(IpAddr::V4(_)) => Err(other_family()),
        None => Ok(0),
    }
}

/// A link-local group is bound together with its interface (RFC 4007).
fn with_scope(bind: SocketAddr, multicast: Option<Multicast>) -> io::Result<SocketAddr> {
    match (bind, multicast) {
        (SocketAddr::V6(mut v6), Some(multicast)) if v6.ip().is_multicast() => {
            v6.set_scope_id(interface_index_v6(multicast.interface)?);
            Ok(v6.into())
        }
        _ => Ok(bind),
    }
}

/// The index of the interface that has this address.
fn interface_index(address: IpAddr) -> io::Result<u32> {
    let has_address = |interface: &nix::ifaddrs::InterfaceAddress| {
        let storage = interface.address.as_ref()?;
        Some(IpAddr::V6(storage.as_sockaddr_in6()?.ip()) == address)
    };
    for interface in nix::ifaddrs::getifaddrs()? {
        if has_address(&interface) == Some(true) {
            return Ok(nix::net::if_::if_nametoindex(interface.interface_name.as_str())?);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("no interface of this machine has the address {address}"),
    ))
}

/// 255.255.255.255, or the broadcast address of the loopback network.
pub(crate) fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast() || ip == Ipv4Addr::new(127, 255, 255, 255))
}

/// Limits each service's answers per second to each source address.
#[derive(Debug, Default)]
pub(crate) struct AnswerLimit(HashMap<(ServiceId, IpAddr), TokenBucket>);

/// Sources remembered at once; beyond that, all start afresh. This bounds the
/// memory that an attacker with forged sources can claim.
const SOURCES: usize = 16_384;

impl AnswerLimit {
    pub fn admits(&mut self, service: ServiceId, source: IpAddr, rate: Rate, now: Instant) -> bool {
        if rate.per_second == 0 || (source.is_loopback() && !rate.loopback) {
            return true;
        }
        if self.0.len() >= SOURCES && !self.0.contains_key(&(service, source)) {
            self.0.clear();
        }
        self.0.entry((service, source)).or_insert_with(|| TokenBucket::new(rate, now)).take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_limit_spares_loopback_unless_it_was_set() {
        let now = Instant::now();
        let mut limit = AnswerLimit::default();
        let unset = Rate { per_second: 2, burst: 2, loopback: false };
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!((0..100).all(|_| limit.admits(ServiceId(0), loopback, unset, now)));
        assert_eq!(
            (0..100).filter(|_| limit.admits(ServiceId(0), [192, 0, 2, 1].into(), unset, now)).count(),
            2
        );
        assert_eq!(
            (0..100)
                .filter(|_| limit.admits(ServiceId(0), loopback, Rate { loopback: true, ..unset }, now))
                .count(),
            2
        );
    }
}
