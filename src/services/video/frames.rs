//! What a video service and the services that show its picture say to each other.
//!
//! A service asks with [`Subscribe`] and gets what is shown at that time at once, as a
//! [`Frame`] or as [`Dark`], and from then on whatever changes that. A frame is made
//! in a form only while somebody wants that form, so unsubscribe when nobody looks.

use std::time::Instant;

use bytes::Bytes;

use crate::wire::{frames, pickle};

/// Asks a video service to post its frames, in one form. Whoever has subscribed already
/// changes the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// The name of the service that the frames are posted to.
    pub to: String,
    /// How it wants them.
    pub form: Form,
}

/// Ends a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// The name that was given to [`Subscribe`].
    pub to: String,
}

/// How a frame is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// As a JPEG.
    Jpeg,
    /// As the bytes of its pixels, in the pickle of a numpy array.
    Raw,
}

/// A frame that a video service posts to its subscribers.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The name of the video service.
    pub from: String,
    /// Counts the frames of that service. A number that is missing is of a frame that a
    /// later one replaced before it was coded.
    pub number: u64,
    /// When it came from the publisher or the source.
    pub published: Instant,
    /// Its width and height in pixels, if a JPEG says so.
    pub size: Option<(u16, u16)>,
    /// The JPEG, for those who subscribed to [`Form::Jpeg`].
    pub jpeg: Option<Bytes>,
    /// The pixels, for those who subscribed to [`Form::Raw`].
    pub raw: Option<Raw>,
}

/// The pixels of a frame as they go out to TCP viewers: behind the length, in the pickle
/// of a numpy array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw {
    width: u16,
    height: u16,
    message: Bytes,
}

/// There is nothing to show: the publisher has left, or nobody has published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dark {
    /// The name of the video service.
    pub from: String,
}

impl Raw {
    /// Wraps pixels: `bgr` holds three bytes for each, row by row.
    ///
    /// # Panics
    /// If there are not as many bytes as the size asks for.
    pub fn new(width: u16, height: u16, bgr: &[u8]) -> Raw {
        assert_eq!(bgr.len(), usize::from(width) * usize::from(height) * 3, "{width}x{height}");
        let mut message = Vec::with_capacity(frames::PREFIX + pickle::OVERHEAD + bgr.len());
        message.extend_from_slice(&frames::prefix(pickle::OVERHEAD + bgr.len()));
        pickle::write(height, width, bgr, &mut message);
        Raw { width, height, message: message.into() }
    }

    /// Pixels per row.
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u16 {
        self.height
    }

    /// Blue, green and red of each pixel, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.message[frames::PREFIX + pickle::HEAD_LENGTH..self.message.len() - pickle::TAIL_LENGTH]
    }

    /// What a TCP viewer is sent: the length, then the pickle.
    pub fn message(&self) -> Bytes {
        self.message.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_stand_in_the_message_as_they_are() {
        let bgr: Vec<u8> = (0..18).collect();
        let raw = Raw::new(3, 2, &bgr);
        assert_eq!((raw.width(), raw.height(), raw.pixels()), (3, 2, &bgr[..]));
        let message = raw.message();
        let (prefix, pickled) = message.split_at(frames::PREFIX);
        assert_eq!(prefix, frames::prefix(pickled.len()));
        assert_eq!(pickle::recognize(pickled, 18).unwrap().data, bgr);
    }
}
