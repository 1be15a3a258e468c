//! The services: one file each, and the catalog of them.
//!
//! None of them names a socket or a clock: each is a state machine behind
//! [`Service`], and its tests run in memory.

mod beacon;
pub mod catalog;
mod chat;
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
pub use chat::{Chat, ChatSession};
pub use discovery::Discovery;
pub use echo::Echo;
pub use hello::Hello;
pub use json::{Json, JsonSession};
pub use multicast::Multicast;
pub use number::{Number, NumberSession};
pub use time::Time;
pub use upper::{Upper, UpperSession};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::{Kind, ServiceConfig};
use crate::reactor::{self, BindError, Bound, DatagramSpec, HostBuilder, Reactor, Transport};
use crate::service::Service;

/// Hosts a configured service: opens its sockets, and says where they are. A
/// beacon, which receives nothing, is where it sends to.
///
/// # Errors
/// When a socket cannot be opened; then none of this service's is.
pub fn start(reactor: &mut Reactor, config: &ServiceConfig) -> Result<Vec<Bound>, BindError> {
    match &config.kind {
        Kind::Echo(own) => host(reactor, config, Echo::new(own)),
        Kind::Upper(own) => host(reactor, config, Upper::new(own)),
        Kind::Time => host(reactor, config, Time::local()),
        Kind::Number => host(reactor, config, Number),
        Kind::Json(own) => host(reactor, config, Json::new(own)),
        Kind::Chat(own) => host(reactor, config, Chat::new(own)),
        Kind::Hello(own) => host(reactor, config, Hello::new(own)),
        Kind::Discovery(own) => host(reactor, config, Discovery::new(own)),
        Kind::Beacon(own) => {
            let Some(destination) = config.udp else { return Ok(Vec::new()) };
            let socket = DatagramSpec::bound((beacon_source(config.bind, destination), 0).into());
            let mut builder = prepare(reactor, config, Beacon::new(own, destination)).socket(socket);
            builder = builder.options(reactor::SocketOptions { broadcast: true, ..config.socket.clone() });
            builder.start()?;
            Ok(vec![Bound { transport: Transport::Udp, address: destination }])
        }
        Kind::Multicast(own) => {
            let Some(bind) = config.udp else { return Ok(Vec::new()) };
            let interface = Some(own.interface).filter(|interface| !interface.is_unspecified());
            let multicast = Some(reactor::Multicast { group: own.group, interface, join: true });
            let socket = DatagramSpec { multicast, ..DatagramSpec::bound(bind) };
            let builder = prepare(reactor, config, Multicast::new(own)).socket(socket);
            builder.start().map(|(_, bound)| bound)
        }
    }
}

fn prepare<'r, S: Service + 'static>(
    reactor: &'r mut Reactor,
    config: &ServiceConfig,
    service: S,
) -> HostBuilder<'r, S> {
    reactor.host(&config.name, service).limits(config.limits.clone()).options(config.socket.clone())
}

/// Hosts a service on the addresses that its configuration says.
fn host<S: Service + 'static>(
    reactor: &mut Reactor,
    config: &ServiceConfig,
    service: S,
) -> Result<Vec<Bound>, BindError> {
    let mut builder = prepare(reactor, config, service);
    for (transport, address) in config.listens_on() {
        builder = match transport {
            Transport::Tcp => builder.tcp(address),
            Transport::Udp => builder.udp(address),
        };
    }
    builder.start().map(|(_, bound)| bound)
}

/// The local address of a beacon's socket: one that the destination can be
/// reached from.
fn beacon_source(bind: IpAddr, destination: SocketAddr) -> IpAddr {
    match bind {
        _ if destination.ip().is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(bind) if !bind.is_loopback() => bind.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, PortOverride};

    fn started(bind: &str) -> Vec<(String, Vec<Bound>)> {
        let mut config =
            Config::built_in(&Overrides { bind: Some(bind.parse().unwrap()), ..Overrides::default() })
                .unwrap();
        let mut reactor = Reactor::new().unwrap();
        for service in &mut config.services {
            if let Some(tcp) = &mut service.tcp {
                tcp.set_port(0);
            }
            if let (Some(udp), false) = (&mut service.udp, matches!(service.kind, Kind::Beacon(_))) {
                udp.set_port(0);
            }
        }
        let services = config.services.iter();
        services.map(|service| (service.name.clone(), start(&mut reactor, service).unwrap())).collect()
    }

    #[test]
    fn every_service_opens_a_socket_for_each_address_it_listens_on() {
        let config = Config::default();
        for (service, (name, bound)) in config.services.iter().zip(started("127.0.0.1")) {
            let mut expected: Vec<_> =
                service.listens_on().iter().map(|(transport, address)| (*transport, address.ip())).collect();
            if let (Kind::Beacon(_), Some(destination)) = (&service.kind, service.udp) {
                expected.push((Transport::Udp, destination.ip()));
            }
            let got: Vec<_> = bound.iter().map(|bound| (bound.transport, bound.address.ip())).collect();
            assert_eq!(got, expected, "{name}");
            assert!(bound.iter().all(|bound| bound.address.port() != 0), "{name}: {bound:?}");
        }
    }

    #[test]
    fn discovery_on_loopback_has_two_sockets_of_one_port() {
        for (name, bound) in started("127.0.0.1") {
            if name == "discovery" {
                assert_eq!(bound.len(), 2);
                assert_eq!(bound[0].address.port(), bound[1].address.port());
            }
        }
    }

    #[test]
    fn a_beacon_is_announced_where_it_sends_to() {
        let (_, bound) = started("127.0.0.1").into_iter().find(|(name, _)| name == "beacon").unwrap();
        let address = "127.255.255.255:37020".parse().unwrap();
        assert_eq!(bound, [Bound { transport: Transport::Udp, address }]);
    }

    #[test]
    fn a_beacon_sends_from_where_its_destination_can_be_reached() {
        let source = |bind: &str, to: &str| {
            beacon_source(bind.parse().unwrap(), SocketAddr::new(to.parse().unwrap(), 1)).to_string()
        };
        assert_eq!(source("127.0.0.1", "127.255.255.255"), "127.0.0.1");
        assert_eq!(source("0.0.0.0", "127.255.255.255"), "127.0.0.1");
        assert_eq!(source("127.0.0.1", "192.0.2.255"), "0.0.0.0");
        assert_eq!(source("192.0.2.1", "255.255.255.255"), "192.0.2.1");
        assert_eq!(source("::", "255.255.255.255"), "0.0.0.0");
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_service() {
        let ports = vec!["echo/tcp=0".parse::<PortOverride>().unwrap()];
        let only = vec!["echo".into()];
        let mut config = Config::built_in(&Overrides { ports, only, ..Overrides::default() }).unwrap();
        let echo = &mut config.services[0];
        echo.udp = None;
        let mut reactor = Reactor::new().unwrap();
        let bound = start(&mut reactor, echo).unwrap();
        echo.tcp = Some(bound[0].address);
        let error = start(&mut reactor, echo).unwrap_err();
        let sentence = error.to_string();
        assert!(sentence.starts_with("service echo cannot use TCP 127.0.0.1:"), "{sentence}");
    }
}
