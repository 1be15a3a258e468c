//! The system calls behind `batch`: through nix, all of it safe code.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
};

use super::batch::{Arrival, MESSAGES_A_CALL, STRIDE};
use super::datagram::Datagram;
use super::parcels::Parcel;

/// The largest UDP payload: 65,535 less the UDP header, and less the IPv4
/// header where there is one.
const LARGEST_MESSAGE: usize = 65_527;

type Headers = MultiHeaders<SockaddrStorage>;

/// Headers for receiving. The kernel shortens the lengths in them to what it
/// filled in, and they are not set back: so each pair of address family and
/// control message has its own.
#[derive(Default)]
pub(crate) struct ReceiveHeaders([Option<Headers>; 4]);

/// Headers for sending, for each set of control messages its own: they must
/// have room for these and no more.
#[derive(Default)]
pub(crate) struct SendHeaders([Option<Headers>; 8]);

fn prepare(space: Vec<u8>) -> Headers {
    MultiHeaders::preallocate(MESSAGES_A_CALL, (space.capacity() > 0).then_some(space))
}

impl ReceiveHeaders {
    pub fn receive(
        &mut self,
        from: &Datagram,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        let (is_ipv6, tells) = (from.address.is_ipv6(), from.tells_destination);
        let mut places = buffer.chunks_exact_mut(STRIDE);
        let mut slices: [_; MESSAGES_A_CALL] = array::from_fn(|_| {
            [IoSliceMut::new(places.next().map_or(&mut [], |place| &mut place[..LARGEST_MESSAGE]))]
        });
        // Not every message says how it was put together, and what one does not
        // use is gone for the next call: then the headers are good for one only.
        let mut once;
        let headers = if from.coalescing.is_on {
            once = prepare(match (tells, is_ipv6) {
                (false, _) => cmsg_space!(i32),
                (true, false) => cmsg_space!(i32, libc::in_pktinfo),
                (true, true) => cmsg_space!(i32, libc::in6_pktinfo),
            });
            &mut once
        } else {
            self.0[usize::from(is_ipv6) * 2 + usize::from(tells)].get_or_insert_with(|| {
                prepare(match (tells, is_ipv6) {
                    (false, _) => Vec::new(),
                    (true, false) => cmsg_space!(libc::in_pktinfo),
                    (true, true) => cmsg_space!(libc::in6_pktinfo),
                })
            })
        };
        let fd = from.socket.as_raw_fd();
        for message in recvmmsg(fd, headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
            // The kernel gives every datagram an address of the socket's family.
            let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
            let peer = message.address.as_ref().and_then(to_std).unwrap_or(unknown);
            let mut arrival = Arrival { from: peer, to: None, length: message.bytes, segment: 0 };
            for control in message.cmsgs().into_iter().flatten() {
                match control {
                    ControlMessageOwned::UdpGroSegments(length) => {
                        arrival.segment = usize::try_from(length).unwrap_or(0);
                    }
                    control => arrival.to = local_address(control).or(arrival.to),
                }
            }
            arrivals.push(arrival);
        }
        Ok(())
    }
}

impl SendHeaders {
    /// Sends parcels that are cut alike, from one address of ours; returns how
    /// many of them the kernel took.
    pub fn send(
        &mut self,
        on: &Datagram,
        parcels: &[Parcel],
        local: Option<IpAddr>,
        bytes: &[u8],
    ) -> io::Result<usize> {
        let slices: [_; MESSAGES_A_CALL] = array::from_fn(|at| {
            [IoSlice::new(parcels.get(at).map_or(&[], |parcel| &bytes[parcel.start..parcel.end]))]
        });
        let mut addresses: [Option<SockaddrStorage>; MESSAGES_A_CALL] = [None; MESSAGES_A_CALL];
        if !on.is_connected {
            for (address, parcel) in addresses.iter_mut().zip(parcels) {
                *address = Some(for_family(parcel.to.address, on.address).into());
            }
        }
        let is_ipv6 = on.address.is_ipv6();
        let segment = parcels[0].segment;
        let (v4, v6);
        let mut control = Vec::new();
        match local {
            Some(IpAddr::V4(local)) if !is_ipv6 => {
                v4 = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                control.push(ControlMessage::Ipv4PacketInfo(&v4));
            }
            Some(IpAddr::V6(local)) if is_ipv6 => {
                v6 = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: local.octets() },
                    ipi6_ifindex: 0,
                };
                control.push(ControlMessage::Ipv6PacketInfo(&v6));
            }
            _ => {}
        }
        let which =
            usize::from(is_ipv6) * 4 + usize::from(!control.is_empty()) * 2 + usize::from(segment > 0);
        if segment > 0 {
            control.push(ControlMessage::UdpGsoSegments(&segment));
        }
        let headers = self.0[which].get_or_insert_with(|| {
            prepare(match (which & 2 != 0, is_ipv6, segment > 0) {
                (false, _, false) => Vec::new(),
                (false, _, true) => cmsg_space!(u16),
                (true, false, false) => cmsg_space!(libc::in_pktinfo),
                (true, false, true) => cmsg_space!(libc::in_pktinfo, u16),
                (true, true, false) => cmsg_space!(libc::in6_pktinfo),
                (true, true, true) => cmsg_space!(libc::in6_pktinfo, u16),
            })
        });
        let (fd, count) = (on.socket.as_raw_fd(), parcels.len());
        let sent =
            sendmmsg(fd, headers, &slices[..count], &addresses[..count], &control, MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count())
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
