//! A message that was sent, and how to tell that its answer is complete.
//!
//! TCP does not mark where an answer ends. If the answer is known in advance, or
//! marks its own end, that decides; otherwise it is over after a silence.

use onepoll::wire::answers::{NUMBER_ANSWERS, number_word, upper_case};
use onepoll::wire::json::{JsonStep, JsonStream, JsonText, Pending};
use onepoll::wire::text::strip_line_end;
use onepoll::wording::counted;

use super::screen::visible_line;

/// The most characters that an error message quotes.
const LONGEST_EXCERPT: usize = 40;

/// A message that was sent, and what has come back so far.
///
/// Pass what comes to [`hear`](Asked::hear). After each piece, ask whether the answer
/// [is whole](Asked::is_whole), [is wrong](Asked::is_wrong) already, or
/// [must go on](Asked::must_go_on), and for the [`flaw`](Asked::flaw) at the end.
pub struct Asked {
    pub message: Vec<u8>,
    pub answer: Vec<u8>,
    /// Whether it was sent twice, since the server had closed meanwhile.
    pub again: bool,
    expected: Expected,
}

/// What is known about an answer in advance.
pub enum Expected {
    /// The message itself comes back.
    Same,
    /// The message comes back in upper case, which is this.
    Upper(Vec<u8>),
    /// This one of [`NUMBER_ANSWERS`].
    Word(&'static [u8]),
    /// A JSON value.
    Json(Json),
    /// Text of any length, or one datagram.
    Anything,
}

/// What has been found of a JSON value so far.
#[derive(Default)]
pub struct Json {
    stream: JsonStream,
    found: Found,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Found {
    #[default]
    Nothing,
    Value,
    NoJson,
}

impl Expected {
    /// The upper case of a message.
    pub fn upper_case_of(message: &[u8]) -> Expected {
        let mut expected = Vec::new();
        upper_case(message, &mut expected);
        Expected::Upper(expected)
    }

    /// The word for a number.
    pub fn word_for(message: &[u8]) -> Expected {
        Expected::Word(number_word(message))
    }

    /// A late line end belongs to the previous answer, which was complete
    /// without it, and not to the next one.
    pub fn forgives_line_ends(&self) -> bool {
        matches!(self, Expected::Upper(_) | Expected::Word(_) | Expected::Json(_))
    }
}

impl Asked {
    /// A message that has not been answered yet.
    pub fn new(message: Vec<u8>, expected: Expected) -> Asked {
        Asked { message, answer: Vec::new(), again: false, expected }
    }

    /// Takes a piece of the answer.
    pub fn hear(&mut self, mut bytes: &[u8]) {
        if self.answer.is_empty() && matches!(self.expected, Expected::Word(_) | Expected::Json(_)) {
            // A line end that comes late belongs to the previous answer.
            bytes = bytes.trim_ascii_start();
        }
        self.answer.extend_from_slice(bytes);
        let Expected::Json(Json { stream, found }) = &mut self.expected else { return };
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

    /// Whether the answer is complete: nothing more can belong to it.
    pub fn is_whole(&self) -> bool {
        match &self.expected {
            Expected::Same => self.answer == self.message,
            Expected::Upper(expected) => self.answer == *expected,
            Expected::Word(_) => {
                let word = strip_line_end(&self.answer);
                NUMBER_ANSWERS.iter().any(|known| known.as_bytes() == word)
            }
            Expected::Json(json) => json.found == Found::Value,
            Expected::Anything => false,
        }
    }

    /// Whether the answer is wrong, whatever else may come. The word for another number is
    /// heard to its end, so that it can be quoted.
    pub fn is_wrong(&self) -> bool {
        match &self.expected {
            Expected::Same => !self.message.starts_with(&self.answer),
            Expected::Upper(expected) => !self.may_become(expected),
            Expected::Word(_) => !NUMBER_ANSWERS.iter().any(|known| self.may_become(known.as_bytes())),
            Expected::Json(json) => json.found == Found::NoJson,
            Expected::Anything => false,
        }
    }

    /// Whether the answer can still turn out to be this, with or without a line end.
    fn may_become(&self, expected: &[u8]) -> bool {
        match self.answer.strip_prefix(expected) {
            Some(rest) => b"\r\n".starts_with(rest) || rest == b"\n",
            None => expected.starts_with(&self.answer),
        }
    }

    /// Whether the answer is certainly incomplete, however long the server is silent.
    pub fn must_go_on(&self) -> bool {
        match &self.expected {
            Expected::Same => is_beginning(&self.answer, &self.message),
            Expected::Upper(expected) => is_beginning(&self.answer, expected),
            Expected::Word(_) => {
                NUMBER_ANSWERS.iter().any(|known| is_beginning(&self.answer, known.as_bytes()))
            }
            // A bare number does not show its end.
            Expected::Json(Json { stream, found }) => {
                *found == Found::Nothing && stream.pending() != Pending::Number
            }
            Expected::Anything => false,
        }
    }

    /// What is wrong with the answer, if nothing more comes.
    pub fn flaw(&self) -> Option<String> {
        let came = counted(self.answer.len(), "byte");
        // Some servers put a line end after each answer.
        let answer = strip_line_end(&self.answer);
        match &self.expected {
            Expected::Same if self.answer != self.message => Some(format!(
                "answered {came}, which {} not the {} it was sent: it is not an echo server",
                self.are(),
                counted(self.message.len(), "byte")
            )),
            Expected::Upper(expected) if self.answer != *expected && answer != expected.as_slice() => {
                Some(self.upper_flaw(expected))
            }
            Expected::Word(_) | Expected::Json(_) if self.must_go_on() => {
                Some(format!("ended after {came} of its answer, which is cut"))
            }
            Expected::Word(word) if answer != *word => Some(format!(
                "answered \"{}\" to \"{}\", where \"{}\" is right: it is not a number server",
                excerpt(answer),
                excerpt(&self.message),
                String::from_utf8_lossy(word),
            )),
            Expected::Json(Json { found: Found::Value, .. }) => self.unchanged_json(),
            Expected::Json(Json { found: Found::NoJson, .. }) => {
                Some(format!("answered {came} that {} not JSON: it is not a json server", self.are()))
            }
            _ => None,
        }
    }

    /// The verb for the bytes of the answer.
    fn are(&self) -> &'static str {
        if self.answer.len() == 1 { "is" } else { "are" }
    }

    /// What is wrong if a JSON value came back as it was sent, and not as Python would
    /// write it.
    fn unchanged_json(&self) -> Option<String> {
        if self.answer.trim_ascii() != self.message.trim_ascii() {
            return None;
        }
        // Servers differ in whether they write what is beyond ASCII as \u….
        let in_pythons_form = [true, false].map(|ensure_ascii| {
            let mut right = Vec::new();
            JsonText::parse(&self.message).ok()?.dumps(ensure_ascii, &mut right);
            Some(right)
        });
        let right = in_pythons_form[1].as_ref()?;
        if in_pythons_form.iter().flatten().any(|right| right == self.answer.trim_ascii()) {
            return None;
        }
        Some(format!(
            "answered \"{}\", where \"{}\" is right: it is not a json server",
            excerpt(&self.answer),
            excerpt(right)
        ))
    }

    fn upper_flaw(&self, expected: &[u8]) -> String {
        if is_beginning(&self.answer, expected) || lacks_some(&self.answer, expected) {
            let came = counted(String::from_utf8_lossy(&self.answer).chars().count(), "character");
            let sent: usize = self.message.utf8_chunks().map(|chunk| chunk.valid().chars().count()).sum();
            format!("answered {came} to {sent}, so that some are missing: send shorter messages")
        } else {
            format!(
                "answered \"{}\", where \"{}\" is right: it is not an upper server",
                excerpt(&self.answer),
                excerpt(expected)
            )
        }
    }
}

/// The beginning of a text, as much as an error message has room for.
fn excerpt(text: &[u8]) -> String {
    let text = visible_line(text);
    match text.char_indices().nth(LONGEST_EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Whether the answer has only characters of `all`, in their order.
fn lacks_some(answer: &[u8], all: &[u8]) -> bool {
    let all = String::from_utf8_lossy(all);
    let mut all = all.chars();
    String::from_utf8_lossy(answer).chars().all(|character| all.any(|other| other == character))
}

/// Whether `answer` is the beginning of `all`, but not all of it.
fn is_beginning(answer: &[u8], all: &[u8]) -> bool {
    answer.len() < all.len() && all.starts_with(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Copy)]
    enum Question {
        Echo,
        Upper,
        Number,
        Json,
    }

    fn new(question: Question, message: &[u8]) -> Asked {
        let expected = match question {
            Question::Echo => Expected::Same,
            Question::Upper => Expected::upper_case_of(message),
            Question::Number => Expected::word_for(message),
            Question::Json => Expected::Json(Json::default()),
        };
        Asked::new(message.to_vec(), expected)
    }

    fn asked(question: Question, message: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) -> Asked {
        let mut asked = new(question, message.as_ref());
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
    fn an_upper_answer_is_cut_or_wrong_unless_it_is_what_python_answers() {
        let flaw = |message: &str, answer: &[u8]| asked(Question::Upper, message, answer).flaw();
        assert_eq!(flaw("straße", "STRASSE".as_bytes()), None);
        // ı and ſ take two bytes, I and S one.
        assert_eq!(flaw("ıſ", b"IS"), None);
        assert_eq!(flaw("a", b"A\n"), None, "a line end is forgiven");
        for cut in ["STRASS".as_bytes(), b"STRA", b"SE"] {
            assert!(flaw("straße", cut).unwrap().contains("missing"), "{cut:?}");
        }
        assert!(flaw("안녕", &"안녕".as_bytes()[..5]).unwrap().contains("missing"));
        for wrong in ["straße", "STRAßE", "STRASSE!", "안녕하세요 여러분", "stra", "가"] {
            let said = flaw("straße", wrong.as_bytes()).unwrap();
            assert!(said.contains(&format!("{wrong:?}")) && said.contains("\"STRASSE\" is right"), "{said}");
        }
    }

    #[test]
    fn a_number_answer_is_the_word_for_that_number_or_wrong() {
        let flaw = |message: &str, answer: &str| asked(Question::Number, message, answer).flaw();
        for (message, answer) in
            [("7", "seven"), (" 10 ", "ten\r\n"), ("0", "Try again"), ("일곱", "Try again\n")]
        {
            assert_eq!(flaw(message, answer), None, "{message}");
        }
        for (message, answer) in
            [("7", "six"), ("7", "Try again"), ("11", "one"), ("7", "일곱"), ("7", "Seven")]
        {
            let said = flaw(message, answer).unwrap();
            assert!(said.contains(&format!("answered {answer:?} to {message:?}")), "{said}");
        }
        assert!(flaw("7", "sev").unwrap().contains("after 3 bytes of its answer, which is cut"));
    }

    #[test]
    fn one_wrong_byte_is_not_several() {
        let said = asked(Question::Echo, "x", "y").flaw().unwrap();
        assert_eq!(said, "answered 1 byte, which is not the 1 byte it was sent: it is not an echo server");
        let said = asked(Question::Echo, "xy", "가").flaw().unwrap();
        assert_eq!(said, "answered 3 bytes, which are not the 2 bytes it was sent: it is not an echo server");
        let said = asked(Question::Json, "1", "!").flaw().unwrap();
        assert_eq!(said, "answered 1 byte that is not JSON: it is not a json server");
    }

    #[test]
    fn a_json_value_that_comes_back_as_it_was_sent_is_wrong_unless_python_writes_it_so() {
        let flaw = |message: &str, answer: &str| asked(Question::Json, message, answer).flaw();
        let wrong = "answered \"[1,2]\", where \"[1, 2]\" is right: it is not a json server";
        assert_eq!(flaw("[1,2]", "[1,2]\n").unwrap(), wrong);
        for (message, answer) in [
            ("[1,2]", "[1, 2]"),
            ("[1, 2]", "[1, 2]\n"),
            ("\"안녕\"", "\"안녕\""),
            ("\"안녕\"", "\"\\uc548\\ub155\""),
            ("[1,2]", "{\"error\":\"too many\"}"),
        ] {
            assert_eq!(flaw(message, answer), None, "{message} {answer}");
        }
    }

    #[test]
    fn a_long_answer_is_quoted_in_part() {
        let said = asked(Question::Number, "7", "가".repeat(1000)).flaw().unwrap();
        assert!(said.contains(&format!("answered \"{}…\"", "가".repeat(LONGEST_EXCERPT))), "{said}");
    }

    #[test]
    fn a_number_word_is_whole_at_its_last_letter() {
        for word in NUMBER_ANSWERS {
            for cut in 0..word.len() {
                assert!(asked(Question::Number, "7", &word[..cut]).must_go_on(), "{word} {cut}");
                assert!(!asked(Question::Number, "7", &word[..cut]).is_whole(), "{word} {cut}");
            }
            assert!(asked(Question::Number, "7", word).is_whole());
            assert!(asked(Question::Number, "7", format!("{word}\r\n")).is_whole());
        }
        // Nobody knows where another server's word ends.
        let other = asked(Question::Number, "7", "일곱");
        assert!(!other.is_whole() && !other.must_go_on());
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
        assert_eq!(json("1").flaw(), None);
        assert!(json("no json").flaw().unwrap().contains("7 bytes that are not JSON"));
    }

    #[test]
    fn a_line_end_that_comes_late_is_no_part_of_the_next_answer() {
        assert_eq!(asked(Question::Json, "1", "\n[2]").answer, b"[2]");
        assert_eq!(asked(Question::Number, "1", "\none").answer, b"one");
        assert_eq!(asked(Question::Echo, "\na", "\na").answer, b"\na");
    }

    #[test]
    fn an_answer_is_wrong_at_the_first_byte_that_cannot_belong_to_it() {
        for (question, message, right, wrong) in [
            (Question::Echo, "안녕", "안", "안녕!"),
            (Question::Echo, "hi", "h", "x"),
            (Question::Upper, "straße", "STRASSE\r", "STRASSE\rx"),
            (Question::Upper, "hi", "", "h"),
            (Question::Number, "7", "seve", "sevel"),
            (Question::Number, "7", "Try again\r\n", "Try again\n\n"),
            (Question::Number, "7", "six", "일"),
            (Question::Json, "[]", "[1, 2", "[1, ]"),
            (Question::Json, "[]", "1", "x"),
        ] {
            assert!(!asked(question, message, right).is_wrong(), "{right:?}");
            let wrong = asked(question, message, wrong);
            assert!(wrong.is_wrong() && wrong.flaw().is_some(), "{:?}", wrong.answer);
        }
    }

    proptest! {
        #[test]
        fn what_is_wrong_already_has_a_flaw_and_does_not_have_to_go_on(
            message in "[0-9a-cß ]{0,3}",
            answer in "[a-c0-9ST\\[\\]onetr\n]{1,5}",
        ) {
            for question in [Question::Echo, Question::Upper, Question::Number, Question::Json] {
                let asked = asked(question, &message, &answer);
                prop_assert!(!asked.is_wrong() || asked.flaw().is_some() && !asked.must_go_on());
                prop_assert!(!asked.is_wrong() || !asked.is_whole());
            }
        }

        #[test]
        fn a_json_answer_is_whole_at_its_last_byte_at_any_split(text in "\\{\"[가a]{1,3}\": \\[[1-9]{1,3}\\]\\}") {
            let mut asked = new(Question::Json, b"[]");
            for (at, byte) in text.bytes().enumerate() {
                asked.hear(&[byte]);
                prop_assert_eq!(asked.is_whole(), at + 1 == text.len());
                prop_assert_eq!(asked.must_go_on(), at + 1 < text.len());
            }
        }
    }
}
