//! What the text services share over TCP: finding the messages of a connection, and
//! holding back an unfinished one for a limited time.

use std::time::Duration;

use crate::service::{Context, Farewell, Input};
use crate::wire::text::{Message, Mode, Step, TextFraming};

/// How long an unfinished character or line is held back. After this it counts as
/// finished, since nobody can tell a slow sender from one that has nothing to add.
const HOLD_BACK: Duration = Duration::from_secs(1);

/// One connection's text. Call [`next`](Self::next) until it is `None`, and
/// [`flush`](Self::flush) in `timeout` and `end_of_input`. `None` also ends a callback
/// that has done its share, see [`Context::may_go_on`]. The connection's deadline
/// belongs to it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    framing: TextFraming,
    /// Whether something is held back; the deadline counts from its first byte.
    holding: bool,
}

/// What was found in the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'a> {
    Message(Message<'a>),
    /// A line exceeds the line length: the connection should end.
    TooLong,
}

impl Conversation {
    /// Returns the next message; `None` once only held-back input is left, or the
    /// callback has done its share.
    pub fn next<'a>(&mut self, input: &mut Input<'a>, cx: &mut Context<'_>) -> Option<Heard<'a>> {
        if !input.unread().is_empty() && !cx.may_go_on(input) {
            return None;
        }
        let (used, step) = self.framing.next(input.unread(), cx.limits().line_length);
        input.consume(used);
        match step {
            Step::Message(message) => {
                self.release(cx);
                Some(Heard::Message(message))
            }
            Step::TooLong => {
                self.release(cx);
                Some(Heard::TooLong)
            }
            Step::Incomplete => {
                if input.unread().is_empty() {
                    self.release(cx);
                } else if !self.holding {
                    self.holding = true;
                    cx.set_deadline_after(HOLD_BACK);
                }
                None
            }
        }
    }

    /// Whether [`next`](Self::next) would find something now.
    pub fn has_next(&self, input: &Input<'_>, cx: &Context<'_>) -> bool {
        if cx.has_done_its_share(input) {
            return false;
        }
        let mut trial = self.framing;
        trial.next(input.unread(), cx.limits().line_length).1 != Step::Incomplete
    }

    /// Returns what is held back, unfinished as it is.
    pub fn flush<'a>(&mut self, input: &mut Input<'a>, cx: &mut Context<'_>) -> Option<Message<'a>> {
        self.release(cx);
        let held = self.framing.flush(input.unread());
        input.consume_all();
        held
    }

    pub fn mode(&self) -> Mode {
        self.framing.mode()
    }

    /// What ends an answer: LF in line mode, otherwise nothing.
    pub fn terminator(&self) -> &'static [u8] {
        self.framing.terminator()
    }

    /// Clears the deadline of what was held back.
    pub fn release(&mut self, cx: &mut Context<'_>) {
        if std::mem::take(&mut self.holding) {
            cx.clear_deadline();
        }
    }
}

/// The farewell of a service that speaks plain text.
pub(super) fn farewell(why: Farewell) -> String {
    format!("{why}\n")
}

/// Tells the client that its line is too long, and closes the connection.
pub(super) fn refuse_line(cx: &mut Context<'_>) {
    cx.send(farewell(Farewell::TooLong).as_bytes());
    cx.close_for(Farewell::TooLong);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;
    use crate::service::Limits;
    use crate::service::Service;

    /// Answers each message in brackets.
    struct Brackets;

    impl Brackets {
        fn answer(message: Message<'_>, cx: &mut Context<'_>) {
            cx.send(&[b"[", message.text, b"]"].concat());
        }
    }

    impl Service for Brackets {
        type Session = Conversation;

        fn receive(&mut self, session: &mut Conversation, input: &mut Input<'_>, cx: &mut Context<'_>) {
            while let Some(heard) = session.next(input, cx) {
                match heard {
                    Heard::Message(message) => Self::answer(message, cx),
                    Heard::TooLong => return refuse_line(cx),
                }
            }
        }

        fn timeout(&mut self, session: &mut Conversation, input: &mut Input<'_>, cx: &mut Context<'_>) {
            if let Some(message) = session.flush(input, cx) {
                Self::answer(message, cx);
            }
        }
    }

    const ALMOST: Duration = Duration::from_millis(999);
    const REST: Duration = Duration::from_millis(1);

    #[test]
    fn a_cut_character_is_held_for_a_second_and_then_taken_as_it_is() {
        let mut stage = Rehearsal::new(Brackets);
        let client = stage.connect();
        stage.send(client, b"a\xEA\xB0");
        assert_eq!(stage.received(client), b"[a]");
        stage.pass(ALMOST);
        assert_eq!(stage.received(client), b"");
        stage.pass(REST);
        assert_eq!(stage.received(client), b"[\xEA\xB0]");
    }

    #[test]
    fn the_second_counts_from_the_first_held_byte() {
        let mut stage = Rehearsal::new(Brackets);
        let client = stage.connect();
        stage.send(client, b"\n");
        for byte in [b"a", b"b", b"c"] {
            stage.send(client, byte);
            stage.pass(Duration::from_millis(333));
        }
        assert_eq!(stage.received(client), b"[]");
        stage.pass(REST);
        assert_eq!(stage.received(client), b"[abc]");
    }

    #[test]
    fn what_was_completed_in_time_is_not_flushed_and_the_next_has_its_own_second() {
        let mut stage = Rehearsal::new(Brackets);
        let client = stage.connect();
        stage.send(client, b"\n");
        stage.send(client, b"ha");
        stage.pass(ALMOST);
        stage.send(client, b"lf\nc");
        assert_eq!(stage.received(client), b"[][half]");
        stage.pass(ALMOST);
        assert_eq!(stage.received(client), b"");
        stage.pass(REST);
        assert_eq!(stage.received(client), b"[c]");
    }

    #[test]
    fn a_line_over_the_line_length_is_refused_in_words() {
        let limits = Limits { line_length: 64, ..Limits::default() };
        let mut stage = Rehearsal::with_limits(Brackets, limits);
        let client = stage.connect();
        stage.send(client, b"\n");
        stage.send(client, &[b'x'; 65]);
        assert_eq!(stage.received(client), b"[]the line is too long\n");
        assert!(stage.is_closed(client));
    }
}
