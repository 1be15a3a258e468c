//! A file's name and its contents that arrived together.
//!
//! The course's uploaders send a name and then the contents, and nothing in TCP separates
//! the two: in most uploads one read brings both. Where the name ends is then a guess. It
//! ends where a known extension ends; and if files of that type begin with a signature,
//! only where the signature follows.

use std::fmt;

/// A path is not looked for beyond this.
const LONGEST_PATH: usize = 1023;

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum First<'a> {
    /// A name, it seems, and nothing else yet.
    Name(&'a str),
    /// A name, and the first contents.
    Both {
        /// The name.
        name: &'a str,
        /// What followed it.
        contents: &'a [u8],
        /// Why the name ends there.
        guess: Guess,
    },
    /// More than a name, and no place where the name can end.
    Inseparable,
}

/// Why a name ends where it was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guess {
    extension: &'static str,
    has_signature: bool,
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Guess { extension, has_signature } = self;
        match has_signature {
            true => write!(f, ".{extension} ends there and what such files begin with follows"),
            false => write!(f, ".{extension} ends there"),
        }
    }
}

/// Tells a name from contents in what the first read brought.
pub fn separate(read: &[u8]) -> First<'_> {
    let path = path_like(read);
    let cut = |(end, guess)| {
        let (name, contents) = read.split_at(end);
        // Whatever is like a path is text.
        let name = std::str::from_utf8(name).unwrap_or_default();
        match contents {
            // A person's line end belongs to neither.
            b"" | b"\n" | b"\r\n" => First::Name(name),
            contents => First::Both { name, contents, guess },
        }
    };
    let certain = ends(path).find(|(end, guess)| guess.has_signature && is_followed(*end, guess, read));
    let likely = || {
        let plain = |&(end, guess): &(usize, Guess)| {
            !guess.has_signature && !ends(&path[end..]).any(|(next, _)| is_first(&path[end..], next))
        };
        ends(path).find(plain)
    };
    if let Some(place) = certain.or_else(likely) {
        return cut(place);
    }
    match &read[path.len()..] {
        b"" | b"\n" | b"\r\n" if !path.is_empty() => First::Name(path),
        _ => First::Inseparable,
    }
}

/// Whether a name ends where a known extension does, so that nothing else can be in it.
pub fn ends_in_known_extension(name: &str) -> bool {
    ends(name).any(|(end, _)| end == name.len())
}

/// Whether an extension that ends here is all that stands in front of it.
fn is_first(text: &str, end: usize) -> bool {
    text.starts_with('.') && !text[1..end].contains('.')
}

/// The longest start of `read` that can be part of a path.
fn path_like(read: &[u8]) -> &str {
    let shown = &read[..read.len().min(LONGEST_PATH)];
    let text = shown.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    &text[..text.find(char::is_control).unwrap_or(text.len())]
}

/// The places where a known extension ends.
fn ends(path: &str) -> impl Iterator<Item = (usize, Guess)> {
    path.match_indices('.').filter_map(|(dot, _)| {
        let rest = &path.as_bytes()[dot + 1..];
        let known = SIGNED.iter().map(|(extension, _)| (*extension, true));
        let known = known.chain(PLAIN.iter().map(|extension| (*extension, false)));
        let fits = |(extension, _): &(&str, bool)| {
            rest.get(..extension.len()).is_some_and(|start| start.eq_ignore_ascii_case(extension.as_bytes()))
        };
        let (extension, has_signature) = known.filter(fits).max_by_key(|(extension, _)| extension.len())?;
        Some((dot + 1 + extension.len(), Guess { extension, has_signature }))
    })
}

/// Whether what such files begin with stands at `end`.
fn is_followed(end: usize, guess: &Guess, read: &[u8]) -> bool {
    let contents = &read[end..];
    let stands = |&(at, signature): &(usize, &[u8])| {
        contents.get(at..).is_some_and(|contents| contents.starts_with(signature))
    };
    SIGNED
        .iter()
        .filter(|(extension, _)| *extension == guess.extension)
        .any(|(_, signatures)| signatures.iter().any(|parts| parts.iter().all(stands)))
}

/// Bytes, and where in a file they stand.
type Part = (usize, &'static [u8]);

const ZIP: &[&[Part]] = &[&[(0, b"PK\x03\x04")], &[(0, b"PK\x05\x06")]];
const OLE: &[&[Part]] = &[&[(0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1")]];
const ISO_MEDIA: &[&[Part]] = &[&[(4, b"ftyp")]];
const EBML: &[&[Part]] = &[&[(0, b"\x1A\x45\xDF\xA3")]];
const JPEG: &[&[Part]] = &[&[(0, b"\xFF\xD8\xFF")]];
const GZIP: &[&[Part]] = &[&[(0, b"\x1F\x8B")]];
const TIFF: &[&[Part]] = &[&[(0, b"II*\0")], &[(0, b"MM\0*")]];
const WINDOWS: &[&[Part]] = &[&[(0, b"MZ")]];

/// Extensions whose files begin with one of these signatures; all parts of a signature
/// must be there.
const SIGNED: &[(&str, &[&[Part]])] = &[
    ("png", &[&[(0, b"\x89PNG\r\n\x1A\n")]]),
    ("jpg", JPEG),
    ("jpeg", JPEG),
    ("gif", &[&[(0, b"GIF87a")], &[(0, b"GIF89a")]]),
    ("bmp", &[&[(0, b"BM")]]),
    ("webp", &[&[(0, b"RIFF"), (8, b"WEBP")]]),
    ("tif", TIFF),
    ("tiff", TIFF),
    ("ico", &[&[(0, b"\0\0\x01\0")]]),
    ("pdf", &[&[(0, b"%PDF-")]]),
    ("hwp", OLE),
    ("doc", OLE),
    ("xls", OLE),
    ("ppt", OLE),
    ("hwpx", ZIP),
    ("docx", ZIP),
    ("xlsx", ZIP),
    ("pptx", ZIP),
    ("zip", ZIP),
    ("jar", ZIP),
    ("apk", ZIP),
    ("gz", GZIP),
    ("tgz", GZIP),
    ("bz2", &[&[(0, b"BZh")]]),
    ("xz", &[&[(0, b"\xFD7zXZ\0")]]),
    ("7z", &[&[(0, b"7z\xBC\xAF\x27\x1C")]]),
    ("rar", &[&[(0, b"Rar!\x1A\x07")]]),
    ("tar", &[&[(257, b"ustar")]]),
    ("mp3", &[&[(0, b"ID3")], &[(0, b"\xFF\xFB")], &[(0, b"\xFF\xF3")], &[(0, b"\xFF\xF2")]]),
    ("wav", &[&[(0, b"RIFF"), (8, b"WAVE")]]),
    ("ogg", &[&[(0, b"OggS")]]),
    ("flac", &[&[(0, b"fLaC")]]),
    ("mp4", ISO_MEDIA),
    ("m4a", ISO_MEDIA),
    ("mov", ISO_MEDIA),
    ("avi", &[&[(0, b"RIFF"), (8, b"AVI ")]]),
    ("mkv", EBML),
    ("webm", EBML),
    ("exe", WINDOWS),
    ("dll", WINDOWS),
    ("class", &[&[(0, b"\xCA\xFE\xBA\xBE")]]),
    ("db", &[&[(0, b"SQLite format 3\0")]]),
];

/// Extensions of files that may begin with anything.
const PLAIN: &[&str] = &[
    "txt", "md", "csv", "tsv", "log", "dat", "bin", "json", "xml", "html", "htm", "css", "js", "ts", "yml",
    "yaml", "toml", "ini", "cfg", "svg", "py", "ipynb", "c", "h", "cpp", "hpp", "cc", "cs", "java", "kt",
    "go", "rs", "sh", "bat", "sql", "r", "tex",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR";

    fn both<'a>(name: &'a str, contents: &'a [u8]) -> Option<(&'a str, &'a [u8])> {
        Some((name, contents))
    }

    fn cut(read: &[u8]) -> Option<(&str, &[u8])> {
        match separate(read) {
            First::Both { name, contents, .. } => Some((name, contents)),
            _ => None,
        }
    }

    #[test]
    fn a_name_ends_where_a_known_extension_ends() {
        assert_eq!(cut(b"a.txthello"), both("a.txt", b"hello"));
        assert_eq!(cut("과제.PY# 안녕".as_bytes()), both("과제.PY", "# 안녕".as_bytes()));
        assert_eq!(cut(b"main.cpp#include"), both("main.cpp", b"#include"));
        assert_eq!(cut(b"main.cint x;"), both("main.c", b"int x;"));
        assert_eq!(cut(b"/home/kim/notes.v2.md\n# One"), both("/home/kim/notes.v2.md", b"\n# One"));
        assert_eq!(cut(b"a.txtsee b.txt"), both("a.txt", b"see b.txt"));
        assert_eq!(cut(b"main.py.txthello"), both("main.py.txt", b"hello"));
        assert_eq!(cut(b"data.bin\x00\xFF"), both("data.bin", b"\x00\xFF"));
    }

    #[test]
    fn a_type_with_a_signature_ends_the_name_only_where_the_signature_follows() {
        let read = [b"photo.txt.png", PNG].concat();
        assert_eq!(cut(&read), both("photo.txt.png", PNG));
        assert_eq!(separate(b"photo.png\0\0\0"), First::Inseparable);
        assert_eq!(cut(b"slides.pdf and more.pdf%PDF-1.7"), both("slides.pdf and more.pdf", b"%PDF-1.7"));
        assert_eq!(cut(b"a.wavRIFF\0\0\0\0WAVE"), both("a.wav", b"RIFF\0\0\0\0WAVE"));
        assert_eq!(separate(b"a.wavRIFF\0\0\0\0AVI "), First::Inseparable);
        assert_eq!(cut(b"film.mp4\0\0\0\x20ftypisom"), both("film.mp4", b"\0\0\0\x20ftypisom"));
    }

    #[test]
    fn the_reason_is_told() {
        let First::Both { guess, .. } = separate(b"a.txthello") else { panic!("it is cut") };
        assert_eq!(guess.to_string(), ".txt ends there");
        let First::Both { guess, .. } = separate(b"a.pdf%PDF-1.7") else { panic!("it is cut") };
        assert_eq!(guess.to_string(), ".pdf ends there and what such files begin with follows");
    }

    #[test]
    fn a_name_alone_is_a_name() {
        for name in ["a.txt", "README", "강의 계획서.pdf", "C:\\work\\a.png", "my.png.backup", "v1.2"] {
            assert_eq!(separate(name.as_bytes()), First::Name(name));
            assert_eq!(separate(format!("{name}\r\n").as_bytes()), First::Name(name));
        }
    }

    #[test]
    fn what_cannot_be_separated_is_not_cut_anywhere() {
        for read in [&b""[..], b"\n", b"README\nhello", b"photo\x89PNG", b"\xFF\xFE", b"a\0"] {
            assert_eq!(separate(read), First::Inseparable, "{read:?}");
        }
        assert_eq!(separate(&[b'a'; 2000]), First::Inseparable);
    }

    #[test]
    fn every_type_with_a_signature_is_known_by_it() {
        for (extension, signatures) in SIGNED {
            for parts in *signatures {
                let mut contents = vec![0; 300];
                for (at, part) in *parts {
                    contents[*at..at + part.len()].copy_from_slice(part);
                }
                let name = format!("이름.{extension}");
                let read = [name.as_bytes(), &contents].concat();
                assert_eq!(cut(&read), both(&name, &contents), "{extension}");
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made_up(read in prop::collection::vec(any::<u8>(), 0..60), at in 0usize..60) {
            let mut read = read;
            read.splice(at.min(read.len())..at.min(read.len()), *b".txt");
            match separate(&read) {
                First::Both { name, contents, .. } => {
                    prop_assert_eq!([name.as_bytes(), contents].concat(), &*read);
                    prop_assert!(!contents.is_empty() && !name.chars().any(char::is_control));
                }
                First::Name(name) => prop_assert!(read.starts_with(name.as_bytes()) && !name.is_empty()),
                First::Inseparable => {}
            }
        }
    }
}
