//! The system calls behind `batch`: through nix, all of it safe code.

use std::array;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike,
    recvmmsg, sendmmsg,
};

use super::DatagramSocket;
use crate::system::{Arrival, MESSAGES_PER_CALL, Parcel, STRIDE};

/// The largest UDP payload: 65,535 less the UDP header, and less the IPv4
/// header where there is one.
const LARGEST_MESSAGE: usize = 65_527;

/// Headers for receiving. The kernel shortens the lengths in them to what it filled
/// in, and nothing resets them: so each pair of address family and control message
/// has headers of its own.
#[derive(Default)]
pub(crate) struct ReceiveHeaders {
    v4: [Option<MultiHeaders<SockaddrIn>>; 2],
    v6: [Option<MultiHeaders<SockaddrIn6>>; 2],
}

/// Headers for sending, one for each set of control messages: they must have room
/// for exactly these.
#[derive(Default)]
pub(crate) struct SendHeaders {
    v4: [Option<MultiHeaders<SockaddrIn>>; 4],
    v6: [Option<MultiHeaders<SockaddrIn6>>; 4],
}

/// A socket address of one family, as small as the kernel has it.
trait Family: SockaddrLike + Copy {
    const IS_IPV6: bool;

    fn to_std(self) -> SocketAddr;

    /// `None` if a socket of this family cannot reach the address.
    fn from_std(address: SocketAddr) -> Option<Self>;
}

impl Family for SockaddrIn {
    const IS_IPV6: bool = false;

    fn to_std(self) -> SocketAddr {
        SocketAddr::V4(self.into())
    }

    fn from_std(address: SocketAddr) -> Option<Self> {
        match address {
            SocketAddr::V4(v4) => Some(v4.into()),
            SocketAddr::V6(_) => None,
        }
    }
}

impl Family for SockaddrIn6 {
    const IS_IPV6: bool = true;

    fn to_std(self) -> SocketAddr {
        SocketAddr::V6(self.into())
    }

    fn from_std(address: SocketAddr) -> Option<Self> {
        match address {
            SocketAddr::V4(_) => None,
            SocketAddr::V6(v6) => Some(v6.into()),
        }
    }
}

/// Headers for so many messages, with room for control messages like `space`.
fn prepare<F>(count: usize, space: Vec<u8>) -> MultiHeaders<F>
where
    F: Family,
{
    MultiHeaders::preallocate(count, (space.capacity() > 0).then_some(space))
}

impl ReceiveHeaders {
    /// Receives as many messages as there are places in `buffer`, at most
    /// [`MESSAGES_PER_CALL`].
    pub fn receive(
        &mut self,
        from: &DatagramSocket,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        let tells = usize::from(from.tells_destination);
        if from.address.is_ipv6() {
            receive(&mut self.v6[tells], from, buffer, arrivals)
        } else {
            receive(&mut self.v4[tells], from, buffer, arrivals)
        }
    }
}

fn receive<F: Family>(
    kept: &mut Option<MultiHeaders<F>>,
    from: &DatagramSocket,
    buffer: &mut [u8],
    arrivals: &mut Vec<Arrival>,
) -> io::Result<()> {
    let tells = from.tells_destination;
    let count = (buffer.len() / STRIDE).min(MESSAGES_PER_CALL);
    let mut places = buffer.chunks_exact_mut(STRIDE);
    let mut slices: [_; MESSAGES_PER_CALL] = array::from_fn(|_| {
        [IoSliceMut::new(places.next().map_or(&mut [], |place| &mut place[..LARGEST_MESSAGE]))]
    });
    // Not every message says how it was coalesced, and space that a message does
    // not use is gone for the next call: then the headers serve one call only.
    let mut once;
    let headers = if from.coalesces {
        let space = match (tells, F::IS_IPV6) {
            (false, _) => cmsg_space!(i32),
            (true, false) => cmsg_space!(i32, libc::in_pktinfo),
            (true, true) => cmsg_space!(i32, libc::in6_pktinfo),
        };
        once = prepare(count, space);
        &mut once
    } else {
        kept.get_or_insert_with(|| {
            let space = match (tells, F::IS_IPV6) {
                (false, _) => Vec::new(),
                (true, false) => cmsg_space!(libc::in_pktinfo),
                (true, true) => cmsg_space!(libc::in6_pktinfo),
            };
            prepare(MESSAGES_PER_CALL, space)
        })
    };
    let tells_something = tells || from.coalesces;
    let fd = from.socket.as_raw_fd();
    for message in recvmmsg(fd, headers, slices[..count].iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
        // The kernel gives every datagram an address of the socket's family.
        let peer = message.address.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), F::to_std);
        let mut arrival = Arrival { from: peer, to: None, length: message.bytes, segment: 0 };
        if tells_something {
            for control in message.cmsgs().into_iter().flatten() {
                match control {
                    ControlMessageOwned::UdpGroSegments(length) => {
                        arrival.segment = usize::try_from(length).unwrap_or(0);
                    }
                    control => arrival.to = local_address(control).or(arrival.to),
                }
            }
        }
        arrivals.push(arrival);
    }
    Ok(())
}

impl SendHeaders {
    /// Sends parcels that are cut alike from one address of ours. Returns how many
    /// of them the kernel took.
    pub fn send(
        &mut self,
        on: &DatagramSocket,
        parcels: &[Parcel],
        local: Option<IpAddr>,
        bytes: &[u8],
    ) -> io::Result<usize> {
        if let ([Parcel { to, start, end, segment: 0 }], None) = (parcels, local) {
            // For one datagram the plain call is cheaper (measured: by 5 %).
            let datagram = &bytes[*start..*end];
            return if on.is_connected {
                on.socket.send(datagram)
            } else {
                on.socket.send_to(datagram, for_family(to.address, on.address))
            }
            .map(|_| 1);
        }
        if on.address.is_ipv6() {
            send(&mut self.v6, on, parcels, local, bytes)
        } else {
            send(&mut self.v4, on, parcels, local, bytes)
        }
    }
}

fn send<F: Family>(
    kept: &mut [Option<MultiHeaders<F>>; 4],
    on: &DatagramSocket,
    parcels: &[Parcel],
    local: Option<IpAddr>,
    bytes: &[u8],
) -> io::Result<usize> {
    let slices: [_; MESSAGES_PER_CALL] = array::from_fn(|at| {
        [IoSlice::new(parcels.get(at).map_or(&[], |parcel| &bytes[parcel.start..parcel.end]))]
    });
    let mut addresses: [Option<F>; MESSAGES_PER_CALL] = [None; MESSAGES_PER_CALL];
    let mut count = parcels.len();
    if !on.is_connected {
        for (at, (address, parcel)) in addresses.iter_mut().zip(parcels).enumerate() {
            *address = F::from_std(for_family(parcel.to.address, on.address));
            if address.is_none() {
                // Those before it go first.
                count = at;
                break;
            }
        }
    }
    if count == 0 {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    }
    let segment = parcels[0].segment;
    let (v4, v6);
    let mut control = [ControlMessage::UdpGsoSegments(&segment); 2];
    let mut controls = 0;
    match local {
        Some(IpAddr::V4(local)) if !F::IS_IPV6 => {
            v4 = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            control[0] = ControlMessage::Ipv4PacketInfo(&v4);
            controls = 1;
        }
        Some(IpAddr::V6(local)) if F::IS_IPV6 => {
            v6 = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 };
            control[0] = ControlMessage::Ipv6PacketInfo(&v6);
            controls = 1;
        }
        _ => {}
    }
    let which = controls * 2 + usize::from(segment > 0);
    if segment > 0 {
        // The next entry is still `UdpGsoSegments`, as both were made.
        controls += 1;
    }
    let headers = kept[which].get_or_insert_with(|| {
        let space = match (which & 2 != 0, F::IS_IPV6, segment > 0) {
            (false, _, false) => Vec::new(),
            (false, _, true) => cmsg_space!(u16),
            (true, false, false) => cmsg_space!(libc::in_pktinfo),
            (true, false, true) => cmsg_space!(libc::in_pktinfo, u16),
            (true, true, false) => cmsg_space!(libc::in6_pktinfo),
            (true, true, true) => cmsg_space!(libc::in6_pktinfo, u16),
        };
        prepare(MESSAGES_PER_CALL, space)
    });
    let fd = on.socket.as_raw_fd();
    let sent = sendmmsg(
        fd,
        headers,
        &slices[..count],
        &addresses[..count],
        &control[..controls],
        MsgFlags::MSG_DONTWAIT,
    )?;
    Ok(sent.count())
}

/// The address of ours that an answer must come from. For a broadcast that is
/// `ipi_spec_dst`, the address of the interface (ip(7)).
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
