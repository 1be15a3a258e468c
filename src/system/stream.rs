//! TCP sockets.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use socket2::SockRef;

use super::kernel;
use super::poll::Registry;
#[cfg(feature = "simulated")]
use super::{of_another_system, simulated};
use crate::disk;

/// Of urgent data, Linux tells only who asks.
#[cfg(target_os = "linux")]
pub(super) const STREAM_INTEREST: Interest =
    Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);
#[cfg(not(target_os = "linux"))]
pub(super) const STREAM_INTEREST: Interest = Interest::READABLE.add(Interest::WRITABLE);

/// A socket that accepts connections.
#[derive(Debug)]
pub(crate) enum ListenSocket {
    Kernel(TcpListener),
    #[cfg(feature = "simulated")]
    Simulated(simulated::Listener),
}

impl ListenSocket {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            ListenSocket::Kernel(listener) => listener.local_addr(),
            #[cfg(feature = "simulated")]
            ListenSocket::Simulated(listener) => Ok(listener.address),
        }
    }

    pub fn accept(&self) -> io::Result<(StreamSocket, SocketAddr)> {
        match self {
            ListenSocket::Kernel(listener) => {
                listener.accept().map(|(socket, peer)| (StreamSocket::Kernel(socket), peer))
            }
            #[cfg(feature = "simulated")]
            ListenSocket::Simulated(listener) => {
                listener.accept().map(|(socket, peer)| (StreamSocket::Simulated(socket), peer))
            }
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match (self, registry) {
            (ListenSocket::Kernel(listener), Registry::Kernel(registry)) => {
                registry.register(listener, token, Interest::READABLE)
            }
            #[cfg(feature = "simulated")]
            (ListenSocket::Simulated(listener), Registry::Simulated(_)) => listener.register(token),
            #[cfg(feature = "simulated")]
            _ => Err(of_another_system()),
        }
    }

    /// The buffer sizes that the kernel granted, for the log.
    pub fn granted(&self) -> String {
        match self {
            ListenSocket::Kernel(listener) => kernel::granted(SockRef::from(listener)),
            #[cfg(feature = "simulated")]
            ListenSocket::Simulated(_) => String::new(),
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) enum StreamSocket {
    Kernel(TcpStream),
    #[cfg(feature = "simulated")]
    Simulated(simulated::Stream),
}

impl StreamSocket {
    #[inline(always)]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            StreamSocket::Kernel(socket) => socket.read(buffer),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.read(buffer),
        }
    }

    #[inline(always)]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            StreamSocket::Kernel(socket) => socket.write(bytes),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.write(&[IoSlice::new(bytes)]),
        }
    }

    #[inline(always)]
    pub fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            StreamSocket::Kernel(socket) => socket.write_vectored(slices),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.write(slices),
        }
    }

    /// Sends up to `count` bytes of a file, from `offset` on; 0 means that the file ends
    /// there. What of them is not in the page cache is waited for.
    pub fn send_file(&self, file: &disk::File, offset: u64, count: usize) -> io::Result<usize> {
        match self {
            StreamSocket::Kernel(socket) => match file.kernel() {
                Some(file) => kernel::send_file(socket, file, offset, count),
                None => Err(io::ErrorKind::Unsupported.into()),
            },
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.send_file(file, offset, count),
        }
    }

    /// Half-closes: signals that nothing more will be sent.
    pub fn half_close(&self) -> io::Result<()> {
        match self {
            StreamSocket::Kernel(socket) => socket.shutdown(Shutdown::Write),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.half_close(),
        }
    }

    /// Makes the close that follows send RST.
    pub fn reset_on_close(&self) {
        match self {
            // A failure means that the socket is past caring.
            StreamSocket::Kernel(socket) => {
                let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
            }
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.reset_on_close(),
        }
    }

    /// How much the peer has acknowledged so far, of `sent` bytes. Only two answers
    /// about one socket can be compared. A system that does not tell says `sent`: what
    /// its buffer took.
    pub fn acknowledged(&self, sent: u64) -> u64 {
        match self {
            StreamSocket::Kernel(socket) => kernel::acknowledged(SockRef::from(socket), sent),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.taken(),
        }
    }

    /// The error that the socket has to report, if any (SO_ERROR).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            StreamSocket::Kernel(socket) => socket.take_error(),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => Ok(socket.take_error()),
        }
    }

    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            StreamSocket::Kernel(socket) => socket.peer_addr(),
            #[cfg(feature = "simulated")]
            StreamSocket::Simulated(socket) => socket.peer_addr(),
        }
    }

    /// Whether nobody has tried to read it since the last wait.
    #[cfg(feature = "simulated")]
    pub fn has_been_ignored(&self) -> bool {
        matches!(self, StreamSocket::Simulated(socket) if socket.has_been_ignored())
    }

    /// The loop ends it, for a reason that whoever runs the world may ask for.
    #[cfg(feature = "simulated")]
    pub fn ends_for(&self, why: &str) {
        if let StreamSocket::Simulated(socket) = self {
            socket.ends_for(why);
        }
    }

    /// It is turned away: what is still written to it is not counted.
    #[cfg(feature = "simulated")]
    pub fn turned_away(&self) {
        if let StreamSocket::Simulated(socket) = self {
            socket.turned_away();
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match (self, registry) {
            (StreamSocket::Kernel(socket), Registry::Kernel(registry)) => {
                registry.register(socket, token, STREAM_INTEREST)
            }
            #[cfg(feature = "simulated")]
            (StreamSocket::Simulated(socket), Registry::Simulated(_)) => socket.register(token),
            #[cfg(feature = "simulated")]
            _ => Err(of_another_system()),
        }
    }
}

/// A descriptor held in reserve; dropped, it lets another be opened.
#[derive(Debug)]
pub(crate) enum Spare {
    Kernel(#[expect(dead_code, reason = "held for its descriptor alone")] File),
    #[cfg(feature = "simulated")]
    Simulated(#[expect(dead_code, reason = "held for its descriptor alone")] simulated::Descriptor),
}
