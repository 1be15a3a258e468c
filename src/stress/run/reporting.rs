//! Reports on a run while it goes on and at its end.

use std::time::{Duration, Instant};

use super::{Phase, Run, SpanEnd};
use crate::stress::measure::{Interval, Outcome, Part, ProcessorTime, between, ratio};
use crate::stress::plan::Length;

impl Run {
    /// Shows the progress, and records the interval if it is over.
    pub(super) fn report(&mut self, now: Instant) {
        let (start, _) = self.interval;
        // The search for a server is not part of the run's time.
        if between(start, now) >= self.plan.interval && self.phase != Phase::Reaching {
            self.end_interval(now);
        } else if self.reporter.wants_live(now) {
            let interval = self.interval_until(now);
            self.reporter.live(&interval, self.part_done(now), &self.tally, now);
        }
    }

    /// Records what happened since the last interval, however short that is:
    /// together the records contain everything that the summary does.
    pub(super) fn end_interval(&mut self, now: Instant) {
        let interval = self.interval_until(now);
        if interval.length.is_zero() && interval.latency.is_none() && interval.counts.faults() == 0 {
            return;
        }
        self.reporter.live(&interval, self.part_done(now), &self.tally, now);
        self.reporter.interval(&interval, self.began, self.tally.latencies.judged());
        self.intervals.push(interval);
        self.total.take_in(&mut self.tally.latencies);
        self.interval = (now, self.tally.counts);
    }

    fn interval_until(&self, now: Instant) -> Interval {
        let (start, before) = self.interval;
        let latency = self.tally.latencies.judged();
        let percentile = |of| Duration::from_nanos(latency.value_at_quantile(of));
        Interval {
            start: between(self.began, start),
            length: between(start, now),
            phase: self.phase.name(),
            counts: self.tally.counts.since(&before),
            connections: self.open_now,
            latency: (!latency.is_empty())
                .then(|| [percentile(0.5), percentile(0.99), Duration::from_nanos(latency.max())]),
        }
    }

    /// How much of the run is done, from 0 to 1.
    fn part_done(&self, now: Instant) -> f64 {
        match (self.phase, self.plan.length) {
            (Phase::Drain | Phase::Over, _) => 1.0,
            (Phase::Measure, Length::Messages(count)) => {
                // A line has many answers.
                let before = self.measured.map_or(0, |span| span.before.sent);
                let done = (self.tally.counts.sent - before).saturating_sub(self.tally.under_way);
                (done as f64 / count.max(1) as f64).min(1.0)
            }
            (_, Length::Messages(_)) => 0.0,
            (_, Length::For(time)) => {
                let all = self.plan.ramp + self.plan.settle + self.plan.warmup + time;
                (between(self.began, now).as_secs_f64() / all.as_secs_f64().max(0.001)).min(1.0)
            }
        }
    }

    /// The state at the end of the measurement.
    pub(super) fn end_of_span(&self, at: Instant) -> SpanEnd {
        SpanEnd { at, counts: self.tally.counts, processor: ProcessorTime::so_far(), open: self.open_now }
    }

    pub(super) fn hand_over(&mut self, interrupted: bool) {
        let Some(results) = self.results.take() else { return };
        let now = self.latest();
        if !interrupted {
            // Nothing more will be sent.
            self.tally.counts.unsent += self.left_to_send();
        }
        self.end_interval(now);
        self.total.take_in(&mut self.tally.latencies);
        let end = self.measured.and_then(|span| span.end).unwrap_or_else(|| self.end_of_span(now));
        let (elapsed, window, processor) = match self.measured {
            Some(span) => (
                between(span.start, end.at),
                end.counts.since(&span.before),
                end.processor.since(&span.processor_before),
            ),
            None => Default::default(),
        };
        let errors = std::mem::take(&mut self.errors);
        let (before, errors_before) = match self.measured {
            Some(_) => (self.tally.before, std::mem::take(&mut self.errors_before)),
            None => (self.tally.counts, errors.clone()),
        };
        let since = |(kind, count): (&String, &u64)| {
            let more = count - errors_before.get(kind).unwrap_or(&0);
            (more > 0).then(|| (kind.clone(), more))
        };
        let errors = errors.iter().filter_map(since).collect();
        let outcome = Outcome {
            elapsed,
            window,
            measured: Part { counts: self.tally.counts.since(&before), errors },
            warmup: Part { counts: before, errors: errors_before },
            latencies: std::mem::take(&mut self.total),
            intervals: std::mem::take(&mut self.intervals),
            outages: self.outages(),
            connects_late: ratio(self.connects_late as f64, self.connections_asked as f64),
            processor,
            asked: self.connections_asked,
            opened: self.opened,
            held: end.open as u64,
            interrupted,
            under_way: if interrupted { self.tally.under_way } else { 0 },
            waiting: if interrupted { self.waiting } else { 0 },
            wrong_answer: self.tally.wrong_answer.take(),
            failure: self.failure.take(),
        };
        // The receiver exists until the reactor has ended.
        let _ = results.send((outcome, std::mem::take(&mut self.reporter)));
    }
}

/// Whatever ends the loop, everything measured by then is reported.
impl Drop for Run {
    fn drop(&mut self) {
        self.hand_over(true);
    }
}
