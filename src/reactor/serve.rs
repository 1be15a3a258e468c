//! Serving what is ready: accepting, reading, datagrams, timers, fan-out, reaping.

use std::io;
use std::net::SocketAddr;

use super::calls::About;
use super::effects::Piece;
use super::host::Call;
use super::keyboard::{FileRead, read_standard_input};
use super::listener::{self, ACCEPTS_A_TURN, is_out_of_descriptors};
use super::net::{Entry, Net};
use super::notices::Notice;
use super::rooms::{DatagramPeer, Deliver, Delivery, Overflow};
use super::stream::{Due, Kept, ReadOutcome, State, Stream};
use super::timers::NEVER;
use super::token::{Handle, SocketId};
use super::{CALLS_A_TURN, Reactor, batch::Arrival, datagram, effects::Outgoings, host::Slot};
use crate::service::{CloseReason, Farewell, Input};

/// Writes of one turn's fan-out. Measured: with 128 of them an echo beside a
/// room of 5,000 keeps a p99 near 1 ms, unbounded it has 30 ms.
const FANOUT_WRITES_A_TURN: usize = 128;
/// Bytes of one turn's fan-out.
const FANOUT_BYTES_A_TURN: usize = 1024 * 1024;
/// How long a listener that found no free descriptor waits, in milliseconds,
/// unless a connection closes before.
const ACCEPT_RETRY: u64 = 100;

impl Reactor {
    /// Serves each that is ready once; who is still ready goes to the back.
    pub(super) fn serve_ready(&mut self) {
        for _ in 0..self.net.ready.len().min(CALLS_A_TURN) {
            let Some(handle) = self.net.next_ready() else { return };
            match self.net.get(handle) {
                Some(Entry::Stream(_)) => self.serve_stream(handle),
                Some(Entry::Datagram(_)) => self.serve_datagrams(handle),
                Some(Entry::Listener(_)) => self.accept(handle),
                Some(Entry::Keyboard(_)) => self.serve_keyboard(handle),
                None => {}
            }
        }
    }

    /// Output first; while some is unsent, an accepted connection is not read, so
    /// that a peer which does not take its answers cannot ask for more.
    fn serve_stream(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        if stream.state == State::Connecting {
            return self.finish_connecting(handle);
        }
        if stream.state == State::Closed {
            return;
        }
        if stream.outbox.is_some() && stream.latch.is_writable() {
            match stream.flush(now) {
                Ok(written) => self.net.statistics.bytes_sent += written as u64,
                Err(why) => return self.net.end(handle, why),
            }
        }
        let Some(stream) = self.net.stream(handle) else { return };
        if stream.holds_back_reading() {
            return;
        }
        if stream.state == State::Finishing {
            return self.net.finish(handle, CloseReason::ByUs);
        }
        if stream.more_to_send && stream.outbox.is_none() && stream.state == State::Open {
            stream.more_to_send = false;
            let (host, session) = (stream.host, stream.session);
            self.call_stream(handle, host, Call::RoomToSend(session), &[]);
        }
        self.read_stream(handle);
    }

    fn finish_connecting(&mut self, handle: Handle) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        if !stream.latch.is_writable() {
            return;
        }
        match stream.connected(now) {
            None => stream.latch.write_blocked(),
            Some(Err(error)) => self.net.end(handle, CloseReason::NotConnected(error)),
            Some(Ok(())) => {
                let (host, session) = (stream.host, stream.session);
                self.call_stream(handle, host, Call::Open(session), &[]);
                self.read_stream(handle);
            }
        }
    }

    /// Reads once and shows the service what there is.
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
        let (host, session) = (stream.host, stream.session);
        if let Some(room) = stream.room
            && self.rooms.is_full(host, room)
        {
            return self.rooms.wait_for_space(host, room, handle);
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
        match outcome {
            ReadOutcome::Bytes(count) => {
                self.net.statistics.bytes_received += count as u64;
                self.show(handle, host, &buffer[..kept + count], |input| Call::Receive(session, input));
            }
            ReadOutcome::Blocked if kept > 0 => {
                self.show(handle, host, &buffer[..kept], |input| Call::Receive(session, input));
            }
            ReadOutcome::Blocked => {}
            ReadOutcome::EndOfInput => {
                self.show(handle, host, &buffer[..kept], |input| Call::EndOfInput(session, input));
            }
            ReadOutcome::Failed(why) => self.net.end(handle, why),
        }
        self.buffer = buffer;
        if let Some(stream) = self.net.stream(handle)
            && stream.latch.is_readable()
            && !stream.holds_back_reading()
            && !stream.is_paused(now)
        {
            self.net.enqueue(handle);
        }
    }

    /// Calls the service with its unread input and keeps what it leaves.
    pub(super) fn show<'b, F>(&mut self, handle: Handle, host: u16, bytes: &'b [u8], call: F)
    where
        F: for<'a> FnOnce(&'a mut Input<'b>) -> Call<'a, 'b>,
    {
        let mut input = Input::new(bytes);
        let about = About::Connection(handle);
        let Some(effects) = self.call(host, about, call(&mut input)) else {
            return self.end_after_panic(handle);
        };
        let consumed = input.consumed();
        let now = self.net.now;
        if let Some(stream) = self.net.stream(handle) {
            keep_unread(stream, &bytes[consumed..], consumed, now);
        }
        self.apply(host, about, effects, bytes);
        let line_length = self.hosts[host as usize].limits.line_length;
        if bytes.len() - consumed > line_length {
            self.check_unread(handle, line_length);
        }
    }

    fn check_unread(&mut self, handle: Handle, line_length: usize) {
        if let Some(stream) = self.net.stream(handle)
            && stream.state == State::Open
            && stream.paused_until == 0
            && stream.kept.as_ref().is_some_and(|kept| kept.bytes.len() > line_length)
        {
            self.part(handle, Farewell::TooLong, CloseReason::TooLong);
        }
    }

    /// Reads on after our half-close, until the peer's end.
    fn discard(&mut self, handle: Handle) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let active = self.net.now;
        if let Some(stream) = self.net.stream(handle) {
            match stream.read(&mut buffer, active) {
                ReadOutcome::Bytes(_) if stream.latch.is_readable() => self.net.enqueue(handle),
                ReadOutcome::Bytes(_) | ReadOutcome::Blocked => {}
                ReadOutcome::EndOfInput | ReadOutcome::Failed(_) => self.net.end(handle, CloseReason::ByUs),
            }
        }
        self.buffer = buffer;
    }

    /// Closes a connection with the protocol's words for why.
    fn part(&mut self, handle: Handle, farewell: Farewell, why: CloseReason) {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return };
        let slot = &self.hosts[stream.host as usize];
        let kind = if farewell == Farewell::TooLong { Notice::Limit } else { Notice::Timeout };
        let peer = stream.peer;
        let words = slot.service.as_ref().map_or(String::new(), |service| service.farewell(farewell));
        if !words.is_empty() && stream.state == State::Open {
            let piece = Piece::Scratch(0..words.len());
            if let Err(why) = stream.answer(&[piece], words.as_bytes(), &[], now) {
                return self.net.end(handle, why);
            }
        }
        self.net.notices.say(kind, now, format_args!("{}: {peer} is closed: {farewell}", slot.name));
        self.net.finish(handle, why);
        self.net.arm(handle, &self.hosts);
    }

    fn serve_datagrams(&mut self, handle: Handle) {
        let Some(socket) = self.net.datagram(handle) else { return };
        let host = socket.host;
        if let Some(room) = socket.room
            && self.rooms.is_full(host, room)
        {
            return self.rooms.wait_for_space(host, room, handle);
        }
        if !socket.latch.is_readable() {
            return;
        }
        let mut batch = std::mem::take(&mut self.batch);
        let Some(socket) = self.net.datagram(handle) else { return };
        let (is_connected, listens_only) = (socket.is_connected, socket.listens_only);
        match batch.receive(socket) {
            Ok(()) => {}
            Err(error) => self.datagram_error(host, is_connected, error),
        }
        self.net.statistics.datagrams_received += batch.arrivals.len() as u64;
        for number in 0..batch.arrivals.len() {
            let arrival = batch.arrivals[number];
            if is_connected || listens_only || self.may_answer(host, &arrival) {
                self.serve_datagram(handle, host, &arrival, batch.datagram(number));
            }
        }
        self.batch = batch;
        self.send_datagrams();
        if self.net.datagram(handle).is_some_and(|socket| socket.latch.is_readable()) {
            self.net.enqueue(handle);
        }
    }

    fn serve_datagram(&mut self, handle: Handle, host: u16, arrival: &Arrival, datagram: &[u8]) {
        let on = SocketId(handle);
        let about = About::Datagram(DatagramPeer { socket: on, address: arrival.from, local: arrival.to });
        if let Some(effects) = self.call(host, about, Call::Datagram { on, from: arrival.from, datagram }) {
            self.apply(host, about, effects, &[]);
        }
    }

    /// Counted and bounded, never fatal: the sender of a datagram is no party
    /// to what an ICMP message says. A connected socket learns of it.
    fn datagram_error(&mut self, host: u16, is_connected: bool, error: io::Error) {
        self.net.statistics.datagram_errors += 1;
        log::debug!("{}: a UDP socket reports: {error}", self.hosts[host as usize].name);
        if is_connected {
            self.pending.push_back(super::calls::Pending::Socket { host, opened: Err(error) });
        }
    }

    fn may_answer(&mut self, host: u16, arrival: &Arrival) -> bool {
        if !datagram::would_loop(arrival.from, arrival.to, &self.net.datagram_addresses) {
            return true;
        }
        self.net.statistics.datagrams_dropped += 1;
        let (from, now, name) = (arrival.from, self.net.now, &self.hosts[host as usize].name);
        self.net.notices.say(
            Notice::LoopGuard,
            now,
            format_args!(
                "{name}: a datagram from {from} is ignored: answering that source could make an endless loop"
            ),
        );
        false
    }

    /// Hands what the callbacks sent to the kernel, many datagrams a call.
    pub(super) fn send_datagrams(&mut self) {
        if self.outgoing.list.is_empty() {
            return;
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        self.limit_answers(&mut outgoing);
        let mut start = 0;
        while start < outgoing.list.len() {
            let run = outgoing.next_run(start);
            start += run.len();
            if let Some(socket) = self.net.datagram(run[0].to.socket.0) {
                let (sent, refusal) = self.batch.send(socket, run, &outgoing.bytes);
                if let Some(error) = refusal.filter(|_| socket.is_connected) {
                    let opened = Err(error);
                    self.pending.push_back(super::calls::Pending::Socket { host: socket.host, opened });
                }
                self.net.statistics.datagrams_sent += sent as u64;
                self.net.statistics.datagrams_dropped += (run.len() - sent) as u64;
            }
        }
        outgoing.clear();
        self.outgoing = outgoing;
    }

    fn limit_answers(&mut self, outgoing: &mut Outgoings) {
        let Reactor { net, hosts, answer_limit, now, .. } = self;
        outgoing.list.retain(|datagram| {
            if !datagram.is_answer {
                return true;
            }
            let Some(socket) = net.datagram(datagram.to.socket.0) else { return false };
            let slot = &hosts[socket.host as usize];
            let source = datagram.to.address.ip();
            let admitted = answer_limit.admits(source.to_canonical(), slot.limits.datagrams_per_second, *now);
            if !admitted {
                let (at, name) = (net.now, &slot.name);
                net.statistics.datagrams_dropped += 1;
                net.notices.say(
                    Notice::DatagramLimit,
                    at,
                    format_args!(
                        "{name}: {source} is not answered: it asks more often than datagrams_per_second"
                    ),
                );
            }
            admitted
        });
    }

    fn accept(&mut self, handle: Handle) {
        let mut starved = false;
        for _ in 0..ACCEPTS_A_TURN {
            let now = self.net.now;
            let Some(Entry::Listener(listener)) = self.net.get(handle) else { return };
            if !listener.latch.is_readable() || listener.retry_at.is_some_and(|at| at > now) {
                return;
            }
            listener.retry_at = None;
            let host = listener.host;
            match listener.accept() {
                Ok(None) => return,
                Ok(Some((socket, peer))) => self.welcome(host, socket, peer),
                Err(error) if is_out_of_descriptors(&error) && !starved => {
                    starved = true;
                    self.accept_without_descriptors(handle, &error);
                }
                Err(error) => {
                    self.retry_later(handle);
                    let (now, name) = (self.net.now, &self.hosts[host as usize].name);
                    self.net.notices.say(Notice::Fault, now, format_args!("{name}: cannot accept: {error}"));
                    return;
                }
            }
        }
        self.net.enqueue(handle);
    }

    /// No descriptor is free: whoever waits is turned away with the spare one,
    /// and the listener rests until one may be free again.
    fn accept_without_descriptors(&mut self, handle: Handle, error: &io::Error) {
        let Some(Entry::Listener(listener)) = self.net.get(handle) else { return };
        let (host, mut turned_away) = (listener.host, 0);
        let words = self.farewell_of(host, Farewell::Full);
        self.spare.restore();
        while turned_away < ACCEPTS_A_TURN {
            let Some(Entry::Listener(listener)) = self.net.get(handle) else { return };
            let accepted = self.spare.lend(|| match listener.accept() {
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
        let (now, name) = (self.net.now, &self.hosts[host as usize].name);
        self.net.notices.say(
            Notice::Refused,
            now,
            format_args!(
                "{name}: {turned_away} connections are turned away: no descriptor is free ({error})"
            ),
        );
        self.retry_later(handle);
    }

    /// Takes a listener out of `work left over` until its retry timer, since
    /// asking at once would spin.
    fn retry_later(&mut self, handle: Handle) {
        let at = self.net.now + ACCEPT_RETRY;
        if let Some(Entry::Listener(listener)) = self.net.get(handle) {
            listener.latch.set_readable();
            listener.retry_at = Some(at);
            self.net.starved_listeners.push(handle);
            self.net.timers.arm(at, handle);
        }
    }

    /// Lets the listeners that found no descriptor try again.
    fn retry_listeners(&mut self) {
        for handle in std::mem::take(&mut self.net.starved_listeners) {
            if let Some(Entry::Listener(listener)) = self.net.get(handle) {
                listener.retry_at = None;
                self.net.enqueue(handle);
            }
        }
    }

    fn farewell_of(&self, host: u16, why: Farewell) -> String {
        self.hosts[host as usize].service.as_ref().map_or(String::new(), |service| service.farewell(why))
    }

    fn welcome(&mut self, host: u16, socket: mio::net::TcpStream, peer: SocketAddr) {
        if let Some(why) = self.refusal(host, peer) {
            return self.refuse(host, socket, peer, why);
        }
        let slot = &mut self.hosts[host as usize];
        let Some(service) = &mut slot.service else { return };
        let generation = self.net.next_generation();
        let mut stream = Stream::new(socket, peer, host, State::Open, generation, self.net.now);
        stream.session = service.new_session();
        let session = stream.session;
        if slot.limits.connections_per_peer > 0 {
            *slot.per_peer.entry(peer.ip()).or_default() += 1;
            stream.counted_peer = true;
        }
        match self.net.insert(Entry::Stream(stream)) {
            Ok(handle) => {
                slot.connections += 1;
                self.net.statistics.connections += 1;
                self.net.statistics.accepted += 1;
                log::debug!("{}: {peer} connected", slot.name);
                self.call_stream(handle, host, Call::Open(session), &[]);
                self.net.arm(handle, &self.hosts);
            }
            Err(error) => {
                log::error!("{}: cannot watch the connection of {peer}: {error}", slot.name);
                service.drop_session(session);
            }
        }
    }

    fn refusal(&self, host: u16, peer: SocketAddr) -> Option<Farewell> {
        let over = |limit: usize, count: usize| limit > 0 && count >= limit;
        let slot = &self.hosts[host as usize];
        if over(self.max_connections, self.net.statistics.connections)
            || over(slot.limits.connections, slot.connections)
        {
            return Some(Farewell::Full);
        }
        let from_peer = slot.per_peer.get(&peer.ip()).copied().unwrap_or(0);
        over(slot.limits.connections_per_peer, from_peer).then_some(Farewell::TooManyFromPeer)
    }

    fn refuse(&mut self, host: u16, socket: mio::net::TcpStream, peer: SocketAddr, why: Farewell) {
        listener::turn_away(socket, &self.farewell_of(host, why));
        self.net.statistics.refused += 1;
        let (now, name) = (self.net.now, &self.hosts[host as usize].name);
        self.net.notices.say(Notice::Refused, now, format_args!("{name}: {peer} is turned away: {why}"));
    }

    fn serve_keyboard(&mut self, handle: Handle) {
        let Some(Entry::Keyboard(keyboard)) = self.net.get(handle) else { return };
        let host = keyboard.host;
        if keyboard.paused {
            return;
        }
        if keyboard.is_file {
            if !std::mem::replace(&mut keyboard.reading, true) {
                let job = || Box::new(FileRead(read_standard_input())) as Box<dyn std::any::Any + Send>;
                self.offload.submit(host, None, Box::new(job));
            }
            return;
        }
        if keyboard.latch.is_readable() {
            match keyboard.read() {
                Ok(None) => {}
                Ok(Some(typed)) => {
                    self.net.enqueue(handle);
                    self.keyboard_was_read(handle, host, Ok(typed));
                }
                Err(error) => self.keyboard_was_read(handle, host, Err(error)),
            }
        }
    }

    pub(super) fn keyboard_file_was_read(&mut self, host: u16, FileRead(outcome): FileRead) {
        let is_its = |entry: &Entry| matches!(entry, Entry::Keyboard(keyboard) if keyboard.host == host);
        for handle in self.net.handles(is_its) {
            if let Some(Entry::Keyboard(keyboard)) = self.net.get(handle) {
                keyboard.reading = false;
            }
            self.net.enqueue(handle);
            return self.keyboard_was_read(handle, host, outcome);
        }
    }

    fn keyboard_was_read(&mut self, handle: Handle, host: u16, outcome: io::Result<Vec<u8>>) {
        match outcome {
            Ok(typed) if !typed.is_empty() => self.call_host(host, Call::Keyboard(Some(&typed))),
            Ok(_) => {
                self.net.remove(handle);
                self.call_host(host, Call::Keyboard(None));
            }
            Err(error) => {
                self.net.remove(handle);
                self.failure.get_or_insert(format!("cannot read standard input: {error}"));
                self.ends_now = true;
            }
        }
    }

    pub(super) fn fire_timers(&mut self) {
        let mut due = Vec::new();
        self.net.timers.take_due(self.net.now, &mut due);
        for (at, handle) in due {
            if handle.generation == 0 {
                self.fire_tick(handle.key as u16, at);
                continue;
            }
            match self.net.get(handle) {
                Some(Entry::Stream(stream)) if stream.armed == at => {
                    stream.armed = NEVER;
                    self.fire_deadline(handle);
                }
                Some(Entry::Listener(listener)) if listener.retry_at == Some(at) => self.retry_listeners(),
                _ => self.net.timers.dropped_stale(),
            }
        }
        self.net.compact_timers(&self.hosts);
    }

    fn fire_tick(&mut self, host: u16, at: u64) {
        let slot = &mut self.hosts[host as usize];
        if slot.tick == at {
            slot.tick = NEVER;
            self.call_host(host, Call::Tick);
        } else {
            self.net.timers.dropped_stale();
        }
    }

    fn fire_deadline(&mut self, handle: Handle) {
        let now = self.net.now;
        let draining_since = self.net.draining_since;
        let Some(stream) = self.net.stream(handle) else { return };
        let (host, session) = (stream.host, stream.session);
        let limits = &self.hosts[host as usize].limits;
        let drain_at =
            draining_since.zip(limits.drain_timeout).map(|(at, limit)| at + limit.as_millis() as u64);
        let (at, due) = stream.next_due(limits, drain_at);
        if at > now {
            return self.net.arm(handle, &self.hosts);
        }
        match due {
            Due::Connect => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "no answer");
                self.net.end(handle, CloseReason::NotConnected(error));
            }
            Due::Linger => self.net.end(handle, CloseReason::ByUs),
            Due::Drain => self.net.end(handle, CloseReason::ShuttingDown),
            Due::Send => {
                let (peer, name) = (stream.peer, &self.hosts[host as usize].name);
                stream.reset_on_close();
                let line = format_args!("{name}: {peer} is cut: it takes nothing of its output");
                self.net.notices.say(Notice::Timeout, now, line);
                self.net.end(handle, CloseReason::SendTimeout);
            }
            Due::Idle => self.part(handle, Farewell::Idle, CloseReason::Idle),
            Due::Message => self.part(handle, Farewell::MessageTimeout, CloseReason::MessageTimeout),
            Due::Pause => {
                stream.paused_until = 0;
                stream.show_again = stream.kept.is_some();
                self.net.enqueue(handle);
            }
            Due::Service => {
                stream.deadline = NEVER;
                let kept = stream.kept.take().map_or(Vec::new(), |kept| kept.bytes);
                self.show(handle, host, &kept, |input| Call::Timeout(session, input));
            }
        }
        self.net.arm(handle, &self.hosts);
    }

    pub(super) fn fan_out(&mut self) {
        if !self.rooms.has_work() {
            return;
        }
        let mut readable = Vec::new();
        let mut fan_out = FanOut {
            net: &mut self.net,
            hosts: &self.hosts,
            outgoing: &mut self.outgoing,
            writes_left: FANOUT_WRITES_A_TURN,
            bytes_left: FANOUT_BYTES_A_TURN,
        };
        self.rooms.fan_out(&mut fan_out, &mut readable);
        for handle in readable {
            self.net.enqueue(handle);
        }
        self.send_datagrams();
    }

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
                && let Some(effects) = self.call(host, About::Connection(handle), Call::Closed(session, &why))
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

/// Delivers what rooms have gathered, within the turn's budget.
struct FanOut<'a> {
    net: &'a mut Net,
    hosts: &'a [Slot],
    outgoing: &'a mut Outgoings,
    writes_left: usize,
    bytes_left: usize,
}

impl FanOut<'_> {
    fn spend(&mut self, writes: usize, bytes: usize) -> bool {
        self.writes_left = self.writes_left.saturating_sub(writes);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.writes_left > 0 && self.bytes_left > 0
    }
}

impl Deliver for FanOut<'_> {
    fn to_connection(&mut self, handle: Handle, delivery: Delivery<'_>) -> bool {
        let now = self.net.now;
        let Some(stream) = self.net.stream(handle) else { return true };
        if stream.state != State::Open {
            return true;
        }
        let host = stream.host as usize;
        match stream.deliver(delivery.bytes, delivery.ranges, delivery.overflow, now) {
            Ok(written) => {
                let is_blocked = stream.outbox.is_some();
                self.net.statistics.bytes_sent += written as u64;
                if is_blocked {
                    if delivery.overflow == Overflow::Disconnect {
                        drop_if_too_slow(
                            self.net,
                            handle,
                            &self.hosts[host].name,
                            self.hosts[host].limits.output_limit,
                        );
                    }
                    self.net.arm(handle, self.hosts);
                }
                self.spend(1, written)
            }
            Err(why) => {
                self.net.end(handle, why);
                self.spend(1, 0)
            }
        }
    }

    fn to_peer(&mut self, peer: &DatagramPeer, delivery: Delivery<'_>) -> bool {
        let mut bytes = 0;
        for range in delivery.ranges {
            bytes += range.len();
            self.outgoing.push(*peer, &delivery.bytes[range.clone()], false);
        }
        self.spend(delivery.ranges.len(), bytes)
    }
}

/// Drops a connection whose unsent output passes the limit; 0 is no limit.
pub(super) fn drop_if_too_slow(net: &mut Net, handle: Handle, service: &str, limit: usize) {
    let now = net.now;
    let Some(stream) = net.stream(handle) else { return };
    let cost = stream.outbox.as_ref().map_or(0, |outbox| outbox.cost());
    if limit == 0 || cost <= limit {
        return;
    }
    let peer = stream.peer;
    stream.reset_on_close();
    net.statistics.too_slow += 1;
    let line = format_args!("{service}: {peer} is dropped: it does not read, and {cost} bytes wait for it");
    net.notices.say(Notice::TooSlow, now, line);
    net.end(handle, CloseReason::TooSlow);
}
