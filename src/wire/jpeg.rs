//! Finds JPEGs in a stream that holds one after another, as `ffmpeg -f mjpeg -`
//! writes it.
//!
//! The bytes FF D9, which end a JPEG, may also stand inside one: cameras put a
//! thumbnail, itself a JPEG, into a segment of the file's head. So the segments are
//! followed by their lengths, and an end marker counts only where a marker can be.

use std::fmt;

use super::frames::append;

/// The markers that matter here, the byte behind an FF; ITU T.81, table B.1.
mod marker {
    pub const TEM: u8 = 0x01;
    pub const SOF0: u8 = 0xC0;
    pub const DHT: u8 = 0xC4;
    pub const JPG: u8 = 0xC8;
    pub const DAC: u8 = 0xCC;
    pub const SOF15: u8 = 0xCF;
    pub const RST0: u8 = 0xD0;
    pub const RST7: u8 = 0xD7;
    pub const SOI: u8 = 0xD8;
    pub const EOI: u8 = 0xD9;
    pub const SOS: u8 = 0xDA;
}

/// A JPEG that is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong {
    /// The most that is allowed.
    pub limit: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JPEG is longer than the {} bytes that are allowed", self.limit)
    }
}

impl std::error::Error for TooLong {}

/// Where in a JPEG the next byte stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    /// Between two JPEGs.
    #[default]
    Outside,
    /// Between two JPEGs, behind an FF.
    OutsideFf,
    /// Where a marker begins.
    Marker,
    /// Behind the FF of a marker.
    MarkerCode,
    /// In front of the length of a segment.
    Length { code: u8 },
    /// Behind the first byte of that length.
    LengthLow { code: u8, high: u8 },
    /// In a segment that has this many bytes left.
    Segment { code: u8, left: usize },
    /// In compressed data.
    Data,
    /// In compressed data, behind an FF.
    DataFf,
}

/// Finds the JPEGs in a stream of bytes.
///
/// Call [`next`](Self::next) with the new input, minus what is consumed, until it
/// returns no JPEG. Bytes between JPEGs are skipped; a JPEG whose segments do not fit
/// together is dropped and counted, and the next one is searched behind that place.
#[derive(Debug, Default)]
pub struct JpegReader {
    place: Place,
    jpeg: Vec<u8>,
    broken: u64,
}

impl JpegReader {
    /// Takes the next JPEG from the front of `input` and returns how many bytes of it
    /// are consumed: all of them if there is no whole JPEG yet. A JPEG may be
    /// `max_bytes` long.
    pub fn next(&mut self, input: &[u8], max_bytes: usize) -> Result<(usize, Option<Vec<u8>>), TooLong> {
        let mut at = 0;
        // Where the bytes begin that belong to the JPEG and are not appended to it yet.
        let mut start = 0;
        while at < input.len() {
            let was_outside = matches!(self.place, Place::Outside | Place::OutsideFf);
            let (used, after) = advance(self.place, &input[at..]);
            at += used;
            match after {
                Place::Outside if !was_outside => {
                    if self.ends_with(marker::EOI, input[at - 1]) {
                        self.keep(&input[start..at], max_bytes)?;
                        self.place = Place::Outside;
                        return Ok((at, Some(std::mem::take(&mut self.jpeg))));
                    }
                    self.check_length(at - start, max_bytes)?;
                    self.broken += 1;
                    self.jpeg = Vec::new();
                    // The start of the next JPEG, behind one that was cut.
                    if self.ends_with(marker::SOI, input[at - 1]) {
                        self.begin();
                        start = at;
                        continue;
                    }
                }
                Place::Marker if was_outside => {
                    self.begin();
                    start = at;
                    continue;
                }
                _ => {}
            }
            self.place = after;
        }
        if !matches!(self.place, Place::Outside | Place::OutsideFf) {
            self.keep(&input[start..], max_bytes)?;
        }
        Ok((at, None))
    }

    /// How many JPEGs were dropped because their segments did not fit together.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Whether a JPEG has begun and not ended.
    pub fn is_in_jpeg(&self) -> bool {
        !self.jpeg.is_empty()
    }

    fn begin(&mut self) {
        self.jpeg.extend_from_slice(&[0xFF, marker::SOI]);
        self.place = Place::Marker;
    }

    /// Whether `last`, the byte behind `place`, is the code of this marker.
    fn ends_with(&self, marker: u8, last: u8) -> bool {
        matches!(self.place, Place::MarkerCode | Place::DataFf) && last == marker
    }

    fn keep(&mut self, bytes: &[u8], max_bytes: usize) -> Result<(), TooLong> {
        self.check_length(bytes.len(), max_bytes)?;
        append(&mut self.jpeg, bytes, max_bytes);
        Ok(())
    }

    /// Whether the JPEG may be so many bytes longer.
    fn check_length(&self, more: usize, max_bytes: usize) -> Result<(), TooLong> {
        if self.jpeg.len() + more > max_bytes { Err(TooLong { limit: max_bytes }) } else { Ok(()) }
    }
}

/// Goes on from `place` over at least one byte of `input`: how many, and the place behind
/// them.
fn advance(place: Place, input: &[u8]) -> (usize, Place) {
    let next = match (place, input[0]) {
        (Place::Outside, _) => return up_to_ff(input, Place::Outside, Place::OutsideFf),
        (Place::OutsideFf, marker::SOI) => Place::Marker,
        (Place::OutsideFf, 0xFF) => Place::OutsideFf,
        (Place::OutsideFf, _) => Place::Outside,
        (Place::Marker, 0xFF) => Place::MarkerCode,
        (Place::Marker, _) => Place::Outside,
        // Any number of FF may stand in front of a marker's code.
        (Place::MarkerCode, 0xFF) => Place::MarkerCode,
        (Place::MarkerCode, code) => behind_marker(code),
        (Place::Length { code }, high) => Place::LengthLow { code, high },
        (Place::LengthLow { code, high }, low) => match u16::from_be_bytes([high, low]) {
            0 | 1 => Place::Outside,
            2 => behind_segment(code),
            length => Place::Segment { code, left: usize::from(length) - 2 },
        },
        (Place::Segment { code, left }, _) if left <= input.len() => return (left, behind_segment(code)),
        (Place::Segment { code, left }, _) => {
            return (input.len(), Place::Segment { code, left: left - input.len() });
        }
        (Place::Data, _) => return up_to_ff(input, Place::Data, Place::DataFf),
        (Place::DataFf, 0xFF) => Place::DataFf,
        (Place::DataFf, 0 | marker::RST0..=marker::RST7) => Place::Data,
        (Place::DataFf, code) => behind_marker(code),
    };
    (1, next)
}

/// Skips to the place behind the next FF.
fn up_to_ff(input: &[u8], here: Place, behind: Place) -> (usize, Place) {
    match input.iter().position(|byte| *byte == 0xFF) {
        Some(at) => (at + 1, behind),
        None => (input.len(), here),
    }
}

fn behind_marker(code: u8) -> Place {
    match code {
        marker::TEM | marker::RST0..=marker::RST7 => Place::Marker,
        // The end, or what cannot be inside of a JPEG.
        0 | marker::SOI | marker::EOI => Place::Outside,
        code => Place::Length { code },
    }
}

fn behind_segment(code: u8) -> Place {
    if code == marker::SOS { Place::Data } else { Place::Marker }
}

/// The width and height that a JPEG announces in its frame header (SOF), without
/// decoding it. `None` if it has none in its head, or one with a 0.
pub fn dimensions(jpeg: &[u8]) -> Option<(u16, u16)> {
    let mut rest = jpeg.strip_prefix(&[0xFF, marker::SOI])?;
    loop {
        rest = rest.strip_prefix(&[0xFF])?;
        while let [0xFF, behind @ ..] = rest {
            rest = behind;
        }
        let (code, behind) = rest.split_first()?;
        rest = match behind_marker(*code) {
            Place::Marker => behind,
            Place::Length { code } => {
                let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
                let segment = behind.get(2..length)?;
                if is_frame_header(code) {
                    let [_, height_high, height_low, width_high, width_low, ..] = *segment else {
                        return None;
                    };
                    let width = u16::from_be_bytes([width_high, width_low]);
                    let height = u16::from_be_bytes([height_high, height_low]);
                    return (width > 0 && height > 0).then_some((width, height));
                }
                if code == marker::SOS {
                    return None;
                }
                &behind[length..]
            }
            _ => return None,
        };
    }
}

fn is_frame_header(code: u8) -> bool {
    matches!(code, marker::SOF0..=marker::SOF15) && !matches!(code, marker::DHT | marker::JPG | marker::DAC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A JPEG by its markers, with a thumbnail in its head and with FF in its data.
    fn jpeg(data: &[u8]) -> Vec<u8> {
        let thumbnail = [0xFF, 0xD8, 0xFF, 0xD9, 1, 2, 0xFF, 0xD9];
        let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 2 + thumbnail.len() as u8];
        jpeg.extend_from_slice(&thumbnail);
        jpeg.extend_from_slice(&[0xFF, 0xFF, 0xC0, 0, 8, 8, 1, 0xE0, 2, 0x80, 3]);
        jpeg.extend_from_slice(&[0xFF, 0xDA, 0, 3, 9]);
        for byte in data {
            jpeg.push(*byte);
            if *byte == 0xFF {
                jpeg.push(0);
            }
        }
        jpeg.extend_from_slice(&[0xFF, 0xD3, 7, 0xFF, 0xFF, 0xD9]);
        jpeg
    }

    /// Reads a stream that arrives in pieces.
    fn read(pieces: &[&[u8]], max_bytes: usize) -> Result<(Vec<Vec<u8>>, JpegReader), TooLong> {
        let (mut reader, mut found) = (JpegReader::default(), Vec::new());
        for mut piece in pieces.iter().copied() {
            loop {
                let (used, jpeg) = reader.next(piece, max_bytes)?;
                piece = &piece[used..];
                match jpeg {
                    Some(jpeg) => found.push(jpeg),
                    None => break,
                }
            }
            assert!(piece.is_empty());
        }
        Ok((found, reader))
    }

    #[test]
    fn a_thumbnail_does_not_end_a_jpeg() {
        let (one, two) = (jpeg(b"one\xFF"), jpeg(b"two"));
        let (found, reader) = read(&[&one, &two, &one[..20]], 1000).unwrap();
        assert_eq!(found, [one, two]);
        assert!(reader.is_in_jpeg());
        assert_eq!(reader.broken(), 0);
    }

    #[test]
    fn what_is_between_jpegs_is_skipped() {
        let jpeg = jpeg(b"");
        let between = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n\xFF\xFF";
        let (found, reader) =
            read(&[&[0xD8, 0xFF], b"\0", &jpeg, between, &jpeg, b"\xFF\r\n"], 1000).unwrap();
        assert_eq!(found, [jpeg.clone(), jpeg]);
        assert!(!reader.is_in_jpeg());
    }

    #[test]
    fn a_broken_jpeg_is_dropped_and_the_next_one_found() {
        let whole = jpeg(b"whole");
        let not_a_marker = b"\xFF\xD8\x00";
        let no_length = b"\xFF\xD8\xFF\xE0\0\x01";
        let cut = b"\xFF\xD8\xFF\xDA\0\x02data";
        for broken in [&not_a_marker[..], no_length, cut] {
            let (found, reader) = read(&[broken, &whole], 1000).unwrap();
            assert_eq!(found, std::slice::from_ref(&whole), "after {broken:02x?}");
            assert_eq!(reader.broken(), 1);
        }
    }

    #[test]
    fn a_jpeg_may_be_as_long_as_the_limit_and_no_longer() {
        let jpeg = jpeg(&[b'a'; 500]);
        assert_eq!(read(&[&jpeg], jpeg.len()).unwrap().0.len(), 1);
        let limit = jpeg.len() - 1;
        assert_eq!(read(&[&jpeg], limit).unwrap_err(), TooLong { limit });
        assert_eq!(read(&[&jpeg[..400], &jpeg[400..]], limit).unwrap_err(), TooLong { limit });
    }

    #[test]
    fn a_broken_jpeg_that_is_too_long_is_too_long_at_any_split() {
        let mut broken = jpeg(&[b'a'; 500]);
        broken.truncate(500);
        broken.extend_from_slice(&jpeg(b""));
        let limit = TooLong { limit: 300 };
        assert_eq!(read(&[&broken], 300).unwrap_err(), limit);
        assert_eq!(read(&[&broken[..400], &broken[400..]], 300).unwrap_err(), limit);
    }

    #[test]
    fn dimensions_are_read_from_the_frame_header() {
        assert_eq!(dimensions(&jpeg(b"")), Some((640, 480)));
        for cut in 0..30 {
            let _ = dimensions(&jpeg(b"")[..cut]);
        }
        assert_eq!(dimensions(b"\xFF\xD8\xFF\xD9"), None);
        assert_eq!(dimensions(b"\xFF\xD8\xFF\xC0\0\x01"), None);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_jpegs(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..5),
            junk in prop::collection::vec(0..=0xFEu8, 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let jpegs: Vec<Vec<u8>> = contents.iter().map(|content| jpeg(content)).collect();
            let stream = jpegs.join(&junk[..]);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let (found, reader) = read(&pieces, 1000).unwrap();
            prop_assert_eq!(found, jpegs);
            prop_assert_eq!(reader.broken(), 0);
        }

        #[test]
        fn any_bytes_give_only_jpegs(bytes in prop::collection::vec(prop_oneof![Just(0xFF), Just(0xD8), Just(0xD9), any::<u8>()], 0..300)) {
            if let Ok((found, _)) = read(&[&bytes], 200) {
                for jpeg in found {
                    prop_assert!(jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]));
                }
            }
            let _ = dimensions(&bytes);
        }
    }
}
