//! json: sends every JSON value back in the form of Python's `json.dumps`.

use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value};
use crate::service::{Context, Farewell, Input, Service};
use crate::wire::json::{self, Dumping, JsonError, JsonStep, JsonStream, JsonText, Pending};
use crate::wire::text::Mode;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "json",
    about: "sends JSON back in the form of Python's json.dumps",
    notes: "",
    tcp: Some(9000),
    udp: None,
    keys: &[ENSURE_ASCII, VALUE_SIZE],
    plan,
};

const ENSURE_ASCII: Key = Key {
    name: "ensure_ascii",
    value: Value::Default("true"),
    about: r"Write characters beyond ASCII as \uXXXX.",
};

const VALUE_SIZE: Key = Key {
    name: "value_size",
    value: Value::Default(r#""1 MiB""#),
    about: "The most bytes of one value. It cannot be turned off.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let ensure_ascii = settings.get(&ENSURE_ASCII, values::flag);
    let value_size = settings.get(&VALUE_SIZE, value_size);
    settings.listen(Json::new(ensure_ascii, value_size))
}

fn value_size(value: &Toml<'_>) -> Read<usize> {
    match values::size(value)? {
        0 => Err("cannot be turned off: a value is kept in memory until it ends".into()),
        size => Ok(size),
    }
}

/// A bare number is complete if nothing more comes for this long.
const NUMBER_WAIT: Duration = Duration::from_millis(200);
/// How many bytes of a value are taken up at once.
const PART: usize = 16 * 1024;
/// A longer value is written in steps, one value at a time: the longest would keep
/// everybody else waiting for 20 ms.
const LARGE: usize = 32 * 1024;
/// About how many bytes of it are read or written in a step, once per turn.
const STEP: usize = 32 * 1024;
/// How long a session waits before it asks whether the value of another is written.
const WAIT_FOR_TURN: Duration = Duration::from_millis(1);
/// How much memory the answer buffer keeps: more would be wasted after one large value.
const WORTH_KEEPING: usize = 64 * 1024;

/// The json service.
#[derive(Debug)]
pub struct Json {
    ensure_ascii: bool,
    value_size: usize,
    /// The answers of one call.
    answers: Vec<u8>,
    /// The large value that is being written, and whose it is.
    writing: Option<(Weak<Turn>, Dumping<'static>)>,
}

/// Held by the session whose large value is being written: if the session goes, in
/// whatever way, so does this.
#[derive(Debug)]
struct Turn;

/// A large value whose answer is not written yet.
#[derive(Debug)]
struct Large {
    /// Until its turn comes.
    value: Option<JsonText<'static>>,
    turn: Option<Rc<Turn>>,
    /// Bytes of the input that are left unread until it is written: the session is shown
    /// them in the next turn.
    unread: usize,
}

/// One connection of the json service.
#[derive(Debug, Default)]
pub struct JsonSession {
    stream: JsonStream,
    /// When the first byte of the unfinished value came.
    begun: Option<Instant>,
    large: Option<Box<Large>>,
}

impl Json {
    /// A json service. `ensure_ascii` writes characters beyond ASCII as
    /// `\uXXXX`, as Python does; a value of more than `value_size` bytes is refused.
    pub fn new(ensure_ascii: bool, value_size: usize) -> Json {
        Json { ensure_ascii, value_size, answers: Vec::new(), writing: None }
    }

    fn answer(&mut self, session: &mut JsonSession, result: Result<JsonText<'_>, JsonError>) {
        match result {
            Ok(value) => value.dumps(self.ensure_ascii, &mut self.answers),
            Err(error) => error.write_answer(&mut self.answers),
        }
        self.answers.extend_from_slice(session.stream.mode().terminator());
        session.begun = None;
    }

    /// Goes on with a session's large value; false if it is not written yet.
    fn write_large(&mut self, large: &mut Large) -> bool {
        if large.turn.is_none() {
            if self.writing.as_ref().is_some_and(|(whose, _)| whose.strong_count() > 0) {
                return false;
            }
            let Some(value) = large.value.take() else { return true };
            let turn = Rc::new(Turn);
            self.writing = Some((Rc::downgrade(&turn), Dumping::new(value, self.ensure_ascii)));
            large.turn = Some(turn);
        }
        let Some((_, dumping)) = &mut self.writing else { return true };
        if !dumping.step(STEP) {
            return false;
        }
        self.answers.extend_from_slice(dumping.written());
        self.writing = None;
        true
    }

    fn finish(&mut self, session: &mut JsonSession) {
        if let Some(result) = session.stream.finish() {
            self.answer(session, result);
        }
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        cx.send(&self.answers);
        self.answers.clear();
        self.answers.shrink_to(WORTH_KEEPING);
    }
}

impl Large {
    /// Goes on in the next turn, or looks in a while whether its turn has come.
    fn go_on_later(self: Box<Self>, session: &mut JsonSession, cx: &mut Context<'_>) {
        let wait = if self.turn.is_some() { Duration::ZERO } else { WAIT_FOR_TURN };
        session.large = Some(self);
        cx.pause_until(cx.now() + wait);
        cx.yield_input();
    }
}

impl JsonSession {
    /// Sets the deadline of what is pending. For a value it counts from the first byte,
    /// so that a slow sender gains no time.
    fn wait(&mut self, cx: &mut Context<'_>) {
        let pending = self.stream.pending();
        if pending == Pending::Nothing {
            self.begun = None;
            return cx.clear_deadline();
        }
        let begun = *self.begun.get_or_insert(cx.now());
        let end_of_number = (pending == Pending::Number).then_some(cx.now() + NUMBER_WAIT);
        let end_of_message = cx.limits().message_timeout.map(|limit| begun + limit);
        match end_of_number.into_iter().chain(end_of_message).min() {
            Some(deadline) => cx.set_deadline(deadline),
            None => cx.clear_deadline(),
        }
    }
}

impl Service for Json {
    type Session = JsonSession;

    fn receive(&mut self, session: &mut JsonSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if let Some(mut large) = session.large.take() {
            if !self.write_large(&mut large) {
                return large.go_on_later(session, cx);
            }
            input.consume(large.unread);
            self.answers.extend_from_slice(session.stream.mode().terminator());
            self.send(cx);
        }
        while !input.unread().is_empty() && cx.may_go_on(input) {
            // A large value comes in parts, so that others are served between them.
            let part = &input.unread()[..input.unread().len().min(PART)];
            let (used, step) = session.stream.next(part, self.value_size);
            let is_large = matches!(&step, JsonStep::Value(value) if value.as_bytes().len() > LARGE);
            let unread = usize::from(is_large && used > 0);
            input.consume(used - unread);
            match step {
                JsonStep::Value(value) if is_large => {
                    session.begun = None;
                    cx.clear_deadline();
                    let large = Large { value: Some(value.into_owned()), turn: None, unread };
                    return Box::new(large).go_on_later(session, cx);
                }
                JsonStep::Value(value) => self.answer(session, Ok(value)),
                JsonStep::Error(error) => {
                    self.answer(session, Err(error));
                    if session.stream.mode() == Mode::Chunk {
                        // The error has spoiled the whole chunk.
                        input.consume_all();
                    }
                }
                JsonStep::Incomplete => {}
            }
            self.send(cx);
        }
        session.wait(cx);
    }

    fn timeout(&mut self, session: &mut JsonSession, _: &mut Input<'_>, cx: &mut Context<'_>) {
        if session.stream.pending() == Pending::Value {
            cx.send(error(Farewell::MessageTimeout).as_bytes());
            cx.send(session.stream.mode().terminator());
            // What it has sent of the value is not needed while the connection lingers.
            *session = JsonSession::default();
            return cx.close_for(Farewell::MessageTimeout);
        }
        self.finish(session);
        self.send(cx);
        session.wait(cx);
    }

    fn end_of_input(&mut self, session: &mut JsonSession, _: &mut Input<'_>, cx: &mut Context<'_>) {
        self.finish(session);
        self.send(cx);
        cx.close();
    }

    fn footprint(&self, session: &JsonSession) -> usize {
        let waiting = session.large.as_ref().and_then(|large| large.value.as_ref());
        session.stream.memory() + waiting.map_or(0, |value| value.as_bytes().len())
    }

    fn tables(&self) -> usize {
        self.writing.as_ref().map_or(0, |(_, dumping)| dumping.memory())
    }

    fn farewell(&self, why: Farewell) -> String {
        error(why) + "\n"
    }
}

fn error(why: Farewell) -> String {
    let mut quoted = Vec::new();
    json::quote(&why.to_string(), &mut quoted);
    format!("{{\"error\": {}}}", String::from_utf8_lossy(&quoted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{Rehearsal, splits};
    use crate::service::Limits;
    use crate::services::refused;
    use proptest::prelude::*;

    const MIB: usize = 1 << 20;

    fn stage() -> Rehearsal<Json> {
        Rehearsal::new(Json::new(true, MIB))
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_value_comes_back_in_pythons_form() {
        let mut stage = stage();
        let client = stage.connect();
        stage.send(client, r#"{"이름":"홍길동","n":[1,2.50]}"#.as_bytes());
        assert_eq!(text(stage.received(client)), r#"{"\uc774\ub984": "\ud64d\uae38\ub3d9", "n": [1, 2.50]}"#);
        assert!(!stage.is_closed(client));
    }

    #[test]
    fn without_ensure_ascii_it_comes_back_raw() {
        let mut stage = Rehearsal::new(Json::new(false, MIB));
        let client = stage.connect();
        stage.send(client, r#"["한글"]"#.as_bytes());
        assert_eq!(text(stage.received(client)), r#"["한글"]"#);
    }

    #[test]
    fn values_that_run_together_are_answered_each_and_lines_with_lines() {
        let mut stage = stage();
        let (program, person) = (stage.connect(), stage.connect());
        stage.send(program, b"{}[]\"a\"");
        assert_eq!(text(stage.received(program)), "{}[]\"a\"");
        stage.send(person, b"{} []\n7\n");
        assert_eq!(text(stage.received(person)), "{}\n[]\n7\n");
    }

    #[test]
    fn a_bare_number_ends_when_nothing_more_came_for_200_ms() {
        let mut stage = stage();
        let client = stage.connect();
        stage.send(client, b"1");
        stage.pass(Duration::from_millis(199));
        stage.send(client, b"2");
        stage.pass(Duration::from_millis(199));
        assert_eq!(text(stage.received(client)), "");
        stage.pass(Duration::from_millis(1));
        assert_eq!(text(stage.received(client)), "12");
        stage.send(client, b"[]");
        stage.pass(Duration::from_secs(60));
        assert_eq!(text(stage.received(client)), "[]");
        assert!(!stage.is_closed(client));
    }

    #[test]
    fn an_unfinished_value_has_the_message_timeout_from_its_first_byte() {
        let mut stage = stage();
        let client = stage.connect();
        stage.send(client, b"1\n");
        stage.pass(Duration::from_secs(5));
        stage.send(client, b"[");
        for _ in 0..9 {
            stage.pass(Duration::from_secs(1));
            stage.send(client, b"1,");
        }
        assert_eq!(text(stage.received(client)), "1\n");
        stage.pass(Duration::from_secs(1));
        assert_eq!(text(stage.received(client)), "{\"error\": \"the message took too long to arrive\"}\n");
        assert!(stage.is_closed(client));
    }

    #[test]
    fn each_value_has_its_own_message_timeout() {
        let mut stage = stage();
        let client = stage.connect();
        stage.send(client, b"[");
        for _ in 0..5 {
            stage.pass(Duration::from_secs(9));
            stage.send(client, b"][");
        }
        assert_eq!(text(stage.received(client)), "[]".repeat(5));
    }

    #[test]
    fn without_a_message_timeout_a_value_may_take_for_ever() {
        let limits = Limits { message_timeout: None, idle_timeout: None, ..Limits::default() };
        let mut stage = Rehearsal::with_limits(Json::new(true, MIB), limits);
        let client = stage.connect();
        stage.send(client, b"[");
        stage.pass(Duration::from_secs(86_400));
        stage.send(client, b"]");
        assert_eq!(text(stage.received(client)), "[]");
    }

    #[test]
    fn bad_json_is_answered_with_its_place_and_the_connection_goes_on() {
        let mut stage = stage();
        let client = stage.connect();
        stage.send(client, b"[1,\n x] [0]");
        let answer = text(stage.received(client));
        assert!(
            answer.starts_with("{\"error\": \"") && answer.ends_with(", \"line\": 2, \"column\": 2}"),
            "{answer}"
        );
        stage.send(client, b"[2]");
        assert_eq!(text(stage.received(client)), "[2]");
    }

    #[test]
    fn a_half_close_ends_a_number_and_tells_an_unfinished_value() {
        let mut stage = stage();
        let (number, value) = (stage.connect(), stage.connect());
        stage.send(number, b"42");
        stage.half_close(number);
        assert_eq!(text(stage.received(number)), "42");
        stage.send(value, b"[1,");
        stage.half_close(value);
        assert!(text(stage.received(value)).starts_with("{\"error\": \"unfinished value\""));
        assert!(stage.is_closed(number) && stage.is_closed(value));
    }

    #[test]
    fn a_value_over_the_size_limit_is_refused() {
        let mut stage = Rehearsal::new(Json::new(true, 64));
        let client = stage.connect();
        stage.send(client, &[b'['; 65]);
        assert!(text(stage.received(client)).contains("error"));
    }

    /// An object with many keys, longer than is written at once.
    fn large(first: usize) -> String {
        let members: Vec<String> = (first..first + 20_000).map(|number| format!("\"{number}\": 0")).collect();
        format!("{{{}}}", members.join(", "))
    }

    #[test]
    fn large_values_are_answered_each_and_in_order() {
        let mut stage = stage();
        let clients: Vec<_> = (0..3).map(|_| stage.connect()).collect();
        for (number, client) in clients.iter().enumerate() {
            stage.send(*client, format!("[1]{}[2]{}", large(number), large(number + 7)).as_bytes());
            stage.half_close(*client);
        }
        stage.pass(Duration::from_secs(1));
        for (number, client) in clients.iter().enumerate() {
            let expected = format!("[1]{}[2]{}", large(number), large(number + 7));
            assert!(text(stage.received(*client)) == expected, "{number}");
            assert!(stage.is_closed(*client));
        }
    }

    #[test]
    fn a_large_value_after_a_number_is_answered() {
        let mut stage = stage();
        let client = stage.connect();
        let number = "7".repeat(100_000);
        stage.send(client, number.as_bytes());
        stage.send(client, b"[]");
        stage.pass(Duration::from_secs(1));
        assert!(text(stage.received(client)) == format!("{number}[]"));
    }

    #[test]
    fn farewells_are_json() {
        let words = stage().service().farewell(Farewell::Full);
        assert!(JsonText::parse(words.as_bytes()).is_ok(), "{words}");
        assert!(words.starts_with("{\"error\": \"too many connections"), "{words}");
    }

    proptest! {
        #[test]
        fn values_are_answered_the_same_at_any_split(
            values in prop::collection::vec("\\[[0-9]{1,3}(,\"[가-하a]{0,3}\"){0,2}\\]|\\{\\}|tru|\"😀\"|[0-9]{1,2} ", 1..12),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let text = values.join("\n") + "\n";
            let talk = |pieces: Vec<&[u8]>| {
                let mut stage = stage();
                let client = stage.connect();
                stage.send(client, b"[]\n");
                pieces.into_iter().for_each(|piece| stage.send(client, piece));
                stage.received(client)
            };
            prop_assert_eq!(talk(splits(text.as_bytes(), &cuts)), talk(vec![text.as_bytes()]));
        }
    }

    #[test]
    fn the_size_of_a_value_cannot_be_turned_off() {
        refused(&DESCRIPTION, &[("tcp = 1\nvalue_size = 0", (3, 14), "cannot be turned off")]);
    }
}
