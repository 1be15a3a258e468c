//! The event loop: it knows sockets, clocks and buffers, and no protocol.

mod limits;
mod options;

pub use limits::{Limits, Rate};
pub use options::{DEFAULT_UDP_RECEIVE_BUFFER, SocketOptions};
