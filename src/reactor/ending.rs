//! How connections, services and the whole reactor end.

use super::Reactor;
use super::calls::About;
use super::host::Call;
use super::net::Entry;
use super::stream::{State, Stream};
use crate::service::CloseReason;

impl Reactor {
    /// Takes out what closed in this turn and tells the services.
    pub(super) fn reap(&mut self) {
        while let Some(handle) = self.net.closing.pop() {
            let now = self.net.now;
            let Some(Entry::Stream(stream)) = self.net.get(handle) else { continue };
            let (host, session, peer) = (stream.host, stream.session, stream.peer);
            let why = stream.close_reason();
            if stream.room.is_some() {
                self.rooms.leave_all(host, handle);
            }
            if log::log_enabled!(log::Level::Debug) {
                let obituary = stream.obituary(now);
                log::debug!("{}: {peer} ended: {why}; {obituary}", self.hosts[host as usize].name);
            }
            if session != u32::MAX
                && let Some(effects) =
                    self.call(host, About::Connection { handle, peer }, Call::Closed(session, &why))
            {
                self.apply(host, About::Service, effects, &[]);
            }
            let Some(Entry::Stream(stream)) = self.net.take(handle) else { continue };
            let slot = &mut self.hosts[host as usize];
            slot.connections -= 1;
            self.net.statistics.connections -= 1;
            if stream.counted_peer
                && let Some(count) = slot.per_peer.get_mut(&peer.ip())
            {
                *count -= 1;
                if *count == 0 {
                    slot.per_peer.remove(&peer.ip());
                }
            }
            if why.is_timeout() {
                self.net.statistics.timed_out += 1;
            }
            drop(stream);
            self.retry_listeners();
        }
        self.send_datagrams();
    }

    pub(super) fn close_listeners(&mut self) {
        for handle in self.net.handles(|entry| matches!(entry, Entry::Listener(_) | Entry::Keyboard(_))) {
            self.net.remove(handle);
        }
    }

    /// In a drain: ends the connections that have nothing to send any more.
    pub(super) fn close_idle(&mut self) {
        let is_idle = |stream: &Stream| match stream.state {
            State::Open => stream.outbox.is_none() && !stream.more_to_send,
            State::Connecting => true,
            // With unread input in the kernel, closing would send RST.
            State::Lingering => !stream.latch.is_readable(),
            State::Finishing | State::Closed => false,
        };
        let idle: Vec<_> =
            self.net.streams().filter(|(_, stream)| is_idle(stream)).map(|(handle, _)| handle).collect();
        for handle in idle {
            self.net.end(handle, CloseReason::ShuttingDown);
        }
    }

    /// Ends a service and everything of it.
    pub(super) fn stop_service(&mut self, host: u16) {
        let its = self.net.handles(|entry| match entry {
            Entry::Listener(listener) => listener.host == host,
            Entry::Datagram(datagram) => datagram.host == host,
            Entry::Keyboard(keyboard) => keyboard.host == host,
            Entry::Stream(stream) => stream.host == host,
        });
        self.hosts[host as usize].service = None;
        self.rooms.close_rooms(host);
        self.set_tick(host, None);
        for handle in its {
            match self.net.stream(handle) {
                Some(_) => self.net.end(handle, CloseReason::ShuttingDown),
                None => self.net.remove(handle),
            }
        }
    }
}
