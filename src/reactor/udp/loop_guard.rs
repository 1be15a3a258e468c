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

/// Our own UDP sockets, and who else is never answered.
///
/// Other daemons have the same ports as this one: if it answered a datagram that
/// claims to come from one of its configured ports, one forged datagram could start
/// two daemons answering each other for ever. A port that the system chose does not
/// count, since an honest client elsewhere may have been given the same.
///
/// The guard is asked once per datagram, and there may be thousands of sockets. So
/// it finds them by their port, which nearly no source shares.
#[derive(Debug, Default)]
pub(crate) struct LoopGuard(BTreeMap<u16, Vec<Own>>);

/// A socket of ours.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    ip: IpAddr,
    has_configured_port: bool,
}

impl Own {
    fn is_source(&self, ip: IpAddr, is_ours: bool) -> bool {
        self.has_configured_port || self.ip == ip || self.ip.is_unspecified() && is_ours
    }
}

impl LoopGuard {
    /// Adds a socket of ours.
    pub fn add(&mut self, address: SocketAddr, has_configured_port: bool) {
        let own = Own { ip: address.ip().to_canonical(), has_configured_port };
        self.0.entry(address.port()).or_default().push(own);
    }

    /// Removes a socket of ours. Another one on the same address still counts.
    pub fn remove(&mut self, address: SocketAddr, has_configured_port: bool) {
        let Some(bound) = self.0.get_mut(&address.port()) else { return };
        let own = Own { ip: address.ip().to_canonical(), has_configured_port };
        if let Some(at) = bound.iter().position(|bound| *bound == own) {
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
        bound.iter().any(|own| own.is_source(ip, is_ours))
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
        ours.iter().for_each(|address| guard.add(at(address), false));
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

    /// One forged datagram made two daemons with the same ports answer each other
    /// without end.
    #[test]
    fn a_configured_port_is_not_answered_wherever_it_is() {
        let mut guard = guard(&["127.0.0.1:40000"]);
        guard.add(at("127.0.0.1:3333"), true);
        guard.add(at("[::]:9999"), true);
        for source in ["127.0.0.2:3333", "192.0.2.9:3333", "[2001:db8::9]:9999", "192.0.2.9:9999"] {
            assert!(guard.would_loop(at(source), None), "{source}");
        }
        assert!(!guard.would_loop(at("192.0.2.9:40000"), None), "the system chose this port");
        guard.remove(at("127.0.0.1:3333"), true);
        assert!(!guard.would_loop(at("192.0.2.9:3333"), None));
    }

    #[test]
    fn sockets_that_share_an_address_count_each() {
        let mut guard = guard(&["127.0.0.1:5005", "127.0.0.1:5005", "127.0.0.2:5005"]);
        guard.remove(at("127.0.0.1:5005"), false);
        assert!(guard.would_loop(at("127.0.0.1:5005"), None), "the second one is still there");
        guard.remove(at("127.0.0.1:5005"), false);
        assert!(!guard.would_loop(at("127.0.0.1:5005"), None));
        assert!(guard.would_loop(at("127.0.0.2:5005"), None));
    }
}
