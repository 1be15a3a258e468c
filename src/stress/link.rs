//! Tracks the messages in flight on one connection, and what becomes of each.

use std::collections::VecDeque;
use std::time::Instant;

use super::measure::Tally;
use super::payload::Payload;

/// How many messages given up as lost are remembered, in case they come after
/// all.
pub const REMEMBERED: usize = 1024;

/// A message in flight.
#[derive(Debug, Clone, Copy)]
pub struct InFlight {
    /// Its sequence number on this connection.
    pub number: u64,
    /// When it was due; in a closed loop, when it was sent.
    pub due: Instant,
    /// When it was sent.
    pub sent: Instant,
}

/// The messages of one connection, in the order in which they were sent.
///
/// [`send`](Window::send) records a message, [`hear`](Window::hear) takes bytes
/// from a stream, and [`hear_datagram`](Window::hear_datagram) takes a datagram;
/// the latter two report to the tally what came back.
#[derive(Debug, Default)]
pub struct Window {
    pub in_flight: VecDeque<InFlight>,
    /// The number of the next message.
    pub next: u64,
    /// One more than the highest number that has come back.
    heard: u64,
    /// How many bytes of the first message have come, all of them correct.
    right: usize,
    /// A message other than the expected one, as far as it has come.
    suspect: Vec<u8>,
    expired: VecDeque<u64>,
    /// Corrupted messages since the last good one.
    pub corrupted_in_a_row: u32,
}

impl Window {
    /// Records a message that is sent now, and returns its number.
    pub fn send(&mut self, due: Instant, sent: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        self.in_flight.push_back(InFlight { number, due, sent });
        number
    }

    /// Takes bytes from a stream.
    pub fn hear(&mut self, payload: &Payload, key: u64, mut bytes: &[u8], now: Instant, tally: &mut Tally) {
        while !bytes.is_empty() {
            if self.suspect.is_empty() {
                let count = (payload.size() - self.right).min(bytes.len());
                // A message that has waited until its identity came round again
                // is not the message that has this identity now.
                let has_own_identity =
                    |front: &&InFlight| self.next - front.number <= Payload::numbers(payload.size());
                if let Some(front) = self.in_flight.front().filter(has_own_identity)
                    && payload.matches(key, front.number, self.right, &bytes[..count])
                {
                    self.right += count;
                    bytes = &bytes[count..];
                    if self.right == payload.size() {
                        self.right = 0;
                        self.corrupted_in_a_row = 0;
                        if front.number < self.heard {
                            tally.counts.reordered += 1;
                        }
                        self.heard = self.heard.max(front.number + 1);
                        tally.answered(front, now);
                        self.in_flight.pop_front();
                    }
                    continue;
                }
                self.recall(payload, key);
            }
            let count = (payload.size() - self.suspect.len()).min(bytes.len());
            self.suspect.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.suspect.len() == payload.size() {
                let message = std::mem::take(&mut self.suspect);
                self.judge(payload, key, &message, true, now, tally);
            }
        }
    }

    /// Takes a datagram.
    pub fn hear_datagram(
        &mut self,
        payload: &Payload,
        key: u64,
        datagram: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) {
        self.judge(payload, key, datagram, false, now, tally);
    }

    /// Turns the bytes that were correct so far into a suspect: the message began
    /// like the expected one but is another.
    fn recall(&mut self, payload: &Payload, key: u64) {
        if let Some(front) = self.in_flight.front() {
            let right = std::mem::take(&mut self.right);
            let suspect = &mut self.suspect;
            payload.write(key, front.number, |part| {
                let count = (right - suspect.len()).min(part.len());
                suspect.extend_from_slice(&part[..count]);
            });
        }
    }

    /// Finds out what a message is.
    fn judge(
        &mut self,
        payload: &Payload,
        key: u64,
        message: &[u8],
        is_stream: bool,
        now: Instant,
        tally: &mut Tally,
    ) {
        let number = payload.number(key, self.next, message);
        let place = number.and_then(|number| self.place(number));
        let is_right = message.len() == payload.size()
            && number.is_some_and(|number| payload.matches(key, number, 0, message));
        let (Some(number), true) = (number, is_right) else {
            return self.corrupted(place, is_stream, now, tally);
        };
        if let Some(message) = place.and_then(|place| self.in_flight.remove(place)) {
            self.corrupted_in_a_row = 0;
            if number < self.heard {
                tally.counts.reordered += 1;
            }
            self.heard = self.heard.max(number + 1);
            tally.answered(&message, now);
        } else if let Some(at) = self.expired.iter().position(|expired| *expired == number) {
            self.expired.remove(at);
            tally.counts.late_answers += 1;
        } else if self.next - number <= Payload::numbers(payload.size()) / 4 {
            tally.counts.duplicated += 1;
        } else {
            // A message of one or two bytes could be any number of old ones.
            self.corrupted(None, is_stream, now, tally);
        }
    }

    /// A corrupted message stands for the one with its number, or else, in a
    /// stream, for the one whose place it took; that message is not counted as
    /// lost too.
    fn corrupted(&mut self, place: Option<usize>, is_stream: bool, now: Instant, tally: &mut Tally) {
        tally.counts.corrupted += 1;
        self.corrupted_in_a_row += 1;
        let place = if is_stream { place.or(Some(0)) } else { place };
        if let Some(message) = place.and_then(|place| self.in_flight.remove(place)) {
            self.heard = self.heard.max(message.number + 1);
            tally.under_way -= 1;
            tally.given_up(&message, now);
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        // Messages are sorted by number.
        self.in_flight.binary_search_by_key(&number, |message| message.number).ok()
    }

    /// Whether a later message came back before this one.
    pub fn is_overtaken(&self, message: &InFlight) -> bool {
        message.number < self.heard
    }

    /// How many messages in flight no later one has overtaken. The others are
    /// unlikely to come, so they take no place away from the next one.
    pub fn expected(&self) -> usize {
        match self.in_flight.front() {
            Some(oldest) if self.is_overtaken(oldest) => {
                // Messages are sorted by number.
                let overtaken = self.in_flight.partition_point(|message| self.is_overtaken(message));
                self.in_flight.len() - overtaken
            }
            _ => self.in_flight.len(),
        }
    }

    /// Forgets what came on a connection that is gone, and returns what was in
    /// flight on it.
    pub fn abandon(&mut self) -> impl Iterator<Item = InFlight> {
        self.forget_partial();
        self.corrupted_in_a_row = 0;
        self.in_flight.drain(..)
    }

    /// Forgets what has come of an incomplete message.
    pub fn forget_partial(&mut self) {
        self.right = 0;
        self.suspect.clear();
    }

    /// Whether part of the first message has come.
    pub fn is_half_read(&self) -> bool {
        self.right > 0
    }

    /// Whether something that is not an answer came after all the answers.
    pub fn has_leftover(&self) -> bool {
        self.in_flight.is_empty() && !self.suspect.is_empty()
    }

    /// Whether an answer to a message that was given up can still come; from now
    /// on that one is not expected any more.
    pub fn forget_expired(&mut self) -> bool {
        self.expired.pop_front().is_some()
    }

    /// Gives up the oldest message as lost.
    pub fn expire(&mut self, now: Instant, tally: &mut Tally) {
        if let Some(message) = self.in_flight.pop_front() {
            tally.counts.lost += 1;
            tally.under_way -= 1;
            tally.given_up(&message, now);
            if self.expired.len() == REMEMBERED {
                self.expired.pop_front();
            }
            self.expired.push_back(message.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Counts;
    use super::*;

    struct Line {
        payload: Payload,
        window: Window,
        tally: Tally,
        sent: Vec<Vec<u8>>,
    }

    fn line(size: usize, messages: usize) -> Line {
        let payload = Payload::new(size, 1);
        let key = payload.key(0);
        let mut window = Window::default();
        let now = Instant::now();
        let sent = (0..messages).map(|_| {
            let number = window.send(now, now);
            let mut message = Vec::new();
            payload.write(key, number, |part| message.extend_from_slice(part));
            message
        });
        let sent = sent.collect();
        let tally = Tally { under_way: messages as u64, ..Tally::default() };
        Line { payload, window, tally, sent }
    }

    impl Line {
        fn hear(&mut self, bytes: &[u8]) {
            let key = self.payload.key(0);
            self.window.hear(&self.payload, key, bytes, Instant::now(), &mut self.tally);
        }

        fn hear_datagram(&mut self, bytes: &[u8]) {
            let key = self.payload.key(0);
            self.window.hear_datagram(&self.payload, key, bytes, Instant::now(), &mut self.tally);
        }

        /// Lost (so far), duplicated, reordered, corrupted.
        fn faults(&self) -> [u64; 4] {
            let missing = self.window.in_flight.len() as u64;
            assert_eq!(missing, self.tally.under_way);
            let Counts { duplicated, reordered, corrupted, .. } = self.tally.counts;
            [missing, duplicated, reordered, corrupted]
        }
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        // Which of the messages 0 to 3 come back, and what that counts as.
        for (order, faults) in [
            (&[0usize, 1, 2, 3][..], [0, 0, 0, 0]),
            (&[0, 2, 3], [1, 0, 0, 0]),
            (&[0, 1, 1, 2, 3], [0, 1, 0, 0]),
            (&[0, 2, 1, 3], [0, 0, 1, 0]),
            (&[3, 2, 1, 0], [0, 0, 3, 0]),
            (&[0, 1, 2, 3, 3, 3], [0, 2, 0, 0]),
            (&[1, 3, 1, 0], [1, 1, 1, 0]),
        ] {
            for size in [2, 8, 9, 64] {
                let mut stream = line(size, 4);
                let mut datagrams = line(size, 4);
                for message in order {
                    // In two pieces, wherever the cut is.
                    let bytes = stream.sent[*message].clone();
                    stream.hear(&bytes[..size / 2]);
                    stream.hear(&bytes[size / 2..]);
                    datagrams.hear_datagram(&bytes);
                }
                assert_eq!(stream.faults(), faults, "{order:?} of {size} B in a stream");
                assert_eq!(datagrams.faults(), faults, "{order:?} of {size} B in datagrams");
            }
        }
    }

    #[test]
    fn a_corrupted_message_is_not_counted_as_lost_too() {
        for size in [9, 64] {
            for place in [size - 1, size / 2] {
                let mut stream = line(size, 4);
                let mut bytes = stream.sent.concat();
                bytes[size + place.max(8)] ^= 1;
                stream.hear(&bytes);
                assert_eq!(stream.faults(), [0, 0, 0, 1], "byte {place} of {size}");
                assert_eq!(stream.tally.counts.answered, 3);
            }
        }
        let mut stream = line(64, 2);
        let mut bytes = stream.sent.concat();
        bytes[0] ^= 0x80;
        stream.hear(&bytes);
        assert_eq!(stream.faults(), [0, 0, 0, 1], "the identity itself");
    }

    #[test]
    fn more_than_was_sent_is_a_fault() {
        let mut stream = line(64, 1);
        let bytes = stream.sent[0].clone();
        stream.hear(&bytes);
        stream.hear(&[7; 64]);
        assert_eq!(stream.faults(), [0, 0, 0, 1]);
    }

    #[test]
    fn a_message_of_one_byte_can_be_checked() {
        let mut stream = line(1, 4);
        let bytes = stream.sent.concat();
        stream.hear(&bytes);
        assert_eq!((stream.faults(), stream.tally.counts.answered), ([0; 4], 4));
        stream.hear(&[bytes[0].wrapping_add(200)]);
        assert_eq!(stream.faults(), [0, 0, 0, 1]);
    }

    #[test]
    fn a_message_whose_identity_came_round_again_is_another_one() {
        let mut stream = line(1, 200);
        let answered = stream.sent[1..].concat();
        stream.hear(&answered);
        // The first one is lost; the later ones reach its identity again.
        for number in 200..300 {
            let now = Instant::now();
            stream.window.send(now, now);
            stream.tally.under_way += 1;
            let mut message = Vec::new();
            stream.payload.write(stream.payload.key(0), number, |part| message.extend_from_slice(part));
            stream.hear(&message);
        }
        assert_eq!(stream.faults(), [1, 0, 0, 0]);
        assert_eq!(stream.tally.counts.answered, 299);
    }

    #[test]
    fn what_comes_after_it_was_given_up_is_late_and_no_duplicate() {
        let mut datagrams = line(64, 2);
        let late = datagrams.sent[0].clone();
        datagrams.window.expire(Instant::now(), &mut datagrams.tally);
        datagrams.hear_datagram(&late);
        assert_eq!(datagrams.tally.counts.late_answers, 1);
        assert_eq!(datagrams.tally.counts.duplicated, 0);
        datagrams.hear_datagram(&late);
        assert_eq!(datagrams.tally.counts.duplicated, 1);
    }
}
