//! Decodes the bytes that a terminal sends into keys, however reads split them.

/// The most parameter bytes of an escape sequence; a longer one is discarded, since
/// ECMA-48 sets no limit.
const LONGEST_SEQUENCE: usize = 32;

const ESCAPE: u8 = 0x1B;

/// What a key does; the bindings are those of readline's Emacs mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Insert(char),
    Enter,
    /// Ctrl-D: ends the input if the draft is empty, else deletes.
    EndOrDelete,
    Delete,
    Backspace,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    CutToStart,
    CutToEnd,
    CutWordLeft,
    CutWordRight,
    Paste,
    ClearScreen,
    Suspend,
}

/// Decodes keys, and keeps the beginning of a character or an escape sequence until
/// the rest arrives.
#[derive(Debug, Default)]
pub struct Decoder {
    unfinished: Vec<u8>,
}

impl Decoder {
    /// The keys that `typed` completes, in order.
    pub fn keys(&mut self, typed: &[u8]) -> Vec<Key> {
        self.unfinished.extend_from_slice(typed);
        let mut keys = Vec::new();
        let mut rest = self.unfinished.as_slice();
        while let Some((length, key)) = first_key(rest) {
            keys.extend(key);
            rest = &rest[length..];
        }
        let used = self.unfinished.len() - rest.len();
        self.unfinished.drain(..used);
        keys
    }
}

/// The length of the first key in bytes, and the key unless it has no meaning here.
/// `None` if it is still incomplete.
fn first_key(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    match *bytes.first()? {
        ESCAPE => escape_sequence(bytes),
        0x80.. => character(bytes).map(|(length, character)| (length, insert(character))),
        byte => Some((1, control(byte).or_else(|| insert(byte.into())))),
    }
}

fn insert(character: char) -> Option<Key> {
    (character == '\t' || !character.is_control()).then_some(Key::Insert(character))
}

fn control(byte: u8) -> Option<Key> {
    Some(match byte {
        0x01 => Key::Home,        // Ctrl-A
        0x02 => Key::Left,        // Ctrl-B
        0x04 => Key::EndOrDelete, // Ctrl-D
        0x05 => Key::End,         // Ctrl-E
        0x06 => Key::Right,       // Ctrl-F
        0x08 | 0x7F => Key::Backspace,
        b'\n' | b'\r' => Key::Enter,
        0x0B => Key::CutToEnd,    // Ctrl-K
        0x0C => Key::ClearScreen, // Ctrl-L
        0x0E => Key::Down,        // Ctrl-N
        0x10 => Key::Up,          // Ctrl-P
        0x15 => Key::CutToStart,  // Ctrl-U
        0x17 => Key::CutWordLeft, // Ctrl-W
        0x19 => Key::Paste,       // Ctrl-Y
        0x1A => Key::Suspend,     // Ctrl-Z
        _ => return None,
    })
}

/// The first character of UTF-8 text. Invalid bytes become U+FFFD, so that the user
/// sees them.
fn character(bytes: &[u8]) -> Option<(usize, char)> {
    let window = &bytes[..bytes.len().min(4)];
    let (valid, error) = match std::str::from_utf8(window) {
        Ok(text) => (text, None),
        Err(error) => (std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or_default(), Some(error)),
    };
    match (valid.chars().next(), error) {
        (Some(character), _) => Some((character.len_utf8(), character)),
        (None, error) => Some((error?.error_len()?, char::REPLACEMENT_CHARACTER)),
    }
}

/// Decodes what begins with ESC: a key's sequence, or a key pressed with Alt.
fn escape_sequence(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    Some(match *bytes.get(1)? {
        b'[' => return control_sequence(bytes),
        // SS3, as some terminals send the cursor keys.
        b'O' => match *bytes.get(2)? {
            last @ 0x21..=0x7E => (3, cursor_key(last, false)),
            _ => (2, None),
        },
        b'b' => (2, Some(Key::WordLeft)),
        b'f' => (2, Some(Key::WordRight)),
        b'd' => (2, Some(Key::CutWordRight)),
        0x7F | 0x08 => (2, Some(Key::CutWordLeft)),
        0x20..=0x7E => (2, None),
        // The user pressed Escape, and then another key.
        _ => (1, None),
    })
}

/// Decodes CSI: parameter and intermediate bytes, then a final byte.
fn control_sequence(bytes: &[u8]) -> Option<(usize, Option<Key>)> {
    let inside = &bytes[2..];
    if inside.first() == Some(&b'[') {
        // A function key of the Linux console.
        return inside.get(1).map(|_| (4, None));
    }
    let is_inside = |byte: &u8| (0x20..=0x3F).contains(byte);
    let length = inside.iter().take_while(|byte| is_inside(byte)).count();
    if length > LONGEST_SEQUENCE {
        return Some((2 + LONGEST_SEQUENCE, None));
    }
    let last = *inside.get(length)?;
    if !(0x40..=0x7E).contains(&last) {
        return Some((2 + length, None));
    }
    let parameters = &inside[..length];
    let with_modifier = matches!(parameters, b"1;3" | b"1;5" | b"5");
    let key = match (last, parameters) {
        (b'~', b"1" | b"7") => Some(Key::Home),
        (b'~', b"4" | b"8") => Some(Key::End),
        (b'~', b"3") => Some(Key::Delete),
        (b'~', b"3;3" | b"3;5") => Some(Key::CutWordRight),
        _ => cursor_key(last, with_modifier),
    };
    Some((2 + length + 1, key))
}

fn cursor_key(last: u8, with_modifier: bool) -> Option<Key> {
    Some(match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' if with_modifier => Key::WordRight,
        b'D' if with_modifier => Key::WordLeft,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys(typed: &[u8]) -> Vec<Key> {
        Decoder::default().keys(typed)
    }

    #[test]
    fn keys_are_known_in_every_form_that_terminals_send() {
        for (typed, key) in [
            (&b"\x1b[A"[..], Key::Up),
            (b"\x1bOB", Key::Down),
            (b"\x1b[1;5C", Key::WordRight),
            (b"\x1bb", Key::WordLeft),
            (b"\x1b[H", Key::Home),
            (b"\x1b[1~", Key::Home),
            (b"\x1bOF", Key::End),
            (b"\x1b[8~", Key::End),
            (b"\x1b[3~", Key::Delete),
            (b"\x1b\x7f", Key::CutWordLeft),
            (b"\x08", Key::Backspace),
            (b"\r", Key::Enter),
            ("안".as_bytes(), Key::Insert('안')),
            ("😀".as_bytes(), Key::Insert('😀')),
            (b"\t", Key::Insert('\t')),
            (b"\xFF", Key::Insert('\u{FFFD}')),
        ] {
            assert_eq!(keys(typed), [key], "{typed:02x?}");
        }
    }

    #[test]
    fn unknown_sequences_and_controls_type_nothing() {
        for typed in [
            &b"\x1b[200~"[..],
            b"\x1b[[A",
            b"\x1bx",
            b"\x1b[?1;2c",
            b"\x1bOP",
            b"\0\x07\x1d",
            "\u{9b}".as_bytes(),
            b"\x1b\x1b\x1b",
        ] {
            assert_eq!(keys(&[typed, b"\x1b[Aa"].concat()), [Key::Up, Key::Insert('a')], "{typed:02x?}");
        }
        let endless = [&b"\x1b["[..], &[b'1'; LONGEST_SEQUENCE + 1]].concat();
        assert_eq!(keys(&endless), [Key::Insert('1')]);
    }

    #[test]
    fn a_broken_sequence_does_not_take_the_next_key_with_it() {
        assert_eq!(keys(b"\x1b[1\ra"), [Key::Enter, Key::Insert('a')]);
        assert_eq!(keys("\x1b안".as_bytes()), [Key::Insert('안')]);
        assert_eq!(keys(b"\xEC\x95a"), [Key::Insert('\u{FFFD}'), Key::Insert('a')]);
    }

    proptest! {
        #[test]
        fn keys_are_the_same_at_any_split(
            typed in prop::collection::vec(prop_oneof![any::<u8>(), Just(ESCAPE), Just(b'['), 0x30..0x40u8], 0..80),
            cut in any::<prop::sample::Index>(),
        ) {
            let at = cut.index(typed.len() + 1);
            let mut decoder = Decoder::default();
            let mut in_two = decoder.keys(&typed[..at]);
            in_two.extend(decoder.keys(&typed[at..]));
            prop_assert_eq!(in_two, keys(&typed));
            prop_assert!(decoder.unfinished.len() <= LONGEST_SEQUENCE + 2);
        }
    }
}
