//! What a course server sends first: a name, and perhaps contents.

use onepoll::wire::files::together::{First, Guess, ends_in_known_extension, separate};

/// A name, and the contents that came with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Offer<'a> {
    /// The name, as it came.
    pub name: &'a str,
    /// What followed it in the same read.
    pub contents: &'a [u8],
    /// Why the name ends there, if that is a guess.
    pub guess: Option<Guess>,
}

impl<'a> Offer<'a> {
    /// Tells the name from the contents; `None` if nothing does. The name that was asked for
    /// is known, unless a longer one is found that begins like it.
    pub fn read(read: &'a [u8], asked: Option<&str>) -> Option<Offer<'a>> {
        let found = match separate(read) {
            First::Name(name) => Some(Offer { name, contents: b"", guess: None }),
            First::Both { name, contents, guess } => Some(Offer { name, contents, guess: Some(guess) }),
            First::Inseparable => None,
        };
        let asked = asked.filter(|asked| !asked.is_empty() && read.starts_with(asked.as_bytes()));
        let Some(asked) = asked else { return found };
        let is_longer = |offer: &Offer<'_>| offer.name.len() > asked.len() && !is_doubtful(offer.name);
        if found.as_ref().is_some_and(is_longer) {
            return found;
        }
        let (name, contents) = read.split_at(asked.len());
        let name = std::str::from_utf8(name).ok()?;
        let contents = if matches!(contents, b"\n" | b"\r\n") { b"" } else { contents };
        Some(Offer { name, contents, guess: None })
    }
}

/// Whether a name that came alone may be a name with contents behind it.
pub fn is_doubtful(name: &str) -> bool {
    !ends_in_known_extension(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(read: &'a [u8], asked: Option<&str>) -> Option<(&'a str, &'a [u8])> {
        Offer::read(read, asked).map(|offer| (offer.name, offer.contents))
    }

    #[test]
    fn a_name_that_was_asked_for_is_known() {
        assert_eq!(read(b"READMEhello", Some("README")), Some(("README", b"hello".as_slice())));
        assert_eq!(read(b"photo.png\0\0", Some("photo.png")), Some(("photo.png", b"\0\0".as_slice())));
        let kept = "notes.txt.bakhello";
        assert_eq!(
            read(kept.as_bytes(), Some("notes.txt.bak")),
            Some(("notes.txt.bak", b"hello".as_slice()))
        );
        assert_eq!(read("과제.hwp\n".as_bytes(), Some("과제.hwp")), Some(("과제.hwp", b"".as_slice())));
    }

    #[test]
    fn a_server_that_sends_another_file_is_believed() {
        assert_eq!(read(b"report.txt", Some("report")), Some(("report.txt", b"".as_slice())));
        assert_eq!(read(b"report.txthello", Some("report")), Some(("report.txt", b"hello".as_slice())));
        assert_eq!(read(b"other.txt", Some("report")), Some(("other.txt", b"".as_slice())));
    }

    #[test]
    fn without_a_name_the_place_is_guessed_or_not_found() {
        assert_eq!(read(b"a.txthello", None), Some(("a.txt", b"hello".as_slice())));
        assert_eq!(read(b"READMEhello", None), Some(("READMEhello", b"".as_slice())));
        assert_eq!(read(b"photo.png\0\0\0", None), None);
        assert!(is_doubtful("READMEhello") && !is_doubtful("a.txt") && !is_doubtful("강의.PDF"));
    }
}
