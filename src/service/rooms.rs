//! Rooms: one message to many members, at the cost of one write per member and
//! turn, however many messages there are.
//!
//! While the services run, a room gathers what is published. At the end of the turn
//! this is frozen into one piece of memory that all members share, and delivered
//! member by member within the turn's budget. What is published meanwhile gathers
//! for the next time. A member whose unsent output exceeds its limit holds the room
//! up: it delivers nothing more to connections until that member has caught up or is
//! disconnected, so that a flood moves at the speed of those who hear it. Members on
//! UDP neither wait nor are waited for: see `datagrams`. This module decides who gets
//! which bytes; it touches no socket.

mod connections;
mod datagrams;

#[cfg(feature = "simulated")]
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use bytes::Bytes;

use crate::service::ids::{Generation, Handle, ServiceId, SocketId};
use connections::Connections;
#[cfg(feature = "simulated")]
use connections::ConnectionsAudit;
use datagrams::Peers;
#[cfg(feature = "simulated")]
pub(crate) use datagrams::PeersAudit;
pub(crate) use datagrams::{BATCH_BYTES, BATCH_MESSAGES};

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
    /// If its unsent output exceeds the output limit, the room waits for it as long
    /// as it takes at least 64 KiB per second. If it takes less for five seconds, it
    /// is disconnected.
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
    /// The number of the first run (on UDP: of the first message) that it hears.
    since: u64,
    how: Membership,
}

#[derive(Debug)]
struct State {
    service: ServiceId,
    room: Room,
    connections: Connections,
    peers: Peers,
    /// Publishers that are left unread until the room has sent.
    waiting: Vec<Handle>,
}

/// All rooms of all services.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: Vec<State>,
    /// The room to serve first, so that no room starves another.
    first: usize,
    /// The same for members on UDP.
    first_on_udp: usize,
}

/// One delivery: the ranges of `bytes` that a member gets.
pub(crate) struct Delivery<'a> {
    pub bytes: &'a Bytes,
    pub ranges: &'a [Range<usize>],
    pub overflow: Overflow,
}

/// What a delivery to a connection came to.
pub(crate) struct Delivered {
    /// The member has more unsent output than it may have.
    pub is_behind: bool,
    /// The budget allows another delivery.
    pub goes_on: bool,
}

/// Takes a room's deliveries. Those to connections and those to peers each have a
/// budget.
pub(crate) trait Deliver {
    fn to_connection(&mut self, handle: Handle, delivery: Delivery<'_>) -> Delivered;
    /// Whether a member still has more unsent output than it may have.
    fn is_behind(&mut self, handle: Handle) -> bool;
    /// Returns whether the budget allows another.
    fn to_peer(&mut self, peer: &DatagramPeer, message: &[u8]) -> bool;
    /// Hears of datagrams that the members of a service's room are not sent.
    fn dropped(&mut self, service: ServiceId, datagrams: u64);
}

impl Rooms {
    fn find(&self, service: ServiceId, room: Room) -> Option<usize> {
        self.rooms.iter().position(|state| state.service == service && state.room == room)
    }

    fn find_or_make(&mut self, service: ServiceId, room: Room) -> &mut State {
        let at = self.find(service, room).unwrap_or_else(|| {
            self.rooms.push(State {
                service,
                room,
                connections: Connections::default(),
                peers: Peers::default(),
                waiting: Vec::new(),
            });
            self.rooms.len() - 1
        });
        &mut self.rooms[at]
    }

    /// Adds a connection as a member, or changes how it hears. It hears what is
    /// published from now on.
    pub fn join(&mut self, service: ServiceId, room: Room, handle: Handle, how: Membership) {
        self.find_or_make(service, room).connections.join(handle, how);
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
        self.find_or_make(service, room).peers.join(id, peer, how);
    }

    /// Removes a member. It loses what it has not been sent.
    pub fn leave(&mut self, service: ServiceId, room: Room, handle: Handle) {
        if let Some(at) = self.find(service, room) {
            self.rooms[at].connections.leave(handle);
        }
    }

    pub fn leave_peer(&mut self, service: ServiceId, room: Room, peer: &DatagramPeer) {
        if let Some(at) = self.find(service, room) {
            self.rooms[at].peers.leave(peer);
        }
    }

    /// Removes a connection that ended from every room of its service.
    pub fn leave_all(&mut self, service: ServiceId, handle: Handle) {
        for state in self.rooms.iter_mut().filter(|state| state.service == service) {
            state.connections.leave(handle);
        }
    }

    /// Removes the members that talk to a socket of the service that is closed.
    pub fn leave_socket(&mut self, service: ServiceId, closed: SocketId) {
        for state in self.rooms.iter_mut().filter(|state| state.service == service) {
            state.peers.leave_socket(closed);
        }
    }

    /// Closes the rooms of a service that ended.
    pub fn close_rooms(&mut self, service: ServiceId) {
        self.rooms.retain(|state| state.service != service);
        (self.first, self.first_on_udp) = (0, 0);
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
        if state.connections.gathered() + message.len() > ROOM_LIMIT {
            return false;
        }
        state.connections.publish(speaker, message);
        state.peers.publish(speaker, message);
        true
    }

    /// Takes the place of a frame that has not begun to go out; members on UDP do not
    /// get it. Returns false if it is too large.
    pub fn publish_latest(&mut self, service: ServiceId, room: Room, frame: Bytes) -> bool {
        if frame.len() > ROOM_LIMIT {
            return false;
        }
        if !frame.is_empty() {
            self.find_or_make(service, room).connections.publish_latest(frame);
        }
        true
    }

    /// The id of a UDP peer in a room.
    pub fn peer_id(&self, service: ServiceId, room: Room, peer: &DatagramPeer) -> Option<Generation> {
        self.rooms[self.find(service, room)?].peers.id(peer)
    }

    /// Whether the room has reached its high water mark, and must send before it
    /// gathers more.
    pub fn is_full(&self, service: ServiceId, room: Room) -> bool {
        self.find(service, room).is_some_and(|at| self.rooms[at].is_full())
    }

    /// Notes a publisher that is left unread until the room has sent.
    pub fn wait_for_space(&mut self, service: ServiceId, room: Room, handle: Handle) {
        self.find_or_make(service, room).waiting.push(handle);
    }

    /// The memory that they take, in bytes.
    pub fn memory(&self) -> usize {
        self.rooms.iter().map(|state| state.connections.memory() + state.peers.memory()).sum()
    }

    /// The memory that the lists of UDP members take, in bytes.
    pub fn tables(&self) -> usize {
        self.rooms.iter().map(|state| state.peers.table()).sum()
    }

    /// Whether anything can be delivered now.
    pub fn has_work(&self) -> bool {
        self.rooms.iter().any(|state| state.connections.has_work() || state.peers.has_work())
    }

    /// Whether a connection is a member of a room with something to deliver.
    pub fn owe(&self, service: ServiceId, handle: Handle) -> bool {
        self.rooms.iter().any(|state| state.service == service && state.connections.owe(handle))
    }

    /// Whether a room waits for a member that has not kept up.
    pub fn is_held_up(&self) -> bool {
        self.rooms.iter().any(|state| state.connections.is_held_up())
    }

    /// Delivers one turn of each room, until `to` says that the budgets are used up.
    /// Moves publishers that may be read again to `readable`.
    pub fn fan_out(&mut self, to: &mut impl Deliver, readable: &mut Vec<Handle>) {
        let count = self.rooms.len();
        for step in 0..count {
            let at = (self.first + step) % count;
            let state = &mut self.rooms[at];
            let finished = state.connections.fan_out(to);
            if !state.is_full() {
                readable.append(&mut state.waiting);
            }
            if !finished {
                self.first = (at + 1) % count;
                break;
            }
        }
        for step in 0..count {
            let at = (self.first_on_udp + step) % count;
            let state = &mut self.rooms[at];
            let finished = state.peers.fan_out(to);
            match std::mem::take(&mut state.peers.dropped) {
                0 => {}
                dropped => to.dropped(state.service, dropped),
            }
            if !finished {
                self.first_on_udp = (at + 1) % count;
                break;
            }
        }
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.connections.gathered() >= ROOM_CAPACITY
    }
}

/// What a room holds between two turns, for the simulation to judge.
#[cfg(feature = "simulated")]
pub(crate) struct RoomAudit {
    pub service: ServiceId,
    pub room: u16,
    pub connections: ConnectionsAudit,
    pub peers: PeersAudit,
}

#[cfg(feature = "simulated")]
impl Rooms {
    /// What each room holds between two turns.
    pub fn audit(&self) -> impl Iterator<Item = RoomAudit> {
        self.rooms.iter().map(|state| RoomAudit {
            service: state.service,
            room: state.room.0,
            connections: state.connections.audit(),
            peers: state.peers.audit(),
        })
    }

    /// Every connection that is a member, with the service whose room it is in.
    pub fn members(&self) -> Vec<(ServiceId, Handle)> {
        let members = |state: &State| {
            let service = state.service;
            state.connections.members.iter().map(move |member| (service, member.reach)).collect::<Vec<_>>()
        };
        self.rooms.iter().flat_map(members).collect()
    }

    /// The connections that are sent the latest frame only.
    pub fn members_that_skip(&self) -> BTreeSet<Handle> {
        let members = self.rooms.iter().flat_map(|state| &state.connections.members);
        members
            .filter(|member| member.how.overflow == Overflow::LatestFrame)
            .map(|member| member.reach)
            .collect()
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

fn is_member<T>(members: &[Member<T>], id: Generation) -> bool {
    members.binary_search_by_key(&id, |member| member.id).is_ok()
}

fn remove<T>(members: &mut Vec<Member<T>>, id: Generation) {
    if let Ok(at) = members.binary_search_by_key(&id, |member| member.id) {
        members.remove(at);
    }
}

#[cfg(test)]
mod tests;
