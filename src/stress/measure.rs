//! Counts and times what happens in a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use super::metrics::{COUNTS, Kind};
use super::window::InFlight;

/// Longer times are recorded as this, one hour.
const LONGEST: u64 = 3600 * 1_000_000_000;

/// A generator that did not run for so long stood still, and must read what came
/// meanwhile before it calls anything overdue.
const STANDSTILL: Duration = Duration::from_millis(200);

/// How many bytes of a wrong answer are kept: one more than is shown.
pub const WRONG_ANSWER_KEPT: usize = 201;

/// An empty histogram of nanoseconds, with three digits of precision up to an hour.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("these bounds are valid")
}

/// Records a time.
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record((time.as_nanos() as u64).clamp(1, LONGEST));
}

/// What has been counted since the start of a run; [`COUNTS`] has a row for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Messages whose correct answer came back in time.
    pub answered: u64,
    /// Payload bytes sent and received.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Messages that never came back, although later ones did.
    pub lost: u64,
    /// Messages that came back more than once.
    pub duplicated: u64,
    /// Messages that came back after a later one.
    pub reordered: u64,
    /// Messages that came back altered, and data that was never sent.
    pub corrupted: u64,
    /// Messages without an answer within the timeout.
    pub timeouts: u64,
    /// Messages that were due and not sent.
    pub unsent: u64,
    /// Connections that ended with messages unanswered.
    pub closed: u64,
    /// Connections that could not be made.
    pub not_connected: u64,
    /// Messages that were in flight on a connection when it ended: part of that
    /// fault, and none of their own.
    pub unanswered: u64,
    /// Connections that the server closed between two answers.
    pub reconnected: u64,
    /// Messages sent again on a new connection.
    pub retried: u64,
    /// Answers that came after the timeout.
    pub late_answers: u64,
    /// Lines from the server itself.
    pub other_lines: u64,
}

impl Counts {
    /// What was counted since `before`.
    pub fn since(&self, before: &Counts) -> Counts {
        let mut counts = *self;
        COUNTS.iter().for_each(|row| *row.of_mut(&mut counts) -= row.of(before));
        counts
    }

    /// How often something went wrong.
    pub fn faults(&self) -> u64 {
        COUNTS.iter().filter(|row| row.kind == Kind::Fault).map(|row| row.of(self)).sum()
    }
}

/// The latencies of a run, or of one interval of it.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// From sending a request to its answer.
    pub service: Histogram<u64>,
    /// From when a request was due to its answer; empty in a closed loop.
    pub due: Histogram<u64>,
    /// How late requests were sent although their connection had room.
    pub late: Histogram<u64>,
    /// From `connect` to the established connection.
    pub connect: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies { service: histogram(), due: histogram(), late: histogram(), connect: histogram() }
    }
}

impl Latencies {
    /// The latency that counts: from when a request was due, if that is known.
    pub fn judged(&self) -> &Histogram<u64> {
        if self.due.is_empty() { &self.service } else { &self.due }
    }

    /// Takes over the records of another one and empties it.
    pub fn take_in(&mut self, other: &mut Latencies) {
        let pairs = [
            (&mut self.service, &mut other.service),
            (&mut self.due, &mut other.due),
            (&mut self.late, &mut other.late),
            (&mut self.connect, &mut other.connect),
        ];
        for (all, some) in pairs {
            if !some.is_empty() {
                // Both have the same bounds, so this cannot fail.
                let _ = all.add(&*some);
                some.reset();
            }
        }
    }
}

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

/// One interval of a run, as reported while the run goes on.
#[derive(Debug, Clone)]
pub struct Interval {
    /// When it began, counted from the start of the run.
    pub start: Duration,
    pub length: Duration,
    pub phase: &'static str,
    /// What was counted during it.
    pub counts: Counts,
    pub connections: usize,
    /// p50, p99 and max of the latency that counts, if anything was timed.
    pub latency: Option<[Duration; 3]>,
}

/// A time without any connection to the server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// Seconds since the first connection.
    pub from_s: f64,
    /// `None` if it lasted until the end.
    pub to_s: Option<f64>,
    /// Messages that fell due in it.
    pub due: u64,
}

/// What was counted in one part of a run, and the errors of connections by kind.
#[derive(Debug, Clone, Default)]
pub struct Part {
    pub counts: Counts,
    pub errors: BTreeMap<String, u64>,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How long the measurement lasted.
    pub elapsed: Duration,
    /// What was counted during that time.
    pub window: Counts,
    /// What became of the messages from before the measurement.
    pub warmup: Part,
    /// What became of those that were measured, and all that came to light since.
    pub measured: Part,
    pub latencies: Latencies,
    pub intervals: Vec<Interval>,
    pub outages: Vec<Outage>,
    /// Processor time of the generator itself during the measurement.
    pub processor: ProcessorTime,
    /// Connections that were asked for, and opened.
    pub asked: u64,
    pub opened: u64,
    /// Connections that were open when the measurement ended.
    pub held: u64,
    /// The share of connections that were made later than planned.
    pub connects_late: f64,
    /// Whether it ended early.
    pub interrupted: bool,
    /// Requests that were in flight when it ended early.
    pub under_way: u64,
    /// Requests that were due and waiting for a slot when it ended early.
    pub waiting: u64,
    /// The first wrong answer to a request, or its beginning.
    pub wrong_answer: Option<Vec<u8>>,
    /// Why the run could not be performed at all.
    pub failure: Option<String>,
}

impl Outcome {
    /// The share of one core that the generator used.
    pub fn cpu_share(&self) -> f64 {
        ratio(self.processor.used.as_secs_f64(), self.elapsed.as_secs_f64())
    }

    /// The share of the time in which the generator had to wait for a core.
    pub fn wait_share(&self) -> Option<f64> {
        self.processor.waited.map(|waited| ratio(waited.as_secs_f64(), self.elapsed.as_secs_f64()))
    }

    /// What was counted from start to end.
    pub fn total(&self) -> Counts {
        let mut total = self.warmup.counts;
        COUNTS.iter().for_each(|row| *row.of_mut(&mut total) += row.of(&self.measured.counts));
        total
    }

    /// The errors of connections from start to end.
    #[cfg(test)]
    pub fn errors(&self) -> BTreeMap<String, u64> {
        let mut errors = self.warmup.errors.clone();
        self.measured
            .errors
            .iter()
            .for_each(|(kind, count)| *errors.entry(kind.clone()).or_default() += count);
        errors
    }

    /// Whether nothing happened that a table could show.
    pub fn counted_nothing(&self) -> bool {
        self.total().faults() + self.total().answered == 0
    }

    /// A count per second.
    pub fn per_second(&self, count: u64) -> f64 {
        ratio(count as f64, self.elapsed.as_secs_f64())
    }
}

/// A quotient, or 0 when dividing by zero.
pub fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

/// How much processor time this process has had so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessorTime {
    /// User and system time.
    pub used: Duration,
    /// How long it could have run but had to wait for a core
    /// (proc_pid_schedstat(5)); `None` if the system does not say.
    pub waited: Option<Duration>,
}

impl ProcessorTime {
    pub fn so_far() -> ProcessorTime {
        let used = getrusage(UsageWho::RUSAGE_SELF)
            .map(|usage| usage.user_time().num_microseconds() + usage.system_time().num_microseconds());
        let waited = std::fs::read_to_string("/proc/self/schedstat")
            .ok()
            .and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok());
        ProcessorTime {
            used: Duration::from_micros(used.map_or(0, |used| used.max(0) as u64)),
            waited: waited.map(Duration::from_nanos),
        }
    }

    /// The difference from an earlier reading.
    pub fn since(&self, before: &ProcessorTime) -> ProcessorTime {
        ProcessorTime {
            used: self.used.saturating_sub(before.used),
            waited: self.waited.zip(before.waited).map(|(now, before)| now.saturating_sub(before)),
        }
    }
}

/// The time from `start` to a later `end`.
pub fn between(start: Instant, end: Instant) -> Duration {
    end.saturating_duration_since(start)
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
