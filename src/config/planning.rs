//! From what was read to what is served: applies the command line, plans each service,
//! and checks that no two of them want the same address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::description::{Description, Settings};
use super::error::Findings;
use super::table::Table;
use super::{Overrides, ServiceConfig, Transport};
use crate::files::Roots;
use crate::service::{Limits, SocketOptions};

/// A service as it was read.
pub(super) struct Draft<'a> {
    pub name: String,
    pub kind: &'static Description,
    pub bind: IpAddr,
    pub tcp: Option<u16>,
    pub udp: Option<u16>,
    pub limits: Limits,
    pub socket: SocketOptions,
    /// Its table, if there is a file.
    pub table: Option<Table<'a>>,
    /// Whether no mistake was found in its table so far.
    pub is_sound: bool,
}

/// A service as it will be served.
struct Planned<'a> {
    service: ServiceConfig,
    table: Option<Table<'a>>,
    is_sound: bool,
}

impl Draft<'_> {
    pub fn port(&self, transport: Transport) -> Option<u16> {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
        }
    }

    pub fn set_port(&mut self, transport: Transport, port: u16) {
        match transport {
            Transport::Tcp => self.tcp = Some(port),
            Transport::Udp => self.udp = Some(port),
        }
    }
}

/// Plans the services that the command line leaves in. `folder` is where relative paths
/// begin.
pub(super) fn plan(
    mut drafts: Vec<Draft<'_>>,
    overrides: &Overrides,
    folder: &Path,
    findings: &mut Findings,
) -> Vec<ServiceConfig> {
    // A service with a mistake may be missing here, which is not the command line's
    // fault.
    let mut unheeded = Findings::default();
    let of_command_line = if findings.is_empty() { &mut *findings } else { &mut unheeded };
    overrides.apply(&mut drafts, of_command_line);
    let roots = Roots::on(overrides.disk.clone());
    let mut planned: Vec<_> =
        drafts.into_iter().map(|draft| plan_one(draft, folder, &roots, findings)).collect();
    planned.retain(|planned| overrides.serves(&planned.service.name));
    conflicts(&planned, findings);
    planned.into_iter().map(|planned| planned.service).collect()
}

fn plan_one<'a>(draft: Draft<'a>, folder: &Path, roots: &Roots, findings: &mut Findings) -> Planned<'a> {
    let before = findings.len();
    transports(&draft, findings);
    let Draft { name, kind, bind, tcp, udp, limits, socket, table, is_sound } = draft;
    let mut settings =
        Settings { name: &name, bind, tcp, udp, limits, socket, table, folder, roots, findings };
    let plan = (kind.plan)(&mut settings);
    let Settings { limits, socket, .. } = settings;
    let is_sound = is_sound && findings.len() == before;
    Planned { service: ServiceConfig { name, kind, limits, socket, plan }, table, is_sound }
}

/// Checks that a service has a port, and only for transports that it speaks.
fn transports(draft: &Draft<'_>, findings: &mut Findings) {
    let Draft { name, kind, table, .. } = draft;
    let mut note = |key: &str, sentence: String| match table {
        Some(table) => findings.at(table.place_of(key), sentence),
        None => findings.of_command_line(sentence),
    };
    let what = kind.name;
    if draft.tcp.is_some() && kind.tcp.is_none() {
        note("tcp", format!("{name}: {what} speaks only UDP; give udp = PORT instead"));
    }
    if draft.udp.is_some() && kind.udp.is_none() {
        note("udp", format!("{name}: {what} speaks only TCP; give tcp = PORT instead"));
    }
    if draft.tcp.is_none() && draft.udp.is_none() {
        let ports = [("tcp", kind.tcp), ("udp", kind.udp)];
        let ports = ports.iter().filter_map(|(key, port)| Some(format!("{key} = {}", (*port)?)));
        let ports: Vec<_> = ports.collect();
        note("tcp", format!("{name} has no port; give it {}", ports.join(" or ")));
    }
}

/// Finds services that want the same address, of which all but one would stay silent. A
/// service with another mistake is left out, since its address may be wrong too.
fn conflicts(services: &[Planned<'_>], findings: &mut Findings) {
    let mut taken = Taken::default();
    for (index, Planned { service, table, is_sound }) in services.iter().enumerate() {
        for (transport, address) in service.listens_on() {
            if let Some(earlier) = taken.by(transport, address)
                && earlier != index
                && *is_sound
                && services[earlier].is_sound
            {
                let (name, first) = (&service.name, &services[earlier].service.name);
                let sentence = format!(
                    "{name} and {first} both want {transport} {address}; give one of them another port"
                );
                match table {
                    Some(table) => findings.at(table.place_of(&transport.to_string()), sentence),
                    None => findings.of_command_line(sentence),
                }
                break;
            }
            taken.take(transport, address, index);
        }
    }
}

/// The addresses of the services so far, and which service was first on each.
#[derive(Default)]
struct Taken {
    exactly: HashMap<(Transport, SocketAddr), usize>,
    /// By port and whether it is IPv4: any address, which a wildcard would cover.
    anywhere: HashMap<(Transport, u16, bool), usize>,
    /// By port and whether it is IPv4: the wildcard address itself.
    everywhere: HashMap<(Transport, u16, bool), usize>,
}

impl Taken {
    /// The first service with a socket that competes with one on this address. The
    /// wildcard address covers every other one of its family, except groups, which are
    /// joined.
    fn by(&self, transport: Transport, address: SocketAddr) -> Option<usize> {
        let port = (transport, address.port(), address.is_ipv4());
        let covering = self.everywhere.get(&port).filter(|_| !address.ip().is_multicast());
        let covered = self.anywhere.get(&port).filter(|_| address.ip().is_unspecified());
        let same = self.exactly.get(&(transport, address));
        [same, covering, covered].into_iter().flatten().min().copied()
    }

    fn take(&mut self, transport: Transport, address: SocketAddr, service: usize) {
        if address.port() == 0 {
            return;
        }
        let port = (transport, address.port(), address.is_ipv4());
        self.exactly.entry((transport, address)).or_insert(service);
        if address.ip().is_unspecified() {
            self.everywhere.entry(port).or_insert(service);
        }
        if !address.ip().is_multicast() {
            self.anywhere.entry(port).or_insert(service);
        }
    }
}
