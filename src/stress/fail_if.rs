//! `--fail-if 'p99>20ms'`: conditions that make the command exit with status 3.

use std::fmt;
use std::str::FromStr;

use onepoll::config::parse_duration;

use super::report::summary::{Measured, Percentiles};
use super::report::table::{grouped, millis_text};

/// One condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: String,
    metric: Metric,
    compare: Compare,
    /// In milliseconds if the metric is a time.
    bound: f64,
}

#[derive(Debug, Clone, Copy)]
enum Metric {
    Time(Whose, Part),
    Rate,
    Cpu,
    Count(Count),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// From when the request was due, in an open loop; otherwise the same as
    /// `Service`.
    Judged,
    Service,
    Connect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    P50,
    P90,
    P99,
    P999,
    Max,
    Mean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Reads a count from a run.
type Count = fn(&Measured) -> u64;

const COUNTS: [(&str, Count); 9] = [
    ("errors", Measured::all_errors),
    ("lost", |run| run.lost),
    ("duplicated", |run| run.duplicated),
    ("reordered", |run| run.reordered),
    ("corrupted", |run| run.corrupted),
    ("timeouts", |run| run.timeouts),
    ("unsent", |run| run.unsent),
    ("answered", |run| run.answered),
    ("connections", |run| run.connections_opened),
];

const PARTS: [(&str, Part); 6] = [
    ("p50", Part::P50),
    ("p90", Part::P90),
    ("p99", Part::P99),
    ("p99.9", Part::P999),
    ("max", Part::Max),
    ("mean", Part::Mean),
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let place = text.find(['<', '>']).ok_or_else(|| explain(text))?;
        let (name, rest) = text.split_at(place);
        let (compare, bound) =
            [(">=", Compare::AtLeast), ("<=", Compare::AtMost), (">", Compare::Above), ("<", Compare::Below)]
                .iter()
                .find_map(|(sign, compare)| Some((*compare, rest.strip_prefix(sign)?)))
                .ok_or_else(|| explain(text))?;
        let metric = Metric::named(name.trim()).ok_or_else(|| explain(text))?;
        let bound = bound.trim();
        let bound = match metric {
            Metric::Time(..) => millis(bound)?,
            _ => {
                let bound: f64 = bound.parse().map_err(|_| explain(text))?;
                Some(bound).filter(|bound| bound.is_finite()).ok_or_else(|| explain(text))?
            }
        };
        Ok(Condition { text: text.to_owned(), metric, compare, bound })
    }
}

/// Accepts fractions and microseconds, too, which the configuration has no use
/// for.
fn millis(text: &str) -> Result<f64, String> {
    let units = [("us", 0.001), ("µs", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let fine = units.iter().find_map(|(unit, millis)| Some((text.strip_suffix(unit)?.trim(), millis)));
    if let Some((number, millis)) = fine
        && number.starts_with(|first: char| first.is_ascii_digit())
        && let Ok(number) = number.parse::<f64>()
    {
        return Some(number * millis).filter(|bound| bound.is_finite()).ok_or_else(|| explain(text));
    }
    parse_duration(text).map(|duration| duration.as_secs_f64() * 1e3).map_err(|error| error.to_string())
}

fn explain(text: &str) -> String {
    format!(
        "{text:?} is no condition; write it like 'p99>20ms', 'connect.max>=1s', 'errors>0' or 'rate<1000' \
         (mean, p50, p90, p99, p99.9 and max, alone or after service. or connect.; rate, cpu; errors, lost, \
         duplicated, reordered, corrupted, timeouts, unsent, answered, connections)"
    )
}

impl Metric {
    fn named(name: &str) -> Option<Metric> {
        if let Some((_, count)) = COUNTS.iter().find(|(known, _)| *known == name) {
            return Some(Metric::Count(*count));
        }
        match name {
            "rate" => return Some(Metric::Rate),
            "cpu" => return Some(Metric::Cpu),
            _ => {}
        }
        let (whose, part) = match name.split_once('.') {
            Some(("service", part)) => (Whose::Service, part),
            Some(("connect", part)) => (Whose::Connect, part),
            _ => (Whose::Judged, name),
        };
        let (_, part) = PARTS.iter().find(|(known, _)| *known == part)?;
        Some(Metric::Time(whose, *part))
    }
}

impl Condition {
    /// The sentence to show if the condition holds for a run. A time that was
    /// never measured is above every bound.
    pub fn holds(&self, run: &Measured) -> Option<String> {
        let (value, shown) = match self.metric {
            Metric::Time(whose, part) => {
                let times = match whose {
                    Whose::Judged => run.judged(),
                    Whose::Service => run.service.as_ref(),
                    Whose::Connect => run.connect.as_ref(),
                };
                match times {
                    Some(times) => (part.of(times), millis_text(part.of(times))),
                    None => (f64::INFINITY, "not measured".to_owned()),
                }
            }
            Metric::Rate => (run.rate, format!("{}/s", grouped(run.rate))),
            Metric::Cpu => (run.cpu, format!("{:.2}", run.cpu)),
            Metric::Count(count) => (count(run) as f64, count(run).to_string()),
        };
        let holds = match self.compare {
            Compare::Above => value > self.bound,
            Compare::AtLeast => value >= self.bound,
            Compare::Below => value < self.bound,
            Compare::AtMost => value <= self.bound,
        };
        holds.then(|| format!("--fail-if '{self}' holds: it is {shown}"))
    }
}

impl Part {
    fn of(self, times: &Percentiles) -> f64 {
        match self {
            Part::P50 => times.p50_ms,
            Part::P90 => times.p90_ms,
            Part::P99 => times.p99_ms,
            Part::P999 => times.p999_ms,
            Part::Max => times.max_ms,
            Part::Mean => times.mean_ms,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::measure::Outcome;

    fn run() -> Measured {
        let times = |p99_ms| Percentiles {
            count: 100,
            mean_ms: 1.0,
            p50_ms: 1.0,
            p90_ms: 5.0,
            p99_ms,
            p999_ms: 30.0,
            max_ms: 40.0,
        };
        let mut run = Measured::of(&Outcome::default());
        run.service = Some(times(8.0));
        run.due = Some(times(21.0));
        run.rate = 1000.0;
        run.lost = 2;
        run
    }

    #[test]
    fn conditions_hold_or_not() {
        for (text, holds) in [
            ("p99>20ms", true),
            ("p99 > 21 ms", false),
            ("p99>=21ms", true),
            ("service.p99>20ms", false),
            ("service.p99>7999us", true),
            ("service.p99>7.9ms", true),
            ("service.p99>8.1ms", false),
            ("service.p99>=0.008s", true),
            ("p99.9<1s", true),
            ("connect.max>1h", true),
            ("errors>0", true),
            ("errors>2", false),
            ("corrupted>0", false),
            ("rate<1000", false),
            ("rate<=1000", true),
            ("cpu>0.9", false),
        ] {
            let condition: Condition = text.parse().unwrap();
            assert_eq!(condition.holds(&run()).is_some(), holds, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_explained() {
        for text in [
            "",
            "p99",
            "p98>1ms",
            "p99>1",
            "errors>many",
            "p99>-1ms",
            "p99>infs",
            "p99>1e999ms",
            "rate>nan",
            "=p99",
            "other.p99>1s",
        ] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }
}
