//! Finds messages in text on TCP, and lets one port serve both programs without
//! framing and people with telnet.
//!
//! A program that calls `send` once per message, without a line end, and `recv`
//! once per answer wants **chunks**: what arrives together is the message. A
//! person with netcat or telnet sends **lines**. The first input of a
//! connection decides between the two: either it ends in a line end, or it does
//! not.
//!
//! Both modes hold back what is incomplete, a character in chunk mode and a
//! line in line mode. Nobody can tell a slow sender from one that has finished,
//! so the caller limits the wait and then calls [`TextFraming::flush`].

/// How a connection delimits its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing has arrived yet.
    #[default]
    Undecided,
    /// What arrives together is one message; answers have no terminator.
    Chunk,
    /// LF, CR LF or a bare CR ends a message; answers end in LF.
    Line,
}

impl Mode {
    /// The mode of a connection whose entire first input is `input`.
    pub fn of_first_input(input: &[u8]) -> Mode {
        match input.last() {
            None => Mode::Undecided,
            Some(b'\n' | b'\r') => Mode::Line,
            Some(_) => Mode::Chunk,
        }
    }

    /// What an answer ends in.
    pub fn terminator(self) -> &'static [u8] {
        match self {
            Mode::Line => b"\n",
            Mode::Undecided | Mode::Chunk => b"",
        }
    }
}

/// One message, borrowed from the input it was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// In line mode, the line without its line end; in chunk mode, the whole
    /// chunk, including any line end in it.
    pub text: &'a [u8],
    /// The message as it arrived, with its line end. If a CR LF arrives in two
    /// pieces, only the CR is here: the line was delivered before the LF came.
    pub raw: &'a [u8],
}

/// What [`TextFraming::next`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A message. Another one may follow.
    Message(Message<'a>),
    /// No message until more arrives. The rest of the input is held back: pass
    /// it again, followed by the next bytes, or [`TextFraming::flush`] it.
    Incomplete,
    /// A line is longer than allowed. The whole input counts as consumed.
    /// Nobody knows where the next message starts, so the connection should
    /// end.
    TooLong,
}

/// Finds the messages in the text of one connection.
///
/// Call [`next`](Self::next) with everything not yet consumed until it returns
/// [`Step::Incomplete`]. Call [`flush`](Self::flush) when the input has ended
/// or the rest has been held back for long enough.
///
/// ```
/// use onepoll::wire::text::{Step, TextFraming};
///
/// let mut framing = TextFraming::default();
/// let input = "안녕\r\n반가".as_bytes();
/// let input = &input[..input.len() - 1]; // the last character is cut
/// let (used, Step::Message(chunk)) = framing.next(input, 1024) else { panic!() };
/// assert_eq!(chunk.text, "안녕\r\n반".as_bytes()); // no line end at its end: a chunk
/// assert_eq!(framing.next(&input[used..], 1024), (0, Step::Incomplete));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TextFraming {
    mode: Mode,
    /// The last line ended in a CR, and that was the last byte seen: a LF at
    /// the front of the next input belongs to the same line end.
    after_cr: bool,
}

impl TextFraming {
    /// Takes the next message from the front of `unread`, which is everything
    /// not consumed so far, and returns how many bytes of it are now consumed.
    ///
    /// `line_length` limits a message in bytes, not counting its line end; 0
    /// means no limit. A longer chunk is delivered in pieces, cut between
    /// characters (within one only if the limit is shorter than the character
    /// itself); a longer line is [`Step::TooLong`]. At most `line_length` bytes
    /// are ever held back.
    pub fn next<'a>(&mut self, unread: &'a [u8], line_length: usize) -> (usize, Step<'a>) {
        let limit = if line_length == 0 { usize::MAX } else { line_length };
        if self.mode == Mode::Undecided {
            self.mode = Mode::of_first_input(unread);
        }
        match self.mode {
            Mode::Undecided => (0, Step::Incomplete),
            Mode::Chunk => next_chunk(unread, limit),
            Mode::Line => {
                let skip = self.skip_line_feed(unread);
                let (used, step) = self.next_line(&unread[skip..], limit);
                (skip + used, step)
            }
        }
    }

    /// Delivers everything that [`next`](Self::next) left in `unread`, as it
    /// is; `None` if nothing was left. The mode does not change, and what
    /// arrives later is a message of its own.
    pub fn flush<'a>(&mut self, unread: &'a [u8]) -> Option<Message<'a>> {
        let skip = self.skip_line_feed(unread);
        let held = &unread[skip..];
        (!held.is_empty()).then_some(Message { text: held, raw: held })
    }

    /// How this connection delimits its messages. Once decided, it never
    /// changes.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What an answer ends in: LF in line mode, nothing in chunk mode.
    pub fn terminator(&self) -> &'static [u8] {
        self.mode.terminator()
    }

    /// How many bytes at the front of `unread` still belong to the last line
    /// end.
    fn skip_line_feed(&mut self, unread: &[u8]) -> usize {
        let Some(first) = unread.first() else { return 0 };
        usize::from(std::mem::take(&mut self.after_cr) && *first == b'\n')
    }

    fn next_line<'a>(&mut self, unread: &'a [u8], limit: usize) -> (usize, Step<'a>) {
        let Some(length) = unread.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            return if unread.len() > limit { (unread.len(), Step::TooLong) } else { (0, Step::Incomplete) };
        };
        if length > limit {
            return (unread.len(), Step::TooLong);
        }
        let end = if unread[length..].starts_with(b"\r\n") { length + 2 } else { length + 1 };
        self.after_cr = end == unread.len() && unread[end - 1] == b'\r';
        (end, Step::Message(Message { text: &unread[..length], raw: &unread[..end] }))
    }
}

fn next_chunk(unread: &[u8], limit: usize) -> (usize, Step<'_>) {
    let shown = &unread[..unread.len().min(limit)];
    let mut end = shown.len() - incomplete_suffix(shown);
    if end == 0 {
        if shown.len() == unread.len() {
            return (0, Step::Incomplete);
        }
        // One character is longer than the limit: waiting for the rest would
        // never end.
        end = shown.len();
    }
    let chunk = &unread[..end];
    (end, Step::Message(Message { text: chunk, raw: chunk }))
}

/// The length of the unfinished UTF-8 character at the end of `bytes`, 0 to 3.
///
/// Only bytes that can still become a character count. Those that no
/// continuation can complete (a stray continuation byte, an overlong form, a
/// surrogate, anything above U+10FFFF) give 0, so that nobody waits for them.
pub fn incomplete_suffix(bytes: &[u8]) -> usize {
    for length in 1..=bytes.len().min(3) {
        let suffix = &bytes[bytes.len() - length..];
        if is_continuation(suffix[0]) {
            continue;
        }
        return match character_shape(suffix[0]) {
            Some((whole, low, high))
                if length < whole && suffix.get(1).is_none_or(|second| (low..=high).contains(second)) =>
            {
                length
            }
            _ => 0,
        };
    }
    0
}

/// `bytes` without the line end at its end, if any: LF, CR LF or CR.
pub fn strip_line_end(bytes: &[u8]) -> &[u8] {
    let without_lf = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    without_lf.strip_suffix(b"\r").unwrap_or(without_lf)
}

/// Whether `byte` can only stand inside a UTF-8 character, never at its start.
pub(super) fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

/// For the first byte of a multi-byte character: how many bytes it has, and the
/// range of its second byte; the rest can be any continuation bytes. `None` for
/// ASCII and for bytes that start no character. The table is the one in section
/// 4 of RFC 3629.
pub(super) fn character_shape(first: u8) -> Option<(usize, u8, u8)> {
    match first {
        0xC2..=0xDF => Some((2, 0x80, 0xBF)),
        0xE0 => Some((3, 0xA0, 0xBF)),
        0xE1..=0xEC | 0xEE | 0xEF => Some((3, 0x80, 0xBF)),
        0xED => Some((3, 0x80, 0x9F)),
        0xF0 => Some((4, 0x90, 0xBF)),
        0xF1..=0xF3 => Some((4, 0x80, 0xBF)),
        0xF4 => Some((4, 0x80, 0x8F)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A connection whose input arrives in pieces; what is left unread is shown
    /// again in front of the next piece.
    #[derive(Debug, Default)]
    struct Peer {
        framing: TextFraming,
        unread: Vec<u8>,
        texts: Vec<Vec<u8>>,
        raw: Vec<u8>,
        too_long: bool,
    }

    impl Peer {
        fn hear(&mut self, piece: &[u8], line_length: usize) {
            self.unread.extend_from_slice(piece);
            let mut at = 0;
            loop {
                let (used, step) = self.framing.next(&self.unread[at..], line_length);
                at += used;
                match step {
                    Step::Message(message) => {
                        self.texts.push(message.text.to_vec());
                        self.raw.extend_from_slice(message.raw);
                    }
                    Step::Incomplete => break,
                    Step::TooLong => {
                        self.too_long = true;
                        break;
                    }
                }
            }
            self.unread.drain(..at);
        }

        fn flush(&mut self) {
            if let Some(message) = self.framing.flush(&self.unread) {
                self.texts.push(message.text.to_vec());
                self.raw.extend_from_slice(message.raw);
            }
            self.unread.clear();
        }
    }

    fn peer(pieces: &[&[u8]], line_length: usize) -> Peer {
        let mut peer = Peer::default();
        pieces.iter().for_each(|piece| peer.hear(piece, line_length));
        peer
    }

    #[test]
    fn a_first_input_without_line_end_makes_chunk_mode_for_ever() {
        let peer = peer(&["안녕".as_bytes(), b"bye\n", b"a\nb\r\n"], 0);
        assert_eq!(peer.framing.mode(), Mode::Chunk);
        assert_eq!(peer.framing.terminator(), b"");
        assert_eq!(peer.texts, ["안녕".as_bytes(), b"bye\n", b"a\nb\r\n"]);
    }

    #[test]
    fn a_first_input_with_any_line_end_makes_line_mode_for_ever() {
        for end in ["\n", "\r\n", "\r"] {
            let first = format!("하나{end}둘{end}");
            let mut peer = peer(&[first.as_bytes(), b"three", b"\n"], 0);
            assert_eq!(peer.framing.mode(), Mode::Line);
            assert_eq!(peer.framing.terminator(), b"\n");
            assert_eq!(peer.texts, ["하나".as_bytes(), "둘".as_bytes(), b"three"]);
            peer.flush();
            assert_eq!(peer.texts.len(), 3);
        }
    }

    #[test]
    fn nothing_received_decides_nothing() {
        let peer = peer(&[b"", b"\n"], 0);
        assert_eq!(peer.framing.mode(), Mode::Line);
        assert_eq!(TextFraming::default().flush(b""), None);
    }

    #[test]
    fn a_first_input_that_is_all_held_back_decides_the_mode() {
        let mut peer = peer(&[&[0xEA]], 0);
        assert_eq!((peer.framing.mode(), peer.texts.len()), (Mode::Chunk, 0));
        peer.hear(&[0xB0, 0x80, b'\n'], 0);
        assert_eq!(peer.texts, ["가\n".as_bytes()]);
    }

    #[test]
    fn a_chunk_holds_back_only_what_can_still_become_a_character() {
        let mut peer = peer(&[&[b'a', 0xF0, 0x9F], &[0x98, 0x80, b'b'], &[0xFF, 0xED, 0xA0]], 0);
        assert_eq!(peer.texts, [b"a".to_vec(), "😀b".as_bytes().to_vec(), vec![0xFF, 0xED, 0xA0]]);
        peer.hear(&[b'c', 0xEC, 0x9D], 0);
        peer.flush();
        assert_eq!(peer.texts[3..], [b"c".to_vec(), vec![0xEC, 0x9D]]);
    }

    #[test]
    fn a_chunk_over_the_limit_is_cut_between_characters() {
        let peer = peer(&["가나다abc".as_bytes()], 8);
        assert_eq!(peer.texts, ["가나".as_bytes(), "다abc".as_bytes()]);
    }

    #[test]
    fn a_limit_shorter_than_a_character_still_lets_it_through() {
        let peer = peer(&[&"가".as_bytes()[..2], &"가".as_bytes()[2..]], 2);
        assert_eq!(peer.raw, "가".as_bytes());
        assert!(peer.texts.iter().all(|text| text.len() <= 2));
    }

    #[test]
    fn line_ends_may_be_mixed_and_empty_lines_are_messages() {
        let peer = peer(&[b"a\n\r\nb\r\rc\r\n\n"], 0);
        assert_eq!(peer.texts, [&b"a"[..], b"", b"b", b"", b"c", b""]);
        assert_eq!(peer.raw, b"a\n\r\nb\r\rc\r\n\n");
    }

    #[test]
    fn a_cr_ends_the_line_at_once_and_its_late_lf_is_swallowed() {
        let mut peer = peer(&[b"a\r"], 0);
        assert_eq!(peer.texts, [b"a"]);
        peer.hear(b"", 0);
        peer.hear(b"\n", 0);
        assert_eq!((peer.texts.len(), peer.unread.len()), (1, 0));
        peer.hear(b"\nb\r", 0);
        peer.hear(b"c\n", 0);
        assert_eq!(peer.texts, [&b"a"[..], b"", b"b", b"c"]);
    }

    #[test]
    fn flush_swallows_a_late_lf_too() {
        let mut framing = TextFraming::default();
        assert!(matches!(framing.next(b"a\r", 0), (2, Step::Message(_))));
        assert_eq!(framing.flush(b"\n"), None);
    }

    #[test]
    fn an_unfinished_line_is_flushed_as_it_is_and_its_rest_is_a_message() {
        let mut peer = peer(&[b"\n", b"unfini"], 0);
        peer.flush();
        peer.hear(b"shed\n", 0);
        assert_eq!(peer.texts, [&b""[..], b"unfini", b"shed"]);
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(peer(&[b"12345\r\n"], 5).texts, [b"12345"]);
        let held = peer(&[b"\n", b"12345"], 5);
        assert!(!held.too_long && held.unread == b"12345");
        assert!(peer(&[b"\n", b"12345", b"6"], 5).too_long);
        let long = peer(&[b"ok\n123456\n"], 5);
        assert!(long.too_long && long.texts == [b"ok"]);
        assert!(long.unread.is_empty());
    }

    #[test]
    fn incomplete_suffix_measures_an_unfinished_character() {
        for character in ["é", "가", "😀", "\u{10FFFF}", "\u{800}", "\u{D7FF}", "\u{10000}"] {
            let bytes = character.as_bytes();
            for cut in 1..bytes.len() {
                assert_eq!(incomplete_suffix(&bytes[..cut]), cut, "{character} cut at {cut}");
                assert_eq!(incomplete_suffix(&[b"abc\xFF", &bytes[..cut]].concat()), cut);
            }
            assert_eq!(incomplete_suffix(bytes), 0);
        }
    }

    #[test]
    fn incomplete_suffix_waits_for_nothing_that_cannot_be_mended() {
        let hopeless: [&[u8]; 13] = [
            b"",
            b"a",
            &[0x80],
            &[0x80, 0x80, 0x80],
            &[0xC0],
            &[0xC1],
            &[0xE0, 0x9F],
            &[0xED, 0xA0],
            &[0xF0, 0x8F],
            &[0xF0, 0x8F, 0x80],
            &[0xF4, 0x90],
            &[0xF5],
            &[0xFF],
        ];
        for bytes in hopeless {
            assert_eq!(incomplete_suffix(bytes), 0, "{bytes:02x?}");
        }
    }

    #[test]
    fn strip_line_end_takes_one_line_end() {
        for (with, without) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\r", "a"),
            ("a\n\n", "a\n"),
            ("a\n\r", "a\n"),
            ("a", "a"),
            ("", ""),
        ] {
            assert_eq!(strip_line_end(with.as_bytes()), without.as_bytes());
        }
    }

    /// `bytes` in pieces that end at `cuts`.
    fn split<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut start = 0;
        ends.iter().map(|&end| &bytes[std::mem::replace(&mut start, end)..end]).collect()
    }

    fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
        prop::collection::vec(any::<prop::sample::Index>(), 0..8)
    }

    proptest! {
        #[test]
        fn lines_are_the_same_at_any_split(
            text in "[가b\r\n]{0,40}", cuts in cuts(),
        ) {
            let whole = [b"first\n", text.as_bytes()].concat();
            let mut once = peer(&[&b"first\n"[..], text.as_bytes()], 1000);
            let mut split_up = peer(&[b"first\n"], 1000);
            split(text.as_bytes(), &cuts).iter().for_each(|piece| split_up.hear(piece, 1000));
            once.flush();
            split_up.flush();
            prop_assert_eq!(&once.raw, &whole);
            prop_assert_eq!(once.texts, split_up.texts);
        }

        #[test]
        fn a_line_too_long_is_found_at_any_split(
            text in "[ab\n]{0,40}", cuts in cuts(), line_length in 1..10usize,
        ) {
            let once = peer(&[&b"\n"[..], text.as_bytes()], line_length);
            let mut split_up = peer(&[b"\n"], line_length);
            for piece in split(text.as_bytes(), &cuts) {
                if !split_up.too_long {
                    split_up.hear(piece, line_length);
                    prop_assert!(split_up.unread.len() <= line_length);
                }
            }
            prop_assert_eq!(once.too_long, text.split('\n').any(|line| line.len() > line_length));
            prop_assert_eq!(once.too_long, split_up.too_long);
            prop_assert_eq!(once.texts, split_up.texts);
        }

        #[test]
        fn chunks_add_up_to_the_input_and_end_between_characters(
            text in "[a가é😀\n]{0,40}", cuts in cuts(), line_length in 4..20usize,
        ) {
            let text = format!("가{text}");
            let mut split_up = Peer { framing: TextFraming { mode: Mode::Chunk, after_cr: false }, ..Peer::default() };
            for piece in split(text.as_bytes(), &cuts) {
                split_up.hear(piece, line_length);
                prop_assert!(split_up.unread.len() <= 3);
            }
            prop_assert!(split_up.unread.is_empty());
            prop_assert_eq!(split_up.raw, text.as_bytes());
            for chunk in &split_up.texts {
                prop_assert!(!chunk.is_empty() && chunk.len() <= line_length);
                prop_assert!(std::str::from_utf8(chunk).is_ok(), "cut inside a character: {:02x?}", chunk);
            }
        }

        #[test]
        fn any_bytes_come_through_as_they_are(
            bytes in prop::collection::vec(any::<u8>(), 1..60), cuts in cuts(), line_length in 1..20usize,
        ) {
            let mut split_up = Peer { framing: TextFraming { mode: Mode::Chunk, after_cr: false }, ..Peer::default() };
            split(&bytes, &cuts).iter().for_each(|piece| split_up.hear(piece, line_length));
            split_up.flush();
            prop_assert_eq!(split_up.raw, bytes);
            prop_assert!(split_up.texts.iter().all(|text| text.len() <= line_length));
        }
    }
}
