//! Joining a multicast group on every network.

use std::io;
use std::net::IpAddr;

use socket2::{InterfaceIndexOrAddress, Socket};

use crate::interfaces::{Interface, interfaces_up};

/// Joins a group on every interface that is up, loopback included: it lacks the
/// multicast flag, and works all the same.
///
/// Left to choose, the kernel would take one interface, the one with the route to
/// the group, and fail on a machine without a default route.
pub(super) fn join_everywhere(socket: &Socket, group: IpAddr) -> io::Result<()> {
    let mut interfaces = interfaces_up()?;
    // The kernel limits the memberships per socket (igmp_max_memberships, 20), and
    // a machine with containers has many interfaces without an address.
    interfaces.sort_by_key(|interface| !can_answer(interface, group));
    let mut failures = Vec::new();
    for interface in &interfaces {
        if let Err(error) = join(socket, group, interface.index) {
            log::debug!("the group {group} cannot be joined on {}: {error}", interface.name);
            failures.push((interface, error));
        }
    }
    if failures.len() == interfaces.len() {
        let none_is_up = || io::Error::new(io::ErrorKind::NotFound, "no network interface is up");
        return Err(failures.into_iter().next().map_or_else(none_is_up, |(_, error)| error));
    }
    // Without an address the server could answer nobody there anyway.
    failures.retain(|(interface, _)| can_answer(interface, group));
    if let Some((_, error)) = failures.first() {
        let names: Vec<_> = failures.iter().map(|(interface, _)| interface.name.as_str()).collect();
        log::warn!(
            "the group {group} cannot be joined on {} ({error}), so nothing sent to it there arrives; to use one of these interfaces, set interface to its address",
            names.join(", ")
        );
    }
    Ok(())
}

fn join(socket: &Socket, group: IpAddr, interface: u32) -> io::Result<()> {
    match group {
        IpAddr::V4(group) => socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(interface)),
        IpAddr::V6(group) => socket.join_multicast_v6(&group, interface),
    }
}

/// Whether it has an address of the group's family to answer from.
fn can_answer(interface: &Interface, group: IpAddr) -> bool {
    if group.is_ipv4() { !interface.v4.is_empty() } else { !interface.v6.is_empty() }
}
