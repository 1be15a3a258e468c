//! What a callback asks for, kept until it has returned.
//!
//! Services never touch a socket: they note effects here, and the reactor carries
//! them out afterwards. So closing a member in the middle of a broadcast is safe,
//! and a callback that panicked is as if it had never been called.

use std::any::Any;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use super::rooms::{DatagramPeer, Room};
use super::sockets::DatagramSpec;
use crate::service::ids::{ConnectionId, SocketId};
use crate::service::{Farewell, FileRange, Lane, Message};

/// A part of the answer to the connection that the callback is about.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// Bytes of [`Effects::scratch`].
    Scratch(Range<usize>),
    /// Bytes of the input, which are still in the shared read buffer.
    Input(Range<usize>),
    /// A range of a file: an [`Effect::SendFile`], by its place among the other effects.
    File(usize),
}

impl Piece {
    pub fn is_file(&self) -> bool {
        matches!(self, Piece::File(_))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Closing {
    #[default]
    No,
    /// Finish the output, half-close, wait for the peer's end.
    Close,
    /// Like `Close`, for a reason that the log names.
    GiveUp(Farewell),
    /// At once, with a reset.
    Abort,
}

/// Whether a connection is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    Until(Instant),
    UntilResumed,
    Over,
}

/// A job for an offload thread.
pub(crate) type Job = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// What concerns anything but this connection, and the file ranges that its answer refers
/// to. These are rare.
pub(crate) enum Effect {
    SendFile(FileRange),
    Tell { to: ConnectionId, bytes: Range<usize> },
    CloseOther(ConnectionId),
    Post { service: String, message: Message },
    Offload(Lane, Job),
    OpenSocket { tag: u64, spec: DatagramSpec },
    CloseSocket(SocketId),
    Connect { to: SocketAddr, local: Option<SocketAddr> },
    Tick(Option<Instant>),
    Report(String),
    ReadKeyboard,
    PauseKeyboard,
    ResumeKeyboard,
    Stop,
    Fail(String),
}

/// A datagram to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing {
    pub to: DatagramPeer,
    pub start: usize,
    pub end: usize,
    /// An answer to the datagram of the callback, which the rate limit counts.
    pub is_answer: bool,
    /// Bytes on the wire that no question has earned: the account of its address pays
    /// for them.
    pub unearned: u32,
}

impl Outgoing {
    /// Whether it goes to an address that is known only as a source, which may be forged.
    pub fn is_to_a_source(&self) -> bool {
        self.is_answer || self.unearned > 0
    }
}

/// Bytes of the headers of a datagram (IPv4 and UDP).
const HEADERS: usize = 28;
/// What came from an address earns it this many times as much. QUIC has the same
/// bound for what is sent to an address that may be forged (RFC 9000, 8.1).
const EARNED: u32 = 3;

/// What a datagram with so many bytes of payload counts as.
fn on_the_wire(length: usize) -> u32 {
    (length + HEADERS) as u32
}

/// The effects of one callback. The vectors are reused from call to call.
#[derive(Default)]
pub(crate) struct Effects {
    pub scratch: Vec<u8>,
    pub answer: Vec<Piece>,
    pub closing: Closing,
    /// `Some(None)` clears the deadline.
    pub deadline: Option<Option<Instant>>,
    pub pause: Option<Pause>,
    pub more_to_send: bool,
    /// Messages that were taken up.
    pub messages: usize,
    /// The rest of the input waits for the callback's next turn.
    pub yields: bool,
    /// Bytes of input or answers that the session holds from now on.
    pub held: usize,
    /// A room that this connection or socket joined or published to.
    pub room: Option<Room>,
    pub others: Vec<Effect>,
}

impl Effects {
    pub fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let start = self.scratch.len();
        self.scratch.extend_from_slice(bytes);
        let end = self.scratch.len();
        match self.answer.last_mut() {
            Some(Piece::Scratch(last)) if last.end == start => last.end = end,
            _ => self.answer.push(Piece::Scratch(start..end)),
        }
    }

    pub fn send_input(&mut self, range: Range<usize>) {
        match self.answer.last_mut() {
            _ if range.is_empty() => {}
            Some(Piece::Input(last)) if last.end == range.start => last.end = range.end,
            _ => self.answer.push(Piece::Input(range)),
        }
    }

    pub fn send_file(&mut self, range: FileRange) {
        if !range.range.is_empty() {
            self.answer.push(Piece::File(self.others.len()));
            self.others.push(Effect::SendFile(range));
        }
    }

    /// Whether nothing was asked for that could move a deadline closer.
    pub fn is_only_answer(&self) -> bool {
        matches!(self.closing, Closing::No)
            && self.deadline.is_none()
            && self.pause.is_none()
            && !self.more_to_send
    }

    /// Empties it for the next callback and keeps its memory, unless one large
    /// answer made it so large that keeping it would be a waste.
    pub fn clear(&mut self) {
        const WORTH_KEEPING: usize = 512 * 1024;
        self.scratch.clear();
        self.scratch.shrink_to(WORTH_KEEPING);
        self.answer.clear();
        self.closing = Closing::No;
        self.deadline = None;
        self.pause = None;
        self.more_to_send = false;
        self.messages = 0;
        self.yields = false;
        self.held = 0;
        self.room = None;
        self.others.clear();
    }
}

/// Datagrams that callbacks have noted and the kernel has not been handed yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoings {
    pub list: Vec<Outgoing>,
    pub bytes: Vec<u8>,
    /// What the datagram of the callback has earned its sender, less the answers to
    /// it so far.
    earned: u32,
}

impl Outgoings {
    /// Notes a datagram to an address that is known only as a source, and that may
    /// have been forged: it is sent no more than its account allows.
    pub fn push(&mut self, to: DatagramPeer, datagram: &[u8], is_answer: bool) {
        let cost = on_the_wire(datagram.len());
        let covered = if is_answer { cost.min(self.earned) } else { 0 };
        self.earned -= covered;
        self.note(to, datagram, is_answer, cost - covered);
    }

    /// Notes a datagram to an address that the service chose: no source says so, and
    /// no account counts it.
    pub fn push_unprompted(&mut self, to: DatagramPeer, datagram: &[u8]) {
        self.note(to, datagram, false, 0);
    }

    fn note(&mut self, to: DatagramPeer, datagram: &[u8], is_answer: bool, unearned: u32) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.list.push(Outgoing { to, start, end: self.bytes.len(), is_answer, unearned });
    }

    /// A datagram with so many bytes came: the answers to it may cost what it earns.
    pub fn begin_answer(&mut self, length: usize) {
        self.earned = EARNED * on_the_wire(length);
    }

    /// What the answers to the datagram have left of what it earned.
    pub fn end_answer(&mut self) -> u32 {
        std::mem::take(&mut self.earned)
    }

    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes.clear();
        self.list.shrink_to(1024);
        self.bytes.shrink_to(1024 * 1024);
    }

    /// How much is noted, to return to if a callback panics.
    pub fn mark(&self) -> (usize, usize) {
        (self.list.len(), self.bytes.len())
    }

    pub fn roll_back(&mut self, (list, bytes): (usize, usize)) {
        self.list.truncate(list);
        self.bytes.truncate(bytes);
    }
}
