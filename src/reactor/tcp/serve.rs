//! Serving what is ready: the ready queue, and the connections in it.
//!
//! The whole path of a message, from here to `Stream::write`, is inlined into one
//! function. Otherwise an echo took 900 user instructions, a quarter of which only
//! saved and restored registers.

use std::net::SocketAddr;

use super::kept::{Kept, Unread};
use super::stream::{Cut, Flushed, ReadOutcome, State};
use crate::reactor::Reactor;
use crate::reactor::dispatch::calls::About;
use crate::reactor::dispatch::host::Call;
use crate::reactor::net::Kind;
use crate::reactor::ready::LIGHT_CALL;
use crate::service::ids::{Handle, ServiceId};
use crate::service::{CloseReason, Farewell, Input};

/// Whose input a service is shown.
struct Shown {
    handle: Handle,
    service: ServiceId,
    peer: SocketAddr,
    /// What the kernel has taken of its output.
    sent: u64,
    /// The input is what was left unread before, and not in the shared buffer.
    is_kept: bool,
}

impl Reactor {
    /// Serves those who are ready, until nobody is or the turn's work is done.
    pub(crate) fn serve_ready(&mut self) {
        self.net.ready.begin_turn();
        while let Some((handle, kind)) = self.net.next_ready() {
            match kind {
                Kind::Stream => self.serve_stream(handle),
                Kind::Datagram => self.serve_datagrams(handle),
                Kind::Listener => self.accept(handle),
                Kind::Keyboard => self.serve_keyboard(handle),
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
                Ok(flushed) => self.flushed(handle, flushed),
                Err(cut) => return self.cut(handle, cut),
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
    fn flushed(&mut self, handle: Handle, Flushed { written, file_work }: Flushed) {
        let now = self.net.now;
        self.net.statistics.bytes_sent += written as u64;
        self.net.ready.count_bytes(written);
        self.net.ready.count_file_work(file_work);
        if written > LIGHT_CALL {
            self.net.set_heavy(handle);
        }
        if let Some(stream) = self.net.stream(handle)
            && stream.outbox.is_none()
        {
            stream.restart_clocks(now);
            self.net.arm(handle, &self.hosts);
        } else {
            self.send_on(handle);
        }
    }

    /// Writing to it has failed; what had been written counts all the same.
    #[cold]
    pub(crate) fn cut(&mut self, handle: Handle, Cut { written, why }: Cut) {
        self.net.statistics.bytes_sent += written as u64;
        self.close(handle, why);
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
        let (service, session, peer, sent) = (stream.service, stream.session, stream.peer, stream.sent);
        if let Some(room) = stream.room
            && self.rooms.is_full(service, room)
        {
            if stream.latch.park() {
                self.rooms.wait_for_space(service, room, handle);
            }
            return;
        }
        if stream.kept.is_some() {
            return self.read_behind_kept(handle);
        }
        stream.show_again = false;
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = stream.read(&mut buffer, now);
        let is_drained = !stream.latch.is_readable();
        let shown = Shown { handle, service, peer, sent, is_kept: false };
        match outcome {
            ReadOutcome::Bytes(count) => {
                self.net.statistics.bytes_received += count as u64;
                self.show(shown, &buffer[..count], |input| Call::Receive(session, input));
            }
            ReadOutcome::Blocked => {}
            ReadOutcome::EndOfInput => {
                self.show(shown, &[], |input| Call::EndOfInput(session, input));
            }
            ReadOutcome::Failed(why) => self.close(handle, why),
        }
        self.buffer = buffer;
        if !is_drained {
            self.net.read_on(handle);
        }
    }

    /// Shows a service again what it left unread: as it is if the service has not gone
    /// through it, otherwise with what has arrived since.
    #[inline(never)]
    fn read_behind_kept(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        let Some(kept) = &mut stream.kept else { return };
        let session = stream.session;
        if std::mem::take(&mut stream.show_again) {
            self.show_kept(handle, |input| Call::Receive(session, input));
            // While input waited to be shown, the service's own deadline did not count.
            self.net.arm(handle, &self.hosts);
            return self.net.read_on(handle);
        }
        let mut unread = kept.take();
        let room = self.buffer.len().saturating_sub(unread.bytes().len());
        let outcome = stream.read(&mut self.buffer[..room], now);
        let mut added = Ok(());
        if let ReadOutcome::Bytes(count) = outcome {
            added = unread.append(&self.buffer[..count]);
            self.net.statistics.bytes_received += count as u64;
            self.net.ready.count_bytes(count);
            self.net.memory.grew_in_a_vector(count);
        }
        if let Some(kept) = self.net.stream(handle).and_then(|stream| stream.kept.as_mut()) {
            kept.put_back(unread, 0, true);
        }
        match outcome {
            _ if added.is_err() => self.close(handle, CloseReason::OutOfMemory),
            ReadOutcome::Bytes(_) => self.show_kept(handle, |input| Call::Receive(session, input)),
            ReadOutcome::Blocked => {}
            ReadOutcome::EndOfInput => self.show_kept(handle, |input| Call::EndOfInput(session, input)),
            ReadOutcome::Failed(why) => self.close(handle, why),
        }
        self.net.read_on(handle);
    }

    /// Calls the service with what it left unread before.
    pub(crate) fn show_kept<F>(&mut self, handle: Handle, call: F)
    where
        F: for<'a, 'b> FnOnce(&'a mut Input<'b>) -> Call<'a, 'b>,
    {
        let Some(stream) = self.net.stream(handle) else { return };
        let (service, peer, sent) = (stream.service, stream.peer, stream.sent);
        let shown = Shown { handle, service, peer, sent, is_kept: true };
        let unread = stream.kept.as_mut().map(|kept| kept.take());
        let bytes = unread.as_ref().map_or(&[][..], Unread::bytes);
        let before = bytes.len();
        let left = self.show(shown, bytes, call);
        if let Some(unread) = unread
            && let Some(stream) = self.net.stream(handle)
            && let Some(kept) = &mut stream.kept
        {
            kept.put_back(unread, before - left, stream.show_again);
        }
    }

    /// Calls the service with its unread input, and keeps what it leaves. Returns how
    /// many bytes that is.
    #[inline(always)]
    fn show<'b, F>(&mut self, shown: Shown, bytes: &'b [u8], call: F) -> usize
    where
        F: for<'a> FnOnce(&'a mut Input<'b>) -> Call<'a, 'b>,
    {
        let Shown { handle, service, peer, sent, is_kept } = shown;
        let mut input = Input::new(bytes);
        let about = About::Connection { handle, peer: &peer, sent };
        let Some(effects) = self.call(service, about, call(&mut input)) else {
            self.close(handle, CloseReason::Panicked);
            return 0;
        };
        let consumed = input.consumed();
        let left = bytes.len() - consumed;
        let moved = consumed + effects.scratch.len();
        // What is kept was counted when it was read.
        self.net.ready.count_bytes(if is_kept { moved } else { bytes.len() + moved });
        if moved > LIGHT_CALL {
            self.net.set_heavy(handle);
        }
        let mut yields = false;
        if is_kept || left > 0 || effects.messages > 0 {
            self.net.ready.count_messages(effects.messages, consumed);
            // What is consumed may be in a session or a room now, and the rest is kept.
            self.net.memory.grew_in_a_vector(if is_kept { consumed } else { bytes.len() });
            yields = effects.yields && left > 0;
            self.keep_unread(&shown, &bytes[consumed..], consumed, yields);
        }
        self.apply(service, about, effects, bytes);
        if left > 0 {
            self.after_unread(handle, service, left, yields);
        }
        left
    }

    /// Keeps what a service has left unread, or notes that it has left less.
    #[inline(never)]
    fn keep_unread(&mut self, shown: &Shown, rest: &[u8], consumed: usize, yields: bool) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(shown.handle) else { return };
        stream.show_again = yields;
        if rest.is_empty() {
            stream.kept = None;
        } else if let Some(kept) = &mut stream.kept {
            if consumed > 0 {
                kept.since = now;
            }
        } else if shown.is_kept {
            // It has been closed meanwhile.
        } else {
            match Kept::copy(rest, now) {
                Ok(kept) => stream.kept = Some(Box::new(kept)),
                Err(_) => self.close(shown.handle, CloseReason::OutOfMemory),
            }
        }
    }

    /// Something is left unread: the service is shown it again when its turn comes if
    /// it has yielded; otherwise it must not be too much.
    #[inline(never)]
    fn after_unread(&mut self, handle: Handle, service: ServiceId, left: usize, yields: bool) {
        let limit = self.hosts[service].limits.longest_unread(self.longest_input);
        let Some(stream) = self.net.stream(handle) else { return };
        if yields {
            if !stream.holds_back_reading() {
                self.net.go_on(handle);
            }
        } else if left > limit && stream.state == State::Open && stream.paused_until().is_none() {
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
