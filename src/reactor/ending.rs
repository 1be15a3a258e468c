//! How connections and services end; `drain` says how the whole reactor does.
//!
//! Every end of a connection goes through [`Reactor::close`], which takes a reason.
//! One table, [`ending`], says for each reason how the connection ends, whether the
//! log has a line at info, and what is counted. A connection goes through these
//! states ([`State`]):
//!
//! ```text
//!    accept            connect
//!       │                 │
//!       │                 ▼
//!       │           ┌────────────┐  any reason
//!       │           │ Connecting ├───────────────────────────┐
//!       │           └─────┬──────┘                           │
//!       │                 │ connected                        │
//!       ▼                 ▼                                  │
//!    ┌────────────────────────┐  at once, with reset         │
//!    │          Open          ├─────────────────────────────▶┤
//!    └───────────┬────────────┘                              │
//!                │ orderly                                   │
//!                ▼                                           │
//!    ┌────────────────────────┐  at once, with reset;        │
//!    │       Finishing        │  or all is out, and the      │
//!    │  the outbox goes out   │  peer's end was read before  │
//!    │                        ├─────────────────────────────▶┤
//!    └───────────┬────────────┘                              │
//!                │ all is out: shutdown(Write)               │
//!                ▼                                           ▼
//!    ┌────────────────────────┐  the peer's end,     ┌──────────────┐
//!    │       Lingering        │  the linger deadline │    Closed    │
//!    │   input is discarded   ├─────────────────────▶│ until reaped │
//!    └────────────────────────┘                      └──────────────┘
//! ```
//!
//! A connection lingers because closing it with unread input would send RST, which
//! destroys the output that is still on its way to the peer. A closed connection is
//! reaped at the end of the turn: its service is told, and its descriptor is closed.

use std::fmt;
use std::net::SocketAddr;

use super::Reactor;
use super::net::Entry;
use super::notices::Notice;
use crate::reactor::dispatch::calls::About;
use crate::reactor::dispatch::host::Call;
use crate::reactor::tcp::outbox::PIECE_COST;
use crate::reactor::tcp::stream::{Parts, State, Stream};
use crate::reactor::time::timers::SECOND;
use crate::service::effects::Piece;
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Farewell};
use crate::wording::counted;

/// How long a connection that was busy waits for its peer's end in a drain, unless
/// the `linger` option says otherwise.
pub(crate) const DRAIN_GRACE: u64 = SECOND / 4;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Its output goes out, then it is half-closed and lingers.
    Orderly,
    /// Immediately: there is no peer left to wait for, or no time. If output is unsent, it
    /// is with a reset all the same.
    AtOnce,
    /// At once, with a reset, so that the peer does not take a cut answer for a
    /// whole one.
    WithReset,
}

/// Which of the [`Statistics`](crate::reactor::Statistics) counts an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    Refused,
    TimedOut,
    TooSlow,
}

/// What is done for a reason.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    manner: Manner,
    /// The kind of its log line at info. Every end also has a line at debug, when
    /// it is reaped.
    notice: Option<Notice>,
    counter: Option<Counter>,
}

/// The table of ends. A reason that the protocol may have words for is a
/// [`CloseReason::GivenUp`] and carries its farewell. Panics are counted where they
/// are caught, because not every panic is about a connection.
fn ending(reason: &CloseReason) -> Ending {
    use CloseReason as Reason;
    use Farewell::{Full, Idle, MessageTimeout, TooLong, TooManyFromPeer};
    use Manner::{AtOnce, Orderly, WithReset};
    let (manner, notice, counter) = match reason {
        Reason::ByUs => (Orderly, None, None),
        Reason::ShuttingDown => (Orderly, None, None),
        Reason::GivenUp(Idle) => (Orderly, Some(Notice::Timeout), Some(Counter::TimedOut)),
        Reason::GivenUp(MessageTimeout) => (Orderly, Some(Notice::Timeout), Some(Counter::TimedOut)),
        Reason::GivenUp(TooLong) => (Orderly, Some(Notice::Limit), None),
        Reason::GivenUp(Full) => (Orderly, Some(Notice::Refused), Some(Counter::Refused)),
        Reason::GivenUp(TooManyFromPeer) => (Orderly, Some(Notice::Refused), Some(Counter::Refused)),
        Reason::ByPeer => (AtOnce, None, None),
        Reason::Reset => (AtOnce, None, None),
        Reason::NotConnected(_) => (AtOnce, None, None),
        Reason::CutOff => (AtOnce, None, None),
        Reason::SendTimeout => (WithReset, Some(Notice::Timeout), Some(Counter::TimedOut)),
        Reason::TooSlow => (WithReset, Some(Notice::TooSlow), Some(Counter::TooSlow)),
        Reason::OutOfMemory => (WithReset, Some(Notice::Limit), None),
        Reason::FileShrank => (WithReset, Some(Notice::Fault), None),
        Reason::Aborted => (WithReset, None, None),
        Reason::Failed(_) => (WithReset, None, None),
        Reason::Panicked => (WithReset, None, None),
    };
    Ending { manner, notice, counter }
}

impl Reactor {
    /// Ends a connection as the table says for its reason. If it is ending already,
    /// this can only make it end sooner: its service is told the first reason.
    #[cold]
    pub(crate) fn close(&mut self, handle: Handle, reason: CloseReason) {
        let reason = match self.say_farewell(handle, &reason) {
            Ok(()) => reason,
            Err(unspoken) => unspoken,
        };
        self.close_as_asked(handle, reason);
    }

    /// Like [`Reactor::close`], when the service asked for it: the service has sent
    /// the words that it wanted to send.
    pub(crate) fn close_as_asked(&mut self, handle: Handle, reason: CloseReason) {
        let manner = ending(&reason).manner;
        let Some(stream) = self.net.stream(handle) else { return };
        if manner == Manner::WithReset || manner == Manner::AtOnce && stream.outbox.is_some() {
            // Even if it is closed already: its descriptor stays open until it is
            // reaped.
            stream.reset_on_close();
        }
        let next = match (stream.state, manner) {
            (State::Closed, _) => return,
            (State::Finishing, Manner::Orderly) => return self.finish(handle),
            (State::Lingering, Manner::Orderly) => return,
            (State::Open, Manner::Orderly) => State::Finishing,
            (State::Connecting, Manner::Orderly) => State::Closed,
            (_, Manner::AtOnce | Manner::WithReset) => State::Closed,
        };
        stream.state = next;
        let (service, peer, unsent) = (stream.service, stream.peer, stream.unsent());
        let is_answer_to_the_end = stream.end_of_input && matches!(reason, CloseReason::ByUs);
        self.record(&reason, service, peer, unsent);
        if let Some(stream) = self.net.stream(handle) {
            #[cfg(feature = "simulated")]
            stream.socket.ends_for(&reason.to_string());
            stream.because(if is_answer_to_the_end { CloseReason::ByPeer } else { reason });
        }
        match next {
            State::Closed => self.net.closing.push(handle),
            _ => self.finish(handle),
        }
    }

    /// Continues an orderly end: half-closes the connection once all its output is
    /// out.
    pub(crate) fn finish(&mut self, handle: Handle) {
        let now = self.net.now;
        let draining_since = self.net.draining_since;
        let Some(stream) = self.net.stream(handle) else { return };
        if stream.state == State::Finishing && stream.outbox.is_none() {
            let linger = self.hosts[stream.service].terms(draining_since).linger;
            // A drain does not wait for a peer to which nothing can still be on its
            // way.
            if draining_since.is_some() && now - stream.active() >= linger {
                stream.state = State::Closed;
            } else {
                stream.half_close(now);
            }
            match stream.state {
                State::Closed => self.net.closing.push(handle),
                _ if stream.latch.is_readable() => self.net.enqueue(handle),
                _ => {}
            }
        }
        self.net.arm(handle, &self.hosts);
    }

    /// Sends the protocol's words to a connection that is given up. An error is a
    /// reason why the connection ends instead.
    fn say_farewell(&mut self, handle: Handle, reason: &CloseReason) -> Result<(), CloseReason> {
        let CloseReason::GivenUp(farewell) = reason else { return Ok(()) };
        let now = self.net.now;
        let is_open = |stream: &&mut Stream| stream.state == State::Open;
        let Some(stream) = self.net.stream(handle).filter(is_open) else { return Ok(()) };
        let (service, session) = (stream.service, stream.session);
        let words = self.farewell_of(service, Some(session), *farewell);
        // Asking for the words may have stopped the service, by a panic.
        if let Some(stream) = self.net.stream(handle).filter(is_open)
            && !words.is_empty()
        {
            let parts = Parts { scratch: words.as_bytes(), input: &[], others: &[] };
            let written =
                stream.answer(&[Piece::Scratch(0..words.len())], &parts, now).map_err(|cut| cut.why)?;
            self.net.statistics.bytes_sent += written as u64;
            self.net.memory.grew(words.len() + PIECE_COST);
        }
        Ok(())
    }

    /// Logs an end and counts it; `unsent` is what its peer has not taken.
    pub(crate) fn record(
        &mut self,
        reason: &CloseReason,
        service: ServiceId,
        peer: SocketAddr,
        unsent: usize,
    ) {
        let Ending { manner, notice, counter } = ending(reason);
        if let Some(kind) = notice {
            let (now, name) = (self.net.now, &self.hosts[service].name);
            let what = match (kind, manner) {
                (Notice::Refused, _) => "is turned away",
                (_, Manner::Orderly) => "is closed",
                (_, Manner::AtOnce | Manner::WithReset) => "is cut off",
            };
            let notices = &mut self.net.notices;
            if unsent == 0 {
                notices.say(kind, now, format_args!("{name}: {peer} {what}: {reason}"));
            } else {
                let unsent = counted(unsent, "byte");
                notices.say(
                    kind,
                    now,
                    format_args!("{name}: {peer} {what}: {reason}; it has not taken {unsent}"),
                );
            }
        }
        self.count(service, counter, 1);
    }

    /// As [`Reactor::record`], for many at once that have one line.
    pub(crate) fn record_many(
        &mut self,
        service: ServiceId,
        reason: &CloseReason,
        times: u64,
        line: fmt::Arguments<'_>,
    ) {
        let Ending { notice, counter, .. } = ending(reason);
        if let Some(kind) = notice {
            self.net.notices.say(kind, self.net.now, line);
        }
        self.count(service, counter, times);
    }

    fn count(&mut self, service: ServiceId, counter: Option<Counter>, times: u64) {
        for statistics in [&mut self.net.statistics, &mut self.hosts[service].statistics] {
            match counter {
                Some(Counter::Refused) => statistics.refused += times,
                Some(Counter::TimedOut) => statistics.timed_out += times,
                Some(Counter::TooSlow) => statistics.too_slow += times,
                None => {}
            }
        }
    }

    /// Takes out the connections that closed in this turn and tells their services.
    pub(crate) fn reap(&mut self) {
        while let Some(handle) = self.net.closing.pop() {
            let now = self.net.now;
            let Some(Entry::Stream(stream)) = self.net.get(handle) else { continue };
            let (service, session, peer, sent) = (stream.service, stream.session, stream.peer, stream.sent);
            let reason = stream.close_reason();
            // First, so that none begins once its service has been told.
            stream.end_jobs();
            if log::log_enabled!(log::Level::Debug) {
                let summary = stream.summary(now);
                log::debug!("{}: {peer} ended: {reason}; {summary}", self.hosts[service].name);
            }
            if matches!(reason, CloseReason::Panicked) {
                self.drop_session(service, session);
            } else if let Some(effects) = self.call(
                service,
                About::Connection { handle, peer: &peer, sent },
                Call::Closed(session, &reason),
            ) {
                self.apply(service, About::Service, effects, &[]);
            }
            // Last, because until now the service could still join it to a room.
            self.rooms.leave_all(service, handle);
            let Some(Entry::Stream(stream)) = self.net.take(handle) else { continue };
            let slot = &mut self.hosts[service];
            slot.connections -= 1;
            slot.statistics.bytes_received += stream.received;
            slot.statistics.bytes_sent += stream.sent;
            self.net.statistics.connections -= 1;
            if stream.counted_peer {
                slot.per_peer.remove(peer.ip());
                self.per_peer.remove(peer.ip());
            }
            drop(stream);
            self.retry_listeners();
        }
        self.send_datagrams();
    }

    /// Ends a service and everything that belongs to it.
    pub(crate) fn stop_service(&mut self, service: ServiceId) {
        let its = self.net.handles(|entry| match entry {
            Entry::Listener(listener) => listener.service == service,
            Entry::Datagram(datagram) => datagram.service == service,
            Entry::Keyboard(keyboard) => keyboard.service == service,
            Entry::Stream(stream) => stream.service == service,
        });
        let stopped = self.hosts[service].service.take();
        self.guarded(service, |_| drop(stopped));
        self.rooms.close_rooms(service);
        self.set_tick(service, None);
        for handle in its {
            match self.net.stream(handle) {
                Some(_) => self.close(handle, CloseReason::CutOff),
                None => self.net.remove(handle),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cut_answer_never_looks_like_a_whole_one() {
        let failed = CloseReason::Failed(io::ErrorKind::OutOfMemory.into());
        for reason in [failed, CloseReason::Panicked, CloseReason::SendTimeout, CloseReason::TooSlow] {
            assert_eq!(ending(&reason).manner, Manner::WithReset, "{reason}");
        }
    }

    #[test]
    fn a_client_that_is_sent_a_farewell_is_not_reset() {
        for farewell in [
            Farewell::Idle,
            Farewell::MessageTimeout,
            Farewell::TooLong,
            Farewell::Full,
            Farewell::TooManyFromPeer,
        ] {
            let ending = ending(&CloseReason::GivenUp(farewell));
            assert_eq!(ending.manner, Manner::Orderly, "{farewell}");
            assert!(ending.notice.is_some(), "{farewell}: the log says so");
        }
    }
}
