//! UDP sockets: a batch in, a batch out.

pub(crate) mod batch;
pub(crate) mod datagram;
pub(crate) mod loop_guard;
pub(crate) mod parcels;
mod serve;
