//! Multicast groups on interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::Socket;

use crate::service::{Multicast, SocketOptions};

/// Joins the group, if that is asked for, and sends to it on its interface.
pub(super) fn apply(multicast: &Multicast, socket: &Socket, options: &SocketOptions) -> io::Result<()> {
    match (multicast.group, multicast.interface) {
        (IpAddr::V4(group), interface) => {
            let interface = match interface {
                Some(IpAddr::V4(interface)) => interface,
                Some(IpAddr::V6(_)) => return Err(other_family()),
                None => Ipv4Addr::UNSPECIFIED,
            };
            if multicast.join {
                socket
                    .join_multicast_v4(&group, &interface)
                    .map_err(|error| no_interface(error, interface))?;
                // Else the groups that other sockets joined are heard too.
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
            if multicast.join {
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

/// A group of one link is bound together with its interface (RFC 4007).
pub(super) fn with_scope(bind: SocketAddr, multicast: Option<Multicast>) -> io::Result<SocketAddr> {
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
