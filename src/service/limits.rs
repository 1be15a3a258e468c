//! What a connection, a peer or the whole daemon may use.

use std::time::Duration;

/// Bounds on what connections and peers may use. Every service has its own
/// copy; `None`, or 0 for a count or a size, turns a limit off, unless it says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections open at once. One more is turned away.
    pub connections: usize,
    /// Connections open at once from one IP address. One more is turned away. If it is
    /// `None`, an address other than loopback may have a quarter of the service's
    /// `connections`, and in all services together a quarter of the reactor's.
    pub connections_per_peer: Option<usize>,
    /// How long a connection that the service asked for may take to be established.
    pub connect_timeout: Option<Duration>,
    /// A connection that neither sent nor took a byte for this long is closed.
    pub idle_timeout: Option<Duration>,
    /// From the first byte of a message to its last one. It runs per message and
    /// not per byte, so that a slow sender cannot hold a slot forever.
    pub message_timeout: Option<Duration>,
    /// How long output may wait while the peer acknowledges not a single byte of it.
    /// That is looked at when the time is over, so the peer is given up after one to
    /// two times as long.
    pub send_timeout: Option<Duration>,
    /// Bytes of a line, and of what a service leaves unread.
    pub line_length: usize,
    /// Bytes that may wait for a peer. A peer above it is dropped if it takes nothing
    /// for ten seconds or is sent more unasked; a member of a room, for which the room
    /// then waits, if it takes less than 64 KiB per second for five.
    pub output_limit: usize,
    /// Messages per second from one member of a room, for services that limit them.
    pub messages_per_second: Rate,
    /// Answers per second to one source address, over UDP.
    pub datagrams_per_second: Rate,
    /// How long output, answers that are worked out off the loop, and what is being
    /// written to a disk may take once the reactor is told to end. Idle connections are closed at once.
    pub drain_timeout: Option<Duration>,
}

impl Limits {
    /// How much a service may leave unread, of at most `longest` that can be kept.
    pub(crate) fn longest_unread(&self, longest: usize) -> usize {
        if self.line_length == 0 { longest } else { self.line_length.min(longest) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 0,
            connections_per_peer: None,
            connect_timeout: Some(Duration::from_secs(10)),
            idle_timeout: Some(Duration::from_secs(30 * 60)),
            message_timeout: Some(Duration::from_secs(10)),
            send_timeout: Some(Duration::from_secs(60)),
            line_length: 64 * 1024,
            output_limit: 1024 * 1024,
            messages_per_second: Rate { per_second: 20, burst: 100, loopback: false },
            datagrams_per_second: Rate { per_second: 1000, burst: 1000, loopback: false },
            drain_timeout: Some(Duration::from_secs(5)),
        }
    }
}

/// A token bucket's size: `burst` at once, refilled by `per_second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back each second; 0 turns the limit off.
    pub per_second: u32,
    /// Tokens that a full bucket holds.
    pub burst: u32,
    /// Whether it also applies to peers on the loopback interface.
    pub loopback: bool,
}

impl Rate {
    /// No limit at all.
    pub const OFF: Rate = Rate { per_second: 0, burst: 0, loopback: false };

    /// The limit as a setting gives it: it applies to every peer, and five seconds'
    /// worth may come at once. 0 is [`Rate::OFF`].
    pub fn per_second(per_second: u32) -> Rate {
        Rate { per_second, burst: per_second.saturating_mul(5), loopback: true }
    }
}
