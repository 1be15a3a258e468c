//! The seam between the reactor and a service.
//!
//! A [`Service`] is a state machine without socket and clock: bytes and `now`
//! come in, effects go out through the [`Context`]. So it is tested in memory,
//! with virtual time, at any split of its input (see [`crate::rehearsal`]), and
//! the same trait serves both ends of a connection: the daemon's services
//! accept, the clients `connect`.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use crate::reactor::effects::{Closing, Effect, Effects, Outgoings};
use crate::reactor::rooms::{DatagramPeer, Membership, Room, Rooms};
use crate::reactor::{ConnectionId, DatagramSpec, Limits, SocketId, Statistics};

/// What one service does. Every method has a default: implement those that
/// your protocol needs.
///
/// One value serves all connections and UDP sockets of its service; what
/// belongs to one connection is its `Session`. No method may block: what takes
/// long goes through [`Context::offload`]. A panic ends the connection it
/// happened on, and the third one ends the service.
pub trait Service {
    /// One connection's state.
    type Session: Default;

    /// The service starts: its sockets are open.
    fn start(&mut self, _cx: &mut Context<'_>) {}

    /// A connection that was [asked for](Context::connect) has its session and
    /// is under way: the first call about it, in the order of the asking. Its
    /// next is `open` or `closed`. It cannot ask for another.
    fn connecting(&mut self, _session: &mut Self::Session, _cx: &mut Context<'_>) {}

    /// A connection was accepted, or one that was asked for is established.
    fn open(&mut self, _session: &mut Self::Session, _cx: &mut Context<'_>) {}

    /// Bytes arrived. What is not consumed is shown again, in front of the
    /// next bytes; more than the line length must not be left.
    fn receive(&mut self, _session: &mut Self::Session, input: &mut Input<'_>, _cx: &mut Context<'_>) {
        input.consume_all();
    }

    /// The peer half-closed: it will send no more, but can still be answered.
    /// `input` is what was left unread.
    fn end_of_input(&mut self, _session: &mut Self::Session, _input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
    }

    /// After [`Context::more_to_send`]: everything sent so far is out.
    fn room_to_send(&mut self, _session: &mut Self::Session, _cx: &mut Context<'_>) {}

    /// The deadline of [`Context::set_deadline`] passed. `input` is what was
    /// left unread.
    fn timeout(&mut self, _session: &mut Self::Session, _input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
    }

    /// The connection is gone, or could not be made. Nothing can be sent to it.
    fn closed(&mut self, _session: Self::Session, _why: &CloseReason, _cx: &mut Context<'_>) {}

    /// A datagram arrived; an empty one is data too.
    fn datagram(&mut self, _on: SocketId, _from: SocketAddr, _datagram: &[u8], _cx: &mut Context<'_>) {}

    /// The service's own timer, [`Context::set_tick`].
    fn tick(&mut self, _cx: &mut Context<'_>) {}

    /// A UDP socket was opened, at the start or by [`Context::open_socket`]; or
    /// it could not be; or a connected one learnt that nobody listens or that
    /// the system refuses its datagram (too long, no route).
    fn socket(&mut self, _opened: io::Result<SocketId>, _cx: &mut Context<'_>) {}

    /// The answer to [`Context::offload`].
    fn finished(&mut self, _answer: Answer, _cx: &mut Context<'_>) {}

    /// Something that another service [posted](Context::post).
    fn message(&mut self, _message: Message, _cx: &mut Context<'_>) {}

    /// Standard input, after [`Context::read_keyboard`]; `None` at its end.
    fn keyboard(&mut self, _typed: Option<&[u8]>, _cx: &mut Context<'_>) {}

    /// What to say, in the protocol's words, to a client that is turned away
    /// or given up. Empty: the protocol has no words for it.
    fn farewell(&self, _why: Farewell) -> String {
        String::new()
    }
}

/// Something that one service sends to another.
pub type Message = Box<dyn Any + Send>;

/// What an offloaded job came to.
pub struct Answer {
    /// The connection whose callback asked for it.
    pub connection: Option<ConnectionId>,
    /// What the job returned.
    pub result: Result<Box<dyn Any + Send>, OffloadError>,
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadError {
    /// Too many jobs wait already.
    QueueFull,
    /// The job panicked.
    Panicked,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OffloadError::QueueFull => "too many jobs are waiting",
            OffloadError::Panicked => "the job failed inside",
        })
    }
}

impl std::error::Error for OffloadError {}

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

/// A cursor over all bytes of a connection that its service has not consumed:
/// what it left unread before, then what arrived now, as one slice.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    consumed: usize,
}

impl<'a> Input<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, consumed: 0 }
    }

    /// What is not consumed yet.
    pub fn unread(&self) -> &'a [u8] {
        &self.bytes[self.consumed..]
    }

    /// Consumes the next `count` bytes (at most what there is) and says where
    /// they stand, for [`Context::send_input`].
    pub fn consume(&mut self, count: usize) -> Range<usize> {
        let start = self.consumed;
        self.consumed += count.min(self.bytes.len() - start);
        start..self.consumed
    }

    /// Consumes everything.
    pub fn consume_all(&mut self) -> Range<usize> {
        self.consume(self.bytes.len())
    }

    /// Bytes consumed so far.
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}

/// What a callback can know and ask for. Effects apply when it returns.
pub struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) system_time: Option<SystemTime>,
    pub(crate) host: u32,
    pub(crate) connection: Option<(ConnectionId, &'a SocketAddr)>,
    pub(crate) datagram: Option<&'a DatagramPeer>,
    pub(crate) input_length: usize,
    pub(crate) limits: &'a Limits,
    pub(crate) effects: &'a mut Effects,
    pub(crate) outgoing: &'a mut Outgoings,
    pub(crate) rooms: &'a mut Rooms,
    pub(crate) next_id: &'a mut u32,
    pub(crate) statistics: &'a Statistics,
}

impl Context<'_> {
    /// The time of this turn of the loop; it does not move during a turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time of this very moment, for what has to be measured within a turn.
    /// It costs a clock read, about 25 ns.
    pub fn moment(&self) -> Instant {
        // A rehearsal has set its own clocks.
        if self.system_time.is_some() { self.now } else { Instant::now() }
    }

    /// The wall clock.
    pub fn system_time(&self) -> SystemTime {
        self.system_time.unwrap_or_else(SystemTime::now)
    }

    /// The limits of this service.
    pub fn limits(&self) -> &Limits {
        self.limits
    }

    /// What the reactor counted since its start.
    pub fn statistics(&self) -> &Statistics {
        self.statistics
    }

    /// The connection that the callback is about.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection.map(|(id, _)| id)
    }

    /// The address of the connection's, or the datagram's, other end.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.map(|(_, peer)| *peer).or_else(|| self.datagram.map(|peer| peer.address))
    }

    /// The sender of the datagram that the callback is about.
    pub fn datagram_peer(&self) -> Option<DatagramPeer> {
        self.datagram.copied()
    }

    /// Sends bytes to this connection: they are copied once, and all that a
    /// callback sends goes out in one write. As with everything else that is
    /// about this connection, nothing happens in a callback that is about
    /// none, such as [`Service::tick`]: there, [`Context::tell`] names one.
    pub fn send(&mut self, bytes: &[u8]) {
        self.effects.send(bytes);
    }

    /// Sends bytes of this callback's input, by the range that
    /// [`Input::consume`] returned: they are not copied at all.
    ///
    /// # Panics
    /// If the range is not within the input of this callback.
    pub fn send_input(&mut self, range: Range<usize>) {
        assert!(
            range.start <= range.end && range.end <= self.input_length,
            "no such range of the input: {range:?}"
        );
        self.effects.send_input(range);
    }

    /// Asks for [`Service::room_to_send`] once everything sent so far is out,
    /// so that a long answer never has to be held in memory.
    pub fn more_to_send(&mut self) {
        self.effects.more_to_send = true;
    }

    /// Sends bytes to another connection of the same reactor.
    pub fn tell(&mut self, to: ConnectionId, bytes: &[u8]) {
        let start = self.effects.scratch.len();
        self.effects.scratch.extend_from_slice(bytes);
        let bytes = start..self.effects.scratch.len();
        self.effects.others.push(Effect::Tell { to, bytes });
    }

    /// Sends a datagram; nothing tells whether it arrives.
    pub fn send_to(&mut self, on: SocketId, to: SocketAddr, datagram: &[u8]) {
        match self.datagram {
            Some(peer) if peer.socket == on && peer.address == to => {
                self.outgoing.push(*peer, datagram, true)
            }
            _ => self.send_to_peer(DatagramPeer { socket: on, address: to, local: None }, datagram),
        }
    }

    /// Sends a datagram to a peer that was heard before, from the address that
    /// it had asked.
    pub fn send_to_peer(&mut self, to: DatagramPeer, datagram: &[u8]) {
        self.outgoing.push(to, datagram, false);
    }

    /// Makes this connection, or the sender of this datagram, a member of a
    /// room; if it is one, changes how it hears.
    pub fn join(&mut self, room: Room, how: Membership) {
        if let Some((ConnectionId(handle), _)) = self.connection {
            self.rooms.join(self.host, room, handle, how);
            self.effects.room = Some(room);
        } else if let Some(peer) = self.datagram {
            let id = self.rooms.peer_id(self.host, room, peer).unwrap_or_else(|| {
                *self.next_id = self.next_id.wrapping_add(1).max(1);
                *self.next_id
            });
            self.rooms.join_peer(self.host, room, id, *peer, how);
        }
    }

    /// Takes this connection, or the sender of this datagram, out of a room.
    pub fn leave(&mut self, room: Room) {
        if let Some((ConnectionId(handle), _)) = self.connection {
            self.rooms.leave(self.host, room, handle);
        } else if let Some(peer) = self.datagram {
            self.rooms.leave_peer(self.host, room, peer);
        }
    }

    /// Takes a UDP peer out of a room.
    pub fn leave_peer(&mut self, room: Room, peer: &DatagramPeer) {
        self.rooms.leave_peer(self.host, room, peer);
    }

    /// Sends a message to all members of a room but this connection, or the
    /// sender of this datagram. It goes out at the end of the turn. False if
    /// the room holds so much already that the message is dropped.
    pub fn publish(&mut self, room: Room, message: &[u8]) -> bool {
        let speaker = match (self.connection, self.datagram) {
            (Some((ConnectionId(handle), _)), _) => handle.generation,
            (None, Some(peer)) => self.rooms.peer_id(self.host, room, peer).unwrap_or(0),
            (None, None) => 0,
        };
        self.effects.room = Some(room);
        self.rooms.publish(self.host, room, speaker, message)
    }

    /// As [`Context::publish`], to all members of a room.
    pub fn publish_to_all(&mut self, room: Room, message: &[u8]) -> bool {
        self.effects.room = Some(room);
        self.rooms.publish(self.host, room, 0, message)
    }

    /// Sends something to the service of that name; it gets it in
    /// [`Service::message`] after this callback.
    pub fn post(&mut self, service: &str, message: Message) {
        self.effects.others.push(Effect::Post { service: service.to_owned(), message });
    }

    /// Runs a job on another thread: what blocks or burns CPU. Its result comes
    /// back as [`Service::finished`].
    pub fn offload<T: Any + Send>(&mut self, job: impl FnOnce() -> T + Send + 'static) {
        let job = Box::new(move || Box::new(job()) as Box<dyn Any + Send>);
        self.effects.others.push(Effect::Offload(job));
    }

    /// Opens a UDP socket for this service; the answer is [`Service::socket`].
    pub fn open_socket(&mut self, spec: DatagramSpec) {
        self.effects.others.push(Effect::OpenSocket(spec));
    }

    /// Closes a UDP socket of this service.
    pub fn close_socket(&mut self, socket: SocketId) {
        self.effects.others.push(Effect::CloseSocket(socket));
    }

    /// Connects to `to`; the answer is [`Service::open`], or
    /// [`Service::closed`] with [`CloseReason::NotConnected`].
    pub fn connect(&mut self, to: SocketAddr) {
        self.effects.others.push(Effect::Connect { to, local: None });
    }

    /// As [`Context::connect`], from an address of this machine; port 0 takes a
    /// free one. One address has about 28,000 ports for connections to one
    /// server, so more of them need more addresses.
    pub fn connect_from(&mut self, local: SocketAddr, to: SocketAddr) {
        self.effects.others.push(Effect::Connect { to, local: Some(local) });
    }

    /// Calls [`Service::timeout`] at that time, instead of any set before.
    pub fn set_deadline(&mut self, at: Instant) {
        self.effects.deadline = Some(Some(at));
    }

    /// As [`Context::set_deadline`], `after` from now.
    pub fn set_deadline_after(&mut self, after: Duration) {
        self.set_deadline(self.now + after);
    }

    /// Takes the deadline back.
    pub fn clear_deadline(&mut self) {
        self.effects.deadline = Some(None);
    }

    /// Calls [`Service::tick`] once at that time, instead of any set before.
    pub fn set_tick(&mut self, at: Instant) {
        self.effects.others.push(Effect::Tick(Some(at)));
    }

    /// Takes the tick back.
    pub fn clear_tick(&mut self) {
        self.effects.others.push(Effect::Tick(None));
    }

    /// Leaves this connection unread until then, so that TCP slows its peer
    /// down; what is unread now is shown again at that time.
    pub fn pause_until(&mut self, at: Instant) {
        self.effects.pause_until = Some(at);
    }

    /// Ends this connection in order: what was sent goes out, then the end is
    /// signalled, and the peer's remaining input is discarded for a while, so
    /// that no reset destroys the answer on its way.
    pub fn close(&mut self) {
        if self.effects.closing == Closing::No {
            self.effects.closing = Closing::Close;
        }
    }

    /// As [`Context::close`], for one of the reasons that a client can be given
    /// up for: the log names it. The words are the service's to send.
    pub fn close_for(&mut self, why: Farewell) {
        self.effects.gives_up_for = Some(why);
        self.close();
    }

    /// Ends this connection at once; the peer sees a reset.
    pub fn abort(&mut self) {
        self.effects.closing = Closing::Abort;
    }

    /// Ends another connection in order.
    pub fn close_other(&mut self, connection: ConnectionId) {
        self.effects.others.push(Effect::CloseOther(connection));
    }

    /// Logs a line about a limit that was hit or somebody who was dropped, at
    /// info and with the service's name; a flood of them is cut short.
    pub fn report(&mut self, line: impl Into<String>) {
        self.effects.others.push(Effect::Report(line.into()));
    }

    /// Reads standard input; it comes as [`Service::keyboard`].
    pub fn read_keyboard(&mut self) {
        self.effects.others.push(Effect::ReadKeyboard);
    }

    /// Stops reading standard input for now.
    pub fn pause_keyboard(&mut self) {
        self.effects.others.push(Effect::PauseKeyboard);
    }

    /// Reads standard input again.
    pub fn resume_keyboard(&mut self) {
        self.effects.others.push(Effect::ResumeKeyboard);
    }

    /// Ends the loop in order: as a drain, and [`run`](crate::reactor::Reactor::run) returns.
    pub fn stop(&mut self) {
        self.effects.others.push(Effect::Stop);
    }

    /// Ends the loop at once, with an error for the user.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.effects.others.push(Effect::Fail(why.into()));
    }
}
