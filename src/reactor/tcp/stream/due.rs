//! The deadlines of a connection: what is due next, and when.

use std::time::Duration;

use super::{State, Stream};
use crate::reactor::time::timers::NEVER;
use crate::service::limits::Limits;

/// The peer's progress is looked at for the first time when output has waited for this
/// part of the send timeout: usually it has gone by then, and nobody looks at all.
const FIRST_LOOK: u32 = 8;

/// What a connection's deadlines are computed from. Times are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub limits: &'a Limits,
    pub linger: u64,
    pub drain_at: Option<u64>,
}

/// Adds a duration to a time in the reactor's microseconds.
pub(crate) fn later(start: u64, by: Duration) -> u64 {
    start.saturating_add(u64::try_from(by.as_micros()).unwrap_or(NEVER))
}

/// Which of a connection's deadlines has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Connect,
    Linger,
    Send,
    Excess,
    Idle,
    Message,
    Service,
    Pause,
    Drain,
}

impl Stream {
    /// The next time at which something is due, and what.
    pub fn next_due(&self, terms: &Terms<'_>) -> Option<(u64, Due)> {
        let Terms { limits, linger, drain_at } = *terms;
        let after = |start: u64, limit: Option<Duration>| Some(later(start, limit?).saturating_add(1));
        let mut next: Option<(u64, Due)> = None;
        let mut also = |at: Option<u64>, due: Due| {
            if let Some(at) = at
                && next.is_none_or(|(before, _)| at < before)
            {
                next = Some((at, due));
            }
        };
        match self.state {
            State::Closed => return None,
            State::Connecting => also(after(self.opened, limits.connect_timeout), Due::Connect),
            State::Lingering => also(Some(self.active.saturating_add(linger)), Due::Linger),
            State::Open | State::Finishing => match &self.outbox {
                Some(outbox) => {
                    let looked = outbox.acknowledged.is_some();
                    let patience =
                        limits.send_timeout.map(|limit| if looked { limit } else { limit / FIRST_LOOK });
                    also(after(outbox.progress, patience), Due::Send);
                    also(outbox.excess.map(|excess| excess.since + excess.pace.within), Due::Excess);
                }
                // We do not read it: its silence is not its own.
                None if self.paused_until().is_some() || self.latch.is_parked() => {}
                None => also(after(self.active, limits.idle_timeout), Due::Idle),
            },
        }
        if self.state == State::Open {
            if let Some(kept) = &self.kept
                && !self.is_left_unread()
            {
                also(after(kept.since, limits.message_timeout), Due::Message);
            }
            if let Some(rare) = &self.rare {
                if !self.is_kept_waiting() {
                    also(rare.deadline, Due::Service);
                }
                also(rare.paused_until, Due::Pause);
            }
        }
        also(drain_at, Due::Drain);
        next
    }

    /// Input waits that the loop holds back from its service: what a deadline waits
    /// for may be in it.
    fn is_kept_waiting(&self) -> bool {
        self.show_again && self.paused_until().is_none()
            || self.latch.is_readable()
                && !self.end_of_input
                && (self.holds_back_reading() || self.latch.is_parked())
    }

    /// Whether it is we who do not read it: then its message cannot be late.
    fn is_left_unread(&self) -> bool {
        self.show_again || self.paused_until().is_some() || self.outbox.is_some() || self.latch.is_parked()
    }

    /// It is read again: gives its peer the full time, both to say something and to
    /// finish what it has begun to say.
    pub fn restart_clocks(&mut self, now: u64) {
        // While it lingers, its deadline counts from when that began.
        if self.state == State::Open {
            self.active = now;
        }
        if let Some(kept) = &mut self.kept {
            kept.since = now;
        }
    }
}
