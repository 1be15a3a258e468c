//! The commands: what members say to the server instead of to each other.

use crate::wire::text::strip_line_end;

/// The most characters of a nick.
pub(super) const NICK_LENGTH: usize = 32;

/// What one message is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// For the others.
    Text,
    /// The member leaves.
    Leave,
    /// The member asks for this nick.
    Nick(&'a [u8]),
    Who,
    Help,
}

/// Reads one message. Only a whole message is a command: a course client's
/// `[name] /who` is text, and so is an unknown `/word`.
pub(super) fn parse(message: &[u8], is_datagram: bool) -> Said<'_> {
    let text = strip_line_end(message);
    match text {
        b"bye" => return Said::Leave,
        b"quit" if is_datagram => return Said::Leave,
        _ => {}
    }
    if let Some(nick) = text.strip_prefix(b"/nick ") {
        return Said::Nick(nick);
    }
    match text.trim_ascii_end() {
        b"/quit" => Said::Leave,
        b"/nick" => Said::Nick(b""),
        b"/who" => Said::Who,
        b"/help" => Said::Help,
        _ => Said::Text,
    }
}

/// Checks that `bytes` are a nick; the error is a sentence for the member.
pub(super) fn check_nick(bytes: &[u8]) -> Result<&str, &'static str> {
    let Ok(nick) = std::str::from_utf8(bytes) else { return Err("a nick is text in UTF-8") };
    let is_line_end = |c: char| matches!(c, '\u{2028}' | '\u{2029}');
    if nick.is_empty() {
        Err("write the nick behind it: /nick NAME")
    } else if nick.chars().count() > NICK_LENGTH {
        Err("a nick has at most 32 characters")
    } else if nick.chars().any(|c| c.is_control() || is_line_end(c)) {
        Err("a nick has no control characters")
    } else if nick.chars().any(is_invisible) {
        Err("a nick has no invisible characters")
    } else if nick.trim() != nick {
        Err("a nick neither starts nor ends with a space")
    } else {
        Ok(nick)
    }
}

/// Whether a character is invisible, so that a nick looks the same with and without it,
/// or turns the text around it: soft hyphen, Arabic letter mark, Hangul fillers, Khmer
/// inherent vowels, Mongolian selectors, zero widths, bidirectional controls, variation
/// selectors, byte order mark, interlinear annotation, tags. Unicode's
/// Default_Ignorable_Code_Point contains nearly all of them.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{61C}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
}

pub(super) const HELP: &str = "\
* /nick NAME  puts [NAME] in front of what you say
* /who        tells who is here
* /help       tells this
* /quit       leaves, as bye does
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_message_is_a_command() {
        for end in ["", "\n", "\r\n"] {
            let said = |text: &str| parse(format!("{text}{end}").leak().as_bytes(), false);
            assert_eq!(said("bye"), Said::Leave);
            assert_eq!(said("/quit"), Said::Leave);
            assert_eq!(said("/who "), Said::Who);
            assert_eq!(said("/help"), Said::Help);
            assert_eq!(said("/nick 홍 길동"), Said::Nick("홍 길동".as_bytes()));
            assert_eq!(said("/nick"), Said::Nick(b""));
            for text in
                ["quit", "Bye", "bye ", "[a] bye", "[a] /who", " /who", "/whoever", "/nickname", "/", ""]
            {
                assert_eq!(said(text), Said::Text, "{text:?}");
            }
        }
        assert_eq!(parse(b"quit", true), Said::Leave);
    }

    #[test]
    fn a_nick_is_one_to_32_plain_characters() {
        for good in ["a", "홍 길동", &"가".repeat(32), "[x]", "😀"] {
            assert_eq!(check_nick(good.as_bytes()), Ok(good));
        }
        for bad in ["", " ", " a", "a ", "a\tb", "a\nb", "a\rb", "a\u{2028}b", "\u{7}", &"a".repeat(33)] {
            assert!(check_nick(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(check_nick(b"\xFF").is_err());
    }

    #[test]
    fn a_nick_cannot_look_like_another_by_what_is_not_seen() {
        for range in [
            0xAD..=0xAD,
            0x61C..=0x61C,
            0x115F..=0x1160,
            0x17B4..=0x17B5,
            0x180B..=0x180F,
            0x200B..=0x200F,
            0x202A..=0x202E,
            0x2060..=0x206F,
            0x3164..=0x3164,
            0xFE00..=0xFE0F,
            0xFEFF..=0xFEFF,
            0xFFA0..=0xFFA0,
            0xFFF0..=0xFFFB,
            0xE0000..=0xE0FFF,
        ] {
            for code in range {
                let nick = format!("민{}수", char::from_u32(code).unwrap());
                assert_eq!(
                    check_nick(nick.as_bytes()),
                    Err("a nick has no invisible characters"),
                    "{code:X}"
                );
            }
        }
        for plain in ["ᄒ", "가\u{2010}나", "\u{FFFC}", "ﾡ", "“a”", "·"] {
            assert_eq!(check_nick(plain.as_bytes()), Ok(plain));
        }
    }
}
