//! How connections, services and the whole reactor end.

use super::Reactor;
use super::net::Entry;
use crate::reactor::dispatch::calls::About;
use crate::reactor::dispatch::host::Call;
use crate::reactor::tcp::stream::{State, Stream};
use crate::reactor::time::timers::SECOND;
use crate::service::CloseReason;

/// How long, in a drain, a connection that was busy waits for its peer's end,
/// unless the `linger` option says otherwise.
pub(crate) const DRAIN_GRACE: u64 = SECOND / 4;

impl Reactor {
    /// Takes out what closed in this turn and tells the services.
    pub(crate) fn reap(&mut self) {
        while let Some(handle) = self.net.closing.pop() {
            let now = self.net.now;
            let Some(Entry::Stream(stream)) = self.net.get(handle) else { continue };
            let (host, session, peer) = (stream.host, stream.session, stream.peer);
            let why = stream.close_reason();
            if log::log_enabled!(log::Level::Debug) {
                let obituary = stream.obituary(now);
                log::debug!("{}: {peer} ended: {why}; {obituary}", self.hosts[host as usize].name);
            }
            if session != u32::MAX
                && let Some(effects) =
                    self.call(host, About::Connection { handle, peer: &peer }, Call::Closed(session, &why))
            {
                self.apply(host, About::Service, effects, &[]);
            }
            // Last, since the service may join it to a room until now.
            self.rooms.leave_all(host, handle);
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

    pub(crate) fn close_listeners(&mut self) {
        for handle in self.net.handles(|entry| matches!(entry, Entry::Listener(_) | Entry::Keyboard(_))) {
            self.net.remove(handle);
        }
    }

    /// In a drain: ends the connections that have nothing to send any more. One
    /// that was busy a moment ago may have output on its way in the kernel, which
    /// a plain close and a late byte of the peer would destroy: it is half-closed
    /// and waits for its peer a little longer.
    pub(crate) fn close_idle(&mut self) {
        let now = self.net.now;
        let is_idle = |stream: &Stream| match stream.state {
            State::Open => stream.outbox.is_none() && !stream.more_to_send,
            State::Connecting => true,
            State::Finishing | State::Lingering | State::Closed => false,
        };
        let idle: Vec<_> = self
            .net
            .streams()
            .filter(|(_, stream)| is_idle(stream))
            .map(|(handle, stream)| (handle, stream.host, stream.active()))
            .collect();
        for (handle, host, active) in idle {
            if now - active < self.hosts[host as usize].terms(self.net.draining_since).linger {
                self.net.finish(handle, CloseReason::ShuttingDown);
                self.net.arm(handle, &self.hosts);
            } else {
                self.net.end(handle, CloseReason::ShuttingDown);
            }
        }
    }

    /// Ends a service and everything of it.
    pub(crate) fn stop_service(&mut self, host: u32) {
        let its = self.net.handles(|entry| match entry {
            Entry::Listener(listener) => listener.host == host,
            Entry::Datagram(datagram) => datagram.host == host,
            Entry::Keyboard(keyboard) => keyboard.host == host,
            Entry::Stream(stream) => stream.host == host,
        });
        let service = self.hosts[host as usize].service.take();
        self.guarded(host, |_| drop(service));
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
