//! Whose datagrams make them members.
//!
//! A source can be forged, and whoever is a member is sent what others say. So a
//! datagram from the other end of the world is no reason to send there.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::config::values::{self, Read, Toml};
use crate::interfaces::{Network, attached_networks};

/// Networks come and go, with a cable or a wireless network that is chosen. Listing
/// them takes some 50 µs, and every stranger asks for it.
const LIST_NETWORKS_EVERY: Duration = Duration::from_secs(5);

/// Who can join over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Members {
    /// This machine and the networks that it is attached to.
    Local,
    /// Everybody.
    Any,
    /// Nobody.
    None,
}

/// Reads the key `members`.
pub(super) fn members(value: &Toml<'_>) -> Read<Members> {
    match values::text(value)?.as_str() {
        "local" => Ok(Members::Local),
        "any" => Ok(Members::Any),
        "none" => Ok(Members::None),
        other => Err(format!("{other:?} is not \"local\", \"any\" or \"none\"")),
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Members::Local => r#""local""#,
            Members::Any => r#""any""#,
            Members::None => r#""none""#,
        })
    }
}

impl Members {
    /// What somebody is told who cannot join.
    pub(super) fn words(self) -> &'static str {
        match self {
            Members::Local => "* only peers on this network can join over UDP, use TCP\n",
            Members::Any | Members::None => "* nobody can join over UDP, use TCP\n",
        }
    }
}

type ListNetworks = fn() -> io::Result<Vec<Network>>;

/// Decides who can join, with the networks as they were last listed.
#[derive(Debug)]
pub(super) struct Admission {
    members: Members,
    list: ListNetworks,
    networks: Vec<Network>,
    listed: Option<Instant>,
}

impl Admission {
    pub fn new(members: Members) -> Admission {
        Admission { members, list: attached_networks, networks: Vec::new(), listed: None }
    }

    #[cfg(test)]
    pub fn with_networks(list: ListNetworks) -> Admission {
        Admission { list, ..Admission::new(Members::Local) }
    }

    /// By which rule an address cannot join, if it cannot.
    pub fn refusal(&mut self, address: IpAddr, now: Instant) -> Option<Members> {
        let address = address.to_canonical();
        let can_join = match self.members {
            Members::Any => true,
            Members::None => false,
            Members::Local => address.is_loopback() || self.is_near(address, now),
        };
        (!can_join).then_some(self.members)
    }

    fn is_near(&mut self, address: IpAddr, now: Instant) -> bool {
        if self.listed.is_none_or(|listed| now.duration_since(listed) >= LIST_NETWORKS_EVERY) {
            self.listed = Some(now);
            // If the kernel is out of memory or descriptors, the last list has to do.
            if let Ok(networks) = (self.list)() {
                self.networks = networks;
            }
        }
        self.networks.iter().any(|network| network.has(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn class() -> io::Result<Vec<Network>> {
        Ok(vec![Network::new(at("10.9.0.1"), 24), Network::new(at("fe80::1"), 64)])
    }

    #[test]
    fn by_default_the_machine_and_its_networks_can_join() {
        let mut local = Admission::with_networks(class);
        let now = Instant::now();
        for near in ["127.0.0.9", "::1", "10.9.0.200", "::ffff:10.9.0.3", "fe80::7"] {
            assert_eq!(local.refusal(at(near), now), None, "{near}");
        }
        for far in ["10.9.1.1", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(local.refusal(at(far), now), Some(Members::Local), "{far}");
        }
        assert_eq!(Admission::new(Members::Any).refusal(at("192.0.2.1"), now), None);
        let none = Admission::new(Members::None).refusal(at("127.0.0.1"), now);
        assert_eq!(none, Some(Members::None));
    }

    #[test]
    fn strangers_do_not_make_it_list_the_networks_each_time() {
        thread_local!(static LISTED: Cell<u32> = const { Cell::new(0) });
        let mut local = Admission::with_networks(|| {
            LISTED.set(LISTED.get() + 1);
            class()
        });
        let start = Instant::now();
        for step in 0..100 {
            local.refusal(at("192.0.2.1"), start + step * Duration::from_millis(100));
        }
        assert_eq!(LISTED.get(), 2);
    }
}
