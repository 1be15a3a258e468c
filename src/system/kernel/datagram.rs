//! UDP sockets, opened.

use std::io;
use std::net::SocketAddr;

use mio::net::UdpSocket;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::multicast;
use super::options::apply_to_any;
use crate::service::sockets::is_broadcast;
use crate::service::{DEFAULT_UDP_RECEIVE_BUFFER, DEFAULT_UDP_SEND_BUFFER, DatagramSpec, SocketOptions};

#[derive(Debug)]
pub(crate) struct DatagramSocket {
    pub socket: UdpSocket,
    pub address: SocketAddr,
    pub is_connected: bool,
    /// Bound to a wildcard address: the kernel tells which address each
    /// datagram was sent to (IP_PKTINFO), and the answer comes from that one.
    pub tells_destination: bool,
    pub coalesces: bool,
}

impl DatagramSocket {
    pub fn open(spec: &DatagramSpec, options: &SocketOptions) -> io::Result<DatagramSocket> {
        let socket = Socket::new(Domain::for_address(spec.bind), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        // A second daemon on the port would take half of the datagrams, so the
        // address is shared only where every listener gets a copy of each.
        let joins = spec.multicast.is_some_and(|multicast| multicast.join);
        let shared = spec.listens_only || joins || is_broadcast(spec.bind.ip());
        socket.set_reuse_address(shared && options.reuse_address)?;
        socket.set_reuse_port(options.reuse_port)?;
        socket.set_broadcast(options.broadcast)?;
        apply_to_any(options, &socket, spec.bind)?;
        if options.receive_buffer.is_none() {
            socket.set_recv_buffer_size(DEFAULT_UDP_RECEIVE_BUFFER)?;
        }
        if options.send_buffer.is_none() {
            socket.set_send_buffer_size(DEFAULT_UDP_SEND_BUFFER)?;
        }
        let tells_destination = spec.bind.ip().is_unspecified() && spec.connect.is_none();
        if tells_destination {
            match spec.bind {
                SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
        }
        socket.bind(&multicast::with_scope(spec.bind, spec.multicast)?.into())?;
        if let Some(group) = &spec.multicast {
            multicast::apply(group, &socket, options)?;
        }
        if let Some(peer) = spec.connect {
            socket.connect(&peer.into())?;
        }
        let socket = UdpSocket::from_std(socket.into());
        Ok(DatagramSocket {
            address: socket.local_addr()?,
            socket,
            is_connected: spec.connect.is_some(),
            tells_destination,
            coalesces: false,
        })
    }

    #[cfg(target_os = "linux")]
    pub fn coalesce(&mut self) {
        self.coalesces = setsockopt(&self.socket, sockopt::UdpGroSegment, &true).is_ok();
    }

    #[cfg(not(target_os = "linux"))]
    pub fn coalesce(&mut self) {}
}
