//! What a service says about itself: its name, its ports, its keys, and how its settings
//! become a service with sockets. Each service has one [`Description`]; a catalog is a
//! list of them, in the order in which help and documents show them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use toml::de::DeValue;

use super::error::Findings;
use super::table::Table;
use super::values::{Read, Toml};
use crate::files::Roots;
use crate::service::{AnyService, DatagramSpec, Limits, Service, SocketOptions, Transport};

/// One kind of service, as its own file describes it.
#[derive(Debug)]
pub struct Description {
    /// What a config calls it: its table is `[services.NAME]`.
    pub name: &'static str,
    /// What it does, in one line that begins with a verb.
    pub about: &'static str,
    /// What else `config example` says above its table; may be empty.
    pub notes: &'static str,
    /// Its default TCP port; `None` if it does not speak TCP.
    pub tcp: Option<u16>,
    /// Its default UDP port; `None` if it does not speak UDP.
    pub udp: Option<u16>,
    /// Its own keys, besides ports, limits and socket options.
    pub keys: &'static [Key],
    /// Makes a service and says which sockets it needs.
    pub plan: fn(&mut Settings<'_>) -> Plan,
}

/// A key of a config file. It is declared once: what is known, what is read and
/// what `config example` shows all come from here.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// Its default, or a sample.
    pub value: Value,
    /// What it means, for `config example`; may be empty if the name says it.
    pub about: &'static str,
}

/// The value that `config example` shows for a key, as TOML.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// Its default.
    Default(&'static str),
    /// A sample, shown as a comment: the default depends on other settings, or there is
    /// none.
    Sample(&'static str),
}

impl Value {
    /// The TOML.
    pub fn text(self) -> &'static str {
        match self {
            Value::Default(text) | Value::Sample(text) => text,
        }
    }
}

impl Description {
    /// Whether it opens files, which its clients name.
    pub fn has_files(&self) -> bool {
        self.keys.iter().any(|key| key.name == super::files::ROOT.name)
    }

    /// Its default port for a transport; `None` if it does not speak that.
    pub fn port(&self, transport: Transport) -> Option<u16> {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
        }
    }
}

/// Finds a description by its name.
pub(super) fn find(catalog: &[&'static Description], name: &str) -> Option<&'static Description> {
    catalog.iter().find(|description| description.name == name).copied()
}

/// The settings of one service, with everything that it inherits filled in. A mistake in
/// a value is noted with its line and column, and the default takes its place, so that
/// the rest is checked too; a file with a mistake is not served.
pub struct Settings<'a> {
    /// The service's name in the file and the log.
    pub name: &'a str,
    /// The local address of its sockets.
    pub bind: IpAddr,
    /// Its TCP port, if it is to have one; 0 takes a free one.
    pub tcp: Option<u16>,
    /// Its UDP port, if it is to have one; 0 takes a free one.
    pub udp: Option<u16>,
    /// Its limits.
    pub limits: Limits,
    /// The options of its sockets.
    pub socket: SocketOptions,
    /// Its table, if there is a file.
    pub(super) table: Option<Table<'a>>,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
    /// The folders of files that the services share.
    pub(super) roots: &'a Roots,
    pub(super) findings: &'a mut Findings,
}

impl Settings<'_> {
    /// The value of a key, or its default. `read` is one of
    /// [`values`](super::values), or a function of your own.
    ///
    /// # Panics
    /// If the declared default is not a value that `read` accepts. Any test that plans
    /// the service finds that.
    pub fn get<T>(&mut self, key: &Key, read: impl Fn(&Toml<'_>) -> Read<T>) -> T {
        self.written(key, &read).unwrap_or_else(|| {
            let default = DeValue::parse(key.value.text()).map_err(|error| error.to_string());
            let default = default.and_then(|value| read(value.get_ref()));
            default.unwrap_or_else(|reason| panic!("the default of {}: {reason}", key.name))
        })
    }

    /// The value of a key, or `otherwise`, for a default that depends on other settings.
    pub fn get_or<T>(&mut self, key: &Key, otherwise: T, read: impl Fn(&Toml<'_>) -> Read<T>) -> T {
        self.written(key, &read).unwrap_or(otherwise)
    }

    fn written<T>(&mut self, key: &Key, read: &impl Fn(&Toml<'_>) -> Read<T>) -> Option<T> {
        self.table.and_then(|table| table.get(key.name, read, self.findings))
    }

    /// Where a path of the file leads: it is relative to the folder of the file.
    pub fn path(&self, written: &str) -> PathBuf {
        self.folder.join(written)
    }

    /// Notes that settings contradict each other; the error points to `key`.
    pub fn refuse(&mut self, key: &str, why: &str) {
        let sentence = format!("{}: {why}", self.name);
        match self.table {
            Some(table) => self.findings.at(table.place_of(key), sentence),
            None => self.findings.of_command_line(sentence),
        }
    }

    /// Plans a service on its ports at its bind address, as most services are.
    pub fn listen(&self, service: impl Service + 'static) -> Plan {
        let at = |port| SocketAddr::new(self.bind, port);
        Plan {
            tcp: self.tcp.map(at),
            udp: self.udp.map(|port| DatagramSpec::bound(at(port))).into_iter().collect(),
            ..Plan::without_sockets(service)
        }
    }
}

/// A service and the sockets it needs: everything that it takes to start it and to tell
/// people where it is.
#[derive(Debug)]
pub struct Plan {
    /// The service.
    pub service: AnyService,
    /// Where it listens for connections.
    pub tcp: Option<SocketAddr>,
    /// Its UDP sockets.
    pub udp: Vec<DatagramSpec>,
    /// Where it sends to, if it only sends. People are told this instead of the
    /// addresses of its sockets, which nobody talks to.
    pub sends_to: Option<Destination>,
    /// The folder in which its clients may store files, if they may. People are told.
    pub stores_in: Option<PathBuf>,
    /// The most sockets that it opens later, as it serves.
    pub opens: usize,
}

/// Where a service that only sends sends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// One address.
    One(SocketAddr),
    /// This port at the broadcast address of each network that is attached.
    EveryNetwork(u16),
}

impl Destination {
    /// One address that stands for it where there is room for one only.
    pub fn address(self) -> SocketAddr {
        match self {
            Destination::One(address) => address,
            Destination::EveryNetwork(port) => (Ipv4Addr::BROADCAST, port).into(),
        }
    }

    /// What a table of addresses shows; `networks` are the broadcast addresses of the
    /// attached networks, and empty if they cannot be listed.
    pub fn in_table(self, networks: &[Ipv4Addr]) -> String {
        match self {
            Destination::EveryNetwork(port) if !networks.is_empty() => {
                let each = networks.iter().map(|network| format!("{network}:{port}"));
                format!("to {}", each.collect::<Vec<_>>().join(", "))
            }
            _ => format!("to {}", self.address()),
        }
    }
}

impl Plan {
    /// A service that has no socket yet.
    pub fn without_sockets(service: impl Service + 'static) -> Plan {
        Plan {
            service: AnyService::new(service),
            tcp: None,
            udp: Vec::new(),
            sends_to: None,
            stores_in: None,
            opens: 0,
        }
    }

    /// The addresses at which it can be reached, TCP first.
    pub fn listens_on(&self) -> Vec<(Transport, SocketAddr)> {
        let udp = self.udp.iter().filter(|_| self.sends_to.is_none());
        let udp = udp.map(|socket| (Transport::Udp, socket.bind));
        self.tcp.map(|address| (Transport::Tcp, address)).into_iter().chain(udp).collect()
    }
}
