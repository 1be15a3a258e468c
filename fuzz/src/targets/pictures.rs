//! JPEGs of peers, decoded as pictures.

use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use onepoll::media::pattern::Pattern;
use onepoll::media::{Picture, bytes, jpeg};

use crate::generate::number;
use crate::{Memory, Target};

/// The most bytes of a picture.
const LARGEST: usize = 256 * 1024;

pub const TARGET: Target = Target {
    name: "pictures",
    check,
    generate,
    words: &[
        b"\xFF\xD8",
        b"\xFF\xD9",
        b"\xFF\xDA\0\x0C\x03",
        b"\xFF\xC0\0\x11\x08",
        b"\xFF\xC2\0\x11\x08",
        b"\xFF\xC4",
        b"\xFF\xDB\0\x43\0",
        b"\xFF\xDD\0\x04\0\x01",
        b"\xFF\xEE\0\x0EAdobe",
        b"\xFF\xE1\0\x08Exif\0\0",
        b"\xFF\xD0",
        b"\xFF\xFF",
        b"\x22\0",
        b"\x44",
        b"\0",
    ],
    // The picture, what the decoder is allowed (four times the picture and a mebibyte), and
    // what it takes without being asked: some 200 bytes for each of up to 65,535 columns.
    memory: Memory { fixed: 5 * LARGEST + (1 << 20) + 200 * 65_535, per_byte: 64 },
};

fn check(input: &[u8]) {
    match jpeg::decode(input, LARGEST) {
        Ok(picture) => {
            assert!(!picture.bgr().is_empty() && picture.bgr().len() <= LARGEST);
            assert_eq!(picture.bgr().len(), bytes(picture.width(), picture.height()));
        }
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
    is_read_back(input);
}

/// The input as pixels.
fn is_read_back(pixels: &[u8]) {
    let width = (pixels.len() / 3).min(64) as u16;
    let Some(picture) = Picture::new(width, 1, pixels[..usize::from(width) * 3].to_vec()) else { return };
    let again = jpeg::decode(&jpeg::encode(&picture, 80), LARGEST).expect("what is coded can be decoded");
    assert_eq!((again.width(), again.height()), (picture.width(), picture.height()));
}

static JPEGS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let sizes = [(1, 1), (8, 8), (33, 17), (64, 48)];
    sizes
        .iter()
        .map(|&(width, height)| jpeg::encode(&Pattern::new(width, height, 25).draw(7, "12:00:00"), 60))
        .collect()
});

/// A JPEG with another size in its head, or other bytes in its data.
fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut jpeg = u.choose(&JPEGS)?.clone();
    if u.arbitrary()?
        && let Some(at) = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0])
    {
        jpeg[at + 1] = *u.choose(&[0xC0, 0xC1, 0xC2])?;
        jpeg[at + 5..][..4].copy_from_slice(&(number(u)? as u32).to_be_bytes());
    }
    for _ in 0..u.int_in_range(0..=3u8)? {
        let place = u.choose_index(jpeg.len())?;
        jpeg[place] = u.arbitrary()?;
    }
    Ok(jpeg)
}
