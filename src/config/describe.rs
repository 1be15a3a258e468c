//! A configuration as people read it: `config check`, and the log's first lines.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use super::{Config, Transport};
use crate::service::{DatagramSpec, any_address};

/// Describes what would be served: a table of services and addresses, and below it what
/// other machines can reach.
pub fn describe(config: &Config) -> String {
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
            rows.push(row(Transport::Udp, format!("to {destination}")));
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [name, kind, transport, address] in &rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:first$}  {kind:second$}  {transport:third$}  {address}");
    }
    for sentence in reachable(config) {
        let _ = write!(text, "\n{sentence}\n");
    }
    text
}

/// Says what other machines can reach, in one sentence per address that is not loopback.
/// If there is none, one sentence says so.
pub fn reachable(config: &Config) -> Vec<String> {
    let mut by_address: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    let mut sentences = Vec::new();
    for service in &config.services {
        if let Some(destination) = service.plan.sends_to {
            if !destination.ip().is_loopback() {
                let (name, to) = (&service.name, destination.ip());
                sentences.push(format!("{name} sends to {to}, off this machine."));
            }
            continue;
        }
        let udp = service.plan.udp.iter().map(reached_at);
        for address in service.plan.tcp.iter().map(|tcp| tcp.ip()).chain(udp) {
            let names = by_address.entry(address).or_default();
            if names.last() != Some(&&*service.name) {
                names.push(&service.name);
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
    if sentences.is_empty() {
        sentences.push("Only programs on this machine can reach these services.".into());
    }
    sentences
}

/// The address at which a socket is reached: for a group, that of the interface on which
/// it is joined.
fn reached_at(socket: &DatagramSpec) -> IpAddr {
    let Some(multicast) = &socket.multicast else { return socket.bind.ip() };
    multicast.interface.unwrap_or(any_address(socket.bind).ip())
}
