//! Messages and their answers, link by link: what `echo`, `request`, `connect` and
//! `idle` have in common.

use std::time::Instant;

use super::payload::Payload;
use super::scenario::{Conversation, Verdict};
use super::scenarios::request::Request;
use super::tally::Tally;
use super::window::{InFlight, Known, Window};

/// How many corrupted messages in a row show that a stream is out of step, so
/// that what comes on it means nothing any more.
const OUT_OF_STEP: u32 = 8;

/// What is sent.
#[derive(Debug)]
pub enum Script {
    /// Messages of our own, which come back unchanged.
    Echo(Payload),
    /// A given message with a given answer.
    Request(Request),
    /// Nothing.
    Silence,
}

pub struct Exchange {
    script: Script,
    is_udp: bool,
    /// Whether a connection goes on after a message whose answer is overdue, so
    /// that the next one shows what became of it.
    goes_on: bool,
    /// How many messages in flight on one connection can be told apart.
    most_under_way: usize,
    links: Vec<Link>,
}

#[derive(Debug, Default)]
struct Link {
    key: u64,
    window: Window,
    /// An incomplete answer to a request.
    answer: Vec<u8>,
}

impl Exchange {
    pub fn new(script: Script, links: usize, is_udp: bool, is_kept: bool) -> Exchange {
        let payload = match &script {
            Script::Echo(payload) => Some(payload),
            _ => None,
        };
        let most_under_way = payload.map_or(u64::MAX, |payload| Payload::numbers(payload.size()) / 2);
        let key = |number| payload.map_or(0, |payload| payload.key(number));
        Exchange {
            is_udp,
            goes_on: is_kept && payload.is_some_and(|payload| payload.size() >= Payload::IDENTITY),
            most_under_way: usize::try_from(most_under_way).unwrap_or(usize::MAX),
            links: (0..links).map(|number| Link { key: key(number), ..Link::default() }).collect(),
            script,
        }
    }

    /// Counts anything beyond the expected answers as a fault.
    fn judge_leftover(&mut self, number: usize, tally: &mut Tally) {
        let link = &mut self.links[number];
        if link.window.has_leftover() {
            tally.counts.corrupted += 1;
        } else if link.window.in_flight.is_empty() && !link.answer.is_empty() {
            tally.keep_wrong([&link.answer, &[]]);
            tally.counts.corrupted += 1;
            link.answer.clear();
        }
    }
}

impl Conversation for Exchange {
    #[inline(always)]
    fn is_free(&self, link: usize, depth: usize) -> bool {
        let window = &self.links[link].window;
        window.expected() < depth && window.in_flight.len() < self.most_under_way
    }

    #[inline]
    fn record(&mut self, link: usize, due: Instant, now: Instant) -> u64 {
        self.links[link].window.send(due, now)
    }

    #[inline]
    fn in_flight(&self, link: usize) -> usize {
        self.links[link].window.in_flight.len()
    }

    fn message(&self, link: usize, place: usize) -> InFlight {
        self.links[link].window.in_flight[place]
    }

    #[inline]
    fn write(&self, link: usize, number: u64, mut put: impl FnMut(&[u8])) -> usize {
        match &self.script {
            Script::Echo(payload) => {
                payload.write(self.links[link].key, number, put);
                payload.size()
            }
            Script::Request(request) => {
                put(&request.message);
                request.message.len()
            }
            Script::Silence => 0,
        }
    }

    #[inline(always)]
    fn hear(&mut self, link: usize, bytes: &[u8], now: Instant, tally: &mut Tally) -> Verdict {
        let Link { key, window, answer } = &mut self.links[link];
        match &mut self.script {
            Script::Echo(payload) if self.is_udp => {
                window.hear_datagram(Known { payload, key: *key }, bytes, now, tally);
            }
            Script::Echo(payload) => window.hear(Known { payload, key: *key }, bytes, now, tally),
            Script::Request(request) if self.is_udp => request.hear_datagram(window, bytes, now, tally),
            Script::Request(request) => request.hear(window, answer, bytes, now, tally),
            Script::Silence => {}
        }
        let is_out_of_step = !self.is_udp && window.corrupted_in_a_row >= OUT_OF_STEP;
        if is_out_of_step { Verdict::GiveUp } else { Verdict::Keep }
    }

    #[inline]
    fn deadline(&self, link: usize, tally: &Tally) -> Option<Instant> {
        self.links[link].window.deadline(tally)
    }

    fn expire(&mut self, link: usize, read_until: Instant, now: Instant, tally: &mut Tally) -> Verdict {
        let window = &mut self.links[link].window;
        while window.deadline(tally).is_some_and(|at| at <= read_until) {
            if self.is_udp || window.is_oldest_lost() {
                window.expire(now, tally);
            } else if !(self.goes_on && window.wait_for_next(now, tally)) {
                return Verdict::GiveUp;
            }
        }
        Verdict::Keep
    }

    fn end(&mut self, link: usize, now: Instant, tally: &mut Tally) {
        let Link { window, answer, .. } = &mut self.links[link];
        if let Script::Request(request) = &self.script {
            request.end(window, answer, now, tally);
        }
    }

    fn is_at_rest(&self, link: usize) -> bool {
        let Link { window, answer, .. } = &self.links[link];
        window.in_flight.is_empty() && !window.has_leftover() && answer.is_empty()
    }

    fn may_retry(&self, link: usize) -> bool {
        let Link { window, answer, .. } = &self.links[link];
        matches!(self.script, Script::Request(_)) && !window.in_flight.is_empty() && answer.is_empty()
    }

    fn withdraw(&mut self, link: usize, now: Instant, tally: &mut Tally) {
        if let Some(message) = self.links[link].window.in_flight.pop_back() {
            tally.settle(&message);
            tally.given_up(&message, now);
        }
    }

    fn lose(&mut self, link: usize, now: Instant, tally: &mut Tally) {
        self.judge_leftover(link, tally);
        let Link { window, answer, .. } = &mut self.links[link];
        answer.clear();
        for message in window.abandon(now, tally) {
            tally.missed(&message, now, |counts| counts.unanswered += 1);
        }
    }

    fn time_out(&mut self, link: usize, now: Instant, tally: &mut Tally) {
        self.judge_leftover(link, tally);
        let Link { window, answer, .. } = &mut self.links[link];
        if !answer.is_empty()
            && let Some(message) = window.in_flight.pop_front()
        {
            tally.keep_wrong([answer, &[]]);
            tally.missed(&message, now, |counts| counts.corrupted += 1);
        }
        answer.clear();
        while self.is_udp && !window.in_flight.is_empty() {
            window.expire(now, tally);
        }
        window.time_out(now, tally);
    }

    fn cut_off(&self, link: usize, now: Instant, tally: &mut Tally) {
        self.links[link].window.in_flight.iter().for_each(|message| tally.cut_off(message, now));
    }
}
