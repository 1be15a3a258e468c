//! All sockets of the reactor: the slab, the ready queue, the timers.

use std::io;
use std::net::SocketAddr;

use slab::Slab;

use super::keyboard::Keyboard;
use super::memory::Memory;
use super::notices::Notices;
use super::ready::Ready;
use crate::reactor::dispatch::host::Hosts;
use crate::reactor::tcp::listener::Listener;
use crate::reactor::tcp::stream::{State, Stream};
use crate::reactor::time::timers::{NEVER, Timers, Wake};
use crate::reactor::udp::datagram::Datagram;
use crate::reactor::udp::loop_guard::LoopGuard;
use crate::service::Statistics;
use crate::service::ids::{Generation, Generations, Handle, ServiceId};
use crate::system::{Event, Registry, StreamSocket};

pub(crate) enum Entry {
    Listener(Box<Listener>),
    Stream(Stream),
    Datagram(Box<Datagram>),
    Keyboard(Box<Keyboard>),
}

/// An entry in its place in the slab. A place is reused, a generation never is. It
/// is aligned to a pair of cache lines, as [`Stream`] needs it.
#[repr(C, align(128))]
struct Place {
    generation: Generation,
    entry: Entry,
}

// With debug assertions mio's sockets are larger.
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    not(debug_assertions),
    not(feature = "simulated")
))]
const _: () = assert!(size_of::<Place>() == 128, "a connection has outgrown its two cache lines");

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Listener,
    Stream,
    Datagram,
    Keyboard,
}

/// What waits for the end of a turn.
pub(crate) enum Last {
    /// A client that was one too many when it was accepted.
    OverLimit { service: ServiceId, socket: StreamSocket, peer: SocketAddr },
    /// A listener whose next client has no descriptor yet, since too many over a limit have.
    Listener(Handle),
    /// A connection on which there may be a reset that no read tells of.
    BehindTheEnd(Handle),
}

impl Entry {
    fn kind(&self) -> Kind {
        match self {
            Entry::Listener(_) => Kind::Listener,
            Entry::Stream(_) => Kind::Stream,
            Entry::Datagram(_) => Kind::Datagram,
            Entry::Keyboard(_) => Kind::Keyboard,
        }
    }

    fn latch(&mut self) -> &mut super::readiness::Latch {
        match self {
            Entry::Listener(listener) => &mut listener.latch,
            Entry::Stream(stream) => &mut stream.latch,
            Entry::Datagram(datagram) => &mut datagram.latch,
            Entry::Keyboard(keyboard) => &mut keyboard.latch,
        }
    }
}

/// Enough for the allocator to map the slab, and each larger one that replaces it,
/// as pages of its own: unused places cost no memory, and the pages of an old slab
/// go back to the system.
const PLACES_AT_FIRST: usize = 2048;

pub(crate) struct Net {
    registry: Registry,
    entries: Slab<Place>,
    generations: Generations,
    pub ready: Ready,
    /// The connections to reap at the end of the turn.
    pub closing: Vec<Handle>,
    pub timers: Timers,
    pub statistics: Statistics,
    pub notices: Notices,
    pub memory: Memory,
    /// The time of this turn, in microseconds since the reactor's start.
    pub now: u64,
    /// When the drain began.
    pub draining_since: Option<u64>,
    pub loop_guard: LoopGuard,
    /// Whoever is served when this turn has served everyone else.
    pub last: Vec<Last>,
    /// How many of these are clients over a limit.
    pub over_limit: usize,
    /// Listeners that wait for a free descriptor.
    pub starved_listeners: Vec<Handle>,
}

impl Net {
    pub fn new(registry: Registry) -> Net {
        Net {
            registry,
            entries: Slab::with_capacity(PLACES_AT_FIRST),
            generations: Generations::default(),
            ready: Ready::default(),
            closing: Vec::new(),
            timers: Timers::default(),
            statistics: Statistics::default(),
            notices: Notices::default(),
            memory: Memory::default(),
            now: 0,
            draining_since: None,
            loop_guard: LoopGuard::default(),
            last: Vec::new(),
            over_limit: 0,
            starved_listeners: Vec::new(),
        }
    }

    /// How many sockets there are.
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    pub fn generations_and_statistics(&mut self) -> (&mut Generations, &Statistics) {
        (&mut self.generations, &self.statistics)
    }

    /// Registers a socket once for its whole life, edge-triggered and for both
    /// directions.
    pub fn insert(&mut self, entry: Entry) -> io::Result<Handle> {
        let generation = self.generations.next();
        let vacant = self.entries.vacant_entry();
        let handle = Handle { generation, key: vacant.key() as u32 };
        let entry = &mut vacant.insert(Place { generation, entry }).entry;
        let token = handle.token();
        let registered = match entry {
            Entry::Listener(listener) => listener.socket.register(&self.registry, token),
            Entry::Stream(stream) => stream.socket.register(&self.registry, token),
            Entry::Datagram(datagram) => {
                self.loop_guard.add(datagram.socket.address(), datagram.has_configured_port);
                datagram.socket.register(&self.registry, token)
            }
            Entry::Keyboard(keyboard) => keyboard.register(&self.registry, token),
        };
        if let Err(error) = registered {
            self.remove(handle);
            return Err(error);
        }
        Ok(handle)
    }

    /// Takes an entry out. Dropping it closes its descriptor, which takes it out of
    /// the poll.
    pub fn take(&mut self, handle: Handle) -> Option<Entry> {
        self.get(handle)?;
        let entry = self.entries.remove(handle.key as usize).entry;
        match &entry {
            Entry::Datagram(datagram) => {
                self.loop_guard.remove(datagram.socket.address(), datagram.has_configured_port);
                if datagram.retry_at.is_some() {
                    self.timers.abandon();
                }
            }
            Entry::Keyboard(keyboard) => keyboard.deregister(&self.registry),
            Entry::Stream(stream) if stream.armed != NEVER => self.timers.abandon(),
            _ => {}
        }
        Some(entry)
    }

    pub fn remove(&mut self, handle: Handle) {
        self.take(handle);
    }

    #[inline(always)]
    pub fn get(&mut self, handle: Handle) -> Option<&mut Entry> {
        let place = self.entries.get_mut(handle.key as usize)?;
        (place.generation == handle.generation).then_some(&mut place.entry)
    }

    #[inline(always)]
    pub fn stream(&mut self, handle: Handle) -> Option<&mut Stream> {
        match self.get(handle) {
            Some(Entry::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub fn datagram(&mut self, handle: Handle) -> Option<&mut Datagram> {
        match self.get(handle) {
            Some(Entry::Datagram(datagram)) => Some(datagram),
            _ => None,
        }
    }

    /// The handles of all entries that `wanted` picks.
    pub fn handles(&self, mut wanted: impl FnMut(&Entry) -> bool) -> Vec<Handle> {
        let picked = self.entries.iter().filter(|(_, place)| wanted(&place.entry));
        picked.map(|(key, place)| Handle { generation: place.generation, key: key as u32 }).collect()
    }

    /// Takes in an event: it latches what it says and queues its entry.
    pub fn latch(&mut self, event: Event) {
        let Some(handle) = Handle::from_token(event.token) else { return };
        if let Some(entry) = self.get(handle) {
            let latch = entry.latch();
            latch.set(event.readiness);
            if latch.enqueue() {
                if latch.is_heavy() {
                    self.ready.push_going_on(handle);
                } else {
                    self.ready.push(handle);
                }
            }
        }
        if event.readiness.more_behind {
            self.look_behind_the_end(handle);
        }
    }

    /// Once a peer's end was read, or while it is not read at all, no read tells of a
    /// reset.
    #[cold]
    fn look_behind_the_end(&mut self, handle: Handle) {
        if self.stream(handle).is_some_and(|stream| stream.end_of_input || stream.is_unread_until_resumed()) {
            self.last.push(Last::BehindTheEnd(handle));
        }
    }

    pub fn enqueue(&mut self, handle: Handle) {
        if self.get(handle).is_some_and(|entry| entry.latch().enqueue()) {
            self.ready.push(handle);
        }
    }

    /// Puts an entry that waited for its room back into the ready queue.
    pub fn unpark(&mut self, handle: Handle) {
        let now = self.now;
        if let Some(entry) = self.get(handle) {
            entry.latch().unpark();
            if let Entry::Stream(stream) = entry {
                stream.restart_clocks(now);
            }
            self.enqueue(handle);
        }
    }

    /// Leaves a connection unread until then.
    pub fn pause(&mut self, handle: Handle, until: u64) {
        let Some(stream) = self.stream(handle) else { return };
        stream.set_pause(Some(until));
        if stream.latch.has_more_behind() {
            self.look_behind_the_end(handle);
        }
    }

    /// Reads a paused connection again, and shows its service what it had left unread.
    pub fn resume(&mut self, handle: Handle) {
        let now = self.now;
        if let Some(stream) = self.stream(handle)
            && stream.paused_until().is_some()
        {
            stream.set_pause(None);
            stream.restart_clocks(now);
            stream.show_again = stream.kept.is_some();
            self.enqueue(handle);
        }
    }

    /// Queues a connection that is still readable and may be read: no event will
    /// announce what is latched already.
    pub fn read_on(&mut self, handle: Handle) {
        let now = self.now;
        if let Some(stream) = self.stream(handle)
            && stream.latch.is_readable()
            && stream.state != State::Closed
            && !stream.holds_back_reading()
            && !stream.is_paused(now)
        {
            if stream.end_of_input {
                return self.last.push(Last::BehindTheEnd(handle));
            }
            self.go_on(handle);
        }
    }

    /// It has moved so much that it comes after the others next time.
    #[cold]
    pub fn set_heavy(&mut self, handle: Handle) {
        if let Some(entry) = self.get(handle) {
            entry.latch().set_heavy();
        }
    }

    /// Queues an entry behind those that have just become ready.
    pub fn go_on(&mut self, handle: Handle) {
        if self.get(handle).is_some_and(|entry| entry.latch().enqueue()) {
            self.ready.push_going_on(handle);
        }
    }

    /// The next entry to serve, unless the turn's work is done. From now on it can be
    /// queued again.
    #[inline(always)]
    pub fn next_ready(&mut self) -> Option<(Handle, Kind)> {
        loop {
            let handle = self.ready.pop()?;
            if let Some(entry) = self.get(handle) {
                entry.latch().dequeue();
                return Some((handle, entry.kind()));
            }
        }
    }

    /// Makes sure that the timers wake a connection in time. This costs no heap
    /// operation unless its next deadline is earlier than every wake-up it has.
    pub fn arm(&mut self, handle: Handle, hosts: &Hosts) {
        let draining_since = self.draining_since;
        let Some(stream) = self.stream(handle) else { return };
        if let Some((at, _)) = stream.next_due(&hosts[stream.service].terms(draining_since))
            && at < stream.armed
        {
            let superseded = stream.armed != NEVER;
            stream.armed = at;
            self.timers.arm(at, Wake::Entry(handle));
            if superseded {
                self.timers.abandon();
            }
        }
    }

    /// Drops the wake-ups that have lost their meaning, once they are in the
    /// majority.
    pub fn compact_timers(&mut self, hosts: &Hosts) {
        if !self.timers.is_mostly_stale() {
            return;
        }
        let entries = &self.entries;
        self.timers.compact(|at, wake| {
            let handle = match wake {
                Wake::Service(service) => return hosts[service].tick == Some(at),
                Wake::Entry(handle) => handle,
            };
            let place = entries.get(handle.key as usize);
            match place.filter(|place| place.generation == handle.generation).map(|place| &place.entry) {
                Some(Entry::Stream(stream)) => stream.armed == at,
                Some(Entry::Listener(listener)) => listener.retry_at == Some(at),
                Some(Entry::Datagram(socket)) => socket.retry_at == Some(at),
                _ => false,
            }
        });
    }

    pub fn streams(&self) -> impl Iterator<Item = (Handle, &Stream)> {
        self.entries.iter().filter_map(|(key, place)| match &place.entry {
            Entry::Stream(stream) => Some((Handle { generation: place.generation, key: key as u32 }, stream)),
            _ => None,
        })
    }
}
