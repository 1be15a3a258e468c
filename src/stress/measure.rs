//! Counts and times what happens in a run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::link::InFlight;
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Longer times are recorded as this, one hour.
const LONGEST: u64 = 3600 * 1_000_000_000;

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

/// What has been counted since the start of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages sent.
    pub sent: u64,
    /// Messages whose correct answer came back.
    pub answered: u64,
    /// Payload bytes sent and received.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// Messages that never came back.
    pub lost: u64,
    /// Messages that came back more than once.
    pub duplicated: u64,
    /// Messages that came back after a later one.
    pub reordered: u64,
    /// Messages that came back altered, and data that was never sent.
    pub corrupted: u64,
    /// Messages without an answer within the timeout.
    pub timeouts: u64,
    /// Messages that came back after they had been counted as lost.
    pub late_answers: u64,
    /// Lines from the server itself.
    pub other_lines: u64,
}

impl Counts {
    /// What was counted since `before`.
    pub fn since(&self, before: &Counts) -> Counts {
        Counts {
            sent: self.sent - before.sent,
            answered: self.answered - before.answered,
            bytes_sent: self.bytes_sent - before.bytes_sent,
            bytes_received: self.bytes_received - before.bytes_received,
            lost: self.lost - before.lost,
            duplicated: self.duplicated - before.duplicated,
            reordered: self.reordered - before.reordered,
            corrupted: self.corrupted - before.corrupted,
            timeouts: self.timeouts - before.timeouts,
            late_answers: self.late_answers - before.late_answers,
            other_lines: self.other_lines - before.other_lines,
        }
    }

    /// How many messages met with a fault.
    pub fn faults(&self) -> u64 {
        self.lost + self.duplicated + self.reordered + self.corrupted + self.timeouts
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
    /// The timings since the last report.
    pub latencies: Latencies,
    /// Nothing that ends before this is timed; in an open loop, nothing that was
    /// due before it.
    pub measured_from: Option<Instant>,
    /// Whether requests are due at fixed times of their own.
    pub is_open_loop: bool,
    /// The least time recorded for a request without a correct answer.
    pub timeout: Duration,
    /// Requests waiting for their answer.
    pub under_way: u64,
    /// When the last answer came.
    pub last_answer: Option<Instant>,
    /// When anything last came.
    pub last_heard: Option<Instant>,
    /// The first wrong answer to a request, or its beginning.
    pub wrong_answer: Option<Vec<u8>>,
}

impl Tally {
    /// Counts and times an answer.
    pub fn answered(&mut self, message: &InFlight, now: Instant) {
        self.counts.answered += 1;
        self.under_way -= 1;
        self.last_answer = Some(now);
        self.time(message, now);
    }

    /// Counts and times a line that reached one of several members.
    pub fn delivered(&mut self, line: &InFlight, now: Instant) {
        self.counts.answered += 1;
        self.last_answer = Some(now);
        self.time(line, now);
    }

    /// Counts a request whose answer did not come in time.
    pub fn timed_out(&mut self, message: &InFlight, now: Instant) {
        self.counts.timeouts += 1;
        self.under_way -= 1;
        self.given_up(message, now);
    }

    /// Times a request without a correct answer, with the timeout or the longer
    /// time it has taken so far. Otherwise a server would look faster the sooner
    /// it drops what it cannot serve.
    pub fn given_up(&mut self, message: &InFlight, now: Instant) {
        self.record(message.due, Some(message.sent), now, self.timeout);
    }

    /// The same for a request that fell due and could not be sent.
    pub fn never_sent(&mut self, due: Instant, now: Instant) {
        self.record(due, None, now, self.timeout);
    }

    /// Times a request that nobody waits for any longer, through no fault of the
    /// server's, with the time it has taken so far.
    pub fn cut_off(&mut self, message: &InFlight, now: Instant) {
        self.time(message, now);
    }

    /// The same for a request that fell due and had not been sent yet.
    pub fn cut_off_unsent(&mut self, due: Instant, now: Instant) {
        self.record(due, None, now, Duration::ZERO);
    }

    /// Counts a wrong answer, given in two parts, and keeps the first one.
    pub fn wrong(&mut self, parts: [&[u8]; 2]) {
        self.counts.corrupted += 1;
        self.wrong_answer
            .get_or_insert_with(|| parts.into_iter().flatten().copied().take(WRONG_ANSWER_KEPT).collect());
    }

    /// Records how late a request is sent although there was room for it.
    pub fn late(&mut self, due: Instant, now: Instant) {
        if self.measured_from.is_some_and(|from| due >= from) {
            record(&mut self.latencies.late, between(due, now));
        }
    }

    fn time(&mut self, message: &InFlight, now: Instant) {
        self.record(message.due, Some(message.sent), now, Duration::ZERO);
    }

    fn record(&mut self, due: Instant, sent: Option<Instant>, now: Instant, at_least: Duration) {
        // A closed loop has no other times than those of the requests it waits
        // for: a stall that began before the measurement is one of them.
        if self.measured_from.is_none_or(|from| self.is_open_loop && due < from) {
            return;
        }
        if let Some(sent) = sent {
            record(&mut self.latencies.service, between(sent, now).max(at_least));
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
    pub errors: u64,
    /// Requests that were due and will never be sent.
    pub unsent: u64,
    pub connections: usize,
    /// p50, p99 and max of the latency that counts, if anything was timed.
    pub latency: Option<[Duration; 3]>,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How long the measurement lasted.
    pub elapsed: Duration,
    /// What was counted during that time.
    pub measured: Counts,
    /// What was counted from start to end, mainly for the faults.
    pub total: Counts,
    pub latencies: Latencies,
    pub intervals: Vec<Interval>,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// Processor time of the generator itself during the measurement.
    pub processor: ProcessorTime,
    /// Connections that were asked for, and opened.
    pub asked: u64,
    pub opened: u64,
    /// Connections that were open when the measurement ended.
    pub held: u64,
    /// Requests that fell due and were not sent by the end.
    pub unsent: u64,
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

    /// Whether nothing happened that a table could show.
    pub fn counted_nothing(&self) -> bool {
        self.errors.is_empty() && self.total.faults() == 0 && self.total.answered == 0
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
