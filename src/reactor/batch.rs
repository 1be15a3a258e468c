//! Many datagrams a system call: `recvmmsg` and `sendmmsg` where the system has
//! them, one call a datagram elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::datagram::Datagram;
use super::effects::{Outgoing, Outgoings};

/// Datagrams received in one turn of the loop from one socket.
pub(crate) const DATAGRAMS_A_TURN: usize = 32;
/// The largest UDP payload: 65,535 less the UDP header, and less the IPv4
/// header where there is one.
#[cfg(target_os = "linux")]
const LARGEST_DATAGRAM: usize = 65_527;
/// One datagram's place in the buffer.
const STRIDE: usize = 64 * 1024;

/// Where a received datagram came from and what it was sent to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub from: SocketAddr,
    pub to: Option<IpAddr>,
    pub length: usize,
}

/// The buffers that all UDP sockets share.
#[derive(Default)]
pub(crate) struct Batch {
    /// Untouched parts of it cost address space and no memory.
    buffer: Vec<u8>,
    pub arrivals: Vec<Arrival>,
    kernel: kernel::Headers,
}

impl Batch {
    /// Receives up to [`DATAGRAMS_A_TURN`] datagrams into [`Batch::arrivals`]
    /// and keeps the latch true. An error is one that the socket reported.
    pub fn receive(&mut self, from: &mut Datagram) -> io::Result<()> {
        self.arrivals.clear();
        if self.buffer.is_empty() {
            self.buffer = vec![0; DATAGRAMS_A_TURN * STRIDE];
        }
        match self.kernel.receive(from, &mut self.buffer, &mut self.arrivals) {
            Ok(()) => {
                if self.arrivals.len() < DATAGRAMS_A_TURN {
                    from.latch.drained();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                from.latch.drained();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub fn datagram(&self, number: usize) -> &[u8] {
        let start = number * STRIDE;
        &self.buffer[start..start + self.arrivals[number].length]
    }

    /// Sends datagrams of one socket; returns how many the kernel took, and why
    /// it refused one. Those that it refused are lost, as datagrams are.
    pub fn send(&mut self, on: &Datagram, list: &[Outgoing], bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut taken = 0;
        let mut refusal = None;
        let mut rest = list;
        // The address of ours that the kernel would not send from.
        let mut unusable = None;
        while !rest.is_empty() {
            // One control message serves a whole call, so only datagrams from
            // one address of ours go together.
            let local = rest[0].to.local;
            let together = rest.iter().take_while(|outgoing| outgoing.to.local == local).count();
            let group = &rest[..together.min(DATAGRAMS_A_TURN)];
            match self.kernel.send(on, group, local.filter(|_| local != unusable), bytes) {
                Ok(sent) => {
                    taken += sent;
                    rest = &rest[sent.max(1)..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It was asked by broadcast, which no datagram can come from.
                Err(_) if local.is_some() && local != unusable => unusable = local,
                Err(error) => {
                    log::debug!(
                        "UDP {}: a datagram to {} was not sent: {error}",
                        on.address,
                        rest[0].to.address
                    );
                    rest = &rest[1..];
                    // A full buffer is a moment's loss, like any on the way.
                    refusal = Some(error).filter(|error| error.kind() != io::ErrorKind::WouldBlock);
                }
            }
        }
        (taken, refusal)
    }
}

impl Outgoings {
    /// Splits off the next run of datagrams that go out through one socket.
    pub fn next_run(&self, start: usize) -> &[Outgoing] {
        let rest = &self.list[start..];
        let same = rest.iter().take_while(|outgoing| outgoing.to.socket == rest[0].to.socket).count();
        &rest[..same]
    }
}

#[cfg(target_os = "linux")]
mod kernel {
    use std::array;
    use std::io::{self, IoSlice, IoSliceMut};
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::AsRawFd;

    use nix::cmsg_space;
    use nix::libc;
    use nix::sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
    };

    use super::{Arrival, DATAGRAMS_A_TURN, Datagram, LARGEST_DATAGRAM, Outgoing, STRIDE};

    /// Message headers. The kernel shortens the lengths in them to what it
    /// filled in, so each pair of address family and control message has its own.
    #[derive(Default)]
    pub struct Headers {
        receive: [Option<MultiHeaders<SockaddrStorage>>; 4],
        send: [Option<MultiHeaders<SockaddrStorage>>; 4],
    }

    fn headers(
        of: &mut [Option<MultiHeaders<SockaddrStorage>>; 4],
        is_ipv6: bool,
        control: bool,
    ) -> &mut MultiHeaders<SockaddrStorage> {
        of[usize::from(is_ipv6) * 2 + usize::from(control)].get_or_insert_with(|| {
            let space = match (control, is_ipv6) {
                (false, _) => None,
                (true, false) => Some(cmsg_space!(libc::in_pktinfo)),
                (true, true) => Some(cmsg_space!(libc::in6_pktinfo)),
            };
            MultiHeaders::preallocate(DATAGRAMS_A_TURN, space)
        })
    }

    impl Headers {
        pub fn receive(
            &mut self,
            from: &Datagram,
            buffer: &mut [u8],
            arrivals: &mut Vec<Arrival>,
        ) -> io::Result<()> {
            let headers = headers(&mut self.receive, from.address.is_ipv6(), from.tells_destination);
            let mut places = buffer.chunks_exact_mut(STRIDE);
            let mut slices: [_; DATAGRAMS_A_TURN] = array::from_fn(|_| {
                [IoSliceMut::new(places.next().map_or(&mut [], |place| &mut place[..LARGEST_DATAGRAM]))]
            });
            let fd = from.socket.as_raw_fd();
            for message in recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
                // The kernel gives every datagram an address of the socket's family.
                let from = message.address.as_ref().and_then(to_std);
                let to = message.cmsgs().ok().and_then(|mut control| control.find_map(local_address));
                let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
                arrivals.push(Arrival { from: from.unwrap_or(unknown), to, length: message.bytes });
            }
            Ok(())
        }

        pub fn send(
            &mut self,
            on: &Datagram,
            group: &[Outgoing],
            local: Option<IpAddr>,
            bytes: &[u8],
        ) -> io::Result<usize> {
            let slices: [_; DATAGRAMS_A_TURN] = array::from_fn(|at| {
                [IoSlice::new(group.get(at).map_or(&[], |outgoing| &bytes[outgoing.start..outgoing.end]))]
            });
            let mut addresses: [Option<SockaddrStorage>; DATAGRAMS_A_TURN] = [None; DATAGRAMS_A_TURN];
            if !on.is_connected {
                for (address, outgoing) in addresses.iter_mut().zip(group) {
                    *address = Some(for_family(outgoing.to.address, on.address).into());
                }
            }
            let (v4, v6);
            let mut control = Vec::new();
            match local {
                Some(IpAddr::V4(local)) if on.address.is_ipv4() => {
                    v4 = libc::in_pktinfo {
                        ipi_ifindex: 0,
                        ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                        ipi_addr: libc::in_addr { s_addr: 0 },
                    };
                    control.push(ControlMessage::Ipv4PacketInfo(&v4));
                }
                Some(IpAddr::V6(local)) if on.address.is_ipv6() => {
                    v6 = libc::in6_pktinfo {
                        ipi6_addr: libc::in6_addr { s6_addr: local.octets() },
                        ipi6_ifindex: 0,
                    };
                    control.push(ControlMessage::Ipv6PacketInfo(&v6));
                }
                _ => {}
            }
            let headers = headers(&mut self.send, on.address.is_ipv6(), !control.is_empty());
            let slices = &slices[..group.len()];
            let fd = on.socket.as_raw_fd();
            Ok(sendmmsg(fd, headers, slices, &addresses[..group.len()], &control, MsgFlags::MSG_DONTWAIT)?
                .count())
        }
    }

    fn to_std(address: &SockaddrStorage) -> Option<SocketAddr> {
        match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
            (Some(v4), _) => Some(SocketAddr::V4((*v4).into())),
            (_, Some(v6)) => Some(SocketAddr::V6((*v6).into())),
            _ => None,
        }
    }

    /// The address of ours that an answer is to come from. For a broadcast
    /// that is `ipi_spec_dst`, the interface's own (ip(7)).
    fn local_address(control: ControlMessageOwned) -> Option<IpAddr> {
        match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(IpAddr::from(info.ipi6_addr.s6_addr)).filter(|local| !local.is_multicast())
            }
            _ => None,
        }
    }

    /// An IPv6 socket reaches an IPv4 address in its mapped form (RFC 4291, 2.5.5.2).
    fn for_family(address: SocketAddr, ours: SocketAddr) -> SocketAddr {
        match (address, ours) {
            (SocketAddr::V4(v4), SocketAddr::V6(_)) => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            _ => address,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;
    use std::net::IpAddr;

    use super::{Arrival, DATAGRAMS_A_TURN, Datagram, Outgoing, STRIDE};

    #[derive(Default)]
    pub struct Headers;

    impl Headers {
        pub fn receive(
            &mut self,
            from: &Datagram,
            buffer: &mut [u8],
            arrivals: &mut Vec<Arrival>,
        ) -> io::Result<()> {
            for place in buffer.chunks_exact_mut(STRIDE).take(DATAGRAMS_A_TURN) {
                match from.socket.recv_from(place) {
                    Ok((length, peer)) => arrivals.push(Arrival { from: peer, to: None, length }),
                    Err(_) if !arrivals.is_empty() => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }

        pub fn send(
            &mut self,
            on: &Datagram,
            group: &[Outgoing],
            _: Option<IpAddr>,
            bytes: &[u8],
        ) -> io::Result<usize> {
            let datagram = &bytes[group[0].start..group[0].end];
            if on.is_connected {
                on.socket.send(datagram)?;
            } else {
                on.socket.send_to(datagram, group[0].to.address)?;
            }
            Ok(1)
        }
    }
}
