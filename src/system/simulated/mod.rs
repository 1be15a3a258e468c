//! A world in memory: virtual time, bounded buffers, edges as epoll gives
//! them, and faults drawn from a seed.
//!
//! The rules that make it a fair stand-in for Linux (epoll(7), tcp(7)):
//!
//! - An event describes the state at the time it is taken; changes coalesce.
//!   Registering announces the present state. New bytes are an edge even if older
//!   ones are unread. Room to write is announced only after a write was
//!   refused or cut short, and only once a third of the buffer is free.
//! - A reset comes after the bytes that arrived before it, and is reported once.
//! - An injected fault never breaks that contract: whoever is told `WouldBlock`
//!   or given less than there is gets another edge.
//! - A wait with nothing ready and no deadline fails: it would last forever, so a
//!   wake-up was lost.

mod poll;
mod tcp;
mod udp;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mio::Token;

pub use crate::rng::Rng;
pub(crate) use poll::Poll;
pub(crate) use tcp::{End, Listener, Stream};
pub(crate) use udp::{Datagram, Exchanged};

use super::workers::{Finished, Lanes, Task};
use crate::service::Lane;
use tcp::{Connection, ListenerState};
use udp::DatagramState;

/// How often something goes wrong, in thousandths of the cases where it could.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// A call fails with `EINTR`.
    pub interrupted: u32,
    /// A call fails with `EAGAIN` although it could have done something.
    pub would_block: u32,
    /// A read or a receive returns less than there is.
    pub partial_read: u32,
    /// A write takes less than there is room for.
    pub partial_write: u32,
    /// `accept` lacks descriptors or memory, or the client has given up.
    pub accept: u32,
    /// The poll refuses to watch a connection (epoll_ctl(2): ENOSPC).
    pub watch: u32,
    /// An outbound connection is refused.
    pub refused: u32,
    /// A reset destroys bytes that were in flight to the peer.
    pub reset_destroys: u32,
    /// A datagram is lost, duplicated, or overtaken.
    pub datagram: u32,
    /// The kernel refuses a datagram, or takes only part of a batch.
    pub send_refused: u32,
    /// A job finds the queue full.
    pub queue_full: u32,
    /// The poll reports an event that means nothing.
    pub spurious_event: u32,
    /// The process stalls for up to two seconds.
    pub stall: u32,
}

impl Faults {
    /// Faults of every kind, with rates drawn at random.
    pub fn drawn(rng: &mut Rng) -> Faults {
        let mut often = || *rng.pick(&[0, 0, 5, 30, 150]);
        let stall = often() / 10;
        // A stall makes bytes late that a fault has hidden, and then a line may be taken
        // unfinished.
        let mut hides = || if stall > 0 { 0 } else { often() };
        let (would_block, partial_read) = (hides(), hides());
        Faults {
            interrupted: often(),
            would_block,
            partial_read,
            partial_write: often(),
            accept: often(),
            // What it does to a client looks as if nobody had ended the connection.
            watch: 0,
            refused: often(),
            reset_destroys: often() * 4,
            datagram: often(),
            send_refused: often(),
            queue_full: often(),
            spurious_event: often(),
            stall,
        }
    }
}

/// The properties of a world.
#[derive(Debug, Clone)]
pub(crate) struct Nature {
    pub seed: u64,
    pub faults: Faults,
    /// The most bytes in flight in each direction of a connection.
    pub buffer: usize,
    /// The most descriptors that may be open at once.
    pub descriptors: usize,
    /// The most microseconds that one turn takes.
    pub turn: usize,
    /// The most microseconds until a connection is made, a job is done, or a late datagram
    /// arrives.
    pub delay: usize,
}

impl Nature {
    /// A world without faults, in which nothing takes time.
    pub fn calm() -> Nature {
        Nature {
            seed: 0,
            faults: Faults::default(),
            buffer: 1024 * 1024,
            descriptors: 1_000_000,
            turn: 0,
            delay: 0,
        }
    }
}

/// A handle to a world, which is to simulated sockets what the kernel is to real ones.
#[derive(Clone, Debug)]
pub(crate) struct World(Arc<Mutex<State>>);

/// Something that can be registered with the poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Listener(u32),
    End(End),
    Datagram(u32),
    Stdin,
}

/// An entry of the agenda: something that happens later.
enum Happening {
    Establish(u32),
    Refuse(u32, io::ErrorKind),
    Deliver(udp::Message),
    /// A thread begins a job.
    Begin(Task),
    Answer(Finished),
}

struct State {
    nature: Nature,
    rng: Rng,
    trace: DefaultHasher,
    base: Instant,
    /// Microseconds since the beginning of the world.
    now: u64,
    alarm: Option<u64>,
    woken: bool,
    signals: Vec<i32>,
    /// The sources that have something to announce, each at most once.
    edges: VecDeque<Source>,
    /// The clients' ends that something happened to, each at most once.
    client_news: Vec<End>,
    agenda: BTreeMap<(u64, u64), Happening>,
    happenings: u64,
    connections: BTreeMap<u32, Connection>,
    listeners: BTreeMap<u32, ListenerState>,
    datagrams: BTreeMap<u32, DatagramState>,
    /// Datagrams to addresses outside the program under test.
    outside: Vec<udp::Message>,
    exchanged: BTreeMap<IpAddr, Exchanged>,
    /// Outbound connections to addresses outside the program under test.
    asked_outside: VecDeque<u32>,
    lanes: Lanes,
    /// No job begins.
    holds_jobs: bool,
    /// Jobs that have begun; they run without the lock.
    begun: Vec<Task>,
    answers: VecDeque<Finished>,
    stdin: Stdin,
    next_id: u32,
    next_port: u16,
    descriptors: usize,
    /// Tokens of closed sockets, for events that come too late.
    gone: VecDeque<Token>,
    calls: Calls,
    totals: Totals,
    /// Why the program under test ended a client's connection, by its address.
    ends: BTreeMap<SocketAddr, String>,
    /// For each client that was accepted, the bytes that had been read from each other
    /// client by then.
    taken_before: BTreeMap<SocketAddr, BTreeMap<SocketAddr, usize>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("now", &self.now).finish_non_exhaustive()
    }
}

/// System calls made, for assertions about wasted ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub reads: u64,
    pub writes: u64,
    /// Writes that were refused a second time before any room had been announced.
    pub futile_writes: u64,
    pub waits: u64,
}

/// What passed between the program under test and the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub accepted: u64,
    pub read: u64,
    pub written: u64,
    pub datagrams_received: u64,
    pub datagrams_sent: u64,
    /// Datagrams from one of its sockets to another.
    pub datagrams_to_itself: u64,
}

#[derive(Debug, Default)]
struct Stdin {
    token: Option<Token>,
    queued: bool,
    is_file: bool,
    typed: VecDeque<u8>,
    ended: bool,
}

impl World {
    pub fn new(nature: Nature) -> World {
        let rng = Rng::new(nature.seed);
        World(Arc::new(Mutex::new(State {
            nature,
            rng,
            trace: DefaultHasher::new(),
            base: Instant::now(),
            now: 0,
            alarm: None,
            woken: false,
            signals: Vec::new(),
            edges: VecDeque::new(),
            client_news: Vec::new(),
            agenda: BTreeMap::new(),
            happenings: 0,
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            datagrams: BTreeMap::new(),
            outside: Vec::new(),
            exchanged: BTreeMap::new(),
            asked_outside: VecDeque::new(),
            lanes: Lanes::default(),
            holds_jobs: false,
            begun: Vec::new(),
            answers: VecDeque::new(),
            stdin: Stdin::default(),
            next_id: 0,
            next_port: 50_000,
            descriptors: 0,
            gone: VecDeque::new(),
            calls: Calls::default(),
            totals: Totals::default(),
            ends: BTreeMap::new(),
            taken_before: BTreeMap::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn now(&self) -> Instant {
        let state = self.state();
        state.base + Duration::from_micros(state.now)
    }

    /// Microseconds since the beginning of the world.
    pub fn micros(&self) -> u64 {
        self.state().now
    }

    pub fn clocks(&self) -> (Instant, SystemTime) {
        (self.state().base, SystemTime::UNIX_EPOCH)
    }

    /// Advances the time at once, as for a process that was suspended.
    pub fn leap(&self, time: Duration) {
        self.state().now += time.as_micros() as u64;
    }

    pub fn wake(&self) {
        self.state().woken = true;
    }

    pub fn signal(&self, signal: i32) {
        self.state().signals.push(signal);
    }

    pub fn take_signals(&self) -> Vec<i32> {
        std::mem::take(&mut self.state().signals)
    }

    pub fn set_alarm(&self, left: Duration) {
        let mut state = self.state();
        state.alarm = Some(state.now + left.as_nanos().div_ceil(1000) as u64);
    }

    /// Whether a wait would return at once.
    pub fn has_news(&self) -> bool {
        self.state().has_news()
    }

    /// Takes the clients' ends that something happened to since the last call.
    pub fn take_client_news(&self) -> Vec<End> {
        let mut state = self.state();
        let news = std::mem::take(&mut state.client_news);
        for end in &news {
            if let Some(connection) = state.connections.get_mut(&end.connection) {
                connection.ends[end.side].queued = false;
            }
        }
        news
    }

    /// A hash of everything that happened so far: one seed gives one trace.
    pub fn trace(&self) -> u64 {
        self.state().trace.finish()
    }

    pub fn calls(&self) -> Calls {
        self.state().calls
    }

    pub fn totals(&self) -> Totals {
        self.state().totals
    }

    /// Why the program under test ended a client's connection, once it has.
    pub fn end_of(&self, client: SocketAddr) -> Option<String> {
        self.state().ends.get(&client).cloned()
    }

    /// How many bytes of one client the program under test had read and gone through when
    /// it accepted another.
    pub fn taken_before(&self, accepted: SocketAddr, from: SocketAddr) -> usize {
        let state = self.state();
        state.taken_before.get(&accepted).and_then(|taken| taken.get(&from)).copied().unwrap_or(0)
    }

    /// Stops all faults.
    pub fn calm_down(&self) {
        self.state().nature.faults = Faults::default();
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        self.state().nature.faults = faults;
    }

    /// Descriptors that are open.
    pub fn descriptors(&self) -> usize {
        self.state().descriptors
    }

    /// Clients that wait to be accepted.
    pub fn backlog(&self) -> usize {
        self.state().listeners.values().map(|listener| listener.backlog.len()).sum()
    }

    pub fn has_free_descriptors(&self) -> bool {
        let state = self.state();
        state.descriptors < state.nature.descriptors
    }

    /// The ports on which the program under test has clients' connections open.
    pub fn open_to_clients(&self) -> Vec<u16> {
        let state = self.state();
        let open = state.connections.values().filter(|connection| connection.is_open_to_client());
        open.map(Connection::port).collect()
    }

    pub fn spare(&self) -> io::Result<Descriptor> {
        self.state().open_descriptor()?;
        Ok(Descriptor(self.clone()))
    }

    /// Queues a job as the threads would have it: it begins later, and its answer comes
    /// later than that.
    pub fn submit(&self, task: Task) {
        let mut state = self.state();
        let (lane, rate) = (task.lane, state.nature.faults.queue_full);
        let refused = match state.rng.chance(rate) {
            true => Some(task),
            false => state.lanes.push(task).err(),
        };
        state.note("job", u64::from(refused.is_some()));
        state.begin_jobs(lane);
        let refused = refused.map(|task| {
            let (job, finished) = task.refuse();
            state.later(Happening::Answer(finished));
            job
        });
        // Without the lock: dropping a job may use the world.
        drop(state);
        drop(refused);
    }

    /// Lets no job begin until it is told otherwise, as if each lane had a long one.
    pub fn hold_jobs(&self, holds: bool) {
        let mut state = self.state();
        state.holds_jobs = holds;
        Lane::ALL.into_iter().for_each(|lane| state.begin_jobs(lane));
    }

    /// Does the jobs that have begun. Without the lock: a job may use the world.
    pub fn do_jobs(&self) {
        let begun = std::mem::take(&mut self.state().begun);
        for task in begun {
            let finished = task.settle();
            let mut state = self.state();
            state.note("job done", u64::from(finished.result.is_some()));
            state.later(Happening::Answer(finished));
        }
    }

    pub fn next_answer(&self) -> Option<Finished> {
        self.state().answers.pop_front()
    }

    /// Types at the keyboard, or writes into the pipe that is standard input.
    #[cfg(test)]
    pub fn type_in(&self, bytes: &[u8]) {
        let mut state = self.state();
        state.stdin.typed.extend(bytes);
        state.announce(Source::Stdin);
    }

    /// Ends standard input.
    #[cfg(test)]
    pub fn end_typing(&self) {
        let mut state = self.state();
        state.stdin.ended = true;
        state.announce(Source::Stdin);
    }

    /// Makes standard input a file, which the poll refuses.
    #[cfg(test)]
    pub fn redirect_stdin(&self) {
        self.state().stdin.is_file = true;
    }

    pub fn register_stdin(&self, token: Token) -> bool {
        let mut state = self.state();
        if state.stdin.is_file {
            return false;
        }
        state.stdin.token = Some(token);
        state.announce(Source::Stdin);
        true
    }

    pub fn deregister_stdin(&self) {
        self.state().stdin.token = None;
    }

    pub fn read_stdin(&self) -> io::Result<Option<Vec<u8>>> {
        let mut state = self.state();
        state.interruption()?;
        if state.stdin.typed.is_empty() {
            return Ok(state.stdin.ended.then(Vec::new));
        }
        Ok(Some(state.stdin.typed.drain(..).collect()))
    }
}

/// A descriptor that is kept open so that it can be closed.
#[derive(Debug)]
pub(crate) struct Descriptor(World);

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.0.state().descriptors -= 1;
    }
}

impl State {
    fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    fn new_port(&mut self) -> u16 {
        self.next_port = self.next_port.checked_add(1).unwrap_or(50_000);
        self.next_port
    }

    fn open_descriptor(&mut self) -> io::Result<()> {
        if self.descriptors >= self.nature.descriptors {
            return Err(io::Error::from_raw_os_error(nix::libc::EMFILE));
        }
        self.descriptors += 1;
        Ok(())
    }

    /// Remembers the token of a socket that is closed.
    fn bury(&mut self, token: Option<Token>) {
        const REMEMBERED: usize = 16;
        self.gone.extend(token);
        if self.gone.len() > REMEMBERED {
            self.gone.pop_front();
        }
    }

    /// Lets the free threads of a lane begin what waits there.
    fn begin_jobs(&mut self, lane: Lane) {
        while !self.holds_jobs
            && let Some(task) = self.lanes.begin(lane)
        {
            self.later(Happening::Begin(task));
        }
    }

    fn interruption(&mut self) -> io::Result<()> {
        if self.rng.chance(self.nature.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    fn note(&mut self, what: &str, value: u64) {
        log::trace!("{:>12} µs: {what} {value}", self.now);
        self.trace.write(what.as_bytes());
        self.trace.write_u64(value);
    }
}
