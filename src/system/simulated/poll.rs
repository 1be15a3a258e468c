//! The poll of a world: announces events and lets time pass.

use std::io;
use std::time::Duration;

use super::{Happening, Source, State, World};
use crate::system::poll::{Event, Readiness};
use crate::system::{ALARM, SIGNALS, WAKER};

/// Events per wait.
const EVENTS: usize = 1024;

/// The poll of a world.
pub(crate) struct Poll {
    pub world: World,
    pub events: Vec<Event>,
}

impl Poll {
    pub fn new(world: World) -> Poll {
        Poll { world, events: Vec::new() }
    }

    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        self.world.state().wait(timeout, &mut self.events)?;
        self.world.do_jobs();
        Ok(())
    }
}

impl State {
    pub(super) fn wait(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        self.calls.waits += 1;
        self.take_time();
        let deadline = timeout.map(|timeout| self.now + timeout.as_nanos().div_ceil(1000) as u64);
        self.happen();
        if !self.has_news() {
            let next = self.agenda.keys().next().map(|(at, _)| *at);
            let Some(at) = [next, self.alarm, deadline].into_iter().flatten().min() else {
                return Err(io::Error::other(
                    "nothing is ready and no deadline is set: this wait would last forever",
                ));
            };
            self.now = self.now.max(at);
            self.happen();
        }
        if self.rng.chance(self.nature.faults.interrupted) {
            self.note("interrupted wait", self.now);
            return Ok(());
        }
        self.collect(events);
        self.note("wait", self.now);
        Ok(())
    }

    /// Lets the time of a turn pass, and now and then that of a stalled process.
    fn take_time(&mut self) {
        let turn = self.nature.turn;
        self.now += self.rng.below(turn + 1) as u64;
        if self.rng.chance(self.nature.faults.stall) {
            self.now += self.rng.below(2_000_000) as u64;
        }
    }

    pub(super) fn has_news(&self) -> bool {
        self.woken
            || !self.signals.is_empty()
            || !self.begun.is_empty()
            || !self.edges.is_empty()
            || self.alarm.is_some_and(|at| at <= self.now)
            || self.agenda.keys().next().is_some_and(|(at, _)| *at <= self.now)
    }

    fn collect(&mut self, events: &mut Vec<Event>) {
        let all = Readiness { readable: true, writable: true, ..Readiness::default() };
        if self.alarm.is_some_and(|at| at <= self.now) {
            self.alarm = None;
            events.push(Event { token: ALARM, readiness: all });
        }
        if std::mem::take(&mut self.woken) {
            events.push(Event { token: WAKER, readiness: all });
        }
        if !self.signals.is_empty() {
            events.push(Event { token: SIGNALS, readiness: all });
        }
        for _ in 0..self.edges.len().min(EVENTS) {
            let Some(source) = self.edges.pop_front() else { break };
            if let Some(event) = self.take_event(source) {
                self.note("event", event.token.0 as u64);
                events.push(event);
            }
        }
        if !self.gone.is_empty() && self.rng.chance(self.nature.faults.spurious_event) {
            let at = self.rng.below(self.gone.len());
            events.push(Event { token: self.gone[at], readiness: Readiness { more_behind: true, ..all } });
        }
    }

    /// The event of a source as it is now; `None` unless it is registered.
    fn take_event(&mut self, source: Source) -> Option<Event> {
        match source {
            Source::Listener(id) => {
                let listener = self.listeners.get_mut(&id)?;
                listener.queued = false;
                let readiness = Readiness { readable: !listener.backlog.is_empty(), ..Readiness::default() };
                Some(Event { token: listener.token?, readiness })
            }
            Source::End(end) => {
                let connection = self.connections.get_mut(&end.connection)?;
                connection.ends[end.side].queued = false;
                let readiness = connection.readiness(end.side, self.nature.buffer);
                Some(Event { token: connection.ends[end.side].token?, readiness })
            }
            Source::Datagram(id) => {
                let socket = self.datagrams.get_mut(&id)?;
                socket.queued = false;
                let readable = !socket.queue.is_empty();
                Some(Event {
                    token: socket.token?,
                    readiness: Readiness { readable, ..Readiness::default() },
                })
            }
            Source::Stdin => {
                self.stdin.queued = false;
                let readiness = Readiness {
                    readable: !self.stdin.typed.is_empty() || self.stdin.ended,
                    more_behind: self.stdin.ended,
                    ..Readiness::default()
                };
                Some(Event { token: self.stdin.token?, readiness })
            }
        }
    }

    /// Notes an edge: the next wait reports this source, once.
    pub(super) fn announce(&mut self, source: Source) {
        if let Source::End(end) = source
            && let Some(connection) = self.connections.get_mut(&end.connection)
            && !connection.ends[end.side].is_held()
        {
            // A client's end: the simulated client is notified.
            if !std::mem::replace(&mut connection.ends[end.side].queued, true) {
                self.client_news.push(end);
            }
            return;
        }
        let (registered, queued) = match source {
            Source::Listener(id) => match self.listeners.get_mut(&id) {
                Some(listener) => (listener.token.is_some(), &mut listener.queued),
                None => return,
            },
            Source::End(end) => match self.connections.get_mut(&end.connection) {
                Some(connection) => {
                    let end = &mut connection.ends[end.side];
                    (end.token.is_some(), &mut end.queued)
                }
                None => return,
            },
            Source::Datagram(id) => match self.datagrams.get_mut(&id) {
                Some(socket) => (socket.token.is_some(), &mut socket.queued),
                None => return,
            },
            Source::Stdin => (self.stdin.token.is_some(), &mut self.stdin.queued),
        };
        if registered && !std::mem::replace(queued, true) {
            self.edges.push_back(source);
        }
    }

    /// Carries out everything on the agenda that is due.
    fn happen(&mut self) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Happening::Establish(connection) => self.establish(connection),
                Happening::Refuse(connection, why) => self.refuse(connection, why),
                Happening::Deliver(message) => self.deliver(message),
                Happening::Begin(task) => self.begun.push(task),
                Happening::Answer(finished) => {
                    if !finished.was_refused() {
                        self.lanes.end(finished.lane);
                        self.begin_jobs(finished.lane);
                    }
                    self.answers.push_back(finished);
                    self.woken = true;
                }
            }
        }
    }

    pub(super) fn later(&mut self, happening: Happening) {
        let delay = self.nature.delay;
        let at = self.now + self.rng.below(delay + 1) as u64;
        self.happenings += 1;
        self.agenda.insert((at, self.happenings), happening);
    }
}
