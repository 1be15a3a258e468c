//! What must hold between the parts of a configuration, wherever they came from.

use std::net::{IpAddr, SocketAddr};

use super::{Config, Kind, ServiceConfig, Transport};
use crate::services::catalog;

/// What does not fit, and the key of which service has the most to do with it.
pub(super) struct Problem {
    pub service: String,
    pub key: &'static str,
    pub sentence: String,
}

/// The first thing that does not fit.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    for service in &config.services {
        let refused = |(key, sentence)| Problem { service: service.name.clone(), key, sentence };
        transports(service).map_err(refused)?;
        families(service).map_err(refused)?;
    }
    conflicts(&config.services)
}

type Refusal = (&'static str, String);

fn transports(service: &ServiceConfig) -> Result<(), Refusal> {
    let (name, kind) = (&service.name, service.kind.name());
    let Some(entry) = catalog::find(kind) else {
        return Err(("kind", format!("{name}: the catalog has no kind {kind}")));
    };
    match (service.tcp, service.udp) {
        (Some(_), _) if entry.tcp.is_none() => {
            Err(("tcp", format!("{name}: {kind} speaks only UDP; give udp = PORT instead")))
        }
        (_, Some(_)) if entry.udp.is_none() => {
            Err(("udp", format!("{name}: {kind} speaks only TCP; give tcp = PORT instead")))
        }
        (None, None) => {
            let defaults = [("tcp", entry.tcp), ("udp", entry.udp)];
            let ports: Vec<_> =
                defaults.iter().filter_map(|(key, port)| Some(format!("{key} = {}", (*port)?))).collect();
            Err(("tcp", format!("{name} has no port; give it {}", ports.join(" or "))))
        }
        (_, Some(udp)) if matches!(service.kind, Kind::Beacon(_)) && udp.port() == 0 => {
            Err(("udp", format!("{name}: a beacon's port is the one it sends to, which cannot be 0")))
        }
        _ => Ok(()),
    }
}

fn families(service: &ServiceConfig) -> Result<(), Refusal> {
    let name = &service.name;
    match &service.kind {
        Kind::Multicast(multicast) if multicast.group.is_ipv4() != multicast.interface.is_ipv4() => {
            let (group, interface) = (multicast.group, multicast.interface);
            Err((
                "interface",
                format!(
                    "{name}: the group {group} is {}, the interface {interface} is {}; \
                     set group or interface (which is the bind address unless set) so that they agree",
                    family(group),
                    family(interface)
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Two services on one address: of their sockets, all but one would stay silent.
fn conflicts(services: &[ServiceConfig]) -> Result<(), Problem> {
    for (index, service) in services.iter().enumerate() {
        for (transport, address) in service.listens_on() {
            let taken_by = services[..index].iter().find(|earlier| {
                let mut theirs = earlier.listens_on().into_iter();
                theirs.any(|(other, theirs)| other == transport && overlap(address, theirs))
            });
            if let Some(earlier) = taken_by {
                let key = if transport == Transport::Tcp { "tcp" } else { "udp" };
                let (name, first) = (&service.name, &earlier.name);
                let sentence =
                    format!("{name} and {first} both want {transport} {address}; give one another port");
                return Err(Problem { service: service.name.clone(), key, sentence });
            }
        }
    }
    Ok(())
}

/// Whether one socket would get what is meant for the other. The unspecified
/// address covers every one of its family, except groups, which are joined.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| a.is_unspecified() && a.is_ipv4() == b.is_ipv4() && !b.is_multicast();
    let (a_ip, b_ip) = (a.ip(), b.ip());
    a.port() != 0 && a.port() == b.port() && (a_ip == b_ip || covers(a_ip, b_ip) || covers(b_ip, a_ip))
}
