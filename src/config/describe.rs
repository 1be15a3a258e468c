//! A configuration as people read it: `config check`, and the log's first lines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::{Config, Destination, ServiceConfig, Transport};
use crate::service::{DatagramSpec, any_address};

/// Describes what would be served: a table of services and addresses, and below it what
/// other machines can reach. `networks` are the broadcast addresses of the attached
/// networks, and empty if they cannot be listed.
pub fn describe(config: &Config, networks: &[Ipv4Addr]) -> String {
    let mut rows = vec![["SERVICE", "KIND", "TRANSPORT", "ADDRESS"].map(String::from)];
    for service in &config.services {
        let row = |transport: Transport, address| {
            [service.name.clone(), service.kind.name.into(), transport.to_string(), address]
        };
        for (transport, address) in service.listens_on() {
            let note = if address.port() == 0 { " (a free port)" } else { "" };
            rows.push(row(transport, format!("{address}{note}")));
        }
        if let Some(destination) = service.plan.sends_to {
            rows.push(row(Transport::Udp, destination.in_table(networks)));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [name, kind, transport, address] in &rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:first$}  {kind:second$}  {transport:third$}  {address}");
    }
    let services: Vec<_> = config.services.iter().map(Reach::of).collect();
    for sentence in reachable(&services, networks) {
        let _ = write!(text, "\n{sentence}\n");
    }
    text
}

/// How far one service reaches: what is told of it when it is served.
#[derive(Debug, Clone)]
pub struct Reach {
    name: String,
    /// The addresses at which it is reached.
    at: Vec<IpAddr>,
    sends_to: Option<Destination>,
    stores_in: Option<PathBuf>,
}

impl Reach {
    /// The reach of a service.
    pub fn of(service: &ServiceConfig) -> Reach {
        let plan = &service.plan;
        // A second UDP socket hears the broadcasts of the first one's network.
        let sockets = plan.udp.first().filter(|_| plan.sends_to.is_none());
        let at = plan.tcp.iter().map(|tcp| tcp.ip()).chain(sockets.map(reached_at)).collect();
        let stores_in = plan.stores_in.clone();
        Reach { name: service.name.clone(), at, sends_to: plan.sends_to, stores_in }
    }

    fn is_reached_from_elsewhere(&self) -> bool {
        self.at.iter().any(|address| !address.is_loopback())
    }
}

/// Says what other machines can reach, in one sentence per address that is not loopback.
/// If there is none, one sentence says so.
pub fn reachable(services: &[Reach], networks: &[Ipv4Addr]) -> Vec<String> {
    let mut by_address: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    let mut sentences = Vec::new();
    for Reach { name, at, sends_to, .. } in services {
        sentences.extend(sends_to.and_then(|destination| sends_off(name, destination, networks)));
        for address in at {
            let names = by_address.entry(*address).or_default();
            if names.last() != Some(&&**name) {
                names.push(name);
            }
        }
    }
    by_address.retain(|address, _| !address.is_loopback());
    for (address, names) in by_address {
        let reach = if address.is_unspecified() {
            format!("on every network of this machine ({address})")
        } else {
            format!("from every machine that has a route to {address}")
        };
        let names = names.join(", ");
        sentences.push(format!("Reachable {reach}, by anybody and without a password: {names}."));
    }
    sentences.extend(stored_by_others(services));
    if sentences.is_empty() {
        sentences.push("Only programs on this machine can reach these services.".into());
    }
    sentences
}

/// Says where other machines can store files, and through which services: one sentence per
/// folder.
fn stored_by_others(services: &[Reach]) -> Vec<String> {
    let mut by_folder: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for reach in services.iter().filter(|reach| reach.is_reached_from_elsewhere()) {
        if let Some(folder) = &reach.stores_in {
            by_folder.entry(folder).or_default().push(&reach.name);
        }
    }
    let sentence = |(folder, names): (&Path, Vec<&str>)| {
        let (verb, whom) = if names.len() == 1 { ("stores", "it") } else { ("store", "them") };
        let (names, folder) = (names.join(", "), folder.display());
        format!("{names} {verb} files of anybody who reaches {whom} in {folder}, unless writable = false.")
    };
    by_folder.into_iter().map(sentence).collect()
}

/// Says that a service sends to other machines, if it does.
fn sends_off(name: &str, destination: Destination, networks: &[Ipv4Addr]) -> Option<String> {
    match destination {
        Destination::One(to) if to.ip().is_loopback() => None,
        Destination::One(to) => Some(format!("{name} sends to {}, off this machine.", to.ip())),
        Destination::EveryNetwork(_) => {
            let listed: Vec<_> = networks.iter().map(Ipv4Addr::to_string).collect();
            let listed = if listed.is_empty() { String::new() } else { format!(" ({})", listed.join(", ")) };
            Some(format!("{name} broadcasts to each network of this machine{listed}."))
        }
    }
}

/// The address at which a socket is reached: for a group, that of the interface on which
/// it is joined.
fn reached_at(socket: &DatagramSpec) -> IpAddr {
    let Some(multicast) = &socket.multicast else { return socket.bind.ip() };
    multicast.interface.unwrap_or(any_address(socket.bind).ip())
}
