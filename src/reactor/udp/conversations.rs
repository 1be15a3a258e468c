//! UDP conversations, for the log: one peer and one service, from the first
//! datagram until there has been none for a while.
//!
//! UDP has neither a start nor an end that could be logged. If the log is at
//! debug, a datagram costs one lookup in a table; otherwise it costs nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::reactor::Reactor;
use crate::reactor::per_address::{PerAddress, share};
use crate::reactor::time::timers::SECOND;
use crate::service::effects::Outgoing;
use crate::service::ids::ServiceId;
use crate::wording::counted;

/// A conversation ends if there was no datagram for this long, which is how long
/// Linux remembers one when it forwards (nf_conntrack_udp_timeout).
const QUIET: u64 = 30 * SECOND;
/// The least time between two searches for quiet ones, since each goes through all.
const SWEEP: u64 = SECOND;
/// How many are followed at once, in about half a megabyte. Anybody can forge
/// sources, so this also bounds the lines in the log: two for each per [`QUIET`]. One
/// address other than loopback has its [`share`] of them, whatever ports it sends from.
pub(crate) const MOST: usize = 4096;

type Key = (ServiceId, SocketAddr);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Conversation {
    since: u64,
    last: u64,
    received: Traffic,
    sent: Traffic,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    datagrams: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Conversations {
    table: HashMap<Key, Conversation>,
    per_peer: PerAddress,
    /// When to search for quiet ones; `None` while there are no conversations.
    pub sweep_at: Option<u64>,
    /// Datagrams that found the table, or the share of their address, full since the last
    /// search.
    not_followed: u64,
}

impl Conversations {
    /// The memory that they take, in bytes.
    pub fn memory(&self) -> usize {
        self.table.capacity() * size_of::<(Key, Conversation)>()
    }
}

#[cfg(feature = "simulated")]
impl Conversations {
    pub fn followed(&self) -> usize {
        self.table.len()
    }
}

#[derive(Debug, Clone, Copy)]
enum Way {
    In,
    Out,
}

impl Reactor {
    /// Whether conversations are followed, which is for nothing but the log. In a simulated
    /// world they always are, so that a seed gives the same run whether it is logged or not.
    #[inline(always)]
    pub(crate) fn follows_conversations(&self) -> bool {
        log::log_enabled!(log::Level::Debug) || self.virtual_clock.is_some()
    }

    /// Notes what came, `bytes` in all, from a peer of a service.
    pub(crate) fn note_received(
        &mut self,
        service: ServiceId,
        from: SocketAddr,
        datagrams: usize,
        bytes: usize,
    ) {
        self.note(Way::In, (service, from), Traffic { datagrams: datagrams as u64, bytes: bytes as u64 });
    }

    /// Notes what goes out through one socket.
    pub(crate) fn note_sent(&mut self, sent: &[Outgoing]) {
        let socket = sent.first().and_then(|datagram| self.net.datagram(datagram.to.socket.0));
        let Some(service) = socket.map(|socket| socket.service) else { return };
        for datagram in sent {
            let bytes = (datagram.end - datagram.start) as u64;
            self.note(Way::Out, (service, datagram.to.address), Traffic { datagrams: 1, bytes });
        }
    }

    fn note(&mut self, way: Way, key: Key, traffic: Traffic) {
        let now = self.net.now;
        if self.conversations.note(way, key, traffic, now) {
            log::debug!("{}: a UDP conversation with {} begins", self.hosts[key.0].name, key.1);
        }
        self.conversations.sweep_at.get_or_insert(now + QUIET);
    }

    /// Logs the conversations that have become quiet, if it is time to search for them.
    pub(crate) fn sweep_conversations(&mut self) {
        let now = self.net.now;
        if self.conversations.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let quiet = self.conversations.take_silent_since(Some(now.saturating_sub(QUIET)));
        self.log_ended(&quiet);
        let last = self.conversations.table.values().map(|conversation| conversation.last).min();
        self.conversations.sweep_at = last.map(|last| (last + QUIET).max(now + SWEEP));
    }

    /// Logs those that are still going on, when the reactor ends.
    pub(crate) fn end_conversations(&mut self) {
        let all = self.conversations.take_silent_since(None);
        self.log_ended(&all);
    }

    fn log_ended(&mut self, ended: &[(Key, Conversation)]) {
        for ((service, peer), conversation) in ended {
            let name = &self.hosts[*service].name;
            log::debug!("{name}: the UDP conversation with {peer} is over: {conversation}");
        }
        let not_followed = std::mem::take(&mut self.conversations.not_followed);
        if not_followed > 0 {
            log::debug!(
                "{not_followed} more datagrams were in UDP conversations over the {MOST} that are followed at once, {} of one address",
                share(MOST)
            );
        }
    }
}

/// An IPv4 peer of a dual-stack socket is known by its IPv4 address.
fn address_of((_, peer): &Key) -> IpAddr {
    peer.ip().to_canonical()
}

impl Conversations {
    /// Counts some traffic. True if a conversation begins with it.
    fn note(&mut self, way: Way, key: Key, traffic: Traffic, now: u64) -> bool {
        let address = address_of(&key);
        let has_its_share = !address.is_loopback() && self.per_peer.count(address) >= share(MOST);
        let is_full = self.table.len() >= MOST || has_its_share;
        let mut begins = false;
        let conversation = match self.table.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if is_full => {
                self.not_followed += traffic.datagrams;
                return false;
            }
            Entry::Vacant(entry) => {
                begins = true;
                self.per_peer.add(address);
                entry.insert(Conversation { since: now, last: now, ..Conversation::default() })
            }
        };
        let counted = match way {
            Way::In => &mut conversation.received,
            Way::Out => &mut conversation.sent,
        };
        counted.datagrams += traffic.datagrams;
        counted.bytes += traffic.bytes;
        conversation.last = now;
        begins
    }

    /// Takes out those without a datagram after `time`, or all of them if there is no
    /// such time, the oldest first.
    fn take_silent_since(&mut self, time: Option<u64>) -> Vec<(Key, Conversation)> {
        let is_silent =
            |_: &Key, conversation: &mut Conversation| time.is_none_or(|time| conversation.last <= time);
        let mut silent: Vec<_> = self.table.extract_if(is_silent).collect();
        silent.iter().map(|(key, _)| address_of(key)).for_each(|peer| self.per_peer.remove(peer));
        silent.sort_unstable_by_key(|(key, conversation)| (conversation.since, *key));
        silent
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conversation { since, last, received, sent } = self;
        write!(f, "{received} in, {sent} out, {:.3} s", (last - since) as f64 / SECOND as f64)
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let datagrams = counted(self.datagrams as usize, "datagram");
        write!(f, "{datagrams} ({})", counted(self.bytes as usize, "byte"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        (ServiceId(0), ([127, 0, 0, 1], port).into())
    }

    fn traffic(datagrams: u64, bytes: u64) -> Traffic {
        Traffic { datagrams, bytes }
    }

    #[test]
    fn a_conversation_begins_once_and_is_over_when_it_was_quiet() {
        let mut conversations = Conversations::default();
        assert!(conversations.note(Way::In, key(1), traffic(1, 5), 10));
        assert!(!conversations.note(Way::Out, key(1), traffic(1, 1), 10));
        assert!(!conversations.note(Way::In, key(1), traffic(2, 30), 2 * SECOND + 10));
        assert!(conversations.note(Way::In, key(2), traffic(1, 0), 3 * SECOND));
        assert_eq!(conversations.take_silent_since(Some(2 * SECOND)), []);
        let over = conversations.take_silent_since(Some(2 * SECOND + 10));
        assert_eq!(over.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key(1)]);
        assert_eq!(over[0].1.to_string(), "3 datagrams (35 bytes) in, 1 datagram (1 byte) out, 2.000 s");
        assert!(conversations.note(Way::In, key(1), traffic(1, 1), 4 * SECOND), "the next one");
    }

    #[test]
    fn one_peer_has_a_conversation_with_each_service() {
        let mut conversations = Conversations::default();
        let (_, peer) = key(1);
        assert!(conversations.note(Way::In, (ServiceId(0), peer), traffic(1, 1), 0));
        assert!(conversations.note(Way::In, (ServiceId(1), peer), traffic(1, 1), 0));
        let over = conversations.take_silent_since(None);
        assert_eq!(over.iter().map(|(key, _)| key.0.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_over_the_bound_is_counted_and_makes_no_line() {
        let mut conversations = Conversations::default();
        for port in 0..MOST as u16 {
            assert!(conversations.note(Way::In, key(port), traffic(1, 1), 0));
        }
        for port in 0..1000 {
            assert!(!conversations.note(Way::In, key(MOST as u16 + port), traffic(2, 9), 0));
        }
        assert_eq!((conversations.table.len(), conversations.not_followed), (MOST, 2000));
        assert!(!conversations.note(Way::In, key(7), traffic(1, 1), 1), "those within it go on");
        assert_eq!(conversations.not_followed, 2000);
    }

    #[test]
    fn one_address_has_a_quarter_of_the_conversations() {
        let mut conversations = Conversations::default();
        let from = |last: u8, port: u16| (ServiceId(0), SocketAddr::from(([192, 0, 2, last], port)));
        for port in 0..MOST as u16 {
            let begins = conversations.note(Way::In, from(7, port), traffic(1, 1), 0);
            assert_eq!(begins, usize::from(port) < MOST / 4, "{port}");
        }
        assert_eq!(conversations.not_followed, (MOST - MOST / 4) as u64);
        assert!(conversations.note(Way::In, from(8, 1), traffic(1, 1), 1), "others have theirs");
        assert_eq!(conversations.take_silent_since(Some(0)).len(), MOST / 4);
        assert!(conversations.note(Way::In, from(7, 9), traffic(1, 1), 1), "its own are free again");
    }

    struct Silent;

    impl crate::service::Service for Silent {
        type Session = ();
    }

    #[test]
    fn the_loop_wakes_up_for_the_end_of_each() {
        let mut reactor = Reactor::new().unwrap();
        reactor.host("silent", Silent).start().unwrap();
        let start = reactor.net.now;
        let going_on_at = |reactor: &mut Reactor, now: u64| {
            reactor.net.now = start + now;
            let due = reactor.fire_ticks();
            reactor.fire_deadlines(due);
            reactor.conversations.table.len()
        };
        reactor.note_received(ServiceId(0), key(1).1, 1, 5);
        assert_eq!(reactor.next_wake(), Some(start + QUIET));
        assert_eq!(going_on_at(&mut reactor, 10 * SECOND), 1);
        reactor.note_received(ServiceId(0), key(2).1, 1, 5);
        assert_eq!(going_on_at(&mut reactor, QUIET - 1), 2);
        assert_eq!(going_on_at(&mut reactor, QUIET), 1);
        assert_eq!(going_on_at(&mut reactor, QUIET + 10 * SECOND - 1), 1);
        assert_eq!(going_on_at(&mut reactor, QUIET + 10 * SECOND), 0);
        assert_eq!(reactor.next_wake(), None, "nothing is left to wake up for");
    }
}
