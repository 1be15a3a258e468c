//! Who on the networks of this machine answers.
//!
//! A datagram to a host of one's own network waits in the kernel until that host has
//! answered a question for its hardware address (ARP, or neighbour discovery over IPv6),
//! for three seconds if nobody does. All that while it takes room in the send buffer of
//! its socket, which all peers of the socket share.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::interfaces::Network;

/// What the kernel knows of the networks that the machine is attached to, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbourhood {
    pub networks: Vec<Network>,
    /// The hosts that have answered, or asked for us.
    pub reached: HashSet<IpAddr>,
}

impl Neighbourhood {
    /// Whether nothing waits that is sent to this address: it is one of our own, behind a
    /// router, or that of a host that has been reached.
    pub fn takes(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback()
            || self.reached.contains(&address)
            || !self.networks.iter().any(|network| network.has(address))
            || self.networks.iter().any(|network| network.own_address() == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_host_of_our_network_that_was_not_reached_may_keep_datagrams_waiting() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let networks = vec![Network::new(at("192.0.2.10"), 24), Network::new(at("2001:db8::1"), 64)];
        let reached = HashSet::from([at("192.0.2.7"), at("2001:db8::7")]);
        let neighbourhood = Neighbourhood { networks, reached };
        for taken in
            ["127.0.0.1", "192.0.2.10", "192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1", "2001:db8::7"]
        {
            assert!(neighbourhood.takes(at(taken)), "{taken}");
        }
        for waits in ["192.0.2.8", "::ffff:192.0.2.8", "2001:db8::8"] {
            assert!(!neighbourhood.takes(at(waits)), "{waits}");
        }
    }
}
