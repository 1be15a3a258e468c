//! The memory that peers make the daemon take, and what happens when it is used up.
//!
//! What can grow is not counted byte by byte. Whatever makes it grow says so, which is
//! an upper bound; once that bound passes the budget, everything is counted anew. So
//! nothing has to be said when memory is given back, and no count can drift away.

use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

use super::Reactor;
use crate::reactor::tcp::stream::{State, Stream};
use crate::reactor::time::timers::SECOND;
use crate::service::CloseReason;
use crate::service::ids::Handle;

/// Growth that is worth giving back, in bytes.
const WORTH_GIVING_BACK: usize = 4 << 20;
/// How long after the growth the memory is given back.
const GIVE_BACK_AFTER: u64 = 5 * SECOND;

/// The least that a vector of bytes takes.
const SMALLEST_VECTOR: usize = 64;

/// The budget, and what is known of its use.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// In bytes; 0 means that there is none.
    budget: usize,
    /// What connections held when it was last counted. Rooms and tables are few, and are
    /// counted each time.
    counted: usize,
    /// What has been added since, at the most.
    grown: usize,
    /// What that was at the end of the last turn.
    looked_at: usize,
    /// A table may have grown since.
    has_new_datagrams: bool,
    /// Gives free memory back to the system.
    give_back: Option<fn()>,
    grown_since_given_back: usize,
    pub give_back_at: Option<u64>,
}

impl Memory {
    /// So many bytes more are held for peers.
    #[inline]
    pub fn grew(&mut self, bytes: usize) {
        self.grown += bytes;
        self.grown_since_given_back += bytes;
    }

    /// So many bytes more are in a vector, which may have doubled its memory for them.
    pub fn grew_in_a_vector(&mut self, bytes: usize) {
        self.grew(2 * bytes + SMALLEST_VECTOR);
    }

    /// Datagrams have come, and whoever sent them may be in a table now.
    #[inline]
    pub fn datagrams_came(&mut self) {
        self.has_new_datagrams = true;
    }

    fn is_worth_giving_back(&self) -> bool {
        self.give_back.is_some()
            && self.give_back_at.is_none()
            && self.grown_since_given_back >= WORTH_GIVING_BACK
    }

    /// How much of the budget tables take at most. They have bounds of their own, and no
    /// forged datagram may have connections cut off that hold little.
    fn most_for_tables(&self) -> usize {
        self.budget / 2
    }

    /// Whether connections, rooms and so much besides may be more than the budget.
    fn may_be_used_up(&self, besides: usize) -> bool {
        self.budget > 0 && self.counted + self.grown + besides > self.budget
    }

    /// What connections hold cannot be more than this.
    #[cfg(feature = "simulated")]
    pub fn upper_bound(&self) -> usize {
        self.counted + self.grown
    }

    #[cfg(feature = "simulated")]
    pub fn budget(&self) -> usize {
        self.budget
    }
}

/// Whose connections are counted together: an address, but on loopback, where all have
/// the same, each connection by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Address(IpAddr),
    Connection(SocketAddr),
}

impl Holder {
    fn of(peer: SocketAddr) -> Holder {
        if peer.ip().is_loopback() { Holder::Connection(peer) } else { Holder::Address(peer.ip()) }
    }
}

/// The frames that a connection has yet to take.
fn frames(stream: &Stream) -> impl Iterator<Item = (usize, usize)> {
    stream.outbox.iter().flat_map(|outbox| outbox.frames())
}

impl Reactor {
    /// Bounds the memory that peers can make the reactor hold, in bytes: unread input,
    /// unsent output, unfinished values, rooms, and the tables of those that send
    /// datagrams. When it is used up, connections are cut off: the largest of the address that holds most, and so on. What an empty
    /// connection takes is bounded by the number of connections. 0 means no bound.
    pub fn set_memory_budget(&mut self, bytes: usize) {
        self.net.memory.budget = bytes;
    }

    /// Calls this some seconds after much memory was used and is free again. The
    /// allocator keeps what is free for itself unless it is asked (malloc_trim(3)).
    pub fn give_memory_back_by(&mut self, give_back: fn()) {
        self.net.memory.give_back = Some(give_back);
    }

    /// Cuts off who holds most, if the budget is used up.
    #[inline]
    pub(crate) fn keep_within_memory(&mut self) {
        if self.net.memory.give_back_at.is_some_and(|at| at <= self.net.now) {
            self.give_memory_back();
        }
        let memory = &mut self.net.memory;
        if memory.looked_at == memory.grown && !memory.has_new_datagrams {
            return;
        }
        memory.has_new_datagrams = false;
        memory.looked_at = memory.grown;
        if memory.is_worth_giving_back() {
            memory.give_back_at = Some(self.net.now + GIVE_BACK_AFTER);
        }
        let (memory, by_rooms) = (&self.net.memory, self.rooms.memory());
        // The tables are looked at only when it matters what they take.
        if memory.may_be_used_up(by_rooms + memory.most_for_tables())
            && memory.may_be_used_up(by_rooms + self.charged_tables())
        {
            self.count_memory();
        }
    }

    /// Gives memory back, once peers hold little of it again.
    #[cold]
    fn give_memory_back(&mut self) {
        if self.memory_in_use() >= WORTH_GIVING_BACK {
            self.net.memory.give_back_at = Some(self.net.now + GIVE_BACK_AFTER);
        } else if let Some(give_back) = self.net.memory.give_back {
            give_back();
            self.net.memory.grown_since_given_back = 0;
            self.net.memory.give_back_at = None;
        }
    }

    #[cold]
    fn count_memory(&mut self) {
        let tables = self.charged_tables();
        let mut used = self.memory_in_use() + tables;
        let budget = self.net.memory.budget;
        // A little more than is needed, so that this is not asked for again at once.
        let enough = budget - budget / 8;
        while budget > 0 && used > budget {
            let largest = self.largest_first(used - enough);
            if largest.is_empty() {
                break;
            }
            for (handle, _) in largest {
                self.close(handle, CloseReason::OutOfMemory);
            }
            // Frames that others have too are not free yet, so this may go on.
            used = self.memory_in_use() + tables;
        }
        self.net.memory.counted = used.saturating_sub(self.rooms.memory() + tables);
        self.net.memory.grown = 0;
        self.net.memory.looked_at = 0;
    }

    /// What the tables of those that send datagrams take of the budget.
    pub(crate) fn charged_tables(&self) -> usize {
        let of_services: usize =
            self.hosts.iter().filter_map(|slot| slot.service.as_ref()).map(|service| service.tables()).sum();
        let tables = self.accounts.memory() + self.conversations.memory() + self.rooms.tables() + of_services;
        tables.min(self.net.memory.most_for_tables())
    }

    /// What connections and rooms hold at this moment.
    pub(crate) fn memory_in_use(&self) -> usize {
        let connections: usize = self.open_streams().map(|(_, stream)| self.footprint(stream)).sum();
        let frames = self.open_streams().flat_map(|(_, stream)| frames(stream));
        let frames: usize = frames.collect::<BTreeMap<_, _>>().into_values().sum();
        connections + frames + self.rooms.memory()
    }

    /// Those that are closed give back what they hold at the end of the turn.
    fn open_streams(&self) -> impl Iterator<Item = (Handle, &Stream)> {
        self.net.streams().filter(|(_, stream)| stream.state != State::Closed)
    }

    /// What a connection alone takes; frames are shared.
    fn footprint(&self, stream: &Stream) -> usize {
        let service = self.hosts[stream.service].service.as_ref();
        let session = service.map_or(0, |service| service.footprint(stream.session));
        // Without an output limit no room waits for a member: then each may be the one
        // for which a piece is kept.
        let is_limited = self.hosts[stream.service].limits.output_limit > 0;
        let unsent = stream.outbox.as_ref().map_or(0, |outbox| match is_limited {
            true => outbox.own_memory(),
            false => outbox.memory_behind_rooms(),
        });
        unsent + stream.kept.as_ref().map_or(0, |kept| kept.memory()) + session
    }

    /// The connections to cut off to get so many bytes, and what each of them holds.
    fn largest_first(&self, needed: usize) -> Vec<(Handle, usize)> {
        let mut holders: BTreeMap<Holder, (usize, Vec<(usize, Handle)>)> = BTreeMap::new();
        for (handle, stream) in self.open_streams() {
            let frames: usize = frames(stream).map(|(_, bytes)| bytes).sum();
            let bytes = self.footprint(stream) + frames;
            if bytes == 0 {
                continue;
            }
            let (total, connections) = holders.entry(Holder::of(stream.peer)).or_default();
            *total += bytes;
            connections.push((bytes, handle));
        }
        let mut heap: BinaryHeap<(usize, Holder)> =
            holders.iter().map(|(holder, (total, _))| (*total, *holder)).collect();
        for (_, connections) in holders.values_mut() {
            connections.sort_by_key(|(bytes, handle)| (*bytes, handle.generation));
        }
        let (mut chosen, mut found) = (Vec::new(), 0);
        while found < needed
            && let Some((total, holder)) = heap.pop()
        {
            let Some((bytes, handle)) =
                holders.get_mut(&holder).and_then(|(_, connections)| connections.pop())
            else {
                continue;
            };
            found += bytes;
            chosen.push((handle, bytes));
            heap.push((total - bytes, holder));
        }
        chosen
    }
}
