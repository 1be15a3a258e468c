//! Connection sockets: reading into the shared buffer, writing straight from it,
//! and half-closing.

mod due;

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;

use super::kept::Kept;
use super::outbox::{Excess, Front, Outbox, PIECES_PER_WRITE, Pace};
use super::sending::{LEAST_SLICE, SLICE};
use crate::reactor::dispatch::host::SessionKey;
use crate::reactor::readiness::Latch;
use crate::reactor::time::timers::{NEVER, SECOND};
use crate::service::effects::{Effect, Piece};
use crate::service::ids::ServiceId;
use crate::service::rooms::{Overflow, Room};
use crate::service::{CloseReason, FileRange};
use crate::system::{Ended, StreamSocket};
use crate::wording::counted;

pub(crate) use due::{Due, Terms, later};

/// How long a connection that we half-closed waits for its peer to close too,
/// unless the `linger` option says otherwise.
pub(crate) const LINGER: u64 = 10 * SECOND;

/// Where a connection is in its life: `ending.rs` has the diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// `connect` was called; the socket becomes writable when the attempt is over.
    Connecting,
    Open,
    /// It is closed in order; output is still going out.
    Finishing,
    /// We half-closed. The peer's input is discarded until its end: closing
    /// with unread input would send RST, which destroys queued output.
    Lingering,
    /// Gone; it is reaped at the end of the turn.
    Closed,
}

/// The pace of a room's member whose output exceeds the limit, since the room waits for
/// it: 64 KiB per second, over five seconds. One step of 64 KiB is forgiven, because
/// the peer's kernel may acknowledge no sooner than that much has been read.
pub(crate) const PACE_OF_MEMBER: Pace = Pace { bytes: 4 * 64 * 1024, within: 5 * SECOND };
/// The pace of a peer whose own answers exceed the limit. Nobody waits for it, so
/// anything will do; a slow reader may take seconds for one step.
pub(crate) const PACE_OF_ASKER: Pace = Pace { bytes: 1, within: 10 * SECOND };
/// What only few connections need; it is made when it is first set.
#[derive(Debug, Default)]
struct Rare {
    /// The service's own deadline.
    deadline: Option<u64>,
    paused_until: Option<u64>,
    why: Option<CloseReason>,
    jobs: Option<Jobs>,
}

/// Jobs off the loop that belong to a connection.
#[derive(Debug, Default)]
struct Jobs {
    /// Those that have not come back.
    in_flight: u32,
    ended: Ended,
}

impl Drop for Jobs {
    /// They have ended, or their connection is gone.
    fn drop(&mut self) {
        self.ended.set();
    }
}

/// A connection. What an idle one does not need is boxed, and absent.
///
/// The fields are in the order of their use. With its place in the slab a
/// connection fills two adjacent cache lines, and what every message needs comes
/// first. With thousands of busy connections, each further line costs one cache
/// miss per message (measured with 5,000 connections: 3 % of an echo).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Stream {
    pub socket: StreamSocket,
    pub session: SessionKey,
    pub service: ServiceId,
    /// The room that it publishes to. While that is full, the connection is left
    /// unread.
    pub room: Option<Room>,
    pub latch: Latch,
    pub state: State,
    /// The peer's end of input has been read.
    pub end_of_input: bool,
    /// The service asked for `room_to_send`.
    pub more_to_send: bool,
    /// The service is to be shown again what it left unread before more is read: it
    /// has not gone through it, because it yielded or was paused.
    pub show_again: bool,
    pub counted_peer: bool,
    /// We made this connection. It is read even while it has unsent output: a
    /// server that answers while we are still asking takes no more once its answers
    /// are not read, and then neither side would ever go on.
    pub is_outbound: bool,
    pub outbox: Option<Box<Outbox>>,
    pub kept: Option<Box<Kept>>,
    rare: Option<Box<Rare>>,
    /// When a byte last moved, in either direction; when lingering began.
    active: u64,
    pub received: u64,
    pub sent: u64,
    pub peer: SocketAddr,
    opened: u64,
    /// The earliest wake-up that the timers hold for it, or [`NEVER`]: two cache
    /// lines have no room for an `Option`.
    pub armed: u64,
}

/// The outcome of one read.
pub(crate) enum ReadOutcome {
    Bytes(usize),
    EndOfInput,
    /// There was nothing to read after all.
    Blocked,
    Failed(CloseReason),
}

/// What the pieces of an answer refer to.
pub(crate) struct Parts<'a> {
    pub scratch: &'a [u8],
    pub input: &'a [u8],
    pub others: &'a [Effect],
}

impl<'a> Parts<'a> {
    #[inline(always)]
    fn slice(&self, piece: &Piece) -> Option<IoSlice<'a>> {
        match piece {
            Piece::Scratch(range) => Some(IoSlice::new(&self.scratch[range.clone()])),
            Piece::Input(range) => Some(IoSlice::new(&self.input[range.clone()])),
            Piece::File(_) => None,
        }
    }

    fn file(&self, piece: &Piece) -> Option<&'a FileRange> {
        match piece {
            Piece::File(at) => match self.others.get(*at) {
                Some(Effect::SendFile(range)) => Some(range),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What went out of the unsent output.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flushed {
    pub written: usize,
    /// What the calls of sendfile count as, in bytes of files.
    pub file_work: usize,
}

/// Writing failed, after some bytes had been written all the same.
#[derive(Debug)]
pub(crate) struct Cut {
    pub written: usize,
    pub why: CloseReason,
}

impl Stream {
    pub fn new(
        socket: StreamSocket,
        peer: SocketAddr,
        service: ServiceId,
        session: SessionKey,
        state: State,
        now: u64,
    ) -> Stream {
        Stream {
            socket,
            session,
            service,
            room: None,
            latch: Latch::default(),
            state,
            end_of_input: false,
            more_to_send: false,
            show_again: false,
            counted_peer: false,
            is_outbound: state == State::Connecting,
            outbox: None,
            kept: None,
            rare: None,
            peer,
            opened: now,
            active: now,
            armed: NEVER,
            received: 0,
            sent: 0,
        }
    }

    /// The outcome of `connect`: `None` while it is still in progress.
    pub fn connected(&mut self, now: u64) -> Option<io::Result<()>> {
        match self.socket.take_error() {
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
            Ok(None) => {}
        }
        match self.socket.peer_addr() {
            Ok(peer) => {
                self.peer = peer;
                self.state = State::Open;
                self.active = now;
                Some(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// Reads once into `buffer` and updates the latch.
    #[inline(always)]
    pub fn read(&mut self, buffer: &mut [u8], now: u64) -> ReadOutcome {
        let outcome = loop {
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                outcome => break outcome,
            }
        };
        match outcome {
            Ok(0) => {
                // It stays latched: a reset may lie behind it.
                self.end_of_input = true;
                ReadOutcome::EndOfInput
            }
            Ok(count) => {
                if count < buffer.len() {
                    self.latch.short_read();
                }
                self.active = now;
                self.received += count as u64;
                ReadOutcome::Bytes(count)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.latch.drained();
                ReadOutcome::Blocked
            }
            Err(error) => ReadOutcome::Failed(reason(error)),
        }
    }

    /// Once the peer's end was read, or while nothing is read, no read tells of a reset,
    /// so it is asked for when something has happened.
    pub fn look_for_reset(&mut self) -> Result<(), CloseReason> {
        if self.end_of_input {
            self.latch.drained();
        }
        match self.socket.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => Err(reason(error)),
        }
    }

    /// Sends an answer: in one write, and without a copy unless the socket refuses some of
    /// it. Files are only queued: [`Reactor::send_on`](crate::reactor::Reactor::send_on)
    /// sees to it that they go out.
    #[inline(always)]
    pub fn answer(&mut self, pieces: &[Piece], parts: &Parts<'_>, now: u64) -> Result<usize, Cut> {
        if let ([piece], None) = (pieces, &self.outbox)
            && let Some(slice) = parts.slice(piece)
        {
            return self.write_or_keep(&[slice], now).map_err(|why| Cut { written: 0, why });
        }
        let mut total = 0;
        for group in pieces.chunk_by(|one, next| !one.is_file() && !next.is_file()) {
            total += match (group, parts.file(&group[0])) {
                (_, Some(range)) => {
                    self.outbox.get_or_insert_with(|| Box::new(Outbox::new(now))).push_file(range);
                    0
                }
                (group, None) => self
                    .answer_with_bytes(group, parts, now)
                    .map_err(|cut| Cut { written: total + cut.written, ..cut })?,
            };
        }
        Ok(total)
    }

    fn answer_with_bytes(&mut self, pieces: &[Piece], parts: &Parts<'_>, now: u64) -> Result<usize, Cut> {
        let mut total = 0;
        for group in pieces.chunks(PIECES_PER_WRITE) {
            // If there is an outbox, something comes first: what the socket has refused,
            // or a file.
            if self.outbox.is_none() {
                let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
                for (target, slice) in slices.iter_mut().zip(group.iter().filter_map(|it| parts.slice(it))) {
                    *target = slice;
                }
                let written = self.write_or_keep(&slices[..group.len()], now);
                total += written.map_err(|why| Cut { written: total, why })?;
            } else {
                for slice in group.iter().filter_map(|piece| parts.slice(piece)) {
                    self.keep(Bytes::copy_from_slice(&slice), false, now);
                }
            }
        }
        Ok(total)
    }

    /// Writes what the socket takes, and keeps a copy of the rest.
    #[inline(always)]
    fn write_or_keep(&mut self, slices: &[IoSlice<'_>], now: u64) -> Result<usize, CloseReason> {
        let mut written = self.write(slices, now)?;
        let count = written;
        for slice in slices {
            let refused = &slice[written.min(slice.len())..];
            written -= slice.len() - refused.len();
            if !refused.is_empty() {
                // A short write too means that an event will announce room.
                self.latch.write_blocked();
                self.keep(Bytes::copy_from_slice(refused), true, now);
            }
        }
        Ok(count)
    }

    /// Delivers a room's turn: `ranges` of `bytes`, which many members share.
    pub fn deliver(
        &mut self,
        bytes: &Bytes,
        ranges: &[Range<usize>],
        overflow: Overflow,
        now: u64,
    ) -> Result<usize, Cut> {
        let mut total = 0;
        for group in ranges.chunks(PIECES_PER_WRITE) {
            let mut written = 0;
            if self.outbox.is_none() {
                let mut slices = [IoSlice::new(&[]); PIECES_PER_WRITE];
                for (slice, range) in slices.iter_mut().zip(group) {
                    *slice = IoSlice::new(&bytes[range.clone()]);
                }
                let outcome = self.write(&slices[..group.len()], now);
                written = outcome.map_err(|why| Cut { written: total, why })?;
                total += written;
                if written < group.iter().map(Range::len).sum() {
                    self.latch.write_blocked();
                }
            }
            for range in group {
                let out = written.min(range.len());
                written -= out;
                if out < range.len() {
                    let rest = bytes.slice(range.start + out..range.end);
                    let outbox = self.outbox.get_or_insert_with(|| Box::new(Outbox::new(now)));
                    match overflow {
                        Overflow::Disconnect => outbox.push_shared(rest, out > 0),
                        Overflow::LatestFrame => outbox.push_latest(rest, out > 0, bytes.len()),
                    }
                }
            }
        }
        Ok(total)
    }

    /// Queues bytes behind the output that is unsent already.
    pub fn keep(&mut self, bytes: Bytes, begun: bool, now: u64) {
        self.outbox.get_or_insert_with(|| Box::new(Outbox::new(now))).push(bytes, begun);
    }

    /// Sends unsent output, as much of it as the socket takes, but no more than a slice of
    /// files.
    pub fn flush(&mut self, now: u64) -> Result<Flushed, Cut> {
        let Some(mut outbox) = self.outbox.take() else { return Ok(Flushed::default()) };
        let socket = &mut self.socket;
        let mut flushed = Flushed::default();
        let mut left = SLICE;
        let outcome = loop {
            match outbox.front() {
                Front::Nothing | Front::ColdFile => break Ok(()),
                Front::Bytes => {
                    let (written, outcome) = outbox.write(|slices| socket.write_vectored(slices));
                    flushed.written += written;
                    let is_refused = outbox.front() == Front::Bytes;
                    if outcome.is_err() || is_refused {
                        self.latch.write_blocked();
                        break outcome;
                    }
                }
                Front::File if left == 0 => break Ok(()),
                Front::File => {
                    let slice =
                        outbox.send_slice(left, |file, offset, count| socket.send_file(file, offset, count));
                    flushed.written += slice.taken;
                    let work = slice.taken.max(LEAST_SLICE);
                    flushed.file_work += work;
                    left = left.saturating_sub(work);
                    if slice.is_refused {
                        self.latch.write_blocked();
                    }
                    if slice.outcome.is_err() || slice.is_refused {
                        break slice.outcome;
                    }
                }
            }
        };
        self.sent += flushed.written as u64;
        if let Err(error) = outcome {
            return Err(Cut { written: flushed.written, why: reason(error) });
        }
        if flushed.written > 0 {
            outbox.progress = now;
            self.active = now;
        }
        if !outbox.is_empty() {
            self.outbox = Some(outbox);
        }
        Ok(flushed)
    }

    /// Whether unsent output can go out without an event: the socket has not refused it, and
    /// it does not wait for a disk.
    pub fn can_send(&self) -> bool {
        self.latch.is_writable()
            && matches!(self.state, State::Open | State::Finishing)
            && self.outbox.as_ref().is_some_and(|outbox| outbox.front() != Front::ColdFile)
    }

    #[inline(always)]
    fn write(&mut self, slices: &[IoSlice<'_>], now: u64) -> Result<usize, CloseReason> {
        loop {
            let outcome = match slices {
                [slice] => self.socket.write(slice),
                slices => self.socket.write_vectored(slices),
            };
            match outcome {
                Ok(written) => {
                    self.active = now;
                    self.sent += written as u64;
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.latch.write_blocked();
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(reason(error)),
            }
        }
    }

    /// Signals the end of our output. Afterwards the connection lingers, or is
    /// closed if the peer's end was read before.
    pub fn half_close(&mut self, now: u64) {
        if self.end_of_input || self.socket.half_close().is_err() {
            self.state = State::Closed;
        } else {
            self.state = State::Lingering;
            self.active = now;
            self.kept = None;
            self.show_again = false;
        }
    }

    /// Makes the close that follows send RST.
    pub fn reset_on_close(&mut self) {
        self.socket.reset_on_close();
    }

    /// Records why it ends; the first reason stays.
    pub fn because(&mut self, why: CloseReason) {
        self.rare().why.get_or_insert(why);
    }

    pub fn close_reason(&mut self) -> CloseReason {
        self.rare.as_mut().and_then(|rare| rare.why.take()).unwrap_or(CloseReason::ByPeer)
    }

    /// The service's own deadline.
    pub fn set_deadline(&mut self, at: Option<u64>) {
        if at.is_some() || self.rare.is_some() {
            self.rare().deadline = at;
        }
    }

    /// Pauses it until then, or ends the pause. A paused connection is left unread.
    pub fn set_pause(&mut self, until: Option<u64>) {
        if until.is_some() || self.rare.is_some() {
            self.rare().paused_until = until;
        }
    }

    /// When its pause ends, or [`NEVER`] if only its service ends it.
    pub fn paused_until(&self) -> Option<u64> {
        self.rare.as_ref().and_then(|rare| rare.paused_until)
    }

    /// A job that it asked for is done off the loop. Returns what tells the job that the
    /// connection has ended.
    pub fn job_began(&mut self) -> Ended {
        let jobs = self.rare().jobs.get_or_insert_default();
        jobs.in_flight += 1;
        jobs.ended.clone()
    }

    /// Its answer has come.
    pub fn job_ended(&mut self) {
        if let Some(jobs) = self.rare.as_mut().and_then(|rare| rare.jobs.as_mut()) {
            jobs.in_flight = jobs.in_flight.saturating_sub(1);
        }
    }

    /// It has ended: what has not begun of its jobs need not be done.
    pub fn end_jobs(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.jobs = None;
        }
    }

    /// Whether something is left to do for it: to send, to read, or to wait for off the
    /// loop.
    pub fn is_busy(&self, now: u64) -> bool {
        self.outbox.is_some()
            || self.more_to_send
            || self.show_again
            || self.latch.is_readable() && !self.end_of_input && !self.is_paused(now)
            || self.rare.as_ref().and_then(|rare| rare.jobs.as_ref()).is_some_and(|jobs| jobs.in_flight > 0)
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether it is open and has nothing to send: then it only has to be read.
    pub fn is_plainly_open(&self) -> bool {
        self.state == State::Open && self.outbox.is_none() && !self.more_to_send
    }

    /// Whether output must go out before the connection is read: an accepted peer
    /// that does not take its answers cannot ask for more.
    pub fn holds_back_reading(&self) -> bool {
        self.outbox.is_some() && !(self.is_outbound && self.state == State::Open)
    }

    /// The cost of its unsent output, in bytes.
    pub fn unsent(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.cost())
    }

    /// The part of that cost that is not due to rooms.
    pub fn own_output(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.sent())
    }

    /// Whether its unsent output exceeds a limit; 0 means no limit.
    pub fn exceeds(&self, limit: usize) -> bool {
        limit != 0 && self.unsent() > limit
    }

    /// Whether its unsent output exceeds a limit. If so, its peer has to keep a pace
    /// from now on, see [`Stream::keeps_pace`].
    pub fn watch_output(&mut self, limit: usize, pace: Pace, now: u64) -> bool {
        let exceeds = self.exceeds(limit);
        if let Some(outbox) = &mut self.outbox
            && exceeds
            && outbox.excess.is_none_or(|excess| excess.pace != pace && pace == PACE_OF_MEMBER)
        {
            let acknowledged = self.socket.acknowledged(self.sent);
            outbox.excess = Some(Excess { limit, pace, since: now, acknowledged });
        }
        exceeds
    }

    /// Whether its peer, whose output exceeds the limit, has taken enough since it was
    /// last asked.
    pub fn keeps_pace(&mut self, now: u64) -> bool {
        let acknowledged = self.socket.acknowledged(self.sent);
        let waits_for_us = self.latch.is_writable();
        let Some(excess) = self.outbox.as_mut().and_then(|outbox| outbox.excess.as_mut()) else {
            return true;
        };
        let taken = acknowledged.saturating_sub(excess.acknowledged);
        (excess.since, excess.acknowledged) = (now, acknowledged);
        waits_for_us || taken >= excess.pace.bytes
    }

    /// Whether its peer has taken anything since it was last asked. The kernel says
    /// that a socket is writable only when much of its buffer is free again, which
    /// takes a slow reader minutes, so this asks what the peer has acknowledged.
    pub fn takes_output(&mut self, now: u64) -> bool {
        let acknowledged = self.socket.acknowledged(self.sent);
        let Some(outbox) = &mut self.outbox else { return true };
        if self.latch.is_writable() {
            // A file waits for its disk, or for its turn: that is no fault of the peer.
            outbox.acknowledged = None;
            outbox.progress = now;
            return true;
        }
        let before = outbox.acknowledged.replace(acknowledged);
        let takes = before.is_none_or(|before| acknowledged > before);
        if takes {
            outbox.progress = now;
        }
        takes
    }

    /// Something may be there to be read or shown again, and nothing keeps the loop
    /// from it.
    pub fn may_be_read(&self, now: u64) -> bool {
        (self.latch.is_readable() && !self.end_of_input || self.show_again)
            && matches!(self.state, State::Open | State::Lingering)
            && !self.holds_back_reading()
            && !self.is_paused(now)
            && !self.latch.is_parked()
    }

    /// When a byte last moved, or lingering began.
    pub fn active(&self) -> u64 {
        self.active
    }

    /// It is left unread until its service says otherwise. After a pause of limited
    /// length, reading tells of a reset soon enough.
    pub fn is_unread_until_resumed(&self) -> bool {
        self.state == State::Open && self.paused_until() == Some(NEVER)
    }

    pub fn is_paused(&self, now: u64) -> bool {
        self.paused_until().is_some_and(|until| until > now)
    }

    /// One line for the log at debug.
    pub fn summary(&self, now: u64) -> String {
        format!(
            "{} in, {} out, {:.3} s",
            counted(self.received as usize, "byte"),
            counted(self.sent as usize, "byte"),
            now.saturating_sub(self.opened) as f64 / SECOND as f64
        )
    }
}

fn reason(error: io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => CloseReason::Reset,
        // Of a file: reading a socket that has ended is no error.
        io::ErrorKind::UnexpectedEof => CloseReason::FileShrank,
        _ => CloseReason::Failed(error),
    }
}
