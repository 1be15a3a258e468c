//! The seam between the reactor and a service.
//!
//! A [`Service`] is a state machine without socket and clock: bytes and `now` come
//! in, effects go out through the [`Context`]. So it can be tested in memory, with
//! virtual time, and with its input split anywhere (see `rehearsal`). The
//! same trait serves both ends of a connection: the daemon's services accept, the
//! clients `connect`.

pub(crate) mod any;
mod context;
pub(crate) mod effects;
mod file_range;
pub(crate) mod ids;
mod input;
pub(crate) mod limits;
pub(crate) mod offload;
pub(crate) mod options;
mod peer_sessions;
mod reasons;
pub(crate) mod rooms;
pub(crate) mod sockets;
mod statistics;
pub(crate) mod token_bucket;

use std::any::Any;
use std::io;
use std::net::SocketAddr;

pub use any::AnyService;
pub use context::Context;
pub use file_range::FileRange;
pub use ids::{ConnectionId, ServiceId, SocketId};
pub use input::Input;
pub use limits::{Limits, Rate};
pub use offload::{Answer, Lane, OffloadError};
pub use options::{DEFAULT_UDP_RECEIVE_BUFFER, DEFAULT_UDP_SEND_BUFFER, SocketOptions};
pub use peer_sessions::{Caps, Full, PeerSessions};
pub use reasons::{CloseReason, Farewell};
pub use rooms::{DatagramPeer, Membership, Overflow, Room};
pub use sockets::{Bound, DatagramSpec, LARGEST_DATAGRAM, Multicast, Transport, any_address};
pub use statistics::{ServiceReport, Statistics};
pub use token_bucket::TokenBucket;

/// What one service does. Every method has a default: implement those that your
/// protocol needs.
///
/// One value serves all connections and UDP sockets of its service; what belongs to
/// one connection is its `Session`. No method may block: anything slow goes through
/// [`Context::offload`]. A panic ends the connection that the call was about, and
/// the third panic ends the service.
pub trait Service {
    /// One connection's state.
    type Session: Default;

    /// The service starts; its sockets are open.
    fn start(&mut self, _cx: &mut Context<'_>) {}

    /// A connection that the service [asked for](Context::connect) has its session
    /// and is in progress. This is the first call about it, in the order in which
    /// connections were asked for; the next is `open` or `closed`. It cannot ask
    /// for another connection.
    fn connecting(&mut self, _session: &mut Self::Session, _cx: &mut Context<'_>) {}

    /// A connection was accepted, or one that the service asked for is established.
    fn open(&mut self, _session: &mut Self::Session, _cx: &mut Context<'_>) {}

    /// Bytes arrived. What you do not consume is shown again, in front of the next
    /// bytes. Do not leave more than the line length, unless
    /// [`Context::may_go_on`] has told you to leave the rest for later.
    fn receive(&mut self, _session: &mut Self::Session, input: &mut Input<'_>, _cx: &mut Context<'_>) {
        input.consume_all();
    }

    /// The peer half-closed: it sends no more, but still reads. `input` is what was
    /// left unread. The default closes, and what was to be sent in `room_to_send` is
    /// then never sent: implement it if an answer may be in flight.
    fn end_of_input(&mut self, _session: &mut Self::Session, _input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
    }

    /// Called once after each [`Context::more_to_send`], when the kernel has taken
    /// everything sent so far; at the earliest in the next turn. It still comes after
    /// `end_of_input`, but not after a close.
    fn room_to_send(&mut self, _session: &mut Self::Session, _cx: &mut Context<'_>) {}

    /// The deadline of [`Context::set_deadline`] has passed. `input` is what was
    /// left unread.
    fn timeout(&mut self, _session: &mut Self::Session, _input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
    }

    /// The connection is gone, or could not be made. Nothing can be sent to it any
    /// more.
    fn closed(&mut self, _session: Self::Session, _why: &CloseReason, _cx: &mut Context<'_>) {}

    /// A datagram arrived; an empty one is data too. Its source may be answered: the
    /// reactor ignores sources that answer by themselves, and limits how often each
    /// is answered.
    fn datagram(&mut self, _on: SocketId, _from: SocketAddr, _datagram: &[u8], _cx: &mut Context<'_>) {}

    /// The service's own timer went off, see [`Context::set_tick`].
    fn tick(&mut self, _cx: &mut Context<'_>) {}

    /// A UDP socket was opened, at the start or by [`Context::open_socket`], or
    /// could not be opened. Also called with an error when a connected socket
    /// learns that nobody listens, or that the system refuses its datagram (too
    /// long, no route). The tag says which socket it is: `open_socket` was given it, and
    /// the sockets of the start have their numbers, in the order in which they are given,
    /// from 0.
    fn socket(&mut self, _tag: u64, _opened: io::Result<SocketId>, _cx: &mut Context<'_>) {}

    /// A job of [`Context::offload`] is done. If a callback about a connection asked for
    /// it, this is a callback about that connection, and `session` is its session;
    /// `session` is `None` if it has ended meanwhile. A result that must not be dropped
    /// on the loop, because that would touch a disk, goes into another job then.
    fn finished(&mut self, _session: Option<&mut Self::Session>, _answer: Answer, _cx: &mut Context<'_>) {}

    /// Another service [posted](Context::post) a message.
    fn message(&mut self, _message: Message, _cx: &mut Context<'_>) {}

    /// Standard input arrived, after [`Context::read_keyboard`]; `None` at its end.
    fn keyboard(&mut self, _typed: Option<&[u8]>, _cx: &mut Context<'_>) {}

    /// How many bytes of memory a session holds that its peer can make grow, such as
    /// an unfinished value. Asked only when memory is short.
    fn footprint(&self, _session: &Self::Session) -> usize {
        0
    }

    /// How many bytes of memory the service itself holds that peers can make grow, such as
    /// a table of those that sent datagrams. The service bounds it.
    fn tables(&self) -> usize {
        0
    }

    /// What to say, in the protocol's words, to a client that is turned away or
    /// given up. Empty if the protocol has no words for it.
    fn farewell(&self, _why: Farewell) -> String {
        String::new()
    }

    /// What to say to a client that is given up, if that depends on its session: words in
    /// the middle of a file would be taken for a part of it.
    fn farewell_in(&self, _session: &Self::Session, why: Farewell) -> String {
        self.farewell(why)
    }
}

/// Something that one service sends to another.
pub type Message = Box<dyn Any + Send>;
