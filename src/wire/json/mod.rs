//! Finds JSON values on TCP: where each one ends, whether it is valid, and how
//! Python's `json.dumps` would write it.
//!
//! JSON needs no framing, because a value shows where it ends: `{"a":1}{"b":2}`
//! is two values, however the bytes are split. The exception is a bare number
//! (is `1` complete, or will `2` follow?): it ends at a byte that cannot
//! continue it, or when the caller has waited long enough and calls
//! [`JsonStream::finish`].
//!
//! [`JsonStream`] finds the values; [`JsonText`] is a value known to be valid;
//! [`JsonError`] says what is wrong with the input, and where.

use std::borrow::Cow;
use std::fmt;

mod dumps;
mod grammar;

pub use dumps::Dumping;
pub use grammar::MAX_DEPTH;

use super::text::{Mode, is_continuation};
use grammar::{Automaton, Fed};

const NO_MEMORY: &str = "there is no memory for this value now; try again later, or send a shorter one";

/// The reason why a text is not a JSON value, and where that shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong, as a plain sentence.
    pub message: &'static str,
    /// The line of the first character that cannot belong to a value, from 1,
    /// counted from the start of the value.
    pub line: usize,
    /// The position of that character in its line, in characters rather than
    /// bytes, from 1.
    pub column: usize,
}

impl JsonError {
    /// Appends `{"error": "…", "line": n, "column": n}` to `out`.
    pub fn write_answer(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\": ");
        quote(self.message, out);
        out.extend_from_slice(format!(", \"line\": {}, \"column\": {}}}", self.line, self.column).as_bytes());
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (line {}, column {})", self.message, self.line, self.column)
    }
}

impl std::error::Error for JsonError {}

/// The text of exactly one valid value, as it arrived. Values nest at most
/// [`MAX_DEPTH`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonText<'a>(Cow<'a, [u8]>);

impl<'a> JsonText<'a> {
    /// Checks that `text` is one value, surrounded by nothing but white space.
    pub fn parse(text: &'a [u8]) -> Result<JsonText<'a>, JsonError> {
        let mut stream = JsonStream::default();
        let (used, step) = stream.next(text, 0);
        let value = match step {
            JsonStep::Value(value) => value,
            JsonStep::Error(error) => return Err(error),
            JsonStep::Incomplete => match stream.finish() {
                Some(finished) => finished?,
                None => return Err(JsonError { message: "there is no value", line: 1, column: 1 }),
            },
        };
        let start = skip_space(text);
        let behind = used + skip_space(&text[used..]);
        if behind < text.len() {
            let (line, column) = position_after(&text[start..behind]);
            return Err(JsonError { message: "there is more after the value", line, column });
        }
        Ok(value)
    }

    /// The same value, with a text of its own.
    pub fn into_owned(self) -> JsonText<'static> {
        JsonText(Cow::Owned(self.0.into_owned()))
    }

    /// The value as it arrived.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends the value to `out` in the form of Python's `json.dumps`: `", "`
    /// and `": "` as separators, keys in their order; a duplicate key keeps its
    /// first position and takes its last value. Numbers keep their digits.
    ///
    /// With `ensure_ascii` everything beyond ASCII is written as `\uXXXX`;
    /// otherwise it is UTF-8, except that half of a surrogate pair, which UTF-8
    /// cannot represent, stays escaped.
    pub fn dumps(&self, ensure_ascii: bool, out: &mut Vec<u8>) {
        dumps::dumps(&self.0, ensure_ascii, out);
    }
}

/// Appends `text` to `out` as a quoted JSON string in ASCII.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    dumps::quote(text, out);
}

/// What [`JsonStream::next`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonStep<'a> {
    /// A value. Another one may follow.
    Value(JsonText<'a>),
    /// No value until more arrives; the whole input is consumed.
    Incomplete,
    /// The input is not JSON. What is dropped with it counts as consumed.
    Error(JsonError),
}

/// What a [`JsonStream`] is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// No value has begun.
    Nothing,
    /// More of a bare number, which may be complete already.
    Number,
    /// The rest of a value.
    Value,
}

/// Finds the values in the input of one connection.
///
/// Call [`next`](Self::next) with the new input, minus what is consumed, until
/// it returns [`JsonStep::Incomplete`]. If a number is then
/// [`pending`](Self::pending), call [`finish`](Self::finish) when nothing more
/// has come for a while. Call it at the end of the input in any case.
///
/// A value that arrives whole is borrowed from the input. Only one that arrives
/// in pieces is collected in a buffer, which goes away with the value.
///
/// ```
/// use onepoll::wire::json::{JsonStep, JsonStream};
///
/// let mut stream = JsonStream::default();
/// let input = r#"{"이름":"홍길동"}[1"#.as_bytes();
/// let (used, JsonStep::Value(value)) = stream.next(input, 1024) else { panic!() };
/// let mut answer = Vec::new();
/// value.dumps(false, &mut answer);
/// assert_eq!(answer, r#"{"이름": "홍길동"}"#.as_bytes());
/// assert_eq!(stream.next(&input[used..], 1024), (2, JsonStep::Incomplete));
/// ```
#[derive(Debug, Default)]
pub struct JsonStream {
    automaton: Automaton,
    /// What has arrived of an unfinished value.
    held: Vec<u8>,
    mode: Mode,
    /// In line mode, after an error: drop the rest of its line.
    dropping: bool,
}

impl JsonStream {
    /// Takes the next value from the front of `input` and returns how many bytes
    /// of it are now consumed. `size_limit` limits one value in bytes; 0 means no
    /// limit.
    ///
    /// What follows an error is dropped: in chunk mode the rest of `input`, in
    /// line mode the rest of the line, however it arrives. The next value then
    /// starts afresh.
    pub fn next<'a>(&mut self, input: &'a [u8], size_limit: usize) -> (usize, JsonStep<'a>) {
        let limit = if size_limit == 0 { usize::MAX } else { size_limit };
        if self.mode == Mode::Undecided {
            self.mode = Mode::of_first_input(input);
        }
        let mut start = self.drop_line(input);
        if self.automaton.is_idle() {
            start += skip_space(&input[start..]);
        }
        let (used, fed) = self.automaton.feed(&input[start..], limit);
        let end = start + used;
        let piece = &input[start..end];
        let refused = match fed {
            Fed::Complete if self.held.is_empty() => {
                return (end, JsonStep::Value(JsonText(Cow::Borrowed(piece))));
            }
            Fed::Complete if self.hold(piece) => return (end, JsonStep::Value(self.take_held())),
            Fed::More if self.hold(piece) => return (end, JsonStep::Incomplete),
            Fed::Complete | Fed::More => JsonError { message: NO_MEMORY, line: 1, column: 1 },
            Fed::Refused(error) => error,
        };
        self.give_up();
        let end = if self.dropping { end + self.drop_line(&input[end..]) } else { input.len() };
        (end, JsonStep::Error(refused))
    }

    /// Ends what is pending: a complete number is a value, anything else
    /// unfinished is an error, and `None` means that nothing was pending. The stream
    /// can be used again afterwards.
    pub fn finish(&mut self) -> Option<Result<JsonText<'static>, JsonError>> {
        let finished = self.automaton.finish()?;
        if finished.is_err() {
            self.give_up();
        }
        Some(finished.map(|()| self.take_held()))
    }

    /// What the stream is waiting for.
    pub fn pending(&self) -> Pending {
        if self.automaton.is_idle() {
            Pending::Nothing
        } else if self.automaton.is_bare_number() {
            Pending::Number
        } else {
            Pending::Value
        }
    }

    /// The memory that an unfinished value takes, in bytes.
    pub fn memory(&self) -> usize {
        self.held.capacity()
    }

    /// Whether the connection's first input was a chunk or a line.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Keeps a piece of a value; false if there is no memory for it.
    fn hold(&mut self, piece: &[u8]) -> bool {
        let has_room = self.held.try_reserve(piece.len()).is_ok();
        if has_room {
            self.held.extend_from_slice(piece);
        }
        has_room
    }

    /// The value that is kept, whole.
    fn take_held(&mut self) -> JsonText<'static> {
        JsonText(Cow::Owned(std::mem::take(&mut self.held)))
    }

    /// Forgets a value that turned out to be wrong.
    fn give_up(&mut self) {
        self.automaton = Automaton::default();
        self.held = Vec::new();
        self.dropping = self.mode == Mode::Line;
    }

    /// How many bytes of `input` belong to a line that is being dropped.
    fn drop_line(&mut self, input: &[u8]) -> usize {
        if !self.dropping {
            return 0;
        }
        match input.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(end) => {
                self.dropping = false;
                end + 1
            }
            None => input.len(),
        }
    }
}

/// The length of the white space at the front of `text`.
fn skip_space(text: &[u8]) -> usize {
    text.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count()
}

/// The line and column, both from 1, of whatever follows `text`, which is valid UTF-8.
fn position_after(text: &[u8]) -> (usize, usize) {
    let last_line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or(text);
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    let characters = last_line.iter().filter(|byte| !is_continuation(**byte)).count();
    (lines + 1, characters + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A connection: what it sends goes in, the answers come out.
    #[derive(Debug, Default)]
    struct Peer {
        stream: JsonStream,
        answers: Vec<String>,
    }

    impl Peer {
        fn send(&mut self, input: impl AsRef<[u8]>) -> &mut Peer {
            let mut rest = input.as_ref();
            loop {
                let (used, step) = self.stream.next(rest, 100);
                rest = &rest[used..];
                match step {
                    JsonStep::Value(value) => self.answer(Ok(value)),
                    JsonStep::Error(error) => self.answer(Err(error)),
                    JsonStep::Incomplete => break,
                }
            }
            assert!(rest.is_empty(), "what is unfinished is kept by the stream");
            self
        }

        fn finish(&mut self) -> &mut Peer {
            if let Some(result) = self.stream.finish() {
                self.answer(result);
            }
            self
        }

        fn answer(&mut self, result: Result<JsonText<'_>, JsonError>) {
            let mut out = Vec::new();
            match result {
                Ok(value) => value.dumps(true, &mut out),
                Err(error) => error.write_answer(&mut out),
            }
            self.answers.push(String::from_utf8(out).unwrap());
        }
    }

    fn error(message: &str, line: usize, column: usize) -> String {
        let mut quoted = Vec::new();
        quote(message, &mut quoted);
        let quoted = String::from_utf8(quoted).unwrap();
        format!(r#"{{"error": {quoted}, "line": {line}, "column": {column}}}"#)
    }

    #[test]
    fn values_may_run_together() {
        let mut peer = Peer::default();
        peer.send(r#"{"a":1}{"b":2} [1]"x"1 2 truefalse null-3"4""#);
        let expected = [
            r#"{"a": 1}"#,
            r#"{"b": 2}"#,
            "[1]",
            r#""x""#,
            "1",
            "2",
            "true",
            "false",
            "null",
            "-3",
            r#""4""#,
        ];
        assert_eq!(peer.answers, expected);
    }

    #[test]
    fn a_value_that_comes_whole_is_borrowed_from_the_input() {
        let (used, JsonStep::Value(JsonText(text))) = JsonStream::default().next(b" [1]\n", 0) else {
            panic!()
        };
        assert!(matches!(text, Cow::Borrowed(b"[1]")));
        assert_eq!(used, 4);
    }

    #[test]
    fn an_idle_stream_owns_no_buffer() {
        let mut peer = Peer::default();
        assert_eq!(peer.send(r#"{"a":"#).stream.pending(), Pending::Value);
        assert!(peer.stream.held.capacity() > 0);
        assert_eq!(peer.send("1}").stream.held.capacity(), 0);
        assert_eq!(peer.send("[").send("x").stream.held.capacity(), 0);
        assert_eq!(peer.send("12").finish().stream.held.capacity(), 0);
        assert_eq!(peer.answers[0], r#"{"a": 1}"#);
        assert_eq!(peer.answers[2], "12");
    }

    #[test]
    fn a_bare_number_ends_when_the_caller_has_waited() {
        let mut peer = Peer::default();
        assert_eq!(peer.send("12").stream.pending(), Pending::Number);
        assert_eq!(peer.send("3").answers, [""; 0]);
        assert_eq!(peer.finish().stream.pending(), Pending::Nothing);
        assert_eq!(peer.finish().send("4 ").answers, ["123", "4"]);
    }

    #[test]
    fn what_is_unfinished_at_the_end_is_an_error_and_the_stream_goes_on() {
        let mut peer = Peer::default();
        peer.send("12.").finish().send("{\"가\"").finish().send("[]");
        assert_eq!(
            peer.answers,
            [error("unfinished number", 1, 4), error("unfinished value", 1, 5), "[]".into()]
        );
    }

    #[test]
    fn in_chunk_mode_an_error_drops_the_rest_of_the_input() {
        let mut peer = Peer::default();
        peer.send("[1]\n[가 [2]\n[3").send("[4]");
        assert_eq!(peer.answers[0], "[1]");
        assert!(peer.answers[1].ends_with(r#", "line": 1, "column": 2}"#), "{}", peer.answers[1]);
        assert_eq!(peer.answers[2..], ["[4]"]);
    }

    #[test]
    fn in_line_mode_an_error_drops_the_rest_of_its_line() {
        let mut peer = Peer::default();
        peer.send("[1]\r\n").send("{x} [0]\n[2]\n[\"\n[3] x").send(" [0]").send(" [0]\r\n[4]\n");
        let numbers: Vec<_> = peer.answers.iter().filter(|answer| !answer.contains("error")).collect();
        assert_eq!(numbers, ["[1]", "[2]", "[3]", "[4]"]);
        assert_eq!(peer.answers.len(), 7);
    }

    #[test]
    fn a_number_that_times_out_unfinished_takes_its_line_with_it() {
        let mut peer = Peer::default();
        peer.send("1\n").send("2.").finish().send("5 [0]\n[3]");
        assert_eq!(peer.answers, ["1".into(), error("unfinished number", 1, 3), "[3]".into()]);
    }

    #[test]
    fn a_value_over_the_size_limit_is_an_error_however_it_comes() {
        let long = format!("[\"{}\"]", "가".repeat(40));
        let mut whole = Peer::default();
        whole.send(&long);
        let mut pieces = Peer::default();
        pieces.send(&long[..50]).send(&long[50..]);
        assert_eq!(whole.answers.len(), 1);
        assert!(whole.answers[0].contains("longer"), "{}", whole.answers[0]);
        assert_eq!(whole.answers, pieces.answers);
    }

    #[test]
    fn parse_takes_one_value_and_says_where_more_begins() {
        assert_eq!(JsonText::parse(b" 12 ").map(|value| value.as_bytes().to_vec()), Ok(b"12".to_vec()));
        assert_eq!(JsonText::parse(b"\n{}\n").map(|value| value.as_bytes().to_vec()), Ok(b"{}".to_vec()));
        for (text, line, column) in
            [("\n[\"가\"] 2", 1, 7), ("{}\n 2", 2, 2), ("", 1, 1), (" ", 1, 1), ("[", 1, 2)]
        {
            let error = JsonText::parse(text.as_bytes()).unwrap_err();
            assert_eq!((error.line, error.column), (line, column), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_reads_as_a_sentence_and_as_json() {
        let error = JsonText::parse(br#"["\x"]"#).unwrap_err();
        assert_eq!(error.to_string(), format!("{} (line 1, column 4)", error.message));
        let mut answer = Vec::new();
        error.write_answer(&mut answer);
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["error"], error.message);
        assert_eq!((&answer["line"], &answer["column"]), (&1.into(), &4.into()));
    }

    proptest! {
        #[test]
        fn answers_are_the_same_at_any_split(
            lines in prop::collection::vec(
                prop::sample::select(vec![
                    "{\"이름\":\"홍길동\",\"n\":-1.5e3}", "12 3", "[1]{}\"😀\"", "true", "[가] [1]", "01", "\"",
                    "\"\\ud83d\\u12x\"", "{\"a\":1}{\"b\" 2}3", "\u{FEFF}1", "NaN 1", "-Infinity", "", "[1,2",
                ]),
                0..6,
            ),
            end in prop::sample::select(vec!["\n", "\r\n"]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let text: String = lines.iter().map(|line| format!("{line}{end}")).collect();
            let text = text.as_bytes();
            let mut whole = Peer::default();
            whole.send("0\n").send(text).finish();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            ends.push(text.len());
            ends.sort_unstable();
            let mut pieces = Peer::default();
            pieces.send("0\n");
            let mut start = 0;
            for end in ends {
                pieces.send(&text[start..end]);
                start = end;
            }
            pieces.finish();
            prop_assert_eq!(&whole.answers, &pieces.answers);
            prop_assert_eq!(&whole.answers[0], "0");
        }

        #[test]
        fn no_input_makes_it_panic_or_stand_still(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        ) {
            let mut peer = Peer::default();
            pieces.iter().for_each(|piece| { peer.send(piece); });
            peer.finish();
            prop_assert_eq!(peer.stream.pending(), Pending::Nothing);
        }
    }
}
