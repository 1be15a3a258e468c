//! Why a client is turned away, and why a connection ended.

use std::fmt;
use std::io;

/// Why a client is turned away or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// The service or the daemon has as many connections open as it may have.
    Full,
    /// The client's address has as many connections open as it may have.
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

/// Why a connection ended. The table in `reactor/ending.rs` says what is done for
/// each reason.
#[derive(Debug)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it.
    ByPeer,
    /// The service closed it.
    ByUs,
    /// The service aborted it.
    Aborted,
    /// The peer reset it: its program ended or closed with our bytes unread.
    Reset,
    /// It was given up, for a reason that the protocol may have words for.
    GivenUp(Farewell),
    /// It acknowledged nothing of its output for the send timeout.
    SendTimeout,
    /// It did not keep up: its unsent output exceeded the output limit, and it took too
    /// little of it.
    TooSlow,
    /// The memory that peers may take is used up, and it held the most of it.
    OutOfMemory,
    /// A file turned out to be shorter than the range of it that was being sent.
    FileShrank,
    /// The connection could not be made.
    NotConnected(io::Error),
    /// The daemon ends.
    ShuttingDown,
    /// There was no time left to end it in order: the drain timeout had passed, or
    /// its service was removed.
    CutOff,
    /// The kernel reported something else.
    Failed(io::Error),
    /// The service panicked in a call about it, and is not told of the end.
    Panicked,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::ByPeer => f.write_str("closed by the peer"),
            CloseReason::ByUs => f.write_str("closed by us"),
            CloseReason::Aborted => f.write_str("aborted by us"),
            CloseReason::Reset => f.write_str("reset by the peer"),
            CloseReason::GivenUp(Farewell::Idle) => f.write_str("timed out, idle"),
            CloseReason::GivenUp(Farewell::MessageTimeout) => f.write_str("timed out, unfinished message"),
            CloseReason::GivenUp(Farewell::TooLong) => f.write_str("line too long"),
            CloseReason::GivenUp(why @ (Farewell::Full | Farewell::TooManyFromPeer)) => write!(f, "{why}"),
            CloseReason::SendTimeout => f.write_str("timed out, output not taken"),
            CloseReason::TooSlow => f.write_str("too slow, output over its limit"),
            CloseReason::OutOfMemory => f.write_str("memory is used up, and it held the most"),
            CloseReason::FileShrank => f.write_str("the file became shorter while it was being sent"),
            CloseReason::NotConnected(error) => write!(f, "not connected: {error}"),
            CloseReason::ShuttingDown => f.write_str("shutting down"),
            CloseReason::CutOff => f.write_str("cut off, no time was left"),
            CloseReason::Failed(error) => write!(f, "failed: {error}"),
            CloseReason::Panicked => f.write_str("the service failed inside"),
        }
    }
}
