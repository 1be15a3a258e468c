//! Outbound connections: `connect` without waiting. The socket becomes writable
//! when the attempt is over, and SO_ERROR says how it went (connect(2),
//! EINPROGRESS).

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::service::options::SocketOptions;

/// Starts to connect, from `local` if it is given. An error is final; success only
/// means that the attempt is under way.
pub(crate) fn connect(
    to: SocketAddr,
    local: Option<SocketAddr>,
    options: &SocketOptions,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    options.apply_to_stream(&socket, to)?;
    if let Some(local) = local {
        // Otherwise `bind` itself picks the port, and no other connection can share
        // it, not even one to another destination (ip(7)).
        #[cfg(target_os = "linux")]
        if local.port() == 0 && local.is_ipv4() {
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        }
        socket.bind(&local.into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}
