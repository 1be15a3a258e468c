//! How the poll is woken for a deadline.
//!
//! A poll with a timeout costs a clock read to work it out and a kernel timer
//! to set up, at every turn (measured: 3 to 7 % of an echo of one connection).
//! A timerfd is set only when the earliest deadline moves closer, which idle
//! deadlines never do. It is one more source of the poll (timerfd_create(2)).

use std::io;
use std::time::Duration;

use mio::Registry;

use super::timers::NEVER;
use crate::reactor::token;

/// Wakes the poll at a time, or says with which timeout to poll.
pub(crate) struct Alarm {
    timer: kernel::Timer,
    /// When it rings, in the reactor's microseconds; it may ring too early and
    /// is set again then.
    rings_at: u64,
}

impl Alarm {
    pub fn new(registry: &Registry) -> io::Result<Alarm> {
        Ok(Alarm { timer: kernel::Timer::new(registry, token::ALARM)?, rings_at: NEVER })
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

#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    pub struct Timer(TimerFd);

    impl Timer {
        pub fn new(registry: &Registry, token: Token) -> io::Result<Timer> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), token, Interest::READABLE)?;
            Ok(Timer(timer))
        }

        /// Rings after `left`. Edge-triggered, so that nobody has to read it.
        pub fn set(&self, left: Duration) -> io::Result<bool> {
            self.0.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            Ok(true)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use std::io;
    use std::time::Duration;

    use mio::{Registry, Token};

    /// There is none: the poll's own timeout has to do.
    pub struct Timer;

    impl Timer {
        pub fn new(_: &Registry, _: Token) -> io::Result<Timer> {
            Ok(Timer)
        }

        pub fn set(&self, _: Duration) -> io::Result<bool> {
            Ok(false)
        }
    }
}
