//! What a callback can know and ask for.

use std::any::Any;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use super::effects::{Closing, Effect, Effects, Outgoings, Pause};
use super::file_range::FileRange;
use super::ids::{ConnectionId, Generations, ServiceId, SocketId};
use super::limits::Limits;
use super::reasons::Farewell;
use super::rooms::{DatagramPeer, Membership, Room, Rooms};
use super::sockets::DatagramSpec;
use super::{Input, Lane, Message, Statistics};

/// How many messages a callback takes up. Measured: at json, the slowest, it takes 60
/// µs to answer so many.
const MESSAGES_PER_CALL: usize = 64;
/// How many bytes of input and answers are enough for a callback.
const BYTES_PER_CALL: usize = 32 * 1024;

/// What a callback can know and ask for. Effects apply when it returns.
pub struct Context<'a> {
    pub(crate) now: Instant,
    /// The monotonic and the wall clock, where they are not the machine's.
    pub(crate) virtual_clock: Option<&'a (Instant, SystemTime)>,
    pub(crate) service: ServiceId,
    pub(crate) connection: Option<(ConnectionId, &'a SocketAddr)>,
    /// What the kernel has taken of this connection's output.
    pub(crate) bytes_sent: u64,
    pub(crate) datagram: Option<&'a DatagramPeer>,
    pub(crate) input_length: usize,
    pub(crate) limits: &'a Limits,
    pub(crate) effects: &'a mut Effects,
    pub(crate) outgoing: &'a mut Outgoings,
    pub(crate) rooms: &'a mut Rooms,
    pub(crate) generations: &'a mut Generations,
    pub(crate) statistics: &'a Statistics,
}

impl Context<'_> {
    /// The time of this turn of the loop; it does not move during a turn.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time at this moment, for what must be measured within a turn. It costs a
    /// clock read, about 25 ns.
    pub fn moment(&self) -> Instant {
        match self.virtual_clock {
            Some(_) => self.now,
            None => Instant::now(),
        }
    }

    /// The wall clock.
    pub fn system_time(&self) -> SystemTime {
        match self.virtual_clock {
            Some((start, wall)) => *wall + self.now.saturating_duration_since(*start),
            None => SystemTime::now(),
        }
    }

    /// The limits of this service.
    pub fn limits(&self) -> &Limits {
        self.limits
    }

    /// What the reactor has counted since its start.
    pub fn statistics(&self) -> &Statistics {
        self.statistics
    }

    /// The connection that the callback is about.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection.map(|(id, _)| id)
    }

    /// The address of the peer of this connection or datagram.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.map(|(_, peer)| *peer).or_else(|| self.datagram.map(|peer| peer.address))
    }

    /// The sender of the datagram that the callback is about.
    pub fn datagram_peer(&self) -> Option<DatagramPeer> {
        self.datagram.copied()
    }

    /// Sends bytes to this connection. They are copied once, and everything that a
    /// callback sends goes out in one write. In a callback that is about no
    /// connection, such as [`Service::tick`](super::Service::tick), this does
    /// nothing, as with everything else about this connection; [`Context::tell`]
    /// names one.
    pub fn send(&mut self, bytes: &[u8]) {
        self.effects.send(bytes);
    }

    /// Sends bytes of this callback's input, by the range that
    /// [`Input::consume`](super::Input::consume) returned. They are not copied at
    /// all.
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

    /// Sends a part of a file to this connection, behind what was sent before. The kernel
    /// reads it, so it takes neither memory nor a copy, however long it is, and it does
    /// not count against the output limit.
    ///
    /// It goes out in slices, between which everybody else is served. A file that turns
    /// out to be shorter than the range ends the connection with
    /// [`CloseReason::FileShrank`](super::CloseReason::FileShrank), since its peer would
    /// take what follows for the rest. Ask for [`Context::more_to_send`] to hear when all
    /// of it is out, and close only then: [`closed`](super::Service::closed) is told the
    /// first reason why a connection ends, so an earlier close would hide what cut the
    /// file short.
    pub fn send_file(&mut self, range: FileRange) {
        self.effects.send_file(range);
    }

    /// How many bytes the kernel has taken of everything that was sent to this connection,
    /// without what this callback sends. In [`closed`](super::Service::closed) it says how
    /// far a transfer came.
    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Whether this callback may take up another message of its input. Ask before
    /// each: a callback that answers everything it is shown would keep all others
    /// waiting. If the answer is no, leave the rest unread and return. The callback
    /// [`receive`](super::Service::receive) is shown it again once everyone else who is
    /// ready has been served.
    pub fn may_go_on(&mut self, input: &Input<'_>) -> bool {
        self.effects.yields = self.has_done_its_share(input);
        self.effects.messages += 1;
        !self.effects.yields
    }

    /// Leaves the rest of the input for later, as if [`Context::may_go_on`] had said no: for
    /// what takes long once it has been consumed. Leave at least a byte unread.
    pub fn yield_input(&mut self) {
        self.effects.yields = true;
    }

    /// Whether [`Context::may_go_on`] would say no.
    pub fn has_done_its_share(&self, input: &Input<'_>) -> bool {
        self.effects.messages >= MESSAGES_PER_CALL
            || input.consumed() + self.effects.scratch.len() >= BYTES_PER_CALL
    }

    /// Tells that the session holds so many bytes more, which its peer has sent or asked
    /// for, if the callback did not ask [`Context::may_go_on`]. All that clients can make
    /// the daemon hold shares one budget; [`Service::footprint`](super::Service::footprint)
    /// says what is still held when it runs short.
    pub fn holds(&mut self, bytes: usize) {
        self.effects.held += bytes;
    }

    /// Asks for [`Service::room_to_send`](super::Service::room_to_send) once
    /// everything sent so far is out, so that a long answer never has to be in
    /// memory. Ask again in each `room_to_send` that leaves something.
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
    ///
    /// To the sender of the datagram that the callback is about, it is an answer:
    /// what an address is sent keeps to its account, since the source may be forged.
    /// To any other address it is sent without that bound, so the address must be
    /// one that the service has from its settings, and not from a datagram.
    pub fn send_to(&mut self, on: SocketId, to: SocketAddr, datagram: &[u8]) {
        match self.datagram {
            Some(peer) if peer.socket == on && peer.address == to => {
                self.outgoing.push(*peer, datagram, true)
            }
            _ => {
                let to = DatagramPeer { socket: on, address: to, local: None };
                self.outgoing.push_unprompted(to, datagram);
            }
        }
    }

    /// Sends a datagram to a peer that has shown that it receives what is sent to this
    /// address, such as by acknowledging a datagram at the port of its own transfer. So
    /// nobody has forged it, and no account bounds what it is sent.
    pub fn send_to_proven(&mut self, on: SocketId, to: SocketAddr, datagram: &[u8]) {
        let local = self.datagram.filter(|peer| peer.socket == on && peer.address == to);
        let to = DatagramPeer { socket: on, address: to, local: local.and_then(|peer| peer.local) };
        self.outgoing.push_unprompted(to, datagram);
    }

    /// Sends a datagram to a peer that was heard before, from the address that the
    /// peer had asked, within the account of the peer's address.
    pub fn send_to_peer(&mut self, to: DatagramPeer, datagram: &[u8]) {
        self.outgoing.push(to, datagram, false);
    }

    /// Makes this connection, or the sender of this datagram, a member of a room.
    /// If it is a member already, this changes how it hears.
    pub fn join(&mut self, room: Room, how: Membership) {
        if let Some((ConnectionId(handle), _)) = self.connection {
            self.rooms.join(self.service, room, handle, how);
            self.effects.room = Some(room);
        } else if let Some(peer) = self.datagram {
            let known = self.rooms.peer_id(self.service, room, peer);
            let id = known.unwrap_or_else(|| self.generations.next());
            self.rooms.join_peer(self.service, room, id, *peer, how);
        }
    }

    /// Takes this connection, or the sender of this datagram, out of a room.
    pub fn leave(&mut self, room: Room) {
        if let Some((ConnectionId(handle), _)) = self.connection {
            self.rooms.leave(self.service, room, handle);
        } else if let Some(peer) = self.datagram {
            self.rooms.leave_peer(self.service, room, peer);
        }
    }

    /// Takes a UDP peer out of a room.
    pub fn leave_peer(&mut self, room: Room, peer: &DatagramPeer) {
        self.rooms.leave_peer(self.service, room, peer);
    }

    /// Sends a message to all members of a room except this connection, or the
    /// sender of this datagram. It goes out at the end of the turn. Returns false
    /// if the room holds so much already that the message is dropped.
    pub fn publish(&mut self, room: Room, message: &[u8]) -> bool {
        let speaker = match (self.connection, self.datagram) {
            (Some((ConnectionId(handle), _)), _) => Some(handle.generation),
            (None, Some(peer)) => self.rooms.peer_id(self.service, room, peer),
            (None, None) => None,
        };
        self.effects.room = Some(room);
        self.rooms.publish(self.service, room, speaker, message)
    }

    /// Like [`Context::publish`], but to all members of a room.
    pub fn publish_to_all(&mut self, room: Room, message: &[u8]) -> bool {
        self.effects.room = Some(room);
        self.rooms.publish(self.service, room, None, message)
    }

    /// Sends a message to the service of that name, which gets it in
    /// [`Service::message`](super::Service::message) after this callback.
    pub fn post(&mut self, service: &str, message: Message) {
        self.effects.others.push(Effect::Post { service: service.to_owned(), message });
    }

    /// Runs a job that blocks or burns CPU on a thread of a lane. Its result comes back
    /// in [`Service::finished`](super::Service::finished).
    ///
    /// A job belongs to the connection that the callback is about. Once that has ended, a
    /// job that has not begun never runs: it is dropped on the thread that would have run
    /// it, and so is what it has captured. A job of
    /// [`Service::closed`](super::Service::closed) belongs to the service, and runs.
    ///
    /// Jobs of one lane run side by side: if their order matters, ask for the next one in
    /// `finished`.
    pub fn offload<T: Any + Send>(&mut self, lane: Lane, job: impl FnOnce() -> T + Send + 'static) {
        let job = Box::new(move || Box::new(job()) as Box<dyn Any + Send>);
        self.effects.others.push(Effect::Offload(lane, job));
    }

    /// Opens a UDP socket for this service; the answer is
    /// [`Service::socket`](super::Service::socket), with the same tag.
    pub fn open_socket(&mut self, tag: u64, spec: DatagramSpec) {
        self.effects.others.push(Effect::OpenSocket { tag, spec });
    }

    /// Closes a UDP socket of this service.
    pub fn close_socket(&mut self, socket: SocketId) {
        self.effects.others.push(Effect::CloseSocket(socket));
    }

    /// Connects to `to`; the answer is [`Service::open`](super::Service::open), or
    /// [`Service::closed`](super::Service::closed) with
    /// [`CloseReason::NotConnected`](super::CloseReason::NotConnected). Once the reactor
    /// was told to end, this does nothing.
    pub fn connect(&mut self, to: SocketAddr) {
        self.effects.others.push(Effect::Connect { to, local: None });
    }

    /// Like [`Context::connect`], from an address of this machine; port 0 takes a
    /// free one. One address has about 28,000 ports for connections to one server,
    /// so more connections need more addresses.
    pub fn connect_from(&mut self, local: SocketAddr, to: SocketAddr) {
        self.effects.others.push(Effect::Connect { to, local: Some(local) });
    }

    /// Calls [`Service::timeout`](super::Service::timeout) at that time, instead of
    /// at any time set before.
    pub fn set_deadline(&mut self, at: Instant) {
        self.effects.deadline = Some(Some(at));
    }

    /// Like [`Context::set_deadline`], `after` from now.
    pub fn set_deadline_after(&mut self, after: Duration) {
        self.set_deadline(self.now + after);
    }

    /// Clears the deadline.
    pub fn clear_deadline(&mut self) {
        self.effects.deadline = Some(None);
    }

    /// Calls [`Service::tick`](super::Service::tick) once at that time, instead of
    /// at any time set before.
    pub fn set_tick(&mut self, at: Instant) {
        self.effects.others.push(Effect::Tick(Some(at)));
    }

    /// Clears the tick.
    pub fn clear_tick(&mut self) {
        self.effects.others.push(Effect::Tick(None));
    }

    /// Leaves this connection unread until then, so that TCP slows its peer down.
    /// What is unread now is shown again at that time.
    pub fn pause_until(&mut self, at: Instant) {
        self.effects.pause = Some(Pause::Until(at));
    }

    /// Leaves this connection unread until [`Context::resume`], so that TCP slows its
    /// peer down. Its deadline still holds, but it is not idle. A reset is noticed, a
    /// half-close only when the connection is read again.
    pub fn pause(&mut self) {
        self.effects.pause = Some(Pause::UntilResumed);
    }

    /// Ends a pause of this connection: what is unread is shown again, and more is read.
    /// Without a pause this does nothing.
    pub fn resume(&mut self) {
        self.effects.pause = Some(Pause::Over);
    }

    /// Ends this connection in order: what was sent goes out, then the connection
    /// is half-closed and the peer's remaining input is discarded for a while, so
    /// that no reset destroys the answer on its way.
    pub fn close(&mut self) {
        if self.effects.closing == Closing::No {
            self.effects.closing = Closing::Close;
        }
    }

    /// Like [`Context::close`], for one of the reasons to give a client up, which
    /// the log then names. Send the words yourself.
    pub fn close_for(&mut self, why: Farewell) {
        if self.effects.closing != Closing::Abort {
            self.effects.closing = Closing::GiveUp(why);
        }
    }

    /// Ends this connection at once; the peer sees a reset.
    pub fn abort(&mut self) {
        self.effects.closing = Closing::Abort;
    }

    /// Ends another connection in order.
    pub fn close_other(&mut self, connection: ConnectionId) {
        self.effects.others.push(Effect::CloseOther(connection));
    }

    /// Logs a line about a limit that was hit or a client that was dropped, at info
    /// and with the service's name. A flood of such lines is cut short.
    pub fn report(&mut self, line: impl Into<String>) {
        self.effects.others.push(Effect::Report(line.into()));
    }

    /// Reads standard input, which comes in
    /// [`Service::keyboard`](super::Service::keyboard).
    pub fn read_keyboard(&mut self) {
        self.effects.others.push(Effect::ReadKeyboard);
    }

    /// Stops reading standard input for the time being.
    pub fn pause_keyboard(&mut self) {
        self.effects.others.push(Effect::PauseKeyboard);
    }

    /// Reads standard input again.
    pub fn resume_keyboard(&mut self) {
        self.effects.others.push(Effect::ResumeKeyboard);
    }

    /// Ends the loop in order: output that is still in flight goes out first.
    pub fn stop(&mut self) {
        self.effects.others.push(Effect::Stop);
    }

    /// Ends the loop at once, with an error for the user.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.effects.others.push(Effect::Fail(why.into()));
    }
}
