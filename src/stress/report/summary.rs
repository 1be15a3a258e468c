//! The summary of all runs, as `--json` writes it and `compare` reads it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stress::measure::{Outcome, WRONG_ANSWER_KEPT};
use crate::stress::request::escape;

/// The value of `format` in the file.
pub const FORMAT: &str = "onepoll-stress-1";

/// All runs of one command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    /// [`FORMAT`].
    pub format: String,
    /// The version of the program that wrote it; `None` in older files.
    #[serde(default)]
    pub version: Option<String>,
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
    /// The remaining settings do not apply to every scenario, and older files
    /// lack them.
    #[serde(default)]
    pub send: Option<String>,
    #[serde(default)]
    pub expect: Option<String>,
    #[serde(default)]
    pub expect_regex: Option<String>,
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

/// What one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// When it began (RFC 3339, UTC); `None` in older files.
    #[serde(default)]
    pub started: Option<String>,
    /// How long the measurement lasted.
    pub elapsed_s: f64,
    /// Answers per second.
    pub rate: f64,
    pub sent: u64,
    pub answered: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// From sending a request to its answer.
    pub service: Option<Percentiles>,
    /// From when a request was due to its answer; only in an open loop.
    pub due: Option<Percentiles>,
    /// How late the generator itself was; only in an open loop.
    pub late: Option<Percentiles>,
    pub connect: Option<Percentiles>,
    pub connections_asked: u64,
    pub connections_opened: u64,
    /// Open when the measuring ended.
    pub connections_held: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    pub timeouts: u64,
    /// Answers that came after they had been counted as lost; not a fault of
    /// their own.
    pub late_answers: u64,
    /// Lines from the server itself, in a chat.
    pub other_lines: u64,
    /// Requests that fell due and could not be sent.
    pub unsent: u64,
    /// Errors of connections, by kind.
    pub errors: BTreeMap<String, u64>,
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

/// A distribution of times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Percentiles {
    /// Summarises a histogram of nanoseconds; `None` if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Percentiles> {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        (!histogram.is_empty()).then(|| Percentiles {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1e6,
        })
    }
}

impl Measured {
    pub fn of(outcome: &Outcome) -> Measured {
        let Outcome { measured, total, latencies, .. } = outcome;
        Measured {
            started: None,
            elapsed_s: outcome.elapsed.as_secs_f64(),
            rate: outcome.per_second(measured.answered),
            sent: measured.sent,
            answered: measured.answered,
            bytes_sent: measured.bytes_sent,
            bytes_received: measured.bytes_received,
            service: Percentiles::of(&latencies.service),
            due: Percentiles::of(&latencies.due),
            late: Percentiles::of(&latencies.late),
            connect: Percentiles::of(&latencies.connect),
            connections_asked: outcome.asked,
            connections_opened: outcome.opened,
            connections_held: outcome.held,
            lost: total.lost,
            duplicated: total.duplicated,
            reordered: total.reordered,
            corrupted: total.corrupted,
            timeouts: total.timeouts,
            late_answers: total.late_answers,
            other_lines: total.other_lines,
            unsent: outcome.unsent,
            errors: outcome.errors.clone(),
            cpu: outcome.cpu_share(),
            cpu_wait: outcome.wait_share(),
            interrupted: outcome.interrupted,
            under_way: outcome.under_way,
            waiting: outcome.waiting,
            wrong_answer: outcome.wrong_answer.as_deref().map(shown),
        }
    }

    /// The latency that counts: from when requests were due, in an open loop.
    pub fn judged(&self) -> Option<&Percentiles> {
        self.due.as_ref().or(self.service.as_ref())
    }

    /// Everything that went wrong: messages and connections.
    pub fn all_errors(&self) -> u64 {
        let faults = self.lost + self.duplicated + self.reordered + self.corrupted + self.timeouts;
        faults + self.unsent + self.errors.values().sum::<u64>()
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
