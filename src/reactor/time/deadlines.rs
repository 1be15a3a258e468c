//! What happens when a deadline passes.

use std::io;

use super::timers::{NEVER, Wake};
use crate::reactor::Reactor;
use crate::reactor::dispatch::host::Call;
use crate::reactor::net::Entry;
use crate::reactor::tcp::stream::Due;
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Farewell};

impl Reactor {
    /// Fires the ticks that are due, and returns the other wake-ups that are, for
    /// [`Reactor::fire_deadlines`].
    pub(crate) fn fire_ticks(&mut self) -> Vec<(u64, Handle)> {
        if self.net.timers.next().is_none_or(|at| at > self.net.now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.net.timers.take_due(self.net.now, &mut due);
        let mut deadlines = Vec::new();
        for (at, wake) in due {
            match wake {
                Wake::Service(service) => self.fire_tick(service, at),
                Wake::Entry(handle) => deadlines.push((at, handle)),
            }
        }
        deadlines
    }

    /// Does what is due for connections, listeners and UDP sockets.
    pub(crate) fn fire_deadlines(&mut self, due: Vec<(u64, Handle)>) {
        for (at, handle) in due {
            match self.net.get(handle) {
                Some(Entry::Stream(stream)) if stream.armed == at => {
                    stream.armed = NEVER;
                    self.fire_deadline(handle);
                }
                Some(Entry::Listener(listener)) if listener.retry_at == Some(at) => self.retry_listeners(),
                Some(Entry::Datagram(socket)) if socket.retry_at == Some(at) => {
                    socket.retry_at = None;
                    self.net.enqueue(handle);
                }
                _ => self.net.timers.dropped_stale(),
            }
        }
        self.net.compact_timers(&self.hosts);
        self.sweep_conversations();
        self.retry_read_ahead();
    }

    fn fire_tick(&mut self, service: ServiceId, at: u64) {
        let slot = &mut self.hosts[service];
        if slot.tick == Some(at) {
            slot.tick = None;
            self.call_service(service, Call::Tick);
        } else {
            self.net.timers.dropped_stale();
        }
    }

    fn fire_deadline(&mut self, handle: Handle) {
        let now = self.net.now;
        let draining_since = self.net.draining_since;
        let Some(stream) = self.net.stream(handle) else { return };
        let session = stream.session;
        let Some((at, due)) = stream.next_due(&self.hosts[stream.service].terms(draining_since)) else {
            return;
        };
        if at > now {
            return self.net.arm(handle, &self.hosts);
        }
        let concerns_its_peer = matches!(due, Due::Idle | Due::Message | Due::Service);
        if concerns_its_peer && stream.may_be_read(now) {
            // It is not its peer that is late: the turn's budget ended before it, or
            // its pause ends at this very moment.
            stream.armed = at;
            self.net.timers.arm(at, Wake::Entry(handle));
            return self.net.read_on(handle);
        }
        match due {
            Due::Connect => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "no answer");
                self.close(handle, CloseReason::NotConnected(error));
            }
            Due::Linger | Due::Drain => self.close(handle, CloseReason::CutOff),
            Due::Send if stream.takes_output(now) => {}
            Due::Send => self.close(handle, CloseReason::SendTimeout),
            Due::Excess if stream.keeps_pace(now) => {}
            Due::Excess => self.close(handle, CloseReason::TooSlow),
            Due::Idle => self.close(handle, CloseReason::GivenUp(Farewell::Idle)),
            Due::Message => self.close(handle, CloseReason::GivenUp(Farewell::MessageTimeout)),
            Due::Pause => self.net.resume(handle),
            Due::Service => {
                stream.set_deadline(None);
                self.show_kept(handle, |input| Call::Timeout(session, input));
            }
        }
        self.net.read_on(handle);
        self.net.arm(handle, &self.hosts);
    }
}
