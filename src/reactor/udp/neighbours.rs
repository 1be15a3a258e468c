//! Keeps hosts that are not there from taking the send buffer of those that are.
//!
//! Sources can be forged, and what is sent to a host of one's own network that is not
//! there stays in the socket's buffer for three seconds (see `Neighbourhood`): a few
//! hundred answers are enough to fill it, and then nobody is answered. So when a buffer
//! is full, the kernel is asked who has been reached, and for a while the others on those
//! networks are sent no more than a few datagrams. A host that is there need not wait for
//! one of them: it asks for our own hardware address before it sends us anything, and the
//! kernel has reached it then.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::service::TokenBucket;
use crate::service::limits::Rate;
use crate::system::Neighbourhood;

/// For how long after a buffer was full the others are sent little.
const WATCHFUL: Duration = Duration::from_secs(30);
/// The least time between two questions to the kernel, each of which takes some 100 µs.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// What all hosts that have not been reached are sent together, meanwhile: a host that is
/// there and unknown all the same is reached by one datagram. Within three seconds this
/// is no more than 48, and with the largest of them 3 % of the buffer.
const TRIES: Rate = Rate { per_second: 16, burst: 16, loopback: false };
/// A datagram for an unreached host is at most this long, or waits in many pieces.
const LONGEST_TRY: usize = 1472;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    until: Instant,
    asked: Instant,
    known: Neighbourhood,
    tries: TokenBucket,
}

impl Neighbours {
    /// The kernel has refused a datagram, since the send buffer is full.
    pub fn buffer_is_full(&mut self, now: Instant, ask: impl FnOnce() -> io::Result<Neighbourhood>) {
        match &mut self.watch {
            Some(watch) => watch.until = now + WATCHFUL,
            None => {
                let tries = TokenBucket::new(TRIES, now);
                let known = ask().unwrap_or_default();
                self.watch = Some(Watch { until: now + WATCHFUL, asked: now, known, tries });
            }
        }
    }

    /// Whether a datagram of so many bytes may be sent to an address that is known only as
    /// a source.
    #[inline]
    pub fn admit(
        &mut self,
        address: IpAddr,
        length: usize,
        now: Instant,
        ask: impl FnOnce() -> io::Result<Neighbourhood>,
    ) -> bool {
        self.watch.is_none() || self.admit_watchfully(address, length, now, ask)
    }

    #[cold]
    fn admit_watchfully(
        &mut self,
        address: IpAddr,
        length: usize,
        now: Instant,
        ask: impl FnOnce() -> io::Result<Neighbourhood>,
    ) -> bool {
        let Some(watch) = self.watch.as_mut().filter(|watch| now < watch.until) else {
            self.watch = None;
            return true;
        };
        if watch.known.takes(address) {
            return true;
        }
        if now.duration_since(watch.asked) >= ASK_EVERY {
            watch.asked = now;
            // If no descriptor is left, the last answer has to do.
            if let Ok(known) = ask() {
                watch.known = known;
            }
            if watch.known.takes(address) {
                return true;
            }
        }
        length <= LONGEST_TRY && watch.tries.take(TRIES, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::Network;
    use std::collections::HashSet;

    fn at(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn with_hosts(reached: &[u8]) -> io::Result<Neighbourhood> {
        let reached: HashSet<IpAddr> = reached.iter().map(|last| at(*last)).collect();
        Ok(Neighbourhood { networks: vec![Network::new(at(10), 24)], reached })
    }

    fn unasked() -> io::Result<Neighbourhood> {
        panic!("the kernel was asked")
    }

    #[test]
    fn nobody_is_asked_for_as_long_as_the_buffer_has_room() {
        let mut neighbours = Neighbours::default();
        assert!((0..10_000).all(|_| neighbours.admit(at(7), 100, Instant::now(), unasked)));
    }

    #[test]
    fn hosts_that_were_not_reached_share_a_few_datagrams_while_a_buffer_was_full() {
        let start = Instant::now();
        let mut neighbours = Neighbours::default();
        neighbours.buffer_is_full(start, || with_hosts(&[7]));
        let mut sent = |last: u8, length: usize, now: Instant| {
            (0..1000).filter(|_| neighbours.admit(at(last), length, now, || with_hosts(&[7, 8]))).count()
        };
        assert_eq!(sent(7, 60_000, start), 1000);
        assert_eq!(sent(8, 1473, start), 0, "too long for a try");
        assert_eq!(sent(8, 100, start), 16);
        assert_eq!(sent(9, 100, start), 0);
        assert_eq!(sent(9, 100, start + ASK_EVERY), 3);
        assert_eq!(sent(8, 60_000, start + ASK_EVERY), 1000, "it has been reached");
        assert_eq!(sent(9, 100, start + WATCHFUL - Duration::from_millis(1)), 16);
        assert_eq!(sent(9, 60_000, start + WATCHFUL), 1000, "no longer watched");
    }

    #[test]
    fn a_buffer_that_is_full_again_is_watched_for_longer() {
        let start = Instant::now();
        let mut neighbours = Neighbours::default();
        neighbours.buffer_is_full(start, || with_hosts(&[]));
        neighbours.buffer_is_full(start + WATCHFUL / 2, unasked);
        assert!(!neighbours.admit(at(9), 60_000, start + WATCHFUL, || with_hosts(&[])));
        assert!(neighbours.admit(at(9), 60_000, start + WATCHFUL * 3 / 2, unasked));
    }
}
