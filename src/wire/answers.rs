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
        out.extend_from_slice(chunk.valid().to_uppercase().as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
}
