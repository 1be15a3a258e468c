//! The answers of number and upper: the services give them, and the clients check
//! against them.

/// The English word for a number from 1 to 10, else `Try again`. White
/// space around the number is ignored.
pub fn number_word(message: &[u8]) -> &'static [u8] {
    match message.trim_ascii() {
        b"1" => b"one",
        b"2" => b"two",
        b"3" => b"three",
        b"4" => b"four",
        b"5" => b"five",
        b"6" => b"six",
        b"7" => b"seven",
        b"8" => b"eight",
        b"9" => b"nine",
        b"10" => b"ten",
        _ => b"Try again",
    }
}

/// Appends `text` in upper case, by Unicode's full mapping (ß becomes SS), as
/// Python's `str.upper` does. Bytes that are not UTF-8 stay unchanged.
pub fn upper_case(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().to_uppercase().as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
}
