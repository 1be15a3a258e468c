//! Who sends the frames, over TCP or UDP: one at a time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::service::{ConnectionId, Context};
use crate::wire::datagram_frames::FrameAssembler;
use crate::wire::frames::FrameReader;

/// A publisher over UDP that sends nothing for this long has left.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
/// How often at most the log is told of what is wrong with datagrams.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The one that publishes.
#[derive(Debug)]
pub(super) enum Publisher {
    Connection(ConnectionId),
    Peer(Box<Peer>),
}

/// A publisher over UDP.
#[derive(Debug)]
pub(super) struct Peer {
    pub address: SocketAddr,
    pub heard: Instant,
    pub assembler: FrameAssembler,
    pub incomplete: Tally,
}

/// One TCP connection: a viewer until it sends something.
#[derive(Debug, Default)]
pub enum Session {
    /// It is sent frames.
    #[default]
    Viewer,
    /// It sends frames.
    Publisher(Incoming),
    /// It may not, and is being closed.
    Refused,
}

/// What a publisher sends.
#[derive(Debug)]
pub struct Incoming {
    pub(super) reader: FrameReader,
    /// When the first byte of the unfinished frame came.
    begun: Option<Instant>,
}

impl Default for Incoming {
    fn default() -> Self {
        Incoming { reader: FrameReader::keeping_prefixes(), begun: None }
    }
}

impl Incoming {
    /// Sets the deadline of an unfinished frame. It counts from the first byte, so that a
    /// slow sender gains no time.
    pub(super) fn wait(&mut self, has_finished: bool, cx: &mut Context<'_>) {
        if has_finished {
            self.begun = None;
        }
        match cx.limits().message_timeout {
            Some(limit) if self.reader.is_in_frame() => {
                if self.begun.is_none() {
                    self.begun = Some(cx.now());
                    cx.set_deadline_after(limit);
                }
            }
            _ => {
                self.begun = None;
                cx.clear_deadline();
            }
        }
    }
}

/// Counts something that would fill the log.
#[derive(Debug, Default)]
pub(super) struct Tally {
    count: u64,
    told: u64,
    last_told: Option<Instant>,
}

impl Tally {
    /// Counts up to a number. Returns it if the log is to be told.
    pub fn reaches(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.count = count;
        let is_quiet = self.last_told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY);
        if self.count == self.told || !is_quiet {
            return None;
        }
        self.last_told = Some(now);
        self.told = count;
        Some(count)
    }

    /// Counts one more.
    pub fn adds_one(&mut self, now: Instant) -> Option<u64> {
        self.reaches(self.count + 1, now)
    }

    /// What the log has not been told of.
    pub fn rest(&self) -> Option<u64> {
        (self.count > self.told).then_some(self.count)
    }
}
