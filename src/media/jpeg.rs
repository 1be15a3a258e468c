//! Codes and decodes JPEGs.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, ImageReader, Limits};
use jpeg_encoder::{ColorType, Encoder};

use super::{Picture, PictureError, bytes};

/// Makes a JPEG of a picture. `quality` goes from 1 to 100; 80 is usual.
pub fn encode(picture: &Picture, quality: u8) -> Vec<u8> {
    let mut jpeg = Vec::with_capacity(picture.bgr().len() / 8);
    append(picture.width(), picture.height(), picture.bgr(), quality, &mut jpeg);
    jpeg
}

/// Appends the JPEG of a picture, given as its blue, green and red bytes, to `out`.
///
/// # Panics
/// If there are not as many bytes as the size asks for, or none.
pub fn append(width: u16, height: u16, bgr: &[u8], quality: u8, out: &mut Vec<u8>) {
    let encoder = Encoder::new(out, quality.clamp(1, 100));
    encoder
        .encode(bgr, width, height, ColorType::Bgr)
        .expect("a picture has pixels, and as many bytes as its size says");
}

/// Decodes a JPEG of at most `max_bytes` as a picture.
pub fn decode(jpeg: &[u8], max_bytes: usize) -> Result<Picture, PictureError> {
    decode_as(ImageFormat::Jpeg, jpeg, max_bytes)
}

/// Decodes an image file of at most `max_bytes` as a picture; transparent parts become
/// black.
pub(super) fn decode_as(format: ImageFormat, file: &[u8], max_bytes: usize) -> Result<Picture, PictureError> {
    let reader = || ImageReader::with_format(Cursor::new(file), format);
    let (width, height) = reader().into_dimensions().map_err(damaged)?;
    check_size(width, height, max_bytes)?;
    let mut reader = reader();
    reader.limits(limits(max_bytes));
    from_image(reader.decode().map_err(damaged)?, max_bytes)
}

/// What a decoder may use for a picture of `max_bytes`: it may need four times as much
/// in between, for alpha channels, 16-bit samples or the coefficients of a progressive
/// JPEG.
pub(super) fn limits(max_bytes: usize) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(max_bytes as u64 * 4 + (1 << 20));
    limits
}

pub(super) fn from_image(image: DynamicImage, max_bytes: usize) -> Result<Picture, PictureError> {
    let (width, height) = check_size(image.width(), image.height(), max_bytes)?;
    let bgr = if image.color().has_alpha() {
        let over_black = |value: u8, alpha: u8| (u16::from(value) * u16::from(alpha) / 255) as u8;
        let rgba = image.into_rgba8();
        rgba.pixels().flat_map(|pixel| [2, 1, 0].map(|part| over_black(pixel[part], pixel[3]))).collect()
    } else {
        let mut rgb = image.into_rgb8().into_raw();
        rgb.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        rgb
    };
    Picture::new(width, height, bgr).ok_or_else(|| PictureError::Damaged("it has no pixels".into()))
}

fn damaged(error: image::ImageError) -> PictureError {
    PictureError::Damaged(reason(&error))
}

/// The reason that a decoder gives, in one line: some have line ends.
pub(super) fn reason(error: &image::ImageError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn check_size(width: u32, height: u32, max_bytes: usize) -> Result<(u16, u16), PictureError> {
    let too_large =
        PictureError::TooLarge { width: width as usize, height: height as usize, limit: max_bytes };
    let (Ok(width), Ok(height)) = (u16::try_from(width), u16::try_from(height)) else {
        return Err(too_large);
    };
    if bytes(width, height) > max_bytes { Err(too_large) } else { Ok((width, height)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    const MEBIBYTE: usize = 1 << 20;

    /// A picture whose quarters are blue, green, red and white.
    fn quarters() -> Picture {
        let mut picture = Picture::black(64, 48);
        picture.fill(0..32, 0..24, [255, 0, 0]);
        picture.fill(32..64, 0..24, [0, 255, 0]);
        picture.fill(0..32, 24..48, [0, 0, 255]);
        picture.fill(32..64, 24..48, [255, 255, 255]);
        picture
    }

    #[test]
    fn a_picture_looks_the_same_after_coding_and_decoding() {
        let picture = quarters();
        let jpeg = encode(&picture, 90);
        assert_eq!(wire::frames::kind(&jpeg), Ok(wire::frames::FrameKind::Jpeg));
        assert_eq!(wire::jpeg::dimensions(&jpeg), Some((64, 48)));
        let decoded = decode(&jpeg, MEBIBYTE).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (64, 48));
        for (column, row) in [(16, 12), (48, 12), (16, 36), (48, 36)] {
            let (expected, found) = (picture.pixel(column, row), decoded.pixel(column, row));
            let near = expected.iter().zip(found).all(|(a, b)| a.abs_diff(b) < 8);
            assert!(near, "{found:?} in place of {expected:?}");
        }
    }

    #[test]
    fn a_better_quality_makes_a_longer_jpeg_and_an_odd_one_none_at_all() {
        let picture = quarters();
        assert!(encode(&picture, 95).len() > encode(&picture, 10).len());
        assert_eq!(encode(&picture, 0), encode(&picture, 1));
        assert_eq!(encode(&picture, 255), encode(&picture, 100));
    }

    #[test]
    fn a_jpeg_larger_than_allowed_is_not_decoded() {
        let jpeg = encode(&quarters(), 80);
        assert!(decode(&jpeg, 64 * 48 * 3).is_ok());
        let limit = 64 * 48 * 3 - 1;
        assert_eq!(decode(&jpeg, limit), Err(PictureError::TooLarge { width: 64, height: 48, limit }));
        // 65535 × 65535 pixels, announced in a few bytes.
        let mut huge = jpeg;
        let size = huge.windows(4).position(|bytes| bytes == [0, 48, 0, 64]).unwrap();
        huge[size..size + 4].fill(0xFF);
        assert!(matches!(decode(&huge, MEBIBYTE), Err(PictureError::TooLarge { width: 65535, .. })));
    }

    #[test]
    fn why_a_jpeg_is_damaged_is_one_line() {
        let error = decode(b"", MEBIBYTE).unwrap_err().to_string();
        assert!(error.starts_with("the picture cannot be decoded: "), "{error}");
        assert!(!error.contains(char::is_control) && error.trim() == error, "{error:?}");
    }

    #[test]
    fn what_is_no_jpeg_is_refused() {
        for bytes in [&b""[..], b"\xFF\xD8\xFF\xD9", b"\x89PNG\r\n\x1a\n", &[0xFF; 100]] {
            assert!(matches!(decode(bytes, MEBIBYTE), Err(PictureError::Damaged(_))), "{bytes:02x?}");
        }
    }
}
