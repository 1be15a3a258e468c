//! What the command line changes: `--bind`, `--only`, `--port`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::{Config, ConfigError, Transport, values};
use crate::services::catalog;

/// What the command line says on top of a file, or of the built-in configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides {
    /// The address of every service that does not name its own.
    pub bind: Option<IpAddr>,
    /// Serve these and no other; all where it is empty.
    pub only: Vec<String>,
    /// Ports, the last word on each.
    pub ports: Vec<PortOverride>,
}

/// Another port for a service: `echo=4000`, `echo/udp=0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOverride {
    /// The service's name.
    pub name: String,
    /// Which of its ports; without, all that it has.
    pub transport: Option<Transport>,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl FromStr for PortOverride {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<PortOverride, ConfigError> {
        let usage = || ConfigError::new(format!("{text:?} is not NAME=PORT, NAME/tcp=PORT or NAME/udp=PORT"));
        let (target, port) = text.split_once('=').ok_or_else(usage)?;
        let (name, transport) = match target.split_once('/') {
            None => (target, None),
            Some((name, "tcp")) => (name, Some(Transport::Tcp)),
            Some((name, "udp")) => (name, Some(Transport::Udp)),
            Some(_) => return Err(usage()),
        };
        if name.is_empty() {
            return Err(usage());
        }
        let port = port.parse().map_err(|_| {
            ConfigError::new(format!(
                "{port:?} is not a port: give a number from 0 to 65535, 0 for a free one"
            ))
        })?;
        Ok(PortOverride { name: name.into(), transport, port })
    }
}

impl fmt::Display for PortOverride {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortOverride { name, transport, port } = self;
        match transport {
            Some(transport) => write!(f, "{name}/{transport}={port}"),
            None => write!(f, "{name}={port}"),
        }
    }
}

impl Overrides {
    /// The address to start from, which everything that depends on it is read with.
    pub(super) fn bind_or(&self, otherwise: IpAddr) -> Result<IpAddr, ConfigError> {
        let address = values::local_host(self.bind.unwrap_or(otherwise));
        address.map_err(|reason| ConfigError::new(format!("--bind: {reason}")))
    }

    /// Applies ports, then names.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        for port in &self.ports {
            port.apply(config)?;
        }
        if let Some(name) = self.only.iter().find(|name| config.services.iter().all(|s| s.name != **name)) {
            return Err(unknown_service(name, config));
        }
        let is_served = |name: &String| self.only.is_empty() || self.only.contains(name);
        if let Some(port) = self.ports.iter().find(|port| !is_served(&port.name)) {
            let name = &port.name;
            return Err(ConfigError::new(format!(
                "--port {port}: {name} is not served; --only leaves it out"
            )));
        }
        config.services.retain(|service| is_served(&service.name));
        Ok(())
    }
}

impl PortOverride {
    fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let Some(service) = config.services.iter_mut().find(|service| service.name == self.name) else {
            return Err(unknown_service(&self.name, config));
        };
        let Some(transport) = self.transport else {
            for (transport, has) in
                [(Transport::Tcp, service.tcp.is_some()), (Transport::Udp, service.udp.is_some())]
            {
                if has {
                    service.set_port(transport, self.port);
                }
            }
            return Ok(());
        };
        let entry = catalog::find(service.kind.name());
        let speaks = match transport {
            Transport::Tcp => entry.is_some_and(|entry| entry.tcp.is_some()),
            Transport::Udp => entry.is_some_and(|entry| entry.udp.is_some()),
        };
        if !speaks {
            let kind = service.kind.name();
            return Err(ConfigError::new(format!("--port {self}: {kind} does not speak {transport}")));
        }
        service.set_port(transport, self.port);
        Ok(())
    }
}

fn unknown_service(name: &str, config: &Config) -> ConfigError {
    let known: Vec<_> = config.services.iter().map(|service| service.name.as_str()).collect();
    ConfigError::new(format!("there is no service {name:?}; there are {}", known.join(", ")))
}
