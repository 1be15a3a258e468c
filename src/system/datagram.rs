//! UDP sockets: many datagrams per call.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::{Interest, Token};

use super::kernel;
use super::poll::Registry;
#[cfg(feature = "simulated")]
use super::{of_another_system, simulated};
use crate::service::DatagramPeer;

/// Messages per call of the kernel, at most.
pub(crate) const MESSAGES_PER_CALL: usize = 32;
/// One message's place in the receive buffer, in bytes.
pub(crate) const STRIDE: usize = 64 * 1024;

/// What was received at once: a datagram, or several that the kernel put together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub from: SocketAddr,
    /// The address of ours that it was sent to, where the kernel tells.
    pub to: Option<IpAddr>,
    pub length: usize,
    /// The length of each datagram but the last; 0: there is only one.
    pub segment: usize,
}

/// What is sent at once: a datagram, or several of one size that lie behind
/// each other in memory, which the kernel cuts apart again (UDP_SEGMENT, udp(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub to: DatagramPeer,
    pub start: usize,
    pub end: usize,
    /// The length of each datagram but the last, which may be shorter; 0:
    /// there is only one.
    pub segment: u16,
}

/// What a receiving call needs in memory, kept from call to call.
pub(crate) type ReceiveHeaders = kernel::ReceiveHeaders;
/// What a sending call needs in memory, kept from call to call.
pub(crate) type SendHeaders = kernel::SendHeaders;

/// A UDP socket.
#[derive(Debug)]
pub(crate) enum DatagramSocket {
    Kernel(kernel::DatagramSocket),
    #[cfg(feature = "simulated")]
    Simulated(simulated::Datagram),
}

impl DatagramSocket {
    /// Its local address.
    pub fn address(&self) -> SocketAddr {
        match self {
            DatagramSocket::Kernel(socket) => socket.address,
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(socket) => socket.address,
        }
    }

    /// It has one peer only.
    pub fn is_connected(&self) -> bool {
        match self {
            DatagramSocket::Kernel(socket) => socket.is_connected,
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(socket) => socket.is_connected,
        }
    }

    /// Whether what was sent as one burst may arrive as one message (UDP_GRO).
    pub fn coalesces(&self) -> bool {
        match self {
            DatagramSocket::Kernel(socket) => socket.coalesces,
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(socket) => socket.coalesces,
        }
    }

    /// Asks the kernel to hand over in one message what was sent as one burst. It
    /// pays for bursts only, so it is asked when one was seen.
    ///
    /// There is no way back. The kernel says how long the datagrams in a message
    /// are only while the option is set, at the time of the receive: of what it put
    /// together before, each message would be taken for one long datagram. That the
    /// queue is empty does not help, since a sender on another core may have found
    /// the option set and put its burst there a moment later.
    pub fn coalesce(&mut self) {
        match self {
            DatagramSocket::Kernel(socket) => socket.coalesce(),
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(socket) => socket.coalesces = true,
        }
    }

    /// Receives as many messages as there are places in `buffer`, at most
    /// [`MESSAGES_PER_CALL`].
    pub fn receive(
        &self,
        headers: &mut ReceiveHeaders,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        match self {
            DatagramSocket::Kernel(socket) => headers.receive(socket, buffer, arrivals),
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(socket) => socket.receive(buffer, arrivals),
        }
    }

    /// Sends parcels that are cut alike, from one address of ours; returns how
    /// many of them the kernel took.
    pub fn send(
        &self,
        headers: &mut SendHeaders,
        parcels: &[Parcel],
        local: Option<IpAddr>,
        bytes: &[u8],
    ) -> io::Result<usize> {
        match self {
            DatagramSocket::Kernel(socket) => headers.send(socket, parcels, local, bytes),
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(socket) => socket.send(parcels, local, bytes),
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match (self, registry) {
            (DatagramSocket::Kernel(socket), Registry::Kernel(registry)) => {
                registry.register(&mut socket.socket, token, Interest::READABLE)
            }
            #[cfg(feature = "simulated")]
            (DatagramSocket::Simulated(socket), Registry::Simulated(_)) => socket.register(token),
            #[cfg(feature = "simulated")]
            _ => Err(of_another_system()),
        }
    }

    /// The buffer sizes that the kernel granted, for the log.
    pub fn granted(&self) -> String {
        match self {
            DatagramSocket::Kernel(socket) => kernel::granted(socket2::SockRef::from(&socket.socket)),
            #[cfg(feature = "simulated")]
            DatagramSocket::Simulated(_) => String::new(),
        }
    }
}
