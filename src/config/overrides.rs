//! What the command line changes: `--bind`, `--only`, `--port`. And the disk, which a test
//! changes.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::error::Findings;
use super::planning::Draft;
use super::{ConfigError, Transport, values};
use crate::disk::Disk;
use crate::wording::nearest;

/// What the command line says on top of a file, or of the built-in configuration.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The address of every service that does not name its own.
    pub bind: Option<IpAddr>,
    /// The services to serve; all of them if this is empty.
    pub only: Vec<String>,
    /// The ports to use instead, at most one per service and transport.
    pub ports: Vec<PortOverride>,
    /// Where services keep their files: the machine's own disks, unless a test hands them one
    /// in memory.
    pub disk: Disk,
}

/// Another port for a service: `echo=4000`, `echo/udp=0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOverride {
    /// The service's name.
    pub name: String,
    /// Which of its ports; all that it has if `None`.
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
    /// The bind address: that of the command line, or else `otherwise`.
    pub(super) fn bind_or(&self, otherwise: IpAddr, findings: &mut Findings) -> IpAddr {
        let Some(address) = self.bind else { return otherwise };
        values::local_host(address).unwrap_or_else(|reason| {
            findings.of_command_line(format!("--bind: {reason}"));
            otherwise
        })
    }

    /// Whether a service is left in.
    pub(super) fn serves(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Sets the ports, and checks that every name is that of a service.
    pub(super) fn apply(&self, drafts: &mut [Draft<'_>], findings: &mut Findings) {
        // What a name without a transport means must not depend on the order of the options.
        let mut changes = Vec::new();
        for port in &self.ports {
            match port.changes(drafts) {
                Ok(found) => changes.extend(found.into_iter().map(|change| (change, port))),
                Err(sentence) => findings.of_command_line(sentence),
            }
        }
        let mut seen: HashMap<(usize, Transport), &PortOverride> = HashMap::new();
        let mut twice = Vec::new();
        for ((service, transport), port) in changes {
            if let Some(earlier) = seen.insert((service, transport), port) {
                // One sentence is enough for two ports.
                if !twice.contains(&(earlier, port)) {
                    twice.push((earlier, port));
                    findings.of_command_line(format!(
                        "--port {earlier} and --port {port} both set the {} port of {}; leave one out",
                        transport.to_string().to_uppercase(),
                        port.name
                    ));
                }
            }
            drafts[service].set_port(transport, port.port);
        }
        for name in &self.only {
            if !drafts.iter().any(|draft| draft.name == *name) {
                findings.of_command_line(unknown_service(name, drafts));
            }
        }
        for port in self.ports.iter().filter(|port| !self.serves(&port.name)) {
            let name = &port.name;
            if drafts.iter().any(|draft| draft.name == *name) {
                findings
                    .of_command_line(format!("--port {port}: {name} is not served; --only leaves it out"));
            }
        }
    }
}

impl PortOverride {
    /// The ports that it sets: the index of the service, and the transport.
    fn changes(&self, drafts: &[Draft<'_>]) -> Result<Vec<(usize, Transport)>, String> {
        let found = drafts.iter().enumerate().find(|(_, draft)| draft.name == self.name);
        let (index, draft) = found.ok_or_else(|| unknown_service(&self.name, drafts))?;
        match self.transport {
            Some(transport) if draft.kind.port(transport).is_none() => {
                Err(format!("--port {self}: {} does not speak {transport}", draft.kind.name))
            }
            Some(transport) => Ok(vec![(index, transport)]),
            None => {
                let has = |transport: &Transport| draft.port(*transport).is_some();
                let transports = [Transport::Tcp, Transport::Udp].into_iter().filter(has);
                Ok(transports.map(|transport| (index, transport)).collect())
            }
        }
    }
}

fn unknown_service(name: &str, drafts: &[Draft<'_>]) -> String {
    let known: Vec<_> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    match nearest(name, known.iter().copied()) {
        Some(near) => format!("there is no service {name:?}; did you mean {near}?"),
        None => format!("there is no service {name:?}; there are {}", known.join(", ")),
    }
}
