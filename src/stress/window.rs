//! Tracks the messages in flight on one connection, and what becomes of each.

use std::collections::VecDeque;
use std::time::Instant;

use super::payload::Payload;
use super::tally::Tally;

/// How many messages given up as lost are remembered, in case they come after
/// all.
pub const REMEMBERED: usize = 1024;
/// How far beyond a message that came out of step the next one is looked for.
const REACH: usize = 64 * 1024;

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
///
/// One fault counts once. After a fault, a stream is searched for the beginning of
/// the next message in flight, and whatever lies between belongs to that fault.
#[derive(Debug, Default)]
pub struct Window {
    pub in_flight: VecDeque<InFlight>,
    /// The number of the next message.
    pub next: u64,
    /// One more than the highest number that has come back.
    heard: u64,
    /// Messages below this number have had their time: nobody waits for them, but
    /// what comes next may show whether they are lost.
    overdue: u64,
    /// How many bytes of the first message have come, all of them correct.
    right: usize,
    /// What has come from where the expected message should have begun.
    suspect: Vec<u8>,
    /// How many bytes of it hold no beginning of a message.
    searched: usize,
    /// Whether the last thing that came was a fault.
    is_astray: bool,
    expired: VecDeque<u64>,
    /// Corrupted messages since the last good one.
    pub corrupted_in_a_row: u32,
}

/// What is known about the messages of a connection: their bytes, and the key that
/// their identities begin from.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub payload: &'a Payload,
    pub key: u64,
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
    #[inline(always)]
    pub fn hear(&mut self, known: Known<'_>, mut bytes: &[u8], now: Instant, tally: &mut Tally) {
        let Known { payload, key } = known;
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
                        let message = *front;
                        self.in_flight.pop_front();
                        self.came_right(&message, now, tally);
                    }
                    continue;
                }
            }
            bytes = self.suspect_more(known, bytes, now, tally);
        }
    }

    /// Takes bytes that are not those of the expected message, and returns the rest.
    #[cold]
    fn suspect_more<'b>(
        &mut self,
        known: Known<'_>,
        bytes: &'b [u8],
        now: Instant,
        tally: &mut Tally,
    ) -> &'b [u8] {
        if self.suspect.is_empty() {
            self.recall(known);
        }
        let (size, most) = (known.payload.size(), self.most(known.payload));
        let full = if self.suspect.len() < size { size } else { most };
        let (first, rest) = bytes.split_at((full - self.suspect.len()).min(bytes.len()));
        self.suspect.extend_from_slice(first);
        if let Some(used) = self.judge_suspect(known, now, tally) {
            // What follows begins a message, as far as can be told.
            let suspect = std::mem::take(&mut self.suspect);
            self.searched = 0;
            self.hear(known, &suspect[used..], now, tally);
        }
        rest
    }

    /// How many bytes are kept to find the next message in.
    fn most(&self, payload: &Payload) -> usize {
        payload.size() + payload.size().min(REACH) + Payload::IDENTITY
    }

    /// Turns the bytes that were correct so far into suspects: the message began
    /// like the expected one but is another.
    fn recall(&mut self, known: Known<'_>) {
        if let Some(front) = self.in_flight.front() {
            let right = std::mem::take(&mut self.right);
            let suspect = &mut self.suspect;
            known.payload.write(known.key, front.number, |part| {
                let count = (right - suspect.len()).min(part.len());
                suspect.extend_from_slice(&part[..count]);
            });
        }
    }

    /// Finds out what the suspect bytes are, and returns how many of them that
    /// explains; `None` if more bytes will tell.
    fn judge_suspect(&mut self, known: Known<'_>, now: Instant, tally: &mut Tally) -> Option<usize> {
        let size = known.payload.size();
        if let Some(whole) = self.suspect.get(..size)
            && let Some(number) = known.payload.exact(known.key, self.next, whole)
        {
            self.came(known, number, now, tally);
            return Some(size);
        }
        let may_find = size >= Payload::IDENTITY;
        if may_find && let Some((place, number)) = self.find_next(known) {
            let suspect = std::mem::take(&mut self.suspect);
            self.corrupted(known, &suspect[..place], number, now, tally);
            self.suspect = suspect;
            return Some(place);
        }
        let may_wait = may_find && self.suspect.len() < self.most(known.payload);
        if self.suspect.len() < size || may_wait && self.has_more_to_come() {
            return None;
        }
        let suspect = std::mem::take(&mut self.suspect);
        self.corrupted(known, &suspect[..size], self.next, now, tally);
        self.suspect = suspect;
        Some(size)
    }

    /// Where the first message in flight begins in the suspect bytes, beyond their
    /// beginning.
    fn find_next(&mut self, known: Known<'_>) -> Option<(usize, u64)> {
        let end = (self.suspect.len() + 1).saturating_sub(Payload::IDENTITY);
        let from = self.searched.max(1);
        let found = (from..end).find_map(|place| {
            let number = known.payload.number(known.key, self.next, &self.suspect[place..])?;
            self.place(number).map(|_| (place, number))
        });
        self.searched = end.max(from);
        found
    }

    /// Whether a message is expected after the one that the suspects stand for.
    fn has_more_to_come(&self) -> bool {
        self.in_flight.len() - self.in_flight.partition_point(|message| self.is_overtaken(message)) > 1
    }

    /// Takes a datagram.
    pub fn hear_datagram(&mut self, known: Known<'_>, datagram: &[u8], now: Instant, tally: &mut Tally) {
        let is_whole = datagram.len() == known.payload.size();
        match known.payload.exact(known.key, self.next, datagram).filter(|_| is_whole) {
            Some(number) => self.came(known, number, now, tally),
            None => {
                self.is_astray = false;
                self.corrupted(known, datagram, self.next, now, tally);
            }
        }
    }

    /// Takes a right message that was not the expected one.
    fn came(&mut self, known: Known<'_>, number: u64, now: Instant, tally: &mut Tally) {
        if let Some(message) = self.place(number).and_then(|place| self.in_flight.remove(place)) {
            self.came_right(&message, now, tally);
        } else if let Some(at) = self.expired.iter().position(|expired| *expired == number) {
            self.expired.remove(at);
            tally.counts.late_answers += 1;
            self.is_astray = false;
        } else if self.next - number <= Payload::numbers(known.payload.size()) / 4 {
            tally.counts.duplicated += 1;
            self.is_astray = false;
        } else {
            // A message of one or two bytes could be any number of old ones.
            self.is_astray = true;
            self.corrupted_in_a_row += 1;
            tally.counts.corrupted += 1;
        }
    }

    #[inline(always)]
    fn came_right(&mut self, message: &InFlight, now: Instant, tally: &mut Tally) {
        self.corrupted_in_a_row = 0;
        self.is_astray = false;
        if message.number < self.heard {
            tally.count(message, |counts| counts.reordered += 1);
        }
        self.heard = self.heard.max(message.number + 1);
        if message.number < self.overdue {
            // It was timed when its time was over.
            tally.came_late(message);
            tally.settle(message);
        } else {
            tally.answered(message, now);
        }
    }

    /// Takes bytes that are no message, in front of message `before`. They stand for
    /// the message that they resemble, or else for the first one that was expected
    /// there; that one is not counted as lost too. If no message is missing there,
    /// the bytes are something that was never sent.
    fn corrupted(&mut self, known: Known<'_>, bytes: &[u8], before: u64, now: Instant, tally: &mut Tally) {
        let is_rest = std::mem::replace(&mut self.is_astray, true) && bytes.len() < known.payload.size();
        if is_rest {
            return;
        }
        self.corrupted_in_a_row += 1;
        let earlier = self.in_flight.iter().enumerate().take_while(|(_, message)| message.number < before);
        let (likeness, alike) = earlier
            .clone()
            .map(|(place, message)| (known.payload.likeness(known.key, message.number, bytes), place))
            .max_by_key(|(likeness, place)| (*likeness, usize::MAX - place))
            .unwrap_or_default();
        let place = if likeness > 0 && likeness >= known.payload.size() / 2 {
            Some(alike)
        } else {
            earlier.clone().find(|(_, message)| !self.is_overtaken(message)).map(|(place, _)| place)
        };
        match place.and_then(|place| self.in_flight.remove(place)) {
            Some(message) => {
                self.heard = self.heard.max(message.number + 1);
                self.fail(&message, now, tally, |counts| counts.corrupted += 1);
            }
            None => tally.counts.corrupted += 1,
        }
    }

    /// Counts and times a message that will have no right answer.
    fn fail(
        &self,
        message: &InFlight,
        now: Instant,
        tally: &mut Tally,
        count: impl Fn(&mut super::measure::Counts),
    ) {
        if message.number < self.overdue {
            tally.count(message, count);
            tally.settle(message);
        } else {
            tally.missed(message, now, count);
        }
    }

    fn place(&self, number: u64) -> Option<usize> {
        // Messages are sorted by number.
        self.in_flight.binary_search_by_key(&number, |message| message.number).ok()
    }

    /// Whether a later message came back before this one.
    fn is_overtaken(&self, message: &InFlight) -> bool {
        message.number < self.heard
    }

    /// Whether the oldest message was overtaken and is not just coming.
    pub fn is_oldest_lost(&self) -> bool {
        self.right == 0 && self.in_flight.front().is_some_and(|oldest| self.is_overtaken(oldest))
    }

    /// How many messages in flight are still expected: no later one has overtaken
    /// them, and their time is not over. The others take no place away from the
    /// next one.
    pub fn expected(&self) -> usize {
        let first = self.heard.max(self.overdue);
        match self.in_flight.front() {
            Some(oldest) if oldest.number < first => {
                // Messages are sorted by number.
                let passed = self.in_flight.partition_point(|message| message.number < first);
                self.in_flight.len() - passed
            }
            _ => self.in_flight.len(),
        }
    }

    /// Forgets what came on a connection that is gone, and returns what was in
    /// flight on it and whose time was not over; the others count as not answered
    /// in time.
    pub fn abandon(&mut self, now: Instant, tally: &mut Tally) -> VecDeque<InFlight> {
        self.forget_partial();
        self.corrupted_in_a_row = 0;
        let mut in_flight = std::mem::take(&mut self.in_flight);
        while let Some(message) =
            in_flight.pop_front_if(|message| message.number < self.heard.max(self.overdue))
        {
            if self.is_overtaken(&message) {
                self.fail(&message, now, tally, |counts| counts.lost += 1);
            } else {
                self.fail(&message, now, tally, |counts| counts.timeouts += 1);
            }
        }
        in_flight
    }

    /// Forgets what has come of an incomplete message.
    pub fn forget_partial(&mut self) {
        self.right = 0;
        self.suspect.clear();
        self.searched = 0;
        self.is_astray = false;
    }

    /// Whether part of a message has come.
    fn is_half_read(&self) -> bool {
        self.right > 0 || !self.suspect.is_empty() && !self.is_astray
    }

    /// Whether something that is not an answer came after all the answers.
    pub fn has_leftover(&self) -> bool {
        self.in_flight.is_empty() && !self.suspect.is_empty() && !self.is_astray
    }

    /// Whether an answer to a message that was given up can still come; from now
    /// on that one is not expected any more.
    pub fn forget_expired(&mut self) -> bool {
        self.expired.pop_front().is_some()
    }

    /// When the next of its messages is overdue; one whose time is over already has
    /// the same time again.
    pub fn deadline(&self, tally: &Tally) -> Option<Instant> {
        let oldest = self.in_flight.front()?;
        let once = tally.patience.deadline(oldest.sent);
        let has_had_its_time = oldest.number < self.overdue && !self.is_overtaken(oldest);
        Some(if has_had_its_time { once + tally.patience.timeout } else { once })
    }

    /// Stops waiting for a message whose answer is overdue, but not before the next
    /// one shows what became of it.
    pub fn wait_for_next(&mut self, now: Instant, tally: &mut Tally) -> bool {
        match self.in_flight.front() {
            Some(only) if self.in_flight.len() == 1 && only.number >= self.overdue => {
                tally.given_up(only, now);
                self.overdue = only.number + 1;
                true
            }
            _ => false,
        }
    }

    /// Gives up the oldest message as lost.
    pub fn expire(&mut self, now: Instant, tally: &mut Tally) {
        if let Some(message) = self.in_flight.pop_front() {
            self.fail(&message, now, tally, |counts| counts.lost += 1);
            if self.expired.len() == REMEMBERED {
                self.expired.pop_front();
            }
            self.expired.push_back(message.number);
        }
    }

    /// Gives up everything in flight, since nothing came in time; if part of a
    /// message came, that one is corrupted.
    pub fn time_out(&mut self, now: Instant, tally: &mut Tally) {
        let mut is_half_read = self.is_half_read();
        while let Some(message) = self.in_flight.pop_front() {
            if self.is_overtaken(&message) {
                self.fail(&message, now, tally, |counts| counts.lost += 1);
            } else if std::mem::take(&mut is_half_read) {
                self.fail(&message, now, tally, |counts| counts.corrupted += 1);
            } else {
                self.fail(&message, now, tally, |counts| counts.timeouts += 1);
            }
        }
        self.forget_partial();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::measure::Counts;
    use super::super::tally::Patience;
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
        let patience = Patience::new(Duration::from_secs(60));
        let tally = Tally { under_way: messages as u64, patience, ..Tally::default() };
        Line { payload, window, tally, sent }
    }

    impl Line {
        fn hear(&mut self, bytes: &[u8]) {
            let known = Known { payload: &self.payload, key: self.payload.key(0) };
            self.window.hear(known, bytes, Instant::now(), &mut self.tally);
        }

        fn hear_datagram(&mut self, bytes: &[u8]) {
            let known = Known { payload: &self.payload, key: self.payload.key(0) };
            self.window.hear_datagram(known, bytes, Instant::now(), &mut self.tally);
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

    proptest! {
        #[test]
        fn a_fault_counts_once_however_the_stream_is_cut(
            kind in 0..6,
            at in 0usize..39,
            place in 0usize..32,
            byte in 1u8..=255,
            piece in 1usize..100,
        ) {
            let mut stream = line(32, 40);
            let mut sent = stream.sent.clone();
            let faults = match kind {
                0 => { sent.remove(at); [1, 0, 0, 0] }
                1 => { sent.insert(at, sent[at].clone()); [0, 1, 0, 0] }
                2 => { sent.swap(at, at + 1); [0, 0, 1, 0] }
                3 => { sent[at][place] ^= byte; [0, 0, 0, 1] }
                4 => { sent[at].remove(place); [0, 0, 0, 1] }
                _ => { sent[at].insert(place, byte); [0, 0, 0, 1] }
            };
            sent.concat().chunks(piece).for_each(|piece| stream.hear(piece));
            prop_assert_eq!(stream.faults(), faults);
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
