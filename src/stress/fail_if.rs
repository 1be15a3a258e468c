//! `--fail-if 'p99>20ms'`: conditions that make the command exit with status 3.

use std::fmt;
use std::str::FromStr;

use onepoll::config::parse_duration;

use super::measure::ratio;
use super::metrics::{Metric, Unit};
use super::report::summary::Measured;

/// One condition.
#[derive(Debug, Clone)]
pub struct Condition {
    text: String,
    pub metric: Metric,
    compare: Compare,
    /// In milliseconds if the metric is a time.
    bound: f64,
    /// Whether the bound is a share of the messages that were sent.
    is_share: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let is_share = text.trim_end().ends_with('%');
        let condition = Condition::read(text, |metric, bound| match metric.unit {
            Unit::Time => millis(bound),
            Unit::Number if is_share => {
                let percent = bound.strip_suffix('%').and_then(|percent| number(percent.trim_end()));
                percent.map(|percent| percent / 100.0).ok_or_else(|| explain(text))
            }
            _ => number(bound).ok_or_else(|| explain(text)),
        });
        condition.map(|condition| Condition { is_share, ..condition })
    }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
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
        "{text:?} is no condition; write it like 'p99>20ms', 'connect.max>=1s', 'errors>0', 'lost>=0.1%' or \
         'rate<1000' ({})",
        Metric::names()
    )
}

impl Condition {
    /// A condition on the ratio of a metric between two files, as in 'p99>1.2'.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn on_ratio(text: &str) -> Result<Condition, String> {
        let explain = || {
            format!("{text:?} is no condition on a ratio B/A; write it like 'p99>1.2' ({})", Metric::names())
        };
        Condition::read(text, |_, bound| number(bound).ok_or_else(explain))
    }

    fn read(
        text: &str,
        read_bound: impl Fn(&Metric, &str) -> Result<f64, String>,
    ) -> Result<Condition, String> {
        let place = text.find(['<', '>']).ok_or_else(|| explain(text))?;
        let (name, rest) = text.split_at(place);
        let (compare, bound) =
            [(">=", Compare::AtLeast), ("<=", Compare::AtMost), (">", Compare::Above), ("<", Compare::Below)]
                .iter()
                .find_map(|(sign, compare)| Some((*compare, rest.strip_prefix(sign)?)))
                .ok_or_else(|| explain(text))?;
        let metric = Metric::named(name.trim()).ok_or_else(|| explain(text))?;
        let bound = read_bound(&metric, bound.trim())?;
        Ok(Condition { text: text.to_owned(), metric, compare, bound, is_share: false })
    }

    /// The sentence to show if the condition holds for a run. A time that was
    /// never measured is above every bound.
    pub fn holds(&self, run: &Measured) -> Option<String> {
        let value = self.metric.value(run);
        if self.is_share {
            // Both counts are of the same messages.
            let sent = run.phases.as_ref().map_or(run.counts.sent, |phases| phases.measure.counts.sent);
            let share = ratio(value.unwrap_or(0.0), sent as f64);
            return self
                .is_met_by(Some(share))
                .then(|| format!("--fail-if '{self}' holds: it is {:.3} % of {sent} sent", share * 100.0));
        }
        let shown = || value.map_or("not measured".into(), |value| self.metric.show(value));
        self.is_met_by(value).then(|| format!("--fail-if '{self}' holds: it is {}", shown()))
    }

    /// Whether a value meets it.
    pub fn is_met_by(&self, value: Option<f64>) -> bool {
        let value = value.unwrap_or(f64::INFINITY);
        match self.compare {
            Compare::Above => value > self.bound,
            Compare::AtLeast => value >= self.bound,
            Compare::Below => value < self.bound,
            Compare::AtMost => value <= self.bound,
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
    use crate::stress::metrics::STATISTICS;
    use crate::stress::report::summary::Times;

    fn run() -> Measured {
        let times = |p99: f64| {
            let value = |name| match name {
                "mean" | "p50" => 1.0,
                "p90" | "p95" => 5.0,
                "p99" => p99,
                _ => 30.0,
            };
            Times { count: 100, values: STATISTICS.each_ref().map(|statistic| Some(value(statistic.name))) }
        };
        let mut run = Measured::of(&Outcome::default());
        run.service = Some(times(8.0));
        run.due = Some(times(21.0));
        run.rate = 1000.0;
        (run.counts.lost, run.phases) = (2, None);
        run.counts.sent = 400;
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
            ("lost>=0.5%", true),
            ("errors > 0.5 %", false),
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
            "p99>1%",
            "errors>%",
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
