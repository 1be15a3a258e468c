//! Accepting connections, turning them away, and surviving without descriptors.

use std::io;
use std::net::SocketAddr;

use super::listener::{self, ACCEPTS_PER_TURN};
use super::stream::{State, Stream};
use crate::reactor::Reactor;
use crate::reactor::dispatch::host::Call;
use crate::reactor::net::Entry;
use crate::reactor::notices::Notice;
use crate::reactor::time::timers::{SECOND, Wake};
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Farewell};
use crate::system::{StreamSocket, is_out_of_descriptors};

/// How long a listener that found no free descriptor rests, unless a connection
/// closes sooner.
const ACCEPT_RETRY: u64 = SECOND / 10;

impl Reactor {
    /// Not inlined: it would take registers from the path of a message.
    #[inline(never)]
    pub(crate) fn accept(&mut self, handle: Handle) {
        let mut starved = false;
        for _ in 0..ACCEPTS_PER_TURN {
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
        let words = self.farewell_of(service, Farewell::Full);
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
        self.net.statistics.refused += turned_away as u64;
        let (now, name) = (self.net.now, &self.hosts[service].name);
        self.net.notices.say(
            Notice::Refused,
            now,
            format_args!(
                "{name}: {turned_away} connections are turned away: no descriptor is free ({error})"
            ),
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
        if let Some(why) = self.refusal(service, peer) {
            return self.refuse(service, socket, peer, why);
        }
        let Some(session) = self.new_session(service) else { return };
        let slot = &mut self.hosts[service];
        let mut stream = Stream::new(socket, peer, service, session, State::Open, self.net.now);
        stream.counted_peer = slot.limits.connections_per_peer > 0;
        let counted_peer = stream.counted_peer;
        match self.net.insert(Entry::Stream(stream)) {
            Ok(handle) => {
                slot.connections += 1;
                if counted_peer {
                    *slot.per_peer.entry(peer.ip()).or_default() += 1;
                }
                self.net.statistics.connections += 1;
                self.net.statistics.accepted += 1;
                self.net.memory.grew_by_a_connection();
                log::debug!("{}: {peer} connected", slot.name);
                self.call_stream(handle, service, Call::Open(session), &[]);
                self.net.arm(handle, &self.hosts);
            }
            Err(error) => {
                log::error!("{}: cannot watch the connection of {peer}: {error}", slot.name);
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
        let from_peer = slot.per_peer.get(&peer.ip()).copied().unwrap_or(0);
        over(slot.limits.connections_per_peer, from_peer).then_some(Farewell::TooManyFromPeer)
    }

    fn refuse(&mut self, service: ServiceId, socket: StreamSocket, peer: SocketAddr, why: Farewell) {
        let words = self.farewell_of(service, why);
        listener::turn_away(socket, &words);
        log::debug!("{}: {peer} ended: refused, {why}", self.hosts[service].name);
        self.record(&CloseReason::GivenUp(why), service, peer, 0);
    }
}
