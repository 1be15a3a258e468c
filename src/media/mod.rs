//! Makes, converts and stores pictures: what the video service, the web service and the
//! video clients share.
//!
//! Everything here may take milliseconds or block on a file, so the daemon calls it in
//! offloaded jobs and never on the loop.
//!
//! - [`pattern`]: the test picture.
//! - [`jpeg`]: coding and decoding JPEGs.
//! - [`convert`]: from and to numpy arrays.
//! - [`source`]: pictures from files, in a loop.
//! - [`mp4`]: recordings that play when cut anywhere.
//! - [`terminal`]: pictures as text.

pub mod convert;
pub mod jpeg;
pub mod mp4;
pub mod pattern;
pub mod source;
pub mod terminal;

use std::fmt;

/// A picture: blue, green and red bytes for each pixel, row by row, as OpenCV orders
/// them. It has at least one pixel.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u16,
    height: u16,
    bgr: Vec<u8>,
}

impl Picture {
    /// A picture of these bytes; `None` if there are not as many as the size asks for,
    /// or if it has no pixel.
    pub fn new(width: u16, height: u16, bgr: Vec<u8>) -> Option<Picture> {
        (!bgr.is_empty() && bgr.len() == bytes(width, height)).then_some(Picture { width, height, bgr })
    }

    /// A black picture. A size of 0 becomes 1.
    pub fn black(width: u16, height: u16) -> Picture {
        let (width, height) = (width.max(1), height.max(1));
        Picture { width, height, bgr: vec![0; bytes(width, height)] }
    }

    /// Pixels per row.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// Its bytes.
    pub fn bgr(&self) -> &[u8] {
        &self.bgr
    }

    /// Its bytes, without the size.
    pub fn into_bgr(self) -> Vec<u8> {
        self.bgr
    }

    /// The blue, green and red of one pixel, which must be in the picture.
    pub fn pixel(&self, column: u16, row: u16) -> [u8; 3] {
        let at = (usize::from(row) * usize::from(self.width) + usize::from(column)) * 3;
        [self.bgr[at], self.bgr[at + 1], self.bgr[at + 2]]
    }

    /// Colours the part of a rectangle that lies in the picture.
    fn fill(&mut self, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>, colour: [u8; 3]) {
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let columns = columns.start.min(width)..columns.end.min(width);
        for row in rows.start.min(height)..rows.end.min(height) {
            let start = (row * width + columns.start) * 3;
            let (pixels, _) = self.bgr[start..start + columns.len() * 3].as_chunks_mut();
            pixels.fill(colour);
        }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({}x{})", self.width, self.height)
    }
}

/// How many bytes a picture of this size has.
pub fn bytes(width: u16, height: u16) -> usize {
    usize::from(width) * usize::from(height) * 3
}

/// The reason why something does not become a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PictureError {
    /// The picture has more bytes than are allowed.
    TooLarge {
        /// Pixels per row.
        width: usize,
        /// Rows.
        height: usize,
        /// The most bytes that are allowed.
        limit: usize,
    },
    /// It has a number of channels other than 1 (grey), 3 (BGR) or 4 (BGRA).
    Channels(usize),
    /// It cannot be decoded, for this reason.
    Damaged(String),
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PictureError::TooLarge { width, height, limit } => {
                write!(
                    f,
                    "a picture of {width}x{height} pixels is larger than the {limit} bytes that are allowed"
                )
            }
            PictureError::Channels(number) => {
                write!(f, "a picture has 1, 3 or 4 bytes per pixel, and this one {number}")
            }
            PictureError::Damaged(why) => write!(f, "the picture cannot be decoded: {why}"),
        }
    }
}

impl std::error::Error for PictureError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_as_many_bytes_as_its_size_says_and_at_least_one_pixel() {
        assert!(Picture::new(2, 1, vec![0; 6]).is_some());
        assert!(Picture::new(2, 1, vec![0; 5]).is_none());
        assert!(Picture::new(0, 1, vec![]).is_none());
        assert_eq!(Picture::black(0, 0).bgr().len(), 3);
    }

    #[test]
    fn a_rectangle_is_cut_at_the_edges() {
        let mut picture = Picture::black(3, 2);
        picture.fill(2..9, 1..9, [1, 2, 3]);
        picture.fill(7..9, 0..9, [9, 9, 9]);
        assert_eq!(picture.bgr()[..15], [0; 15]);
        assert_eq!(picture.pixel(2, 1), [1, 2, 3]);
    }
}
