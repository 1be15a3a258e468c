//! echo: sends back what it receives, byte for byte, over TCP and UDP (RFC 862).

use std::net::SocketAddr;

use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::service::{Context, Input, Service, SocketId};
use crate::wire::text::strip_line_end;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "echo",
    about: "sends back what it receives",
    notes: "",
    tcp: Some(3333),
    udp: Some(3333),
    keys: &[END_COMMAND],
    plan,
};

const END_COMMAND: Key = Key {
    name: "end_command",
    value: Value::Default(r#""/end""#),
    about: r#"Input of exactly this text ends the connection; "" turns that off."#,
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let end_command = settings.get(&END_COMMAND, values::text);
    settings.listen(Echo::new(&end_command))
}

/// The echo service. Nothing is copied: each answer is a range of the input.
#[derive(Debug)]
pub struct Echo {
    end_command: Vec<u8>,
}

impl Echo {
    /// An echo service. Input of exactly `end_command` ends a connection, unless that is
    /// empty.
    pub fn new(end_command: &str) -> Echo {
        Echo { end_command: end_command.into() }
    }
}

impl Service for Echo {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let is_end = !self.end_command.is_empty() && strip_line_end(input.unread()) == self.end_command;
        cx.send_input(input.consume_all());
        if is_end {
            cx.close();
        }
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use proptest::prelude::*;

    fn stage() -> Rehearsal<Echo> {
        Rehearsal::new(Echo::new("/end"))
    }

    proptest! {
        #[test]
        fn every_byte_comes_back_in_order_however_it_is_split(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..20)) {
            let mut stage = stage();
            let client = stage.connect();
            for chunk in &chunks {
                stage.send(client, chunk);
            }
            prop_assert_eq!(stage.received(client), chunks.concat());
        }
    }

    #[test]
    fn the_end_command_is_echoed_and_then_the_connection_closes() {
        for end in ["/end", "/end\n", "/end\r\n"] {
            let mut stage = stage();
            let client = stage.connect();
            stage.send(client, "끝 /end".as_bytes());
            assert!(!stage.is_closed(client));
            stage.send(client, end.as_bytes());
            assert_eq!(stage.received(client), format!("끝 /end{end}").into_bytes());
            assert!(stage.is_closed(client));
        }
    }

    #[test]
    fn without_an_end_command_nothing_ends_it() {
        let mut stage = Rehearsal::new(Echo::new(""));
        let client = stage.connect();
        stage.send(client, b"\n");
        stage.send(client, b"/end");
        assert!(!stage.is_closed(client));
    }

    #[test]
    fn a_datagram_comes_back_an_empty_one_too() {
        let mut stage = stage();
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, "안녕".as_bytes());
        stage.datagram(from, b"");
        assert_eq!(stage.datagrams(), [(from, "안녕".as_bytes().to_vec()), (from, Vec::new())]);
    }
}
