//! The loop guard: which sources are never answered, because they would answer in
//! turn.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::service::sockets::is_broadcast;

/// Source ports of services that answer whatever they are sent: none, echo,
/// daytime, qotd, chargen, time, dns, tftp, ntp. To answer them would make an
/// endless loop (CVE-2024-2169).
const ANSWERING_PORTS: [u16; 9] = [0, 7, 13, 17, 19, 37, 53, 69, LAST_ANSWERING_PORT];
const LAST_ANSWERING_PORT: u16 = 123;

/// The addresses of our own UDP sockets, and who else is never answered.
///
/// The guard is asked once per datagram, and there may be thousands of sockets. So
/// it finds them by their port, which nearly no source shares.
#[derive(Debug, Default)]
pub(crate) struct LoopGuard(BTreeMap<u16, Vec<IpAddr>>);

impl LoopGuard {
    /// Adds a socket of ours.
    pub fn add(&mut self, address: SocketAddr) {
        self.0.entry(address.port()).or_default().push(address.ip().to_canonical());
    }

    /// Removes a socket of ours. Another one on the same address still counts.
    pub fn remove(&mut self, address: SocketAddr) {
        let Some(bound) = self.0.get_mut(&address.port()) else { return };
        if let Some(at) = bound.iter().position(|ip| *ip == address.ip().to_canonical()) {
            bound.swap_remove(at);
        }
        if bound.is_empty() {
            self.0.remove(&address.port());
        }
    }

    /// Whether a datagram must be ignored, because its answer would go to something
    /// that answers in turn, or to many. `to` is the address of ours that it was
    /// sent to, if that is known.
    pub fn would_loop(&self, from: SocketAddr, to: Option<IpAddr>) -> bool {
        let ip = from.ip().to_canonical();
        let answers = from.port() <= LAST_ANSWERING_PORT && ANSWERING_PORTS.contains(&from.port());
        if answers || ip.is_multicast() || is_broadcast(ip) {
            return true;
        }
        let Some(bound) = self.0.get(&from.port()) else { return false };
        let is_ours = ip.is_loopback() || to.map(|to| to.to_canonical()) == Some(ip);
        bound.iter().any(|bound| *bound == ip || bound.is_unspecified() && is_ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn guard(ours: &[&str]) -> LoopGuard {
        let mut guard = LoopGuard::default();
        ours.iter().for_each(|address| guard.add(at(address)));
        guard
    }

    #[test]
    fn what_answers_by_itself_is_never_answered() {
        let guard = guard(&[]);
        for port in [0, 7, 13, 17, 19, 37, 53, 69, 123] {
            assert!(guard.would_loop(SocketAddr::from(([10, 0, 0, 1], port)), None), "port {port}");
        }
        assert!(guard.would_loop(at("255.255.255.255:40000"), None));
        assert!(guard.would_loop(at("127.255.255.255:40000"), None));
        assert!(guard.would_loop(at("224.0.0.1:40000"), None));
        assert!(!guard.would_loop(at("10.0.0.1:40000"), None));
    }

    #[test]
    fn our_own_sockets_are_never_answered() {
        let guard = guard(&["127.0.0.1:3333", "0.0.0.0:12000"]);
        assert!(guard.would_loop(at("127.0.0.1:3333"), None));
        assert!(!guard.would_loop(at("127.0.0.2:3333"), None));
        assert!(guard.would_loop(at("127.0.0.1:12000"), None));
        let here = "192.0.2.1".parse().ok();
        assert!(guard.would_loop(at("192.0.2.1:12000"), here));
        assert!(!guard.would_loop(at("192.0.2.9:12000"), here), "another machine may use the port");
    }

    #[test]
    fn an_ipv4_source_is_known_in_its_ipv6_form_too() {
        let guard = guard(&["[::ffff:127.0.0.1]:3333", "[::]:12000"]);
        for source in ["127.0.0.1:3333", "[::ffff:127.0.0.1]:3333", "127.0.0.1:12000", "[::1]:12000"] {
            assert!(guard.would_loop(at(source), None), "{source}");
        }
    }

    #[test]
    fn sockets_that_share_an_address_count_each() {
        let mut guard = guard(&["127.0.0.1:5005", "127.0.0.1:5005", "127.0.0.2:5005"]);
        guard.remove(at("127.0.0.1:5005"));
        assert!(guard.would_loop(at("127.0.0.1:5005"), None), "the second one is still there");
        guard.remove(at("127.0.0.1:5005"));
        assert!(!guard.would_loop(at("127.0.0.1:5005"), None));
        assert!(guard.would_loop(at("127.0.0.2:5005"), None));
    }
}
