//! The way into the services: every call goes through [`Reactor::call`], and what
//! it asked for is carried out here.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::host::{Call, SessionKey};
use crate::reactor::keyboard::FileRead;
use crate::reactor::micros_up;
use crate::reactor::net::Entry;
use crate::reactor::notices::Notice;
use crate::reactor::tcp::stream::{Parts, State, Stream};
use crate::reactor::time::timers::NEVER;
use crate::reactor::udp::datagram::Datagram;
use crate::reactor::{PENDING_PER_TURN, Reactor};
use crate::service::effects::{Closing, Effect, Effects, Pause};
use crate::service::ids::{ConnectionId, Handle, ServiceId, SocketId};
use crate::service::rooms::DatagramPeer;
use crate::service::{Answer, CloseReason, Context, Farewell, Message, OffloadError};
use crate::system::{Finished, Purpose, Task};

/// After this many panics a service is stopped: its shared state is suspect.
const PANICS_BEFORE_STOP: u32 = 3;
/// Finished jobs that are delivered to their services per turn.
const ANSWERS_PER_TURN: usize = 256;

/// A call that waits until the current one has returned.
pub(crate) enum Pending {
    Message {
        service: ServiceId,
        message: Message,
    },
    /// A socket that is heard from when its service is told of it, and no sooner.
    Opened(Box<Datagram>),
    Socket {
        service: ServiceId,
        tag: u64,
        error: io::Error,
    },
    NotConnected {
        service: ServiceId,
        session: SessionKey,
        error: io::Error,
    },
}

#[cfg(feature = "simulated")]
impl Pending {
    /// Whether it is about a session without a connection.
    pub fn holds_session(&self) -> bool {
        matches!(self, Pending::NotConnected { .. })
    }
}

/// Whom a call is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    Service,
    Connection { handle: Handle, peer: &'a SocketAddr, sent: u64 },
    Datagram(&'a DatagramPeer),
}

impl Reactor {
    /// The only way into a service. Returns the effects by value, so that none can
    /// leak into another connection's. Returns `None` after a panic, whose effects
    /// are dropped (what it published stays).
    #[inline(always)]
    pub(crate) fn call(
        &mut self,
        service: ServiceId,
        about: About<'_>,
        call: Call<'_, '_>,
    ) -> Option<Box<Effects>> {
        let (connection, bytes_sent, datagram) = match about {
            About::Service => (None, 0, None),
            About::Connection { handle, peer, sent } => (Some((ConnectionId(handle), peer)), sent, None),
            About::Datagram(peer) => (None, 0, Some(peer)),
        };
        let slot = &mut self.hosts[service];
        let called = slot.service.as_mut()?;
        let mut effects = self.effects.take().unwrap_or_default();
        let outgoing_before = self.outgoing.mark();
        let input_length = call.input_length();
        let (generations, statistics) = self.net.generations_and_statistics();
        let mut context = Context {
            now: self.now,
            virtual_clock: self.virtual_clock.as_ref(),
            service,
            connection,
            bytes_sent,
            datagram,
            input_length,
            limits: &slot.limits,
            effects: &mut effects,
            outgoing: &mut self.outgoing,
            rooms: &mut self.rooms,
            generations,
            statistics,
        };
        match catch_unwind(AssertUnwindSafe(|| called.call(call, &mut context))) {
            Ok(()) => Some(effects),
            Err(panic) => {
                // Dropped here and not at the end of the scope, so that a call
                // without a panic has nothing to drop.
                drop(panic);
                self.outgoing.roll_back(outgoing_before);
                effects.clear();
                self.effects = Some(effects);
                self.panicked(service);
                None
            }
        }
    }

    /// Runs a service's code outside a callback; `None` after a panic.
    pub(crate) fn guarded<T>(&mut self, service: ServiceId, run: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(self))).ok();
        if outcome.is_none() {
            self.panicked(service);
        }
        outcome
    }

    /// Makes a session for a new connection; `None` if its service is stopped, or
    /// failed.
    pub(crate) fn new_session(&mut self, service: ServiceId) -> Option<SessionKey> {
        let make = |reactor: &mut Self| Some(reactor.hosts[service].service.as_mut()?.new_session());
        self.guarded(service, make).flatten()
    }

    /// Drops a session without telling its service.
    pub(crate) fn drop_session(&mut self, service: ServiceId, session: SessionKey) {
        self.guarded(service, |reactor| {
            if let Some(called) = &mut reactor.hosts[service].service {
                called.drop_session(session);
            }
        });
    }

    /// The protocol's words for why a client is turned away or given up.
    pub(crate) fn farewell_of(&mut self, service: ServiceId, why: Farewell) -> String {
        let words =
            |reactor: &mut Self| reactor.hosts[service].service.as_ref().map(|called| called.farewell(why));
        self.guarded(service, words).flatten().unwrap_or_default()
    }

    fn panicked(&mut self, service: ServiceId) {
        let slot = &mut self.hosts[service];
        slot.panics += 1;
        self.net.statistics.panics += 1;
        if slot.panics >= PANICS_BEFORE_STOP {
            log::error!(
                "service {}: failed inside {} times; it is stopped, the others serve on",
                slot.name,
                slot.panics
            );
            self.stop_service(service);
            if self.hosts.iter().all(|slot| slot.service.is_none()) {
                self.failure
                    .get_or_insert_with(|| "no service is left: each failed inside too often".to_owned());
                self.ends_now = true;
            }
        } else {
            let now = self.net.now;
            let name = &slot.name;
            self.net.notices.say(
                Notice::Fault,
                now,
                format_args!("service {name}: failed inside; the connection concerned ends"),
            );
        }
    }

    /// Calls a service about no connection.
    pub(crate) fn call_service(&mut self, service: ServiceId, call: Call<'_, '_>) {
        if let Some(effects) = self.call(service, About::Service, call) {
            self.apply(service, About::Service, effects, &[]);
            self.send_datagrams();
        }
    }

    /// Calls a service about a connection. Ranges of input refer to `input`.
    pub(crate) fn call_stream(
        &mut self,
        handle: Handle,
        service: ServiceId,
        call: Call<'_, '_>,
        input: &[u8],
    ) {
        let Some(stream) = self.net.stream(handle) else { return };
        let (peer, sent) = (stream.peer, stream.sent);
        let about = About::Connection { handle, peer: &peer, sent };
        match self.call(service, about, call) {
            Some(effects) => self.apply(service, about, effects, input),
            None => self.close(handle, CloseReason::Panicked),
        }
    }

    /// Carries out what a call asked for.
    #[inline(always)]
    pub(crate) fn apply(
        &mut self,
        service: ServiceId,
        about: About<'_>,
        mut effects: Box<Effects>,
        input: &[u8],
    ) {
        match about {
            About::Connection { handle, .. } => self.apply_to_stream(handle, service, &effects, input),
            About::Datagram(peer) if effects.room.is_some() => {
                if let Some(socket) = self.net.datagram(peer.socket.0) {
                    socket.room = effects.room;
                }
            }
            _ => {}
        }
        if !effects.others.is_empty() {
            let mut others = std::mem::take(&mut effects.others);
            for effect in others.drain(..) {
                self.apply_other(service, about, effect, &effects.scratch);
            }
            effects.others = others;
        }
        effects.clear();
        // A call within this call has put its own back.
        if self.effects.is_none() {
            self.effects = Some(effects);
        }
    }

    #[inline(always)]
    fn apply_to_stream(&mut self, handle: Handle, service: ServiceId, effects: &Effects, input: &[u8]) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        if effects.room.is_some() {
            stream.room = effects.room;
        }
        if matches!(stream.state, State::Closed | State::Lingering) {
            return;
        }
        let was_blocked = stream.outbox.is_some();
        let before = if was_blocked { stream.unsent() } else { 0 };
        if !effects.answer.is_empty() {
            let parts = Parts { scratch: &effects.scratch, input, others: &effects.others };
            let written = match stream.answer(&effects.answer, &parts, now) {
                Ok(written) => written,
                Err(cut) => return self.cut(handle, cut),
            };
            // Its deadlines have only moved further away, so there is nothing to
            // arm.
            let is_done = effects.is_only_answer() && stream.outbox.is_none() && stream.kept.is_none();
            let unsent = if is_done { 0 } else { stream.unsent() };
            self.net.statistics.bytes_sent += written as u64;
            if is_done {
                return;
            }
            self.net.memory.grew(unsent.saturating_sub(before));
            self.check_output_limit(handle, service, was_blocked);
            self.send_on(handle);
        }
        let Some(stream) = self.net.stream(handle) else { return };
        if let Some(deadline) = effects.deadline {
            let after = |at: Instant| micros_up(at.saturating_duration_since(self.start));
            stream.set_deadline(deadline.map(after));
        }
        if effects.more_to_send {
            stream.more_to_send = true;
            if stream.outbox.is_none() {
                self.net.go_on(handle);
            }
        }
        if let Some(pause) = effects.pause {
            self.pause(handle, pause);
        }
        let reason = match effects.closing {
            Closing::No => return self.net.arm(handle, &self.hosts),
            Closing::Close => CloseReason::ByUs,
            Closing::GiveUp(why) => CloseReason::GivenUp(why),
            Closing::Abort => CloseReason::Aborted,
        };
        self.close_as_asked(handle, reason);
    }

    #[cold]
    fn pause(&mut self, handle: Handle, pause: Pause) {
        let until = match pause {
            Pause::Over => return self.net.resume(handle),
            Pause::UntilResumed => NEVER,
            // Not before the next turn: a timer ends the pause.
            Pause::Until(at) => micros_up(at.saturating_duration_since(self.start)).max(self.net.now + 1),
        };
        self.net.pause(handle, until);
    }

    fn apply_other(&mut self, service: ServiceId, about: About<'_>, effect: Effect, scratch: &[u8]) {
        match effect {
            // It went out with the answer that refers to it.
            Effect::SendFile(_) => {}
            Effect::Tell { to: ConnectionId(handle), bytes } => self.tell(handle, &scratch[bytes]),
            Effect::CloseOther(ConnectionId(handle)) => {
                self.close_as_asked(handle, CloseReason::ByUs);
            }
            Effect::Post { service: to, message } => match self.hosts.running(&to) {
                Some(service) => self.pending.push_back(Pending::Message { service, message }),
                None => log::debug!("a message to service {to} is dropped: it does not run"),
            },
            Effect::Offload(lane, job) => {
                let connection = match about {
                    About::Connection { handle, .. } => Some(handle),
                    _ => None,
                };
                let connection =
                    connection.and_then(|handle| Some((handle, self.net.stream(handle)?.job_began())));
                self.workers.submit(Task { lane, service, connection, purpose: Purpose::Service, job });
            }
            Effect::OpenSocket { tag, spec } => {
                let options = &self.hosts[service].options;
                self.pending.push_back(match Datagram::open(&self.system, &spec, options, service, tag) {
                    Ok(socket) => Pending::Opened(Box::new(socket)),
                    Err(error) => Pending::Socket { service, tag, error },
                });
            }
            Effect::CloseSocket(socket) => {
                // What was sent through it may be a last word.
                self.send_datagrams();
                self.rooms.leave_socket(service, socket);
                self.net.remove(socket.0);
            }
            Effect::Connect { to, local } => self.connect(service, to, local),
            Effect::Tick(at) => self.set_tick(service, at),
            Effect::Report(line) => {
                let (now, name) = (self.net.now, &self.hosts[service].name);
                self.net.notices.say(Notice::Limit, now, format_args!("{name}: {line}"));
            }
            Effect::ReadKeyboard => self.open_keyboard(service),
            Effect::PauseKeyboard => self.pause_keyboard(service, true),
            Effect::ResumeKeyboard => self.pause_keyboard(service, false),
            Effect::Stop => {
                if self.net.draining_since.is_none() {
                    self.drain();
                }
            }
            Effect::Fail(why) => {
                self.failure.get_or_insert(why);
                self.ends_now = true;
            }
        }
    }

    fn connect(&mut self, service: ServiceId, to: SocketAddr, local: Option<SocketAddr>) {
        if self.net.draining_since.is_some() {
            // A service that connects again whenever it is cut off would never end.
            log::debug!("{}: no connection to {to} is made any more", self.hosts[service].name);
            return;
        }
        let Some(session) = self.new_session(service) else { return };
        if let Some(mut effects) = self.call(service, About::Service, Call::Connecting(session)) {
            // Otherwise a service could go on connecting within `connecting`
            // forever.
            effects.others.retain(|effect| !matches!(effect, Effect::Connect { .. }));
            self.apply(service, About::Service, effects, &[]);
        }
        let now = self.net.now;
        let options = &self.hosts[service].options;
        let connected = self.system.connect(to, local, options).and_then(|socket| {
            let stream = Stream::new(socket, to, service, session, State::Connecting, now);
            self.net.insert(Entry::Stream(stream))
        });
        match connected {
            Ok(handle) => {
                self.hosts[service].connections += 1;
                self.net.statistics.connections += 1;
                self.net.arm(handle, &self.hosts);
            }
            Err(error) => self.pending.push_back(Pending::NotConnected { service, session, error }),
        }
    }

    /// Delivers what the offload threads have finished. What exceeds the turn's
    /// budget waits, because a service may submit a new job with every answer.
    pub(crate) fn take_answers(&mut self) {
        for _ in 0..ANSWERS_PER_TURN {
            let Some(finished) = self.workers.next_answer() else {
                self.has_answers = false;
                return;
            };
            let Finished { service, connection, purpose, result, .. } = finished;
            if let Purpose::ReadAhead(job) = purpose {
                // It belongs to no connection, so it was done or refused.
                self.was_read_ahead(job, result.unwrap_or(Err(OffloadError::QueueFull)));
                continue;
            }
            let session = connection.and_then(|handle| {
                let stream = self.net.stream(handle)?;
                stream.job_ended();
                Some(stream.session)
            });
            match result {
                // Its connection had ended before it began.
                None => {}
                Some(Ok(result)) if result.is::<FileRead>() => {
                    if let Ok(read) = result.downcast::<FileRead>() {
                        self.keyboard_file_was_read(service, *read);
                    }
                }
                Some(result) => {
                    let answer = Answer { connection: connection.map(ConnectionId), result };
                    let call = Call::Finished(session, answer);
                    match connection.filter(|_| session.is_some()) {
                        Some(handle) => self.call_stream(handle, service, call, &[]),
                        None => self.call_service(service, call),
                    }
                }
            }
        }
    }

    /// Makes the calls that waited, each once. What they ask for waits for the next
    /// turn, so that two services cannot keep the loop to themselves.
    pub(crate) fn deliver_pending(&mut self) {
        for _ in 0..self.pending.len().min(PENDING_PER_TURN) {
            match self.pending.pop_front() {
                Some(Pending::Message { service, message }) => {
                    self.call_service(service, Call::Message(message))
                }
                Some(Pending::Opened(socket)) if self.hosts[socket.service].service.is_some() => {
                    let (service, tag) = (socket.service, socket.tag);
                    let opened = self.net.insert(Entry::Datagram(socket)).map(SocketId);
                    self.call_service(service, Call::Socket { tag, opened });
                }
                // Its service was stopped meanwhile.
                Some(Pending::Opened(_)) => {}
                Some(Pending::Socket { service, tag, error }) => {
                    self.call_service(service, Call::Socket { tag, opened: Err(error) })
                }
                Some(Pending::NotConnected { service, session, error }) => {
                    self.call_service(service, Call::Closed(session, &CloseReason::NotConnected(error)));
                }
                None => return,
            }
        }
    }
}
