//! hello: answers every datagram with a greeting.

use std::net::SocketAddr;

use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::service::{Context, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "hello",
    about: "answers every datagram with a greeting",
    notes: "",
    tcp: None,
    udp: Some(20001),
    keys: &[MESSAGE],
    plan,
};

const MESSAGE: Key = Key {
    name: "message",
    value: Value::Default(r#""Hello UDP Client""#),
    about: "The answer to every datagram.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let message = settings.get(&MESSAGE, values::message);
    settings.listen(Hello::new(message))
}

/// The hello service.
#[derive(Debug)]
pub struct Hello {
    message: String,
}

impl Hello {
    /// A hello service with this greeting.
    pub fn new(message: String) -> Hello {
        Hello { message }
    }
}

impl Service for Hello {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, self.message.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;

    #[test]
    fn every_datagram_is_greeted_an_empty_one_too() {
        let mut stage = Rehearsal::new(Hello::new("Hello UDP Client".into()));
        let (one, other) = (([127, 0, 0, 1], 41_000).into(), ([127, 0, 0, 1], 41_001).into());
        stage.datagram(one, "안녕".as_bytes());
        stage.datagram(other, b"");
        let greeting = b"Hello UDP Client".to_vec();
        assert_eq!(stage.datagrams(), [(one, greeting.clone()), (other, greeting)]);
    }
}
