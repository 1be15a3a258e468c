//! How often one member may speak.

use std::time::{Duration, Instant};

use crate::service::{Rate, TokenBucket};

/// A member that keeps sending over its rate for this long is dropped: nobody
/// types like that, and slowing it down has not helped.
const PATIENCE: Duration = Duration::from_secs(10);
/// Refusals further apart than this belong to two floods. It is longer than the time
/// between two tokens at the lowest rate, one per second.
const BREAK: Duration = Duration::from_secs(2);

/// Counts one member's messages against the rate.
#[derive(Debug)]
pub(super) struct Throttle {
    bucket: TokenBucket,
    flood: Option<Flood>,
}

/// When the first and the last message of a flood were refused.
#[derive(Debug, Clone, Copy)]
struct Flood {
    since: Instant,
    last: Instant,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admitted,
    /// Not before this time. The first refusal after a break begins a flood.
    Refused {
        until: Instant,
        begins: bool,
    },
    /// The member has been refused for too long.
    Flooding,
}

impl Throttle {
    pub fn new(rate: Rate, now: Instant) -> Throttle {
        Throttle { bucket: TokenBucket::new(rate, now), flood: None }
    }

    /// Asks for one message.
    pub fn ask(&mut self, rate: Rate, now: Instant) -> Verdict {
        if self.bucket.take(rate, now) {
            return Verdict::Admitted;
        }
        let going_on = self.flood.filter(|flood| now.duration_since(flood.last) <= BREAK);
        let flood = Flood { since: going_on.map_or(now, |flood| flood.since), last: now };
        self.flood = Some(flood);
        if flood.last.duration_since(flood.since) >= PATIENCE {
            return Verdict::Flooding;
        }
        // A millisecond at least: what is missing can be too little to measure.
        let until = self.bucket.next_token(rate).max(now + Duration::from_millis(1));
        Verdict::Refused { until, begins: going_on.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 5, loopback: true };

    #[test]
    fn after_the_burst_messages_wait_for_their_tokens() {
        let start = Instant::now();
        let mut throttle = Throttle::new(RATE, start);
        assert!((0..5).all(|_| throttle.ask(RATE, start) == Verdict::Admitted));
        let Verdict::Refused { until, begins: true } = throttle.ask(RATE, start) else { panic!() };
        assert!(until > start && until <= start + Duration::from_millis(101));
        assert_eq!(throttle.ask(RATE, until + Duration::from_millis(1)), Verdict::Admitted);
    }

    #[test]
    fn ten_seconds_of_refusals_are_a_flood_and_a_break_ends_it() {
        let start = Instant::now();
        let flood = |throttle: &mut Throttle, from: Instant, seconds: u64| {
            (0..seconds * 100).find_map(|step| {
                let now = from + Duration::from_millis(step * 10);
                (throttle.ask(RATE, now) == Verdict::Flooding).then_some(now - from)
            })
        };
        let mut throttle = Throttle::new(RATE, start);
        assert_eq!(flood(&mut throttle, start, 9), None);
        let again = start + Duration::from_secs(12);
        let after = flood(&mut throttle, again, 15).unwrap();
        assert!(after >= PATIENCE && after < PATIENCE + Duration::from_secs(1), "{after:?}");
    }

    #[test]
    fn a_flood_begins_once_and_again_after_a_break() {
        let start = Instant::now();
        let mut throttle = Throttle::new(RATE, start);
        let mut beginnings = |from: Instant| {
            let asked = (0..100).map(|_| throttle.ask(RATE, from));
            asked.filter(|verdict| matches!(verdict, Verdict::Refused { begins: true, .. })).count()
        };
        assert_eq!(beginnings(start), 1);
        assert_eq!(beginnings(start + BREAK), 0);
        assert_eq!(beginnings(start + BREAK * 2 + Duration::from_millis(1)), 1);
    }

    #[test]
    fn who_keeps_to_the_rate_is_never_refused() {
        let start = Instant::now();
        let mut throttle = Throttle::new(RATE, start);
        let keeps = |step: u32| throttle.ask(RATE, start + step * Duration::from_millis(101));
        assert!((0..1_000).map(keeps).all(|verdict| verdict == Verdict::Admitted));
    }
}
