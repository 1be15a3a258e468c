//! The side that gets the file.

use std::time::Instant;

use super::retries::{Expired, Retries};
use super::{Agreed, BadPacket, ErrorCode, Failure, Options, Packet, readable};

/// The least contents to hand over at once: a job that writes to a disk is worth it.
const CHUNK: usize = 128 * 1024;
/// While this much waits to be taken, nothing is acknowledged, so that the peer waits
/// too.
const HIGH_WATER: usize = 256 * 1024;

/// Receives a file.
///
/// Create it with what begins the transfer. Give it what the peer sends
/// ([`handle`](Receiver::handle)), and call [`expire`](Receiver::expire) when it is
/// [`due`](Receiver::due). [`take`](Receiver::take) contents from it and write them; once
/// the last were taken and the file is safe, call [`stored`](Receiver::stored): the last
/// block is acknowledged no sooner. After each of these, send every packet that
/// [`next_packet`](Receiver::next_packet) writes, and look whether it
/// [`has_ended`](Receiver::has_ended).
///
/// After the last acknowledgement it dallies: if that is lost, the peer sends the last
/// block again, and has to be told once more.
#[derive(Debug)]
pub struct Receiver {
    state: State,
    agreed: Agreed,
    /// What a client asked for. A server has agreed already.
    asked: Option<Options>,
    /// A request, an option acknowledgement or the acknowledgement of a request, to be
    /// sent until data comes.
    opening: Vec<u8>,
    opening_due: bool,
    error: Option<Vec<u8>>,
    retries: Retries,
    contents: Vec<u8>,
    received: u64,
    /// The next block in order. Blocks count from 1 and do not wrap.
    expected: u64,
    /// The last block that was acknowledged.
    acknowledged: u64,
    ack_due: bool,
    /// The block that was missing when a gap was last reported.
    missed: u64,
    /// Something was lost, so the last acknowledgement may be, too.
    lossy: bool,
    size: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Opening,
    Receiving,
    /// The last block is here. `taken` once its contents were.
    Storing {
        taken: bool,
    },
    Dallying {
        until: Instant,
    },
    Ended(Result<(), Failure>),
}

impl Receiver {
    /// A server's side of a write: the `accepted` options are sent, or without any an
    /// acknowledgement of the request.
    pub fn for_server(accepted: Options) -> Receiver {
        let opening =
            if accepted.is_empty() { Packet::Ack { block: 0 } } else { Packet::OptionAck(accepted) };
        let mut receiver = Receiver::new(accepted.agreed(), opening.bytes());
        receiver.size = accepted.transfer_size;
        receiver
    }

    /// A client's side of a read: the request is sent.
    pub fn for_client(request: Vec<u8>, asked: Options) -> Receiver {
        let mut receiver = Receiver::new(Agreed::default(), request);
        receiver.retries.agree(asked.agreed().timeout);
        receiver.asked = Some(asked);
        receiver
    }

    fn new(agreed: Agreed, opening: Vec<u8>) -> Receiver {
        let mut retries = Retries::new();
        retries.agree(agreed.timeout);
        Receiver {
            state: State::Opening,
            agreed,
            asked: None,
            opening,
            opening_due: true,
            error: None,
            retries,
            contents: Vec::new(),
            received: 0,
            expected: 1,
            acknowledged: 0,
            ack_due: false,
            missed: 0,
            lossy: false,
            size: None,
        }
    }

    /// Takes a datagram of the peer.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) {
        if self.has_ended() {
            return;
        }
        match (Packet::parse(datagram), &self.state) {
            (Ok(Packet::Error { code, text }), State::Opening | State::Receiving) => {
                self.end(Err(Failure::Refused { code, text: readable(text) }));
            }
            // All of the file is here, whatever becomes of the peer.
            (Ok(Packet::Error { .. }), State::Dallying { .. }) => self.end(Ok(())),
            (Ok(Packet::Error { .. }), _) => {}
            (Ok(Packet::OptionAck(accepted)), State::Opening) if self.asked.is_some() => {
                self.options_accepted(&accepted, now);
            }
            (Ok(Packet::OptionAck(_)), _) if self.asked.is_some() => {
                // The acknowledgement of the first one was lost, unless data has come.
                self.ack_due |= self.expected == 1;
            }
            (Ok(Packet::Data { block, bytes }), _) => self.data(block, bytes, now),
            (Ok(_), _) => self.fail(ErrorCode::IllegalOperation, "this side receives the file"),
            (Err(bad), _) => self.refuse(bad),
        }
    }

    /// When [`Receiver::expire`] should be called.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Dallying { until } => Some(until),
            _ => self.retries.due(),
        }
    }

    /// Lets time have passed.
    pub fn expire(&mut self, now: Instant) {
        match self.state {
            State::Dallying { until } if now >= until => return self.end(Ok(())),
            State::Dallying { .. } => return,
            _ => {}
        }
        match self.retries.expire(now) {
            Expired::NotYet => {}
            Expired::GiveUp => self.end(Err(Failure::Silence)),
            Expired::SendAgain if self.state == State::Opening => self.opening_due = true,
            Expired::SendAgain => {
                self.lossy = true;
                self.ack_due = true;
            }
        }
    }

    /// Ends the transfer with an error for the peer.
    pub fn fail(&mut self, code: ErrorCode, text: &str) {
        if !self.has_ended() {
            self.error = Some(super::error(code, text));
            self.end(Err(Failure::Ended { code, text: text.to_owned() }));
        }
    }

    /// Takes contents to write, in order, and whether they are the last: those may be
    /// empty. `None` if there is not enough yet.
    pub fn take(&mut self) -> Option<(Vec<u8>, bool)> {
        match &mut self.state {
            State::Storing { taken: taken @ false } => *taken = true,
            State::Receiving if self.contents.len() >= CHUNK => {}
            _ => return None,
        }
        let is_last = self.state == State::Storing { taken: true };
        Some((std::mem::take(&mut self.contents), is_last))
    }

    /// The file is safe: acknowledges the last block, and dallies.
    pub fn stored(&mut self, now: Instant) {
        if self.state == (State::Storing { taken: true }) {
            self.ack_due = true;
            self.state = State::Dallying { until: now + 2 * self.retries.wait() };
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
        if self.holds_back() {
            return false;
        }
        if !self.ack_due {
            if self.state == State::Receiving && self.retries.due().is_none() {
                self.retries.watch(now);
            }
            return false;
        }
        self.ack_due = false;
        self.acknowledged = self.expected - 1;
        Packet::Ack { block: self.acknowledged as u16 }.write(packet);
        if self.state == State::Receiving {
            self.retries.sent(now);
        }
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

    /// Whether the file is safe and the last block was acknowledged: all that is left is
    /// to dally.
    pub fn is_dallying(&self) -> bool {
        matches!(self.state, State::Dallying { .. })
    }

    /// Whether something was lost on the way.
    pub fn was_lossy(&self) -> bool {
        self.lossy
    }

    /// Whether the peer has sent data: its address is not forged, if it had to know the
    /// port to do so.
    pub fn was_answered(&self) -> bool {
        self.retries.was_heard()
    }

    /// Bytes that came in order, as on the wire.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// The size of the file, if the peer told.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    fn options_accepted(&mut self, accepted: &Options, now: Instant) {
        match self.asked.unwrap_or_default().agree(accepted) {
            Ok(agreed) => self.agreed = agreed,
            Err(bad) => return self.refuse(bad),
        }
        self.size = accepted.transfer_size;
        self.retries.progress(now);
        self.retries.agree(self.agreed.timeout);
        self.state = State::Receiving;
        self.ack_due = true;
    }

    fn data(&mut self, block: u16, bytes: &[u8], now: Instant) {
        if bytes.len() > self.agreed.block_size {
            return self.fail(ErrorCode::IllegalOperation, "the block is longer than the block size");
        }
        let ahead = block.wrapping_sub(self.expected as u16);
        let is_open = matches!(self.state, State::Opening | State::Receiving);
        if ahead == 0 && is_open {
            // Past the window it was not asked for.
            if self.expected - self.acknowledged <= self.agreed.window as u64 {
                self.next_block(bytes, now);
            }
        } else if ahead == u16::MAX {
            // The last block in order once more: if it was acknowledged, that was lost. In
            // the middle of a window, only the network has doubled it.
            self.lossy = true;
            let was_acknowledged = self.acknowledged == self.expected - 1 && self.expected > 1;
            self.ack_due |= was_acknowledged && !matches!(self.state, State::Storing { .. });
        } else if ahead < u16::MAX / 2 && self.state == State::Receiving && self.missed != self.expected {
            // A gap. Whatever follows it in this window is lost too, so it is reported
            // once.
            self.lossy = true;
            self.missed = self.expected;
            self.ack_due = true;
        }
    }

    fn next_block(&mut self, bytes: &[u8], now: Instant) {
        self.opening_due = false;
        self.state = State::Receiving;
        self.retries.progress(now);
        self.contents.extend_from_slice(bytes);
        self.received += bytes.len() as u64;
        self.expected += 1;
        if bytes.len() < self.agreed.block_size {
            self.state = State::Storing { taken: false };
            self.ack_due = false;
            self.retries.stop();
            return;
        }
        self.ack_due |= self.expected - 1 - self.acknowledged >= self.agreed.window as u64;
        if !self.holds_back() {
            self.retries.watch(now);
        }
    }

    /// Whether acknowledgements wait for contents to be taken, or for the file to be safe.
    fn holds_back(&self) -> bool {
        self.contents.len() >= HIGH_WATER || matches!(self.state, State::Storing { .. } | State::Ended(_))
    }

    fn refuse(&mut self, bad: BadPacket) {
        self.fail(bad.code(), &bad.to_string());
    }

    fn end(&mut self, outcome: Result<(), Failure>) {
        self.opening_due = false;
        self.ack_due = false;
        self.retries.stop();
        self.state = State::Ended(outcome);
    }
}
