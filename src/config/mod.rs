//! What is served, and where: from a TOML file or built in, with what the
//! command line says on top.
//!
//! Which services there are is not known here: a catalog of their
//! [`Description`]s is handed in, and each of them turns its own settings into
//! a [`Plan`].
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
//! Reading order: this file for what a configuration is; `description` for what
//! a service says about itself; `limits` and `socket` for what all of them
//! have; `file` for how TOML becomes a configuration, with `table` and
//! [`values`] below it; `planning` for what holds between its parts.

mod describe;
mod description;
mod error;
mod example;
mod file;
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

pub use describe::{describe, reachable};
pub use description::{Description, Key, Plan, Settings, Value};
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
    /// Limits of the whole daemon: `connections` and `drain_timeout` bound it
    /// as one, the others are what its services start from.
    pub limits: Limits,
    /// The socket options that its services start from.
    pub socket: SocketOptions,
    /// The services, in the order of the file.
    pub services: Vec<ServiceConfig>,
}

/// One service, with everything that it inherits filled in.
#[derive(Debug)]
pub struct ServiceConfig {
    /// Its name in the file, the log and the announcement.
    pub name: String,
    /// What it does.
    pub kind: &'static Description,
    /// Its limits. `connections` is its own bound, 0 unless its table sets one.
    pub limits: Limits,
    /// The options of its sockets.
    pub socket: SocketOptions,
    /// The service itself, and the sockets it needs.
    pub plan: Plan,
}

impl Config {
    /// Every service of a catalog at its default ports, as `overrides` change
    /// them, on 127.0.0.1 unless they say otherwise.
    ///
    /// # Errors
    /// Where the overrides name what does not exist, or do not fit together.
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
        config.services = planning::plan(drafts, overrides, &mut findings);
        findings.verdict(config, None, "")
    }

    fn empty(bind: IpAddr) -> Config {
        Config { bind, limits: Limits::default(), socket: SocketOptions::default(), services: Vec::new() }
    }
}

impl ServiceConfig {
    /// The addresses that it can be reached at, TCP first. A service that only
    /// sends has none.
    pub fn listens_on(&self) -> Vec<(Transport, SocketAddr)> {
        self.plan.listens_on()
    }
}
