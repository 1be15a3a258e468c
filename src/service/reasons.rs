//! Why a client is turned away, and why a connection ended.

use std::fmt;
use std::io;

/// Why a client is turned away or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// As many connections are open as the service or the daemon may have.
    Full,
    /// As many connections are open as one address may have.
    TooManyFromPeer,
    /// Nothing moved for the idle timeout.
    Idle,
    /// A message was begun and not finished in time.
    MessageTimeout,
    /// More was left unread than the line length allows.
    TooLong,
}

impl fmt::Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Farewell::Full => "too many connections are open, try again later",
            Farewell::TooManyFromPeer => "too many connections from your address are open",
            Farewell::Idle => "nothing was sent for too long",
            Farewell::MessageTimeout => "the message took too long to arrive",
            Farewell::TooLong => "the line is too long",
        })
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum CloseReason {
    /// The peer closed it.
    ByPeer,
    /// The service closed it.
    ByUs,
    /// The peer reset it: its program ended or closed with our bytes unread.
    Reset,
    /// Nothing moved for the idle timeout.
    Idle,
    /// A message was begun and not finished in time.
    MessageTimeout,
    /// It took nothing of its output for the send timeout.
    SendTimeout,
    /// It did not keep up: its unsent output passed the output limit.
    TooSlow,
    /// It left more unread than the line length allows.
    TooLong,
    /// The connection could not be made.
    NotConnected(io::Error),
    /// The daemon ended.
    ShuttingDown,
    /// The kernel reported something else.
    Failed(io::Error),
}

impl From<Farewell> for CloseReason {
    fn from(why: Farewell) -> CloseReason {
        match why {
            Farewell::Idle => CloseReason::Idle,
            Farewell::MessageTimeout => CloseReason::MessageTimeout,
            Farewell::TooLong => CloseReason::TooLong,
            Farewell::Full | Farewell::TooManyFromPeer => CloseReason::ByUs,
        }
    }
}

impl CloseReason {
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, CloseReason::Idle | CloseReason::MessageTimeout | CloseReason::SendTimeout)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::ByPeer => f.write_str("closed by the peer"),
            CloseReason::ByUs => f.write_str("closed by us"),
            CloseReason::Reset => f.write_str("reset by the peer"),
            CloseReason::Idle => f.write_str("timed out, idle"),
            CloseReason::MessageTimeout => f.write_str("timed out, unfinished message"),
            CloseReason::SendTimeout => f.write_str("timed out, output not taken"),
            CloseReason::TooSlow => f.write_str("too slow, output over its limit"),
            CloseReason::TooLong => f.write_str("line too long"),
            CloseReason::NotConnected(error) => write!(f, "not connected: {error}"),
            CloseReason::ShuttingDown => f.write_str("shutting down"),
            CloseReason::Failed(error) => write!(f, "failed: {error}"),
        }
    }
}
