//! Reports on a run: while it goes on ([`Reporter`]) and at its end ([`table`],
//! [`summary`], [`html`]).

pub mod files;
pub mod html;
mod live;
pub mod place;
pub mod summary;
pub mod table;
mod writer;

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use jiff::Timestamp;
use live::Live;
use serde::Serialize;
use summary::moment;
use writer::Writer;

use super::measure::{Counts, Interval};
use super::tally::Tally;

/// The log gives the largest value of an interval in milliseconds, like other
/// writers of the format.
const NANOS_OF_A_MILLI: f64 = 1e6;

/// Reports while a run goes on: with a live line on a terminal, and one line of
/// JSON and one of the histogram log per interval.
#[derive(Debug, Default)]
pub struct Reporter {
    live: Option<Live>,
    ndjson: Option<Writer>,
    hdr: Option<Writer>,
    /// When the histogram log began; its times count from there.
    log_began: Option<Instant>,
    /// The number of this run, if there are several.
    run: Option<u32>,
    /// Why a record could not be made.
    failure: Option<io::Error>,
}

/// One line of the NDJSON file. Times are in milliseconds.
#[derive(Debug, Serialize)]
struct Line {
    run: u32,
    /// When the interval ended.
    time: String,
    at_s: f64,
    length_s: f64,
    phase: &'static str,
    connections: usize,
    rate: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    /// Errors of connections.
    errors: u64,
    #[serde(flatten)]
    counts: Counts,
}

impl Reporter {
    /// Reports to these files, and to the terminal if there is one.
    pub fn new(ndjson: Option<Writer>, hdr: Option<Writer>) -> Reporter {
        Reporter { live: Live::new(), ndjson, hdr, log_began: None, run: None, failure: None }
    }

    /// From now on, reports belong to this one of several runs.
    pub fn set_run(&mut self, run: u32) {
        self.run = Some(run);
    }

    /// Waits until all files are written, and returns what is missing in them.
    pub fn finish(self) -> Vec<String> {
        let failure = self.failure.map(|error| format!("a record could not be made: {error}"));
        let writers = [self.ndjson, self.hdr].into_iter().flatten();
        failure.into_iter().chain(writers.filter_map(Writer::finish)).collect()
    }

    /// Begins the histogram log with its comments and its legend, like other
    /// writers of the format.
    pub fn begin_log(&mut self, title: &str, now: std::time::SystemTime) {
        let Some(writer) = &mut self.hdr else { return };
        self.log_began = Some(Instant::now());
        let mut serializer = V2DeflateSerializer::new();
        let mut header = Vec::new();
        let begun = IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .add_comment(&format!("[{title}; latencies in nanoseconds]"))
            .with_start_time(now)
            .with_base_time(now)
            .with_max_value_divisor(NANOS_OF_A_MILLI)
            .begin_log_with(&mut header, &mut serializer)
            .map(drop);
        header.extend_from_slice(
            b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        );
        writer.write(header);
        self.note(begun);
    }

    pub fn wants_live(&self, now: Instant) -> bool {
        self.live.as_ref().is_some_and(|live| live.is_due(now))
    }

    /// Shows the state of a run of which `part`, from 0 to 1, is done.
    pub fn live(&mut self, interval: &Interval, part: f64, tally: &Tally, now: Instant) {
        if let Some(live) = self.live.as_mut().filter(|live| live.is_due(now)) {
            live.show(self.run, interval, part, tally, now);
        }
    }

    /// Removes the live line.
    pub fn clear(&mut self) {
        if let Some(live) = &mut self.live {
            live.clear();
        }
    }

    /// Writes an interval's records.
    pub fn interval(&mut self, interval: &Interval, run_began: Instant, latency: &Histogram<u64>) {
        let outcome = self.write_line(interval);
        self.note(outcome);
        let before = self.log_began.map_or(Duration::ZERO, |log| run_began.saturating_duration_since(log));
        let outcome = self.write_histogram(interval, before + interval.start, latency);
        self.note(outcome);
    }

    fn write_line(&mut self, interval: &Interval) -> io::Result<()> {
        let Some(writer) = &mut self.ndjson else { return Ok(()) };
        let Interval { counts, latency, .. } = interval;
        let millis = |place: usize| latency.map(|latency| latency[place].as_secs_f64() * 1e3);
        let length_s = interval.length.as_secs_f64();
        let line = Line {
            run: self.run.unwrap_or(1),
            time: moment(Timestamp::now()),
            at_s: interval.start.as_secs_f64(),
            length_s,
            phase: interval.phase,
            connections: interval.connections,
            rate: super::measure::ratio(counts.answered as f64, length_s),
            p50_ms: millis(0),
            p99_ms: millis(1),
            max_ms: millis(2),
            errors: counts.closed + counts.not_connected,
            counts: *counts,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        writer.write(text);
        Ok(())
    }

    fn write_histogram(
        &mut self,
        interval: &Interval,
        start: Duration,
        latency: &Histogram<u64>,
    ) -> io::Result<()> {
        let Some(writer) = &mut self.hdr else { return Ok(()) };
        let mut serializer = V2DeflateSerializer::new();
        let name = self.run.map(|run| format!("run{run}"));
        let tag = name.as_deref().and_then(Tag::new);
        let mut record = Vec::new();
        IntervalLogWriterBuilder::new()
            .with_max_value_divisor(NANOS_OF_A_MILLI)
            .begin_log_with(&mut record, &mut serializer)?
            .write_histogram(latency, start, interval.length, tag)
            .map_err(|error| io::Error::other(error.to_string()))?;
        // Each record repeats the divisor, which already stands at the beginning
        // of the log.
        let line = record.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
        writer.write(line.to_vec());
        Ok(())
    }

    fn note(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            self.failure.get_or_insert(error);
        }
    }
}
