//! The summary of all runs, as `--json` writes it and `compare` reads it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::stress::measure::{Counts, Outage, Outcome, Part, WRONG_ANSWER_KEPT};
use crate::stress::metrics::{COUNTS, Kind, STATISTICS};
use crate::stress::scenario::Labels;
use crate::stress::text::escape;

/// The value of `format` in the file, and that of files whose faults were not
/// counted per phase.
pub const FORMAT: &str = "onepoll-stress-2";
pub const OLD_FORMAT: &str = "onepoll-stress-1";

/// All runs of one command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: String,
    /// The version of the program that wrote it; `None` in older files.
    #[serde(default)]
    pub version: Option<String>,
    /// The command line, and the machine that ran it.
    #[serde(default)]
    pub command: Option<String>,
    #[serde(default)]
    pub host: Option<String>,
    pub settings: Settings,
    pub runs: Vec<Measured>,
}

/// What was asked for: everything that can affect a figure, with keys named after
/// the options.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub scenario: String,
    pub transport: String,
    pub target: String,
    pub connections: usize,
    /// Size of a message in bytes; `None` if messages have no size of their own.
    pub size: Option<usize>,
    /// Requests in flight per connection.
    pub depth: usize,
    /// Requests per second in an open loop.
    pub rate: Option<f64>,
    pub senders: Option<usize>,
    pub ramp_s: f64,
    pub warmup_s: f64,
    pub duration_s: Option<f64>,
    pub messages: Option<u64>,
    pub timeout_s: f64,
    pub seed: u64,
    /// The settings from here on do not apply to every scenario, and older files
    /// lack them.
    #[serde(default)]
    pub send: Option<String>,
    #[serde(default)]
    pub expect: Option<String>,
    #[serde(default)]
    pub expect_regex: Option<String>,
    #[serde(default)]
    pub until: Option<String>,
    #[serde(default)]
    pub answer_length: Option<usize>,
    #[serde(default)]
    pub length_prefix: Option<String>,
    #[serde(default)]
    pub per_connection: Option<bool>,
    #[serde(default)]
    pub reset: Option<bool>,
    #[serde(default)]
    pub echo_to_sender: Option<bool>,
    #[serde(default)]
    pub settle_s: Option<f64>,
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub interval_s: Option<f64>,
    /// The words for its figures.
    #[serde(skip)]
    pub labels: Labels,
}

/// An answer in the form in which it is shown.
fn shown(answer: &[u8]) -> String {
    if answer.len() < WRONG_ANSWER_KEPT {
        return escape(answer);
    }
    let answer = &answer[..WRONG_ANSWER_KEPT - 1];
    // A character that was cut in two is left out.
    let end = match std::str::from_utf8(answer) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => answer.len(),
    };
    escape(&answer[..end]) + "…"
}

/// A moment as the files express it: RFC 3339, in UTC, to the millisecond.
pub fn moment(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// What one run measured. Counts are those of the measured messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// When it began (RFC 3339, UTC); `None` in older files.
    #[serde(default)]
    pub started: Option<String>,
    /// How long the measurement lasted.
    pub elapsed_s: f64,
    /// Answers per second.
    pub rate: f64,
    /// Messages and bytes during that time; everything else is what became of the
    /// messages sent in it.
    #[serde(flatten)]
    pub counts: Counts,
    /// What became of the messages of each phase, as counts that add up; `None` in
    /// older files.
    #[serde(default)]
    pub phases: Option<Phases>,
    /// From sending a request to its answer.
    pub service: Option<Times>,
    /// From when a request was due to its answer; only in an open loop.
    pub due: Option<Times>,
    /// How late the generator itself was; only in an open loop.
    pub late: Option<Times>,
    pub connect: Option<Times>,
    pub connections_asked: u64,
    pub connections_opened: u64,
    /// Open when the measuring ended.
    pub connections_held: u64,
    /// The share of connections that were made later than the ramp says.
    #[serde(default)]
    pub connects_late: f64,
    /// Errors of connections, by kind.
    pub errors: BTreeMap<String, u64>,
    /// The times without any connection.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// The share of one core that the generator itself used.
    pub cpu: f64,
    /// The share of the time in which it had to wait for a core; `None` if the
    /// system does not say.
    #[serde(default)]
    pub cpu_wait: Option<f64>,
    pub interrupted: bool,
    /// Messages in flight when it was interrupted.
    pub under_way: u64,
    /// Messages that were due and not sent yet when it was interrupted.
    #[serde(default)]
    pub waiting: u64,
    /// The first wrong answer to a request, escaped; a long one is cut off and
    /// ends in "…".
    #[serde(default)]
    pub wrong_answer: Option<String>,
}

/// What was counted before the measurement, and what of it and after it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phases {
    pub warmup: Phase,
    pub measure: Phase,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    #[serde(flatten)]
    pub counts: Counts,
    /// Errors of connections, by kind.
    pub errors: BTreeMap<String, u64>,
}

impl Phase {
    fn of(part: &Part) -> Phase {
        Phase { counts: part.counts, errors: part.errors.clone() }
    }
}

/// In the files, counts stand under the keys of [`COUNTS`]; what an older file lacks
/// is 0.
impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(COUNTS.iter().map(|row| (row.key, row.of(self))))
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counts, D::Error> {
        let values = BTreeMap::<String, Value>::deserialize(deserializer)?;
        let mut counts = Counts::default();
        for row in &COUNTS {
            *row.of_mut(&mut counts) = values.get(row.key).and_then(Value::as_u64).unwrap_or(0);
        }
        Ok(counts)
    }
}

/// A distribution of times: its figures in milliseconds, in the order of
/// [`STATISTICS`]. An older file lacks some.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    pub count: u64,
    pub values: [Option<f64>; STATISTICS.len()],
}

impl Times {
    /// Summarises a histogram of nanoseconds; `None` if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Times> {
        let values = STATISTICS.each_ref().map(|statistic| Some((statistic.of)(histogram) / 1e6));
        (!histogram.is_empty()).then(|| Times { count: histogram.len(), values })
    }

    /// One of its figures.
    pub fn get(&self, name: &str) -> Option<f64> {
        let place = STATISTICS.iter().position(|statistic| statistic.name == name)?;
        self.values[place]
    }
}

impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let values = STATISTICS.iter().zip(self.values);
        let values = values.filter_map(|(statistic, value)| Some((statistic.key, Value::from(value?))));
        serializer.collect_map([("count", Value::from(self.count))].into_iter().chain(values))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Times, D::Error> {
        let values = BTreeMap::<String, f64>::deserialize(deserializer)?;
        let value = |key: &str| values.get(key).copied();
        let count = value("count").unwrap_or(0.0) as u64;
        Ok(Times { count, values: STATISTICS.each_ref().map(|statistic| value(statistic.key)) })
    }
}

impl Measured {
    pub fn of(outcome: &Outcome) -> Measured {
        let Outcome { window, measured, latencies, .. } = outcome;
        let mut counts = measured.counts;
        for row in COUNTS.iter().filter(|row| row.kind == Kind::Traffic) {
            *row.of_mut(&mut counts) = row.of(window);
        }
        Measured {
            started: None,
            elapsed_s: outcome.elapsed.as_secs_f64(),
            rate: outcome.per_second(window.answered),
            counts,
            phases: Some(Phases { warmup: Phase::of(&outcome.warmup), measure: Phase::of(measured) }),
            service: Times::of(&latencies.service),
            due: Times::of(&latencies.due),
            late: Times::of(&latencies.late),
            connect: Times::of(&latencies.connect),
            connections_asked: outcome.asked,
            connections_opened: outcome.opened,
            connections_held: outcome.held,
            connects_late: outcome.connects_late,
            errors: measured.errors.clone(),
            outages: outcome.outages.clone(),
            cpu: outcome.cpu_share(),
            cpu_wait: outcome.wait_share(),
            interrupted: outcome.interrupted,
            under_way: outcome.under_way,
            waiting: outcome.waiting,
            wrong_answer: outcome.wrong_answer.as_deref().map(shown),
        }
    }

    /// The latency that counts: from when requests were due, in an open loop.
    pub fn judged(&self) -> Option<&Times> {
        self.due.as_ref().or(self.service.as_ref())
    }

    /// What went wrong before the measurement.
    pub fn early_faults(&self) -> u64 {
        self.phases.as_ref().map_or(0, |phases| phases.warmup.counts.faults())
    }

    /// Everything that went wrong, from start to end.
    pub fn all_faults(&self) -> u64 {
        self.counts.faults() + self.early_faults()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_is_cut_between_letters() {
        assert_eq!(shown(b"seven\n"), "seven\\n");
        let long = "안".repeat(100);
        let kept = &long.as_bytes()[..WRONG_ANSWER_KEPT];
        assert_eq!(shown(kept), "안".repeat(66) + "…");
        assert_eq!(shown(&[0xff; WRONG_ANSWER_KEPT]), "\\xff".repeat(200) + "…");
    }
}
