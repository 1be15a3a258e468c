//! Where the name of an upload ends, and which names files can have.

use arbitrary::{Result, Unstructured};
use onepoll::files::{Name, clean};
use onepoll::wire::files::together::{First, separate};

use crate::generate::{bytes, name, one_of};
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "upload_names",
    check,
    generate,
    words: &[
        b".txt",
        b".png",
        b".tar.gz",
        b".pdf",
        b".c",
        b".cpp",
        b".",
        b"..",
        b"/",
        b"\\",
        b"\r\n",
        b"\x89PNG\r\n\x1A\n",
        b"%PDF-",
        b"PK\x03\x04",
        b"\x1F\x8B",
        b"\xFF\xD8\xFF",
        b"ustar",
        b"con",
        b"COM1",
        b"NUL.",
        b"\xE2\x80\xAE",
        b"\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB",
        b"\xEA\xB0\x80",
        b"\xCC\x81",
        b"\xCD\x85",
        b" (2)",
    ],
    memory: Memory { fixed: 16 * 1024, per_byte: 64 },
};

const LONGEST: usize = 255;

fn check(input: &[u8]) {
    match separate(input) {
        First::Both { name, contents, guess } => {
            assert!(!name.is_empty() && !contents.is_empty());
            assert!(!name.contains(char::is_control) && name.contains('.'));
            assert!(!guess.to_string().is_empty());
            assert_eq!([name.as_bytes(), contents].concat(), input, "nothing is lost or made up");
            // Its own name ends where the cut is.
            assert!(
                !matches!(separate(name.as_bytes()), First::Inseparable),
                "{name:?} is no name by itself"
            );
            fit(name.as_bytes());
        }
        First::Name(name) => {
            let rest = &input[name.len()..];
            assert!(!name.is_empty() && input.starts_with(name.as_bytes()));
            assert!(matches!(rest, b"" | b"\n" | b"\r\n"), "{rest:?} is neither");
            fit(name.as_bytes());
        }
        First::Inseparable => {}
    }
    fit(input);
}

/// A name that is taken is one plain name, stays as it is, and so do its numbered forms.
fn fit(raw: &[u8]) {
    let Ok(name) = clean(raw) else { return };
    for name in [name.numbered(2), name.numbered(usize::MAX), name] {
        let text = name.as_str();
        assert!(!text.trim().is_empty() && text.len() <= LONGEST && !text.starts_with('.'));
        assert!(!text.contains(['/', '\\']) && !text.contains(char::is_control));
        assert_eq!(clean(text).as_ref().map(Name::as_str), Ok(text));
    }
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut read = if u.arbitrary()? { name(u)? } else { bytes(u, 300)? };
    read.extend(one_of(u, &[b".txt", b".png", b".PDF", b".tar", b".tar.gz", b".webp", b".unknown", b""])?);
    read.extend(one_of(
        u,
        &[b"", b"\n", b"\r\n", b"\x89PNG\r\n\x1A\n", b"%PDF-1.7", b"RIFF....WEBP", b"see b.txt"],
    )?);
    read.extend(bytes(u, 300)?);
    Ok(read)
}
