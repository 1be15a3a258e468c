//! discard: throws away what it receives, over TCP and UDP (RFC 863).

use crate::config::{Description, Plan, Settings};
use crate::service::{Context, Input, Service};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "discard",
    about: "throws away what it receives",
    notes: "It answers nothing, so it shows how fast a client can send.",
    tcp: Some(6009),
    udp: Some(6009),
    keys: &[],
    plan,
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    settings.listen(Discard)
}

/// The discard service. A connection stays open until its client closes it. Datagrams
/// need no code here: [`Service::datagram`] throws them away by default.
#[derive(Debug)]
pub struct Discard;

impl Service for Discard {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, _: &mut Context<'_>) {
        input.consume_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;

    #[test]
    fn whatever_is_sent_nothing_comes_back_and_the_connection_stays() {
        let mut stage = Rehearsal::new(Discard);
        let client = stage.connect();
        for piece in ["안녕\n".as_bytes(), b"\xff\x00", &[b'x'; 100_000], b"/end"] {
            stage.send(client, piece);
        }
        assert_eq!(stage.received(client), b"");
        assert!(!stage.is_closed(client));
    }

    #[test]
    fn a_half_close_is_answered_with_the_end() {
        let mut stage = Rehearsal::new(Discard);
        let client = stage.connect();
        stage.send(client, b"the last words");
        stage.half_close(client);
        assert_eq!(stage.received(client), b"");
        assert!(stage.is_closed(client));
    }

    #[test]
    fn no_datagram_is_answered() {
        let mut stage = Rehearsal::new(Discard);
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, "안녕".as_bytes());
        stage.datagram(from, b"");
        assert_eq!(stage.datagrams(), []);
    }
}
