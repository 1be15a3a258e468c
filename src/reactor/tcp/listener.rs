//! Listeners: accepting connections, and turning clients away.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::reactor::readiness::Latch;
use crate::service::ids::ServiceId;
use crate::service::options::SocketOptions;

/// Connections accepted per turn: enough to cope with a storm of them, few enough
/// not to keep open connections waiting.
pub(crate) const ACCEPTS_PER_TURN: usize = 128;

/// How often a refused client is read before the close.
const READS_BEFORE_REFUSAL: usize = 16;

#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    pub service: ServiceId,
    pub address: SocketAddr,
    pub latch: Latch,
    /// It ran out of descriptors. It stays latched, but does not accept before this
    /// time, because that would spin.
    pub retry_at: Option<u64>,
}

impl Listener {
    /// Binds and listens. The options are set on the listener: on Linux its
    /// connections inherit them, so that an accept costs no further call.
    pub fn bind(address: SocketAddr, options: &SocketOptions, service: ServiceId) -> io::Result<Listener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        options.apply_to_stream(&socket, address)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
        let socket = TcpListener::from_std(socket.into());
        let address = socket.local_addr()?;
        Ok(Listener { socket, service, address, latch: Latch::default(), retry_at: None })
    }

    pub fn socket(&mut self) -> &mut TcpListener {
        &mut self.socket
    }

    /// Accepts the next connection of the backlog. If there is none, clears the
    /// latch and returns `None`.
    pub fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
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

/// Whether `accept` failed because descriptors or memory ran out. That is no fault
/// of the listener, and it passes.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    use nix::libc::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

/// Sends a client that is not served its farewell, and closes its connection.
pub(crate) fn turn_away(mut socket: TcpStream, words: &str) {
    // The client may be gone already; then nobody is left to tell.
    let _ = socket.write(words.as_bytes());
    let _ = socket.shutdown(Shutdown::Write);
    // Read what it has sent so far: closing with unread input would send RST and
    // destroy the words on their way.
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
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub fn new() -> Spare {
        Spare(File::open("/dev/null").ok())
    }

    /// Frees the descriptor while `use_it` runs.
    pub fn lend<T>(&mut self, use_it: impl FnOnce() -> T) -> Option<T> {
        self.0.take()?;
        let result = use_it();
        *self = Spare::new();
        Some(result)
    }

    /// Opens the spare again, if somebody else took its descriptor in the meantime.
    pub fn restore(&mut self) {
        if self.0.is_none() {
            *self = Spare::new();
        }
    }
}

impl SocketOptions {
    /// Sets the options of a listener or an outbound connection.
    pub(crate) fn apply_to_stream(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        socket.set_reuse_address(self.reuse_address)?;
        socket.set_reuse_port(self.reuse_port)?;
        socket.set_tcp_nodelay(self.nodelay)?;
        if self.keepalive {
            socket.set_keepalive(true)?;
        }
        // Only zero, for a reset. With more, close(2) would block the whole loop;
        // instead a half-closed connection does the waiting.
        if self.linger == Some(Duration::ZERO) {
            socket.set_linger(Some(Duration::ZERO))?;
        }
        #[cfg(any(target_os = "linux", target_os = "freebsd"))]
        if let Some(name) = &self.congestion {
            socket.set_tcp_congestion(name.as_bytes()).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    io::Error::other(format!("the kernel has no congestion control {name:?}"))
                }
                _ => error,
            })?;
        }
        self.apply_to_any(socket, address)
    }

    /// Sets the options that every kind of socket has.
    pub(crate) fn apply_to_any(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if self.dont_route {
            nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::DontRoute, &true)?;
        }
        if let Some(ttl) = self.ttl {
            if address.is_ipv4() {
                socket.set_ttl_v4(ttl)?;
            } else {
                socket.set_unicast_hops_v6(ttl)?;
            }
        }
        if address.is_ipv6() {
            // A socket that is bound to `::` serves both families.
            socket.set_only_v6(false)?;
        }
        Ok(())
    }
}

/// The buffer sizes that the kernel granted, for the log at debug.
pub(crate) fn granted(socket: SockRef<'_>) -> String {
    let size = |size: io::Result<usize>| size.map_or_else(|_| "?".into(), |size| size.to_string());
    format!(
        "receive buffer {} bytes, send buffer {} bytes",
        size(socket.recv_buffer_size()),
        size(socket.send_buffer_size())
    )
}
