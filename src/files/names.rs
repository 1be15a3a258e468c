//! Which names files can have, and which file a name from a peer means.

use std::fmt;

use unicode_normalization::UnicodeNormalization;

/// What Linux allows for one name (NAME_MAX), in bytes.
const LONGEST: usize = 255;

/// A name that is fit for a file: a single one, that neither hides, nor disguises itself,
/// nor means a device elsewhere. It is in Unicode's composed form (NFC), in which most
/// systems write; macOS sends the other one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// There is no name, or that of a directory.
    Empty,
    /// It is not UTF-8.
    NotText,
    /// It begins with a dot.
    Hidden,
    /// It has a control character, or one that reverses how the others are read.
    Control,
    /// It means a device on Windows.
    Device,
    /// It has too many bytes.
    TooLong,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadName::Empty => f.write_str("that is not the name of a file"),
            BadName::NotText => f.write_str("the name is not UTF-8"),
            BadName::Hidden => f.write_str("files whose names begin with a dot are not served here"),
            BadName::Control => f.write_str("the name contains a control character"),
            BadName::Device => f.write_str("the name is that of a device on Windows; choose another"),
            BadName::TooLong => write!(f, "the name is longer than {LONGEST} bytes"),
        }
    }
}

/// Cuts a name or path from a peer to its last part, after both kinds of separator, and
/// checks that.
///
/// # Errors
/// A name that no file should have.
pub fn clean(raw: impl AsRef<[u8]>) -> Result<Name, BadName> {
    let raw = raw.as_ref();
    let base = raw.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or(raw);
    // Composing takes a moment per byte, and no name gets shorter than a third by it.
    if base.len() > 3 * LONGEST {
        return Err(BadName::TooLong);
    }
    let name: String = std::str::from_utf8(base).map_err(|_| BadName::NotText)?.nfc().collect();
    let refusal = if name.trim().is_empty() || name == "." || name == ".." {
        BadName::Empty
    } else if name.chars().any(is_control) {
        BadName::Control
    } else if name.starts_with('.') {
        BadName::Hidden
    } else if is_device(&name) {
        BadName::Device
    } else if name.len() > LONGEST {
        BadName::TooLong
    } else {
        return Ok(Name(name));
    };
    Err(refusal)
}

/// Characters that move a terminal's cursor, end a line, or make `exe.txt` of `txt.exe`.
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Windows takes these for devices in every directory and with any extension (Microsoft,
/// "Naming Files, Paths, and Namespaces").
fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or(name).trim_end().to_uppercase();
    if matches!(stem.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$") {
        return true;
    }
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    numbered.is_some_and(|rest| {
        let mut rest = rest.chars();
        matches!((rest.next(), rest.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
    })
}

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with a number before its extension, for when it is taken: `a.txt` becomes
    /// `a (2).txt`. Characters of a long name make room.
    #[must_use]
    pub fn numbered(&self, number: usize) -> Name {
        // An extension longer than its name can be is none.
        let dot = self.0.rfind('.').filter(|dot| *dot > 0 && self.0.len() - dot <= LONGEST / 4);
        let (stem, extension) = self.0.split_at(dot.unwrap_or(self.0.len()));
        let number = format!(" ({number})");
        let room = LONGEST - number.len() - extension.len();
        let stem = &stem[..stem.floor_char_boundary(room)];
        Name(format!("{stem}{number}{extension}"))
    }

    /// The decomposed form (NFD), if that is another one: as macOS would have stored it.
    pub(super) fn decomposed(&self) -> Option<String> {
        let decomposed: String = self.0.nfd().collect();
        (decomposed != self.0 && decomposed.len() <= LONGEST).then_some(decomposed)
    }

    /// The name under which a file that is there can be asked for, if it can.
    pub(super) fn of_file(stored: &str) -> Option<Name> {
        let name = clean(stored).ok()?;
        let is_found = name.0 == stored || name.decomposed().is_some_and(|decomposed| decomposed == stored);
        is_found.then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_by_the_rules() {
        let long = "가".repeat(85);
        let too_long = format!("{long}a");
        let decomposed = "\u{1112}\u{1161}\u{11ab}.txt";
        let table: &[(&str, Result<&str, BadName>)] = &[
            ("a.txt", Ok("a.txt")),
            ("강의 자료 1주차.pdf", Ok("강의 자료 1주차.pdf")),
            ("no extension", Ok("no extension")),
            ("a..b", Ok("a..b")),
            ("👩\u{200d}👧.png", Ok("👩\u{200d}👧.png")),
            // Paths are cut, whichever way they are written.
            ("/etc/passwd", Ok("passwd")),
            ("../../etc/passwd", Ok("passwd")),
            ("C:\\Users\\kim\\사진.jpg", Ok("사진.jpg")),
            ("..\\..\\boot.ini", Ok("boot.ini")),
            ("a/b\\c/d.txt", Ok("d.txt")),
            ("\\\\server\\share\\x", Ok("x")),
            // No file.
            ("", Err(BadName::Empty)),
            ("   ", Err(BadName::Empty)),
            (".", Err(BadName::Empty)),
            ("..", Err(BadName::Empty)),
            ("dir/", Err(BadName::Empty)),
            ("dir\\", Err(BadName::Empty)),
            ("a/..", Err(BadName::Empty)),
            // Hidden, temporary files of this program included.
            (".bashrc", Err(BadName::Hidden)),
            ("...", Err(BadName::Hidden)),
            (".onepoll-upload-1", Err(BadName::Hidden)),
            ("x/.ssh", Err(BadName::Hidden)),
            // Characters that nobody sees.
            ("a\0b", Err(BadName::Control)),
            ("a\n", Err(BadName::Control)),
            ("a\r\nERR", Err(BadName::Control)),
            ("\u{1b}[31m", Err(BadName::Control)),
            ("a\u{7f}", Err(BadName::Control)),
            ("a\u{85}b", Err(BadName::Control)),
            ("a\u{202e}txt.exe", Err(BadName::Control)),
            ("a\u{2028}b", Err(BadName::Control)),
            ("\u{feff}a", Err(BadName::Control)),
            // Devices of Windows, and what only resembles them.
            ("con", Err(BadName::Device)),
            ("NUL", Err(BadName::Device)),
            ("nul.txt", Err(BadName::Device)),
            ("Aux .c", Err(BadName::Device)),
            ("prn.tar.gz", Err(BadName::Device)),
            ("nul:stream", Err(BadName::Device)),
            ("com1", Err(BadName::Device)),
            ("LPT9.log", Err(BadName::Device)),
            ("com¹", Err(BadName::Device)),
            ("CONIN$", Err(BadName::Device)),
            ("dir/con.txt", Err(BadName::Device)),
            ("con2", Ok("con2")),
            ("com10", Ok("com10")),
            ("com", Ok("com")),
            ("console.log", Ok("console.log")),
            ("my.con", Ok("my.con")),
            // Lengths count in bytes.
            (&long, Ok(&long)),
            (&too_long, Err(BadName::TooLong)),
            // macOS sends Hangul taken apart.
            (decomposed, Ok("한.txt")),
        ];
        for (raw, expected) in table {
            let got = clean(raw);
            assert_eq!(got.as_ref().map(Name::as_str), expected.as_ref().map(|name| *name), "{raw:?}");
        }
        assert_eq!(clean(b"\xc7\xd1\xb1\xdb"), Err(BadName::NotText));
        assert_eq!(clean("x".repeat(100_000)), Err(BadName::TooLong));
    }

    #[test]
    fn a_number_goes_before_the_extension_and_fits() {
        for (name, expected) in [
            ("a.txt", "a (2).txt"),
            ("README", "README (2)"),
            ("a.tar.gz", "a.tar (2).gz"),
            ("사진.jpg", "사진 (2).jpg"),
            ("a (2).txt", "a (2) (2).txt"),
        ] {
            assert_eq!(clean(name).unwrap().numbered(2).as_str(), expected);
        }
        let long = clean(format!("{}.txt", "가".repeat(83))).unwrap().numbered(10_000);
        assert!(long.as_str().len() <= LONGEST && long.as_str().ends_with("가 (10000).txt"), "{long}");
    }

    #[test]
    fn only_files_that_can_be_asked_for_are_shown() {
        let shown = |stored: &str| Name::of_file(stored).map(|name| name.0);
        assert_eq!(shown("한.txt").as_deref(), Some("한.txt"));
        assert_eq!(shown("\u{1112}\u{1161}\u{11ab}.txt").as_deref(), Some("한.txt"));
        for stored in ["a\\b", ".hidden", "con", "a\nb", "한\u{1112}\u{1161}\u{11ab}"] {
            assert_eq!(shown(stored), None, "{stored:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_left_is_one_plain_name(raw: Vec<u8>, path in "[./\\\\a-zA-Z:가-힣\u{1100}-\u{1112}\u{1161}-\u{1175} ]{0,300}") {
            for name in [clean(&raw), clean(&path)].into_iter().flatten() {
                let text = name.as_str();
                prop_assert!(!text.is_empty() && text.len() <= LONGEST && !text.starts_with('.'));
                prop_assert!(!text.contains(['/', '\\', '\0', '\n']));
                prop_assert_eq!(clean(text), Ok(name.clone()), "a clean name stays as it is");
                let numbered = name.numbered(12);
                prop_assert_eq!(clean(numbered.as_str()), Ok(numbered));
            }
        }
    }
}
