//! Counts and times what happens while a run goes on.

use std::time::{Duration, Instant};

use super::measure::{Counts, Latencies, WRONG_ANSWER_KEPT, between, record};
use super::window::InFlight;

/// A generator that did not run for so long stood still, and must read what came
/// meanwhile before it calls anything overdue.
const STANDSTILL: Duration = Duration::from_millis(200);

/// The counters and timings of a run in progress.
#[derive(Debug, Default)]
pub struct Tally {
    pub counts: Counts,
    /// The part of them that concerns messages from before the measurement; until
    /// then it is meaningless.
    pub before: Counts,
    /// The timings since the last report.
    pub latencies: Latencies,
    /// Nothing that ends before this is timed; in an open loop, nothing that was
    /// due before it.
    pub measured_from: Option<Instant>,
    /// Whether requests are due at fixed times of their own.
    pub is_open_loop: bool,
    pub patience: Patience,
    /// Whether a message whose answer comes too late counts as lost, as over UDP
    /// and in a chat.
    pub late_is_lost: bool,
    /// Requests waiting for their answer, and those of them that are from before the
    /// measurement.
    pub under_way: u64,
    pub old_under_way: u64,
    /// When the last answer came.
    pub last_answer: Option<Instant>,
    /// When anything last came.
    pub last_heard: Option<Instant>,
    /// The first wrong answer to a request, or its beginning.
    pub wrong_answer: Option<Vec<u8>>,
}

/// Until when an answer is waited for.
#[derive(Debug, Default)]
pub struct Patience {
    pub timeout: Duration,
    /// The last moment at which the generator is known to have run.
    seen: Option<Instant>,
    /// When it last stood still: until when, and for how long. Nobody else is to
    /// blame for that time.
    stall: Option<(Instant, Duration)>,
}

impl Patience {
    pub fn new(timeout: Duration) -> Patience {
        Patience { timeout, ..Patience::default() }
    }

    /// Notes that the generator runs.
    pub fn see(&mut self, now: Instant) {
        if let Some(seen) = self.seen.replace(now) {
            let stood_still = between(seen, now);
            if stood_still >= STANDSTILL {
                self.stall = Some((now, stood_still));
            }
        }
    }

    /// When a message that was sent then is overdue.
    pub fn deadline(&self, sent: Instant) -> Instant {
        match self.stall {
            Some((end, length)) if sent < end => sent + self.timeout + length,
            _ => sent + self.timeout,
        }
    }

    /// Whether an answer that took longer than the timeout is late, and not the
    /// generator.
    #[cold]
    fn is_late(&mut self, sent: Instant, now: Instant) -> bool {
        self.see(now);
        now > self.deadline(sent)
    }
}

impl Tally {
    /// Counts something that concerns a message, as part of the phase in which that
    /// was due.
    #[inline]
    pub fn count(&mut self, message: &InFlight, count: impl Fn(&mut Counts)) {
        count(&mut self.counts);
        if self.is_old(message) {
            count(&mut self.before);
        }
    }

    /// Whether a message is from before the measurement.
    #[inline]
    fn is_old(&self, message: &InFlight) -> bool {
        self.old_under_way > 0 && self.measured_from.is_some_and(|from| message.due < from)
    }

    /// Begins the measurement.
    pub fn start_measuring(&mut self, now: Instant) {
        self.measured_from = Some(now);
        self.before = self.counts;
        self.old_under_way = self.under_way;
    }

    /// Waits for a message no longer.
    #[inline]
    pub fn settle(&mut self, message: &InFlight) {
        self.under_way -= 1;
        if self.is_old(message) {
            self.old_under_way -= 1;
        }
    }

    /// Counts a message that is sent and waited for.
    #[inline]
    pub fn sent(&mut self, due: Instant) {
        self.under_way += 1;
        self.counts.sent += 1;
        if self.is_open_loop && self.measured_from.is_some_and(|from| due < from) {
            self.before.sent += 1;
            self.old_under_way += 1;
        }
    }

    /// Counts and times a right answer.
    #[inline(always)]
    pub fn answered(&mut self, message: &InFlight, now: Instant) {
        self.delivered(message, now);
        self.settle(message);
    }

    /// The same for one of several answers to a message.
    #[inline(always)]
    pub fn delivered(&mut self, message: &InFlight, now: Instant) {
        let service = between(message.sent, now);
        if service > self.patience.timeout && self.patience.is_late(message.sent, now) {
            self.came_late(message);
        } else {
            self.count(message, |counts| counts.answered += 1);
            self.last_answer = Some(now);
        }
        self.record(message.due, Some(service), now, Duration::ZERO);
    }

    /// Counts an answer that came after the timeout.
    #[cold]
    pub fn came_late(&mut self, message: &InFlight) {
        let is_lost = self.late_is_lost;
        self.count(message, |counts| {
            *(if is_lost { &mut counts.lost } else { &mut counts.timeouts }) += 1;
            counts.late_answers += 1;
        });
    }

    /// Counts and times a request that will have no right answer.
    pub fn missed(&mut self, message: &InFlight, now: Instant, count: impl Fn(&mut Counts)) {
        self.count(message, count);
        self.settle(message);
        self.given_up(message, now);
    }

    /// Times a request without a correct answer, with the timeout or the longer
    /// time it has taken so far. Otherwise a server would look faster the sooner
    /// it drops what it cannot serve.
    pub fn given_up(&mut self, message: &InFlight, now: Instant) {
        self.record(message.due, Some(between(message.sent, now)), now, self.patience.timeout);
    }

    /// The same for a request that fell due and could not be sent.
    pub fn never_sent(&mut self, due: Instant, now: Instant) {
        self.counts.unsent += 1;
        self.before.unsent += u64::from(self.measured_from.is_some_and(|from| due < from));
        self.record(due, None, now, self.patience.timeout);
    }

    /// Times a request that nobody waits for any longer, through no fault of the
    /// server's, with the time it has taken so far.
    pub fn cut_off(&mut self, message: &InFlight, now: Instant) {
        self.record(message.due, Some(between(message.sent, now)), now, Duration::ZERO);
    }

    /// The same for a request that fell due and had not been sent yet.
    pub fn cut_off_unsent(&mut self, due: Instant, now: Instant) {
        self.record(due, None, now, Duration::ZERO);
    }

    /// Keeps the first wrong answer, given in two parts.
    pub fn keep_wrong(&mut self, parts: [&[u8]; 2]) {
        self.wrong_answer
            .get_or_insert_with(|| parts.into_iter().flatten().copied().take(WRONG_ANSWER_KEPT).collect());
    }

    /// Records how late a request is sent although there was room for it.
    pub fn late(&mut self, due: Instant, now: Instant) {
        if self.measured_from.is_some_and(|from| due >= from) {
            record(&mut self.latencies.late, between(due, now));
        }
    }

    fn record(&mut self, due: Instant, service: Option<Duration>, now: Instant, at_least: Duration) {
        // A closed loop has no other times than those of the requests it waits
        // for: a stall that began before the measurement is one of them.
        if self.measured_from.is_none_or(|from| self.is_open_loop && due < from) {
            return;
        }
        if let Some(service) = service {
            record(&mut self.latencies.service, service.max(at_least));
        }
        if self.is_open_loop {
            record(&mut self.latencies.due, between(due, now).max(at_least));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_which_the_generator_stood_still_is_held_against_nobody() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut patience = Patience::new(second);
        patience.see(start);
        assert_eq!(patience.deadline(start), start + second);
        (0..110).for_each(|tick| patience.see(start + tick * Duration::from_millis(10)));
        assert!(patience.is_late(start, start + Duration::from_millis(1100)), "it ran all the time");
        let mut patience = Patience::new(second);
        patience.see(start);
        assert!(!patience.is_late(start, start + 3 * second), "what came meanwhile is read only now");
        assert_eq!(patience.deadline(start), start + 4 * second);
        assert_eq!(patience.deadline(start + 3 * second), start + 4 * second);
    }
}
