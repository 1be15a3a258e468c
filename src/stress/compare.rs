//! How runs differ: two summaries, and the runs of one.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::measure::ratio;
use super::report::summary::{FORMAT, Measured, Summary};
use super::report::table::{grouped, millis_text};

/// What is compared: a name, its value, how it is written, and whether more is better.
type Metric = (&'static str, fn(&Measured) -> Option<f64>, fn(f64) -> String, bool);

const METRICS: [Metric; 8] = [
    ("rate", |run| Some(run.rate), |rate| format!("{}/s", grouped(rate)), true),
    ("mean", |run| run.judged().map(|times| times.mean_ms), millis_text, false),
    ("p50", |run| run.judged().map(|times| times.p50_ms), millis_text, false),
    ("p90", |run| run.judged().map(|times| times.p90_ms), millis_text, false),
    ("p99", |run| run.judged().map(|times| times.p99_ms), millis_text, false),
    ("p99.9", |run| run.judged().map(|times| times.p999_ms), millis_text, false),
    ("max", |run| run.judged().map(|times| times.max_ms), millis_text, false),
    ("connect p50", |run| run.connect.map(|times| times.p50_ms), millis_text, false),
];

/// A metric over the runs of one side.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Side {
    median: f64,
    low: f64,
    high: f64,
    runs: usize,
}

impl Side {
    fn of(summary: &Summary, value: fn(&Measured) -> Option<f64>) -> Option<Side> {
        let mut values: Vec<f64> = summary.runs.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Side { median, low, high, runs: values.len() })
    }

    /// (max − min) / median.
    fn spread(&self) -> f64 {
        ratio(self.high - self.low, self.median)
    }
}

/// The spread of the runs of one command, as a table.
pub fn spread(summary: &Summary) -> String {
    let mut text = format!("{} runs           median    spread\n", summary.runs.len());
    for (name, value, write, _) in METRICS {
        if let Some(side) = Side::of(summary, value) {
            let median = write(side.median);
            let _ = writeln!(text, "  {name:<12}{median:>12}  {:>6.1} %", side.spread() * 100.0);
        }
    }
    text
}

/// The ratios of the summary in file `b` to the one in file `a`.
///
/// # Errors
/// A sentence for the user about a file that cannot be read.
pub fn compare(a: &Path, b: &Path) -> Result<String, String> {
    let (a, b) = (read(a)?, read(b)?);
    let mut text = String::new();
    if a.settings.comparable() != b.settings.comparable() {
        text += "The two were not made with the same settings.\n";
    }
    let _ = writeln!(text, "{:<12}{:>14}{:>9}{:>14}{:>9}{:>9}", "", "A", "spread", "B", "spread", "B/A");
    for (name, value, write, more_is_better) in METRICS {
        let (Some(a), Some(b)) = (Side::of(&a, value), Side::of(&b, value)) else { continue };
        let spread = |side: &Side| match side.runs {
            1 => "?".to_owned(),
            _ => format!("{:.1} %", side.spread() * 100.0),
        };
        let _ = writeln!(
            text,
            "{name:<12}{:>14}{:>9}{:>14}{:>9}{:>9.3}  {}",
            write(a.median),
            spread(&a),
            write(b.median),
            spread(&b),
            ratio(b.median, a.median),
            verdict(&a, &b, more_is_better)
        );
    }
    for (name, summary) in [("A", &a), ("B", &b)] {
        let errors: u64 = summary.runs.iter().map(Measured::all_errors).sum();
        if errors > 0 {
            let _ = writeln!(
                text,
                "{name} has {errors} errors: its figures are not those of a server that works."
            );
        }
        if summary.runs.iter().any(|run| run.interrupted) {
            let _ = writeln!(text, "{name} was ended before its time.");
        }
        if summary.runs.len() == 1 {
            let _ = writeln!(text, "{name} is one run, whose spread nobody knows: use --repeat.");
        }
    }
    Ok(text)
}

/// A difference counts where the two sides' runs do not overlap, and the
/// medians are further apart than the runs of either side: a few runs of one and
/// the same server part in two groups often enough.
fn verdict(a: &Side, b: &Side, more_is_better: bool) -> &'static str {
    if a.runs == 1 || b.runs == 1 {
        return "";
    }
    let is_apart = b.low > a.high || b.high < a.low;
    let own = (a.high - a.low).max(b.high - b.low);
    if !is_apart || (b.median - a.median).abs() <= own {
        "within the spread"
    } else if (b.median > a.median) == more_is_better {
        "better, beyond the spread"
    } else {
        "worse, beyond the spread"
    }
}

fn read(path: &Path) -> Result<Summary, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let summary: Summary = serde_json::from_str(&text)
        .map_err(|error| format!("{shown} is no summary written by onepoll stress --json: {error}"))?;
    if summary.format != FORMAT {
        return Err(format!(
            "{shown} has the format {:?}, and this version reads {FORMAT:?}",
            summary.format
        ));
    }
    if summary.runs.is_empty() {
        return Err(format!("{shown} has no run in it"));
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(values: [f64; 3]) -> Side {
        Side { low: values[0], median: values[1], high: values[2], runs: 3 }
    }

    #[test]
    fn a_difference_counts_where_it_is_larger_than_either_spread() {
        let a = side([90.0, 100.0, 110.0]);
        for (b, more_is_better, expected) in [
            (side([120.0, 130.0, 140.0]), true, "better, beyond"),
            (side([120.0, 130.0, 140.0]), false, "worse, beyond"),
            (side([60.0, 70.0, 80.0]), true, "worse, beyond"),
            (side([100.0, 115.0, 140.0]), true, "within"),
            // They do not overlap, by chance.
            (side([111.0, 119.0, 122.0]), true, "within"),
            (side([80.0, 85.0, 89.0]), false, "within"),
            (Side { runs: 1, ..side([1.0, 1.0, 1.0]) }, true, ""),
        ] {
            assert!(verdict(&a, &b, more_is_better).starts_with(expected), "{b:?}");
        }
    }
}
