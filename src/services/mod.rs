//! The services: one file each, and the catalog of them.
//!
//! None of them names a socket or a clock: each is a state machine behind
//! [`Service`](crate::service::Service), and its tests run in memory. In front
//! of it stands its [`Description`]: what a config file can say about it, and
//! which sockets it needs.

pub mod beacon;
pub mod chat;
mod conversation;
pub mod discard;
pub mod discovery;
pub mod echo;
pub mod hello;
pub mod json;
pub mod multicast;
pub mod number;
pub mod quote;
pub mod time;
pub mod upper;

use std::net::Ipv4Addr;

use crate::config::Description;

/// Every service, in the order in which people read about them.
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
];

/// The broadcast address of 127.0.0.0/8.
const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

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
}
