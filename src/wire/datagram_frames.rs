//! Frames of the course's video programs on UDP: 640 × 480 pixels of three bytes in
//! twenty datagrams, each with its number (0 to 19) in front of 46,080 bytes.
//!
//! Nothing in a datagram says which frame it is a piece of. So a frame counts only if
//! its pieces arrive in order and without a long pause: a piece out of order may
//! belong to the next frame, and a picture made of two would be worse than none. Only
//! the loss of exactly twenty pieces in a row, within that pause, escapes notice.

use std::fmt;
use std::time::{Duration, Instant};

use super::frames::append;

/// Pixels per row of such a frame.
pub const WIDTH: usize = 640;
/// Rows of such a frame.
pub const HEIGHT: usize = 480;
/// Datagrams per frame.
pub const PIECES: usize = 20;
/// Bytes per frame: blue, green and red for each pixel, row by row.
pub const FRAME_LENGTH: usize = WIDTH * HEIGHT * 3;
/// Bytes of the frame per datagram.
pub const PIECE_LENGTH: usize = FRAME_LENGTH / PIECES;
/// Bytes per datagram.
pub const DATAGRAM_LENGTH: usize = 1 + PIECE_LENGTH;

/// The longest pause within a frame. A sender spreads the pieces over a frame's time at
/// most, so this allows for one frame every five seconds.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Replaces `datagram` with one of the twenty that carry `frame`, which must be
/// [`FRAME_LENGTH`] bytes long.
pub fn write(frame: &[u8], piece: usize, datagram: &mut Vec<u8>) {
    datagram.clear();
    datagram.push(piece as u8);
    datagram.extend_from_slice(&frame[piece * PIECE_LENGTH..][..PIECE_LENGTH]);
}

/// A datagram that is no piece of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAPiece {
    /// Its length is not that of a piece.
    Length(usize),
    /// Its number is above 19.
    Number(u8),
}

impl fmt::Display for NotAPiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAPiece::Length(length) => {
                write!(f, "a piece of a frame has {DATAGRAM_LENGTH} bytes, and this datagram {length}")
            }
            NotAPiece::Number(number) => {
                write!(f, "a frame's pieces are numbered 0 to {}, and this datagram has {number}", PIECES - 1)
            }
        }
    }
}

impl std::error::Error for NotAPiece {}

/// Puts the frames of one sender together again.
///
/// Call [`receive`](Self::receive) with each datagram. One frame at most is held, and
/// it takes up no more than twice what has arrived.
#[derive(Debug, Default)]
pub struct FrameAssembler {
    frame: Vec<u8>,
    /// The number that follows the latest piece of the frame in progress; 0 if there is
    /// no frame in progress.
    next: usize,
    /// The frame in progress lacks a piece, and has been counted.
    is_incomplete: bool,
    /// When the latest piece arrived.
    latest: Option<Instant>,
    incomplete: u64,
}

impl FrameAssembler {
    /// Takes a datagram that arrived `now`, and returns the frame if it is the last
    /// piece of one that is complete.
    pub fn receive(&mut self, datagram: &[u8], now: Instant) -> Result<Option<Vec<u8>>, NotAPiece> {
        let (number, piece) = match datagram.split_first() {
            Some((number, piece)) if piece.len() == PIECE_LENGTH => (*number, piece),
            _ => return Err(NotAPiece::Length(datagram.len())),
        };
        let number = match usize::from(number) {
            PIECES.. => return Err(NotAPiece::Number(number)),
            number => number,
        };
        let pause = self.latest.map_or(Duration::ZERO, |latest| now.saturating_duration_since(latest));
        self.latest = Some(now);
        if number < self.next || pause > LONGEST_PAUSE {
            self.end_frame();
        }
        if number == self.next && !self.is_incomplete {
            append(&mut self.frame, piece, FRAME_LENGTH);
        } else {
            self.lose_piece();
        }
        self.next = number + 1;
        Ok(if self.next == PIECES { self.end_frame() } else { None })
    }

    /// How many frames began and did not arrive whole.
    pub fn incomplete(&self) -> u64 {
        self.incomplete
    }

    /// How many bytes an unfinished frame takes up.
    pub fn held(&self) -> usize {
        self.frame.capacity()
    }

    fn lose_piece(&mut self) {
        self.incomplete += u64::from(!self.is_incomplete);
        self.is_incomplete = true;
        self.frame = Vec::new();
    }

    /// Returns the frame in progress if it is complete, and makes way for the next one.
    fn end_frame(&mut self) -> Option<Vec<u8>> {
        if (1..PIECES).contains(&self.next) {
            self.lose_piece();
        }
        self.next = 0;
        let frame = std::mem::take(&mut self.frame);
        (!std::mem::take(&mut self.is_incomplete) && !frame.is_empty()).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame all of whose bytes are `fill`, in datagrams.
    fn datagrams(fill: u8) -> Vec<Vec<u8>> {
        let frame = vec![fill; FRAME_LENGTH];
        let datagram = |piece| {
            let mut datagram = Vec::new();
            write(&frame, piece, &mut datagram);
            datagram
        };
        (0..PIECES).map(datagram).collect()
    }

    /// Receives the pieces with these numbers of a frame filled with `fill`.
    fn receive(
        assembler: &mut FrameAssembler,
        fill: u8,
        pieces: impl IntoIterator<Item = usize>,
        now: Instant,
    ) -> Vec<Vec<u8>> {
        let datagrams = datagrams(fill);
        let pieces = pieces.into_iter();
        pieces.filter_map(|piece| assembler.receive(&datagrams[piece], now).unwrap()).collect()
    }

    #[test]
    fn twenty_pieces_make_a_frame() {
        let frame: Vec<u8> = (0..FRAME_LENGTH).map(|at| (at / 1000) as u8).collect();
        let (mut assembler, now) = (FrameAssembler::default(), Instant::now());
        let mut datagram = Vec::new();
        for piece in 0..PIECES {
            write(&frame, piece, &mut datagram);
            assert_eq!(datagram.len(), 46_081);
            let received = assembler.receive(&datagram, now).unwrap();
            assert_eq!(received.is_some(), piece == 19);
            assert!(received.is_none_or(|received| received == frame));
            assert!(assembler.held() <= 2 * (piece + 1) * PIECE_LENGTH);
        }
        assert_eq!((assembler.incomplete(), assembler.held()), (0, 0));
    }

    #[test]
    fn a_frame_that_lacks_any_piece_is_counted_and_the_next_one_arrives() {
        let now = Instant::now();
        for lost in 0..PIECES {
            let mut assembler = FrameAssembler::default();
            assert!(receive(&mut assembler, 1, (0..PIECES).filter(|piece| *piece != lost), now).is_empty());
            assert_eq!(receive(&mut assembler, 2, 0..PIECES, now), [vec![2; FRAME_LENGTH]], "without {lost}");
            assert_eq!(assembler.incomplete(), 1, "without {lost}");
        }
    }

    #[test]
    fn what_one_frame_lacks_is_not_taken_from_the_next() {
        let (mut assembler, now) = (FrameAssembler::default(), Instant::now());
        // Together they have all numbers.
        assert!(receive(&mut assembler, 1, (0..10).filter(|piece| *piece != 3), now).is_empty());
        assert!(receive(&mut assembler, 2, [3].into_iter().chain(10..20), now).is_empty());
        assert_eq!(assembler.incomplete(), 2);
        assert_eq!(receive(&mut assembler, 3, 0..20, now).len(), 1);
    }

    #[test]
    fn a_pause_ends_a_frame_even_if_the_numbers_go_on() {
        let (mut assembler, now) = (FrameAssembler::default(), Instant::now());
        receive(&mut assembler, 1, 0..10, now);
        assert!(receive(&mut assembler, 2, 10..20, now + LONGEST_PAUSE * 2).is_empty());
        assert_eq!(assembler.incomplete(), 2);
    }

    #[test]
    fn a_pause_between_frames_is_no_loss() {
        let (mut assembler, now) = (FrameAssembler::default(), Instant::now());
        receive(&mut assembler, 1, 0..20, now);
        assert_eq!(receive(&mut assembler, 2, 0..20, now + LONGEST_PAUSE * 2).len(), 1);
        assert_eq!(assembler.incomplete(), 0);
    }

    #[test]
    fn what_is_no_piece_is_refused_and_changes_nothing() {
        let (mut assembler, now) = (FrameAssembler::default(), Instant::now());
        receive(&mut assembler, 1, 0..19, now);
        assert_eq!(assembler.receive(b"", now), Err(NotAPiece::Length(0)));
        assert_eq!(assembler.receive(&[19; DATAGRAM_LENGTH - 1], now), Err(NotAPiece::Length(46_080)));
        assert_eq!(assembler.receive(&[19; DATAGRAM_LENGTH + 1], now), Err(NotAPiece::Length(46_082)));
        assert_eq!(assembler.receive(&[20; DATAGRAM_LENGTH], now), Err(NotAPiece::Number(20)));
        assert_eq!(receive(&mut assembler, 1, [19], now).len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Fewer than twenty pieces in a row are lost.
        #[test]
        fn whatever_is_lost_no_frame_mixes_two(
            lost in prop::collection::vec(prop::bool::weighted(0.1), 5 * PIECES),
        ) {
            let (mut assembler, now) = (FrameAssembler::default(), Instant::now());
            let mut whole = 0;
            for (frame, lost) in lost.chunks(PIECES).enumerate() {
                let datagrams = datagrams(frame as u8);
                for (datagram, _) in datagrams.iter().zip(lost).filter(|(_, lost)| !**lost) {
                    if let Some(received) = assembler.receive(datagram, now).unwrap() {
                        prop_assert!(received == vec![frame as u8; FRAME_LENGTH]);
                        whole += 1;
                    }
                }
            }
            let expected = lost.chunks(PIECES).filter(|lost| !lost.contains(&true)).count();
            prop_assert_eq!(whole, expected);
        }
    }
}
