//! Takes a run through its phases: connections are opened, load warms up, is
//! measured and drained, and what happens is reported at intervals.
//!
//! A scenario owns a [`Run`] and tells it about its connections. It asks the run
//! which links to [open](Run::next_links) and what they [may
//! send](Run::take_next), and hands it every tick ([`go_on`](Run::go_on)).

mod connecting;
mod due;
mod hopeless;
mod reporting;

use connecting::Gap;
pub use due::Share;

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use onepoll::service::Context;

use crate::client::target::Route;
use crate::stress::measure::{Counts, Interval, Latencies, Outcome, ProcessorTime, between};
use crate::stress::plan::{Length, Load, Plan, Schedule};
use crate::stress::report::Reporter;
use crate::stress::tally::{Patience, Tally};

/// The time between two ticks.
pub const TICK: Duration = Duration::from_millis(10);
/// The shortest time between two ticks in an open loop, which sends at ticks when
/// no answer comes in: whatever falls due within it is sent together.
const FINE_TICK: Duration = Duration::from_micros(50);
/// How long to go on listening to a server after it last sent something: anything
/// that still comes is too much.
const SILENCE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The first connection shows whether there is a server, and at which
    /// address.
    Reaching,
    Ramp,
    Settle,
    Warmup,
    Measure,
    /// Nothing more is sent, except what was due before.
    Drain,
    Over,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Reaching | Phase::Ramp => "ramp",
            Phase::Settle => "settle",
            Phase::Warmup => "warmup",
            Phase::Measure => "measure",
            Phase::Drain | Phase::Over => "drain",
        }
    }
}

/// Which ended connections are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnects {
    Never,
    /// Those that the server ended or that were given up.
    AfterFailure,
    /// All of them: each serves one request.
    Always,
}

/// What a scenario has to do at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    GoOn,
    /// Account for what is still in flight, then call [`Run::finish`].
    End,
}

pub struct Run {
    pub plan: Plan,
    pub route: Route,
    pub tally: Tally,
    pub phase: Phase,
    schedule: Option<Schedule>,
    /// Load is to begin on all connections; whoever begins it resets this.
    pub begins_load: bool,
    /// Requests that are due and waiting for a slot on their connection.
    waiting: u64,
    pub reconnects: Reconnects,
    /// How many requests may still be sent, if that is limited.
    left: Option<u64>,
    is_udp: bool,
    /// The links whose connections have been asked for, in that order.
    asked: VecDeque<usize>,
    links_asked: usize,
    connections_asked: u64,
    opening: u64,
    opened: u64,
    open_now: usize,
    /// Since when no connection has been open.
    deserted_since: Option<Instant>,
    gaps: Vec<Gap>,
    /// Connections that were made later than the ramp says.
    connects_late: u64,
    errors: BTreeMap<String, u64>,
    errors_before: BTreeMap<String, u64>,
    began: Instant,
    /// The latest time known outside a callback.
    latest: Instant,
    phase_since: Instant,
    /// Whatever had arrived by then has been read.
    pub read_until: Instant,
    latest_tick: Instant,
    measured: Option<Span>,
    /// When the current interval began, and what had been counted by then.
    interval: (Instant, Counts),
    total: Latencies,
    intervals: Vec<Interval>,
    reporter: Reporter,
    failure: Option<String>,
    results: Option<Sender<(Outcome, Reporter)>>,
}

/// The period that is measured.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Instant,
    before: Counts,
    processor_before: ProcessorTime,
    end: Option<SpanEnd>,
}

#[derive(Debug, Clone, Copy)]
struct SpanEnd {
    at: Instant,
    counts: Counts,
    processor: ProcessorTime,
    open: usize,
}

impl Run {
    pub fn new(
        plan: Plan,
        route: Route,
        is_udp: bool,
        reporter: Reporter,
        results: Sender<(Outcome, Reporter)>,
    ) -> Run {
        let now = Instant::now();
        let tally = Tally {
            is_open_loop: matches!(plan.load, Load::Open { .. }),
            patience: Patience::new(plan.timeout),
            ..Tally::default()
        };
        Run {
            plan,
            route,
            tally,
            phase: Phase::Reaching,
            schedule: None,
            begins_load: false,
            waiting: 0,
            reconnects: Reconnects::Never,
            left: None,
            is_udp,
            asked: VecDeque::new(),
            links_asked: 0,
            connections_asked: 0,
            opening: 0,
            opened: 0,
            open_now: 0,
            deserted_since: None,
            gaps: Vec::new(),
            connects_late: 0,
            errors: BTreeMap::new(),
            errors_before: BTreeMap::new(),
            began: now,
            latest: now,
            phase_since: now,
            read_until: now,
            latest_tick: now,
            measured: None,
            interval: (now, Counts::default()),
            total: Latencies::default(),
            intervals: Vec::new(),
            reporter,
            failure: None,
            results: Some(results),
        }
    }

    /// At the end of a tick, asks for the next one: soon, when the next request
    /// of an open loop falls due, when the phase ends, when the next link is to be
    /// opened, or at `deadline`.
    pub fn set_tick(&self, deadline: Option<Instant>, now: Instant, cx: &mut Context<'_>) {
        let soon = now + TICK;
        let end = self.end_of_phase().filter(|end| *end > now);
        let opening = self.next_link_at(now);
        let latest = [end, opening, deadline].into_iter().flatten().fold(soon, Instant::min);
        let at = match &self.schedule {
            Some(schedule) if self.sends() && !schedule.is_over() => {
                schedule.next_at().max(now + FINE_TICK).min(latest)
            }
            _ => latest,
        };
        cx.set_tick(at);
    }

    /// When the phase ends, if time decides that.
    fn end_of_phase(&self) -> Option<Instant> {
        let length = match (self.phase, self.plan.length) {
            (Phase::Settle, _) => self.plan.settle,
            (Phase::Warmup, _) => self.plan.warmup,
            (Phase::Measure, Length::For(time)) => time,
            _ => return None,
        };
        Some(self.phase_since + length)
    }

    /// Whether this phase puts load on the server.
    pub fn sends(&self) -> bool {
        matches!(self.phase, Phase::Warmup | Phase::Measure)
    }

    /// Whether another request may be sent in a closed loop.
    fn may_send(&mut self) -> bool {
        match (self.phase, &mut self.left) {
            (Phase::Warmup | Phase::Measure, None) => true,
            (Phase::Warmup | Phase::Measure, Some(left)) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Whether requests that waited for a slot may still be sent. After the end
    /// they get as much time as an answer may take.
    fn may_catch_up(&self, now: Instant) -> bool {
        self.phase != Phase::Drain || self.passed(now) <= self.plan.timeout
    }

    /// Moves on to the next phase when it is time, and reports.
    pub fn go_on(&mut self, now: Instant) -> Turn {
        self.read_until = std::mem::replace(&mut self.latest_tick, now);
        self.latest = now;
        self.tally.patience.see(now);
        // A phase of zero length ends as soon as it begins.
        if self.phase == Phase::Ramp && self.is_ramp_over(now) {
            self.enter(Phase::Settle, now);
        }
        if self.phase == Phase::Settle && self.passed(now) >= self.plan.settle {
            self.start_load(now);
        }
        if self.phase == Phase::Warmup && self.passed(now) >= self.plan.warmup {
            self.end_warmup(now);
        }
        if self.phase == Phase::Measure && self.is_measured(now) {
            if self.is_out(now) {
                self.fail_for_lack_of_service();
            }
            self.end_measuring(now);
        }
        self.report(now);
        let is_over = match self.phase {
            // Everything in flight gets its full time, and once more if that may show
            // what became of it; what waited to be sent gets it before that.
            Phase::Drain => {
                let all_sent = self.schedule.as_ref().is_none_or(Schedule::is_over)
                    && (self.waiting == 0 || !self.may_catch_up(now));
                let heard = self.tally.last_heard.unwrap_or(self.phase_since).max(self.phase_since);
                let is_silent = self.open_now == 0 || between(heard, now) >= SILENCE;
                all_sent && self.tally.under_way == 0 && is_silent
                    || self.passed(now) > 3 * (self.plan.timeout + SILENCE)
            }
            Phase::Over => true,
            Phase::Reaching | Phase::Ramp => false,
            _ => self.is_deserted(now) || self.is_hopeless(now),
        };
        if is_over && self.phase != Phase::Over {
            if self.phase != Phase::Drain {
                self.fail_for_lack_of_service();
                self.end_measuring(now);
            }
            self.phase = Phase::Over;
            return Turn::End;
        }
        Turn::GoOn
    }

    fn passed(&self, now: Instant) -> Duration {
        between(self.phase_since, now)
    }

    fn is_ramp_over(&self, now: Instant) -> bool {
        self.links_asked == self.plan.connections
            && self.opening == 0
            && between(self.began, now) >= self.plan.ramp
    }

    fn is_measured(&self, now: Instant) -> bool {
        match self.plan.length {
            Length::For(time) => self.passed(now) >= time,
            Length::Messages(_) => {
                let all_sent = match &self.schedule {
                    // The last request gets its share of the time, like all
                    // others.
                    Some(schedule) => schedule.has_passed(now) && self.waiting == 0,
                    None => self.left == Some(0),
                };
                all_sent && self.tally.under_way == 0
            }
        }
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.phase_since = now;
    }

    fn start_load(&mut self, now: Instant) {
        self.enter(Phase::Warmup, now);
        self.begins_load = true;
        if let Load::Open { rate, .. } = self.plan.load {
            self.schedule = Some(Schedule::new(now, rate));
        }
    }

    /// The messages of the warm-up do not belong to a measured number of
    /// messages: they come back first.
    fn end_warmup(&mut self, now: Instant) {
        if let Length::Messages(_) = self.plan.length {
            self.left = Some(0);
            if let Some(schedule) = &mut self.schedule {
                schedule.limit(0);
            }
            if self.tally.under_way > 0 || self.waiting > 0 {
                return;
            }
            self.start_load(now);
        }
        self.start_measuring(now);
    }

    fn start_measuring(&mut self, now: Instant) {
        self.end_interval(now);
        self.enter(Phase::Measure, now);
        self.tally.start_measuring(now);
        self.errors_before = self.errors.clone();
        self.measured = Some(Span {
            start: now,
            before: self.tally.counts,
            processor_before: ProcessorTime::so_far(),
            end: None,
        });
        match (self.plan.length, &mut self.schedule) {
            (Length::Messages(count), Some(schedule)) => schedule.limit(count),
            (Length::Messages(count), None) => self.left = Some(count),
            (Length::For(time), Some(schedule)) => schedule.limit_to(now + time),
            (Length::For(_), None) => {}
        }
    }

    fn end_measuring(&mut self, now: Instant) {
        if let Some(Span { start, before, end: None, .. }) = self.measured {
            let is_whole = self.left_to_send() == 0 && self.tally.counts.since(&before).faults() == 0;
            let at = match (self.plan.length, self.tally.last_answer) {
                // The measurement ended with its last answer or with its
                // schedule, and this tick notices it now.
                (Length::Messages(_), Some(last)) if is_whole => {
                    let schedule = self.schedule.as_ref().filter(|schedule| schedule.is_over());
                    last.max(schedule.map_or(start, Schedule::ends_at))
                }
                _ => now,
            };
            let end = Some(self.end_of_span(at));
            self.measured = self.measured.map(|span| Span { end, ..span });
        }
        self.end_interval(now);
        self.enter(Phase::Drain, now);
    }

    /// How many requests should be sent and have not been.
    fn left_to_send(&self) -> u64 {
        let left = self.left.unwrap_or(0) + self.schedule.as_ref().map_or(0, Schedule::left);
        let left = if let Length::Messages(_) = self.plan.length { left } else { 0 };
        self.waiting + left
    }

    /// The time of the last tick, or of what was sent or heard after it.
    pub fn latest(&self) -> Instant {
        self.tally.last_heard.map_or(self.latest, |heard| heard.max(self.latest))
    }

    /// Whether the run has not ended yet.
    pub fn is_under_way(&self) -> bool {
        self.phase != Phase::Over
    }

    /// Ends a run that cannot be performed.
    pub fn fail(&mut self, why: String, cx: &mut Context<'_>) {
        self.failure.get_or_insert(why);
        self.finish(cx);
    }

    /// Ends the run.
    pub fn finish(&mut self, cx: &mut Context<'_>) {
        self.phase = Phase::Over;
        self.hand_over(false);
        cx.stop();
    }
}
