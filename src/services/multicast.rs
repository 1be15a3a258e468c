//! multicast: acknowledges what is sent to a multicast group.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value};
use crate::service::{self, Context, DatagramSpec, Service, SocketId};

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
    about: "The address of the interface on which it joins. Without: the bind address; where that is \
            IPv6 and the group IPv4, 127.0.0.1 for ::1, else 0.0.0.0, which leaves the choice to the \
            system.",
};

const MESSAGE: Key = Key {
    name: "message",
    value: Value::Default(r#""ACK""#),
    about: "The answer to the sender of every datagram.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let group = settings.get(&GROUP, group);
    let nearest = interface_for(group, settings.bind);
    let interface = settings.get_or(&INTERFACE, nearest, interface);
    let message = settings.get(&MESSAGE, values::message);
    if group.is_ipv4() != interface.is_ipv4() {
        let (ours, theirs) = (family(group), family(interface));
        let why = format!(
            "the group {group} is {ours}, the interface {interface} is {theirs}; \
             set group or interface (which is the bind address unless set) so that they agree"
        );
        settings.refuse("interface", &why);
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

/// An interface, by its address.
fn interface(value: &Toml<'_>) -> Read<IpAddr> {
    values::one_host(values::address(value)?)
}

/// The interface of a service that is bound to `bind`, unless it names one:
/// that address itself. An IPv6 address cannot name the interface of an
/// IPv4 group; loopback and "every network" have a counterpart that can.
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

/// The multicast service. Its socket is bound to the group and joined it; the
/// kernel leaves the group when the socket closes.
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
        let length = datagram.len();
        log::debug!("multicast: {length} byte{} from {from}", if length == 1 { "" } else { "s" });
        cx.send_to(on, from, self.message.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;

    #[test]
    fn every_datagram_is_acknowledged_to_its_sender() {
        let mut stage = Rehearsal::new(Multicast::new("ACK".into()));
        let (one, other) = (([127, 0, 0, 1], 41_000).into(), ([127, 0, 0, 1], 41_001).into());
        stage.datagram(one, "모두에게".as_bytes());
        stage.datagram(other, b"");
        assert_eq!(stage.datagrams(), [(one, b"ACK".to_vec()), (other, b"ACK".to_vec())]);
    }
}
