//! The clock, the poll, and what wakes it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::Token;
use signal_hook_mio::v1_0::Signals;

use super::datagram::DatagramSocket;
use super::kernel;
use super::neighbourhood::Neighbourhood;
#[cfg(feature = "simulated")]
use super::simulated::{self, World};
use super::stream::{ListenSocket, Spare, StreamSocket};
use super::workers::Workers;
use super::{SIGNALS, WAKER};
use crate::service::{DatagramSpec, SocketOptions};

/// What an event says of a socket. It is a hint: the next system call tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The peer half-closed, the connection is gone, or a read will stop at urgent data:
    /// no further edge will announce what lies behind the bytes that are read first.
    pub more_behind: bool,
}

/// One event of the poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub token: Token,
    pub readiness: Readiness,
}

/// Where a reactor runs.
pub(crate) enum System {
    Kernel(kernel::Poll),
    #[cfg(feature = "simulated")]
    Simulated(simulated::Poll),
}

impl System {
    /// The real one, which takes up to `events` events in one turn.
    pub fn kernel(events: usize) -> io::Result<System> {
        kernel::Poll::new(events).map(System::Kernel)
    }

    /// The time of this very moment.
    pub fn now(&self) -> Instant {
        match self {
            System::Kernel(_) => Instant::now(),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.world.now(),
        }
    }

    /// The clock that services read, if it is not the machine's own.
    pub fn virtual_clock(&self) -> Option<(Instant, SystemTime)> {
        match self {
            System::Kernel(_) => None,
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => Some(poll.world.clocks()),
        }
    }

    /// Waits for events, at most for `timeout`. Interrupted by a signal it
    /// returns without any: the signal's own event comes next time.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            System::Kernel(poll) => poll.wait(timeout),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.wait(timeout),
        }
    }

    /// The events that the last wait returned.
    pub fn for_each_event(&self, mut take: impl FnMut(Event)) {
        match self {
            System::Kernel(poll) => poll.events.iter().for_each(|event| take(kernel::event(event))),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.events.iter().for_each(|event| take(*event)),
        }
    }

    pub fn registry(&self) -> io::Result<Registry> {
        match self {
            System::Kernel(poll) => poll.poll.registry().try_clone().map(Registry::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => Ok(Registry::Simulated(poll.world.clone())),
        }
    }

    pub fn waker(&self) -> io::Result<Waker> {
        match self {
            System::Kernel(poll) => mio::Waker::new(poll.poll.registry(), WAKER).map(Waker::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => Ok(Waker::Simulated(poll.world.clone())),
        }
    }

    /// A timer that wakes the poll.
    pub fn timer(&self) -> io::Result<Timer> {
        match self {
            System::Kernel(poll) => kernel::Timer::new(poll.poll.registry()).map(Timer::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => Ok(Timer::Simulated(poll.world.clone())),
        }
    }

    /// The networks of this machine, and who on them has been reached.
    pub fn neighbourhood(&self) -> io::Result<Neighbourhood> {
        match self {
            System::Kernel(_) => kernel::neighbourhood(),
            #[cfg(feature = "simulated")]
            System::Simulated(_) => Ok(Neighbourhood::default()),
        }
    }

    /// Threads for what would block the loop.
    pub fn workers(&self, waker: Arc<Waker>) -> Workers {
        match self {
            System::Kernel(_) => Workers::threads(waker),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => Workers::simulated(poll.world.clone()),
        }
    }

    /// Turns these signals into events of the poll.
    pub fn watch_signals(&mut self, signals: &[i32]) -> io::Result<()> {
        match self {
            System::Kernel(poll) => {
                let mut watched = Signals::new(signals)?;
                poll.poll.registry().register(&mut watched, SIGNALS, mio::Interest::READABLE)?;
                poll.signals = Some(watched);
            }
            #[cfg(feature = "simulated")]
            System::Simulated(_) => {}
        }
        Ok(())
    }

    /// The signals that came since the last call. Two of one kind may come as one.
    pub fn take_signals(&mut self) -> Vec<i32> {
        match self {
            System::Kernel(poll) => {
                poll.signals.as_mut().map_or(Vec::new(), |signals| signals.pending().collect())
            }
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.world.take_signals(),
        }
    }

    /// Binds and listens.
    pub fn listen(&self, address: SocketAddr, options: &SocketOptions) -> io::Result<ListenSocket> {
        match self {
            System::Kernel(_) => kernel::listen(address, options).map(ListenSocket::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.world.listen(address).map(ListenSocket::Simulated),
        }
    }

    /// Begins to connect, from `local` if there is one. An error here is final;
    /// success only means that the attempt is in progress.
    pub fn connect(
        &self,
        to: SocketAddr,
        local: Option<SocketAddr>,
        options: &SocketOptions,
    ) -> io::Result<StreamSocket> {
        match self {
            System::Kernel(_) => kernel::connect(to, local, options).map(StreamSocket::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.world.connect(to).map(StreamSocket::Simulated),
        }
    }

    pub fn open_datagram(&self, spec: &DatagramSpec, options: &SocketOptions) -> io::Result<DatagramSocket> {
        match self {
            System::Kernel(_) => kernel::DatagramSocket::open(spec, options).map(DatagramSocket::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.world.open_datagram(spec).map(DatagramSocket::Simulated),
        }
    }

    /// A descriptor to hold in reserve.
    pub fn spare(&self) -> io::Result<Spare> {
        match self {
            System::Kernel(_) => std::fs::File::open("/dev/null").map(Spare::Kernel),
            #[cfg(feature = "simulated")]
            System::Simulated(poll) => poll.world.spare().map(Spare::Simulated),
        }
    }
}

/// Registers sockets with the poll.
pub(crate) enum Registry {
    Kernel(mio::Registry),
    #[cfg(feature = "simulated")]
    Simulated(World),
}

/// Wakes the poll from another thread.
pub(crate) enum Waker {
    Kernel(mio::Waker),
    #[cfg(feature = "simulated")]
    Simulated(World),
}

impl Waker {
    pub fn wake(&self) -> io::Result<()> {
        match self {
            Waker::Kernel(waker) => waker.wake(),
            #[cfg(feature = "simulated")]
            Waker::Simulated(world) => {
                world.wake();
                Ok(())
            }
        }
    }
}

/// Wakes the poll at a time.
pub(crate) enum Timer {
    Kernel(kernel::Timer),
    #[cfg(feature = "simulated")]
    Simulated(World),
}

impl Timer {
    /// Rings after `left`, instead of any time set before. False where the
    /// system has no such timer: then the poll's own timeout has to do.
    pub fn set(&self, left: Duration) -> io::Result<bool> {
        match self {
            Timer::Kernel(timer) => timer.set(left),
            #[cfg(feature = "simulated")]
            Timer::Simulated(world) => {
                world.set_alarm(left);
                Ok(true)
            }
        }
    }
}
