//! discovery: answers clients that look for a server by broadcast.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::interfaces::{LOOPBACK_BROADCAST, interfaces_up};
use crate::service::{Context, DatagramSpec, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "discovery",
    about: "answers clients that look for a server by broadcast",
    notes: "If bound to one address, it also listens on the broadcast address of that network \
            (127.255.255.255 on loopback).",
    tcp: None,
    udp: Some(37021),
    keys: &[MESSAGE],
    plan,
};

const MESSAGE: Key = Key {
    name: "message",
    value: Value::Default(r#""receive message""#),
    about: "The answer to every datagram.",
};

/// The service has a second socket on its port, since one that is bound to the address
/// of one network does not receive what is sent to the broadcast address.
fn plan(settings: &mut Settings<'_>) -> Plan {
    let message = settings.get(&MESSAGE, values::message);
    let mut plan = settings.listen(Discovery::new(message));
    if let (IpAddr::V4(bind), Some(port)) = (settings.bind, settings.udp)
        && let Some(broadcast) = broadcast_address_of(bind)
        && bind != broadcast
    {
        plan.udp.push(DatagramSpec::bound((broadcast, port).into()));
    }
    plan
}

/// The broadcast address of the network that an address of this machine is in. `None` if
/// there is none, as for 0.0.0.0, and if the interfaces cannot be listed: the service
/// then answers those who ask it alone.
fn broadcast_address_of(bind: Ipv4Addr) -> Option<Ipv4Addr> {
    if bind.is_loopback() {
        return Some(LOOPBACK_BROADCAST);
    }
    let interfaces = interfaces_up().ok()?;
    let own = interfaces.iter().flat_map(|interface| &interface.v4).find(|own| own.address == bind)?;
    own.broadcast
}

/// The discovery service. A client that sends a datagram to its port, by broadcast or to
/// this host alone, learns from the source of the answer where the server is.
#[derive(Debug)]
pub struct Discovery {
    message: String,
}

impl Discovery {
    /// A discovery service with this answer.
    pub fn new(message: String) -> Discovery {
        Discovery { message }
    }
}

impl Service for Discovery {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, self.message.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use crate::services::configured;

    #[test]
    fn whoever_looks_is_answered() {
        let mut stage = Rehearsal::new(Discovery::new("여기".into()));
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, b"anybody?");
        stage.datagram(from, b"");
        assert_eq!(
            stage.datagrams(),
            [(from, "여기".as_bytes().to_vec()), (from, "여기".as_bytes().to_vec())]
        );
    }

    #[test]
    fn it_has_a_second_socket_where_there_is_a_broadcast_address() {
        for (bind, sockets) in
            [("127.0.0.1", 2), ("127.255.255.255", 1), ("0.0.0.0", 1), ("192.0.2.1", 1), ("::1", 1)]
        {
            let service = configured(&DESCRIPTION, &format!("udp = 1\nbind = \"{bind}\"")).unwrap();
            assert_eq!(service.listens_on().len(), sockets, "{bind}");
        }
    }
}
