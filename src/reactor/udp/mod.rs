//! UDP sockets: a batch in, a batch out.

pub(crate) mod batch;
pub(crate) mod datagram;
pub(crate) mod loop_guard;
#[cfg(target_os = "linux")]
mod mmsg;
#[cfg(not(target_os = "linux"))]
#[path = "mmsg_plain.rs"]
mod mmsg;
pub(crate) mod parcels;
mod serve;
