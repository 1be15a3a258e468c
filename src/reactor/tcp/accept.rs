//! Accepting connections, turning them away, and surviving without descriptors.

use std::io;
use std::net::SocketAddr;

use super::listener::{self, ACCEPTS_PER_TURN};
use super::stream::{State, Stream};
use crate::reactor::Reactor;
use crate::reactor::dispatch::host::Call;
use crate::reactor::net::{Entry, Last};
use crate::reactor::notices::Notice;
use crate::reactor::per_address::share;
use crate::reactor::time::timers::{SECOND, Wake};
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Farewell};
use crate::system::{StreamSocket, is_out_of_descriptors};
use crate::wording::counted;

/// How long a listener that found no free descriptor rests, unless a connection
/// closes sooner.
const ACCEPT_RETRY: u64 = SECOND / 10;

/// Clients over a limit that have a descriptor at a time, since they wait until the end of
/// the turn for somebody to make room. The others wait for the next turn, in the backlog.
pub const MOST_OVER_LIMIT: usize = 4;

impl Reactor {
    /// Serves those who come last, when what has ended is out of the way: a client at its
    /// limit that closes and connects again is not one too many.
    #[cold]
    pub(crate) fn serve_the_last(&mut self) {
        self.reap();
        self.net.over_limit = 0;
        let mut last = std::mem::take(&mut self.net.last);
        for last in last.drain(..) {
            match last {
                Last::OverLimit { service, socket, peer } => match self.refusal(service, peer) {
                    Some(why) => self.refuse(service, socket, peer, why),
                    None => self.admit(service, socket, peer),
                },
                Last::Listener(handle) => self.net.enqueue(handle),
                Last::BehindTheEnd(handle) => {
                    if let Some(stream) = self.net.stream(handle)
                        && let Err(why) = stream.look_for_reset()
                    {
                        self.close(handle, why);
                    }
                }
            }
        }
        self.net.last = last;
    }

    /// Not inlined: it would take registers from the path of a message.
    #[inline(never)]
    pub(crate) fn accept(&mut self, handle: Handle) {
        let mut starved = false;
        for _ in 0..ACCEPTS_PER_TURN {
            if self.net.over_limit == MOST_OVER_LIMIT {
                return self.net.last.push(Last::Listener(handle));
            }
            let now = self.net.now;
            let Some(Entry::Listener(listener)) = self.net.get(handle) else { return };
            if !listener.latch.is_readable() || listener.retry_at.is_some_and(|at| at > now) {
                return;
            }
            listener.retry_at = None;
            let service = listener.service;
            match listener.accept() {
                Ok(None) => return,
                Ok(Some((socket, peer))) => self.welcome(service, socket, peer),
                Err(error) if is_out_of_descriptors(&error) && !starved => {
                    starved = true;
                    self.accept_without_descriptors(handle, &error);
                }
                Err(error) => {
                    self.retry_later(handle);
                    let (now, name) = (self.net.now, &self.hosts[service].name);
                    self.net.notices.say(Notice::Fault, now, format_args!("{name}: cannot accept: {error}"));
                    return;
                }
            }
        }
        self.net.enqueue(handle);
    }

    /// No descriptor is free: turns the waiting clients away with the spare one,
    /// and lets the listener rest until a descriptor may be free again.
    fn accept_without_descriptors(&mut self, handle: Handle, error: &io::Error) {
        let Some(Entry::Listener(listener)) = self.net.get(handle) else { return };
        let (service, mut turned_away) = (listener.service, 0);
        let words = self.farewell_of(service, None, Farewell::Full);
        self.spare.restore(&self.system);
        while turned_away < ACCEPTS_PER_TURN {
            let Some(Entry::Listener(listener)) = self.net.get(handle) else { return };
            let accepted = self.spare.lend(&self.system, || match listener.accept() {
                Ok(Some((socket, _))) => {
                    listener::turn_away(socket, &words);
                    true
                }
                _ => false,
            });
            if accepted != Some(true) {
                break;
            }
            turned_away += 1;
        }
        let name = self.hosts[service].name.clone();
        let clients = counted(turned_away, "client");
        self.record_many(
            service,
            &CloseReason::GivenUp(Farewell::Full),
            turned_away as u64,
            format_args!("{name}: turned {clients} away: no descriptor is free ({error})"),
        );
        self.retry_later(handle);
    }

    /// Lets a listener rest until its retry timer, because accepting again at once
    /// would spin.
    fn retry_later(&mut self, handle: Handle) {
        let at = self.net.now + ACCEPT_RETRY;
        if let Some(Entry::Listener(listener)) = self.net.get(handle) {
            listener.latch.set_readable();
            listener.retry_at = Some(at);
            self.net.starved_listeners.push(handle);
            self.net.timers.arm(at, Wake::Entry(handle));
        }
    }

    /// Lets the listeners that found no free descriptor try again.
    pub(crate) fn retry_listeners(&mut self) {
        for handle in std::mem::take(&mut self.net.starved_listeners) {
            if let Some(Entry::Listener(listener)) = self.net.get(handle) {
                listener.retry_at = None;
                self.net.enqueue(handle);
            }
        }
    }

    fn welcome(&mut self, service: ServiceId, socket: StreamSocket, peer: SocketAddr) {
        // An IPv4 peer of a dual-stack listener is known by its IPv4 address.
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if self.refusal(service, peer).is_some() {
            // One that has ended in this turn may make room for it.
            self.net.over_limit += 1;
            return self.net.last.push(Last::OverLimit { service, socket, peer });
        }
        self.admit(service, socket, peer);
    }

    fn admit(&mut self, service: ServiceId, socket: StreamSocket, peer: SocketAddr) {
        let Some(session) = self.new_session(service) else { return };
        let slot = &mut self.hosts[service];
        let mut stream = Stream::new(socket, peer, service, session, State::Open, self.net.now);
        let at_most = slot.limits.connections_per_peer;
        stream.counted_peer = at_most.map_or(!peer.ip().is_loopback(), |at_most| at_most > 0);
        let counted_peer = stream.counted_peer;
        match self.net.insert(Entry::Stream(stream)) {
            Ok(handle) => {
                slot.connections += 1;
                slot.statistics.accepted += 1;
                if counted_peer {
                    slot.per_peer.add(peer.ip());
                    self.per_peer.add(peer.ip());
                }
                self.net.statistics.connections += 1;
                self.net.statistics.accepted += 1;
                log::debug!("{}: {peer} connected", slot.name);
                self.call_stream(handle, service, Call::Open(session), &[]);
                self.net.arm(handle, &self.hosts);
            }
            Err(error) => {
                let line = format_args!("{}: cannot watch the connection of {peer}: {error}", slot.name);
                self.net.notices.say(Notice::Fault, self.net.now, line);
                self.drop_session(service, session);
            }
        }
    }

    fn refusal(&self, service: ServiceId, peer: SocketAddr) -> Option<Farewell> {
        let over = |limit: usize, count: usize| limit > 0 && count >= limit;
        let slot = &self.hosts[service];
        if over(self.max_connections, self.net.statistics.connections)
            || over(slot.limits.connections, slot.connections)
        {
            return Some(Farewell::Full);
        }
        let (here, anywhere) = (slot.per_peer.count(peer.ip()), self.per_peer.count(peer.ip()));
        let is_over_its_share = match slot.limits.connections_per_peer {
            Some(at_most) => over(at_most, here),
            None if peer.ip().is_loopback() => false,
            None => over(share(slot.limits.connections), here) || over(share(self.max_connections), anywhere),
        };
        is_over_its_share.then_some(Farewell::TooManyFromPeer)
    }

    fn refuse(&mut self, service: ServiceId, socket: StreamSocket, peer: SocketAddr, why: Farewell) {
        let words = self.farewell_of(service, None, why);
        listener::turn_away(socket, &words);
        log::debug!("{}: {peer} ended: refused, {why}", self.hosts[service].name);
        self.record(&CloseReason::GivenUp(why), service, peer, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use log::{Level, LevelFilter, Log, Metadata, Record};

    use super::*;
    use crate::service::limits::Limits;
    use crate::service::{Context, Input, Service};
    use crate::system::simulated::{Faults, Nature, Stream as Client, World};

    struct Silent;

    impl Service for Silent {
        type Session = ();

        fn end_of_input(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
            cx.close();
        }
    }

    const PORTS: [u16; 2] = [4_000, 4_001];
    const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
    const NEIGHBOUR: [u8; 4] = [192, 0, 2, 7];
    const OTHER: [u8; 4] = [192, 0, 2, 8];

    /// Two services with these limits, and a bound on all connections.
    struct Stage {
        world: World,
        reactor: Reactor,
        clients: u16,
    }

    impl Stage {
        fn new(max_connections: usize, limits: &Limits) -> Stage {
            let world = World::new(Nature::calm());
            let mut reactor = Reactor::simulated(&world).unwrap();
            reactor.set_max_connections(max_connections);
            for port in PORTS {
                let host = reactor.host(&format!("silent-{port}"), Silent).limits(limits.clone());
                host.tcp((Ipv4Addr::LOCALHOST, port).into()).start().unwrap();
            }
            Stage { world, reactor, clients: 0 }
        }

        /// Connects until somebody is turned away, 20 times at most.
        fn connect_all(&mut self, from: [u8; 4], port: u16) -> Vec<Client> {
            let mut connected = Vec::new();
            for _ in 0..20 {
                self.clients += 1;
                let before = self.reactor.statistics().connections;
                let from = SocketAddr::from((from, 10_000 + self.clients));
                let client = self.world.call(from, (Ipv4Addr::LOCALHOST, port).into()).unwrap();
                (0..3).for_each(|_| self.reactor.turn(Some(Duration::ZERO)).unwrap());
                if self.reactor.statistics().connections == before {
                    break;
                }
                connected.push(client);
            }
            connected
        }
    }

    #[test]
    fn one_address_has_a_quarter_of_all_connections_over_all_services() {
        let mut stage = Stage::new(12, &Limits::default());
        let one = stage.connect_all(NEIGHBOUR, PORTS[0]);
        assert_eq!(one.len(), 3);
        assert_eq!(stage.connect_all(NEIGHBOUR, PORTS[1]).len(), 0);
        assert_eq!(stage.connect_all(OTHER, PORTS[1]).len(), 3, "others have theirs");
        drop(one);
        (0..3).for_each(|_| stage.reactor.turn(Some(Duration::ZERO)).unwrap());
        assert_eq!(stage.connect_all(NEIGHBOUR, PORTS[1]).len(), 3, "what it closed is free again");
    }

    #[test]
    fn one_address_has_a_quarter_of_a_services_connections() {
        let mut stage = Stage::new(0, &Limits { connections: 8, ..Limits::default() });
        let here = stage.connect_all(NEIGHBOUR, PORTS[0]);
        assert_eq!(here.len(), 2);
        assert_eq!(stage.connect_all(NEIGHBOUR, PORTS[1]).len(), 2, "each service has its own");
    }

    #[test]
    fn loopback_has_no_share_and_a_setting_takes_its_place() {
        let mut stage = Stage::new(12, &Limits::default());
        assert_eq!(stage.connect_all(LOOPBACK, PORTS[0]).len(), 12);
        for (set, most) in [(0, 12), (5, 5)] {
            for address in [LOOPBACK, NEIGHBOUR] {
                let limits = Limits { connections_per_peer: Some(set), ..Limits::default() };
                let mut stage = Stage::new(12, &limits);
                assert_eq!(stage.connect_all(address, PORTS[0]).len(), most, "{set}");
            }
        }
    }

    #[test]
    fn clients_over_a_limit_have_few_descriptors_at_a_time_and_all_are_turned_away() {
        let mut stage = Stage::new(1, &Limits::default());
        let _kept = stage.connect_all(LOOPBACK, PORTS[0]);
        let before = stage.world.descriptors();
        let call = |port| stage.world.call((LOOPBACK, port).into(), (LOOPBACK, PORTS[0]).into()).unwrap();
        let clients: Vec<Client> = (0..100).map(|number| call(20_000 + number)).collect();
        let is_accepted = || clients.iter().filter(|client| client.is_accepted()).count();
        for turn in 1..=100 / MOST_OVER_LIMIT {
            stage.reactor.turn(Some(Duration::ZERO)).unwrap();
            assert_eq!(is_accepted(), turn * MOST_OVER_LIMIT);
        }
        stage.reactor.turn(Some(Duration::ZERO)).unwrap();
        assert_eq!(stage.reactor.statistics().refused, 101);
        drop(clients);
        assert_eq!(stage.world.descriptors(), before, "the daemon has none of theirs");
    }

    thread_local! {
        /// The lines that this test's thread has logged.
        static LINES: Cell<usize> = const { Cell::new(0) };
    }

    struct Counter;

    impl Log for Counter {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= Level::Info
        }

        fn log(&self, record: &Record<'_>) {
            if self.enabled(record.metadata()) {
                LINES.set(LINES.get() + 1);
            }
        }

        fn flush(&self) {}
    }

    #[test]
    fn connections_that_cannot_be_accepted_or_watched_cost_a_few_lines_a_second() {
        const SECONDS: u64 = 10;
        log::set_logger(&Counter).unwrap();
        log::set_max_level(LevelFilter::Info);
        for faults in
            [Faults { watch: 1000, ..Faults::default() }, Faults { accept: 1000, ..Faults::default() }]
        {
            let mut stage = Stage::new(0, &Limits::default());
            stage.world.set_faults(faults);
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS[0]));
            let before = LINES.get();
            for port in 1.. {
                let _gone = stage.world.call((NEIGHBOUR, port).into(), to).unwrap();
                stage.reactor.turn(Some(Duration::from_millis(10))).unwrap();
                stage.world.leap(Duration::from_millis(10));
                if stage.world.micros() > SECONDS * SECOND {
                    break;
                }
            }
            assert_eq!(stage.reactor.statistics().accepted, 0);
            let lines = LINES.get() - before;
            // Two kinds of notices, five of each per second, in eleven seconds by the clock.
            assert!((10..=2 * 5 * 11).contains(&lines), "{faults:?}: {lines} lines");
        }
    }

    #[test]
    fn a_share_is_at_least_one_connection() {
        let mut stage = Stage::new(2, &Limits::default());
        assert_eq!(stage.connect_all(NEIGHBOUR, PORTS[0]).len(), 1);
    }
}
