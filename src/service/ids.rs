//! Names of services, connections and sockets.

/// Names a service of a reactor, for as long as the reactor is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub(crate) u32);

/// An entry of the reactor's slab, of one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Handle {
    /// Counts all entries ever made, so it also orders them by age.
    pub generation: u32,
    pub key: u32,
}

impl Handle {
    /// A handle for a service that is rehearsed without a reactor.
    pub fn numbered(number: u32) -> Handle {
        Handle { generation: number, key: number }
    }
}

/// Names one connection for as long as the program runs: a later connection
/// never has the same name, even on the same descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) Handle);

/// Names one UDP socket, as [`ConnectionId`] names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub(crate) Handle);
