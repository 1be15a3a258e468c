//! UDP sockets: opening them, and who is never answered.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::batch::FEWEST_A_CALL;
use crate::reactor::readiness::Latch;
use crate::service::limits::Rate;
use crate::service::options::SocketOptions;
use crate::service::rooms::Room;
use crate::service::sockets::{DatagramSpec, is_broadcast};
use crate::service::token_bucket::TokenBucket;
use crate::system::{DatagramSocket, System};

/// A UDP socket of a service.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub socket: DatagramSocket,
    pub host: u32,
    pub listens_only: bool,
    /// Messages that the next call asks for: what it has room for costs, too.
    pub batch: usize,
    pub latch: Latch,
    /// The room that it publishes to: while that is full, it is left unread.
    pub room: Option<Room>,
}

impl Datagram {
    pub fn open(
        system: &System,
        spec: &DatagramSpec,
        options: &SocketOptions,
        host: u32,
    ) -> io::Result<Datagram> {
        Ok(Datagram {
            socket: system.open_datagram(spec, options)?,
            host,
            listens_only: spec.listens_only,
            batch: FEWEST_A_CALL,
            latch: Latch::default(),
            room: None,
        })
    }

    pub fn port(&self) -> u16 {
        self.socket.address().port()
    }
}

/// Source ports of services that answer whatever they are sent; answering
/// them would make an endless loop (CVE-2024-2169): none, echo, daytime, qotd,
/// chargen, time, dns, tftp, ntp.
const ANSWERING_PORTS: [u16; 9] = [0, 7, 13, 17, 19, 37, 53, 69, LAST_ANSWERING_PORT];
const LAST_ANSWERING_PORT: u16 = 123;

/// Whether a datagram must be ignored: its answer would go to something that
/// answers in turn, or to many.
pub(crate) fn would_loop(from: SocketAddr, to: Option<IpAddr>, ours: &[SocketAddr]) -> bool {
    let ip = from.ip().to_canonical();
    let answers = from.port() <= LAST_ANSWERING_PORT && ANSWERING_PORTS.contains(&from.port());
    if answers || ip.is_multicast() || is_broadcast(ip) {
        return true;
    }
    ours.iter().any(|address| {
        let bound = address.ip().to_canonical();
        address.port() == from.port()
            && (bound == ip
                || bound.is_unspecified() && (ip.is_loopback() || to.map(|to| to.to_canonical()) == Some(ip)))
    })
}

/// Answers a second of each service to each source address.
#[derive(Debug, Default)]
pub(crate) struct AnswerLimit(HashMap<(u32, IpAddr), TokenBucket>);

/// Sources remembered at once; with more, all start afresh. It bounds what an
/// attacker with forged sources can make the daemon hold.
const SOURCES: usize = 16_384;

impl AnswerLimit {
    pub fn admits(&mut self, host: u32, source: IpAddr, rate: Rate, now: Instant) -> bool {
        if rate.per_second == 0 || (source.is_loopback() && !rate.loopback) {
            return true;
        }
        if self.0.len() >= SOURCES && !self.0.contains_key(&(host, source)) {
            self.0.clear();
        }
        self.0.entry((host, source)).or_insert_with(|| TokenBucket::new(rate, now)).take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_answers_by_itself_is_never_answered() {
        for port in [0, 7, 13, 17, 19, 37, 53, 69, 123] {
            assert!(would_loop(SocketAddr::from(([10, 0, 0, 1], port)), None, &[]), "port {port}");
        }
        assert!(would_loop(at("255.255.255.255:40000"), None, &[]));
        assert!(would_loop(at("127.255.255.255:40000"), None, &[]));
        assert!(would_loop(at("224.0.0.1:40000"), None, &[]));
        assert!(!would_loop(at("10.0.0.1:40000"), None, &[]));
    }

    #[test]
    fn our_own_sockets_are_never_answered() {
        let ours = [at("127.0.0.1:3333"), at("0.0.0.0:12000")];
        assert!(would_loop(at("127.0.0.1:3333"), None, &ours));
        assert!(!would_loop(at("127.0.0.2:3333"), None, &ours));
        assert!(would_loop(at("127.0.0.1:12000"), None, &ours));
        let here = "192.0.2.1".parse().ok();
        assert!(would_loop(at("192.0.2.1:12000"), here, &ours));
        assert!(!would_loop(at("192.0.2.9:12000"), here, &ours), "another machine may use the port");
    }

    #[test]
    fn the_answer_limit_spares_loopback_unless_it_was_set() {
        let now = Instant::now();
        let mut limit = AnswerLimit::default();
        let unset = Rate { per_second: 2, burst: 2, loopback: false };
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!((0..100).all(|_| limit.admits(0, loopback, unset, now)));
        assert_eq!((0..100).filter(|_| limit.admits(0, [192, 0, 2, 1].into(), unset, now)).count(), 2);
        assert_eq!(
            (0..100).filter(|_| limit.admits(0, loopback, Rate { loopback: true, ..unset }, now)).count(),
            2
        );
    }
}
