//! upper: answers in upper case, over TCP and UDP.

use std::net::SocketAddr;

use super::conversation::{self, Conversation, Heard};
use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::service::{Context, Farewell, Input, Service, SocketId};
use crate::wire::answers::upper_case;
use crate::wire::text::Mode;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "upper",
    about: "answers in upper case, then closes",
    notes: "",
    tcp: Some(12000),
    udp: Some(12000),
    keys: &[KEEP_OPEN],
    plan,
};

const KEEP_OPEN: Key = Key {
    name: "keep_open",
    value: Value::Default("false"),
    about: "Answer every message instead of closing after the first one.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let keep_open = settings.get(&KEEP_OPEN, values::flag);
    settings.listen(Upper::new(keep_open))
}

/// The upper service. It answers one message and closes, or answers every message if it
/// is to keep the connection open.
#[derive(Debug)]
pub struct Upper {
    keep_open: bool,
    answer: Vec<u8>,
}

/// One connection of the upper service.
#[derive(Debug, Default)]
pub struct UpperSession {
    conversation: Conversation,
    answered: bool,
}

impl Upper {
    /// An upper service that closes after its first answer, or keeps the connection open.
    pub fn new(keep_open: bool) -> Upper {
        Upper { keep_open, answer: Vec::new() }
    }

    fn answer(&mut self, session: &mut UpperSession, text: &[u8], cx: &mut Context<'_>) {
        self.answer.clear();
        upper_case(text, &mut self.answer);
        cx.send(&self.answer);
        cx.send(session.conversation.terminator());
        session.answered = true;
    }

    fn flush(&mut self, session: &mut UpperSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if let Some(message) = session.conversation.flush(input, cx) {
            self.answer(session, message.text, cx);
        }
    }
}

impl Service for Upper {
    type Session = UpperSession;

    fn receive(&mut self, session: &mut UpperSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        while let Some(heard) = session.conversation.next(input, cx) {
            match heard {
                Heard::Message(message) => self.answer(session, message.text, cx),
                Heard::TooLong => return conversation::refuse_line(cx),
            }
            if !self.keep_open && session.conversation.mode() == Mode::Line {
                input.consume_all();
            }
        }
        // A chunk that ends inside a character is not complete yet.
        if session.answered && !self.keep_open && input.unread().is_empty() {
            cx.close();
        }
    }

    fn timeout(&mut self, session: &mut UpperSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.flush(session, input, cx);
        if !self.keep_open {
            cx.close();
        }
    }

    fn end_of_input(&mut self, session: &mut UpperSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.flush(session, input, cx);
        cx.close();
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        self.answer.clear();
        upper_case(datagram, &mut self.answer);
        cx.send_to(on, from, &self.answer);
    }

    fn farewell(&self, why: Farewell) -> String {
        conversation::farewell(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{Rehearsal, splits};
    use crate::service::Limits;
    use proptest::prelude::*;
    use std::time::Duration;

    fn stage(keep_open: bool) -> Rehearsal<Upper> {
        Rehearsal::new(Upper::new(keep_open))
    }

    fn upper(text: impl AsRef<[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        upper_case(text.as_ref(), &mut out);
        out
    }

    /// The right column is what `str.upper` of Python 3.11 prints.
    #[test]
    fn it_maps_as_python_does() {
        for (text, expected) in [
            ("hello, World 1", "HELLO, WORLD 1"),
            ("안녕 abc", "안녕 ABC"),
            ("straße", "STRASSE"),
            ("ŉ", "ʼN"),
            ("ﬀﬁﬃﬆ", "FFFIFFIST"),
            ("ΐΰ", "Ι\u{308}\u{301}Υ\u{308}\u{301}"),
            ("ᾳᾼῷ", "ΑΙΑΙΩ͂Ι"),
            ("ὀδυσσεύς", "ὈΔΥΣΣΕΎΣ"),
            ("ǆǅǄ", "ǄǄǄ"),
            ("ıiİ", "IIİ"),
            ("ÿµſ", "ŸΜS"),
            ("և", "ԵՒ"),
            ("ⓐⅷ", "ⒶⅧ"),
            ("აჵ", "ᲐᲵ"),
            ("ǰẖẗẘẙẚ", "J̌H̱T̈W̊Y̊Aʾ"),
            ("ß\u{345}", "SSΙ"),
        ] {
            assert_eq!(String::from_utf8(upper(text)).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_not_utf8_passes_and_the_text_round_it_is_mapped() {
        assert_eq!(upper(b"a\xFFb\xEA\xB0c\xC3"), b"A\xFFB\xEA\xB0C\xC3");
    }

    #[test]
    fn one_message_is_answered_and_the_connection_closes() {
        let mut stage = stage(false);
        let client = stage.connect();
        stage.send(client, "hello 안녕".as_bytes());
        assert_eq!(stage.received(client), "HELLO 안녕".as_bytes());
        assert!(stage.is_closed(client));
    }

    #[test]
    fn one_line_is_answered_with_a_line_and_what_follows_is_not() {
        for end in ["\n", "\r\n", "\r"] {
            let mut stage = stage(false);
            let client = stage.connect();
            stage.send(client, format!("one{end}two{end}").as_bytes());
            assert_eq!(stage.received(client), b"ONE\n");
            assert!(stage.is_closed(client));
        }
    }

    #[test]
    fn a_chunk_over_the_line_length_is_still_one_message() {
        let limits = Limits { line_length: 64, ..Limits::default() };
        let mut stage = Rehearsal::with_limits(Upper::new(false), limits);
        let client = stage.connect();
        stage.send(client, "가a".repeat(100).as_bytes());
        assert_eq!(stage.received(client), "가A".repeat(100).as_bytes());
        assert!(stage.is_closed(client));
    }

    #[test]
    fn kept_open_it_answers_message_after_message() {
        let mut stage = stage(true);
        let (program, person) = (stage.connect(), stage.connect());
        for _ in 0..3 {
            stage.send(program, b"ab");
            stage.send(person, b"ab\ncd\n");
        }
        assert_eq!(stage.received(program), b"ABABAB");
        assert_eq!(stage.received(person), b"AB\nCD\n".repeat(3));
        stage.half_close(person);
        assert!(!stage.is_closed(program) && stage.is_closed(person));
    }

    #[test]
    fn a_character_that_never_ends_is_answered_after_a_second() {
        let mut stage = stage(false);
        let client = stage.connect();
        stage.send(client, b"a\xEA");
        assert!(!stage.is_closed(client));
        stage.pass(Duration::from_secs(1));
        assert_eq!(stage.received(client), b"A\xEA");
        assert!(stage.is_closed(client));
    }

    #[test]
    fn a_datagram_is_answered() {
        let mut stage = stage(false);
        let from = ([127, 0, 0, 1], 41_000).into();
        stage.datagram(from, "안녕 straße\n".as_bytes());
        assert_eq!(stage.datagrams(), [(from, "안녕 STRASSE\n".as_bytes().to_vec())]);
    }

    proptest! {
        #[test]
        fn kept_open_any_split_gives_the_same(
            text in "[a-zß가😀\r\n]{1,60}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
            first in prop::sample::select(vec!["x", "x\n"]),
        ) {
            let talk = |pieces: Vec<&[u8]>| {
                let mut stage = stage(true);
                let client = stage.connect();
                stage.send(client, first.as_bytes());
                pieces.into_iter().for_each(|piece| stage.send(client, piece));
                stage.half_close(client);
                stage.received(client)
            };
            prop_assert_eq!(talk(splits(text.as_bytes(), &cuts)), talk(vec![text.as_bytes()]));
        }

        #[test]
        fn a_message_cut_in_a_character_is_answered_whole(text in "[a-z]{0,3}[가😀ßé]", cut in 1usize..4) {
            let cut = text.len() - cut.min(text.chars().last().unwrap().len_utf8() - 1);
            let mut stage = stage(false);
            let client = stage.connect();
            stage.send(client, &text.as_bytes()[..cut]);
            stage.send(client, &text.as_bytes()[cut..]);
            prop_assert_eq!(stage.received(client), upper(&text));
            prop_assert!(stage.is_closed(client));
        }
    }
}
