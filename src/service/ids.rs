//! Names of services, connections and sockets.

use std::num::NonZeroU32;

/// Names a service of a reactor, for as long as the reactor is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub(crate) u32);

/// Tells apart what has the same place one after the other. No two connections,
/// sockets or members of rooms have the same generation, and a later one is
/// greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Generation(NonZeroU32);

impl Generation {
    pub fn from_number(number: u32) -> Option<Generation> {
        NonZeroU32::new(number).map(Generation)
    }

    pub fn number(self) -> u32 {
        self.0.get()
    }
}

/// Gives out the generations of a reactor.
#[derive(Debug)]
pub(crate) struct Generations {
    next: NonZeroU32,
}

impl Default for Generations {
    fn default() -> Self {
        Generations { next: NonZeroU32::MIN }
    }
}

impl Generations {
    pub fn next(&mut self) -> Generation {
        let next = Generation(self.next);
        self.next = self.next.checked_add(1).unwrap_or(NonZeroU32::MIN);
        next
    }
}

/// Names an entry of the reactor's slab, of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub generation: Generation,
    pub key: u32,
}

impl Handle {
    /// The handle of an entry that a test invents.
    #[cfg(test)]
    pub fn without_place(generation: Generation) -> Handle {
        Handle { generation, key: 0 }
    }
}

/// Names one connection for as long as the program runs: no later connection has
/// the same name, even on the same descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) Handle);

/// Names one UDP socket, as [`ConnectionId`] names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub(crate) Handle);
