//! Serving what is ready: the ready queue, and the connections in it.
//!
//! The whole path of a message, from here to `Stream::write`, is inlined into one
//! function. Otherwise an echo took 900 user instructions, a quarter of which only
//! saved and restored registers.

use std::net::SocketAddr;

use super::stream::{Kept, ReadOutcome, State, Stream};
use crate::reactor::dispatch::calls::About;
use crate::reactor::dispatch::host::Call;
use crate::reactor::net::Kind;
use crate::reactor::{CALLS_PER_TURN, Reactor};
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Farewell, Input};

/// Whose input a service is shown.
pub(crate) struct Shown {
    pub handle: Handle,
    pub service: ServiceId,
    pub peer: SocketAddr,
    /// How much of the input was left unread before.
    pub kept: usize,
}

impl Reactor {
    /// Serves everything that is ready once; what is still ready goes to the back
    /// of the queue.
    pub(crate) fn serve_ready(&mut self) {
        for _ in 0..self.net.ready.len().min(CALLS_PER_TURN) {
            match self.net.next_ready() {
                Some((handle, Kind::Stream)) => self.serve_stream(handle),
                Some((handle, Kind::Datagram)) => self.serve_datagrams(handle),
                Some((handle, Kind::Listener)) => self.accept(handle),
                Some((handle, Kind::Keyboard)) => self.serve_keyboard(handle),
                None => return,
            }
        }
    }

    /// Sends first. While output is unsent, an accepted connection is not read: a
    /// peer that does not take its answers cannot ask for more.
    #[inline(always)]
    fn serve_stream(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        match stream.state {
            State::Connecting => return self.finish_connecting(handle),
            State::Closed => return,
            State::Open | State::Finishing | State::Lingering => {}
        }
        if stream.is_plainly_open() {
            return self.read_stream(handle);
        }
        if stream.outbox.is_some() && stream.latch.is_writable() {
            match stream.flush(now) {
                Ok(written) => self.flushed(handle, written),
                Err(why) => return self.close(handle, why),
            }
        }
        let Some(stream) = self.net.stream(handle) else { return };
        if stream.holds_back_reading() {
            return;
        }
        if stream.state == State::Finishing {
            return self.finish(handle);
        }
        if stream.more_to_send && stream.outbox.is_none() && stream.state == State::Open {
            stream.more_to_send = false;
            let (service, session) = (stream.service, stream.session);
            self.call_stream(handle, service, Call::RoomToSend(session), &[]);
        }
        self.read_stream(handle);
    }

    /// Some of the unsent output is out. Once all of it is, other deadlines apply.
    fn flushed(&mut self, handle: Handle, written: usize) {
        let now = self.net.now;
        self.net.statistics.bytes_sent += written as u64;
        if let Some(stream) = self.net.stream(handle)
            && stream.outbox.is_none()
        {
            stream.restart_message_clock(now);
            self.net.arm(handle, &self.hosts);
        }
    }

    fn finish_connecting(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        if !stream.latch.is_writable() {
            return;
        }
        match stream.connected(now) {
            None => stream.latch.write_blocked(),
            Some(Err(error)) => self.close(handle, CloseReason::NotConnected(error)),
            Some(Ok(())) => {
                let (service, session) = (stream.service, stream.session);
                self.call_stream(handle, service, Call::Open(session), &[]);
                // Other deadlines hold from now on, whether it sent or not.
                self.net.arm(handle, &self.hosts);
                self.read_stream(handle);
            }
        }
    }

    /// Reads once, and shows the service its unread input.
    #[inline(always)]
    fn read_stream(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        let may_read = stream.latch.is_readable() && !stream.end_of_input;
        if stream.state == State::Closed || stream.holds_back_reading() || !(may_read || stream.show_again) {
            return;
        }
        if stream.state == State::Lingering {
            return self.discard(handle);
        }
        if stream.is_paused(now) {
            return;
        }
        let (service, session, peer) = (stream.service, stream.session, stream.peer);
        if let Some(room) = stream.room
            && self.rooms.is_full(service, room)
        {
            if stream.latch.park() {
                self.rooms.wait_for_space(service, room, handle);
            }
            return;
        }
        stream.show_again = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        let kept = stream.kept.as_ref().map_or(0, |kept| {
            buffer[..kept.bytes.len()].copy_from_slice(&kept.bytes);
            kept.bytes.len()
        });
        let outcome = if may_read && kept < buffer.len() {
            stream.read(&mut buffer[kept..], now)
        } else {
            ReadOutcome::Blocked
        };
        let is_drained = !stream.latch.is_readable();
        let shown = Shown { handle, service, peer, kept };
        match outcome {
            ReadOutcome::Bytes(count) => {
                self.net.statistics.bytes_received += count as u64;
                self.show(shown, &buffer[..kept + count], |input| Call::Receive(session, input));
            }
            ReadOutcome::Blocked if kept > 0 => {
                self.show(shown, &buffer[..kept], |input| Call::Receive(session, input));
            }
            ReadOutcome::Blocked => {}
            ReadOutcome::EndOfInput => {
                self.show(shown, &buffer[..kept], |input| Call::EndOfInput(session, input));
            }
            ReadOutcome::Failed(why) => self.close(handle, why),
        }
        self.buffer = buffer;
        if !is_drained {
            self.net.read_on(handle);
        }
    }

    /// Calls the service with its unread input, and keeps what it leaves.
    #[inline(always)]
    pub(crate) fn show<'b, F>(&mut self, shown: Shown, bytes: &'b [u8], call: F)
    where
        F: for<'a> FnOnce(&'a mut Input<'b>) -> Call<'a, 'b>,
    {
        let Shown { handle, service, peer, kept } = shown;
        let mut input = Input::new(bytes);
        let about = About::Connection { handle, peer: &peer };
        let Some(effects) = self.call(service, about, call(&mut input)) else {
            return self.close(handle, CloseReason::Panicked);
        };
        let consumed = input.consumed();
        let rest = &bytes[consumed..];
        if kept > 0 || !rest.is_empty() {
            let now = self.net.now;
            if let Some(stream) = self.net.stream(handle) {
                keep_unread(stream, rest, consumed, now);
            }
        }
        self.apply(service, about, effects, bytes);
        let limit = self.hosts[service].limits.longest_unread(self.longest_input);
        if rest.len() > limit {
            self.check_unread(handle, limit);
        }
    }

    fn check_unread(&mut self, handle: Handle, limit: usize) {
        if let Some(stream) = self.net.stream(handle)
            && stream.state == State::Open
            && stream.paused_until().is_none()
            && stream.kept.as_ref().is_some_and(|kept| kept.bytes.len() > limit)
        {
            self.close(handle, CloseReason::GivenUp(Farewell::TooLong));
        }
    }

    /// After our half-close: reads and discards input until the peer's end. Input
    /// does not move the deadline, or a peer that drips could hold the connection
    /// forever.
    fn discard(&mut self, handle: Handle) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Some(stream) = self.net.stream(handle) {
            let lingering_since = stream.active();
            let outcome = stream.read(&mut buffer, lingering_since);
            let has_more = stream.latch.is_readable();
            match outcome {
                ReadOutcome::Bytes(count) => {
                    self.net.statistics.bytes_received += count as u64;
                    if has_more {
                        self.net.enqueue(handle);
                    }
                }
                ReadOutcome::Blocked => {}
                ReadOutcome::EndOfInput => self.close(handle, CloseReason::ByPeer),
                ReadOutcome::Failed(why) => self.close(handle, why),
            }
        }
        self.buffer = buffer;
    }
}

fn keep_unread(stream: &mut Stream, rest: &[u8], consumed: usize, now: u64) {
    if rest.is_empty() {
        stream.kept = None;
        return;
    }
    let kept = stream.kept.get_or_insert_with(|| Box::new(Kept { bytes: Vec::new(), since: now }));
    if consumed > 0 {
        kept.since = now;
    }
    kept.bytes.clear();
    kept.bytes.extend_from_slice(rest);
}
