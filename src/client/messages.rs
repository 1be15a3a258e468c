//! What a client sends: the messages of the command line, or else the lines of standard
//! input.

use std::collections::VecDeque;

use onepoll::service::Context;
use onepoll::wire::text::strip_line_end;

use super::json_values::JsonValues;
use crate::output::remark;

/// The most bytes of a typed line or value, so that one without an end cannot fill the
/// memory.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// The lines that end the client when typed, as in the course's programs.
const END_WORDS: [&[u8]; 3] = [b"/end", b"q", b"bye"];

/// Messages in order.
///
/// Call [`start`](Messages::start) once the server is reached, pass what is typed to
/// [`typed`](Messages::typed), and take the messages one by one with
/// [`next`](Messages::next). While lines wait, standard input is left unread.
#[derive(Debug)]
pub struct Messages {
    waiting: VecDeque<Vec<u8>>,
    /// The beginning of a line whose end is not typed yet.
    unfinished: Vec<u8>,
    /// For JSON, where a message is a value and not a line.
    values: Option<JsonValues>,
    source: Source,
    /// The word that ended them, if one was typed.
    end_word: Option<Vec<u8>>,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    CommandLine,
    Keyboard { paused: bool },
}

/// What [`Messages::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// The next message, without a line end.
    Message(Vec<u8>),
    /// The user has not typed it yet.
    NotYet,
    /// There are no more.
    End,
}

impl Messages {
    /// Messages that are known already.
    pub fn given(messages: Vec<Vec<u8>>) -> Messages {
        Messages {
            waiting: messages.into(),
            unfinished: Vec::new(),
            values: None,
            source: Source::CommandLine,
            end_word: None,
            ended: true,
        }
    }

    /// The lines of standard input. An empty one is skipped: over TCP, nothing
    /// would be sent.
    pub fn from_keyboard() -> Messages {
        Messages { source: Source::Keyboard { paused: false }, ended: false, ..Messages::given(Vec::new()) }
    }

    /// The JSON values of standard input.
    pub fn values_from_keyboard() -> Messages {
        Messages { values: Some(JsonValues::default()), ..Messages::from_keyboard() }
    }

    /// The arguments of a command, or standard input if there is none.
    pub fn of_arguments(arguments: Vec<Vec<u8>>) -> Messages {
        if arguments.is_empty() { Messages::from_keyboard() } else { Messages::given(arguments) }
    }

    /// Leaves out those that have no bytes.
    pub fn without_empty(mut self) -> Messages {
        self.waiting.retain(|message| !message.is_empty());
        self
    }

    /// Begins to read standard input, if they come from there.
    pub fn start(&mut self, cx: &mut Context<'_>) {
        if let Source::Keyboard { .. } = self.source {
            cx.read_keyboard();
        }
    }

    /// Takes in what [`keyboard`](onepoll::service::Service::keyboard) brings.
    pub fn typed(&mut self, typed: Option<&[u8]>, cx: &mut Context<'_>) {
        let Some(typed) = typed else {
            let last = std::mem::take(&mut self.unfinished);
            self.take_line(&last);
            self.take_rest();
            self.ended = true;
            return;
        };
        let mut rest = typed;
        while let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(&rest[..=length]);
            rest = &rest[length + 1..];
            let line = std::mem::take(&mut self.unfinished);
            self.take_line(&line);
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() > LONGEST_LINE {
            cx.fail(format!("a line of standard input is longer than {LONGEST_LINE} bytes; shorten it"));
        } else if self.values.as_ref().is_some_and(|values| values.begun() > LONGEST_LINE) {
            cx.fail(format!("a value on standard input is longer than {LONGEST_LINE} bytes; shorten it"));
        }
        if !self.waiting.is_empty() || self.ended {
            self.source = Source::Keyboard { paused: true };
            cx.pause_keyboard();
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        if self.ended {
            return;
        }
        let text = strip_line_end(line);
        match &mut self.values {
            Some(values) if values.begun() > 0 || !END_WORDS.contains(&text) => {
                self.waiting.extend(values.take(line));
            }
            None if text.is_empty() => {}
            _ if END_WORDS.contains(&text) => {
                self.end_word = Some(text.to_vec());
                self.ended = true;
            }
            _ => self.waiting.push_back(text.to_vec()),
        }
    }

    /// Takes the unfinished end of the input as a message.
    fn take_rest(&mut self) {
        let Some(values) = self.values.as_mut().filter(|_| !self.ended) else { return };
        if let Err(error) = values.finish() {
            remark(&format!("standard input ends too early: {error}; it is sent as it is"));
        }
        let rest = values.rest();
        if !rest.is_empty() {
            self.waiting.push_back(rest);
        }
    }

    /// The input has ended; anything typed from now on is ignored.
    pub fn have_ended(&self) -> bool {
        self.ended
    }

    /// The next message. If it has yet to be typed, reads on.
    pub fn next(&mut self, cx: &mut Context<'_>) -> Next {
        if let Some(message) = self.waiting.pop_front() {
            return Next::Message(message);
        }
        if self.ended {
            return Next::End;
        }
        if self.source == (Source::Keyboard { paused: true }) {
            self.source = Source::Keyboard { paused: false };
            cx.resume_keyboard();
        }
        Next::NotYet
    }

    /// Takes the word that ended them, after [`next`](Messages::next) has returned the
    /// end; `None` if no word did, or if it was taken before.
    pub fn take_end_word(&mut self) -> Option<Vec<u8>> {
        self.end_word.take()
    }
}
