//! The table at the end of a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use onepoll::wording::counted;

use super::summary::{Measured, Phases, Settings, Times};
use crate::stress::measure::{Counts, Outage, ratio};
use crate::stress::metrics::{COUNTS, CountRow, Kind, STATISTICS};
use crate::stress::scenario::Labels;

/// The share of a core above which the generator may be the bottleneck.
const BUSY: f64 = 0.9;
/// A generator with a core to itself never sends as late as this.
const LATE_MS: f64 = 1.0;
/// With fewer messages than this, a single one is more than 1 %.
const FEW: u64 = 100;

/// How many characters of a text are shown.
const LONGEST_SHOWN: usize = 200;

/// Numbers from here up are shown as a power of ten.
const LARGEST: f64 = 1e12;

/// The settings, on one line.
pub fn title(settings: &Settings) -> String {
    let Settings { scenario, transport, target, connections, size, depth, rate, senders, .. } = settings;
    let connections = counted(*connections, "connection");
    let mut title = format!("{scenario} over {transport} to {target}: {connections}");
    if let Some(senders) = senders {
        let _ = write!(title, ", {senders} of them sending");
    }
    if let Some(size) = size {
        let _ = write!(title, ", {size} B");
    }
    match rate {
        Some(rate) => {
            let _ = write!(title, ", {rate} per second, at most {depth} in flight on each");
        }
        None if *depth > 0 => {
            let _ = write!(title, ", {depth} in flight on each");
        }
        None => {}
    }
    let _ = write!(title, ", seed {}", settings.seed);
    title
}

/// What one run measured.
pub fn table(settings: &Settings, run: &Measured) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<14}{value}");
    };
    let Labels { answers: unit, service, .. } = settings.labels;
    let counts = &run.counts;
    if settings.depth > 0 {
        row(
            "rate",
            format!("{} {unit}/s  ({} in {:.2} s)", grouped(run.rate), counts.answered, run.elapsed_s),
        );
        let bytes = |count: u64| format!("{:.2} MB/s", count as f64 / 1e6 / run.elapsed_s.max(1e-9));
        row("bytes", format!("{} sent, {} received", bytes(counts.bytes_sent), bytes(counts.bytes_received)));
    } else {
        row(
            "held",
            format!(
                "{} of {} connections for {:.2} s",
                run.connections_held, settings.connections, run.elapsed_s
            ),
        );
    }
    row("", STATISTICS.iter().map(|statistic| format!("{:>9}", statistic.name)).collect());
    for (name, times) in
        [(service, run.service), ("due-time", run.due), ("sent late by", run.late), ("connect", run.connect)]
    {
        if let Some(times) = times {
            row(name, columns(&times));
        }
    }
    if run.due.is_some() {
        row("", "due-time minus service time: waiting for a free slot, and sending late".into());
    }
    let max = run.judged().and_then(|times| times.get("max"));
    // Not all of them were timed: an answer can be followed by too much.
    if counts.faults() > 0 && max.is_some_and(|max| max >= settings.timeout_s * 1e3) {
        let timeout = millis_text(settings.timeout_s * 1e3);
        row("", format!("a message without a correct answer counts as at least --timeout, {timeout}"));
    }
    row(
        "connections",
        format!(
            "{} asked for, {} opened, {} still open at the end",
            run.connections_asked, run.connections_opened, run.connections_held
        ),
    );
    row("errors", errors(settings, &run.counts, &run.errors));
    if let Some(Phases { warmup, .. }) = run.phases.as_ref().filter(|_| run.early_faults() > 0) {
        row("before that", errors(settings, &warmup.counts, &warmup.errors));
    }
    for outage in &run.outages {
        row("outage", outage_text(outage));
    }
    if let Some(answer) = &run.wrong_answer {
        row("first wrong", answer.clone());
        if let Some(text) = &settings.expect {
            row("expected", beginning(text));
        }
        if let Some(pattern) = &settings.expect_regex {
            row("expected", format!("anything that matches {}", beginning(pattern)));
        }
    }
    let waited = run.cpu_wait.filter(|waited| *waited >= 0.005);
    let waited =
        waited.map_or(String::new(), |share| format!(", waiting for one {:.0} % of the time", share * 100.0));
    row("generator", format!("{:.0} % of a core{waited}", run.cpu * 100.0));
    for warning in warnings(settings, run) {
        row("", format!("WARNING: {warning}"));
    }
    if run.interrupted {
        let waiting = match run.waiting {
            0 => String::new(),
            waiting => format!(", due and not sent yet: {waiting}"),
        };
        row("", format!("The run ended early; messages in flight: {}{waiting}.", run.under_way));
    }
    text
}

/// A time without connections, as a sentence.
pub fn outage_text(Outage { from_s, to_s, due }: &Outage) -> String {
    let end = to_s.map_or("to the end".into(), |to| format!("to {to:.2} s"));
    let due = if *due > 0 { format!("; {due} messages were due") } else { String::new() };
    format!("no connection from {from_s:.2} s {end}{due}")
}

/// What else than the server may have set the figures.
pub fn warnings(settings: &Settings, run: &Measured) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    if run.cpu > BUSY {
        warnings.push("the generator used up its core; it may be the bottleneck, not the server.".into());
    } else if run.cpu + run.cpu_wait.unwrap_or(0.0) > BUSY {
        warnings.push("the generator had to share its core; give it one of its own (taskset).".into());
    }
    if run.late.is_some_and(|late| is_late(&late)) || run.connects_late > 0.01 {
        warnings.push("the generator itself was late; it may be the bottleneck, not the server.".into());
    }
    // In a chat each message has many answers, so the messages sent are what
    // counts.
    let reached = if settings.senders.is_some() { run.counts.sent } else { run.counts.answered };
    if let Some(wanted) = settings.rate
        && ratio(reached as f64, run.elapsed_s) < 0.98 * wanted
        && settings.depth > 0
        && !run.interrupted
    {
        warnings.push(format!("the requested rate of {} per second was not reached.", grouped(wanted)));
    }
    warnings
}

/// Whether more messages were sent late than chance explains: 1 %, or 10 % of a
/// small number, where a single one means nothing.
fn is_late(late: &Times) -> bool {
    let usual = if late.count < FEW { late.get("p90") } else { late.get("p99") };
    usual.is_some_and(|usual| usual > LATE_MS)
}

/// The faults, with the kinds of errors for those of connections, and what else is
/// worth knowing.
fn errors(settings: &Settings, counts: &Counts, errors: &BTreeMap<String, u64>) -> String {
    let label = |row: &CountRow, count: u64| match (row.key, settings.labels.corrupted) {
        ("corrupted", label) if count == 1 => label.trim_end_matches('s').to_owned(),
        ("corrupted", label) => label.to_owned(),
        _ => row.label.to_owned(),
    };
    let of = |kind| COUNTS.iter().filter(move |row| row.kind == kind);
    // These have been named by their kinds.
    let is_named = |row: &&CountRow| !matches!(row.key, "closed" | "not_connected") || errors.is_empty();
    let faults = of(Kind::Fault).filter(is_named).map(|row| (row, row.of(counts)));
    let faults =
        faults.filter(|(_, count)| *count > 0).map(|(row, count)| format!("{count} {}", label(row, count)));
    let mut list: Vec<String> =
        faults.chain(errors.iter().map(|(kind, count)| format!("{count} {kind}"))).collect();
    if list.is_empty() {
        list.push("none".into());
    }
    let remarks = of(Kind::Remark).map(|row| (row, row.of(counts))).filter(|(_, count)| *count > 0);
    list.extend(remarks.map(|(row, count)| format!("({}: {count})", row.label)));
    list.join(", ")
}

/// The beginning of a text, as much as is shown of an answer.
fn beginning(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

fn columns(times: &Times) -> String {
    let shown = |value: &Option<f64>| value.map_or("–".into(), millis_text);
    times.values.iter().map(|value| format!("{:>9}", shown(value))).collect()
}

/// A time with three digits and its unit.
pub fn time(time: Duration) -> String {
    millis_text(time.as_secs_f64() * 1e3)
}

/// A time in milliseconds with three digits and its unit.
pub fn millis_text(millis: f64) -> String {
    let (value, unit) = match millis {
        _ if millis >= 1000.0 => (millis / 1000.0, "s"),
        _ if millis >= 1.0 => (millis, "ms"),
        _ => (millis * 1000.0, "µs"),
    };
    match value {
        _ if value >= LARGEST => format!("{value:.2e} {unit}"),
        _ if value >= 100.0 => format!("{value:.0} {unit}"),
        _ if value >= 10.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.2} {unit}"),
    }
}

/// A number with separators between its thousands.
pub fn grouped(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    if number >= LARGEST {
        return format!("{number:.2e}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stress::measure::{Outcome, histogram, record};

    #[test]
    fn a_limit_that_is_not_the_servers_is_told() {
        let settings = Settings {
            scenario: "chat".into(),
            transport: "tcp".into(),
            target: "127.0.0.1:3338".into(),
            connections: 10,
            depth: 64,
            rate: Some(1000.0),
            senders: Some(1),
            ..Settings::default()
        };
        let late = |millis| Some(Times { count: 1, values: [Some(millis); STATISTICS.len()] });
        let mut run = Measured::of(&Outcome::default());
        (run.elapsed_s, run.rate, run.late) = (1.0, 9000.0, late(1.0));
        (run.counts.sent, run.counts.answered) = (1000, 9000);
        assert!(!table(&settings, &run).contains("WARNING"));
        run.cpu = 0.95;
        assert!(table(&settings, &run).contains("used up its core"));
        run.counts.lost = 1;
        assert!(!table(&settings, &run).contains("--timeout"), "nothing was timed");
        run.service = late(1.0);
        assert!(table(&settings, &run).contains("counts as at least --timeout"));
        let patient = Settings { timeout_s: 0.5, ..settings.clone() };
        assert!(!table(&patient, &run).contains("--timeout"), "nothing was timed so");
        (run.cpu, run.cpu_wait) = (0.5, Some(0.48));
        assert!(table(&settings, &run).contains("had to share its core"));
        (run.cpu_wait, run.late) = (Some(0.01), late(20.0));
        assert!(table(&settings, &run).contains("the generator itself was late"));
        (run.counts.sent, run.counts.answered, run.rate, run.late) = (500, 4500, 4500.0, late(1.0));
        assert!(table(&settings, &run).contains("was not reached"), "half of the lines");
    }

    #[test]
    fn one_late_message_of_a_few_is_no_warning() {
        let late = |count, late: u64| {
            let mut histogram = histogram();
            (0..count).for_each(|number| {
                let micros = if number < late { 2320 } else { 20 };
                record(&mut histogram, Duration::from_micros(micros));
            });
            is_late(&Times::of(&histogram).unwrap())
        };
        assert!(!late(20, 1) && !late(20, 2) && late(20, 3));
        assert!(!late(1000, 10) && late(1000, 11));
    }

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!(grouped(1234567.4), "1,234,567");
        assert_eq!(grouped(1e308), "1.00e308");
        assert_eq!(millis_text(1e300), "1.00e297 s");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(7.25), "7.2");
        assert_eq!(millis_text(0.0415), "41.5 µs");
        assert_eq!(millis_text(2.0), "2.00 ms");
        assert_eq!(millis_text(12345.0), "12.3 s");
    }
}
