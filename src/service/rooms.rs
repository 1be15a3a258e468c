//! Rooms: one message to many members, at the cost of one write per member and
//! turn, however many messages there are.
//!
//! While the services run, a room gathers what is published. At the end of the turn
//! this is frozen into one piece of memory that all members share, and delivered
//! member by member within the turn's budget. What is published meanwhile gathers
//! for the next time. This module decides who gets which bytes; it touches no
//! socket.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::service::ids::{Generation, Handle, ServiceId, SocketId};

/// The high water mark of a room, in bytes: if it has gathered this much, its
/// publishers are left unread. Measured: an echo beside a flooded room has a p99 of
/// 3 ms with it, and of 900 ms if a room gathers without bound.
pub(crate) const ROOM_CAPACITY: usize = 256 * 1024;

/// The most that a room holds, in bytes. Leaving publishers unread keeps it far
/// below; only a service that publishes by itself can reach it.
pub(crate) const ROOM_LIMIT: usize = 64 * 1024 * 1024;

/// A service's own number for one of its rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(pub u16);

/// What happens to a member that does not take what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// It is disconnected once its unsent output exceeds the output limit.
    Disconnect,
    /// What it has not begun to take is replaced by what comes later.
    LatestFrame,
}

/// How a member of a room receives messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What happens if it does not keep up.
    pub overflow: Overflow,
    /// The member reads lines: LF follows each message that does not end in a line
    /// end.
    pub lines: bool,
}

/// A UDP peer as a member of a room: where it is, and how it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DatagramPeer {
    /// The socket of ours that it talks to.
    pub socket: SocketId,
    /// Its address.
    pub address: SocketAddr,
    /// The address of ours that it talks to, if the socket has several.
    pub local: Option<IpAddr>,
}

/// A member, which is reached by a `T`.
#[derive(Debug)]
struct Member<T> {
    /// Orders the members, and names them among a turn's speakers.
    id: Generation,
    reach: T,
    /// The number of the first message that it hears.
    since: u64,
    how: Membership,
}

/// The end of one message in what a room has gathered.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: u32,
    lines_end: u32,
    /// The sender, who does not receive it; `None` reaches every member.
    speaker: Option<Generation>,
}

/// What a room gathered in one turn, frozen for delivery.
#[derive(Debug)]
struct Turn {
    /// The messages as they were published.
    plain: Bytes,
    /// The same with LF after each message that has no line end; differs only if
    /// somebody wants it.
    lines: Bytes,
    marks: Vec<Mark>,
    /// Sorted, so that a walk over the sorted members meets them on the way.
    speakers: Vec<Generation>,
    first: u64,
    /// The last connection that was served; those before it were too.
    served: Option<Generation>,
    /// The peer that is being served.
    peer: Option<Generation>,
    /// How many messages that peer has been sent.
    messages_to_peer: usize,
}

#[derive(Debug)]
struct State {
    service: ServiceId,
    room: Room,
    connections: Vec<Member<Handle>>,
    peers: Vec<Member<DatagramPeer>>,
    /// The ids of the peers, so that no datagram has to search for its sender's.
    peer_ids: HashMap<(SocketId, SocketAddr), Generation>,
    published: u64,
    gathered: BytesMut,
    marks: Vec<Mark>,
    unterminated: u32,
    turn: Option<Turn>,
    waiting: Vec<Handle>,
}

/// All rooms of all services.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: Vec<State>,
    /// The room to serve first, so that no room starves another.
    first: usize,
}

/// One delivery: the ranges of `bytes` that a member gets.
pub(crate) struct Delivery<'a> {
    pub bytes: &'a Bytes,
    pub ranges: &'a [Range<usize>],
    pub overflow: Overflow,
}

/// Takes a room's deliveries, and says whether the budget allows another.
pub(crate) trait Deliver {
    fn to_connection(&mut self, handle: Handle, delivery: Delivery<'_>) -> bool;
    fn to_peer(&mut self, peer: &DatagramPeer, message: &[u8]) -> bool;
}

impl Rooms {
    fn find(&self, service: ServiceId, room: Room) -> Option<usize> {
        self.rooms.iter().position(|state| state.service == service && state.room == room)
    }

    fn find_or_make(&mut self, service: ServiceId, room: Room) -> &mut State {
        let at = self.find(service, room).unwrap_or_else(|| {
            self.rooms.push(State::new(service, room));
            self.rooms.len() - 1
        });
        &mut self.rooms[at]
    }

    /// Adds a connection as a member, or changes how it hears. It hears what is
    /// published from now on.
    pub fn join(&mut self, service: ServiceId, room: Room, handle: Handle, how: Membership) {
        let state = self.find_or_make(service, room);
        insert(&mut state.connections, handle.generation, handle, state.published, how);
    }

    /// Adds a UDP peer as a member, under an `id` of its own.
    pub fn join_peer(
        &mut self,
        service: ServiceId,
        room: Room,
        id: Generation,
        peer: DatagramPeer,
        how: Membership,
    ) {
        let state = self.find_or_make(service, room);
        let id = *state.peer_ids.entry((peer.socket, peer.address)).or_insert(id);
        insert(&mut state.peers, id, peer, state.published, how);
    }

    /// Removes a member. It loses what it has not been sent.
    pub fn leave(&mut self, service: ServiceId, room: Room, handle: Handle) {
        if let Some(at) = self.find(service, room) {
            remove(&mut self.rooms[at].connections, handle.generation);
        }
    }

    pub fn leave_peer(&mut self, service: ServiceId, room: Room, peer: &DatagramPeer) {
        if let Some(at) = self.find(service, room) {
            let state = &mut self.rooms[at];
            if let Some(id) = state.peer_ids.remove(&(peer.socket, peer.address)) {
                remove(&mut state.peers, id);
            }
        }
    }

    /// Removes a connection that ended from every room of its service.
    pub fn leave_all(&mut self, service: ServiceId, handle: Handle) {
        for state in self.rooms.iter_mut().filter(|state| state.service == service) {
            remove(&mut state.connections, handle.generation);
        }
    }

    /// Removes the members that talk to a socket of the service that is closed.
    pub fn leave_socket(&mut self, service: ServiceId, closed: SocketId) {
        for state in self.rooms.iter_mut().filter(|state| state.service == service) {
            state.peers.retain(|member| member.reach.socket != closed);
            state.peer_ids.retain(|(socket, _), _| *socket != closed);
        }
    }

    /// Closes the rooms of a service that ended.
    pub fn close_rooms(&mut self, service: ServiceId) {
        self.rooms.retain(|state| state.service != service);
        self.first = 0;
    }

    /// Adds a message of `speaker`, who will not hear it. Returns false if the room
    /// holds too much already: then the message is dropped.
    pub fn publish(
        &mut self,
        service: ServiceId,
        room: Room,
        speaker: Option<Generation>,
        message: &[u8],
    ) -> bool {
        if message.is_empty() {
            return true;
        }
        let state = self.find_or_make(service, room);
        if state.gathered.len() + message.len() > ROOM_LIMIT {
            return false;
        }
        state.gathered.extend_from_slice(message);
        state.published += 1;
        state.unterminated += u32::from(!matches!(message.last(), Some(b'\n' | b'\r')));
        let end = state.gathered.len() as u32;
        state.marks.push(Mark { end, lines_end: end + state.unterminated, speaker });
        true
    }

    /// The id of a UDP peer in a room.
    pub fn peer_id(&self, service: ServiceId, room: Room, peer: &DatagramPeer) -> Option<Generation> {
        self.rooms[self.find(service, room)?].peer_ids.get(&(peer.socket, peer.address)).copied()
    }

    /// Whether the room has reached its high water mark, and must send before it
    /// gathers more.
    pub fn is_full(&self, service: ServiceId, room: Room) -> bool {
        self.find(service, room).is_some_and(|at| self.rooms[at].gathered.len() >= ROOM_CAPACITY)
    }

    /// Notes a publisher that is left unread until the room has sent.
    pub fn wait_for_space(&mut self, service: ServiceId, room: Room, handle: Handle) {
        self.find_or_make(service, room).waiting.push(handle);
    }

    /// The memory that what they have gathered takes, in bytes.
    pub fn memory(&self) -> usize {
        let turn = |turn: &Turn| turn.plain.len() + turn.marks.len() * size_of::<Mark>();
        let held = |state: &State| {
            state.gathered.capacity()
                + state.marks.capacity() * size_of::<Mark>()
                + state.turn.as_ref().map_or(0, turn)
        };
        self.rooms.iter().map(held).sum()
    }

    /// Whether anything is waiting to be delivered.
    pub fn has_work(&self) -> bool {
        self.rooms.iter().any(|state| state.turn.is_some() || !state.gathered.is_empty())
    }

    /// Whether a connection is a member of a room with something to deliver.
    pub fn owe(&self, service: ServiceId, handle: Handle) -> bool {
        let has_work =
            |state: &&State| state.service == service && (state.turn.is_some() || !state.gathered.is_empty());
        let is_member = |state: &State| {
            state.connections.binary_search_by_key(&handle.generation, |member| member.id).is_ok()
        };
        self.rooms.iter().filter(has_work).any(is_member)
    }

    /// Delivers one turn of each room, until `to` says that the budget is used up.
    /// Moves publishers that may be read again to `readable`.
    pub fn fan_out(&mut self, to: &mut impl Deliver, readable: &mut Vec<Handle>) {
        let count = self.rooms.len();
        for step in 0..count {
            let at = (self.first + step) % count;
            let state = &mut self.rooms[at];
            let finished = state.fan_out(to);
            if state.gathered.len() < ROOM_CAPACITY {
                readable.append(&mut state.waiting);
            }
            if !finished {
                self.first = (at + 1) % count;
                return;
            }
        }
    }
}

/// What a room holds between two turns, for the simulation to judge.
#[cfg(feature = "simulated")]
pub(crate) struct RoomAudit {
    pub service: ServiceId,
    pub room: u16,
    pub connections: usize,
    pub peers: usize,
    pub gathered: usize,
    /// The number of the first message that is being delivered.
    pub delivers: Option<u64>,
    pub messages: usize,
    pub bytes: usize,
}

#[cfg(feature = "simulated")]
impl Rooms {
    pub fn audit(&self) -> impl Iterator<Item = RoomAudit> {
        self.rooms.iter().map(|state| RoomAudit {
            service: state.service,
            room: state.room.0,
            connections: state.connections.len(),
            peers: state.peers.len(),
            gathered: state.gathered.len(),
            delivers: state.turn.as_ref().map(|turn| turn.first),
            messages: state.turn.as_ref().map_or(0, |turn| turn.marks.len()),
            bytes: state.turn.as_ref().map_or(0, |turn| turn.plain.len()),
        })
    }

    /// Every connection that is a member, with the service whose room it is in.
    pub fn members(&self) -> Vec<(ServiceId, Handle)> {
        let members = |state: &State| {
            let service = state.service;
            state.connections.iter().map(move |member| (service, member.reach)).collect::<Vec<_>>()
        };
        self.rooms.iter().flat_map(members).collect()
    }

    /// Whether a publisher is left unread until the room has sent.
    pub fn waits(&self, service: ServiceId, room: Room, handle: Handle) -> bool {
        self.find(service, room).is_some_and(|at| self.rooms[at].waiting.contains(&handle))
    }
}

fn insert<T>(members: &mut Vec<Member<T>>, id: Generation, reach: T, since: u64, how: Membership) {
    match members.binary_search_by_key(&id, |member| member.id) {
        Ok(at) => members[at].how = how,
        Err(at) => members.insert(at, Member { id, reach, since, how }),
    }
}

fn remove<T>(members: &mut Vec<Member<T>>, id: Generation) {
    if let Ok(at) = members.binary_search_by_key(&id, |member| member.id) {
        members.remove(at);
    }
}

impl State {
    fn new(service: ServiceId, room: Room) -> State {
        State {
            service,
            room,
            connections: Vec::new(),
            peers: Vec::new(),
            peer_ids: HashMap::new(),
            published: 0,
            gathered: BytesMut::new(),
            marks: Vec::new(),
            unterminated: 0,
            turn: None,
            waiting: Vec::new(),
        }
    }

    /// Delivers the frozen turn, or else what is gathered. Returns false if the
    /// budget ran out first.
    ///
    /// It delivers one turn and no more: what its last deliveries bring in must be
    /// gathered before the next is frozen. Measured: if a room of 5,000 members
    /// went on with the next turn at once, its messages fell into two halves that
    /// never met again, and it delivered half as many per second.
    fn fan_out(&mut self, to: &mut impl Deliver) -> bool {
        let mut turn = match self.turn.take() {
            Some(turn) => turn,
            None if self.gathered.is_empty() => return true,
            None => self.freeze(),
        };
        let finished = self.deliver(&mut turn, to);
        if !finished {
            self.turn = Some(turn);
        }
        finished
    }

    fn freeze(&mut self) -> Turn {
        let plain = self.gathered.split().freeze();
        let marks = std::mem::take(&mut self.marks);
        let mut speakers: Vec<Generation> = marks.iter().filter_map(|mark| mark.speaker).collect();
        speakers.sort_unstable();
        speakers.dedup();
        let wanted = self.unterminated > 0 && self.connections.iter().any(|member| member.how.lines);
        let lines = if wanted { terminate_lines(&plain, &marks) } else { plain.clone() };
        self.unterminated = 0;
        let first = self.published - marks.len() as u64;
        Turn { plain, lines, marks, speakers, first, served: None, peer: None, messages_to_peer: 0 }
    }

    fn deliver(&self, turn: &mut Turn, to: &mut impl Deliver) -> bool {
        let mut ranges = Vec::new();
        let start = self.connections.partition_point(|member| Some(member.id) <= turn.served);
        let mut speakers = turn.speakers.iter().copied().peekable();
        for member in &self.connections[start..] {
            while speakers.next_if(|id| *id < member.id).is_some() {}
            let speaks = speakers.peek() == Some(&member.id);
            turn.select(member, speaks, false, &mut ranges);
            turn.served = Some(member.id);
            let bytes = if member.how.lines { &turn.lines } else { &turn.plain };
            let delivery = Delivery { bytes, ranges: &ranges, overflow: member.how.overflow };
            if !ranges.is_empty() && !to.to_connection(member.reach, delivery) {
                return false;
            }
        }
        let start = self.peers.partition_point(|member| Some(member.id) < turn.peer);
        for member in &self.peers[start..] {
            if turn.peer != Some(member.id) {
                turn.peer = Some(member.id);
                turn.messages_to_peer = 0;
            }
            turn.select(member, turn.speakers.binary_search(&member.id).is_ok(), true, &mut ranges);
            while let Some(range) = ranges.get(turn.messages_to_peer) {
                turn.messages_to_peer += 1;
                if !to.to_peer(&member.reach, &turn.plain[range.clone()]) {
                    return false;
                }
            }
        }
        true
    }
}

impl Turn {
    /// The ranges of this turn that a member gets: all but its own messages and
    /// those before it joined, each separately if `apart`, otherwise merged.
    fn select<T>(&self, member: &Member<T>, speaks: bool, apart: bool, ranges: &mut Vec<Range<usize>>) {
        ranges.clear();
        let lines = member.how.lines && !apart;
        if !speaks && !apart && member.since <= self.first {
            ranges.push(0..if lines { self.lines.len() } else { self.plain.len() });
            return;
        }
        let mut start = 0;
        for (number, mark) in (self.first..).zip(&self.marks) {
            let end =
                if lines && self.lines.len() > self.plain.len() { mark.lines_end } else { mark.end } as usize;
            if mark.speaker != Some(member.id) && number >= member.since {
                match ranges.last_mut() {
                    Some(last) if last.end == start && !apart => last.end = end,
                    _ => ranges.push(start..end),
                }
            }
            start = end;
        }
    }
}

fn terminate_lines(plain: &Bytes, marks: &[Mark]) -> Bytes {
    let mut lines = BytesMut::with_capacity(marks.last().map_or(0, |mark| mark.lines_end as usize));
    let mut start = 0;
    for mark in marks {
        lines.extend_from_slice(&plain[start..mark.end as usize]);
        if lines.len() < mark.lines_end as usize {
            lines.extend_from_slice(b"\n");
        }
        start = mark.end as usize;
    }
    lines.freeze()
}

#[cfg(test)]
mod tests;
