//! The services: one file each, and the catalog of them.
//!
//! None of them names a socket or a clock: each is a state machine behind
//! [`Service`](crate::service::Service), and its tests run in memory.

mod beacon;
pub mod catalog;
mod conversation;
mod discovery;
mod echo;
mod hello;
mod json;
mod multicast;
mod number;
mod time;
mod upper;

pub use beacon::Beacon;
pub use discovery::Discovery;
pub use echo::Echo;
pub use hello::Hello;
pub use json::{Json, JsonSession};
pub use multicast::Multicast;
pub use number::{Number, NumberSession};
pub use time::Time;
pub use upper::{Upper, UpperSession};

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
