//! A connection's unsent output. It exists only while the socket refuses some of
//! it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

/// What a queued piece costs besides its bytes: its place in the queue and its
/// share of the allocation behind it.
pub(crate) const PIECE_COST: usize = 64;
/// Pieces handed to the kernel per `writev`.
pub(crate) const PIECES_PER_WRITE: usize = 64;

#[derive(Debug)]
struct Piece {
    bytes: Bytes,
    origin: Origin,
    /// Some of it has been sent, so the rest must follow.
    begun: bool,
}

/// Where a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The service sent it to this connection.
    Sent,
    /// Many members share it.
    Room,
    /// A later frame of the same room may take its place.
    Frame,
}

/// How much a peer must take, and in what time, as long as its unsent output exceeds
/// the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub bytes: u64,
    pub within: u64,
}

/// Unsent output that exceeds its limit: what the peer takes of it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excess {
    pub limit: usize,
    pub pace: Pace,
    pub since: u64,
    /// What the peer had acknowledged then.
    pub acknowledged: u64,
}

/// Bytes that the socket would not take, in order.
///
/// [`Outbox::push`] appends, [`Outbox::write`] offers everything to the socket, and
/// the output limit of the owner bounds [`Outbox::cost`].
#[derive(Debug)]
pub(crate) struct Outbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// The cost of what the service itself sent.
    sent: usize,
    /// When the peer was last known to take something, or when it was made.
    pub progress: u64,
    /// What the peer had acknowledged when somebody last looked.
    pub acknowledged: Option<u64>,
    pub excess: Option<Excess>,
}

impl Outbox {
    pub fn new(now: u64) -> Outbox {
        Outbox { pieces: VecDeque::new(), bytes: 0, sent: 0, progress: now, acknowledged: None, excess: None }
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// What it holds in bytes, plus [`PIECE_COST`] per piece.
    pub fn cost(&self) -> usize {
        self.bytes + self.pieces.len() * PIECE_COST
    }

    /// The part of the cost that is not due to rooms.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// The memory that it alone takes. What members of a room share is freed when the
    /// slowest of them has it, and the room waits for that one.
    pub fn own_memory(&self) -> usize {
        let own = |piece: &Piece| if piece.origin == Origin::Sent { piece.bytes.len() } else { 0 };
        self.pieces.iter().map(|piece| PIECE_COST + own(piece)).sum()
    }

    pub fn push(&mut self, bytes: Bytes, begun: bool) {
        if !bytes.is_empty() {
            self.sent += bytes.len() + PIECE_COST;
            self.push_piece(bytes, Origin::Sent, begun);
        }
    }

    /// Queues a room's messages.
    pub fn push_shared(&mut self, bytes: Bytes, begun: bool) {
        self.push_piece(bytes, Origin::Room, begun);
    }

    fn push_piece(&mut self, bytes: Bytes, origin: Origin, begun: bool) {
        self.bytes += bytes.len();
        self.pieces.push_back(Piece { bytes, origin, begun });
    }

    /// Queues a frame and drops the earlier frames of which no byte has been sent.
    pub fn push_latest(&mut self, frame: Bytes, begun: bool) {
        self.pieces.retain(|piece| piece.begun || piece.origin != Origin::Frame);
        self.bytes = self.pieces.iter().map(|piece| piece.bytes.len()).sum();
        self.push_piece(frame, Origin::Frame, begun);
    }

    /// Offers everything to `write` (a `write_vectored`) until all is out or some
    /// is refused. Returns the number of bytes taken, also if an error ended it.
    /// `WouldBlock` is no error: it ends the writing.
    pub fn write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> (usize, io::Result<()>) {
        let mut written = 0;
        while !self.pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
            let mut count = 0;
            let mut offered = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(&piece.bytes);
                offered += piece.bytes.len();
                count += 1;
            }
            let taken = match write(&slices[..count]) {
                Ok(taken) => taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return (written, Err(error)),
            };
            self.advance(taken);
            written += taken;
            if taken < offered {
                break;
            }
        }
        (written, Ok(()))
    }

    fn advance(&mut self, mut taken: usize) {
        self.bytes -= taken;
        while let Some(front) = self.pieces.front_mut() {
            let is_whole = taken >= front.bytes.len();
            let part = taken.min(front.bytes.len());
            if front.origin == Origin::Sent {
                self.sent -= part + if is_whole { PIECE_COST } else { 0 };
            }
            if !is_whole {
                front.begun |= taken > 0;
                front.bytes.advance(taken);
                break;
            }
            taken -= part;
            self.pieces.pop_front();
        }
        let cost = self.cost();
        self.excess = self.excess.filter(|excess| cost > excess.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(outbox: &mut Outbox, room: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let (written, result) = outbox.write(|slices| {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = all.len().min(room - out.len());
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            out.extend_from_slice(&all[..taken]);
            Ok(taken)
        });
        assert!(result.is_ok());
        assert_eq!(written, out.len());
        out
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_in_order(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..100), rooms in prop::collection::vec(1usize..200, 1..50)) {
            let mut outbox = Outbox::new(0);
            for piece in &pieces {
                outbox.push(Bytes::from(piece.clone()), false);
            }
            let mut out = Vec::new();
            for room in rooms.iter().cycle().take(8000) {
                if outbox.is_empty() {
                    break;
                }
                out.extend(take(&mut outbox, *room));
            }
            prop_assert_eq!(out, pieces.concat());
            prop_assert_eq!((outbox.cost(), outbox.sent()), (0, 0));
        }
    }

    #[test]
    fn a_later_frame_replaces_the_waiting_one_but_never_one_half_sent() {
        let mut outbox = Outbox::new(0);
        outbox.push(Bytes::from_static(b"answer "), false);
        outbox.push_latest(Bytes::from_static(b"one "), false);
        outbox.push_latest(Bytes::from_static(b"two "), false);
        assert_eq!(take(&mut outbox, 9), b"answer tw");
        outbox.push_latest(Bytes::from_static(b"three "), false);
        outbox.push_latest(Bytes::from_static(b"four "), false);
        assert_eq!(take(&mut outbox, 100), b"o four ");
        assert!(outbox.is_empty());
    }

    #[test]
    fn the_cost_counts_bytes_and_pieces() {
        let mut outbox = Outbox::new(0);
        outbox.push(Bytes::from_static(b"12345"), false);
        outbox.push_shared(Bytes::from_static(b"678"), false);
        assert_eq!((outbox.cost(), outbox.sent()), (8 + 2 * PIECE_COST, 5 + PIECE_COST));
        take(&mut outbox, 3);
        assert_eq!((outbox.cost(), outbox.sent()), (5 + 2 * PIECE_COST, 2 + PIECE_COST));
        take(&mut outbox, 3);
        assert_eq!((outbox.cost(), outbox.sent()), (2 + PIECE_COST, 0));
    }

    #[test]
    fn an_excess_ends_when_the_cost_is_within_the_limit_again() {
        let mut outbox = Outbox::new(0);
        outbox.push(Bytes::from_static(b"12345"), false);
        outbox.excess = Some(Excess {
            limit: PIECE_COST + 3,
            pace: Pace { bytes: 1, within: 1 },
            since: 0,
            acknowledged: 0,
        });
        take(&mut outbox, 1);
        assert!(outbox.excess.is_some());
        take(&mut outbox, 1);
        assert!(outbox.excess.is_none());
    }

    #[test]
    fn bytes_that_went_before_an_error_are_told() {
        let mut outbox = Outbox::new(0);
        for _ in 0..PIECES_PER_WRITE + 1 {
            outbox.push(Bytes::from_static(b"abc"), false);
        }
        let mut calls = 0;
        let (written, result) = outbox.write(|slices| {
            calls += 1;
            if calls == 1 { Ok(slices.len() * 3) } else { Err(io::ErrorKind::ConnectionReset.into()) }
        });
        assert_eq!(written, PIECES_PER_WRITE * 3);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
