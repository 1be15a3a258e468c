//! Outbound connections: `connect` without waiting. The socket becomes writable
//! when the attempt has ended, and SO_ERROR tells how (connect(2), EINPROGRESS).

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use crate::service::options::SocketOptions;

/// Begins to connect, from `local` if there is one. An error here is final;
/// success only means `under way`.
pub(crate) fn connect(
    to: SocketAddr,
    local: Option<SocketAddr>,
    options: &SocketOptions,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    options.apply_to_stream(&socket, to)?;
    if let Some(local) = local {
        // Else `bind` itself takes a port, which no other connection can share,
        // although its destination may be another (ip(7)).
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
