//! The sockets that a service is given or asks for, as data.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::interfaces::LOOPBACK_BROADCAST;

/// The most bytes of a datagram over IPv4 (RFC 768: 65,535 less both headers).
pub const LARGEST_DATAGRAM: usize = 65_507;

/// How a UDP socket is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatagramSpec {
    /// The local address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The only peer, if there is only one: then the kernel reports when
    /// nobody listens there (connect(2) on UDP).
    pub connect: Option<SocketAddr>,
    /// A group to hear, or to send to.
    pub multicast: Option<Multicast>,
    /// It only receives. It shares its port with other listeners, each of which
    /// gets a copy of what is broadcast or sent to a group. No source is ignored,
    /// since nothing is answered.
    pub listens_only: bool,
}

/// A multicast group (RFC 1112) on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Multicast {
    /// The group's address.
    pub group: IpAddr,
    /// The address of the interface to use. `None` joins on every interface that
    /// is up; the kernel chooses which one to send from.
    pub interface: Option<IpAddr>,
    /// Join the group. The kernel leaves it when the socket closes.
    pub join: bool,
}

impl DatagramSpec {
    /// A socket bound to an address that talks to anybody.
    pub fn bound(bind: SocketAddr) -> DatagramSpec {
        DatagramSpec { bind, connect: None, multicast: None, listens_only: false }
    }

    /// A socket on a free port that talks to one peer.
    pub fn connected(to: SocketAddr) -> DatagramSpec {
        DatagramSpec { connect: Some(to), ..DatagramSpec::bound(any_address(to)) }
    }
}

/// The wildcard address of the family of `like`, with port 0.
pub fn any_address(like: SocketAddr) -> SocketAddr {
    match like {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    }
}

/// 255.255.255.255, or the broadcast address of the loopback network.
pub(crate) fn is_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast() || ip == LOOPBACK_BROADCAST)
}

/// The two transports that a service can be reached over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// A listener for connections.
    Tcp,
    /// A socket for datagrams.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        })
    }
}

/// A socket that a service was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Its transport.
    pub transport: Transport,
    /// Its address, with the port that it really has.
    pub address: SocketAddr,
}
