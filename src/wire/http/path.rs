//! Names in a URL, and in the headers about a file.

use std::fmt::Write;

/// The path of a URL without its escapes. `None` if one of them is incomplete, or if the
/// result is not UTF-8 or holds a control character.
///
/// An escaped `/` comes out like any other: whoever takes a name from a path has to
/// check that it is one.
pub fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return None };
        rest = behind;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push((digit(*high)? << 4 | digit(*low)?) as u8);
    }
    String::from_utf8(bytes).ok().filter(|path| !path.contains(char::is_control))
}

/// A name as a part of a URL: everything but unreserved characters is escaped.
pub fn encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The value of `Content-Disposition` that saves a file under this name (RFC 6266): in
/// ASCII for old clients, and in full for all others.
pub fn attachment(name: &str) -> String {
    let plain = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%') { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", encode(name))
}

/// Text that stands for itself in HTML, in an attribute too.
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_become_what_they_stand_for() {
        assert_eq!(decode("/files/%EA%B0%80%20b+c").as_deref(), Some("/files/가 b+c"));
        assert_eq!(decode("%2e%2E%2f").as_deref(), Some("../"));
        for wrong in ["%", "%4", "%zz", "%+1", "a%00", "%ff", "%0A"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_name_is_safe_in_a_header_and_in_html() {
        assert_eq!(
            attachment("가\"\r\n%.txt"),
            "attachment; filename=\"_____.txt\"; filename*=UTF-8''%EA%B0%80%22%0D%0A%25.txt"
        );
        assert_eq!(escape_html("<a href='x\">&"), "&lt;a href=&#39;x&quot;&gt;&amp;");
    }

    proptest! {
        #[test]
        fn an_encoded_name_is_decoded_to_itself(name in "\\PC{0,20}") {
            let encoded = encode(&name);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode(&encoded), Some(name));
        }

        #[test]
        fn no_path_makes_it_panic(path in ".{0,30}") {
            let _ = decode(&path);
        }
    }
}
