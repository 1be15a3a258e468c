//! A timer that is one more source of the poll (timerfd_create(2)).

#[cfg(target_os = "linux")]
pub(in crate::system) use linux::Timer;
#[cfg(not(target_os = "linux"))]
pub(in crate::system) use plain::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::Duration;

    use mio::unix::SourceFd;
    use mio::{Interest, Registry};
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    use crate::system::ALARM;

    pub(crate) struct Timer(TimerFd);

    impl Timer {
        pub fn new(registry: &Registry) -> io::Result<Timer> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            registry.register(&mut SourceFd(&timer.as_fd().as_raw_fd()), ALARM, Interest::READABLE)?;
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
mod plain {
    use std::io;
    use std::time::Duration;

    use mio::Registry;

    /// There is none: the poll's own timeout has to do.
    pub(crate) struct Timer;

    impl Timer {
        pub fn new(_: &Registry) -> io::Result<Timer> {
            Ok(Timer)
        }

        pub fn set(&self, _: Duration) -> io::Result<bool> {
            Ok(false)
        }
    }
}
