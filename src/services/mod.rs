//! The services: one file each, and the catalog of them.
//!
//! No service touches a socket or a clock: each is a state machine behind
//! [`Service`](crate::service::Service), tested in memory. Its [`Description`] says what
//! a config file can set, and which sockets the service needs.

pub mod beacon;
pub mod chat;
mod conversation;
pub mod discard;
pub mod discovery;
pub mod echo;
pub mod file;
pub mod hello;
pub mod json;
pub mod multicast;
pub mod number;
pub mod quote;
pub mod tftp;
pub mod time;
mod transfers;
pub mod upload;
pub mod upper;

#[cfg(test)]
use std::path::Path;

use crate::config::Description;
#[cfg(test)]
use crate::config::{Config, Overrides, ServiceConfig};

/// Every service, in the order in which help and documents list them.
pub static CATALOG: &[&Description] = &[
    &echo::DESCRIPTION,
    &upper::DESCRIPTION,
    &time::DESCRIPTION,
    &number::DESCRIPTION,
    &json::DESCRIPTION,
    &chat::DESCRIPTION,
    &hello::DESCRIPTION,
    &beacon::DESCRIPTION,
    &discovery::DESCRIPTION,
    &multicast::DESCRIPTION,
    &discard::DESCRIPTION,
    &quote::DESCRIPTION,
    &file::DESCRIPTION,
    &upload::DESCRIPTION,
    &tftp::DESCRIPTION,
];

/// Reads a service's table with these lines, and returns the service or what is wrong.
/// Services test their keys with it.
#[cfg(test)]
fn configured(kind: &'static Description, lines: &str) -> Result<ServiceConfig, String> {
    let text = format!("[services.{}]\n{lines}\n", kind.name);
    let config = Config::parse(&[kind], &text, Path::new("lab.toml"), &Overrides::default());
    config.map(|mut config| config.services.remove(0)).map_err(|errors| errors.to_string())
}

/// Checks that each table is refused with one error, at this line and column, whose
/// sentence contains this part.
#[cfg(test)]
fn refused(kind: &'static Description, cases: &[(&str, (usize, usize), &str)]) {
    for (lines, (line, column), part) in cases {
        let error = configured(kind, lines).expect_err(lines);
        assert!(error.starts_with(&format!("lab.toml:{line}:{column}: ")), "{lines}\n{error}");
        assert!(error.contains(part), "{lines}\n{error}");
        assert_eq!(error.matches("lab.toml:").count(), 1, "{lines}\n{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_service_has_a_name_of_its_own_and_a_port() {
        let names: BTreeSet<_> = CATALOG.iter().map(|description| description.name).collect();
        assert_eq!(names.len(), CATALOG.len());
        for description in CATALOG {
            assert!(description.tcp.is_some() || description.udp.is_some(), "{}", description.name);
        }
    }

    #[test]
    fn the_line_about_a_service_begins_with_a_verb() {
        for Description { name, about, .. } in CATALOG {
            let first = about.split(' ').next().unwrap();
            let is_verb = first.ends_with('s') && first.chars().all(|c| c.is_ascii_lowercase());
            assert!(is_verb, "{name}: {about}");
        }
    }
}
