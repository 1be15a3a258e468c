//! The event loop: it knows sockets, clocks and buffers, and no protocol.
//!
//! [`Reactor::turn`] is the whole of it. Read that first, then `readiness` (why
//! events are latched), `stream` (how a byte is read and written), `rooms` (how one
//! message reaches many), `outbox` (how backpressure works) and `ending` (how a
//! connection ends).

mod dispatch;
mod ending;
mod keyboard;
mod net;
mod notices;
mod readiness;
mod tcp;
mod time;
mod token;
mod udp;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Waker};
use signal_hook_mio::v1_0::Signals;

use dispatch::calls::Pending;
use dispatch::host::Hosts;
use dispatch::offload::Offload;
use net::Net;
use tcp::listener;
use time::alarm::Alarm;
use time::timers::Wake;
use udp::batch::{Receiver as DatagramReceiver, Sender as DatagramSender};
use udp::datagram;

pub use crate::service::{
    Bound, ConnectionId, DEFAULT_UDP_RECEIVE_BUFFER, DatagramPeer, DatagramSpec, Limits, Membership,
    Multicast, Overflow, Rate, Room, ServiceId, SocketId, SocketOptions, Statistics, TokenBucket, Transport,
};
pub use dispatch::host::{BindError, HostBuilder};

use crate::service::Service;
use crate::service::effects::{Effects, Outgoings};
use crate::service::ids::Handle;
use crate::service::rooms::Rooms;

/// The size of the read buffer, which all connections share: only one of them reads
/// at a time. Measured: a 256 KiB echo costs a quarter less than with a buffer of
/// 64 KiB.
const READ_BUFFER: usize = 256 * 1024;
/// The longest line that the reactor keeps, even if the limit allows more.
const LONGEST_LINE: usize = 16 * 1024 * 1024;
/// Events taken from the kernel per turn.
const EVENTS_PER_TURN: usize = 1024;
/// Connections and sockets served per turn, before the reactor polls again: one
/// pass over those that were ready when the turn began.
const CALLS_PER_TURN: usize = 4096;

/// One thread, one [`Poll`], any number of services.
///
/// Add services with [`Reactor::host`], then call [`Reactor::run`]. It returns once
/// the reactor is told to end: by a signal after [`Reactor::watch_signals`], by a
/// [`Remote`], or by a service.
pub struct Reactor {
    poll: Poll,
    events: Events,
    signals: Option<Signals>,
    alarm: Alarm,
    commands: (Sender<Command>, Receiver<Command>),
    offload: Offload,
    waker: Arc<Waker>,
    net: Net,
    hosts: Hosts,
    rooms: Rooms,
    /// Boxed, because every call moves it twice; `None` while a call runs.
    effects: Option<Box<Effects>>,
    outgoing: Outgoings,
    receiver: DatagramReceiver,
    sender: DatagramSender,
    answer_limit: datagram::AnswerLimit,
    pending: VecDeque<Pending>,
    spare: listener::Spare,
    buffer: Vec<u8>,
    /// The most unread input that a connection can keep and still find room in the
    /// buffer for more.
    longest_input: usize,
    max_connections: usize,
    start: Instant,
    /// The time of this turn.
    now: Instant,
    /// A second request to end has come: unsent output is dropped.
    ends_now: bool,
    /// Offloaded jobs may have finished that the reactor has not taken in yet.
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
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), token::WAKER)?);
        let start = Instant::now();
        Ok(Reactor {
            net: Net::new(poll.registry().try_clone()?),
            alarm: Alarm::new(poll.registry())?,
            poll,
            events: Events::with_capacity(EVENTS_PER_TURN),
            signals: None,
            commands: channel(),
            offload: Offload::new(Arc::clone(&waker)),
            waker,
            hosts: Hosts::default(),
            rooms: Rooms::default(),
            effects: None,
            outgoing: Outgoings::default(),
            receiver: DatagramReceiver::default(),
            sender: DatagramSender::default(),
            answer_limit: datagram::AnswerLimit::default(),
            pending: VecDeque::new(),
            spare: listener::Spare::new(),
            buffer: vec![0; READ_BUFFER],
            longest_input: READ_BUFFER - 1,
            max_connections: 0,
            start,
            now: start,
            ends_now: false,
            has_answers: false,
            failure: None,
        })
    }

    /// Limits the connections of all services together; 0 means no limit.
    pub fn set_max_connections(&mut self, connections: usize) {
        self.max_connections = connections;
    }

    /// Drains the reactor at SIGTERM or SIGINT, and ends it at once at the second
    /// one.
    ///
    /// # Errors
    /// If the system cannot create the signal pipe.
    pub fn watch_signals(&mut self) -> io::Result<()> {
        use nix::libc::{SIGINT, SIGTERM};
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        self.poll.registry().register(&mut signals, token::SIGNALS, mio::Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }

    /// Adds a service under a name. The builder that it returns gives the service
    /// its sockets.
    pub fn host<S: Service + 'static>(&mut self, name: &str, service: S) -> HostBuilder<'_, S> {
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
    /// 4. **Fire timers** before sockets are served, so that a busy turn does not
    ///    make deadlines late. A timer that is armed from here on, even one that is
    ///    due at once, waits for the next turn: no timer can keep the loop busy.
    /// 5. **Serve what is ready**, each once. What is still ready goes to the back
    ///    of the queue, so that nobody waits for a connection that always has more.
    /// 6. **Deliver pending calls**: messages between services, sockets opened,
    ///    connections that could not be made. They wait until all callbacks have
    ///    returned, so that no service is called inside another's callback.
    /// 7. **Fan out** what the rooms have gathered. It comes after every service
    ///    has spoken, so that all of a turn's messages reach a member in one write.
    /// 8. **Reap** what was closed. Until here it kept its place and its descriptor,
    ///    so that nothing in this turn could be mistaken for it. The descriptors
    ///    that come free let a starved listener accept again.
    /// 9. **Go on draining**, if the reactor was told to end. Whoever is idle is
    ///    closed only when no work is left: what had arrived before is answered.
    ///
    /// # Errors
    /// If the poll fails.
    pub fn turn(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        self.wait_for_events(at_most)?;
        self.refresh_clock();
        self.net.statistics.turns += 1;
        self.latch_events();
        self.fire_timers();
        self.serve_ready();
        self.deliver_pending();
        self.fan_out();
        self.reap();
        self.go_on_draining();
        Ok(())
    }

    /// Reads the clock: once per turn, and once more only when the alarm is set.
    fn refresh_clock(&mut self) {
        self.now = Instant::now();
        self.net.now = micros(self.now.duration_since(self.start));
    }

    fn wait_for_events(&mut self, at_most: Option<Duration>) -> io::Result<()> {
        let timeout = match self.net.timers.next() {
            _ if self.has_work() => Some(Duration::ZERO),
            None => at_most,
            Some(at) => {
                let deadline = self.start + Duration::from_micros(at);
                // Counted from this moment: the turn's own time has passed.
                let left = || deadline.saturating_duration_since(Instant::now());
                self.alarm.timeout(at, left)?.into_iter().chain(at_most).min()
            }
        };
        match self.poll.poll(&mut self.events, timeout) {
            // A signal arrived: its token comes with the next poll.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
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
        for event in self.events.iter() {
            match event.token() {
                token::WAKER => woken = true,
                token::SIGNALS => signalled = true,
                token::ALARM => self.alarm.rang(),
                _ => self.net.latch(event),
            }
        }
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
            let count = self.signals.as_mut().map_or(0, |signals| signals.pending().count());
            (0..count).for_each(|_| self.drain());
        }
    }

    /// Begins an orderly end: closes the listeners and idle connections, sends
    /// pending output until the drain timeout, then cuts off the rest. Called
    /// again, it ends the reactor at once.
    pub fn drain(&mut self) {
        if self.net.draining_since.is_some() {
            self.ends_now = true;
            return;
        }
        self.refresh_clock();
        log::info!("shutting down: waiting for output that is under way");
        self.net.draining_since = Some(self.net.now);
        self.close_listeners();
        let all: Vec<Handle> = self.net.streams().map(|(handle, _)| handle).collect();
        for handle in all {
            self.net.arm(handle, &self.hosts);
        }
    }

    /// Closes idle connections once everything that had arrived is answered.
    fn go_on_draining(&mut self) {
        if self.net.draining_since.is_some() && !self.has_work() {
            self.close_idle();
            self.reap();
        }
    }

    /// Whether [`Reactor::run`] would return, for programs that call
    /// [`Reactor::turn`] themselves.
    pub fn has_ended(&self) -> bool {
        self.ends_now
            || self.net.draining_since.is_some() && self.net.statistics.connections == 0 && !self.has_work()
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
