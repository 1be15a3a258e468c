//! Implements the grammar of RFC 8259 as a pushdown automaton that reads one
//! byte after another: it stops after the last byte of a value, or at the first
//! byte that cannot continue it. It keeps no text, needs no look-ahead and
//! visits every byte once, so it costs the same however the input is split.

use super::JsonError;
use crate::wire::text::{character_shape, is_continuation};

/// How deep arrays and objects may nest. One integer holds one bit per level,
/// and what is accepted here can be walked recursively without worrying about
/// the stack. People and programs rarely go beyond ten.
pub const MAX_DEPTH: u32 = u128::BITS;

const VALUE: &str = "expected a value: a string, number, object, array, true, false or null";
const QUOTES: &str = "strings and keys need double quotes";
const CONSTANT: &str = "JSON has no such word: only true, false and null, in small letters";
const TRAILING_COMMA: &str = "a comma must be followed by another element";
const KEY: &str = "expected a key in double quotes, or '}' for an empty object";
const COLON: &str = "expected ':' after the key";
const IN_ARRAY: &str = "expected ',' or ']' after an element of an array";
const IN_OBJECT: &str = "expected ',' or '}' after a member of an object";
const CONTROL: &str = "a control character in a string must be escaped, as \\n or \\u000a";
const ESCAPE: &str = "after a backslash only one of \" \\ / b f n r t u may follow";
const HEX: &str = "\\u must be followed by four hexadecimal digits";
const UTF8: &str = "the text is not valid UTF-8";
const DIGIT: &str = "unfinished number: expected a digit";
const LEADING_ZERO: &str = "a number must not have a leading zero";
const TOO_DEEP: &str = "arrays and objects are nested more than 128 deep";
const TOO_LONG: &str = "the value is longer than allowed here";
const BYTE_ORDER_MARK: &str =
    "a byte order mark (U+FEFF) must not stand before a value; send UTF-8 without it";
const UNFINISHED_NUMBER: &str = "unfinished number";
const UNFINISHED_VALUE: &str = "unfinished value";

/// Words that can be refused only once they are complete: their text and the
/// reason.
const REFUSED: [(&str, &str); 3] = [
    ("NaN", "NaN is not JSON; send null or a string instead"),
    ("Infinity", "Infinity is not JSON; send null or a string instead"),
    ("-Infinity", "-Infinity is not JSON; send null or a string instead"),
];

/// What the bytes shown to [`Automaton::feed`] did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// All bytes were consumed and the value goes on.
    More,
    /// The value ends with the last byte consumed; the next one starts afresh.
    Complete,
    /// The first byte not consumed cannot continue the value, which is
    /// abandoned; the next one starts afresh.
    Refused(JsonError),
}

/// Reads one value after another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Automaton {
    state: State,
    /// The open arrays (0) and objects (1), the innermost in the lowest bit.
    open: u128,
    depth: u32,
    /// The string being read is a key.
    in_key: bool,
    /// Bytes of the value so far.
    length: usize,
    /// Line ends in the value so far.
    lines: usize,
    /// Characters begun since the last line end, or since the value's start.
    characters: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Between values.
    #[default]
    Start,
    /// Between values, with this many bytes of a byte order mark.
    ByteOrderMark(u8),
    /// After ':', or after ',' in an array.
    Value,
    /// After '['.
    FirstElement,
    /// After '{'.
    FirstKey,
    /// After ',' in an object.
    Key,
    /// After a key.
    Colon,
    /// After an element or a member.
    AfterItem,
    String,
    /// After a backslash.
    Escape,
    /// In \uXXXX, with this many digits to come.
    Hex(u8),
    /// Inside a character of a string: how many bytes are still to come, and
    /// the range of the next one.
    Character {
        left: usize,
        low: u8,
        high: u8,
    },
    Number(Number),
    /// In true, false or null: the letters still to come.
    Literal(&'static [u8]),
    /// In one of [`REFUSED`]: which one, and how many of its letters have been
    /// read.
    Refused(u8, u8),
}

/// The part of a number that was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    /// A leading zero, which no digit may follow.
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl Number {
    fn is_complete(self) -> bool {
        matches!(self, Number::Zero | Number::Integer | Number::Fraction | Number::ExponentDigits)
    }
}

/// What one byte did.
enum Step {
    Go(State),
    /// The value ends with this byte.
    End,
    /// The value ended before this byte, which is not part of it.
    EndBefore,
}

/// Why a byte is refused, and how many characters before it the fault began.
struct Fault(&'static str, usize);

impl From<&'static str> for Fault {
    fn from(message: &'static str) -> Fault {
        Fault(message, 0)
    }
}

impl Automaton {
    /// Whether no value has begun.
    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Start
    }

    /// Whether the current value is a number that only its surroundings can
    /// end.
    pub(super) fn is_bare_number(&self) -> bool {
        self.depth == 0 && matches!(self.state, State::Number(_))
    }

    /// Reads on in `input`, at most to the end of the value, and returns how
    /// many bytes it consumed. A value has at most `limit` bytes. Between
    /// values the caller skips white space.
    pub(super) fn feed(&mut self, input: &[u8], limit: usize) -> (usize, Fed) {
        let mut at = 0;
        while at < input.len() {
            if self.state == State::String {
                let room = limit.saturating_sub(self.length);
                let run = input[at..].iter().take(room).take_while(|byte| is_plain(**byte)).count();
                if run > 0 {
                    self.length += run;
                    self.characters += run;
                    at += run;
                    continue;
                }
            }
            let byte = input[at];
            let step = match self.step(byte) {
                Ok(Step::EndBefore) => {
                    *self = Automaton::default();
                    return (at, Fed::Complete);
                }
                Ok(_) if self.length >= limit => Err(Fault(TOO_LONG, usize::from(is_continuation(byte)))),
                step => step,
            };
            match step {
                Ok(Step::Go(state)) => self.state = state,
                Ok(Step::End | Step::EndBefore) => {
                    *self = Automaton::default();
                    return (at + 1, Fed::Complete);
                }
                Err(Fault(message, back)) => return (at, Fed::Refused(self.refuse(message, back))),
            }
            self.count(byte);
            at += 1;
        }
        (at, Fed::More)
    }

    /// The input ends here: `None` if no value has begun, `Ok` if a number is
    /// now complete. Either way the next value starts afresh.
    pub(super) fn finish(&mut self) -> Option<Result<(), JsonError>> {
        match self.state {
            State::Start => None,
            State::Number(number) if self.depth == 0 && number.is_complete() => {
                *self = Automaton::default();
                Some(Ok(()))
            }
            State::Number(_) => Some(Err(self.refuse(UNFINISHED_NUMBER, 0))),
            _ => Some(Err(self.refuse(UNFINISHED_VALUE, 0))),
        }
    }

    /// Abandons the value because of a fault `back` characters before the next
    /// one.
    fn refuse(&mut self, message: &'static str, back: usize) -> JsonError {
        let column = self.characters + 1 - back.min(self.characters);
        let error = JsonError { message, line: self.lines + 1, column };
        *self = Automaton::default();
        error
    }

    /// Moves the position past `byte`, which has been accepted.
    fn count(&mut self, byte: u8) {
        self.length += 1;
        if byte == b'\n' {
            self.lines += 1;
            self.characters = 0;
        } else if !is_continuation(byte) {
            self.characters += 1;
        }
    }

    fn step(&mut self, byte: u8) -> Result<Step, Fault> {
        let next = match self.state {
            State::Start if byte == 0xEF => State::ByteOrderMark(1),
            State::ByteOrderMark(1) if byte == 0xBB => State::ByteOrderMark(2),
            State::ByteOrderMark(2) if byte == 0xBF => return Err(Fault(BYTE_ORDER_MARK, 1)),
            State::ByteOrderMark(_) => return Err(Fault(VALUE, 1)),

            State::Value
            | State::FirstElement
            | State::FirstKey
            | State::Key
            | State::Colon
            | State::AfterItem
                if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') =>
            {
                self.state
            }
            State::FirstElement if byte == b']' => return Ok(self.close()),
            State::Value if byte == b']' && !self.in_object() => return Err(TRAILING_COMMA.into()),
            State::Start | State::Value | State::FirstElement => self.begin_value(byte)?,
            State::FirstKey if byte == b'}' => return Ok(self.close()),
            State::Key if byte == b'}' => return Err(TRAILING_COMMA.into()),
            State::FirstKey | State::Key => match byte {
                b'"' => {
                    self.in_key = true;
                    State::String
                }
                b'\'' => return Err(QUOTES.into()),
                _ => return Err(KEY.into()),
            },
            State::Colon if byte == b':' => State::Value,
            State::Colon => return Err(COLON.into()),
            State::AfterItem => match (byte, self.in_object()) {
                (b',', true) => State::Key,
                (b',', false) => State::Value,
                (b'}', true) | (b']', false) => return Ok(self.close()),
                (_, true) => return Err(IN_OBJECT.into()),
                (_, false) => return Err(IN_ARRAY.into()),
            },

            State::String => match byte {
                b'"' if std::mem::take(&mut self.in_key) => State::Colon,
                b'"' => return Ok(self.end_value()),
                b'\\' => State::Escape,
                0..0x20 => return Err(CONTROL.into()),
                0x20..0x80 => State::String,
                _ => match character_shape(byte) {
                    Some((whole, low, high)) => State::Character { left: whole - 1, low, high },
                    None => return Err(UTF8.into()),
                },
            },
            State::Character { left, low, high } => match left {
                _ if !(low..=high).contains(&byte) => return Err(Fault(UTF8, 1)),
                1 => State::String,
                _ => State::Character { left: left - 1, low: 0x80, high: 0xBF },
            },
            State::Escape => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::String,
                b'u' => State::Hex(4),
                _ => return Err(ESCAPE.into()),
            },
            State::Hex(left) => match left {
                _ if !byte.is_ascii_hexdigit() => return Err(HEX.into()),
                1 => State::String,
                _ => State::Hex(left - 1),
            },

            State::Literal(letters) => match letters {
                [last] if *last == byte => return Ok(self.end_value()),
                [first, rest @ ..] if *first == byte => State::Literal(rest),
                _ => return Err(CONSTANT.into()),
            },
            State::Refused(which, read) => {
                let (text, message) = REFUSED[usize::from(which)];
                let back = usize::from(read);
                if text.as_bytes()[back] != byte {
                    return Err(Fault(CONSTANT, back));
                }
                if back + 1 == text.len() {
                    return Err(Fault(message, back));
                }
                State::Refused(which, read + 1)
            }
            State::Number(number) => return self.number(number, byte),
        };
        Ok(Step::Go(next))
    }

    fn begin_value(&mut self, byte: u8) -> Result<State, Fault> {
        Ok(match byte {
            b'"' => State::String,
            b'{' => self.open(true, State::FirstKey)?,
            b'[' => self.open(false, State::FirstElement)?,
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'n' => State::Literal(b"ull"),
            b'N' => State::Refused(0, 1),
            b'I' => State::Refused(1, 1),
            b'\'' => return Err(QUOTES.into()),
            b'A'..=b'Z' | b'a'..=b'z' => return Err(CONSTANT.into()),
            _ => return Err(VALUE.into()),
        })
    }

    fn number(&mut self, number: Number, byte: u8) -> Result<Step, Fault> {
        use Number::{Exponent, ExponentDigits, ExponentSign, Fraction, Integer, Minus, Point, Zero};
        let next = match (number, byte) {
            (Minus, b'I') => return Ok(Step::Go(State::Refused(2, 2))),
            (Zero, b'0'..=b'9') => return Err(LEADING_ZERO.into()),
            (Minus, b'0') => Zero,
            (Minus | Integer, b'0'..=b'9') => Integer,
            (Zero | Integer, b'.') => Point,
            (Point | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Integer | Fraction, b'e' | b'E') => Exponent,
            (Exponent, b'+' | b'-') => ExponentSign,
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => ExponentDigits,
            _ if !number.is_complete() => return Err(DIGIT.into()),
            _ if self.depth == 0 => return Ok(Step::EndBefore),
            _ => {
                self.state = State::AfterItem;
                return self.step(byte);
            }
        };
        Ok(Step::Go(State::Number(next)))
    }

    fn in_object(&self) -> bool {
        self.open & 1 == 1
    }

    fn open(&mut self, object: bool, inside: State) -> Result<State, Fault> {
        if self.depth == MAX_DEPTH {
            return Err(TOO_DEEP.into());
        }
        self.depth += 1;
        self.open = self.open << 1 | u128::from(object);
        Ok(inside)
    }

    fn close(&mut self) -> Step {
        self.depth -= 1;
        self.open >>= 1;
        self.end_value()
    }

    fn end_value(&self) -> Step {
        if self.depth == 0 { Step::End } else { Step::Go(State::AfterItem) }
    }
}

/// Whether `byte` is a whole character that stands for itself in a string.
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The verdict on `text` as one whole input, and how much of it was
    /// consumed.
    fn verdict(text: impl AsRef<[u8]>) -> (usize, Result<(), JsonError>) {
        let mut automaton = Automaton::default();
        match automaton.feed(text.as_ref(), 1000) {
            (used, Fed::More) => (used, automaton.finish().unwrap_or(Ok(()))),
            (used, Fed::Complete) => (used, Ok(())),
            (used, Fed::Refused(error)) => (used, Err(error)),
        }
    }

    #[track_caller]
    fn refused(text: impl AsRef<[u8]>, message: &str, line: usize, column: usize) {
        let text = text.as_ref();
        let (_, Err(error)) = verdict(text) else { panic!("accepted: {}", String::from_utf8_lossy(text)) };
        let found = (error.message, error.line, error.column);
        assert_eq!(found, (message, line, column), "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn every_kind_of_value_is_accepted_to_its_last_byte() {
        let values = [
            "null",
            "true",
            "false",
            "0",
            "-0",
            "-10.50e+07",
            "1E5",
            "0.0",
            r#""""#,
            r#""한글 \" \\ \/ \b \f \n \r \t \uD800 \uabCD""#,
            "[]",
            "[ ]",
            "{}",
            "{\r\n\t }",
            r#"[1,-2 ,[],{"a" : {}, "":[null]}, true]"#,
            "\"\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}\"",
        ];
        for value in values {
            assert_eq!(verdict(value), (value.len(), Ok(())), "{value}");
            let followed = format!("{value} ");
            assert_eq!(verdict(&followed), (value.len(), Ok(())), "{value}");
        }
    }

    #[test]
    fn a_number_ends_at_the_first_byte_that_cannot_continue_it() {
        for (text, length) in
            [("12 3", 2), ("1{}", 1), ("1.5\"x\"", 3), ("1-2", 1), ("0x1", 1), ("1e5e", 3), ("2]", 1)]
        {
            assert_eq!(verdict(text), (length, Ok(())), "{text}");
        }
    }

    #[test]
    fn a_fault_is_reported_where_it_is() {
        refused("x", CONSTANT, 1, 1);
        refused("True", CONSTANT, 1, 1);
        refused("None", CONSTANT, 1, 1);
        refused("nulx", CONSTANT, 1, 4);
        refused("}", VALUE, 1, 1);
        refused("가", VALUE, 1, 1);
        refused("Ａ", VALUE, 1, 1);
        refused("'a'", QUOTES, 1, 1);
        refused("{'a':1}", QUOTES, 1, 2);
        refused("{a:1}", KEY, 1, 2);
        refused("{1:1}", KEY, 1, 2);
        refused("[1,]", TRAILING_COMMA, 1, 4);
        refused(r#"{"a":1,}"#, TRAILING_COMMA, 1, 8);
        refused(r#"{"a":]"#, VALUE, 1, 6);
        refused("[,", VALUE, 1, 2);
        refused(r#"{"a" 1}"#, COLON, 1, 6);
        refused("[1 2]", IN_ARRAY, 1, 4);
        refused("[1}", IN_ARRAY, 1, 3);
        refused(r#"{"a":1]"#, IN_OBJECT, 1, 7);
        refused(r#"["a":1]"#, IN_ARRAY, 1, 5);
        refused("01", LEADING_ZERO, 1, 2);
        refused("[-01]", LEADING_ZERO, 1, 4);
        refused("[1.]", DIGIT, 1, 4);
        refused("-x", DIGIT, 1, 2);
        refused("1e+ ", DIGIT, 1, 4);
        refused(".5", VALUE, 1, 1);
        refused("+1", VALUE, 1, 1);
        refused("\"a\tb\"", CONTROL, 1, 3);
        refused("\"a\n", CONTROL, 1, 3);
        refused(r#""\x""#, ESCAPE, 1, 3);
        refused(r#""\u12g4""#, HEX, 1, 6);
    }

    #[test]
    fn a_position_counts_lines_and_characters_from_the_value_s_start() {
        refused("{\"이름\": \"홍길동\" x}", IN_OBJECT, 1, 14);
        refused("{\r\n  \"이름\": \"😀\",\n  \"나\": }", VALUE, 3, 8);
        refused("[\n\n", UNFINISHED_VALUE, 3, 1);
        refused("[\"가\"", UNFINISHED_VALUE, 1, 5);
    }

    #[test]
    fn nan_and_infinity_are_refused_by_name() {
        for (text, message) in REFUSED {
            refused(text, message, 1, 1);
            refused(format!("[0, {text}]"), message, 1, 5);
        }
        refused("-Inf ", CONSTANT, 1, 1);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_refused_where_their_character_begins() {
        let cases: [&[u8]; 9] = [
            &[0x80],
            &[0xC0, 0x80],
            &[0xE0, 0x80],
            &[0xED, 0xA0, 0x80],
            &[0xF4, 0x90],
            &[0xF5],
            &[0xEA, 0xB0, b'x'],
            b"\xEA\"",
            &[0xFF],
        ];
        for bytes in cases {
            refused([b"[\"\xEA\xB0\x80", bytes].concat(), UTF8, 1, 4);
        }
        refused([0xFF], VALUE, 1, 1);
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        refused("\u{FEFF}{}", BYTE_ORDER_MARK, 1, 1);
        refused("\u{FEFE}", VALUE, 1, 1);
        refused("[\u{FEFF}]", VALUE, 1, 2);
    }

    #[test]
    fn what_is_unfinished_at_the_end_is_refused() {
        for number in ["-", "1.", "1e", "1e-"] {
            refused(number, UNFINISHED_NUMBER, 1, number.len() + 1);
        }
        for value in ["tru", "\"abc", "{\"a\"", "\"\\", "\"\\u00", "["] {
            refused(value, UNFINISHED_VALUE, 1, value.len() + 1);
        }
        refused("[1", UNFINISHED_NUMBER, 1, 3);
        assert_eq!(Automaton::default().finish(), None);
    }

    #[test]
    fn nesting_is_accepted_to_the_cap_and_no_deeper() {
        let deepest = "[".repeat(128) + &"]".repeat(128);
        assert_eq!(verdict(&deepest), (256, Ok(())));
        refused("[".repeat(129), TOO_DEEP, 1, 129);
        let objects = r#"{"":"#.repeat(128);
        assert_eq!(verdict(format!("{objects}1{}", "}".repeat(128))), (4 * 128 + 1 + 128, Ok(())));
        refused(format!("{objects}["), TOO_DEEP, 1, 4 * 128 + 1);
    }

    #[test]
    fn a_value_may_have_as_many_bytes_as_the_limit_and_no_more() {
        for value in ["[1,2]", "\"abc\"", "12345", "\"가\"", "\"\\\\b\""] {
            let followed = format!("{value} ");
            let mut automaton = Automaton::default();
            assert_eq!(automaton.feed(followed.as_bytes(), value.len()), (value.len(), Fed::Complete));
            let (used, fed) = automaton.feed(followed.as_bytes(), value.len() - 1);
            let Fed::Refused(error) = fed else { panic!("{value} is accepted") };
            assert_eq!((used, error.message), (value.len() - 1, TOO_LONG));
        }
    }

    #[test]
    fn after_a_fault_the_next_value_starts_afresh() {
        let mut automaton = Automaton::default();
        assert!(matches!(automaton.feed(b"{\n\"a\":[x", 1000), (7, Fed::Refused(_))));
        assert!(automaton.is_idle());
        assert_eq!(automaton.feed(b"{}", 1000), (2, Fed::Complete));
        let (_, Fed::Refused(error)) = automaton.feed(b"[x", 1000) else { panic!() };
        assert_eq!((error.line, error.column), (1, 2));
    }

    proptest! {
        /// Compares with the verdict of an independent parser, on text close to
        /// JSON.
        #[test]
        fn it_accepts_what_serde_json_accepts(text in r#"[\[\]{}:,"\\u0-2.eE+\-atrue \n가]{1,12}"#) {
            let text = format!("[{text}]");
            let (used, result) = verdict(&text);
            let accepted = result.is_ok() && used == text.len();
            // serde_json refuses lone surrogates, which Python accepts; this
            // alphabet has none.
            prop_assert_eq!(accepted, serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }

        #[test]
        fn a_byte_at_a_time_gives_the_same_verdict(bytes in prop::collection::vec(any::<u8>(), 0..12), text in r#"[\[{"]{1,3}[\]\[{}:,"0가 \n]{0,10}"#) {
            let bytes = [text.as_bytes(), &bytes].concat();
            let whole = Automaton::default().feed(&bytes, 15);
            let mut automaton = Automaton::default();
            let mut at = 0;
            let stepwise = loop {
                match automaton.feed(&bytes[at..bytes.len().min(at + 1)], 15) {
                    (used, Fed::More) if used > 0 => at += used,
                    (used, fed) => break (at + used, fed),
                }
            };
            prop_assert_eq!(whole, stepwise);
        }
    }
}
