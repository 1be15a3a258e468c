//! Sessions of UDP peers, for services whose protocol has them: UDP itself has none.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Instant;

use slab::Slab;

/// How many sessions there may be. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// In all.
    pub sessions: usize,
    /// Of one IP address.
    pub per_address: usize,
    /// Whether an address of the loopback network is limited too. Nobody can forge one
    /// from outside.
    pub loopback: bool,
}

/// Why there is no place for one more session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// There are as many as there may be.
    InAll,
    /// The address has as many as it may have.
    OfAddress,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Full::InAll => "too many sessions are open",
            Full::OfAddress => "too many sessions of its address are open",
        })
    }
}

impl std::error::Error for Full {}

/// The sessions of a service over UDP, by peer or by socket. Their number is bounded, and
/// each has a deadline, so none is ever forgotten.
///
/// Call [`Context::set_tick`](super::Context::set_tick) with
/// [`next_deadline`](PeerSessions::next_deadline) when a callback has moved it, and take
/// out what has [`expired`](PeerSessions::expired) in
/// [`Service::tick`](super::Service::tick).
///
/// ```
/// use std::time::{Duration, Instant};
/// use onepoll::service::{Caps, PeerSessions};
///
/// let mut transfers = PeerSessions::new(Caps { sessions: 100, per_address: 4, loopback: false });
/// let (peer, now) = ("192.0.2.7:40000".parse().unwrap(), Instant::now());
/// transfers.insert(peer, std::net::SocketAddr::ip(&peer), "한글.txt", now + Duration::from_secs(10)).unwrap();
/// assert_eq!(transfers.get_mut(&peer), Some(&mut "한글.txt"));
/// assert_eq!(transfers.expired(now), None);
/// assert_eq!(transfers.expired(now + Duration::from_secs(10)), Some((peer, "한글.txt")));
/// ```
#[derive(Debug)]
pub struct PeerSessions<K, T> {
    caps: Caps,
    sessions: Slab<Entry<K, T>>,
    places: HashMap<K, usize>,
    per_address: HashMap<IpAddr, usize>,
    /// Cancelling is lazy: the deadline of a session is the truth, and what is here only
    /// says when to look at it.
    wake_ups: BinaryHeap<Reverse<(Instant, usize)>>,
}

#[derive(Debug)]
struct Entry<K, T> {
    key: K,
    address: IpAddr,
    session: T,
    deadline: Instant,
    /// The earliest wake-up that the heap holds for it. It is never later than the
    /// deadline.
    armed: Instant,
}

/// Fewer wake-ups than this are not worth compacting.
const WORTH_COMPACTING: usize = 64;

impl<K: Copy + Eq + Hash, T> PeerSessions<K, T> {
    /// An empty table.
    pub fn new(caps: Caps) -> PeerSessions<K, T> {
        PeerSessions {
            caps,
            sessions: Slab::new(),
            places: HashMap::new(),
            per_address: HashMap::new(),
            wake_ups: BinaryHeap::new(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether `address` may open one more.
    pub fn has_room_for(&self, address: IpAddr) -> Result<(), Full> {
        let address = address.to_canonical();
        let Caps { sessions, per_address, loopback } = self.caps;
        let is_limited = per_address > 0 && (loopback || !address.is_loopback());
        if is_limited && self.per_address.get(&address).is_some_and(|count| *count >= per_address) {
            return Err(Full::OfAddress);
        }
        if sessions > 0 && self.sessions.len() >= sessions { Err(Full::InAll) } else { Ok(()) }
    }

    /// Opens a session of `address`, which lasts until it is removed or expires. One of
    /// the same key ends, and is returned.
    ///
    /// # Errors
    /// If there is no place for it.
    pub fn insert(
        &mut self,
        key: K,
        address: IpAddr,
        session: T,
        deadline: Instant,
    ) -> Result<Option<T>, Full> {
        let address = address.to_canonical();
        let before = self.take(&key);
        if let Err(full) = self.has_room_for(address) {
            if let Some(Entry { key, address, session, deadline, .. }) = before {
                self.put(key, address, session, deadline);
            }
            return Err(full);
        }
        self.put(key, address, session, deadline);
        Ok(before.map(|entry| entry.session))
    }

    /// A session.
    pub fn get(&self, key: &K) -> Option<&T> {
        Some(&self.sessions[*self.places.get(key)?].session)
    }

    /// A session, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut T> {
        Some(&mut self.sessions[*self.places.get(key)?].session)
    }

    /// Moves the deadline of a session. A later one costs nothing but the store.
    pub fn set_deadline(&mut self, key: &K, at: Instant) {
        let Some(&place) = self.places.get(key) else { return };
        let entry = &mut self.sessions[place];
        entry.deadline = at;
        if at < entry.armed {
            entry.armed = at;
            self.arm(at, place);
        }
    }

    /// Ends a session.
    pub fn remove(&mut self, key: &K) -> Option<T> {
        self.take(key).map(|entry| entry.session)
    }

    /// When to look for what has expired. It may be too early, and is never too late.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake_ups.peek().map(|Reverse((at, _))| *at)
    }

    /// Ends a session whose deadline has passed: call it until it returns `None`. A
    /// session that only waits for something, such as for its next retransmission, is
    /// inserted again.
    pub fn expired(&mut self, now: Instant) -> Option<(K, T)> {
        while let Some(Reverse((at, place))) = self.wake_ups.peek().copied()
            && at <= now
        {
            self.wake_ups.pop();
            let Some(entry) = self.sessions.get_mut(place).filter(|entry| entry.armed == at) else {
                continue;
            };
            if entry.deadline <= now {
                let key = entry.key;
                return self.take(&key).map(|entry| (key, entry.session));
            }
            entry.armed = entry.deadline;
            let at = entry.armed;
            self.arm(at, place);
        }
        None
    }

    /// All sessions, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.sessions.iter().map(|(_, entry)| (&entry.key, &entry.session))
    }

    fn put(&mut self, key: K, address: IpAddr, session: T, deadline: Instant) {
        let place = self.sessions.insert(Entry { key, address, session, deadline, armed: deadline });
        self.places.insert(key, place);
        *self.per_address.entry(address).or_default() += 1;
        self.arm(deadline, place);
    }

    fn take(&mut self, key: &K) -> Option<Entry<K, T>> {
        let entry = self.sessions.remove(self.places.remove(key)?);
        if let Some(count) = self.per_address.get_mut(&entry.address) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&entry.address);
            }
        }
        Some(entry)
    }

    fn arm(&mut self, at: Instant, place: usize) {
        self.wake_ups.push(Reverse((at, place)));
        if self.wake_ups.len() > WORTH_COMPACTING + 2 * self.sessions.len() {
            let sessions = &self.sessions;
            self.wake_ups.clear();
            self.wake_ups.extend(sessions.iter().map(|(place, entry)| Reverse((entry.armed, place))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    const CAPS: Caps = Caps { sessions: 3, per_address: 2, loopback: false };

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_table_has_room_for_so_many_in_all_and_of_one_address() {
        let (mut table, later) = (PeerSessions::new(CAPS), Instant::now() + Duration::from_secs(1));
        assert_eq!(table.insert(1, address(1), "a", later), Ok(None));
        assert_eq!(table.insert(2, address(1), "b", later), Ok(None));
        assert_eq!(table.insert(3, address(1), "c", later), Err(Full::OfAddress));
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(table.insert(3, mapped, "c", later), Err(Full::OfAddress));
        assert_eq!(table.insert(3, address(2), "c", later), Ok(None));
        assert_eq!(table.insert(4, address(3), "d", later), Err(Full::InAll));
        assert_eq!(table.remove(&1), Some("a"));
        assert_eq!(table.remove(&1), None);
        assert_eq!(table.insert(4, address(1), "d", later), Ok(None));
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn loopback_is_not_limited_by_address_unless_a_setting_says_so() {
        let later = Instant::now() + Duration::from_secs(1);
        let opened = |caps: Caps| {
            let mut table = PeerSessions::new(caps);
            (0..10).filter(|key| table.insert(*key, [127, 0, 0, 1].into(), (), later).is_ok()).count()
        };
        assert_eq!(opened(CAPS), 3);
        assert_eq!(opened(Caps { loopback: true, ..CAPS }), 2);
        assert_eq!(opened(Caps { sessions: 0, per_address: 0, loopback: true }), 10);
    }

    #[test]
    fn a_session_of_the_same_key_takes_the_place_of_the_one_before() {
        let (mut table, now) = (PeerSessions::new(CAPS), Instant::now());
        let second = Duration::from_secs(1);
        (1..=2).for_each(|key| assert_eq!(table.insert(key, address(1), key, now + second), Ok(None)));
        assert_eq!(table.insert(2, address(1), 20, now + 2 * second), Ok(Some(2)));
        assert_eq!(table.insert(2, address(1), 21, now + 3 * second), Ok(Some(20)));
        assert_eq!(table.expired(now + second), Some((1, 1)));
        assert_eq!(table.expired(now + 2 * second), None);
        assert_eq!(table.expired(now + 3 * second), Some((2, 21)));
        assert!(table.is_empty() && table.per_address.is_empty() && table.places.is_empty());
    }

    #[test]
    fn an_address_that_is_full_keeps_the_session_that_it_would_have_replaced() {
        let (mut table, later) = (PeerSessions::new(CAPS), Instant::now() + Duration::from_secs(1));
        (1..=2).for_each(|key| assert_eq!(table.insert(key, address(1), key, later), Ok(None)));
        assert_eq!(table.insert(9, address(2), 9, later), Ok(None));
        assert_eq!(table.insert(9, address(1), 10, later), Err(Full::OfAddress));
        assert_eq!(table.get(&9), Some(&9));
    }

    /// Deadlines that move at random: each session expires at its own, and none early.
    #[test]
    fn each_session_expires_at_its_deadline_wherever_that_was_moved() {
        let (start, mut random) = (Instant::now(), 1u64);
        let mut draw = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut table = PeerSessions::new(Caps { sessions: 50, per_address: 0, loopback: false });
        let mut expected: BTreeMap<u64, u64> = BTreeMap::new();
        for now in 0..20_000 {
            let at = |millisecond: u64| start + Duration::from_millis(millisecond);
            while let Some((key, ())) = table.expired(at(now)) {
                assert!(expected.remove(&key).is_some_and(|due| due <= now), "{key} expires early");
            }
            assert!(expected.values().all(|due| *due > now), "one is late");
            let (key, due) = (draw(60), now + 1 + draw(200));
            match draw(4) {
                0 if table.insert(key, address(1), (), at(due)).is_ok() => {
                    expected.insert(key, due);
                }
                1 => assert_eq!(table.remove(&key).is_some(), expected.remove(&key).is_some()),
                _ => {
                    table.set_deadline(&key, at(due));
                    expected.entry(key).and_modify(|before| *before = due);
                }
            }
            assert_eq!(table.len(), expected.len());
            assert!(
                table.next_deadline() <= expected.values().min().map(|due| at(*due)) || expected.is_empty()
            );
            assert!(table.wake_ups.len() <= WORTH_COMPACTING + 2 * 50 + 1, "{}", table.wake_ups.len());
        }
    }
}
