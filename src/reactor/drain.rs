//! The drain: how the whole reactor ends in order.
//!
//! Nothing new begins: listeners are closed, and no connection is made any more. What
//! had arrived before is answered, and output that is under way goes out. A connection
//! with nothing left to do is closed at once, whatever the others do; one that is busy
//! at the drain timeout is cut off. Datagrams, rooms and messages between services may
//! never come to rest, so the end does not wait for that longer than [`REST`].

use super::Reactor;
use super::net::Entry;
use super::tcp::stream::State;
use super::time::timers::{NEVER, SECOND};
use crate::reactor::EVENTS_PER_TURN;
use crate::service::ids::Handle;
use crate::service::{CloseReason, Lane};

/// How long a drain waits for messages between services to stop before it closes idle
/// connections, and for anything else once no connection is left.
const REST: u64 = SECOND / 4;

/// How far a drain has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The turn by whose end every event has been taken that came before the drain.
    heard_out: u64,
    /// Since when no connection is left.
    alone_since: Option<u64>,
}

impl Reactor {
    /// Begins an orderly end: closes the listeners and idle connections, sends
    /// pending output until the drain timeout, then cuts off the rest. Called
    /// again, it ends the reactor at once.
    pub fn drain(&mut self) {
        if self.net.draining_since.is_some() {
            self.ends_now = true;
            return;
        }
        self.refresh_clock();
        log::info!("shutting down: sending the output that is still in flight");
        self.net.draining_since = Some(self.net.now);
        // The kernel hands out events in the order in which sockets became ready.
        let turns = self.net.entries().div_ceil(EVENTS_PER_TURN).max(1);
        self.drain.heard_out = self.net.statistics.turns + turns as u64;
        self.has_answers = true;
        self.close_listeners();
        let all: Vec<Handle> = self.net.streams().map(|(handle, _)| handle).collect();
        for handle in all {
            self.net.arm(handle, &self.hosts);
        }
    }

    /// Closes the connections that have become idle.
    #[cold]
    pub(super) fn go_on_draining(&mut self, since: u64) {
        let is_at_rest = self.pending.is_empty() || self.net.now >= since + REST;
        if self.net.statistics.turns < self.drain.heard_out {
            self.has_answers = true;
        } else if is_at_rest {
            self.close_idle();
            self.reap();
        }
        if self.net.statistics.connections == 0 {
            self.drain.alone_since.get_or_insert(self.net.now);
        }
    }

    /// Whether [`Reactor::run`] would return, for programs that call
    /// [`Reactor::turn`] themselves.
    pub fn has_ended(&self) -> bool {
        self.ends_now || self.net.draining_since.is_some_and(|since| self.has_drained(since))
    }

    #[cold]
    fn has_drained(&self, since: u64) -> bool {
        self.net.statistics.connections == 0
            && (!self.has_work() && !self.writes_on() || self.net.now >= self.end_of_rest(since))
    }

    /// Until when the loop goes on without connections.
    fn end_of_rest(&self, since: u64) -> u64 {
        let running = self.hosts.iter().filter(|slot| slot.service.is_some());
        let ends = running.map(|slot| slot.terms(Some(since)).drain_at.unwrap_or(NEVER));
        let rested = match self.drain.alone_since {
            Some(since) if !self.writes_on() => since + REST,
            _ => NEVER,
        };
        ends.max().map_or(rested, |at| at.min(rested))
    }

    /// When a drain that waits for nothing but a disk is to end.
    pub(super) fn last_moment(&self) -> Option<u64> {
        let since = self.net.draining_since?;
        let waits = self.net.statistics.connections == 0 && self.writes_on();
        waits.then(|| self.end_of_rest(since)).filter(|at| *at != NEVER)
    }

    /// Whether something is still on its way to a disk.
    fn writes_on(&self) -> bool {
        self.workers.in_flight(Lane::Write) > 0
    }

    fn close_listeners(&mut self) {
        for handle in self.net.handles(|entry| matches!(entry, Entry::Listener(_) | Entry::Keyboard(_))) {
            self.net.remove(handle);
        }
    }

    /// Closes the connections that have nothing left to do. One that was busy a moment
    /// ago may have output on its way in the kernel, which a plain close and a late byte
    /// from the peer would destroy: it is half-closed and waits for its peer a little
    /// longer.
    fn close_idle(&mut self) {
        let now = self.net.now;
        let idle: Vec<Handle> = self
            .net
            .streams()
            .filter(|(handle, stream)| match stream.state {
                State::Open => !stream.is_busy(now) && !self.rooms.owe(stream.service, *handle),
                State::Connecting => true,
                State::Finishing | State::Lingering | State::Closed => false,
            })
            .map(|(handle, _)| handle)
            .collect();
        for handle in idle {
            self.close(handle, CloseReason::ShuttingDown);
        }
    }
}
