//! What a run counts and times, and what comes of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};

use super::metrics::{COUNTS, Kind};

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
