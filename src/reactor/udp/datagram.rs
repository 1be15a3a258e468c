//! UDP sockets: opening them, and limiting the answers to one source.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use super::batch::FEWEST_PER_CALL;
use crate::reactor::readiness::Latch;
use crate::service::ids::ServiceId;
use crate::service::limits::Rate;
use crate::service::options::SocketOptions;
use crate::service::rooms::Room;
use crate::service::sockets::DatagramSpec;
use crate::service::token_bucket::TokenBucket;
use crate::system::{DatagramSocket, System};

/// A UDP socket of a service.
#[derive(Debug)]
pub(crate) struct Datagram {
    pub socket: DatagramSocket,
    pub service: ServiceId,
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
        service: ServiceId,
    ) -> io::Result<Datagram> {
        Ok(Datagram {
            socket: system.open_datagram(spec, options)?,
            service,
            listens_only: spec.listens_only,
            batch: FEWEST_PER_CALL,
            latch: Latch::default(),
            room: None,
        })
    }

    pub fn port(&self) -> u16 {
        self.socket.address().port()
    }
}

/// Limits each service's answers per second to each source address.
#[derive(Debug, Default)]
pub(crate) struct AnswerLimit(HashMap<(ServiceId, IpAddr), TokenBucket>);

/// Sources remembered at once; beyond that, all start afresh. This bounds the
/// memory that an attacker with forged sources can claim.
pub(crate) const SOURCES: usize = 16_384;

impl AnswerLimit {
    #[cfg(feature = "simulated")]
    pub fn sources(&self) -> usize {
        self.0.len()
    }

    pub fn admits(&mut self, service: ServiceId, source: IpAddr, rate: Rate, now: Instant) -> bool {
        if rate.per_second == 0 || (source.is_loopback() && !rate.loopback) {
            return true;
        }
        if self.0.len() >= SOURCES && !self.0.contains_key(&(service, source)) {
            self.0.clear();
        }
        self.0.entry((service, source)).or_insert_with(|| TokenBucket::new(rate, now)).take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_limit_spares_loopback_unless_it_was_set() {
        let now = Instant::now();
        let mut limit = AnswerLimit::default();
        let unset = Rate { per_second: 2, burst: 2, loopback: false };
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!((0..100).all(|_| limit.admits(ServiceId(0), loopback, unset, now)));
        assert_eq!(
            (0..100).filter(|_| limit.admits(ServiceId(0), [192, 0, 2, 1].into(), unset, now)).count(),
            2
        );
        assert_eq!(
            (0..100)
                .filter(|_| limit.admits(ServiceId(0), loopback, Rate { loopback: true, ..unset }, now))
                .count(),
            2
        );
    }
}
