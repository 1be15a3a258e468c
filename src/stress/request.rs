//! Sends a given message and checks the answer.

use std::time::Instant;

use regex_lite::Regex;

use super::link::Window;
use super::measure::Tally;

/// The longest answer, in bytes, that may still fail to match a pattern.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// What is sent, and what is expected.
#[derive(Debug)]
pub struct Request {
    pub message: Vec<u8>,
    pub expected: Expected,
}

#[derive(Debug, Clone)]
pub enum Expected {
    /// Exactly these bytes.
    Text(Vec<u8>),
    /// Everything that has come so far matches.
    Pattern(Regex),
    /// Whatever one read returns.
    Anything,
}

impl Request {
    /// Takes bytes from a stream. `answer` holds what has come of an incomplete
    /// answer.
    pub fn hear(
        &self,
        window: &mut Window,
        answer: &mut Vec<u8>,
        bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) {
        match &self.expected {
            Expected::Text(text) => hear_text(text, window, answer, bytes, now, tally),
            Expected::Pattern(pattern) => {
                answer.extend_from_slice(bytes);
                if pattern.is_match(&String::from_utf8_lossy(answer)) {
                    answer.clear();
                    right(window, now, tally);
                } else if answer.len() > LONGEST_ANSWER {
                    wrong(window, [answer, &[]], now, tally);
                    answer.clear();
                }
            }
            Expected::Anything => right(window, now, tally),
        }
    }

    /// Takes a datagram, which is a whole answer.
    pub fn hear_datagram(&self, window: &mut Window, datagram: &[u8], now: Instant, tally: &mut Tally) {
        let is_right = match &self.expected {
            Expected::Text(text) => datagram == text,
            Expected::Pattern(pattern) => pattern.is_match(&String::from_utf8_lossy(datagram)),
            Expected::Anything => true,
        };
        if is_right { right(window, now, tally) } else { wrong(window, [datagram, &[]], now, tally) }
    }

    /// Handles the server's close: nothing more can belong to the answer. A
    /// correct answer was recognised as soon as it was complete; only an empty
    /// one shows at the end.
    pub fn end(&self, window: &mut Window, answer: &mut Vec<u8>, now: Instant, tally: &mut Tally) {
        if !answer.is_empty() {
            wrong(window, [answer, &[]], now, tally);
            answer.clear();
        } else if matches!(&self.expected, Expected::Pattern(pattern) if pattern.is_match("")) {
            right(window, now, tally);
        }
    }
}

/// Goes through answers of known length, several of which may come at once.
fn hear_text(
    text: &[u8],
    window: &mut Window,
    answer: &mut Vec<u8>,
    mut bytes: &[u8],
    now: Instant,
    tally: &mut Tally,
) {
    let mut is_behind_answer = false;
    while !bytes.is_empty() {
        let count = (text.len() - answer.len()).min(bytes.len());
        let (part, rest) = bytes.split_at(count);
        if text[answer.len()..answer.len() + count] != *part {
            // Nobody can know where a wrong answer ends, so everything that came
            // is part of it. If no other answer is awaited, it began with the
            // correct one.
            let is_too_long = is_behind_answer && answer.is_empty() && window.in_flight.is_empty();
            wrong(window, [if is_too_long { text } else { answer }, bytes], now, tally);
            return answer.clear();
        }
        bytes = rest;
        if answer.len() + count < text.len() {
            answer.extend_from_slice(part);
        } else {
            answer.clear();
            right(window, now, tally);
            is_behind_answer = true;
        }
    }
}

/// Records a correct answer, which belongs to the oldest request.
fn right(window: &mut Window, now: Instant, tally: &mut Tally) {
    match window.in_flight.pop_front() {
        Some(message) => {
            window.corrupted_in_a_row = 0;
            tally.answered(&message, now);
        }
        None if window.forget_expired() => tally.counts.late_answers += 1,
        // Nobody asked for it.
        None => tally.counts.duplicated += 1,
    }
}

/// Records a wrong answer, given in two parts; the oldest request gets no other.
fn wrong(window: &mut Window, parts: [&[u8]; 2], now: Instant, tally: &mut Tally) {
    tally.wrong(parts);
    if let Some(message) = window.in_flight.pop_front() {
        tally.given_up(&message, now);
        tally.under_way -= 1;
        window.corrupted_in_a_row += 1;
    }
}

/// Reads a message from the command line: `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH`
/// have their meaning in C.
///
/// # Errors
/// Any other character after a backslash.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, used) = match rest {
            [b'n', ..] => (b'\n', 1),
            [b'r', ..] => (b'\r', 1),
            [b't', ..] => (b'\t', 1),
            [b'0', ..] => (0, 1),
            [b'\\', ..] => (b'\\', 1),
            [b'x', high, low, ..] => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => (high * 16 + low, 3),
                _ => return Err(bad_escape()),
            },
            _ => return Err(bad_escape()),
        };
        bytes.push(byte);
        rest = &rest[used..];
    }
    Ok(bytes)
}

/// Writes a message so that people can read it and [`unescape`] can read it back:
/// text as it is, and anything else as `\xHH`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' => text += "\\n",
                '\r' => text += "\\r",
                '\t' => text += "\\t",
                '\0' => text += "\\0",
                '\\' => text += "\\\\",
                _ if letter.is_control() => {
                    letter
                        .encode_utf8(&mut [0; 4])
                        .bytes()
                        .for_each(|byte| text += &format!("\\x{byte:02x}"));
                }
                _ => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text += &format!("\\x{byte:02x}"));
    }
    text
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

fn bad_escape() -> String {
    "a backslash must be followed by n, r, t, 0, xHH or another backslash".into()
}

#[cfg(test)]
mod tests {
    use super::super::measure::WRONG_ANSWER_KEPT;
    use super::*;

    fn talk(expected: Expected, requests: usize, reads: &[&str]) -> (u64, u64, u64) {
        let request = Request { message: Vec::new(), expected };
        let (mut window, mut answer, now) = (Window::default(), Vec::new(), Instant::now());
        let mut tally = Tally { under_way: requests as u64, ..Tally::default() };
        (0..requests).for_each(|_| {
            window.send(now, now);
        });
        for read in reads {
            request.hear(&mut window, &mut answer, read.as_bytes(), now, &mut tally);
        }
        (tally.counts.answered, tally.counts.corrupted, tally.under_way)
    }

    #[test]
    fn a_text_is_found_however_it_is_cut() {
        let text = || Expected::Text(b"SEVEN".to_vec());
        assert_eq!(talk(text(), 2, &["SEVENSEVEN"]), (2, 0, 0));
        assert_eq!(talk(text(), 2, &["SE", "VENSEV", "EN"]), (2, 0, 0));
        assert_eq!(talk(text(), 2, &["SE", "VEX", "SEVEN"]), (1, 1, 0));
    }

    #[test]
    fn a_pattern_waits_until_it_matches() {
        let pattern = || Expected::Pattern(Regex::new("^\\{.*\\}$").unwrap());
        assert_eq!(talk(pattern(), 1, &["{\"a\"", ": 1", "}"]), (1, 0, 0));
        assert_eq!(talk(pattern(), 1, &["{\"a\""]), (0, 0, 1));
    }

    #[test]
    fn an_answer_that_comes_late_is_no_duplicate() {
        let request = Request { message: Vec::new(), expected: Expected::Anything };
        let (mut window, now) = (Window::default(), Instant::now());
        let mut tally = Tally { under_way: 1, ..Tally::default() };
        window.send(now, now);
        window.expire(Instant::now(), &mut tally);
        request.hear_datagram(&mut window, b"late", now, &mut tally);
        request.hear_datagram(&mut window, b"again", now, &mut tally);
        assert_eq!((tally.counts.late_answers, tally.counts.duplicated), (1, 1));
    }

    #[test]
    fn the_first_wrong_answer_is_kept_from_its_beginning() {
        let request = Request { message: Vec::new(), expected: Expected::Text(b"seven".to_vec()) };
        let (mut window, mut answer, now) = (Window::default(), Vec::new(), Instant::now());
        let mut tally = Tally { under_way: 2, ..Tally::default() };
        (0..2).for_each(|_| {
            window.send(now, now);
        });
        for read in ["sev", "eral\n", "eight"] {
            request.hear(&mut window, &mut answer, read.as_bytes(), now, &mut tally);
        }
        assert_eq!((tally.counts.corrupted, tally.under_way), (2, 0));
        assert_eq!(tally.wrong_answer.as_deref(), Some(&b"several\n"[..]));
        request.hear_datagram(&mut window, b"nine", now, &mut tally);
        assert_eq!(tally.wrong_answer.as_deref(), Some(&b"several\n"[..]));
        let mut tally = Tally::default();
        request.hear_datagram(&mut window, &[7; 5000], now, &mut tally);
        assert_eq!(tally.wrong_answer.map(|answer| answer.len()), Some(WRONG_ANSWER_KEPT));
    }

    #[test]
    fn an_answer_that_is_too_long_is_shown_from_its_beginning() {
        let request = Request { message: Vec::new(), expected: Expected::Text(b"pong".to_vec()) };
        for (requests, reads, shown) in
            [(1, &["pong\n"][..], "pong\n"), (1, &["po", "ng\n"], "pong\n"), (2, &["pongdong"], "dong")]
        {
            let (mut window, mut answer, now) = (Window::default(), Vec::new(), Instant::now());
            let mut tally = Tally { under_way: requests, ..Tally::default() };
            (0..requests).for_each(|_| {
                window.send(now, now);
            });
            for read in reads {
                request.hear(&mut window, &mut answer, read.as_bytes(), now, &mut tally);
            }
            assert_eq!(tally.wrong_answer.as_deref(), Some(shown.as_bytes()), "{reads:?}");
            assert_eq!((tally.counts.answered, tally.counts.corrupted), (1, 1));
        }
    }

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape(r"a\n\x00\\\t안녕").unwrap(), "a\n\0\\\t안녕".as_bytes());
        for wrong in [r"\q", r"\", r"\x4", r"\xgg"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
        assert_eq!(escape("a\n\0\\\t안녕\u{85}\x1b".as_bytes()), r"a\n\0\\\t안녕\xc2\x85\x1b");
        assert_eq!(escape(b"\xff\xec\x95"), r"\xff\xec\x95");
    }

    proptest::proptest! {
        #[test]
        fn what_is_escaped_is_read_back(bytes: Vec<u8>) {
            proptest::prop_assert_eq!(unescape(&escape(&bytes)), Ok(bytes));
        }
    }
}
