//! Socket options, as settings.

use std::time::Duration;

/// SO_RCVBUF of a UDP socket in bytes, unless it is set. With the kernel's own
/// default a burst of 4,000 datagrams lost 2 % of them; with 4 MiB none.
pub const DEFAULT_UDP_RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// SO_SNDBUF of a UDP socket in bytes, unless it is set. What is sent to an address of
/// this network at which nobody is stays in the buffer for three seconds, until the
/// kernel gives up. With the kernel's own default, 400 members of a chat who were forged
/// that way left no room for datagrams to anybody else. Many systems grant no more than
/// that default, so when it is full, addresses that nobody answers at are sent little.
pub const DEFAULT_UDP_SEND_BUFFER: usize = 4 * 1024 * 1024;

/// The options that a service's sockets are opened with (socket(7), tcp(7),
/// ip(7)). On Linux a connection inherits them from its listener, so that an
/// accept costs no `setsockopt`.
#[derive(Debug, Clone, PartialEq)]
pub struct SocketOptions {
    /// SO_REUSEADDR: bind even if connections of an earlier run are still in
    /// TIME_WAIT.
    pub reuse_address: bool,
    /// SO_REUSEPORT: several programs of one user share the port, and the kernel
    /// deals out connections and datagrams among them.
    pub reuse_port: bool,
    /// SO_RCVBUF in bytes; the kernel doubles it and caps it at `net.core.rmem_max`.
    /// `None` is [`DEFAULT_UDP_RECEIVE_BUFFER`] over UDP and the kernel's own choice over TCP.
    pub receive_buffer: Option<usize>,
    /// SO_SNDBUF in bytes; the kernel doubles it and caps it at `net.core.wmem_max`.
    /// `None` is [`DEFAULT_UDP_SEND_BUFFER`] over UDP and the kernel's own choice over TCP.
    pub send_buffer: Option<usize>,
    /// SO_KEEPALIVE: probe a peer that has been silent for hours.
    pub keepalive: bool,
    /// SO_LINGER, as far as a non-blocking loop can have it: how long a connection
    /// that we half-closed waits for its peer to take the rest and close too
    /// (`None`: ten seconds). Zero makes a close send RST and drop unsent output.
    pub linger: Option<Duration>,
    /// TCP_NODELAY: do not wait to fill a segment (Nagle's algorithm, RFC 896).
    pub nodelay: bool,
    /// SO_DONTROUTE: only hosts on a directly connected network.
    pub dont_route: bool,
    /// SO_BROADCAST: sending to a broadcast address is permitted.
    pub broadcast: bool,
    /// IP_TTL, and IP_MULTICAST_TTL if datagrams go to a group: 1 to 255 hops.
    pub ttl: Option<u32>,
    /// Connections that the kernel completes and holds until they are accepted
    /// (listen(2)); the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// TCP_CONGESTION: the name of a congestion control that the kernel has.
    pub congestion: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            reuse_address: true,
            reuse_port: false,
            receive_buffer: None,
            send_buffer: None,
            keepalive: false,
            linger: None,
            nodelay: true,
            dont_route: false,
            broadcast: false,
            ttl: None,
            backlog: 4096,
            congestion: None,
        }
    }
}
