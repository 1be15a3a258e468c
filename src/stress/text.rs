//! Bytes as people type and read them.

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
    use super::*;

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
