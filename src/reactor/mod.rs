//! The event loop: it knows sockets, clocks and buffers, and no protocol.
//!
//! [`Reactor::turn`] is the whole of it. Read that first, then `readiness` (why
//! events are latched), `stream` (how a byte is read and written), `rooms` (how one
//! message reaches many), `outbox` (how backpressure works), `ending` (how a
//! connection ends) and `drain` (how the reactor does).

#[cfg(feature = "simulated")]
pub(crate) mod audit;
mod dispatch;
mod drain;
mod ending;
mod keyboard;
mod memory;
mod net;
mod notices;
mod per_address;
mod readiness;
mod ready;
mod signals;
mod tcp;
mod time;
mod token;
mod udp;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use dispatch::calls::Pending;
use dispatch::host::Hosts;
use net::Net;
use per_address::PerAddress;
use tcp::listener;
use tcp::read_ahead::ReadAhead;
use time::alarm::Alarm;
use time::timers::Wake;
use udp::accounts::Accounts;
use udp::batch::{Receiver as DatagramReceiver, Sender as DatagramSender};
use udp::conversations::Conversations;
use udp::neighbours::Neighbours;

pub use crate::service::{
    Bound, ConnectionId, DEFAULT_UDP_RECEIVE_BUFFER, DEFAULT_UDP_SEND_BUFFER, DatagramPeer, DatagramSpec,
    Limits, Membership, Multicast, Overflow, Rate, Room, ServiceId, ServiceReport, SocketId, SocketOptions,
    Statistics, TokenBucket, Transport,
};
pub use dispatch::host::{BindError, HostBuilder};
pub use tcp::accept::MOST_OVER_LIMIT;

#[cfg(feature = "simulated")]
use crate::service::Lane;
use crate::service::effects::{Effects, Outgoings};
use crate::service::rooms::Rooms;
use crate::service::{AnyService, Service};
#[cfg(feature = "simulated")]
use crate::system::simulated::World;
use crate::system::{self, System, Waker, Workers};

/// The size of the read buffer, which all connections share: only one of them reads
/// at a time. Measured: a 256 KiB echo costs a quarter less than with a buffer of
/// 64 KiB.
const READ_BUFFER: usize = 256 * 1024;
/// The longest line that the reactor keeps, even if the limit allows more.
const LONGEST_LINE: usize = 16 * 1024 * 1024;
/// Events taken from the kernel per turn.
const EVENTS_PER_TURN: usize = 1024;
/// Waiting calls delivered per turn.
const PENDING_PER_TURN: usize = 4096;

/// One thread, one [`mio::Poll`], any number of services.
///
/// Add services with [`Reactor::host`], then call [`Reactor::run`]. It returns once
/// the reactor is told to end: by a signal after [`Reactor::watch_signals`], by a
/// [`Remote`], or by a service.
pub struct Reactor {
    system: System,
    /// What services are told of the wall clock, where it is not the machine's.
    virtual_clock: Option<(Instant, SystemTime)>,
    alarm: Alarm,
    commands: (Sender<Command>, Receiver<Command>),
    workers: Workers,
    waker: Arc<Waker>,
    net: Net,
    hosts: Hosts,
    rooms: Rooms,
    /// Boxed, because every call moves it twice; `None` while a call runs.
    effects: Option<Box<Effects>>,
    outgoing: Outgoings,
    receiver: DatagramReceiver,
    sender: DatagramSender,
    accounts: Accounts,
    neighbours: Neighbours,
    conversations: Conversations,
    read_ahead: ReadAhead,
    pending: VecDeque<Pending>,
    spare: listener::Spare,
    buffer: Vec<u8>,
    /// The most unread input that a connection can keep and still find room in the
    /// buffer for more.
    longest_input: usize,
    max_connections: usize,
    /// Counted only where a limit needs it.
    per_peer: PerAddress,
    start: Instant,
    /// The time of this turn.
    now: Instant,
    /// A second request to end has come: unsent output is dropped.
    ends_now: bool,
    drain: drain::Progress,
    /// Offloaded jobs may have finished that the reactor has not taken in yet. A drain
    /// sets it too while it must not wait.
    has_answers: bool,
    failure: Option<String>,
}

/// What another thread can ask the reactor to do.
enum Command {
    Drain,
}

/// Why a reactor ended before it was told to.
#[derive(Debug)]
pub enum RunError {
    /// The poll failed.
    Poll(io::Error),
    /// A service gave up, with a sentence for the user.
    Service(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Poll(error) => write!(f, "waiting for events failed: {error}"),
            RunError::Service(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for RunError {}

/// Ends a reactor from another thread.
#[derive(Clone)]
pub struct Remote {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Remote {
    /// Asks the reactor to end in order, see [`Reactor::drain`]; asked a second
    /// time, it ends at once.
    pub fn drain(&self) {
        // Both fail only when the reactor has ended already.
        let _ = self.commands.send(Command::Drain);
        let _ = self.waker.wake();
    }
}

impl Reactor {
    /// A reactor without services.
    ///
    /// # Errors
    /// If the system cannot create a poll: it is out of descriptors or memory.
    pub fn new() -> io::Result<Reactor> {
        Reactor::on(System::kernel(EVENTS_PER_TURN)?)
    }

    /// A reactor in a world in memory.
    #[cfg(feature = "simulated")]
    pub(crate) fn simulated(world: &World) -> io::Result<Reactor> {
        Reactor::on(System::Simulated(system::simulated::Poll::new(world.clone())))
    }

    fn on(system: System) -> io::Result<Reactor> {
        let waker = Arc::new(system.waker()?);
        let start = system.now();
        Ok(Reactor {
            net: Net::new(system.registry()?),
            alarm: Alarm::new(system.timer()?),
            virtual_clock: system.virtual_clock(),
            commands: channel(),
            workers: system.workers(Arc::clone(&waker)),
            waker,
            hosts: Hosts::default(),
            rooms: Rooms::default(),
            effects: None,
            outgoing: Outgoings::default(),
            receiver: DatagramReceiver::default(),
            sender: DatagramSender::default(),
            accounts: Accounts::default(),
            neighbours: Neighbours::default(),
            conversations: Conversations::default(),
            read_ahead: ReadAhead::default(),
            pending: VecDeque::new(),
            spare: listener::Spare::new(&system),
            system,
            buffer: vec![0; READ_BUFFER],
            longest_input: READ_BUFFER - 1,
            max_connections: 0,
            per_peer: PerAddress::default(),
            start,
            now: start,
            ends_now: false,
            drain: drain::Progress::default(),
            has_answers: false,
            failure: None,
        })
    }

    /// Limits the connections of all services together; 0 means no limit. One address other
    /// than loopback may have a quarter of them, unless a service
    /// [says otherwise](Limits::connections_per_peer).
    pub fn set_max_connections(&mut self, connections: usize) {
        self.max_connections = connections;
    }

    /// Hosts a service under a name: the builder gives it its sockets.
    pub fn host<S: Service + 'static>(&mut self, name: &str, service: S) -> HostBuilder<'_> {
        self.host_any(name, AnyService::new(service))
    }

    /// Hosts a service whose type only its maker knew.
    pub fn host_any(&mut self, name: &str, service: AnyService) -> HostBuilder<'_> {
        HostBuilder::new(self, name, service)
    }

    /// Removes a service: closes its sockets and cuts off its connections.
    pub fn remove(&mut self, service: ServiceId) {
        self.refresh_clock();
        self.stop_service(service);
        self.reap();
    }

    /// What the reactor has counted so far.
    pub fn statistics(&self) -> Statistics {
        self.net.statistics
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote {
        Remote { commands: self.commands.0.clone(), waker: Arc::clone(&self.waker) }
    }

    /// Runs the loop until the reactor is told to end and all output is out, or its
    /// time is up.
    ///
    /// # Errors
    /// If the poll fails, or a service [gave up](crate::service::Context::fail).
    pub fn run(&mut self) -> Result<(), RunError> {
        while !self.has_ended() {
            self.turn(None).map_err(RunError::Poll)?;
        }
        self.end_conversations();
        self.net.notices.finish();
        self.failure.take().map_or(Ok(()), |why| Err(RunError::Service(why)))
    }

    /// One turn of the loop: waits for events, at most `at_most`, and serves
    /// everything that is ready once.
    ///
    /// The phases come in this order, and for these reasons:
    ///
    /// 1. **Wait** for events, the next deadline or `at_most`. If work is left over
    ///    from the turn before, the poll only looks.
    /// 2. **Read the clock**, once. It comes after the wait, so that the time spent
    ///    there counts; everything else in the turn happens at the same `now`.
    /// 3. **Latch events.** They are only noted. A connection that is closed later
    ///    in the turn may have an event in the same batch, and nobody acts on it.
    /// 4. **Fire ticks**, which services set for themselves: a busy turn does not
    ///    make them late. The deadlines of connections that are due are taken out
    ///    too. What is armed from here on, even if it is due at once, waits for the
    ///    next turn: no timer can keep the loop busy.
    /// 5. **Serve what is ready**: first those to which something has happened, then
    ///    those who have more to do than they could in one call. Each call and the
    ///    whole turn have a share of work (`ready`). Then the poll is asked again, so
    ///    that nobody waits for a connection that always has more.
    /// 6. **Fire deadlines**, now that all input that had arrived in time has been
    ///    read: so no peer misses a deadline because the loop was late.
    /// 7. **Deliver pending calls**: messages between services, sockets opened,
    ///    connections that could not be made. They wait until all callbacks have
    ///    returned, so that no service is called inside another's callback.
    /// 8. **Fan out** what the rooms have gathered. It comes after every service
    ///    has spoken, so that all of a turn's messages reach a member in one write.
    /// 9. **Serve the last**: clients over a limit are looked at once more, now that
    ///    whatever has ended in this turn is out of the way, and resets are asked for of
    ///    which no read tells.
    /// 10. **Keep within memory**: whoever holds most is cut off if the budget is used up.
    ///     Everything that can grow in a turn has done so.
    /// 11. **Reap** what was closed. Until here it kept its place and its descriptor,
    ///     so that nothing in this turn could be mistaken for it. The descriptors
    ///     that come free let a starved listener accept again.
    /// 12. **Go on draining**, if the reactor was told to end: close whoever is idle by
    ///     now.
    ///
    /// # Errors
    /// If the poll fails.
    pub fn turn(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        self.wait_for_events(at_most)?;
        self.refresh_clock();
        self.net.statistics.turns += 1;
        self.latch_events();
        let due = self.fire_ticks();
        self.serve_ready();
        self.fire_deadlines(due);
        self.deliver_pending();
        self.fan_out();
        if !self.net.last.is_empty() {
            self.serve_the_last();
        }
        self.keep_within_memory();
        if !self.net.closing.is_empty() || !self.outgoing.list.is_empty() {
            self.reap();
        }
        if let Some(since) = self.net.draining_since {
            self.go_on_draining(since);
        }
        Ok(())
    }

    /// Reads the clock: once per turn, and once more only when the alarm is set.
    fn refresh_clock(&mut self) {
        self.now = self.system.now();
        self.net.now = micros(self.now.duration_since(self.start));
    }

    fn wait_for_events(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        let timeout = match self.next_wake() {
            _ if self.has_work() => Some(Duration::ZERO),
            None => at_most,
            Some(at) => {
                let deadline = self.start + Duration::from_micros(at);
                // From this very moment, since the turn's own time is past.
                let left = || deadline.saturating_duration_since(self.system.now());
                self.alarm.timeout(at, left)?.into_iter().chain(at_most).min()
            }
        };
        self.system.wait(timeout)
    }

    fn next_wake(&self) -> Option<u64> {
        let mut next = self.net.timers.next();
        let others = [
            self.conversations.sweep_at,
            self.net.memory.give_back_at,
            self.read_ahead.retry_at,
            self.last_moment(),
        ];
        for at in others.into_iter().flatten() {
            if next.is_none_or(|before| at < before) {
                next = Some(at);
            }
        }
        next
    }

    /// What [`Context::system_time`](crate::service::Context::system_time) says
    /// at the beginning of the world.
    #[cfg(feature = "simulated")]
    pub(crate) fn set_wall_clock(&mut self, at: SystemTime) {
        if let Some((_, wall)) = &mut self.virtual_clock {
            *wall = at;
        }
    }

    /// Whether nothing will happen unless time passes or the world does something.
    #[cfg(feature = "simulated")]
    pub(crate) fn is_at_rest(&self) -> bool {
        !self.has_work() && self.net.timers.next().is_none_or(|at| at > self.net.now)
    }

    /// Whether jobs are being done off the loop, or wait for that.
    #[cfg(feature = "simulated")]
    pub(crate) fn has_jobs(&self) -> bool {
        Lane::ALL.into_iter().any(|lane| self.workers.in_flight(lane) > 0)
    }

    /// What a service failed with.
    #[cfg(feature = "simulated")]
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// A service itself, if it is of this type and still runs.
    #[cfg(feature = "simulated")]
    pub(crate) fn service_mut<S: Service + 'static>(&mut self, of: ServiceId) -> Option<&mut S> {
        self.hosts[of].service.as_mut()?.as_any().downcast_mut()
    }

    /// A message for a service, as another one would post it.
    #[cfg(feature = "simulated")]
    pub(crate) fn post_to(&mut self, service: ServiceId, message: crate::service::Message) {
        self.pending.push_back(dispatch::calls::Pending::Message { service, message });
    }

    /// Whether something is left to do that no event will announce.
    fn has_work(&self) -> bool {
        !self.net.ready.is_empty()
            || !self.net.closing.is_empty()
            || !self.pending.is_empty()
            || self.has_answers
            || self.rooms.has_work()
    }

    fn latch_events(&mut self) {
        let mut woken = false;
        let mut signalled = false;
        self.system.for_each_event(|event| match event.token {
            system::WAKER => woken = true,
            system::SIGNALS => signalled = true,
            system::ALARM => self.alarm.rang(),
            _ => self.net.latch(event),
        });
        if woken || self.has_answers {
            self.has_answers = true;
            self.take_answers();
        }
        if woken {
            while let Ok(Command::Drain) = self.commands.1.try_recv() {
                self.drain();
            }
        }
        if signalled {
            self.heed_signals();
        }
    }

    fn make_room_for_lines(&mut self, line_length: usize) {
        let needed = line_length.min(LONGEST_LINE) + READ_BUFFER / 4;
        if self.buffer.len() < needed {
            self.buffer.resize(needed, 0);
            self.longest_input = needed - 1;
        }
    }

    fn set_tick(&mut self, service: ServiceId, at: Option<Instant>) {
        let at = at.map(|at| micros_up(at.saturating_duration_since(self.start)));
        if std::mem::replace(&mut self.hosts[service].tick, at).is_some() {
            self.net.timers.abandon();
        }
        if let Some(at) = at {
            self.net.timers.arm(at, Wake::Service(service));
        }
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_micros() as u64
}

/// Rounded up, so that nothing is due before its time.
fn micros_up(duration: Duration) -> u64 {
    duration.as_nanos().div_ceil(1000) as u64
}
