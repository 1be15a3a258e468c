//! JPEGs one after another.

use arbitrary::{Result, Unstructured};
use onepoll::wire::frames::{FrameKind, kind};
use onepoll::wire::jpeg::{JpegReader, dimensions};

use crate::generate::{bytes, joined, one_of};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "jpegs",
    check,
    generate,
    words: &[
        b"\xFF\xD8",
        b"\xFF\xD9",
        b"\xFF\xDA",
        b"\xFF\xC0",
        b"\xFF\xC4",
        b"\xFF\xE1",
        b"\xFF\xD0",
        b"\xFF\xD7",
        b"\xFF\x01",
        b"\xFF\0",
        b"\xFF\xFF",
        b"\0\x02",
        b"\0\0",
        b"\0\x01",
        b"\xFF\xFF\xFF",
        b"\0\x0B\x08\x01\xE0\x02\x80\x03",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 64 },
};

fn check(input: &[u8]) {
    for limit in [10, 200, 1 << 30] {
        let whole = read(&[input], limit);
        for pieces in splits(input) {
            assert_eq!(read(&pieces, limit), whole, "the split matters at a limit of {limit}");
        }
        for jpeg in &whole.jpegs {
            assert!(jpeg.len() <= limit);
            assert_eq!(kind(jpeg), Ok(FrameKind::Jpeg));
            assert!(input.windows(jpeg.len()).any(|bytes| bytes == jpeg), "a JPEG is made up");
            let alone = read(&[jpeg], limit);
            assert_eq!((alone.jpegs.len(), alone.broken), (1, 0), "a JPEG by itself is another one");
        }
    }
    assert!(dimensions(input).is_none_or(|(width, height)| width > 0 && height > 0));
}

#[derive(Debug, Default, PartialEq)]
struct Found {
    jpegs: Vec<Vec<u8>>,
    broken: u64,
    too_long: bool,
    is_in_jpeg: bool,
}

fn read(pieces: &[&[u8]], limit: usize) -> Found {
    let (mut reader, mut found) = (JpegReader::default(), Found::default());
    for mut piece in pieces.iter().copied() {
        loop {
            let next = reader.next(piece, limit);
            found.broken = reader.broken();
            let Ok((used, jpeg)) = next else {
                found.too_long = true;
                return found;
            };
            piece = &piece[used..];
            let Some(jpeg) = jpeg else { break };
            assert!(used > 0);
            found.jpegs.push(jpeg);
        }
        assert!(piece.is_empty());
    }
    found.is_in_jpeg = reader.is_in_jpeg();
    found
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    joined(u, 4, |u| {
        let mut jpeg = one_of(u, &[b"\xFF\xD8", b"\xFF\xFF\xD8", b"--frame\r\n\xFF\xD8", b""])?;
        jpeg.extend(joined(u, 4, segment)?);
        jpeg.extend(b"\xFF\xDA\0\x03\x09");
        jpeg.extend(joined(u, 4, |u| match u.ratio(1, 3)? {
            true => one_of(u, &[b"\xFF\0", b"\xFF\xD3", b"\xFF\xFF", b"\xFF\xDA\0\x02"]),
            false => bytes(u, 60),
        })?);
        jpeg.extend(one_of(u, &[b"\xFF\xD9", b"\xFF\xFF\xD9", b""])?);
        Ok(jpeg)
    })
}

fn segment(u: &mut Unstructured) -> Result<Vec<u8>> {
    let contents = bytes(u, 40)?;
    let code = *u.choose(&[0xC0, 0xC4, 0xDB, 0xE0, 0xE1, 0xFE, 0x01, 0xC8])?;
    let length = if u.ratio(1, 10)? { u.arbitrary()? } else { contents.len() as u16 + 2 };
    Ok([&[0xFF, code][..], &length.to_be_bytes(), &contents].concat())
}
