//! Compares runs: those of two summaries, and those of one.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::fail_if::Condition;
use super::metrics::Metric;
use super::report::summary::{FORMAT, Measured, OLD_FORMAT, Summary};
use super::report::table::title;

/// Settings that may differ between comparable summaries: the target, which bytes
/// were sent, and how often the run reported.
const NO_MATTER: [&str; 3] = ["target", "seed", "interval_s"];

/// Ratios from here up are shown as a power of ten.
const LARGEST_SHOWN: f64 = 1e5;

/// A metric over the runs of one side.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Side {
    median: f64,
    low: f64,
    high: f64,
    runs: usize,
}

impl Side {
    fn of(runs: &[&Measured], metric: &Metric) -> Option<Side> {
        let mut values: Vec<f64> = runs.iter().filter_map(|run| metric.value(run)).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Side { median, low, high, runs: values.len() })
    }

    /// (max − min) / median, formatted.
    fn spread(&self) -> String {
        match quotient(self.high - self.low, self.median) {
            _ if self.high == self.low => "0.0 %".into(),
            Some(spread) => format!("{} %", quotient_text(Some(spread * 100.0), 1)),
            None => quotient_text(None, 1),
        }
    }
}

/// A ratio; `None` when dividing by zero.
fn quotient(a: f64, b: f64) -> Option<f64> {
    Some(a / b).filter(|quotient| quotient.is_finite())
}

/// A ratio, formatted.
fn quotient_text(quotient: Option<f64>, digits: usize) -> String {
    match quotient {
        None => "–".into(),
        Some(quotient) if quotient.abs() >= LARGEST_SHOWN => format!("{quotient:.1e}"),
        Some(quotient) => format!("{quotient:.digits$}"),
    }
}

/// The runs that count: those that ran to the end, or all of them if none did.
/// The second part is a sentence about the others, which begins with `whose`.
fn whole<'a>(whose: &str, runs: &'a [Measured]) -> (Vec<&'a Measured>, Option<String>) {
    let whole: Vec<&Measured> = runs.iter().filter(|run| !run.interrupted).collect();
    match runs.len() - whole.len() {
        0 => (whole, None),
        _ if whole.is_empty() => (runs.iter().collect(), Some(format!("{whose}ended early.\n"))),
        cut => {
            let all = runs.len();
            (whole, Some(format!("{whose}{cut} of {all} runs ended early and is left out.\n")))
        }
    }
}

/// The spread of the runs of one command, as a table.
pub fn spread(summary: &Summary) -> String {
    let (runs, remark) = whole("", &summary.runs);
    let mut text = String::new();
    if runs.len() > 1 {
        let _ = writeln!(text, "{:<17}{:>12}{:>10}", format!("{} runs", runs.len()), "median", "spread");
        for metric in Metric::all().iter().filter(|metric| metric.is_compared()) {
            if let Some(side) = Side::of(&runs, metric) {
                let median = metric.show(side.median);
                let _ = writeln!(text, "  {:<15}{median:>12}{:>10}", metric.name, side.spread());
            }
        }
    }
    text.extend(remark);
    text
}

/// A summary to compare, with its settings as they appear in the file: an older
/// file lacks some of them.
struct Read {
    summary: Summary,
    settings: Map<String, Value>,
}

/// Two summaries side by side.
pub struct Comparison {
    pub text: String,
    /// Why the second is to be refused, if it is.
    pub worse: Vec<String>,
}

/// Compares the summary in file `b` with the one in file `a`.
///
/// # Errors
/// A sentence for the user about a file that cannot be read.
pub fn compare(a: &Path, b: &Path, conditions: &[Condition]) -> Result<Comparison, String> {
    let (a_file, b_file) = (read(a)?, read(b)?);
    let mut text = String::new();
    for (name, path, file) in [("A", a, &a_file), ("B", b, &b_file)] {
        let _ = writeln!(text, "{name} is {}: {}", path.display(), describe(&file.summary));
    }
    let other = differences(&a_file.settings, &b_file.settings);
    if !other.is_empty() {
        let _ = writeln!(text, "The two runs have different settings: {}.", other.join(", "));
    }
    let mut comparison = compare_runs(&a_file.summary.runs, &b_file.summary.runs, conditions);
    comparison.text.insert_str(0, &text);
    Ok(comparison)
}

/// What a summary is of: its load, when and where it ran, and by which version.
fn describe(summary: &Summary) -> String {
    let started = summary.runs.first().and_then(|run| run.started.as_deref());
    let parts = [
        Some(title(&summary.settings)),
        started.map(|started| format!("run {started}")),
        summary.host.as_ref().map(|host| format!("on {host}")),
        summary.version.as_ref().map(|version| format!("by onepoll {version}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The settings whose values differ between two files.
fn differences(a: &Map<String, Value>, b: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<&String> = a
        .keys()
        .filter(|key| {
            !NO_MATTER.contains(&key.as_str()) && b.get(*key).is_some_and(|value| *value != a[*key])
        })
        .collect();
    keys.sort();
    keys.iter().map(|key| key.trim_end_matches("_s").replace('_', "-")).collect()
}

fn compare_runs(a: &[Measured], b: &[Measured], conditions: &[Condition]) -> Comparison {
    let (a_runs, a_remark) = whole("A: ", a);
    let (b_runs, b_remark) = whole("B: ", b);
    let (mut text, mut worse) = (String::new(), Vec::new());
    let _ = writeln!(text, "{:<15}{:>14}{:>9}{:>14}{:>9}{:>9}", "", "A", "spread", "B", "spread", "B/A");
    for metric in Metric::all().iter().filter(|metric| metric.is_compared()) {
        let (Some(a), Some(b)) = (Side::of(&a_runs, metric), Side::of(&b_runs, metric)) else { continue };
        let spread = |side: &Side| match side.runs {
            1 => "?".to_owned(),
            _ => side.spread(),
        };
        let verdict = verdict(&a, &b, metric.more_is_better == Some(true));
        if verdict.starts_with("worse") {
            worse.push(format!("{} is worse", metric.name));
        }
        let _ = writeln!(
            text,
            "{:<15}{:>14}{:>9}{:>14}{:>9}{:>9}  {verdict}",
            metric.name,
            metric.show(a.median),
            spread(&a),
            metric.show(b.median),
            spread(&b),
            quotient_text(quotient(b.median, a.median), 3),
        );
    }
    for metric in Metric::all().iter().filter(|metric| metric.is_fault()) {
        let sum = |runs: &[&Measured]| runs.iter().filter_map(|run| metric.value(run)).sum::<f64>();
        if sum(&a_runs) == 0.0 && sum(&b_runs) > 0.0 {
            worse.push(format!("{} is {}, and was 0", metric.name, metric.show(sum(&b_runs))));
        }
    }
    for condition in conditions {
        let ratio = Side::of(&a_runs, &condition.metric)
            .zip(Side::of(&b_runs, &condition.metric))
            .and_then(|(a, b)| quotient(b.median, a.median));
        if condition.is_met_by(ratio) {
            let shown = quotient_text(ratio, 3);
            worse.push(format!("--fail-if '{condition}' holds: B/A is {shown}"));
        }
    }
    let has_due = |runs: &[&Measured]| runs.iter().any(|run| run.due.is_some());
    if has_due(&a_runs) != has_due(&b_runs) {
        let open = if has_due(&a_runs) { "A" } else { "B" };
        let _ = writeln!(
            text,
            "Only {open} has due-time latencies (--rate), which cannot be compared: a closed loop has none, \
             and sends less when the server is slow."
        );
    }
    for (name, runs, remark) in [("A", a_runs, a_remark), ("B", b_runs, b_remark)] {
        let errors: u64 = runs.iter().map(|run| run.all_faults()).sum();
        if errors > 0 {
            let _ =
                writeln!(text, "{name} has {errors} errors: its figures do not describe a working server.");
        }
        text.extend(remark);
        if runs.len() == 1 {
            let _ = writeln!(text, "{name} is a single run, so its spread is unknown: use --repeat.");
        }
    }
    Comparison { text, worse }
}

/// A difference counts if the two sides' runs do not overlap and their medians
/// are further apart than the runs of either side. Without the second condition,
/// chance often separates a few runs of one and the same server into two groups.
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

fn read(path: &Path) -> Result<Read, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let strange = |error: serde_json::Error| {
        format!("{shown} is not a summary written by onepoll stress --json: {error}")
    };
    let value: Value = serde_json::from_str(&text).map_err(strange)?;
    let settings = value["settings"].as_object().cloned().unwrap_or_default();
    let mut summary: Summary = serde_json::from_value(value).map_err(strange)?;
    if summary.format == OLD_FORMAT {
        // It counted errors of connections by their kinds only.
        summary.runs.iter_mut().for_each(|run| run.counts.closed = run.errors.values().sum());
    } else if summary.format != FORMAT {
        return Err(format!(
            "{shown} has the format {:?}, but this version reads {FORMAT:?}",
            summary.format
        ));
    }
    if summary.runs.is_empty() {
        return Err(format!("{shown} contains no runs"));
    }
    Ok(Read { summary, settings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::measure::Outcome;
    use crate::stress::metrics::STATISTICS;
    use crate::stress::report::summary::Times;
    use serde_json::json;

    fn side(values: [f64; 3]) -> Side {
        Side { low: values[0], median: values[1], high: values[2], runs: 3 }
    }

    /// Runs with these times; the last one ended early if `last_is_cut`.
    fn runs(service_ms: &[f64], due_ms: Option<f64>, last_is_cut: bool) -> Vec<Measured> {
        let times = |millis: f64| Some(Times { count: 1, values: [Some(millis); STATISTICS.len()] });
        let last = service_ms.len() - 1;
        let run = |(number, millis): (usize, &f64)| Measured {
            service: times(*millis),
            due: due_ms.and_then(times),
            interrupted: last_is_cut && number == last,
            ..Measured::of(&Outcome::default())
        };
        service_ms.iter().enumerate().map(run).collect()
    }

    fn text_of(a: &[Measured], b: &[Measured]) -> String {
        compare_runs(a, b, &[]).text
    }

    fn row<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines()
            .find(|line| line.trim_start().starts_with(name))
            .unwrap_or_else(|| panic!("{name}: {text}"))
    }

    #[test]
    fn due_time_is_not_held_against_service_time() {
        let open = runs(&[2.0, 2.01, 2.02], Some(900.0), false);
        let closed = runs(&[2.0, 2.01, 2.02], None, false);
        let text = text_of(&closed, &open);
        assert!(row(&text, "service.p50").ends_with("within the spread"), "{text}");
        assert!(!text.contains("900 ms") && !text.contains("beyond"), "{text}");
        assert!(text.contains("Only B has due-time latencies"), "{text}");
        let text = text_of(&open, &open);
        assert!(row(&text, "due.p99").contains("900 ms"), "{text}");
        assert!(!text.contains("Only"), "{text}");
    }

    #[test]
    fn where_there_is_no_ratio_none_is_shown() {
        let rates = |rate| {
            let mut runs = runs(&[2.0, 2.0], None, false);
            runs.iter_mut().for_each(|run| run.rate = rate);
            runs
        };
        for (a, b, shown) in [
            (0.0, 0.0, "       –  within"),
            (0.0, 127_513.0, "       –  better"),
            (127_513.0, 0.0, "   0.000  worse"),
            (1.0, 1e300, " 1.0e300  better"),
        ] {
            let text = text_of(&rates(a), &rates(b));
            let row = row(&text, "rate");
            assert!(row.contains(shown) && row.chars().count() < 100, "{row}");
        }
    }

    #[test]
    fn a_run_that_was_cut_short_is_left_out() {
        let cut = runs(&[2.0, 2.2, 90.0], None, true);
        let text = text_of(&cut, &runs(&[2.0, 2.2, 2.1], None, false));
        assert!(row(&text, "service.max").contains("2.10 ms    9.5 %       2.10 ms"), "{text}");
        assert!(text.contains("A: 1 of 3 runs ended early and is left out."), "{text}");
        let summary = |runs| Summary {
            format: String::new(),
            version: None,
            command: None,
            host: None,
            settings: Default::default(),
            runs,
        };
        let text = spread(&summary(cut));
        assert!(row(&text, "service.max").ends_with("9.5 %") && text.starts_with("2 runs"), "{text}");
        assert!(text.contains("left out"), "{text}");
        let text = spread(&summary(runs(&[2.0, 90.0], None, true)));
        assert_eq!(text, "1 of 2 runs ended early and is left out.\n");
        let only = runs(&[2.0], None, true);
        assert!(text_of(&only, &only).contains("A: ended early."));
    }

    #[test]
    fn what_one_file_does_not_tell_is_no_difference() {
        let settings = |value: Value| value.as_object().cloned().unwrap();
        let new =
            settings(json!({"depth": 1, "seed": 1, "send": "a", "per_connection": true, "settle_s": 1.0}));
        let other =
            settings(json!({"depth": 1, "seed": 2, "send": "b", "per_connection": false, "settle_s": 2.0}));
        assert_eq!(differences(&new, &other), ["per-connection", "send", "settle"]);
        assert_eq!(differences(&new, &settings(json!({"depth": 2}))), ["depth"]);
        assert_eq!(differences(&settings(json!({"depth": 1})), &new), [""; 0]);
    }

    #[test]
    fn a_difference_counts_where_it_is_larger_than_either_spread() {
        let a = side([90.0, 100.0, 110.0]);
        for (b, more_is_better, expected) in [
            (side([120.0, 130.0, 140.0]), true, "better, beyond"),
            (side([120.0, 130.0, 140.0]), false, "worse, beyond"),
            (side([60.0, 70.0, 80.0]), true, "worse, beyond"),
            (side([100.0, 115.0, 140.0]), true, "within"),
            // By chance, they do not overlap.
            (side([111.0, 119.0, 122.0]), true, "within"),
            (side([80.0, 85.0, 89.0]), false, "within"),
            (Side { runs: 1, ..side([1.0, 1.0, 1.0]) }, true, ""),
        ] {
            assert!(verdict(&a, &b, more_is_better).starts_with(expected), "{b:?}");
        }
    }
}
