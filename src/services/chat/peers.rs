//! The members over UDP, and who has to go when there are too many.
//!
//! No handshake shows that a sender is real, so an attacker can join in the name of
//! thousands. Were the others turned away then, it would have the room to itself: so
//! somebody makes room for each that comes. Those who have sent only one datagram go
//! first, and among equals the one that has been silent for longest.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::circle::Person;
use crate::service::{DatagramPeer, SocketId};

/// The most at once, which limits what forged ones cost to about 4 MB.
pub(super) const MOST: usize = 10_000;
/// The most of one address, unless it is on loopback. Each of them is sent what the
/// others say.
pub(super) const MOST_PER_ADDRESS: usize = 4;
/// How exactly the order of those that have been heard is kept, so that not every
/// datagram has to renew it.
const STEP: Duration = Duration::from_secs(1);

/// What tells members apart.
pub(super) type Key = (SocketId, SocketAddr);
/// A place in the order: since when a member has been silent, within a [`STEP`], and
/// the number of its arrival.
type Place = (Instant, u64);

/// One member.
#[derive(Debug)]
struct Peer {
    local: Option<IpAddr>,
    person: Person,
    /// When its last datagram came.
    heard: Instant,
    place: Place,
    /// It has sent a second datagram.
    is_regular: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Peers {
    members: HashMap<Key, Peer>,
    newcomers: BTreeMap<Place, Key>,
    regulars: BTreeMap<Place, Key>,
    /// Those that are not on loopback.
    by_address: HashMap<IpAddr, Vec<Key>>,
    joined: u64,
}

impl Peers {
    pub fn person(&mut self, key: &Key) -> Option<&mut Person> {
        self.members.get_mut(key).map(|peer| &mut peer.person)
    }

    /// Adds a member.
    pub fn join(&mut self, reach: DatagramPeer, now: Instant) {
        self.joined += 1;
        let (key, place) = ((reach.socket, reach.address), (now, self.joined));
        let person = Person::default();
        let peer = Peer { local: reach.local, person, heard: now, place, is_regular: false };
        self.members.insert(key, peer);
        self.newcomers.insert(place, key);
        if let Some(address) = counted(reach.address) {
            self.by_address.entry(address).or_default().push(key);
        }
    }

    /// Notes a datagram of a member; false if its sender is not one.
    pub fn hear(&mut self, key: &Key, now: Instant) -> bool {
        let Some(peer) = self.members.get_mut(key) else { return false };
        peer.heard = now;
        if !peer.is_regular || now.duration_since(peer.place.0) >= STEP {
            let order = if peer.is_regular { &mut self.regulars } else { &mut self.newcomers };
            order.remove(&peer.place);
            peer.is_regular = true;
            peer.place.0 = now;
            self.regulars.insert(peer.place, *key);
        }
        true
    }

    /// Takes a member out.
    pub fn remove(&mut self, key: &Key) -> Option<(DatagramPeer, Person)> {
        let peer = self.members.remove(key)?;
        let order = if peer.is_regular { &mut self.regulars } else { &mut self.newcomers };
        order.remove(&peer.place);
        if let Some(address) = counted(key.1)
            && let Some(of_address) = self.by_address.get_mut(&address)
        {
            of_address.retain(|other| other != key);
            if of_address.is_empty() {
                self.by_address.remove(&address);
            }
        }
        if self.members.len() < self.members.capacity() / 8 {
            self.members.shrink_to(self.members.len() * 2);
            self.by_address.shrink_to(self.by_address.len() * 2);
        }
        let (socket, address) = *key;
        Some((DatagramPeer { socket, address, local: peer.local }, peer.person))
    }

    /// The memory that they take, in bytes: with the nodes of the trees, which are half
    /// empty at worst.
    pub fn memory(&self) -> usize {
        let ordered = 2 * self.members.len() * size_of::<(Place, Key)>();
        let of_addresses = self.by_address.len() * MOST_PER_ADDRESS * size_of::<Key>();
        self.members.capacity() * size_of::<(Key, Peer)>()
            + self.by_address.capacity() * size_of::<(IpAddr, Vec<Key>)>()
            + ordered
            + of_addresses
    }

    /// Who has to go before somebody with this address can join, if anybody.
    pub fn one_too_many(&self, address: IpAddr) -> Option<Key> {
        let of_address = self.by_address.get(&address.to_canonical());
        if let Some(full) = of_address.filter(|of_address| of_address.len() >= MOST_PER_ADDRESS) {
            let order = |key: &&Key| self.members.get(key).map(|peer| (peer.is_regular, peer.place));
            return full.iter().min_by_key(order).copied();
        }
        let first = || self.newcomers.first_key_value().or_else(|| self.regulars.first_key_value());
        (self.members.len() >= MOST).then(first)?.map(|(_, key)| *key)
    }

    /// Some of those that have been silent for so long; it looks at no more than `most`.
    pub fn silent(&mut self, now: Instant, limit: Duration, most: usize) -> Vec<Key> {
        let mut silent = Vec::new();
        for order in [&mut self.newcomers, &mut self.regulars] {
            let is_due = |place: &Place| now.duration_since(place.0) >= limit;
            let due: Vec<Key> =
                order.iter().take_while(|(place, _)| is_due(place)).map(|(_, key)| *key).take(most).collect();
            for key in due {
                let Some(peer) = self.members.get_mut(&key) else { continue };
                if now.duration_since(peer.heard) >= limit {
                    silent.push(key);
                } else {
                    order.remove(&peer.place);
                    peer.place.0 = peer.heard;
                    order.insert(peer.place, key);
                }
            }
        }
        silent.truncate(most);
        silent
    }

    /// Since when the one that has been silent for longest has been, within a [`STEP`].
    pub fn silent_since(&self) -> Option<Instant> {
        let first = |order: &BTreeMap<Place, Key>| order.first_key_value().map(|((since, _), _)| *since);
        [first(&self.newcomers), first(&self.regulars)].into_iter().flatten().min()
    }
}

/// The address that a member counts for.
fn counted(address: SocketAddr) -> Option<IpAddr> {
    Some(address.ip().to_canonical()).filter(|ip| !ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ids::{Generations, Handle};

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(last: u8, port: u16) -> DatagramPeer {
        let socket = SocketId(Handle::without_place(Generations::default().next()));
        DatagramPeer { socket, address: ([192, 0, 2, last], port).into(), local: None }
    }

    fn key(last: u8, port: u16) -> Key {
        (peer(last, port).socket, peer(last, port).address)
    }

    #[test]
    fn who_was_heard_in_time_is_not_silent() {
        let start = Instant::now();
        let mut peers = Peers::default();
        (1..=3).for_each(|last| peers.join(peer(last, 1), start));
        for step in 1..100 {
            assert!(peers.hear(&key(1, 1), start + step * SECOND / 10));
        }
        assert!(peers.hear(&key(2, 1), start + SECOND / 2), "less than a step later");
        let now = start + 60 * SECOND;
        assert_eq!(peers.silent(now, 60 * SECOND, 9), [key(3, 1)]);
        peers.remove(&key(3, 1));
        assert_eq!(peers.silent(now, 60 * SECOND, 9), []);
        assert_eq!(peers.silent_since(), Some(start + SECOND / 2));
        assert_eq!(peers.silent(now + SECOND / 2, 60 * SECOND, 9), [key(2, 1)]);
    }

    #[test]
    fn no_more_are_found_silent_than_are_asked_for() {
        let start = Instant::now();
        let mut peers = Peers::default();
        (0..100).for_each(|port| peers.join(peer(1, port), start));
        (0..50).for_each(|port| assert!(peers.hear(&key(1, port), start)));
        let mut found = 0;
        while let silent = peers.silent(start + SECOND, SECOND, 7)
            && !silent.is_empty()
        {
            assert!(silent.len() <= 7);
            found += silent.len();
            silent.iter().for_each(|key| drop(peers.remove(key)));
        }
        assert_eq!((found, peers.silent_since()), (100, None));
        assert!(peers.by_address.is_empty());
    }

    #[test]
    fn newcomers_go_first_and_then_who_was_silent_for_longest() {
        let start = Instant::now();
        let mut peers = Peers::default();
        (1..=4).for_each(|port| peers.join(peer(1, port), start));
        assert_eq!(peers.one_too_many(peer(2, 1).address.ip()), None);
        let of_this = peer(1, 9).address.ip();
        for (heard, goes) in [(1, 2), (2, 3), (3, 4), (4, 1)] {
            assert!(peers.hear(&key(1, heard), start + u32::from(heard) * SECOND));
            assert_eq!(peers.one_too_many(of_this), Some(key(1, goes)));
        }
    }
}
