//! Serving UDP sockets: a batch in, the service's answers out in a batch.

use std::io;

use super::accounts::Withheld;
use super::conversations;
use crate::reactor::Reactor;
use crate::reactor::dispatch::calls::{About, Pending};
use crate::reactor::dispatch::host::Call;
use crate::reactor::notices::Notice;
use crate::service::effects::Outgoings;
use crate::service::ids::{Handle, ServiceId, SocketId};
use crate::service::rooms::DatagramPeer;
use crate::system::Arrival;

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
        if !socket.latch.is_readable() {
            return;
        }
        let (is_connected, listens_only) = (socket.socket.is_connected(), socket.listens_only);
        let mut receiver = std::mem::take(&mut self.receiver);
        let outcome = receiver.receive(socket);
        if let Err(error) = outcome {
            self.datagram_error(service, is_connected, error);
        }
        let came: usize = receiver.arrivals.iter().map(Arrival::datagrams).sum();
        self.net.statistics.datagrams_received += came as u64;
        self.net.ready.count_messages(came);
        let is_logged = conversations::are_logged();
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
        if self.net.datagram(handle).is_some_and(|socket| socket.latch.is_readable()) {
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
    fn datagram_error(&mut self, service: ServiceId, is_connected: bool, error: io::Error) {
        self.net.statistics.datagram_errors += 1;
        log::debug!("{}: a UDP socket reports: {error}", self.hosts[service].name);
        if is_connected {
            self.pending.push_back(Pending::Socket { service, opened: Err(error) });
        }
    }

    fn may_answer(&mut self, service: ServiceId, arrival: &Arrival) -> bool {
        if !self.net.loop_guard.would_loop(arrival.from, arrival.to) {
            return true;
        }
        self.net.statistics.datagrams_dropped += arrival.datagrams() as u64;
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
        let is_logged = conversations::are_logged();
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
                    self.pending.push_back(Pending::Socket { service: socket.service, opened: Err(error) });
                }
                self.net.statistics.datagrams_sent += sent as u64;
                self.net.statistics.datagrams_dropped += (run.len() - sent) as u64;
            }
        }
        outgoing.clear();
        self.outgoing = outgoing;
    }

    /// The one place that decides whether a datagram may be sent to its address.
    fn withhold(&mut self, outgoing: &mut Outgoings) {
        let Reactor { net, hosts, accounts, now, .. } = self;
        outgoing.list.retain(|datagram| {
            let Some(socket) = net.datagram(datagram.to.socket.0) else { return false };
            if socket.socket.is_connected() {
                // The service chose its peer.
                return true;
            }
            let slot = &hosts[socket.service];
            let limit = slot.limits.datagrams_per_second;
            let Err(why) = accounts.admit(socket.service, limit, datagram, *now) else { return true };
            let (at, name, address) = (net.now, &slot.name, datagram.to.address.ip());
            net.statistics.datagrams_dropped += 1;
            net.notices.say(Notice::DatagramLimit, at, format_args!("{name}: {address} {why}"));
            net.statistics.datagrams_withheld += u64::from(why == Withheld::TooMuch);
            false
        });
    }
}
