//! What the reactor counts.

use super::Bound;

/// What one service has done so far, see
/// [`Context::ask_for_reports`](super::Context::ask_for_reports).
#[derive(Debug, Clone)]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub addresses: Vec<Bound>,
    /// Whether it was stopped, because it failed inside too often.
    pub is_stopped: bool,
    /// The part of the counts that is its own; the turns are those of the reactor.
    pub statistics: Statistics,
}

/// Counts since the reactor's start. Bytes are payload, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections open now, outbound ones included.
    pub connections: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections turned away: a limit was reached, or no descriptor was free.
    pub refused: u64,
    /// Connections given up because they did not take their output.
    pub too_slow: u64,
    /// Connections that reached a timeout.
    pub timed_out: u64,
    /// Bytes read from connections.
    pub bytes_received: u64,
    /// Bytes written to connections.
    pub bytes_sent: u64,
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Datagrams handed to the kernel.
    pub datagrams_sent: u64,
    /// Datagrams that were not answered or not sent: the loop guard, a rate limit,
    /// the account of an address, a full buffer, too many messages for a room's UDP
    /// members.
    pub datagrams_dropped: u64,
    /// Those among them that an address missed because it would have been sent too
    /// much for what came from it, or because nobody answers at it while a send buffer
    /// has been full.
    pub datagrams_withheld: u64,
    /// Errors that UDP sockets reported (ICMP and the like).
    pub datagram_errors: u64,
    /// Panics caught in services.
    pub panics: u64,
    /// Turns of the loop.
    pub turns: u64,
}
