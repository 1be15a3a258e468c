//! multicast: acknowledges what is sent to a multicast group.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value};
use crate::service::{self, Context, DatagramSpec, Service, SocketId};
use crate::wording::counted;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "multicast",
    about: "acknowledges what is sent to a multicast group",
    notes: "",
    tcp: None,
    udp: Some(5005),
    keys: &[GROUP, INTERFACE, MESSAGE],
    plan,
};

const GROUP: Key = Key {
    name: "group",
    value: Value::Default(r#""224.0.0.255""#),
    about: "The group that it joins, in 224.0.0.0/4 or ff00::/8.",
};

const INTERFACE: Key = Key {
    name: "interface",
    value: Value::Sample(r#""127.0.0.1""#),
    about: "The address of the interface to join on. If unset: the bind address. For an IPv4 group \
            and an IPv6 bind address: 127.0.0.1 for ::1, otherwise 0.0.0.0. 0.0.0.0 and :: stand \
            for every interface that is up.",
};

const MESSAGE: Key =
    Key { name: "message", value: Value::Default(r#""ACK""#), about: "The answer to every datagram." };

fn plan(settings: &mut Settings<'_>) -> Plan {
    let group = settings.get(&GROUP, group);
    let nearest = interface_for(group, settings.bind);
    let interface = settings.get_or(&INTERFACE, nearest, interface);
    let message = settings.get(&MESSAGE, values::message);
    if group.is_ipv4() != interface.is_ipv4() {
        let (ours, theirs) = (family(group), family(interface));
        let why = format!(
            "the group {group} is {ours}, the interface {interface} is {theirs}; \
             set group or interface (by default the bind address) so that they agree"
        );
        settings.refuse(INTERFACE.name, &why);
    }
    let named = Some(interface).filter(|interface| !interface.is_unspecified());
    let multicast = Some(service::Multicast { group, interface: named, join: true });
    let socket = |port| DatagramSpec { multicast, ..DatagramSpec::bound((group, port).into()) };
    Plan {
        udp: settings.udp.map(socket).into_iter().collect(),
        ..Plan::without_sockets(Multicast::new(message))
    }
}

fn group(value: &Toml<'_>) -> Read<IpAddr> {
    let group = values::address(value)?;
    if !group.is_multicast() {
        return Err(format!("{group} is not a multicast group; those are in 224.0.0.0/4 and ff00::/8"));
    }
    Ok(group)
}

/// Reads an interface, which is named by its address.
fn interface(value: &Toml<'_>) -> Read<IpAddr> {
    values::one_host(values::address(value)?)
}

/// The interface to join on if the settings name none: the one of the bind address. An
/// IPv6 address cannot name an interface for an IPv4 group; then it is loopback for
/// `::1`, and otherwise every interface.
fn interface_for(group: IpAddr, bind: IpAddr) -> IpAddr {
    match (group, bind) {
        (IpAddr::V4(_), IpAddr::V6(bind)) if bind.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), IpAddr::V6(_)) => Ipv4Addr::UNSPECIFIED.into(),
        _ => bind,
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The multicast service. Its socket is bound to the group and has joined it; the kernel
/// leaves the group when the socket closes.
#[derive(Debug)]
pub struct Multicast {
    message: String,
}

impl Multicast {
    /// A multicast service with this acknowledgement.
    pub fn new(message: String) -> Multicast {
        Multicast { message }
    }
}

impl Service for Multicast {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        log::debug!("multicast: {} from {from}", counted(datagram.len(), "byte"));
        cx.send_to(on, from, self.message.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use crate::services::{configured, refused};

    #[test]
    fn every_datagram_is_acknowledged_to_its_sender() {
        let mut stage = Rehearsal::new(Multicast::new("ACK".into()));
        let (one, other) = (([127, 0, 0, 1], 41_000).into(), ([127, 0, 0, 1], 41_001).into());
        stage.datagram(one, "모두에게".as_bytes());
        stage.datagram(other, b"");
        assert_eq!(stage.datagrams(), [(one, b"ACK".to_vec()), (other, b"ACK".to_vec())]);
    }

    #[test]
    fn a_group_and_its_interface_must_agree() {
        refused(
            &DESCRIPTION,
            &[
                ("udp = 1\ngroup = \"10.0.0.1\"", (3, 9), "not a multicast group"),
                ("udp = 1\ngroup = \"fe80::1\"", (3, 9), "not a multicast group"),
                ("udp = 1\ninterface = \"::1\"", (3, 13), "224.0.0.255 is IPv4, the interface ::1"),
                ("udp = 1\ninterface = \"224.0.0.1\"", (3, 13), "stands for many hosts"),
                ("udp = 1\ngroup = \"ff02::114\"", (1, 11), "is IPv6, the interface 127.0.0.1 is IPv4"),
            ],
        );
    }

    #[test]
    fn it_joins_on_the_interface_of_the_bind_address_or_its_ipv4_counterpart() {
        for (lines, address, interface) in [
            ("", "224.0.0.255:1", Some("127.0.0.1")),
            ("bind = \"::1\"", "224.0.0.255:1", Some("127.0.0.1")),
            ("bind = \"::\"", "224.0.0.255:1", None),
            ("bind = \"2001:db8::1\"", "224.0.0.255:1", None),
            ("bind = \"::1\"\ngroup = \"ff02::114\"", "[ff02::114]:1", Some("::1")),
            ("group = \"ff02::114\"\ninterface = \"fe80::1\"", "[ff02::114]:1", Some("fe80::1")),
        ] {
            let service = configured(&DESCRIPTION, &format!("udp = 1\n{lines}")).unwrap();
            let socket = &service.plan.udp[0];
            assert_eq!(socket.bind, address.parse().unwrap(), "{lines}");
            let interface = interface.map(|interface| interface.parse().unwrap());
            assert_eq!(socket.multicast.unwrap().interface, interface, "{lines}");
        }
    }
}
