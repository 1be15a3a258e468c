//! The one table of what a run measures: every output and every condition names,
//! reads and writes a figure through it.

use hdrhistogram::Histogram;

use super::measure::Counts;
use super::report::summary::Measured;
use super::report::table::{grouped, millis_text};

/// What a count says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Messages and bytes.
    Traffic,
    /// Something went wrong.
    Fault,
    /// Worth knowing, and nobody's fault.
    Remark,
}

/// One count of a run.
pub struct CountRow {
    /// Its key in the files and in conditions.
    pub key: &'static str,
    /// Its name in the table.
    pub label: &'static str,
    pub kind: Kind,
    field: fn(&mut Counts) -> &mut u64,
}

impl CountRow {
    pub fn of(&self, counts: &Counts) -> u64 {
        let mut counts = *counts;
        *(self.field)(&mut counts)
    }

    pub fn of_mut<'a>(&self, counts: &'a mut Counts) -> &'a mut u64 {
        (self.field)(counts)
    }
}

const fn row(
    key: &'static str,
    label: &'static str,
    kind: Kind,
    field: fn(&mut Counts) -> &mut u64,
) -> CountRow {
    CountRow { key, label, kind, field }
}

/// Everything that is counted, in the order in which it is shown.
pub const COUNTS: [CountRow; 17] = [
    row("sent", "sent", Kind::Traffic, |counts| &mut counts.sent),
    row("answered", "answered", Kind::Traffic, |counts| &mut counts.answered),
    row("bytes_sent", "bytes sent", Kind::Traffic, |counts| &mut counts.bytes_sent),
    row("bytes_received", "bytes received", Kind::Traffic, |counts| &mut counts.bytes_received),
    row("lost", "lost", Kind::Fault, |counts| &mut counts.lost),
    row("duplicated", "duplicated", Kind::Fault, |counts| &mut counts.duplicated),
    row("reordered", "reordered", Kind::Fault, |counts| &mut counts.reordered),
    row("corrupted", "corrupted", Kind::Fault, |counts| &mut counts.corrupted),
    row("timeouts", "not answered in time", Kind::Fault, |counts| &mut counts.timeouts),
    row("unsent", "due but not sent", Kind::Fault, |counts| &mut counts.unsent),
    row("closed", "connections closed", Kind::Fault, |counts| &mut counts.closed),
    row("not_connected", "connections not made", Kind::Fault, |counts| &mut counts.not_connected),
    row("unanswered", "unanswered when their connection ended", Kind::Remark, |counts| {
        &mut counts.unanswered
    }),
    row("reconnected", "reconnected after an orderly close", Kind::Remark, |counts| &mut counts.reconnected),
    row("retried", "retried", Kind::Remark, |counts| &mut counts.retried),
    row("late_answers", "late", Kind::Remark, |counts| &mut counts.late_answers),
    row("other_lines", "other lines", Kind::Remark, |counts| &mut counts.other_lines),
];

/// One figure of a distribution of times.
pub struct Statistic {
    pub name: &'static str,
    /// Its key in the files.
    pub key: &'static str,
    /// Its value in nanoseconds.
    pub of: fn(&Histogram<u64>) -> f64,
}

/// The figures of a distribution, in the order in which they are shown.
pub const STATISTICS: [Statistic; 8] = [
    Statistic { name: "mean", key: "mean_ms", of: |times| times.mean() },
    Statistic { name: "stddev", key: "stddev_ms", of: |times| times.stdev() },
    Statistic { name: "p50", key: "p50_ms", of: |times| times.value_at_quantile(0.5) as f64 },
    Statistic { name: "p90", key: "p90_ms", of: |times| times.value_at_quantile(0.9) as f64 },
    Statistic { name: "p95", key: "p95_ms", of: |times| times.value_at_quantile(0.95) as f64 },
    Statistic { name: "p99", key: "p99_ms", of: |times| times.value_at_quantile(0.99) as f64 },
    Statistic { name: "p99.9", key: "p999_ms", of: |times| times.value_at_quantile(0.999) as f64 },
    Statistic { name: "max", key: "max_ms", of: |times| times.max() as f64 },
];

/// Which latency a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// From when the request was due, in an open loop; otherwise the same as
    /// `Service`.
    Judged,
    Service,
    Due,
    Connect,
}

/// The prefixes of their names.
const LATENCIES: [(&str, Latency); 4] = [
    ("", Latency::Judged),
    ("service.", Latency::Service),
    ("due.", Latency::Due),
    ("connect.", Latency::Connect),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// In milliseconds.
    Time,
    PerSecond,
    Share,
    Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Rate,
    Cpu,
    Errors,
    Connections,
    /// By its place in [`COUNTS`].
    Count(usize),
    /// By its place in [`STATISTICS`].
    Time(Latency, usize),
}

/// A figure that outputs show and conditions judge.
#[derive(Debug, Clone)]
pub struct Metric {
    pub name: String,
    pub unit: Unit,
    /// Whether more of it is better; `None` if neither is.
    pub more_is_better: Option<bool>,
    source: Source,
}

impl Metric {
    /// All of them, in the order in which they are shown.
    pub fn all() -> Vec<Metric> {
        let plain = |name: &str, unit, more_is_better, source| Metric {
            name: name.to_owned(),
            unit,
            more_is_better,
            source,
        };
        let mut all = vec![plain("rate", Unit::PerSecond, Some(true), Source::Rate)];
        for (prefix, latency) in LATENCIES {
            all.extend(STATISTICS.iter().enumerate().map(|(place, statistic)| {
                let source = Source::Time(latency, place);
                plain(&format!("{prefix}{}", statistic.name), Unit::Time, Some(false), source)
            }));
        }
        all.push(plain("errors", Unit::Number, Some(false), Source::Errors));
        all.extend(COUNTS.iter().enumerate().map(|(place, count)| {
            let more_is_better = (count.kind == Kind::Fault).then_some(false);
            plain(count.key, Unit::Number, more_is_better, Source::Count(place))
        }));
        all.push(plain("connections", Unit::Number, None, Source::Connections));
        all.push(plain("cpu", Unit::Share, None, Source::Cpu));
        all
    }

    pub fn named(name: &str) -> Option<Metric> {
        Metric::all().into_iter().find(|metric| metric.name == name)
    }

    /// The names of all, for a message: the figures of times once.
    pub fn names() -> String {
        let all = Metric::all();
        let of = |time| all.iter().filter(move |metric| (metric.unit == Unit::Time) == time);
        let times = of(true).map(|metric| metric.name.as_str()).take(STATISTICS.len());
        let others = of(false).map(|metric| metric.name.as_str());
        format!(
            "{}, alone or after service., due. or connect.; {}",
            times.collect::<Vec<_>>().join(", "),
            others.collect::<Vec<_>>().join(", ")
        )
    }

    /// Whether `compare` sets two runs side by side in it: speeds only, each
    /// latency under its own name. The more there are, the more often chance makes
    /// one of them worse.
    pub fn is_compared(&self) -> bool {
        match self.source {
            Source::Time(Latency::Judged, _) => false,
            Source::Time(Latency::Connect, place) => STATISTICS[place].name == "p50",
            Source::Time(_, place) => !matches!(STATISTICS[place].name, "stddev" | "p95"),
            Source::Rate => true,
            _ => false,
        }
    }

    /// Whether it counts something that went wrong.
    pub fn is_fault(&self) -> bool {
        matches!(self.source, Source::Count(place) if COUNTS[place].kind == Kind::Fault)
    }

    /// Whether the page of a run lists it: times and sums stand elsewhere.
    pub fn is_listed(&self) -> bool {
        !matches!(self.source, Source::Time(..) | Source::Errors)
    }

    /// Its name for people.
    pub fn label(&self) -> &str {
        match self.source {
            Source::Count(place) => COUNTS[place].label,
            _ => &self.name,
        }
    }

    /// Its value in a run, if there is one.
    pub fn value(&self, run: &Measured) -> Option<f64> {
        match self.source {
            Source::Rate => Some(run.rate),
            Source::Cpu => Some(run.cpu),
            Source::Errors => Some(run.counts.faults() as f64),
            Source::Connections => Some(run.connections_opened as f64),
            Source::Count(place) => Some(COUNTS[place].of(&run.counts) as f64),
            Source::Time(latency, place) => {
                let times = match latency {
                    Latency::Judged => run.judged(),
                    Latency::Service => run.service.as_ref(),
                    Latency::Due => run.due.as_ref(),
                    Latency::Connect => run.connect.as_ref(),
                };
                times.and_then(|times| times.values[place])
            }
        }
    }

    /// A value of it, formatted.
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Time => millis_text(value),
            Unit::PerSecond => format!("{}/s", grouped(value)),
            Unit::Share => format!("{value:.2}"),
            Unit::Number => format!("{value:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_has_one_row() {
        assert_eq!(size_of::<Counts>(), COUNTS.len() * size_of::<u64>());
        let mut counts = Counts::default();
        COUNTS.iter().zip(1..).for_each(|(row, value)| *row.of_mut(&mut counts) = value);
        assert!(COUNTS.iter().zip(1..).all(|(row, value)| row.of(&counts) == value), "{counts:?}");
    }

    #[test]
    fn every_metric_is_found_by_its_name() {
        for metric in Metric::all() {
            assert_eq!(Metric::named(&metric.name).map(|found| found.source), Some(metric.source));
        }
        assert!(Metric::named("service.p99.9").is_some() && Metric::named("p98").is_none());
    }
}
