//! What the loop runs on: a clock, a poll, sockets, threads for what blocks.
//!
//! Everything here has two forms. The kernel's is what `onepoll` runs on. The
//! simulated one, behind the feature `simulated`, is a world in memory with
//! virtual time and seeded faults, in which the very same loop is tested. In a
//! normal build the enums have one variant, so that the choice costs nothing
//! (measured: the same instructions per echo as without it).

mod datagram;
mod kernel;
mod poll;
#[cfg(feature = "simulated")]
pub(crate) mod simulated;
mod stdin;
mod stream;
mod workers;

pub(crate) use datagram::{
    Arrival, DatagramSocket, MESSAGES_PER_CALL, Parcel, ReceiveHeaders, STRIDE, SendHeaders,
};
pub(crate) use poll::{Event, Readiness, Registry, System, Timer, Waker};
pub(crate) use stdin::StandardInput;
pub(crate) use stream::{ListenSocket, Spare, StreamSocket};
pub(crate) use workers::{Ended, Finished, Purpose, Task, Workers};

use std::io;

use mio::Token;

/// The token of the waker that offload threads and other threads use.
pub(crate) const WAKER: Token = Token(usize::MAX);
/// The token of the signal pipe.
pub(crate) const SIGNALS: Token = Token(usize::MAX - 1);
/// The token of the timer that wakes the poll for a deadline.
pub(crate) const ALARM: Token = Token(usize::MAX - 2);

/// Whether an error of `accept` says that descriptors or memory ran out: that
/// is no fault of the listener, and it passes.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

/// A socket was used with a poll of the other kind, which no code path does.
#[cfg(feature = "simulated")]
fn of_another_system() -> io::Error {
    io::Error::other("this socket belongs to another system")
}
