//! What a run tells while it goes on, and at its end.

use std::time::{Duration, Instant};

use super::{Phase, Run};
use crate::stress::measure::{Interval, Outcome, between, cpu_time};
use crate::stress::plan::Length;

impl Run {
    pub(super) fn report(&mut self, now: Instant) {
        let (start, before, errors_before) = self.interval;
        let length = between(start, now);
        let is_whole = length >= self.plan.interval;
        if !is_whole && !self.reporter.wants_live(now) {
            return;
        }
        let latency = self.tally.latencies.judged();
        let percentile = |of| Duration::from_nanos(latency.value_at_quantile(of));
        let interval = Interval {
            start: between(self.began, start),
            length,
            phase: self.phase.name(),
            counts: self.tally.counts.since(&before),
            errors: self.error_count() - errors_before,
            connections: self.open_now,
            latency: (!latency.is_empty())
                .then(|| [percentile(0.5), percentile(0.99), Duration::from_nanos(latency.max())]),
        };
        self.reporter.live(&interval, self.part_done(now), &self.tally, self.error_count(), now);
        if is_whole {
            self.reporter.interval(&interval, self.began, latency);
            self.intervals.push(interval);
            self.total.take_in(&mut self.tally.latencies);
            self.interval = (now, self.tally.counts, self.error_count());
        }
    }

    /// How much of the run is done, from 0 to 1.
    fn part_done(&self, now: Instant) -> f64 {
        match (self.phase, self.plan.length) {
            (Phase::Drain | Phase::Over, _) => 1.0,
            (Phase::Measure, Length::Messages(count)) => {
                let before = self.window.map_or(0, |window| window.before.answered);
                (self.tally.counts.answered - before) as f64 / count.max(1) as f64
            }
            (_, Length::Messages(_)) => 0.0,
            (_, Length::For(time)) => {
                let all = self.plan.ramp + self.plan.settle + self.plan.warmup + time;
                (between(self.began, now).as_secs_f64() / all.as_secs_f64().max(0.001)).min(1.0)
            }
        }
    }

    pub(super) fn hand_over(&mut self, interrupted: bool) {
        let Some(results) = self.results.take() else { return };
        let now = Instant::now();
        self.total.take_in(&mut self.tally.latencies);
        let (elapsed, measured, cpu) = match self.window {
            Some(window) => {
                let (end, counts, cpu) = window.end.unwrap_or((now, self.tally.counts, cpu_time()));
                (
                    between(window.start, end),
                    counts.since(&window.before),
                    cpu.saturating_sub(window.cpu_before),
                )
            }
            None => Default::default(),
        };
        let outcome = Outcome {
            elapsed,
            measured,
            total: self.tally.counts,
            latencies: std::mem::take(&mut self.total),
            intervals: std::mem::take(&mut self.intervals),
            errors: std::mem::take(&mut self.errors),
            cpu,
            asked: self.connections_asked,
            opened: self.opened,
            unsent: self.unsent + self.waiting,
            interrupted,
            failure: self.failure.take(),
        };
        // The receiver lives until the reactor has ended.
        let _ = results.send((outcome, std::mem::take(&mut self.reporter)));
    }
}

/// Whatever ends the loop, what was measured by then is reported.
impl Drop for Run {
    fn drop(&mut self) {
        self.hand_over(true);
    }
}
