//! Listeners: accepting connections, and turning clients away.

use std::io;
use std::net::SocketAddr;

use crate::reactor::readiness::Latch;
use crate::service::ids::ServiceId;
use crate::service::options::SocketOptions;
use crate::system::{self, ListenSocket, StreamSocket, System};

/// Connections accepted per turn: enough to cope with a storm of them, few enough
/// not to keep open connections waiting.
pub(crate) const ACCEPTS_PER_TURN: usize = 128;

/// How often a refused client is read before the close.
const READS_BEFORE_REFUSAL: usize = 16;

#[derive(Debug)]
pub(crate) struct Listener {
    pub socket: ListenSocket,
    pub service: ServiceId,
    pub address: SocketAddr,
    pub latch: Latch,
    /// It ran out of descriptors. It stays latched, but does not accept before this
    /// time, because that would spin.
    pub retry_at: Option<u64>,
}

impl Listener {
    /// Binds and listens.
    pub fn bind(
        system: &System,
        address: SocketAddr,
        options: &SocketOptions,
        service: ServiceId,
    ) -> io::Result<Listener> {
        let socket = system.listen(address, options)?;
        let address = socket.local_addr()?;
        Ok(Listener { socket, service, address, latch: Latch::default(), retry_at: None })
    }

    /// The next connection in the backlog; `None` when there is none, which
    /// clears the latch.
    pub fn accept(&mut self) -> io::Result<Option<(StreamSocket, SocketAddr)>> {
        loop {
            match self.socket.accept() {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.latch.drained();
                        return Ok(None);
                    }
                    // The client gave up while it waited (accept(2)).
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return Err(error),
                },
            }
        }
    }
}

/// Says goodbye to a connection that is not served.
pub(crate) fn turn_away(mut socket: StreamSocket, words: &str) {
    #[cfg(feature = "simulated")]
    socket.turned_away();
    // It may be gone already, and nobody is left to tell.
    let _ = socket.write(words.as_bytes());
    let _ = socket.half_close();
    // What it sent so far is read off, or the close would send RST and destroy
    // the words on their way.
    let mut discard = [0; 4096];
    for _ in 0..READS_BEFORE_REFUSAL {
        if !matches!(socket.read(&mut discard), Ok(1..)) {
            return;
        }
    }
}

/// A descriptor held in reserve. Once it is given up, one more connection can be
/// accepted and turned away when no other descriptor is free.
#[derive(Debug)]
pub(crate) struct Spare(Option<system::Spare>);

impl Spare {
    pub fn new(system: &System) -> Spare {
        Spare(system.spare().ok())
    }

    /// Frees the descriptor for the time of `use_it`.
    pub fn lend<T>(&mut self, system: &System, use_it: impl FnOnce() -> T) -> Option<T> {
        self.0.take()?;
        let result = use_it();
        *self = Spare::new(system);
        Some(result)
    }

    /// Takes a descriptor again, if it was lost to somebody else meanwhile.
    pub fn restore(&mut self, system: &System) {
        if self.0.is_none() {
            *self = Spare::new(system);
        }
    }
}
