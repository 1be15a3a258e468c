//! number: the English word for a number from 1 to 10, over TCP and UDP.

use std::net::SocketAddr;

use super::conversation::{self, Conversation, Heard};
use crate::config::{Description, Plan, Settings};
use crate::service::{Context, Farewell, Input, Service, SocketId};
use crate::wire::answers::number_word;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "number",
    about: "answers 1 to 10 with the English word",
    notes: "",
    tcp: Some(2500),
    udp: Some(2500),
    keys: &[],
    plan,
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    settings.listen(Number)
}

/// The number service. A connection stays open for more numbers.
#[derive(Debug)]
pub struct Number;

/// One connection of the number service.
#[derive(Debug, Default)]
pub struct NumberSession(Conversation);

impl NumberSession {
    fn answer(&self, message: &[u8], cx: &mut Context<'_>) {
        cx.send(number_word(message));
        cx.send(self.0.terminator());
    }

    fn flush(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if let Some(message) = self.0.flush(input, cx) {
            self.answer(message.text, cx);
        }
    }
}

impl Service for Number {
    type Session = NumberSession;

    fn receive(&mut self, session: &mut NumberSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        while let Some(heard) = session.0.next(input, cx) {
            match heard {
                Heard::Message(message) => session.answer(message.text, cx),
                Heard::TooLong => return conversation::refuse_line(cx),
            }
        }
    }

    fn timeout(&mut self, session: &mut NumberSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        session.flush(input, cx);
    }

    fn end_of_input(&mut self, session: &mut NumberSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        session.flush(input, cx);
        cx.close();
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, number_word(datagram));
    }

    fn farewell(&self, why: Farewell) -> String {
        conversation::farewell(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{Rehearsal, splits};
    use proptest::prelude::*;

    const WORDS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

    #[test]
    fn one_to_ten_have_words_and_the_connection_stays_open() {
        let mut stage = Rehearsal::new(Number);
        let client = stage.connect();
        for (number, word) in (1..).zip(WORDS) {
            stage.send(client, format!("{number}").as_bytes());
            assert_eq!(stage.received(client), word.as_bytes());
            stage.send(client, format!(" {number}\r\n").as_bytes());
            assert_eq!(stage.received(client), word.as_bytes(), "space and a line end are forgiven");
        }
        assert!(!stage.is_closed(client));
    }

    #[test]
    fn anything_else_is_to_be_tried_again() {
        let mut stage = Rehearsal::new(Number);
        let client = stage.connect();
        for wrong in ["0", "11", "12", "one", "일", "1 2", "01", "+1", "1.0", " "] {
            stage.send(client, wrong.as_bytes());
            assert_eq!(stage.received(client), b"Try again", "{wrong:?}");
        }
        assert!(!stage.is_closed(client));
    }

    #[test]
    fn lines_are_answered_line_by_line_an_empty_one_too() {
        let mut stage = Rehearsal::new(Number);
        let client = stage.connect();
        stage.send(client, b"1\n\n10\r\n");
        assert_eq!(stage.received(client), b"one\nTry again\nten\n");
    }

    #[test]
    fn a_line_that_the_client_does_not_end_is_answered_at_its_half_close() {
        let mut stage = Rehearsal::new(Number);
        let client = stage.connect();
        stage.send(client, b"1\n");
        stage.send(client, b"2");
        stage.half_close(client);
        assert_eq!(stage.received(client), b"one\ntwo\n");
        assert!(stage.is_closed(client));
    }

    #[test]
    fn a_datagram_is_answered_likewise() {
        let mut stage = Rehearsal::new(Number);
        let from = ([127, 0, 0, 1], 41_000).into();
        for datagram in [&b"7"[..], b"7\n", b"77", b""] {
            stage.datagram(from, datagram);
        }
        let answers: Vec<_> = stage.datagrams().into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(answers, [&b"seven"[..], b"seven", b"Try again", b"Try again"]);
    }

    proptest! {
        #[test]
        fn lines_are_answered_the_same_at_any_split(
            lines in prop::collection::vec("[0-9가]{0,2}(\n|\r\n|\r)", 1..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let text = lines.concat();
            let talk = |pieces: Vec<&[u8]>| {
                let mut stage = Rehearsal::new(Number);
                let client = stage.connect();
                stage.send(client, b"3\n");
                pieces.into_iter().for_each(|piece| stage.send(client, piece));
                stage.received(client)
            };
            prop_assert_eq!(talk(splits(text.as_bytes(), &cuts)), talk(vec![text.as_bytes()]));
        }
    }
}
