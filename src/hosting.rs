//! Where configuration and loop meet: a configured service is given its sockets.

use crate::config::{Plan, ServiceConfig};
use crate::reactor::{BindError, Reactor};
use crate::service::{Bound, Transport};

/// Hosts a configured service: opens its sockets and returns their addresses, or for a
/// service that only sends the address that it sends to.
///
/// # Errors
/// If a socket cannot be opened; then none of this service's sockets is open.
pub fn host(reactor: &mut Reactor, config: ServiceConfig) -> Result<Vec<Bound>, BindError> {
    let ServiceConfig { name, limits, socket, plan, .. } = config;
    let Plan { service, tcp, udp, sends_to, .. } = plan;
    let mut builder = reactor.host_any(&name, service).limits(limits).options(socket);
    if let Some(address) = tcp {
        builder = builder.tcp(address);
    }
    for spec in udp {
        builder = builder.socket(spec);
    }
    let (_, bound) = builder.start()?;
    Ok(match sends_to {
        Some(destination) => vec![Bound { transport: Transport::Udp, address: destination.address() }],
        None => bound,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Overrides, PortOverride};
    use crate::services::CATALOG;

    fn built_in(only: &[&str], ports: &[&str]) -> Config {
        let only = only.iter().map(|name| (*name).into()).collect();
        let ports = ports.iter().map(|port| port.parse::<PortOverride>().unwrap()).collect();
        Config::built_in(CATALOG, &Overrides { only, ports, ..Overrides::default() }).unwrap()
    }

    /// Every service on a free port, except the beacon: its port is where it sends to.
    fn everything() -> Config {
        let names = CATALOG.iter().map(|kind| kind.name).filter(|name| *name != "beacon");
        let ports: Vec<_> = names.map(|name| format!("{name}=0")).collect();
        built_in(&[], &ports.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn every_service_opens_a_socket_for_each_address_it_listens_on() {
        let mut reactor = Reactor::new().unwrap();
        for service in everything().services {
            let name = service.name.clone();
            let mut expected: Vec<_> =
                service.listens_on().iter().map(|(transport, address)| (*transport, address.ip())).collect();
            expected.extend(service.plan.sends_to.map(|to| (Transport::Udp, to.address().ip())));
            let bound = host(&mut reactor, service).unwrap();
            let got: Vec<_> = bound.iter().map(|bound| (bound.transport, bound.address.ip())).collect();
            assert_eq!(got, expected, "{name}");
            assert!(bound.iter().all(|bound| bound.address.port() != 0), "{name}: {bound:?}");
        }
    }

    #[test]
    fn discovery_on_loopback_has_two_sockets_of_one_port() {
        let mut reactor = Reactor::new().unwrap();
        let mut config = built_in(&["discovery"], &["discovery=0"]);
        let bound = host(&mut reactor, config.services.remove(0)).unwrap();
        assert_eq!(bound.len(), 2);
        assert_eq!(bound[0].address.port(), bound[1].address.port());
    }

    #[test]
    fn a_beacon_is_announced_where_it_sends_to() {
        let mut reactor = Reactor::new().unwrap();
        let mut config = built_in(&["beacon"], &[]);
        let bound = host(&mut reactor, config.services.remove(0)).unwrap();
        let address = "127.255.255.255:37020".parse().unwrap();
        assert_eq!(bound, [Bound { transport: Transport::Udp, address }]);
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_service() {
        let mut reactor = Reactor::new().unwrap();
        let mut first = built_in(&["json"], &["json=0"]);
        let bound = host(&mut reactor, first.services.remove(0)).unwrap();
        let port = bound[0].address.port();
        let mut second = built_in(&["json"], &[&format!("json={port}")]);
        let sentence = host(&mut reactor, second.services.remove(0)).unwrap_err().to_string();
        assert!(
            sentence.starts_with(&format!("service json cannot use TCP 127.0.0.1:{port}: ")),
            "{sentence}"
        );
    }
}
