//! onepoll: non-blocking sockets on one thread and one [`mio::Poll`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod config;
pub mod reactor;
pub mod rehearsal;
pub mod selectors;
pub mod service;
pub mod services;
pub mod wire;
