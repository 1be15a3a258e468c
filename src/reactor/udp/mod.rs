//! UDP sockets: a batch in, a batch out.

pub(crate) mod accounts;
pub(crate) mod batch;
pub(crate) mod conversations;
pub(crate) mod datagram;
pub(crate) mod loop_guard;
pub(crate) mod neighbours;
pub(crate) mod parcels;
mod serve;
mod source_buckets;
