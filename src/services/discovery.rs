//! discovery: answers clients that look for a server by broadcast.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::interfaces::LOOPBACK_BROADCAST;
use crate::service::{Context, DatagramSpec, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "discovery",
    about: "answers clients that look for a server by broadcast",
    notes: "If bound to loopback, it also listens on 127.255.255.255.",
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

/// On loopback the service has two sockets on one port, since one that is bound to
/// 127.0.0.1 does not receive what is sent to 127.255.255.255.
fn plan(settings: &mut Settings<'_>) -> Plan {
    let message = settings.get(&MESSAGE, values::message);
    let mut plan = settings.listen(Discovery::new(message));
    if let (IpAddr::V4(bind), Some(port)) = (settings.bind, settings.udp)
        && bind.is_loopback()
        && bind != LOOPBACK_BROADCAST
    {
        plan.udp.push(DatagramSpec::bound((LOOPBACK_BROADCAST, port).into()));
    }
    plan
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
    fn it_has_a_second_socket_only_on_loopback() {
        for (bind, sockets) in
            [("127.0.0.1", 2), ("127.255.255.255", 1), ("0.0.0.0", 1), ("192.0.2.1", 1), ("::1", 1)]
        {
            let service = configured(&DESCRIPTION, &format!("udp = 1\nbind = \"{bind}\"")).unwrap();
            assert_eq!(service.listens_on().len(), sockets, "{bind}");
        }
    }
}
