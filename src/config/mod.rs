//! What is served, and where: from a TOML file or built in, with what the
//! command line says on top.
//!
//! ```
//! use onepoll::config::{Config, Overrides};
//! use std::path::Path;
//!
//! let text = "[services.echo]\ntcp = 3333\n";
//! let config = Config::parse(text, Path::new("lab.toml"), &Overrides::default())?;
//! assert_eq!(config.services[0].tcp, Some("127.0.0.1:3333".parse().unwrap()));
//! # Ok::<(), onepoll::config::ConfigError>(())
//! ```
//!
//! Reading order: this file for what a configuration is; `kind` for each
//! service's own keys; `file` for how TOML becomes one, with `table` and
//! `values` below it; `check` for what holds between its parts.

mod check;
mod describe;
mod error;
mod file;
mod kind;
mod overrides;
mod table;
#[cfg(test)]
mod tests;
mod units;
mod values;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use describe::{describe, example, reachable};
pub use error::ConfigError;
pub use kind::{
    BeaconConfig, ChatConfig, DiscoveryConfig, EchoConfig, HelloConfig, JsonConfig, Kind, MulticastConfig,
    UpperConfig,
};
pub use overrides::{Overrides, PortOverride};
pub use units::{UnitError, format_duration, format_size, parse_duration, parse_size};

pub use crate::reactor::Transport;

use crate::reactor::{Limits, SocketOptions};
use crate::services::catalog::{CATALOG, Entry};

/// Everything that `onepoll serve` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The address of every service that does not name its own.
    pub bind: IpAddr,
    /// Limits of the whole daemon: `connections` and `drain_timeout` bound it
    /// as one, the others are what its services start from.
    pub limits: Limits,
    /// The socket options that its services start from.
    pub socket: SocketOptions,
    /// The services, in the order of the file.
    pub services: Vec<ServiceConfig>,
}

/// One service, with everything that it inherits filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceConfig {
    /// Its name in the file, the log and the announcement.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// The local address of its sockets; a multicast service's is its group instead.
    pub bind: IpAddr,
    /// Where it listens; port 0 takes a free one.
    pub tcp: Option<SocketAddr>,
    /// Where its datagrams come in; for a beacon, where they go to.
    pub udp: Option<SocketAddr>,
    /// Its limits. `connections` is its own bound, 0 unless its table sets one.
    pub limits: Limits,
    /// The options of its sockets.
    pub socket: SocketOptions,
}

impl Default for Config {
    /// Every service at its default ports on 127.0.0.1.
    fn default() -> Self {
        Config::bound_to(Ipv4Addr::LOCALHOST.into())
    }
}

impl Config {
    /// Every service at its default ports, as `overrides` change them.
    ///
    /// # Errors
    /// Where they name what does not exist, or do not fit together.
    pub fn built_in(overrides: &Overrides) -> Result<Config, ConfigError> {
        let mut config = Config::bound_to(overrides.bind_or(Ipv4Addr::LOCALHOST.into())?);
        overrides.apply(&mut config)?;
        check::check(&config).map_err(|problem| ConfigError::new(problem.sentence))?;
        Ok(config)
    }

    fn bound_to(bind: IpAddr) -> Config {
        let mut config = Config::empty(bind);
        for entry in CATALOG {
            let mut service = ServiceConfig::new(entry.name, entry, bind, &config);
            for (transport, port) in [(Transport::Tcp, entry.tcp), (Transport::Udp, entry.udp)] {
                if let Some(port) = port {
                    service.set_port(transport, port);
                }
            }
            config.services.push(service);
        }
        config
    }

    fn empty(bind: IpAddr) -> Config {
        Config { bind, limits: Limits::default(), socket: SocketOptions::default(), services: Vec::new() }
    }
}

impl ServiceConfig {
    /// A service with the defaults of its kind and what it inherits, and no port yet.
    fn new(name: &str, entry: &Entry, bind: IpAddr, config: &Config) -> ServiceConfig {
        ServiceConfig {
            name: name.into(),
            kind: (entry.default)(bind),
            bind,
            tcp: None,
            udp: None,
            limits: Limits { connections: 0, ..config.limits.clone() },
            socket: config.socket.clone(),
        }
    }

    fn set_port(&mut self, transport: Transport, port: u16) {
        match transport {
            Transport::Tcp => self.tcp = Some(SocketAddr::new(self.bind, port)),
            Transport::Udp => {
                let address = match &self.kind {
                    Kind::Beacon(beacon) => beacon.address.into(),
                    Kind::Multicast(multicast) => multicast.group,
                    _ => self.bind,
                };
                self.udp = Some(SocketAddr::new(address, port));
            }
        }
    }

    /// The addresses to bind, TCP first. A beacon has none: it only sends. A
    /// discovery on loopback has two of one port, since a socket bound to
    /// 127.0.0.1 does not receive what is sent to 127.255.255.255.
    pub fn listens_on(&self) -> Vec<(Transport, SocketAddr)> {
        let mut addresses: Vec<_> = self.tcp.iter().map(|address| (Transport::Tcp, *address)).collect();
        match (&self.kind, self.udp) {
            (Kind::Beacon(_), _) | (_, None) => {}
            (_, Some(udp)) => addresses.push((Transport::Udp, udp)),
        }
        if let (Kind::Discovery(_), Some(SocketAddr::V4(udp))) = (&self.kind, self.udp)
            && udp.ip().is_loopback()
            && *udp.ip() != kind::LOOPBACK_BROADCAST
        {
            addresses.push((Transport::Udp, (kind::LOOPBACK_BROADCAST, udp.port()).into()));
        }
        addresses
    }
}
