//! Requests for files and their answers, each in a line of its own.
//!
//! A name is the last field of its line and runs to the line's end, so it may contain
//! spaces. The contents of a file follow a line that has told their length, and are no
//! concern of this module.

use std::fmt;

/// A SHA-256 sum.
pub type Sha256 = [u8; 32];

/// The code for a line that is no request.
pub const BAD_REQUEST: &str = "bad-request";
/// The code for an offset behind the end of the file.
pub const BAD_OFFSET: &str = "bad-offset";
/// The code for contents that end early.
pub const INCOMPLETE: &str = "incomplete";
/// The code for a server that has too much to do.
pub const BUSY: &str = "busy";

/// Every code of `ERR`, and what it means.
pub const CODES: [(&str, &str); 17] = [
    (BAD_REQUEST, "the line is no request, is too long, or was not finished in time"),
    (BAD_OFFSET, "the offset is behind the end of the file"),
    (BUSY, "the server has too much to do or too many files open; try again later"),
    ("not-found", "there is no regular file of that name"),
    ("denied", "the server itself may not read that file"),
    ("bad-name", "no file can have that name here"),
    ("changed", "the file changed while its sum was computed"),
    ("read-only", "files cannot be stored here"),
    ("too-large", "the file is longer than `max_file_size`"),
    ("no-room", "the file does not fit into `max_total_size`, or the disk is full"),
    ("too-many-files", "there are `max_files` files already"),
    ("taken", "that name and its numbered forms are taken"),
    ("wrong-sum", "the contents do not have the SHA-256 that was given"),
    ("wrong-size", "the contents do not have the length that was given"),
    (INCOMPLETE, "the client half-closed before all contents had come, or nothing of them came for 60 s"),
    ("unavailable", "the server cannot open the folder of its files"),
    ("io", "the server's disk has failed"),
];

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Which files there are.
    List,
    /// The contents of a file from this offset on.
    Get {
        /// Where to begin.
        offset: u64,
        /// The file's name, as it came.
        name: &'a [u8],
    },
    /// The size and the SHA-256 of a file.
    Sum {
        /// The file's name, as it came.
        name: &'a [u8],
    },
    /// To store a file, whose contents come after the answer.
    Put {
        /// How many bytes will come.
        size: u64,
        /// What they must add up to, if the client says so.
        sha256: Option<Sha256>,
        /// The file's name, as it came.
        name: &'a [u8],
    },
}

/// What [`next_request`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A request. Another one may follow.
    Request(Request<'a>),
    /// A line that is no request.
    Bad(BadRequest),
    /// The line is not complete yet.
    Incomplete,
    /// The line is longer than allowed.
    TooLong,
}

/// Why a line is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRequest {
    /// What is wrong, as a sentence.
    pub why: &'static str,
    /// Whether it may have meant to store a file: what follows may be contents then, and
    /// no requests.
    pub is_put: bool,
}

/// What the first input of a connection says about the rest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It begins with a verb.
    Framed,
    /// It does not.
    Plain,
    /// It may still become a verb.
    Unclear,
}

const WITH_NAME: [&[u8]; 3] = [b"GET ", b"SUM ", b"PUT "];
const ALONE: [&[u8]; 2] = [b"LIST\n", b"LIST\r\n"];

impl Opening {
    /// Judges all input that has come so far.
    pub fn of(input: &[u8]) -> Opening {
        let verbs = || WITH_NAME.iter().chain(&ALONE);
        if verbs().any(|verb| input.starts_with(verb)) {
            Opening::Framed
        } else if verbs().any(|verb| verb.starts_with(input)) {
            Opening::Unclear
        } else {
            Opening::Plain
        }
    }
}

/// Takes the first request off `unread`, and says how many bytes it took. A line of more
/// than `limit` bytes is too long.
pub fn next_request(unread: &[u8], limit: usize) -> (usize, Step<'_>) {
    match line(unread, limit) {
        (used, Line::Whole(line)) => match request(line) {
            Ok(request) => (used, Step::Request(request)),
            Err(bad) => (used, Step::Bad(bad)),
        },
        (used, Line::Incomplete) => (used, Step::Incomplete),
        (used, Line::TooLong) => (used, Step::TooLong),
    }
}

/// Reads what is unread when nothing more can come: a request without a line end.
pub fn last_request(unread: &[u8], limit: usize) -> Step<'_> {
    match request(unread.strip_suffix(b"\r").unwrap_or(unread)) {
        _ if unread.len() > limit => Step::TooLong,
        Ok(request) => Step::Request(request),
        Err(bad) => Step::Bad(bad),
    }
}

/// What [`line()`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line, without its line end.
    Whole(&'a [u8]),
    /// Its end has not come yet.
    Incomplete,
    /// It is longer than allowed.
    TooLong,
}

/// Takes the first line off `unread`, and says how many bytes it took. LF ends a line, and
/// so does CR LF.
pub fn line(unread: &[u8], limit: usize) -> (usize, Line<'_>) {
    let end = unread.iter().position(|byte| *byte == b'\n');
    let shown = &unread[..end.unwrap_or(unread.len())];
    let text = shown.strip_suffix(b"\r").unwrap_or(shown);
    match end {
        _ if text.len() > limit => (unread.len(), Line::TooLong),
        Some(end) => (end + 1, Line::Whole(text)),
        None => (0, Line::Incomplete),
    }
}

fn request(line: &[u8]) -> Result<Request<'_>, BadRequest> {
    let (verb, rest) = field(line);
    let bad = |why| BadRequest { why, is_put: verb == b"PUT" };
    match verb {
        b"LIST" if rest.is_none() => Ok(Request::List),
        b"LIST" => Err(bad("nothing may follow LIST")),
        b"GET" => {
            let form = "write GET <offset> <name>, with an offset of 0 for the whole file";
            let (offset, name) = rest.map(field).and_then(with_name).ok_or(bad(form))?;
            let offset = number(offset).ok_or(bad(form))?;
            Ok(Request::Get { offset, name })
        }
        b"SUM" => {
            let name = rest.ok_or(bad("write SUM <name>"))?;
            Ok(Request::Sum { name })
        }
        b"PUT" => {
            let form = "write PUT <size> <sha256> <name>, with - for a sum that is not known";
            let (size, rest) = rest.map(field).and_then(with_name).ok_or(bad(form))?;
            let (sum, name) = with_name(field(rest)).ok_or(bad(form))?;
            let size = number(size).ok_or(bad(form))?;
            let sha256 = match sum {
                b"-" => None,
                sum => {
                    Some(parse_sum(sum).ok_or(bad("a SHA-256 is 64 hexadecimal digits, or - if unknown"))?)
                }
            };
            Ok(Request::Put { size, sha256, name })
        }
        _ => Err(bad("the requests are LIST, GET, SUM and PUT")),
    }
}

/// The bytes up to the first space, and what follows that space.
fn field(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|byte| *byte == b' ') {
        Some(end) => (&line[..end], Some(&line[end + 1..])),
        None => (line, None),
    }
}

fn with_name<'a>((field, name): (&'a [u8], Option<&'a [u8]>)) -> Option<(&'a [u8], &'a [u8])> {
    Some((field, name?))
}

/// A number in digits alone: no sign, no spaces.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A sum in 64 hexadecimal digits.
pub fn parse_sum(digits: &[u8]) -> Option<Sha256> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let mut sum = [0; 32];
    if pairs.len() != sum.len() {
        return None;
    }
    for (byte, [high, low]) in sum.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(sum)
}

/// A sum as it is written: 64 digits in lower case.
pub fn format_sum(sum: &Sha256) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    sum.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The first line of an answer, without its line end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'a> {
    /// To LIST: so many entries follow, a line each.
    Entries(u64),
    /// To GET: the size of the whole file. Its bytes from the offset on follow.
    Size(u64),
    /// To SUM.
    Sum {
        /// The size of the file.
        size: u64,
        /// The sum of its contents.
        sha256: Sha256,
    },
    /// To PUT: the contents may come.
    Send,
    /// To the contents: they are stored under this name.
    Stored(&'a str),
    /// Why not.
    Refused {
        /// A word for programs.
        code: &'a str,
        /// A sentence for people.
        why: &'a str,
    },
}

/// What an answer is about, without which its first line has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// LIST.
    List,
    /// GET.
    Get,
    /// SUM.
    Sum,
    /// PUT, before its contents.
    Put,
    /// The contents of a PUT.
    Contents,
}

impl<'a> Answer<'a> {
    /// Reads the first line of an answer; `None` if it is none to such a request.
    pub fn read(line: &'a [u8], about: About) -> Option<Answer<'a>> {
        let line = std::str::from_utf8(line).ok()?;
        if let Some(refusal) = line.strip_prefix("ERR ") {
            let (code, why) = refusal.split_once(' ').unwrap_or((refusal, ""));
            return Some(Answer::Refused { code, why });
        }
        let rest = line.strip_prefix("OK ")?;
        match about {
            About::List => number(rest.as_bytes()).map(Answer::Entries),
            About::Get => number(rest.as_bytes()).map(Answer::Size),
            About::Sum => {
                let (size, sum) = rest.split_once(' ')?;
                let (size, sha256) = (number(size.as_bytes())?, parse_sum(sum.as_bytes())?);
                Some(Answer::Sum { size, sha256 })
            }
            About::Put => (rest == "send").then_some(Answer::Send),
            About::Contents => Some(Answer::Stored(rest)),
        }
    }
}

impl fmt::Display for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Entries(count) => write!(f, "OK {count}"),
            Answer::Size(size) => write!(f, "OK {size}"),
            Answer::Sum { size, sha256 } => write!(f, "OK {size} {}", format_sum(sha256)),
            Answer::Send => write!(f, "OK send"),
            Answer::Stored(name) => write!(f, "OK {name}"),
            Answer::Refused { code, why } => write!(f, "ERR {code} {why}"),
        }
    }
}

/// A line of the answer to LIST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The size of the file.
    pub size: u64,
    /// Its name.
    pub name: &'a str,
}

impl<'a> Entry<'a> {
    /// Reads such a line; `None` if it is none.
    pub fn read(line: &'a [u8]) -> Option<Entry<'a>> {
        let (size, name) = std::str::from_utf8(line).ok()?.split_once(' ')?;
        Some(Entry { size: number(size.as_bytes())?, name })
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.size, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn one(line: &str) -> Step<'_> {
        let (used, step) = next_request(line.as_bytes(), 1000);
        assert_eq!(used, line.len(), "{line:?}");
        step
    }

    #[test]
    fn requests_are_read_with_any_line_end_and_names_with_spaces() {
        let sha256 = parse_sum(SUM.as_bytes());
        for end in ["\n", "\r\n"] {
            for (text, request) in [
                ("LIST".to_owned(), Request::List),
                (
                    "GET 0 수업 자료.pdf".to_owned(),
                    Request::Get { offset: 0, name: "수업 자료.pdf".as_bytes() },
                ),
                ("GET 17  a ".to_owned(), Request::Get { offset: 17, name: b" a " }),
                ("SUM a b".to_owned(), Request::Sum { name: b"a b" }),
                ("SUM ".to_owned(), Request::Sum { name: b"" }),
                ("PUT 5 - a".to_owned(), Request::Put { size: 5, sha256: None, name: b"a" }),
                (format!("PUT 0 {SUM} a"), Request::Put { size: 0, sha256, name: b"a" }),
                (
                    format!("PUT {} {} \u{FF}", u64::MAX, SUM.to_uppercase()),
                    Request::Put { size: u64::MAX, sha256, name: "\u{FF}".as_bytes() },
                ),
            ] {
                assert_eq!(one(&format!("{text}{end}")), Step::Request(request));
            }
        }
    }

    #[test]
    fn what_is_no_request_is_told_from_what_may_have_contents_behind_it() {
        for (line, is_put) in [
            ("", false),
            ("list", false),
            ("LIST ", false),
            ("LIST all", false),
            ("GET", false),
            ("GET a", false),
            ("GET 0", false),
            ("GET +1 a", false),
            ("GET -1 a", false),
            ("GET 1.5 a", false),
            ("GET  a", false),
            ("GET 18446744073709551616 a", false),
            ("SUM", false),
            ("DELETE a", false),
            ("PUT", true),
            ("PUT 5", true),
            ("PUT 5 -", true),
            ("PUT x - a", true),
            ("PUT 5 abc a", true),
            ("PUTS 5 - a", false),
        ] {
            match one(&format!("{line}\n")) {
                Step::Bad(bad) => assert_eq!(bad.is_put, is_put, "{line}"),
                step => panic!("{line:?} was read as {step:?}"),
            }
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(next_request(b"SUM a\r\nLIST\n", 5), (7, Step::Request(Request::Sum { name: b"a" })));
        assert_eq!(next_request(b"SUM a\r", 5), (0, Step::Incomplete));
        assert_eq!(next_request(b"SUM ab", 5), (6, Step::TooLong));
        assert_eq!(next_request(b"SUM ab\n", 5), (7, Step::TooLong));
    }

    #[test]
    fn a_first_input_is_framed_if_it_begins_with_a_verb() {
        for framed in ["LIST\n", "LIST\r\nLIST\n", "GET 0", "GET ", "SUM a\n", "PUT 1 - a\n"] {
            assert_eq!(Opening::of(framed.as_bytes()), Opening::Framed, "{framed:?}");
        }
        for plain in ["I am ready", "\n", "LISTEN", "LIST a", "GETTER", "get 0 a\n", "안녕", "LIST\r\r"] {
            assert_eq!(Opening::of(plain.as_bytes()), Opening::Plain, "{plain:?}");
        }
        for unclear in ["", "L", "LIST", "LIST\r", "G", "GET", "S", "PU"] {
            assert_eq!(Opening::of(unclear.as_bytes()), Opening::Unclear, "{unclear:?}");
        }
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        let sha256 = parse_sum(SUM.as_bytes()).unwrap();
        for (answer, about, text) in [
            (Answer::Entries(3), About::List, "OK 3".to_owned()),
            (Answer::Size(u64::MAX), About::Get, format!("OK {}", u64::MAX)),
            (Answer::Sum { size: 0, sha256 }, About::Sum, format!("OK 0 {SUM}")),
            (Answer::Send, About::Put, "OK send".to_owned()),
            (Answer::Stored("과제 (2).txt"), About::Contents, "OK 과제 (2).txt".to_owned()),
            (
                Answer::Refused { code: "not-found", why: "there is no such file" },
                About::Get,
                "ERR not-found there is no such file".to_owned(),
            ),
        ] {
            assert_eq!(answer.to_string(), text);
            assert_eq!(Answer::read(text.as_bytes(), about), Some(answer));
        }
        let entry = Entry { size: 12, name: "a b" };
        assert_eq!(Entry::read(entry.to_string().as_bytes()), Some(entry));
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for (line, about) in [
            ("", About::List),
            ("OK", About::List),
            ("OK -1", About::List),
            ("ok 1", About::Get),
            ("OK 1", About::Sum),
            ("OK 1 abc", About::Sum),
            ("OK sent", About::Put),
        ] {
            assert_eq!(Answer::read(line.as_bytes(), about), None, "{line:?}");
        }
        assert_eq!(Answer::read(b"OK \xFF", About::Contents), None);
        assert_eq!(Entry::read(b"a b"), None);
        assert_eq!(parse_sum(&[b'0'; 63]), None);
        assert_eq!(parse_sum(&[b'0'; 66]), None);
    }

    #[test]
    fn what_a_half_close_cuts_off_is_a_request_too() {
        assert_eq!(last_request(b"SUM a\r", 10), Step::Request(Request::Sum { name: b"a" }));
        assert!(matches!(last_request(b"SU", 10), Step::Bad(_)));
        assert_eq!(last_request(b"SUM abcdefg", 10), Step::TooLong);
    }

    #[test]
    fn every_code_is_one_word_and_listed_once() {
        for (code, _) in CODES {
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
            assert_eq!(CODES.iter().filter(|(other, _)| *other == code).count(), 1, "{code}");
        }
    }

    /// All requests in `pieces`, each piece shown behind what was left unread.
    fn heard<'a>(pieces: impl Iterator<Item = &'a [u8]>, limit: usize) -> (Vec<String>, usize) {
        let (mut unread, mut steps) = (Vec::new(), Vec::new());
        for piece in pieces {
            unread.extend_from_slice(piece);
            loop {
                let (used, step) = next_request(&unread, limit);
                match step {
                    Step::Incomplete => break,
                    step => steps.push(format!("{step:?}")),
                }
                unread.drain(..used);
                if steps.last().is_some_and(|step| step == "TooLong") {
                    return (steps, 0);
                }
            }
        }
        (steps, unread.len())
    }

    proptest! {
        #[test]
        fn requests_are_the_same_at_every_split(
            text in prop::collection::vec(
                prop::sample::select(vec![
                    "LIST\n", "LIST\r\n", "GET 0 a b\n", "GET 99 가.txt\r\n", "SUM x\n", "PUT 3 - y\n",
                    "\n", "\r", "?", "PUT 1 zz q\n", "SUM \r\r\n",
                ]),
                0..8,
            ),
        ) {
            let text = text.concat();
            let text = text.as_bytes();
            let whole = heard([text].into_iter(), 40);
            prop_assert_eq!(&heard(text.chunks(1), 40), &whole);
            for cut in 0..=text.len() {
                let (first, second) = text.split_at(cut);
                prop_assert_eq!(&heard([first, second].into_iter(), 40), &whole);
            }
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..80), limit in 1usize..60) {
            let (used, step) = next_request(&bytes, limit);
            prop_assert!(used <= bytes.len());
            prop_assert_eq!(used == 0, step == Step::Incomplete);
            for about in [About::List, About::Get, About::Sum, About::Put, About::Contents] {
                let _ = Answer::read(&bytes, about);
            }
            let _ = (Entry::read(&bytes), Opening::of(&bytes));
        }

        #[test]
        fn sums_come_back(sum in any::<[u8; 32]>()) {
            prop_assert_eq!(parse_sum(format_sum(&sum).as_bytes()), Some(sum));
        }
    }
}
