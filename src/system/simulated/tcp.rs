//! Connections and listeners in memory.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};

use mio::Token;

use super::{Happening, Source, State, World};
use crate::disk;
use crate::system::poll::Readiness;

/// What a service goes through in one call, at the least: `Context::may_go_on`.
const LINES_AT_ONCE: usize = 60;
const BYTES_AT_ONCE: usize = 30_000;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct End {
    pub connection: u32,
    /// 0 for the end that connected, 1 for the one that was accepted.
    pub side: usize,
}

impl End {
    fn other(self) -> End {
        End { side: 1 - self.side, ..self }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    pub ends: [EndState; 2],
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Established,
    Refused,
}

#[derive(Debug)]
pub(super) struct EndState {
    address: SocketAddr,
    pub token: Option<Token>,
    pub queued: bool,
    /// Whether the program under test holds it, rather than one of its clients.
    held: bool,
    /// Bytes that have arrived here and are unread.
    incoming: VecDeque<u8>,
    /// Where an urgent byte lies, which is not read: a read stops there.
    mark: Option<usize>,
    /// Whether a FIN follows those bytes.
    fin: bool,
    /// The error that follows those bytes, which is reported once.
    error: Option<ErrorKind>,
    was_reset: bool,
    half_closed: bool,
    closed: bool,
    reset_on_close: bool,
    /// Whether a write was refused or cut short, so that room must be announced.
    wants_room: bool,
    /// The number of the wait before the last attempt to read it.
    tried: u64,
    /// How many bytes were read here.
    taken: usize,
    /// How many of them a service has gone through: the rest of a large read may wait for
    /// its next turn.
    served: usize,
    /// It is being turned away, so later writes do not count as answers.
    over: bool,
}

impl EndState {
    pub fn is_held(&self) -> bool {
        self.held
    }

    fn new(address: SocketAddr) -> EndState {
        EndState {
            address,
            token: None,
            queued: false,
            held: false,
            incoming: VecDeque::new(),
            mark: None,
            fin: false,
            error: None,
            was_reset: false,
            half_closed: false,
            closed: false,
            reset_on_close: false,
            wants_room: false,
            tried: 0,
            taken: 0,
            served: 0,
            over: false,
        }
    }
}

impl Connection {
    pub fn readiness(&self, side: usize, capacity: usize) -> Readiness {
        let (end, other) = (&self.ends[side], &self.ends[1 - side]);
        let is_over = end.error.is_some() || end.was_reset;
        let has_room = (capacity - other.incoming.len()) * 3 >= capacity;
        Readiness {
            readable: !end.incoming.is_empty() || end.mark.is_some() || end.fin || is_over,
            writable: self.phase != Phase::Connecting && has_room || is_over,
            more_behind: end.fin || end.mark.is_some() || is_over,
        }
    }

    /// The port that the client connected to.
    pub fn port(&self) -> u16 {
        self.ends[1].address.port()
    }

    /// Whether the program under test has accepted it from a client, and not closed it.
    pub fn is_open_to_client(&self) -> bool {
        !self.ends[0].held && self.ends[1].held && !self.ends[1].closed
    }
}

#[derive(Debug)]
pub(super) struct ListenerState {
    address: SocketAddr,
    pub backlog: VecDeque<u32>,
    pub token: Option<Token>,
    pub queued: bool,
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    world: World,
    id: u32,
    pub address: SocketAddr,
}

/// A connected socket, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Stream {
    world: World,
    pub end: End,
}

impl World {
    pub fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let mut state = self.state();
        let mut address = address;
        if address.port() == 0 {
            address.set_port(state.new_port());
        }
        if state.listeners.values().any(|listener| listener.address == address) {
            return Err(ErrorKind::AddrInUse.into());
        }
        state.open_descriptor()?;
        let id = state.new_id();
        let listener = ListenerState { address, backlog: VecDeque::new(), token: None, queued: false };
        state.listeners.insert(id, listener);
        Ok(Listener { world: self.clone(), id, address })
    }

    /// Connects for the program under test. If nobody listens there, the test decides
    /// what happens: see [`World::accept_outside`] and [`World::refuse_outside`].
    pub fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        let mut state = self.state();
        state.open_descriptor()?;
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, state.new_port()));
        let end = state.begin(from, to);
        state.end(end).held = true;
        state.note("connect", u64::from(end.connection));
        let refused = state.nature.faults.refused;
        if state.listener_at(to).is_none() {
            state.asked_outside.push_back(end.connection);
        } else if state.rng.chance(refused) {
            state.later(Happening::Refuse(end.connection, ErrorKind::ConnectionRefused));
        } else {
            state.later(Happening::Establish(end.connection));
        }
        Ok(Stream { world: self.clone(), end })
    }

    /// Connects a client to a listener of the program under test; the connection is in
    /// its backlog at once. `None` if nobody listens there.
    pub fn call(&self, from: SocketAddr, to: SocketAddr) -> Option<Stream> {
        let mut state = self.state();
        state.listener_at(to)?;
        let end = state.begin(from, to);
        // A client's descriptors are its own.
        state.descriptors += 1;
        state.establish(end.connection);
        Some(Stream { world: self.clone(), end })
    }

    /// Establishes the oldest connection that the program under test asked for at an
    /// address where nobody listens. Returns the accepted end.
    pub fn accept_outside(&self) -> Option<Stream> {
        let mut state = self.state();
        let connection = state.asked_outside.pop_front()?;
        state.connections.get_mut(&connection)?.phase = Phase::Established;
        state.descriptors += 1;
        state.announce(Source::End(End { connection, side: 0 }));
        Some(Stream { world: self.clone(), end: End { connection, side: 1 } })
    }

    /// Fails the oldest such connection instead.
    pub fn refuse_outside(&self, why: ErrorKind) -> bool {
        let mut state = self.state();
        let Some(connection) = state.asked_outside.pop_front() else { return false };
        state.refuse(connection, why);
        true
    }
}

impl State {
    fn begin(&mut self, from: SocketAddr, to: SocketAddr) -> End {
        let connection = self.new_id();
        let ends = [EndState::new(from), EndState::new(to)];
        self.connections.insert(connection, Connection { ends, phase: Phase::Connecting });
        End { connection, side: 0 }
    }

    fn end(&mut self, end: End) -> &mut EndState {
        // Every handle to an end keeps its connection alive.
        &mut self.connections.get_mut(&end.connection).expect("an end has a connection").ends[end.side]
    }

    fn listener_at(&self, to: SocketAddr) -> Option<u32> {
        let hears =
            |at: SocketAddr| at.port() == to.port() && (at.ip() == to.ip() || at.ip().is_unspecified());
        self.listeners.iter().find(|(_, listener)| hears(listener.address)).map(|(id, _)| *id)
    }

    /// Ends a handshake: the connection enters its listener's backlog.
    pub(super) fn establish(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let to = connection.ends[1].address;
        connection.phase = Phase::Established;
        match self.listener_at(to) {
            Some(listener) => {
                if let Some(listener) = self.listeners.get_mut(&listener) {
                    listener.backlog.push_back(id);
                }
                self.announce(Source::Listener(listener));
                self.announce(Source::End(End { connection: id, side: 0 }));
            }
            None => self.refuse(id, ErrorKind::ConnectionRefused),
        }
    }

    pub(super) fn refuse(&mut self, id: u32, why: ErrorKind) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.phase = Phase::Refused;
        connection.ends[0].error = Some(why);
        connection.ends[0].was_reset = true;
        connection.ends[1].closed = true;
        self.announce(Source::End(End { connection: id, side: 0 }));
        self.forget_if_over(id);
    }

    fn accept(&mut self, id: u32) -> io::Result<(End, SocketAddr)> {
        use nix::libc::{ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM};
        self.interruption()?;
        let backlog = self.listeners.get(&id).map_or(0, |listener| listener.backlog.len());
        if backlog == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.rng.chance(self.nature.faults.would_block) {
            self.announce(Source::Listener(id));
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.rng.chance(self.nature.faults.accept) {
            // The connection stays in the backlog, and no edge will announce it.
            let errno = *self.rng.pick(&[ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM]);
            self.note("accept fails", errno as u64);
            return Err(io::Error::from_raw_os_error(errno));
        }
        self.open_descriptor()?;
        let Some(connection) = self.listeners.get_mut(&id).and_then(|listener| listener.backlog.pop_front())
        else {
            self.descriptors -= 1;
            return Err(ErrorKind::WouldBlock.into());
        };
        let end = End { connection, side: 1 };
        self.end(end).held = true;
        // Nothing that happened before registration was reported; report it now.
        self.end(end).queued = false;
        let peer = self.end(end.other()).address;
        log::trace!("accepts {peer} as connection {connection}");
        self.note("accept", u64::from(connection));
        self.totals.accepted += 1;
        let taken = self.connections.values().filter(|other| other.is_open_to_client());
        let taken = taken.map(|other| (other.ends[0].address, other.ends[1].served)).collect();
        self.taken_before.insert(peer, taken);
        Ok((end, peer))
    }

    fn read(&mut self, end: End, buffer: &mut [u8]) -> io::Result<usize> {
        let held = self.end(end).held;
        if held {
            self.calls.reads += 1;
            self.end(end).tried = self.calls.waits;
            self.interruption()?;
        }
        // At the mark, a read goes on behind it (tcp(7), SO_OOBINLINE).
        self.end(end).mark.take_if(|mark| *mark == 0);
        let waiting = self.end(end).incoming.len();
        if waiting == 0 {
            let state = self.end(end);
            if state.fin {
                // Even if a reset came since (tcp_recvmsg, SOCK_DONE).
                return Ok(0);
            }
            if let Some(error) = state.error.take() {
                return Err(error.into());
            }
            return if state.was_reset { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        if held && self.rng.chance(self.nature.faults.would_block) {
            self.announce(Source::End(end));
            return Err(ErrorKind::WouldBlock.into());
        }
        let mark = self.end(end).mark.unwrap_or(waiting);
        let mut count = waiting.min(buffer.len()).min(mark);
        if held && self.rng.chance(self.nature.faults.partial_read) {
            count = self.rng.between(1, count);
            self.announce(Source::End(end));
        }
        let incoming = &mut self.end(end).incoming;
        for (place, byte) in buffer.iter_mut().zip(incoming.drain(..count)) {
            *place = byte;
        }
        self.note(if held { "server" } else { "client" }, u64::from(end.connection));
        self.note("read", count as u64);
        let lines = buffer[..count].iter().filter(|byte| **byte == b'\n').count();
        let is_large = lines > LINES_AT_ONCE || count > BYTES_AT_ONCE;
        let state = self.end(end);
        let before = state.taken;
        state.taken += count;
        state.served = if is_large { before } else { state.taken };
        if let Some(mark) = &mut self.end(end).mark {
            *mark -= count;
        }
        if held && !self.end(end).over {
            self.totals.read += count as u64;
        }
        self.announce_room(end.other());
        Ok(count)
    }

    /// Announces room to an end whose write was refused, once there is enough.
    fn announce_room(&mut self, writer: End) {
        let capacity = self.nature.buffer;
        let room = capacity - self.end(writer.other()).incoming.len();
        if room * 3 >= capacity && std::mem::take(&mut self.end(writer).wants_room) {
            self.announce(Source::End(writer));
        }
    }

    fn write(&mut self, end: End, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let held = self.end(end).held;
        if held {
            self.calls.writes += 1;
            self.interruption()?;
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let phase = self.connections.get(&end.connection).map(|connection| connection.phase);
        if let Some(error) = self.end(end).error.take() {
            return Err(error.into());
        }
        if phase == Some(Phase::Connecting) {
            return Err(ErrorKind::NotConnected.into());
        }
        if self.end(end).was_reset || self.end(end).half_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if self.end(end.other()).closed {
            // The peer's kernel answers with a RST, which arrives later.
            self.note("write to nobody", total as u64);
            if held && !self.end(end).over {
                self.totals.written += total as u64;
            }
            self.reset(end);
            return Ok(total);
        }
        let room = self.nature.buffer - self.end(end.other()).incoming.len();
        if room == 0 {
            self.calls.futile_writes += u64::from(held && self.end(end).wants_room);
            self.end(end).wants_room = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if held && self.rng.chance(self.nature.faults.would_block) {
            self.end(end).wants_room = true;
            self.announce_room(end);
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut count = total.min(room);
        if held && count > 0 && self.rng.chance(self.nature.faults.partial_write) {
            count = self.rng.between(1, count);
        }
        let incoming = &mut self.end(end.other()).incoming;
        let mut left = count;
        for slice in slices {
            let taken = left.min(slice.len());
            incoming.extend(&slice[..taken]);
            left -= taken;
        }
        self.note(if held { "server" } else { "client" }, u64::from(end.connection));
        self.note("write", count as u64);
        if held && !self.end(end).over {
            self.totals.written += count as u64;
        }
        self.announce(Source::End(end.other()));
        if count < total {
            self.end(end).wants_room = true;
            self.announce_room(end);
        }
        Ok(count)
    }

    /// Delivers a RST to an end.
    fn reset(&mut self, end: End) {
        let state = self.end(end);
        if state.was_reset || state.closed {
            return;
        }
        state.was_reset = true;
        let waiting = state.incoming.len();
        if self.rng.chance(self.nature.faults.reset_destroys) {
            // It overtakes bytes that its sender's kernel had not sent yet, and a FIN.
            let kept = self.rng.below(waiting + 1);
            let state = self.end(end);
            state.incoming.truncate(kept);
            state.mark.take_if(|mark| *mark > kept);
            state.fin &= kept == waiting;
        }
        let state = self.end(end);
        // tcp_reset: EPIPE behind a FIN.
        state.error = Some(if state.fin { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset });
        self.announce(Source::End(end));
    }

    /// A byte of urgent data, behind what was written so far.
    fn send_urgent(&mut self, end: End) -> bool {
        let other = end.other();
        let is_closed = self.end(end).was_reset || self.end(end).half_closed || self.end(other).closed;
        if is_closed || self.end(other).mark.is_some() {
            return false;
        }
        let waiting = self.end(other).incoming.len();
        self.end(other).mark = Some(waiting);
        self.note("urgent", u64::from(end.connection));
        self.announce(Source::End(other));
        true
    }

    fn half_close(&mut self, end: End) -> io::Result<()> {
        let state = self.end(end);
        if state.was_reset || state.error.is_some() {
            return Err(ErrorKind::NotConnected.into());
        }
        state.half_closed = true;
        self.end(end.other()).fin = true;
        self.note("half-close", u64::from(end.connection));
        self.announce(Source::End(end.other()));
        Ok(())
    }

    fn close(&mut self, end: End) {
        let Some(connection) = self.connections.get_mut(&end.connection) else { return };
        let was_asked = connection.phase == Phase::Connecting;
        let state = &mut connection.ends[end.side];
        let resets = !state.incoming.is_empty() || state.reset_on_close;
        let is_dead = state.was_reset;
        state.closed = true;
        let token = state.token.take();
        self.descriptors -= 1;
        self.bury(token);
        if was_asked {
            self.asked_outside.retain(|asked| *asked != end.connection);
            self.end(end.other()).closed = true;
        } else if !is_dead {
            if resets {
                self.reset(end.other());
            } else {
                self.end(end.other()).fin = true;
                self.announce(Source::End(end.other()));
            }
        }
        self.note("close", u64::from(end.connection));
        self.forget_if_over(end.connection);
    }

    fn forget_if_over(&mut self, id: u32) {
        let is_over = |connection: &Connection| connection.ends.iter().all(|end| end.closed);
        if self.connections.get(&id).is_some_and(is_over) {
            self.connections.remove(&id);
        }
    }
}

impl Listener {
    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let accepted = self.world.state().accept(self.id);
        accepted.map(|(end, peer)| (Stream { world: self.world.clone(), end }, peer))
    }

    pub fn register(&self, token: Token) -> io::Result<()> {
        let mut state = self.world.state();
        if let Some(listener) = state.listeners.get_mut(&self.id) {
            listener.token = Some(token);
            if !listener.backlog.is_empty() {
                state.announce(Source::Listener(self.id));
            }
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.world.state();
        state.descriptors -= 1;
        let Some(listener) = state.listeners.remove(&self.id) else { return };
        state.bury(listener.token);
        // Connections that were not accepted are reset (listen(2)).
        for connection in listener.backlog {
            state.end(End { connection, side: 1 }).closed = true;
            state.reset(End { connection, side: 0 });
            state.forget_if_over(connection);
        }
    }
}

impl Stream {
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.state().read(self.end, buffer)
    }

    pub fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.world.state().write(self.end, slices)
    }

    /// As sendfile(2), which would wait for what is not in the page cache: the loop must
    /// never ask for that.
    pub fn send_file(&self, file: &disk::File, offset: u64, count: usize) -> io::Result<usize> {
        let mut bytes = vec![0; count];
        let range = offset..offset + count as u64;
        assert!(file.is_warm(range), "the loop would wait for the disk, {offset} bytes into a file");
        match file.read_at(&mut bytes, offset)? {
            0 => Ok(0),
            count => self.write(&[IoSlice::new(&bytes[..count])]),
        }
    }

    /// Sends a byte of urgent data. False if the connection is closed, or the mark of
    /// another one is unread: then that one would become data like any other.
    pub fn send_urgent(&self) -> bool {
        self.world.state().send_urgent(self.end)
    }

    pub fn half_close(&self) -> io::Result<()> {
        self.world.state().half_close(self.end)
    }

    pub fn reset_on_close(&self) {
        self.world.state().end(self.end).reset_on_close = true;
    }

    pub fn take_error(&self) -> Option<io::Error> {
        self.world.state().end(self.end).error.take().map(io::Error::from)
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let mut state = self.world.state();
        match state.connections.get(&self.end.connection).map(|connection| connection.phase) {
            Some(Phase::Established) => Ok(state.end(self.end.other()).address),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    pub fn has_been_ignored(&self) -> bool {
        let mut state = self.world.state();
        let wait = state.calls.waits;
        state.end(self.end).tried < wait
    }

    /// Notes why the program under test ends it.
    pub fn ends_for(&self, why: &str) {
        let mut state = self.world.state();
        let peer = state.end(self.end.other()).address;
        state.note(why, 0);
        if self.end.side == 1 {
            // The first reason is the one that counts.
            state.ends.entry(peer).or_insert_with(|| why.to_owned());
        }
    }

    /// Notes that the program under test turns it away.
    pub fn turned_away(&self) {
        self.ends_for("turned away");
        self.world.state().end(self.end).over = true;
    }

    /// How many more bytes the peer's buffer takes.
    pub fn room(&self) -> usize {
        let mut state = self.world.state();
        let other = state.end(self.end.other());
        if other.closed {
            usize::MAX
        } else {
            state.nature.buffer - state.end(self.end.other()).incoming.len()
        }
    }

    /// Whether the peer has read everything that was written.
    pub fn is_taken(&self) -> bool {
        self.world.state().end(self.end.other()).incoming.is_empty()
    }

    /// How many bytes the peer has read.
    pub fn taken(&self) -> u64 {
        self.world.state().end(self.end.other()).taken as u64
    }

    /// Whether the program under test has accepted it.
    pub fn is_accepted(&self) -> bool {
        self.world.state().end(self.end.other()).held
    }

    pub fn register(&self, token: Token) -> io::Result<()> {
        let mut state = self.world.state();
        let refused = state.nature.faults.watch;
        if state.rng.chance(refused) {
            return Err(io::Error::from_raw_os_error(nix::libc::ENOSPC));
        }
        state.end(self.end).token = Some(token);
        let is_under_way =
            state.connections.get(&self.end.connection).is_some_and(|it| it.phase == Phase::Connecting);
        if !is_under_way {
            state.announce(Source::End(self.end));
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.world.state().close(self.end);
    }
}
