//! How the poll is woken for a deadline.
//!
//! A poll with a timeout costs a clock read to work it out and a kernel timer
//! to set up, at every turn (measured: 3 to 7 % of an echo of one connection).
//! A timerfd is set only when the earliest deadline moves closer, which idle
//! deadlines never do. It is one more source of the poll (timerfd_create(2)).

use std::io;
use std::time::Duration;

use super::timers::NEVER;
use crate::system::Timer;

/// Wakes the poll at a time, or says with which timeout to poll.
pub(crate) struct Alarm {
    timer: Timer,
    /// When it rings, in the reactor's microseconds; it may ring too early and
    /// is set again then.
    rings_at: u64,
}

impl Alarm {
    pub fn new(timer: Timer) -> Alarm {
        Alarm { timer, rings_at: NEVER }
    }

    /// It rang: the next deadline has to set it again.
    pub fn rang(&mut self) {
        self.rings_at = NEVER;
    }

    /// The timeout to poll with, so that the poll returns at `at`; `from_now`
    /// tells how far off that is.
    pub fn timeout(&mut self, at: u64, from_now: impl FnOnce() -> Duration) -> io::Result<Option<Duration>> {
        if at >= self.rings_at {
            return Ok(None);
        }
        let left = from_now();
        if left.is_zero() || !self.timer.set(left)? {
            return Ok(Some(left));
        }
        self.rings_at = at;
        Ok(None)
    }
}
