//! The side that has the file.

use std::time::Instant;

use super::retries::{Expired, Retries};
use super::{Agreed, BadPacket, ErrorCode, Failure, Options, Packet, readable};

/// The least contents to ask for at once: a job that reads from a disk is worth it.
const CHUNK: usize = 128 * 1024;

/// Sends a file.
///
/// Create it with what begins the transfer, and [`supply`](Sender::supply) contents as
/// long as it [`wants`](Sender::wants) some. Give it what the peer sends
/// ([`handle`](Sender::handle)), and call [`expire`](Sender::expire) when it is
/// [`due`](Sender::due). After each of these, send every packet that
/// [`next_packet`](Sender::next_packet) writes, and look whether it
/// [`has_ended`](Sender::has_ended).
///
/// The Sorcerer's Apprentice bug cannot happen: only an acknowledgement of something new,
/// or silence, makes it send.
#[derive(Debug)]
pub struct Sender {
    state: State,
    agreed: Agreed,
    /// What a client asked for. A server has agreed already.
    asked: Option<Options>,
    /// A request or an option acknowledgement, to be sent until it is answered.
    opening: Vec<u8>,
    opening_due: bool,
    error: Option<Vec<u8>>,
    retries: Retries,
    contents: Contents,
    /// The first block that is not acknowledged. Blocks count from 1 and do not wrap.
    base: u64,
    /// The next block to send: within the window, and before `fresh` if it is sent again.
    next: u64,
    /// The first block that was never sent.
    fresh: u64,
    resent: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Opening,
    Sending,
    Ended(Result<(), Failure>),
}

/// What is known of the file: from the first block that is not acknowledged on.
#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    /// Where `bytes` begins in the file.
    start: u64,
    /// Nothing follows `bytes`.
    is_complete: bool,
}

impl Contents {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Forgets what is before this place.
    fn forget_before(&mut self, place: u64) {
        let known = place.saturating_sub(self.start).min(self.bytes.len() as u64);
        self.bytes.drain(..known as usize);
        self.start += known;
    }
}

impl Sender {
    /// A server's side of a read: `accepted` options go out first, and wait for an
    /// acknowledgement; without any the first block does.
    pub fn for_server(accepted: Options) -> Sender {
        let mut sender = Sender::new(State::Sending, accepted.agreed());
        if !accepted.is_empty() {
            sender.state = State::Opening;
            sender.opening = Packet::OptionAck(accepted).bytes();
            sender.opening_due = true;
        }
        sender
    }

    /// A client's side of a write: the request goes out first.
    pub fn for_client(request: Vec<u8>, asked: Options) -> Sender {
        let mut sender = Sender::new(State::Opening, Agreed::default());
        sender.retries.agree(asked.agreed().timeout);
        sender.asked = Some(asked);
        sender.opening = request;
        sender.opening_due = true;
        sender
    }

    fn new(state: State, agreed: Agreed) -> Sender {
        let mut retries = Retries::new();
        retries.agree(agreed.timeout);
        Sender {
            state,
            agreed,
            asked: None,
            opening: Vec::new(),
            opening_due: false,
            error: None,
            retries,
            contents: Contents::default(),
            base: 1,
            next: 1,
            fresh: 1,
            resent: 0,
        }
    }

    /// How many bytes of the file it should be given next, if any: it keeps the window
    /// and as much again.
    pub fn wants(&self) -> Option<usize> {
        let chunk = self.agreed.window_bytes().max(CHUNK);
        let ahead = self.contents.end().saturating_sub(self.place_of(self.next)) as usize;
        let wants = !self.contents.is_complete && !self.has_ended() && ahead < chunk;
        wants.then_some(chunk)
    }

    /// Takes the next bytes of the file; `is_last` if none follow.
    pub fn supply(&mut self, bytes: &[u8], is_last: bool) {
        let acknowledged = self.place_of(self.base);
        self.contents.forget_before(acknowledged);
        self.contents.bytes.extend_from_slice(bytes);
        self.contents.is_complete = is_last;
    }

    /// Takes a datagram of the peer.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) {
        if self.has_ended() {
            return;
        }
        match (Packet::parse(datagram), &self.state) {
            (Ok(Packet::Error { code, text }), _) => {
                self.end(Err(Failure::Refused { code, text: readable(text) }));
            }
            (Ok(Packet::Ack { block: 0 }), State::Opening) => self.begin(None, now),
            (Ok(Packet::OptionAck(accepted)), State::Opening) if self.asked.is_some() => {
                self.begin(Some(accepted), now);
            }
            (Ok(Packet::Ack { block }), State::Sending) => self.acknowledged(block, now),
            // Delayed or duplicated ones.
            (Ok(Packet::Ack { .. }), _) => {}
            (Ok(Packet::OptionAck(_)), _) if self.asked.is_some() => {}
            (Ok(_), _) => self.fail(ErrorCode::IllegalOperation, "this side sends the file"),
            (Err(bad), _) => self.refuse(bad),
        }
    }

    /// When [`Sender::expire`] should be called.
    pub fn due(&self) -> Option<Instant> {
        self.retries.due()
    }

    /// Lets time have passed.
    pub fn expire(&mut self, now: Instant) {
        match self.retries.expire(now) {
            Expired::NotYet => {}
            Expired::GiveUp => self.end(Err(Failure::Silence)),
            Expired::SendAgain if self.state == State::Opening => self.opening_due = true,
            Expired::SendAgain => self.next = self.base,
        }
    }

    /// Ends the transfer with an error for the peer.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        if !self.has_ended() {
            self.error = Some(super::error(code, text));
            self.end(Err(Failure::Ended { code, text: text.to_owned() }));
        }
    }

    /// Writes the next packet to send in place of what `packet` holds. False if there is
    /// none.
    pub fn next_packet(&mut self, packet: &mut Vec<u8>, now: Instant) -> bool {
        packet.clear();
        if let Some(error) = self.error.take() {
            packet.extend_from_slice(&error);
            return true;
        }
        if std::mem::take(&mut self.opening_due) {
            packet.extend_from_slice(&self.opening);
            self.retries.sent(now);
            return true;
        }
        if self.state != State::Sending || self.next >= self.base + self.agreed.window as u64 {
            return false;
        }
        let Some(block) = self.block(self.next) else { return false };
        Packet::Data { block: self.next as u16, bytes: block }.write(packet);
        if self.next == self.fresh {
            self.fresh += 1;
        } else {
            self.resent += 1;
        }
        self.next += 1;
        // The timer runs from the last packet of what goes out together.
        self.retries.sent(now);
        true
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Result<(), Failure>> {
        match &self.state {
            State::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Whether it has ended: nothing but an error is sent any more.
    pub fn has_ended(&self) -> bool {
        self.outcome().is_some()
    }

    /// Whether the peer has answered: its address is not forged, if it had to know the
    /// port to do so.
    pub fn was_answered(&self) -> bool {
        self.retries.was_heard()
    }

    /// Bytes that the peer has acknowledged, as on the wire.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.place_of(self.base).min(self.contents.end())
    }

    /// Blocks that were sent more than once.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// The peer is ready for the first block.
    fn begin(&mut self, accepted: Option<Options>, now: Instant) {
        if let Some(asked) = &self.asked {
            match asked.agree(&accepted.unwrap_or_default()) {
                Ok(agreed) => self.agreed = agreed,
                Err(bad) => return self.refuse(bad),
            }
            self.retries.agree(self.agreed.timeout);
        }
        self.retries.progress(now);
        self.state = State::Sending;
    }

    fn acknowledged(&mut self, block: u16, now: Instant) {
        // Every block from base - 1 to fresh - 1 can be acknowledged; the window is so
        // small that 16 bits tell them apart.
        let ahead = u64::from(block.wrapping_sub((self.base - 1) as u16));
        if ahead == 0 || self.base + ahead > self.fresh {
            return;
        }
        self.base += ahead;
        self.retries.progress(now);
        if self.block_is_past_the_end(self.base) {
            return self.end(Ok(()));
        }
        // If blocks after it were sent already, the peer misses the first of them and has
        // taken none that follow it (RFC 7440).
        self.next = self.base;
    }

    /// Where a block begins in the file.
    fn place_of(&self, block: u64) -> u64 {
        (block - 1) * self.agreed.block_size as u64
    }

    /// The contents of a block, if they are known. The last one has fewer bytes than
    /// others, and may have none.
    fn block(&self, number: u64) -> Option<&[u8]> {
        if self.block_is_past_the_end(number) {
            return None;
        }
        let start = (self.place_of(number) - self.contents.start) as usize;
        let rest = self.contents.bytes.get(start..)?;
        match rest.get(..self.agreed.block_size) {
            None if self.contents.is_complete => Some(rest),
            block => block,
        }
    }

    fn block_is_past_the_end(&self, number: u64) -> bool {
        let last = self.contents.end() / self.agreed.block_size as u64 + 1;
        self.contents.is_complete && number > last
    }

    fn refuse(&mut self, bad: BadPacket) {
        self.fail(bad.code(), &bad.to_string());
    }

    fn end(&mut self, outcome: Result<(), Failure>) {
        self.opening_due = false;
        self.retries.stop();
        self.state = State::Ended(outcome);
    }
}
