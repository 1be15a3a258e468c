//! What a run is to do: how many connections, how much load, for how long.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Bounds of the time between two reports: the shortest that a user may ask for,
/// which is the time between two ticks, and the longest that a run chooses by
/// itself.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// The load of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub connections: usize,
    pub load: Load,
    /// Time over which the connections are opened.
    pub ramp: Duration,
    /// How long nothing is sent once all of them are open.
    pub settle: Duration,
    /// How long there is load before the measurement begins.
    pub warmup: Duration,
    pub length: Length,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The time between two reports.
    pub interval: Duration,
    pub seed: u64,
    pub sources: Option<Sources>,
}

/// Decides when the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// Once an earlier one is answered: `depth` requests are in flight per
    /// connection.
    Closed { depth: usize },
    /// When it is due, at `rate` per second over all connections; or when one of
    /// the `depth` requests in flight on its connection is answered, if that is
    /// later.
    Open { rate: f64, depth: usize },
}

impl Load {
    /// How many requests may be in flight per connection.
    pub fn depth(&self) -> usize {
        match self {
            Load::Closed { depth } | Load::Open { depth, .. } => *depth,
        }
    }
}

/// How long the measurement lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    For(Duration),
    Messages(u64),
}

impl Length {
    /// The time between two reports, chosen so that a short run has about ten of
    /// them and a long one not too many.
    pub fn interval(&self) -> Duration {
        match self {
            Length::For(time) => (*time / 10).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL),
            // Nobody knows how long the messages will take.
            Length::Messages(_) => LONGEST_INTERVAL / 10,
        }
    }
}

/// The uniform schedule of an open loop: request `n` is due `n / rate` seconds
/// after the beginning, and goes to connection `n` modulo the number of
/// connections.
#[derive(Debug, Clone)]
pub struct Schedule {
    begin: Instant,
    rate: f64,
    /// The next request that has not been handed out.
    next: u64,
    /// Where the schedule stops: there is no request with this number.
    end: u64,
}

impl Schedule {
    pub fn new(begin: Instant, rate: f64) -> Schedule {
        Schedule { begin, rate, next: 0, end: u64::MAX }
    }

    /// When a request is due.
    pub fn due(&self, number: u64) -> Instant {
        // A run lasts at most a year, so this cannot overflow.
        self.begin + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many requests have been handed out.
    pub fn given_out(&self) -> u64 {
        self.next
    }

    /// When the next request falls due; in the past if one is waiting to be
    /// handed out.
    pub fn next_at(&self) -> Instant {
        self.due(self.next)
    }

    /// The next request, if it is due.
    pub fn next_due(&mut self, now: Instant) -> Option<u64> {
        let number = self.next;
        (number < self.end && self.due(number) <= now).then(|| {
            self.next += 1;
            number
        })
    }

    /// Drops all requests that are due at or after `time`.
    pub fn limit_to(&mut self, time: Instant) {
        let passed = time.saturating_duration_since(self.begin);
        let mut end = (passed.as_secs_f64() * self.rate) as u64;
        while self.due(end) < time {
            end += 1;
        }
        self.end = end.max(self.next);
    }

    /// Lets only this many more requests fall due.
    pub fn limit(&mut self, more: u64) {
        self.end = self.next.saturating_add(more);
    }

    pub fn is_over(&self) -> bool {
        self.next >= self.end
    }

    /// When the time slot of the last request is over, and the next one would be
    /// due.
    pub fn ends_at(&self) -> Instant {
        self.due(self.end)
    }

    /// Whether the schedule is over, including the time slot of its last request.
    pub fn has_passed(&self, now: Instant) -> bool {
        self.is_over() && self.ends_at() <= now
    }

    /// How many requests have not fallen due yet, if the schedule has an end.
    pub fn left(&self) -> u64 {
        if self.end == u64::MAX { 0 } else { self.end - self.next }
    }
}

/// Local addresses to connect from in turn: a network in the notation of RFC
/// 4632, such as `127.0.0.0/8`, or a single address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The text as it was written.
    text: String,
    first: IpAddr,
    count: u64,
    next: u64,
}

impl Sources {
    /// The next address, with port 0.
    pub fn next_address(&mut self) -> SocketAddr {
        let ip = self.address(self.next);
        self.next += 1;
        SocketAddr::new(ip, 0)
    }

    /// The address handed out last, or else the first one.
    pub fn last_address(&self) -> IpAddr {
        self.address(self.next.saturating_sub(1))
    }

    fn address(&self, number: u64) -> IpAddr {
        let offset = number % self.count;
        match self.first {
            IpAddr::V4(first) => IpAddr::V4((first.to_bits() + offset as u32).into()),
            IpAddr::V6(first) => IpAddr::V6((first.to_bits() + u128::from(offset)).into()),
        }
    }

    /// Whether these addresses can reach an address of this family.
    pub fn fits(&self, to: SocketAddr) -> bool {
        self.first.is_ipv4() == to.is_ipv4()
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Sources {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Sources, Self::Err> {
        const WRONG: &str = "give an address or a network, as in 127.0.0.1 or 127.0.0.0/8";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| WRONG)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(|_| WRONG))?;
        if prefix > bits {
            return Err(WRONG);
        }
        // The first and last address of a network are the network's own and its
        // broadcast address; a million addresses are more than any machine needs.
        let host_bits = (bits - prefix).min(20);
        let count = 1u64 << host_bits;
        let (count, skipped) = if count > 2 { (count - 2, 1) } else { (count, 0) };
        let first = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(bits - prefix).unwrap_or(0);
                IpAddr::V4(((address.to_bits() & mask) + skipped as u32).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(bits - prefix).unwrap_or(0);
                IpAddr::V6(((address.to_bits() & mask) + skipped).into())
            }
        };
        Ok(Sources { text: text.to_owned(), first, count, next: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_fall_due_evenly() {
        let begin = Instant::now();
        let mut schedule = Schedule::new(begin, 1000.0);
        let mut given = Vec::new();
        for millis in [0, 1, 5] {
            let mut now = 0;
            while schedule.next_due(begin + Duration::from_millis(millis)).is_some() {
                now += 1;
            }
            given.push(now);
        }
        assert_eq!(given, [1, 1, 4]);
        assert_eq!(schedule.due(500), begin + Duration::from_millis(500));
        schedule.limit(1);
        assert_eq!(schedule.next_due(begin + Duration::from_secs(9)), Some(6));
        assert_eq!(schedule.next_due(begin + Duration::from_secs(9)), None);
    }

    #[test]
    fn a_run_has_about_ten_intervals_or_one_per_second() {
        for (length, millis) in [(0, 10), (300, 30), (2000, 200), (10_000, 1000), (3_600_000, 1000)] {
            let interval = Length::For(Duration::from_millis(length)).interval();
            assert_eq!(interval, Duration::from_millis(millis), "{length} ms");
        }
        assert_eq!(Length::Messages(1).interval(), Duration::from_millis(100));
    }

    #[test]
    fn sources_go_round_a_network() {
        let addresses = |text: &str, count| {
            let mut sources: Sources = text.parse().unwrap();
            (0..count).map(|_| sources.next_address().ip().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(addresses("127.0.0.0/8", 2), ["127.0.0.1", "127.0.0.2"]);
        assert_eq!(addresses("127.1.2.3/30", 3), ["127.1.2.1", "127.1.2.2", "127.1.2.1"]);
        let mut sources: Sources = "127.1.2.3/30".parse().unwrap();
        assert_eq!(sources.last_address().to_string(), "127.1.2.1");
        assert_eq!((1..=2).map(|_| sources.next_address().ip()).last(), Some(sources.last_address()));
        assert_eq!(addresses("127.0.0.9", 2), ["127.0.0.9", "127.0.0.9"]);
        assert_eq!(addresses("fd00::/64", 2), ["fd00::1", "fd00::2"]);
        for wrong in ["", "localhost", "127.0.0.0/33", "127.0.0.0/x", "127.0.0/8"] {
            assert!(wrong.parse::<Sources>().is_err(), "{wrong}");
        }
    }
}
