//! Socket options as system calls.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::Socket;

use crate::service::SocketOptions;

/// Sets what concerns a listener or an outbound connection.
pub(super) fn apply_to_stream(
    options: &SocketOptions,
    socket: &Socket,
    address: SocketAddr,
) -> io::Result<()> {
    socket.set_reuse_address(options.reuse_address)?;
    socket.set_reuse_port(options.reuse_port)?;
    socket.set_tcp_nodelay(options.nodelay)?;
    if options.keepalive {
        socket.set_keepalive(true)?;
    }
    // Only with zero, for a reset. With more, close(2) would hold up the whole
    // loop; the wait is that of a connection which we half-closed.
    if options.linger == Some(Duration::ZERO) {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    #[cfg(any(target_os = "linux", target_os = "freebsd"))]
    if let Some(name) = &options.congestion {
        socket.set_tcp_congestion(name.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                io::Error::other(format!("the kernel has no congestion control {name:?}"))
            }
            _ => error,
        })?;
    }
    apply_to_any(options, socket, address)
}

/// Sets what concerns every socket.
pub(super) fn apply_to_any(options: &SocketOptions, socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if let Some(size) = options.receive_buffer {
        socket.set_recv_buffer_size(size)?;
    }
    if let Some(size) = options.send_buffer {
        socket.set_send_buffer_size(size)?;
    }
    if options.dont_route {
        nix::sys::socket::setsockopt(socket, nix::sys::socket::sockopt::DontRoute, &true)?;
    }
    if let Some(ttl) = options.ttl {
        if address.is_ipv4() {
            socket.set_ttl_v4(ttl)?;
        } else {
            socket.set_unicast_hops_v6(ttl)?;
        }
    }
    if address.is_ipv6() {
        // One socket for both families where it is bound to `::`.
        socket.set_only_v6(false)?;
    }
    Ok(())
}
