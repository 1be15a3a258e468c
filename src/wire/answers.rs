//! The answers of number and upper: the services give them, and the clients check
//! against them.

/// The answers of number: the English words for 1 to 10, each at its number, and at 0
/// the answer to anything else.
pub const NUMBER_ANSWERS: [&str; 11] =
    ["Try again", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// The answer of number to a message. White space around the number is ignored.
pub fn number_word(message: &[u8]) -> &'static [u8] {
    let number = match message.trim_ascii() {
        [digit @ b'1'..=b'9'] => usize::from(digit - b'0'),
        b"10" => 10,
        _ => 0,
    };
    NUMBER_ANSWERS[number].as_bytes()
}

/// Appends `text` in upper case, by Unicode's full mapping (ß becomes SS), as
/// Python's `str.upper` does. Bytes that are not UTF-8 stay unchanged.
pub fn upper_case(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        upper_case_of(chunk.valid(), out);
        out.extend_from_slice(chunk.invalid());
    }
}

fn upper_case_of(mut text: &str, out: &mut Vec<u8>) {
    loop {
        let (plain, rest) = text.split_at(text.find(may_have_case).unwrap_or(text.len()));
        let start = out.len();
        out.extend_from_slice(plain.as_bytes());
        out[start..].make_ascii_uppercase();
        let mut rest = rest.chars();
        let Some(first) = rest.next() else { return };
        for upper in first.to_uppercase() {
            out.extend_from_slice(upper.encode_utf8(&mut [0; 4]).as_bytes());
        }
        text = rest.as_str();
    }
}

/// Whether a character beyond ASCII may have an upper case. Hangul and the scripts of
/// China and Japan have none, and are not looked up.
fn may_have_case(c: char) -> bool {
    !matches!(c, '\0'..='\x7F' | '\u{2E80}'..='\u{A63F}' | '\u{AC00}'..='\u{D7FF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_gets_the_upper_case_that_unicode_gives_it() {
        let mut out = Vec::new();
        for c in char::MIN..=char::MAX {
            out.clear();
            upper_case(format!("a{c}b").as_bytes(), &mut out);
            assert_eq!(out, format!("A{}B", c.to_uppercase()).as_bytes(), "{c:?}");
        }
    }
}
