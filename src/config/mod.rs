//! What is served, and where: from a TOML file or from built-in defaults, with the
//! command line on top.
//!
//! This module knows no service. It is handed a catalog of [`Description`]s, and each of
//! these turns its own settings into a [`Plan`].
//!
//! ```
//! use onepoll::config::{Config, Overrides};
//! use onepoll::services::CATALOG;
//! use std::path::Path;
//!
//! let text = "[services.echo]\ntcp = 3333\n";
//! let config = Config::parse(CATALOG, text, Path::new("lab.toml"), &Overrides::default())?;
//! assert_eq!(config.services[0].plan.tcp, Some("127.0.0.1:3333".parse().unwrap()));
//! # Ok::<(), onepoll::config::ConfigErrors>(())
//! ```
//!
//! Reading order: this file for what a configuration is; `description` for what a service
//! says about itself; `limits` and `socket` for the keys that all services share; `file`
//! for how TOML becomes a configuration, with `table` and [`values`] below it; `planning`
//! for what holds between its parts; [`files`] for the keys of services with files.

mod describe;
mod description;
mod error;
mod example;
mod file;
pub mod files;
mod limits;
mod overrides;
mod planning;
mod setting;
mod socket;
mod table;
#[cfg(test)]
mod tests;
mod units;
pub mod values;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

pub use describe::{Reach, describe, reachable};
pub use description::{Description, Destination, Key, Plan, Settings, Value};
pub use error::{ConfigError, ConfigErrors};
pub use example::example;
pub use overrides::{Overrides, PortOverride};
pub use units::{UnitError, format_duration, format_size, parse_duration, parse_size};

pub use crate::service::Transport;

use crate::service::{Limits, SocketOptions};
use error::Findings;
use planning::Draft;

/// Everything that `onepoll serve` needs to know.
#[derive(Debug)]
pub struct Config {
    /// The address of every service that does not name its own.
    pub bind: IpAddr,
    /// The memory that all peers together may make it hold, in bytes; `None` leaves that
    /// to the program.
    pub memory: Option<usize>,
    /// The limits. `connections` applies to the daemon as a whole; the others are the
    /// defaults of its services.
    pub limits: Limits,
    /// The socket options that its services have by default.
    pub socket: SocketOptions,
    /// The services, in the order of the file.
    pub services: Vec<ServiceConfig>,
}

/// One service, with everything that it inherits filled in.
#[derive(Debug)]
pub struct ServiceConfig {
    /// Its name in the file, the log and the announcement.
    pub name: String,
    /// Which kind of service it is.
    pub kind: &'static Description,
    /// Its limits. `connections` is its own bound, 0 unless its table sets one.
    pub limits: Limits,
    /// The options of its sockets.
    pub socket: SocketOptions,
    /// The service itself, and the sockets it needs.
    pub plan: Plan,
}

impl Config {
    /// Every service of a catalog, on 127.0.0.1 and at its default ports unless
    /// `overrides` say otherwise.
    ///
    /// # Errors
    /// If the overrides name a service that does not exist, or contradict each other.
    pub fn built_in(catalog: &[&'static Description], overrides: &Overrides) -> Result<Config, ConfigErrors> {
        let mut findings = Findings::default();
        let mut config = Config::empty(overrides.bind_or(Ipv4Addr::LOCALHOST.into(), &mut findings));
        let draft = |kind: &&'static Description| Draft {
            name: kind.name.into(),
            kind,
            bind: config.bind,
            tcp: kind.tcp,
            udp: kind.udp,
            limits: config.limits.clone(),
            socket: config.socket.clone(),
            table: None,
            is_sound: true,
        };
        let drafts = catalog.iter().map(draft).collect();
        config.services = planning::plan(drafts, overrides, Path::new(""), &mut findings);
        findings.verdict(config, None, "")
    }

    fn empty(bind: IpAddr) -> Config {
        Config {
            bind,
            memory: None,
            limits: Limits::default(),
            socket: SocketOptions::default(),
            services: Vec::new(),
        }
    }
}

impl ServiceConfig {
    /// The addresses at which it can be reached, TCP first. A service that only sends has
    /// none.
    pub fn listens_on(&self) -> Vec<(Transport, SocketAddr)> {
        self.plan.listens_on()
    }
}
