//! What a peer has acknowledged. Neither system tells it in a call that a safe wrapper
//! exists for, so these are two socket options, in the form that nix gives those it
//! does not know itself.

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::GetStruct;
use socket2::SockRef;

/// The beginning of `struct tcp_info`, which the kernel cuts to the length that is
/// asked for (tcp(7), TCP_INFO); it is that long since Linux 4.1.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct TcpInfo {
    before: [u32; 30],
    bytes_acked: u64,
}

#[derive(Debug, Clone, Copy)]
struct Progress;

#[cfg(target_os = "linux")]
nix::getsockopt_impl!(Progress, libc::IPPROTO_TCP, libc::TCP_INFO, TcpInfo, GetStruct<TcpInfo>);

#[cfg(target_os = "linux")]
pub(crate) fn acknowledged(socket: SockRef<'_>, sent: u64) -> u64 {
    getsockopt(&*socket, Progress).map_or(sent, |info| info.bytes_acked)
}

// What waits in the send buffer: getsockopt(2) of macOS.
#[cfg(target_vendor = "apple")]
nix::getsockopt_impl!(Progress, libc::SOL_SOCKET, libc::SO_NWRITE, i32, GetStruct<i32>);

#[cfg(target_vendor = "apple")]
pub(crate) fn acknowledged(socket: SockRef<'_>, sent: u64) -> u64 {
    let waiting = getsockopt(&*socket, Progress).map_or(0, |bytes| u64::try_from(bytes).unwrap_or(0));
    sent.saturating_sub(waiting)
}
