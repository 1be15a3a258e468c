//! A message that was asked, and how one can tell that its answer is there.
//!
//! TCP does not say where an answer ends. Where the answer is known before, or
//! shows its own end, that is what counts; only where it does not has it ended
//! when nothing came for a while.

use onepoll::wire::json::{JsonStep, JsonStream, Pending};
use onepoll::wire::text::strip_line_end;

use super::ask::Question;

/// What a number server says.
const WORDS: [&str; 11] =
    ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "Try again"];

/// A message on its way, and what came back so far.
///
/// Give [`hear`](Asked::hear) what comes; after each piece ask
/// [`is_whole`](Asked::is_whole), after a silence
/// [`must_go_on`](Asked::must_go_on), and at the end for the
/// [`flaw`](Asked::flaw).
pub struct Asked {
    pub message: Vec<u8>,
    pub answer: Vec<u8>,
    /// No byte of the answer came for a while.
    pub was_quiet: bool,
    /// It was sent twice, since the server had closed meanwhile.
    pub again: bool,
    expected: Expected,
}

/// What is known of the answer before it comes.
enum Expected {
    /// The message comes back.
    Echo,
    /// This comes back, if the server knows the same letters as this program.
    Upper(Vec<u8>),
    /// One of [`WORDS`].
    Word,
    /// One value.
    Json { stream: JsonStream, found: Found },
    /// Nothing.
    Anything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Value,
    NoJson,
}

impl Asked {
    /// A message that was not answered yet.
    pub fn new(question: Question, message: Vec<u8>) -> Asked {
        let expected = match question {
            Question::Echo => Expected::Echo,
            Question::Upper => Expected::Upper(upper_case(&message)),
            Question::Number => Expected::Word,
            Question::Json => Expected::Json { stream: JsonStream::default(), found: Found::Nothing },
            Question::Time | Question::Hello => Expected::Anything,
        };
        Asked { message, answer: Vec::new(), was_quiet: false, again: false, expected }
    }

    /// Takes in some of the answer.
    pub fn hear(&mut self, mut bytes: &[u8]) {
        self.was_quiet = false;
        if self.answer.is_empty() && matches!(self.expected, Expected::Word | Expected::Json { .. }) {
            // A line end that comes late belongs to the answer before.
            bytes = bytes.trim_ascii_start();
        }
        self.answer.extend_from_slice(bytes);
        let Expected::Json { stream, found } = &mut self.expected else { return };
        while *found == Found::Nothing {
            let (used, step) = stream.next(bytes, 0);
            bytes = &bytes[used..];
            match step {
                JsonStep::Value(_) => *found = Found::Value,
                JsonStep::Error(_) => *found = Found::NoJson,
                JsonStep::Incomplete => break,
            }
        }
    }

    /// Nothing more can belong to the answer.
    pub fn is_whole(&self) -> bool {
        match &self.expected {
            Expected::Echo => self.answer == self.message,
            Expected::Upper(expected) => self.answer == *expected,
            Expected::Word => {
                let word = strip_line_end(&self.answer);
                WORDS.iter().any(|known| known.as_bytes() == word)
            }
            Expected::Json { found, .. } => *found == Found::Value,
            Expected::Anything => false,
        }
    }

    /// Something must be missing, however long the server is silent.
    pub fn must_go_on(&self) -> bool {
        match &self.expected {
            Expected::Echo => is_beginning(&self.answer, &self.message),
            Expected::Upper(expected) => is_beginning(&self.answer, expected),
            Expected::Word => WORDS.iter().any(|known| is_beginning(&self.answer, known.as_bytes())),
            // A bare number does not show its end.
            Expected::Json { stream, found } => {
                *found == Found::Nothing && stream.pending() != Pending::Number
            }
            Expected::Anything => false,
        }
    }

    /// What is wrong with an answer after which nothing more comes.
    pub fn flaw(&self) -> Option<String> {
        let (came, sent) = (self.answer.len(), self.message.len());
        match &self.expected {
            Expected::Echo if self.answer != self.message => Some(format!(
                "sent {came} bytes that differ from the {sent} bytes it was sent: it is no echo server"
            )),
            Expected::Upper(_) => {
                // A server with other tables answers something else, as in
                // another version of Unicode; but none has fewer characters.
                let came = String::from_utf8_lossy(&self.answer).chars().count();
                let sent = self.message.utf8_chunks().map(|chunk| chunk.valid().chars().count()).sum();
                (self.must_go_on() || came < sent).then(|| {
                    format!("answered {came} characters to {sent}, so that some are missing: send shorter messages")
                })
            }
            Expected::Word | Expected::Json { .. } if self.must_go_on() => {
                Some(format!("ended after {came} bytes of its answer, which is cut"))
            }
            _ => None,
        }
    }
}

/// Whether `all` has more than `answer`, which it begins with.
fn is_beginning(answer: &[u8], all: &[u8]) -> bool {
    answer.len() < all.len() && all.starts_with(answer)
}

/// What an upper server makes of a message: bytes that are not UTF-8 stay.
fn upper_case(message: &[u8]) -> Vec<u8> {
    let upper =
        |chunk: std::str::Utf8Chunk<'_>| [chunk.valid().to_uppercase().as_bytes(), chunk.invalid()].concat();
    message.utf8_chunks().flat_map(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(question: Question, message: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) -> Asked {
        let mut asked = Asked::new(question, message.as_ref().to_vec());
        asked.hear(answer.as_ref());
        asked
    }

    #[test]
    fn an_echo_is_whole_when_all_is_back_and_goes_on_until_then() {
        assert!(asked(Question::Echo, "안녕", "안녕").is_whole());
        assert!(asked(Question::Echo, "안녕", "안").must_go_on());
        assert!(!asked(Question::Echo, "안녕", "아니").must_go_on());
        assert!(asked(Question::Echo, "안녕", "아니").flaw().is_some());
    }

    #[test]
    fn upper_case_is_whole_when_its_last_letter_is_there() {
        assert!(asked(Question::Upper, "straße", "STRASSE").is_whole());
        assert!(asked(Question::Upper, "straße", "STRASS").must_go_on());
        assert!(asked(Question::Upper, b"a\xFFb", b"A\xFFB").is_whole());
    }

    #[test]
    fn only_upper_case_that_lacks_characters_is_flawed() {
        let flaw = |message: &str, answer: &[u8]| asked(Question::Upper, message, answer).flaw();
        assert_eq!(flaw("straße", "STRASSE".as_bytes()), None);
        // Of a server that knows only ASCII, or other letters, or adds a line end.
        assert_eq!(flaw("straße", "STRAßE".as_bytes()), None);
        assert_eq!(flaw("ꟊa", "ꟊA".as_bytes()), None);
        assert_eq!(flaw("a", b"A\n"), None);
        // ı and ſ take two bytes, I and S one.
        assert_eq!(flaw("ıſ", b"IS"), None);
        for cut in ["STRASS".as_bytes(), b"STRA", b"stra", "가".as_bytes()] {
            assert!(flaw("straße", cut).is_some(), "{cut:?}");
        }
        assert!(flaw("안녕", &"안녕".as_bytes()[..5]).is_some());
    }

    #[test]
    fn a_number_word_is_whole_at_its_last_letter() {
        for word in WORDS {
            for cut in 0..word.len() {
                assert!(asked(Question::Number, "7", &word[..cut]).must_go_on(), "{word} {cut}");
                assert!(!asked(Question::Number, "7", &word[..cut]).is_whole(), "{word} {cut}");
            }
            assert!(asked(Question::Number, "7", word).is_whole());
            assert!(asked(Question::Number, "7", format!("{word}\r\n")).is_whole());
        }
        // Nobody knows where another server's word ends.
        let other = asked(Question::Number, "7", "일곱");
        assert!(!other.is_whole() && !other.must_go_on() && other.flaw().is_none());
    }

    #[test]
    fn json_goes_on_until_its_value_is_closed() {
        let json = |answer: &str| asked(Question::Json, "[]", answer);
        assert!(json(r#"{"a": [1"#).must_go_on());
        assert!(json(r#"{"a": [1"#).flaw().is_some());
        assert!(json(r#"{"a": [1]}"#).is_whole());
        assert!(json("\n").must_go_on());
        for open in ["1", "no json"] {
            assert!(!json(open).must_go_on() && !json(open).is_whole(), "{open}");
        }
    }

    #[test]
    fn a_line_end_that_comes_late_is_no_part_of_the_next_answer() {
        assert_eq!(asked(Question::Json, "1", "\n[2]").answer, b"[2]");
        assert_eq!(asked(Question::Number, "1", "\none").answer, b"one");
        assert_eq!(asked(Question::Echo, "\na", "\na").answer, b"\na");
    }

    proptest! {
        #[test]
        fn a_json_answer_is_whole_at_its_last_byte_at_any_split(text in "\\{\"[가a]{1,3}\": \\[[1-9]{1,3}\\]\\}") {
            let mut asked = Asked::new(Question::Json, b"[]".to_vec());
            for (at, byte) in text.bytes().enumerate() {
                asked.hear(&[byte]);
                prop_assert_eq!(asked.is_whole(), at + 1 == text.len());
                prop_assert_eq!(asked.must_go_on(), at + 1 < text.len());
            }
        }
    }
}
