//! The services: one file each, and the catalog of them.
//!
//! None of them names a socket or a clock: each is a state machine behind
//! [`Service`](crate::service::Service), and its tests run in memory.

pub mod catalog;
mod echo;

pub use echo::Echo;

use crate::config::{Kind, ServiceConfig};
use crate::reactor::{BindError, Bound, Reactor};
use crate::service::Service;

/// Hosts a configured service: opens its sockets, and says where they are.
///
/// # Errors
/// When a socket cannot be opened; then none of this service's is.
pub fn start(reactor: &mut Reactor, config: &ServiceConfig) -> Result<Vec<Bound>, BindError> {
    match &config.kind {
        Kind::Echo(own) => host(reactor, config, Echo::new(own)),
        _ => Ok(Vec::new()),
    }
}

fn host<S: Service + 'static>(
    reactor: &mut Reactor,
    config: &ServiceConfig,
    service: S,
) -> Result<Vec<Bound>, BindError> {
    let mut builder =
        reactor.host(&config.name, service).limits(config.limits.clone()).options(config.socket.clone());
    if let Some(address) = config.tcp {
        builder = builder.tcp(address);
    }
    if let Some(address) = config.udp {
        builder = builder.udp(address);
    }
    builder.start().map(|(_, bound)| bound)
}
