//! Checks what must hold of a reactor between two turns. The simulation does so after
//! each turn.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::dispatch::host::Slot;
use super::net::{Entry, Kind};
use super::per_address::{PerAddress, share};
use super::tcp::stream::State;
use super::udp::conversations;
use super::{READ_BUFFER, Reactor, micros};
use crate::service::ids::{Handle, ServiceId};
use crate::service::rooms::{BATCH_BYTES, BATCH_MESSAGES, PeersAudit, ROOM_CAPACITY};

/// What one callback may add to an output that is blocked already: an answer
/// to one full read, each byte of which became six (`\uXXXX`), and what a room
/// delivers in one turn.
const OUTPUT_PER_TURN: usize = 6 * READ_BUFFER + 4 * ROOM_CAPACITY;
/// UDP members of one room, which its service bounds.
const MOST_PEERS: usize = 10_000;
/// Wake-ups that the timers may hold beyond two per connection.
const SPARE_WAKE_UPS: usize = 512;

/// How late two audits in a row may be in a world that stalls, in microseconds.
const LATE: u64 = 6_000_000;

/// Remembers between audits how long each connection has been waiting.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    /// The turn since which a connection could have been read or shown again and was
    /// not, and how many of its bytes were left unread.
    unread_since: BTreeMap<Handle, (u64, usize)>,
    /// The turn since which a room has been delivering the same messages.
    delivering_since: BTreeMap<(ServiceId, u16, Kind, u64), u64>,
    /// The connections whose output waits.
    waiting: BTreeMap<Handle, Waiting>,
}

/// What the peer of a connection with unsent output has taken. Times are in
/// microseconds.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    taken: u64,
    /// When that was first seen.
    taken_at: u64,
}

impl Auditor {
    /// When the loop has to wake up at the latest, in microseconds since its start.
    pub fn next_wake(reactor: &Reactor) -> Option<u64> {
        reactor.next_wake()
    }

    /// Audits a reactor between two turns. The error says what does not hold.
    pub fn look(&mut self, reactor: &mut Reactor) -> Result<(), String> {
        everything_adds_up(reactor)?;
        everything_is_bounded(reactor)?;
        nobody_is_forgotten(reactor)?;
        self.nobody_is_waited_for_in_vain(reactor)?;
        self.nobody_waits_too_long(reactor)?;
        self.no_room_takes_too_long(reactor)
    }

    /// Checks that a ready connection is served once the queue before it has been: each
    /// turn serves at least one that has become ready and one that has more to do.
    fn nobody_waits_too_long(&mut self, reactor: &Reactor) -> Result<(), String> {
        let turn = reactor.net.statistics.turns;
        let patience = (reactor.net.streams().count() + 1) as u64;
        let mut waiting = BTreeMap::new();
        for (handle, stream) in reactor.net.streams() {
            if stream.may_be_read(reactor.net.now) && stream.socket.has_been_ignored() {
                let left = stream.kept.as_ref().map_or(0, |kept| kept.len());
                let before = self.unread_since.get(&handle).filter(|(_, before)| left >= *before);
                let since = before.map_or(turn, |(since, _)| *since);
                if turn - since > patience {
                    return Err(format!("{} has been readable for {} turns", stream.peer, turn - since));
                }
                waiting.insert(handle, (since, left));
            }
        }
        self.unread_since = waiting;
        Ok(())
    }

    /// Whoever takes nothing is given up between one and two send timeouts later, since
    /// what it takes is looked at only when the first has passed. Whoever has more output
    /// than its limit is looked at in time.
    fn nobody_is_waited_for_in_vain(&mut self, reactor: &Reactor) -> Result<(), String> {
        let now = reactor.net.now;
        let of_latest_frames = reactor.rooms.members_that_skip();
        let mut waiting = BTreeMap::new();
        for (handle, stream) in reactor.net.streams().filter(|(_, stream)| stream.outbox.is_some()) {
            let limits = &reactor.hosts[stream.service].limits;
            let taken = stream.socket.acknowledged(stream.sent);
            let new = Waiting { taken, taken_at: now };
            let mut its = self.waiting.get(&handle).copied().unwrap_or(new);
            if taken > its.taken {
                (its.taken, its.taken_at) = (taken, now);
            }
            if let Some(limit) = limits.send_timeout
                && now - its.taken_at > 2 * micros(limit) + LATE
            {
                return Err(format!("{} has taken nothing for {} µs", stream.peer, now - its.taken_at));
            }
            if stream.exceeds(limits.output_limit) && !of_latest_frames.contains(&handle) {
                let excess = stream.outbox.as_ref().and_then(|outbox| outbox.excess);
                if excess.is_none_or(|excess| now - excess.since >= excess.pace.within + LATE) {
                    return Err(format!("{} is over its limit, and nobody looks: {excess:?}", stream.peer));
                }
            }
            waiting.insert(handle, its);
        }
        self.waiting = waiting;
        Ok(())
    }

    /// The most output that waits for one peer.
    #[cfg(test)]
    pub fn most_unsent(reactor: &Reactor) -> usize {
        reactor.net.streams().map(|(_, stream)| stream.unsent()).max().unwrap_or(0)
    }

    /// Checks that a room has delivered after ⌈members / 64⌉ + 1 turns, plus one for each
    /// MiB that it delivers. Neither kind of member makes the other take longer.
    fn no_room_takes_too_long(&mut self, reactor: &Reactor) -> Result<(), String> {
        let turn = reactor.net.statistics.turns;
        let mut delivering = BTreeMap::new();
        for room in reactor.rooms.audit() {
            let (tcp, udp) = (room.connections, room.peers);
            let on_tcp = (Kind::Stream, tcp.delivers, tcp.members, tcp.bytes * tcp.members);
            let on_udp = (Kind::Datagram, udp.delivers, udp.members * udp.messages, udp.bytes * udp.members);
            for (kind, first, pieces, bytes) in [on_tcp, on_udp] {
                let Some(first) = first else { continue };
                let key = (room.service, room.room, kind, first);
                let since = self.delivering_since.get(&key).copied().unwrap_or(turn);
                let patience = (pieces.div_ceil(64) + bytes.div_ceil(1 << 20) + 1) as u64;
                if turn - since > patience {
                    let turns = turn - since;
                    return Err(format!("a room delivers the same for {turns} turns: {pieces} to {kind:?}s"));
                }
                delivering.insert(key, since);
            }
        }
        self.delivering_since = delivering;
        Ok(())
    }
}

fn everything_adds_up(reactor: &Reactor) -> Result<(), String> {
    let counted = reactor.net.statistics.connections;
    let open = reactor.net.streams().count();
    let by_service: usize = reactor.hosts.iter().map(|slot| slot.connections).sum();
    if counted != open || by_service != open {
        return Err(format!("{open} connections are open, {counted} counted, {by_service} by service"));
    }
    let unmade = reactor.pending.iter().filter(|pending| pending.holds_session()).count();
    let sessions: usize =
        reactor.hosts.iter().filter_map(|slot| slot.service.as_ref()).map(|service| service.sessions()).sum();
    let without_service =
        reactor.net.streams().filter(|(_, stream)| reactor.hosts[stream.service].service.is_none()).count();
    if sessions + without_service != open + unmade {
        return Err(format!("{sessions} sessions for {open} connections and {unmade} that were not made"));
    }
    let mut here: HashMap<(ServiceId, IpAddr), usize> = HashMap::new();
    let mut anywhere: HashMap<IpAddr, usize> = HashMap::new();
    for (_, stream) in reactor.net.streams().filter(|(_, stream)| stream.counted_peer) {
        *here.entry((stream.service, stream.peer.ip())).or_default() += 1;
        *anywhere.entry(stream.peer.ip()).or_default() += 1;
    }
    let addresses: usize = reactor.hosts.iter().map(|slot| slot.per_peer.counts().len()).sum();
    let is_right = |((service, address), count): (&(ServiceId, IpAddr), &usize)| {
        reactor.hosts[*service].per_peer.count(*address) == *count
    };
    if addresses != here.len() || !here.iter().all(is_right) || *reactor.per_peer.counts() != anywhere {
        return Err(format!("{addresses} addresses are counted, {} have connections: {here:?}", here.len()));
    }
    Ok(())
}

fn everything_is_bounded(reactor: &Reactor) -> Result<(), String> {
    for (_, stream) in reactor.net.streams() {
        let limits = &reactor.hosts[stream.service].limits;
        let unsent = stream.outbox.as_ref().map_or(0, |outbox| outbox.cost());
        if limits.output_limit > 0 && unsent > limits.output_limit + OUTPUT_PER_TURN {
            return Err(format!("{unsent} unsent bytes are kept for {}", stream.peer));
        }
        let kept = stream.kept.as_ref().map_or(0, |kept| kept.len());
        let longest = limits.longest_unread(reactor.longest_input);
        // A service that pauses may leave a whole read and what it had left before.
        if kept > longest + READ_BUFFER {
            return Err(format!("{kept} bytes of {} are left unread", stream.peer));
        }
    }
    nobody_is_over_its_share(reactor)?;
    for room in reactor.rooms.audit() {
        if room.peers.members > MOST_PEERS {
            return Err(format!("{} UDP peers are in a room", room.peers.members));
        }
        if room.connections.gathered > ROOM_CAPACITY + 2 * READ_BUFFER {
            return Err(format!("a room has gathered {} bytes", room.connections.gathered));
        }
        let PeersAudit { messages, bytes, .. } = room.peers;
        if messages > BATCH_MESSAGES || bytes > BATCH_BYTES {
            return Err(format!("{messages} messages, {bytes} bytes wait for UDP members"));
        }
    }
    let (in_use, budget) = (reactor.memory_in_use(), reactor.net.memory.budget());
    if budget > 0 && in_use > budget + reactor.rooms.memory() {
        return Err(format!("{in_use} bytes are held for peers, with a budget of {budget}"));
    }
    let most = reactor.net.memory.upper_bound() + reactor.rooms.memory();
    if in_use > most {
        return Err(format!("{in_use} bytes are held for peers, {most} are known of"));
    }
    if let Some((sources, most)) = reactor.accounts.loads().into_iter().find(|(load, most)| load > most) {
        return Err(format!("{sources} sources are remembered, of at most {most}"));
    }
    let followed = reactor.conversations.followed();
    if followed > conversations::MOST {
        return Err(format!("{followed} conversations are followed"));
    }
    let wake_ups = reactor.net.timers.len();
    let most = 2 * (reactor.net.streams().count() + reactor.hosts.iter().count()) + SPARE_WAKE_UPS;
    if wake_ups > most {
        return Err(format!("the timers hold {wake_ups} wake-ups, of at most {most}"));
    }
    Ok(())
}

fn nobody_is_over_its_share(reactor: &Reactor) -> Result<(), String> {
    let check = |most: usize, counted: &PerAddress, whose: &str| match counted
        .counts()
        .iter()
        .find(|(_, count)| most > 0 && **count > most)
    {
        Some((address, count)) => Err(format!("{address} has {count} connections of {most}: {whose}")),
        None => Ok(()),
    };
    // A setting also counts loopback, which has no share.
    let leaves_unset = |slot: &Slot| slot.limits.connections_per_peer.is_none();
    if reactor.hosts.iter().all(leaves_unset) {
        check(share(reactor.max_connections), &reactor.per_peer, "in all services")?;
    }
    for slot in reactor.hosts.iter() {
        let limits = &slot.limits;
        check(limits.connections_per_peer.unwrap_or(share(limits.connections)), &slot.per_peer, &slot.name)?;
    }
    Ok(())
}

/// Checks that every connection that can go on without an event is queued, that every
/// deadline has a wake-up, and that every member of a room is open.
fn nobody_is_forgotten(reactor: &mut Reactor) -> Result<(), String> {
    let now = reactor.net.now;
    for (handle, stream) in reactor.net.streams() {
        let name = &reactor.hosts[stream.service].name;
        if stream.state == State::Closed {
            return Err(format!("{name}: {} is closed but not reaped", stream.peer));
        }
        if stream.may_be_read(now) && !stream.latch.is_queued() {
            return Err(format!("{name}: {} can be read, but nothing will wake it", stream.peer));
        }
        if stream.can_send() && !stream.latch.is_queued() {
            return Err(format!("{name}: {} can be written to, but nothing will wake it", stream.peer));
        }
        if stream.state == State::Finishing && stream.outbox.is_none() && !stream.latch.is_queued() {
            return Err(format!("{name}: {} has sent everything but does not end", stream.peer));
        }
        let terms = reactor.hosts[stream.service].terms(reactor.net.draining_since);
        if let Some((at, due)) = stream.next_due(&terms)
            && at < stream.armed
        {
            return Err(format!(
                "{name}: {}: {due:?} is due at {at} and armed for {}",
                stream.peer, stream.armed
            ));
        }
        if stream.latch.is_parked() {
            let waits = stream.room.is_some_and(|room| reactor.rooms.waits(stream.service, room, handle));
            if !waits {
                return Err(format!("{name}: {} is parked, but its room does not list it", stream.peer));
            }
        }
    }
    let held_up_by = reactor.rooms.audit().filter_map(|room| room.connections.held_up_by).collect::<Vec<_>>();
    for handle in held_up_by.into_iter().filter(|_| !reactor.rooms.has_work()) {
        let is_behind = reactor.net.stream(handle).is_some_and(|stream| {
            stream.state == State::Open && stream.exceeds(reactor.hosts[stream.service].limits.output_limit)
        });
        if !is_behind {
            return Err("a room waits for a member that has caught up, or is gone".to_owned());
        }
    }
    for (service, handle) in reactor.rooms.members() {
        match reactor.net.get(handle) {
            Some(Entry::Stream(stream)) if stream.service == service => {}
            _ => return Err("a room has a member that is not open".to_owned()),
        }
    }
    Ok(())
}
