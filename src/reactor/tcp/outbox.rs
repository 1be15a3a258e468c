//! A connection's unsent output. It exists only while the socket refuses some of it, or
//! while a part of a file is being sent.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::sending::{Sending, Slice};
use crate::disk::File;
use crate::service::FileRange;

/// What a queued piece costs besides its bytes: its place in the queue and its
/// share of the allocation behind it.
pub(crate) const PIECE_COST: usize = 64;
/// Pieces handed to the kernel per `writev`.
pub(crate) const PIECES_PER_WRITE: usize = 64;

#[derive(Debug)]
struct Piece {
    body: Body,
    origin: Origin,
    /// Some of it has been sent, so the rest must follow.
    begun: bool,
    /// What its memory takes, also of what has been sent.
    held: usize,
}

#[derive(Debug)]
enum Body {
    Bytes(Bytes),
    File(Box<Sending>),
}

impl Body {
    /// What it takes in memory: nothing of a file.
    fn len(&self) -> usize {
        match self {
            Body::Bytes(bytes) => bytes.len(),
            Body::File(_) => 0,
        }
    }
}

/// What goes out next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    Nothing,
    Bytes,
    /// A part of a file that is in the page cache.
    File,
    /// A part of a file that waits for the disk.
    ColdFile,
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

/// Bytes that the socket would not take and parts of files, in order.
///
/// [`Outbox::push`] and [`Outbox::push_file`] append; [`Outbox::front`] says what goes
/// out next, by [`Outbox::write`] or by [`Outbox::send_slice`]. The output limit of the
/// owner bounds [`Outbox::cost`].
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

    /// The frames that wait here, each by its end in memory, and what each of them takes. A
    /// slow member may be the only one that still has one, since nobody waits for it.
    pub fn frames(&self) -> impl Iterator<Item = (usize, usize)> {
        self.pieces.iter().filter(|piece| piece.origin == Origin::Frame).filter_map(|piece| {
            match &piece.body {
                Body::Bytes(bytes) => Some((bytes.as_ptr_range().end as usize, piece.held)),
                Body::File(_) => None,
            }
        })
    }

    /// The memory that it alone takes, without [frames](Outbox::frames). What members of a
    /// room share otherwise is freed when the slowest of them has it, and the room waits for
    /// that one.
    pub fn own_memory(&self) -> usize {
        let own = |piece: &Piece| if piece.origin == Origin::Sent { piece.body.len() } else { 0 };
        self.pieces.iter().map(|piece| PIECE_COST + own(piece)).sum()
    }

    /// The memory that it takes if no room waits for it, without frames.
    pub fn memory_behind_rooms(&self) -> usize {
        let frames = self.pieces.iter().filter(|piece| piece.origin == Origin::Frame);
        self.cost() - frames.map(|piece| piece.body.len()).sum::<usize>()
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
        let held = bytes.len();
        self.pieces.push_back(Piece { body: Body::Bytes(bytes), origin, begun, held });
    }

    /// Queues a part of a file. It costs no more than its place.
    pub fn push_file(&mut self, range: &FileRange) {
        self.sent += PIECE_COST;
        let body = Body::File(Box::new(Sending::new(range)));
        self.pieces.push_back(Piece { body, origin: Origin::Sent, begun: false, held: 0 });
    }

    pub fn front(&self) -> Front {
        match self.pieces.front().map(|piece| &piece.body) {
            None => Front::Nothing,
            Some(Body::Bytes(_)) => Front::Bytes,
            Some(Body::File(sending)) if sending.is_cold() => Front::ColdFile,
            Some(Body::File(_)) => Front::File,
        }
    }

    /// Queues what is left of a frame of `whole` bytes, and drops the earlier frames of which
    /// no byte has been sent.
    pub fn push_latest(&mut self, rest: Bytes, begun: bool, whole: usize) {
        self.pieces.retain(|piece| piece.begun || piece.origin != Origin::Frame);
        self.bytes = self.pieces.iter().map(|piece| piece.body.len()).sum();
        self.push_piece(rest, Origin::Frame, begun);
        if let Some(frame) = self.pieces.back_mut() {
            frame.held = whole;
        }
    }

    /// Offers everything up to the next file to `write` (a `write_vectored`) until it is
    /// out or some is refused. Returns the number of bytes taken, also if an error ended it.
    /// `WouldBlock` is no error: it ends the writing.
    pub fn write(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> (usize, io::Result<()>) {
        let mut written = 0;
        while self.front() == Front::Bytes {
            let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
            let mut count = 0;
            let mut offered = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                let Body::Bytes(bytes) = &piece.body else { break };
                *slice = IoSlice::new(bytes);
                offered += bytes.len();
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
        while let Some(front) = self.pieces.front_mut()
            && let Body::Bytes(bytes) = &mut front.body
        {
            let is_whole = taken >= bytes.len();
            let part = taken.min(bytes.len());
            if front.origin == Origin::Sent {
                self.sent -= part + if is_whole { PIECE_COST } else { 0 };
            }
            if !is_whole {
                front.begun |= taken > 0;
                bytes.advance(taken);
                break;
            }
            taken -= part;
            self.pieces.pop_front();
        }
        self.end_excess();
    }

    fn end_excess(&mut self) {
        let cost = self.cost();
        self.excess = self.excess.filter(|excess| cost > excess.limit);
    }

    /// Offers up to `most` bytes of the file in front to `send` (a `sendfile`), as far as
    /// they are in the page cache.
    pub fn send_slice(
        &mut self,
        most: usize,
        send: impl FnMut(&File, u64, usize) -> io::Result<usize>,
    ) -> Slice {
        let Some(sending) = self.file_in_front() else { return Slice::default() };
        let slice = sending.send(most, send);
        if sending.is_over() {
            self.pieces.pop_front();
            self.sent -= PIECE_COST;
            self.end_excess();
        }
        slice
    }

    /// Whether more of the file in front is to be brought into the page cache. It is true
    /// once, until [`Outbox::was_read`] says how far that came; so long the file stays in
    /// front.
    pub fn begin_read_ahead(&mut self) -> bool {
        self.file_in_front().is_some_and(Sending::begin_read_ahead)
    }

    /// What of the file in front is to be brought into the page cache next.
    pub fn window(&mut self) -> Option<(Arc<File>, Range<u64>)> {
        self.file_in_front().map(|sending| sending.window())
    }

    /// The file in front is in the page cache up to this offset.
    pub fn was_read(&mut self, up_to: u64) {
        if let Some(sending) = self.file_in_front() {
            sending.was_read(up_to);
        }
    }

    /// Whether the file in front waits for its disk, and nobody reads it ahead.
    #[cfg(feature = "simulated")]
    pub fn is_forgotten_by_its_disk(&self) -> bool {
        self.pieces.front().is_some_and(
            |piece| matches!(&piece.body, Body::File(sending) if sending.is_cold() && !sending.is_read_ahead()),
        )
    }

    fn file_in_front(&mut self) -> Option<&mut Sending> {
        match &mut self.pieces.front_mut()?.body {
            Body::File(sending) => Some(sending),
            Body::Bytes(_) => None,
        }
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
        outbox.push_latest(Bytes::from_static(b"one "), false, 4);
        outbox.push_latest(Bytes::from_static(b"two "), false, 4);
        assert_eq!(take(&mut outbox, 9), b"answer tw");
        outbox.push_latest(Bytes::from_static(b"three "), false, 6);
        outbox.push_latest(Bytes::from_static(b"four "), false, 5);
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
