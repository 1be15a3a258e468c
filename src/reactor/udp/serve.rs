//! Serving UDP sockets: a batch in, the service's answers out in a batch.

use std::io;

use super::accounts::Withheld;
use super::datagram::Datagram;
use crate::reactor::Reactor;
use crate::reactor::dispatch::calls::{About, Pending};
use crate::reactor::dispatch::host::Call;
use crate::reactor::notices::Notice;
use crate::reactor::time::timers::{SECOND, Wake};
use crate::service::effects::Outgoings;
use crate::service::ids::{Handle, ServiceId, SocketId};
use crate::service::rooms::DatagramPeer;
use crate::system::Arrival;

/// A socket whose receives fail so many times in a row is left alone for a while. Errors
/// that a peer causes are reported once each; one that persists would keep the loop busy.
const FAILURES_IN_A_ROW: u32 = 16;
/// For how long, in microseconds.
const RETRY: u64 = SECOND / 10;
/// How many bytes of answers are sent before the rest of a batch is served: they
/// are still in the processor's cache.
const WORTH_SENDING: usize = 128 * 1024;

impl Reactor {
    pub(crate) fn serve_datagrams(&mut self, handle: Handle) {
        let Some(socket) = self.net.datagram(handle) else { return };
        let service = socket.service;
        if let Some(room) = socket.room
            && self.rooms.is_full(service, room)
        {
            if socket.latch.park() {
                self.rooms.wait_for_space(service, room, handle);
            }
            return;
        }
        if !socket.latch.is_readable() || socket.retry_at.is_some() {
            return;
        }
        let (is_connected, listens_only) = (socket.socket.is_connected(), socket.listens_only);
        let mut receiver = std::mem::take(&mut self.receiver);
        let outcome = receiver.receive(socket);
        if let Err(error) = outcome {
            self.datagram_error(handle, service, error);
        }
        let came: usize = receiver.arrivals.iter().map(Arrival::datagrams).sum();
        self.net.statistics.datagrams_received += came as u64;
        self.hosts[service].statistics.datagrams_received += came as u64;
        let bytes = receiver.arrivals.iter().map(|arrival| arrival.length).sum();
        self.net.ready.count_messages(came, bytes);
        self.net.memory.datagrams_came();
        let is_logged = self.follows_conversations();
        for number in 0..receiver.arrivals.len() {
            let arrival = receiver.arrivals[number];
            if self.net.datagram(handle).is_none() {
                // The service closed it at an earlier datagram.
                break;
            }
            if is_connected || listens_only || self.may_answer(service, &arrival) {
                if is_logged {
                    self.note_received(service, arrival.from, arrival.datagrams(), arrival.length);
                }
                self.serve_arrival(handle, service, &arrival, receiver.message(number));
            }
        }
        self.receiver = receiver;
        self.send_datagrams();
        let goes_on = |socket: &mut Datagram| socket.latch.is_readable() && socket.retry_at.is_none();
        if self.net.datagram(handle).is_some_and(goes_on) {
            self.net.go_on(handle);
        }
    }

    /// Calls the service for each datagram of what arrived at once.
    fn serve_arrival(&mut self, handle: Handle, service: ServiceId, arrival: &Arrival, message: &[u8]) {
        let segment = if arrival.segment == 0 { message.len() } else { arrival.segment };
        let on = SocketId(handle);
        let peer = DatagramPeer { socket: on, address: arrival.from, local: arrival.to };
        let about = About::Datagram(&peer);
        let mut earned = 0;
        for number in 0..arrival.datagrams() {
            let datagram = &message[number * segment..message.len().min((number + 1) * segment)];
            let call = Call::Datagram { on, from: arrival.from, datagram };
            self.outgoing.begin_answer(datagram.len());
            let called = self.call(service, about, call);
            earned += self.outgoing.end_answer();
            let Some(effects) = called else { continue };
            let may_have_closed_it = !effects.others.is_empty();
            self.apply(service, about, effects, &[]);
            if may_have_closed_it && self.net.datagram(handle).is_none() {
                return;
            }
        }
        self.accounts.earn(arrival.from.ip(), earned);
        if self.outgoing.bytes.len() >= WORTH_SENDING {
            self.send_datagrams();
        }
    }

    /// Counts an error that a socket reported. It is never fatal: the sender of a
    /// datagram has nothing to do with what an ICMP message says. The service of a
    /// connected socket is told.
    fn datagram_error(&mut self, handle: Handle, service: ServiceId, error: io::Error) {
        self.net.statistics.datagram_errors += 1;
        self.hosts[service].statistics.datagram_errors += 1;
        let (now, name) = (self.net.now, &self.hosts[service].name);
        log::debug!("{name}: a UDP socket reports: {error}");
        let Some(socket) = self.net.datagram(handle) else { return };
        let (is_connected, tag) = (socket.socket.is_connected(), socket.tag);
        socket.failures += 1;
        if socket.failures >= FAILURES_IN_A_ROW {
            let address = socket.socket.address();
            socket.retry_at = Some(now + RETRY);
            self.net.timers.arm(now + RETRY, Wake::Entry(handle));
            let line = format_args!("{name}: UDP {address} cannot be read: {error}; it is tried again soon");
            self.net.notices.say(Notice::Fault, now, line);
        }
        if is_connected {
            self.pending.push_back(Pending::Socket { service, tag, error });
        }
    }

    fn may_answer(&mut self, service: ServiceId, arrival: &Arrival) -> bool {
        if !self.net.loop_guard.would_loop(arrival.from, arrival.to) {
            return true;
        }
        self.net.statistics.datagrams_dropped += arrival.datagrams() as u64;
        self.hosts[service].statistics.datagrams_dropped += arrival.datagrams() as u64;
        let (from, now, name) = (arrival.from, self.net.now, &self.hosts[service].name);
        self.net.notices.say(
            Notice::LoopGuard,
            now,
            format_args!(
                "{name}: a datagram from {from} is ignored: answering that source could make an endless loop"
            ),
        );
        false
    }

    /// Hands the datagrams of the callbacks to the kernel, many per call.
    pub(crate) fn send_datagrams(&mut self) {
        if self.outgoing.list.is_empty() {
            return;
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        self.withhold(&mut outgoing);
        let is_logged = self.follows_conversations();
        let mut start = 0;
        while start < outgoing.list.len() {
            let run = outgoing.next_run(start);
            start += run.len();
            if is_logged {
                self.note_sent(run);
            }
            if let Some(socket) = self.net.datagram(run[0].to.socket.0) {
                let (sent, refusal) = self.sender.send(socket, run, &outgoing.bytes);
                if let Some(error) = refusal.filter(|_| socket.socket.is_connected()) {
                    self.pending.push_back(Pending::Socket {
                        service: socket.service,
                        tag: socket.tag,
                        error,
                    });
                }
                let (sent, dropped) = (sent as u64, (run.len() - sent) as u64);
                let service = socket.service;
                for statistics in [&mut self.net.statistics, &mut self.hosts[service].statistics] {
                    statistics.datagrams_sent += sent;
                    statistics.datagrams_dropped += dropped;
                }
            }
        }
        if std::mem::take(&mut self.sender.met_full_buffer) {
            self.neighbours.buffer_is_full(self.now, || self.system.neighbourhood());
        }
        outgoing.clear();
        self.outgoing = outgoing;
    }

    /// The one place that decides whether a datagram may be sent to its address.
    fn withhold(&mut self, outgoing: &mut Outgoings) {
        let Reactor { net, hosts, accounts, neighbours, system, now, .. } = self;
        outgoing.list.retain(|datagram| {
            let Some(socket) = net.datagram(datagram.to.socket.0) else { return false };
            if socket.socket.is_connected() {
                // The service chose its peer.
                return true;
            }
            let slot = &mut hosts[socket.service];
            let limit = slot.limits.datagrams_per_second;
            let admitted = accounts.admit(socket.service, limit, datagram, *now);
            let mut is_reached = || {
                let (to, length) = (datagram.to.address.ip(), datagram.end - datagram.start);
                !datagram.is_to_a_source() || neighbours.admit(to, length, *now, || system.neighbourhood())
            };
            let why = match admitted {
                Ok(()) if is_reached() => return true,
                Ok(()) => Withheld::Unreached,
                Err(why) => why,
            };
            let (at, name, address) = (net.now, &slot.name, datagram.to.address.ip());
            net.notices.say(Notice::DatagramLimit, at, format_args!("{name}: {address} {why}"));
            for statistics in [&mut net.statistics, &mut slot.statistics] {
                statistics.datagrams_dropped += 1;
                statistics.datagrams_withheld += u64::from(why != Withheld::TooOften);
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::reactor::audit::Auditor;
    use crate::reactor::net::Entry;
    use crate::service::{Context, DatagramSpec, Membership, Overflow, Room, Service};
    use crate::system::simulated::{Nature, World};

    fn at(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn hosted(service: impl Service + 'static) -> (World, Reactor) {
        let world = World::new(Nature::calm());
        let mut reactor = Reactor::simulated(&world).unwrap();
        reactor.host("test", service).udp(at(1000)).start().unwrap();
        (world, reactor)
    }

    fn turn(reactor: &mut Reactor) {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        Auditor::default().look(reactor).unwrap();
    }

    /// A datagram joins, `close` closes the socket.
    struct Door;

    impl Service for Door {
        type Session = ();

        fn datagram(&mut self, on: SocketId, _: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
            match datagram {
                b"close" => cx.close_socket(on),
                _ => cx.join(Room(0), Membership { overflow: Overflow::Disconnect, lines: false }),
            }
        }
    }

    #[test]
    fn the_members_of_a_socket_that_is_closed_leave_their_rooms() {
        let (world, mut reactor) = hosted(Door);
        let socket = reactor.net.handles(|entry| matches!(entry, Entry::Datagram(_)))[0];
        let member = DatagramPeer { socket: SocketId(socket), address: at(2000), local: None };
        let mut is_member = |datagram: &[u8]| {
            world.send_datagram(at(2000), at(1000), datagram);
            (0..3).for_each(|_| turn(&mut reactor));
            reactor.rooms.peer_id(ServiceId(0), Room(0), &member).is_some()
        };
        assert!(is_member(b"join"));
        assert!(!is_member(b"close"));
    }

    /// Opens sockets on one port, one after the other, each closed at its first datagram.
    struct Opens {
        told_of: Option<SocketId>,
    }

    impl Opens {
        fn open(cx: &mut Context<'_>) {
            cx.open_socket(0, DatagramSpec { listens_only: true, ..DatagramSpec::bound(at(3000)) });
        }
    }

    impl Service for Opens {
        type Session = ();

        fn start(&mut self, cx: &mut Context<'_>) {
            cx.post("test", Box::new(()));
        }

        fn message(&mut self, _: crate::service::Message, cx: &mut Context<'_>) {
            Opens::open(cx);
        }

        fn socket(&mut self, _: u64, opened: io::Result<SocketId>, _: &mut Context<'_>) {
            self.told_of = opened.ok();
        }

        fn datagram(&mut self, on: SocketId, _: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
            assert_eq!(self.told_of.take(), Some(on), "a datagram before its socket");
            cx.close_socket(on);
            cx.post("test", Box::new(()));
        }
    }

    #[test]
    fn a_socket_is_told_of_before_its_first_datagram() {
        let (world, mut reactor) = hosted(Opens { told_of: None });
        for _ in 0..30 {
            world.send_datagram(at(2000), at(3000), b"x");
            turn(&mut reactor);
        }
        let counted = reactor.statistics();
        assert_eq!(counted.panics, 0);
        assert!(counted.datagrams_received > 5, "{counted:?}");
    }

    struct Echo;

    impl Service for Echo {
        type Session = ();

        fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
            cx.send_to(on, from, datagram);
        }
    }

    /// Sends a kilobyte a hundred times to whoever asks: as a guest, or once it has proven
    /// that it receives here.
    struct Generous;

    impl Service for Generous {
        type Session = ();

        fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
            for _ in 0..100 {
                match datagram {
                    b"proven" => cx.send_to_proven(on, from, &[0; 1000]),
                    _ => cx.send_to(on, from, &[0; 1000]),
                }
            }
        }
    }

    #[test]
    fn no_account_bounds_what_a_proven_peer_is_sent() {
        let (world, mut reactor) = hosted(Generous);
        let mut sent = |question: &[u8]| {
            world.send_datagram(([192, 0, 2, 1], 2000).into(), at(1000), question);
            (0..3).for_each(|_| turn(&mut reactor));
            world.take_outside().len()
        };
        assert!(sent(b"asked") < 10);
        assert_eq!(sent(b"proven"), 100);
        assert!(sent(b"asked") < 10, "it has earned nothing");
        assert!(reactor.statistics().datagrams_withheld > 100);
    }

    #[test]
    fn a_socket_that_cannot_be_read_does_not_keep_the_loop_busy() {
        let (world, mut reactor) = hosted(Echo);
        world.fail_receives(at(1000), Some(io::ErrorKind::OutOfMemory));
        world.send_datagram(at(2000), at(1000), b"x");
        for _ in 0..10_000 {
            reactor.turn(Some(Duration::from_secs(1))).unwrap();
            if world.micros() >= SECOND {
                break;
            }
        }
        assert!(world.micros() >= SECOND, "no time passes");
        let errors = reactor.statistics().datagram_errors;
        assert!((16..=30).contains(&errors), "{errors} in a second");
        world.fail_receives(at(1000), None);
        world.leap(Duration::from_micros(RETRY));
        (0..3).for_each(|_| turn(&mut reactor));
        assert_eq!(world.take_outside().len(), 1, "what came meanwhile is answered");
    }
}
