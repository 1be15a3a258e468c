//! The course of a run: connections are opened, load warms up, is measured and
//! drained; what happens meanwhile is reported at intervals.
//!
//! A scenario owns a [`Run`] and tells it of its connections. It asks it which
//! to [open](Run::next_links), whether it [may send](Run::may_send), and gives it
//! the [turn](Run::go_on) at each tick.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use onepoll::reactor::DatagramSpec;
use onepoll::service::{Answer, CloseReason, Context};

use super::measure::{Counts, Interval, Latencies, Outcome, Tally, between, cpu_time, record};
use super::plan::{Length, Load, Plan, Schedule};
use super::report::Reporter;
use crate::client::target::Route;

/// Connections that are being made at once: servers have a backlog, and what
/// does not fit in it is tried again only after a second.
const CONNECTING_AT_ONCE: u64 = 128;
/// The time between two ticks.
const TICK: Duration = Duration::from_millis(10);
/// In an open loop, which sends on ticks, the next millisecond: the loop's
/// timers count them, and round up.
const FINE_TICK: Duration = Duration::from_micros(100);
/// The time between two looks for answers that are overdue.
const SWEEP: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The first connection shows whether, and at which address, there is a server.
    Reaching,
    Ramp,
    Settle,
    Warmup,
    Measure,
    /// Nothing more is sent, but for what was due before.
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

/// What a scenario has to do at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing out of the ordinary.
    GoOn,
    /// Look for answers that are overdue.
    Sweep,
    /// Account for what is still under way, then [`Run::finish`].
    End,
}

pub struct Run {
    pub plan: Plan,
    pub route: Route,
    pub tally: Tally,
    pub phase: Phase,
    pub schedule: Option<Schedule>,
    /// Load begins on all connections: whoever does it takes this back.
    pub begins_load: bool,
    /// Requests that are due and wait for a free place on their connection.
    pub waiting: u64,
    /// Requests that were due on a connection that is gone.
    pub unsent: u64,
    /// Requests that may still be sent, where there is such a bound.
    left: Option<u64>,
    is_udp: bool,
    /// The links whose connections are asked for, in that order.
    asked: VecDeque<usize>,
    links_asked: usize,
    connections_asked: u64,
    opening: u64,
    opened: u64,
    open_now: usize,
    errors: BTreeMap<String, u64>,
    began: Instant,
    phase_since: Instant,
    swept: Instant,
    window: Option<Window>,
    interval: (Instant, Counts, u64),
    total: Latencies,
    intervals: Vec<Interval>,
    reporter: Reporter,
    failure: Option<String>,
    results: Option<Sender<(Outcome, Reporter)>>,
}

/// The time that is measured.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: Instant,
    before: Counts,
    cpu_before: Duration,
    end: Option<(Instant, Counts, Duration)>,
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
        let tally = Tally { is_open_loop: matches!(plan.load, Load::Open { .. }), ..Tally::default() };
        Run {
            plan,
            route,
            tally,
            phase: Phase::Reaching,
            schedule: None,
            begins_load: false,
            waiting: 0,
            unsent: 0,
            left: None,
            is_udp,
            asked: VecDeque::new(),
            links_asked: 0,
            connections_asked: 0,
            opening: 0,
            opened: 0,
            open_now: 0,
            errors: BTreeMap::new(),
            began: now,
            phase_since: now,
            swept: now,
            window: None,
            interval: (now, Counts::default(), 0),
            total: Latencies::default(),
            intervals: Vec::new(),
            reporter,
            failure: None,
            results: Some(results),
        }
    }

    /// Looks the server up, or begins where its address is known.
    /// True: now [open](Run::next_links).
    pub fn start(&mut self, cx: &mut Context<'_>) -> bool {
        if self.route.current().is_none() {
            self.route.look_up(cx);
            return false;
        }
        self.begin(cx);
        true
    }

    /// Takes the resolver's answer in, as [`Run::start`].
    pub fn found(&mut self, answer: Answer, cx: &mut Context<'_>) -> bool {
        match self.route.found(answer) {
            Ok(_) => self.begin(cx),
            Err(sentence) => self.fail(sentence, cx),
        }
        self.failure.is_none()
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        (self.began, self.phase_since, self.swept, self.interval.0) = (now, now, now, now);
        if let (Some(sources), Some(to)) = (&self.plan.sources, self.route.current())
            && !sources.fits(to)
        {
            return self.fail(format!("{to} cannot be reached from --source: it is of the other family"), cx);
        }
        self.set_tick(cx);
    }

    fn set_tick(&self, cx: &mut Context<'_>) {
        let is_fine = self.tally.is_open_loop && self.phase != Phase::Reaching;
        cx.set_tick(cx.now() + if is_fine { FINE_TICK } else { TICK });
    }

    /// The links to open now. Each is to be [asked for](Run::ask).
    pub fn next_links(&mut self, now: Instant) -> Range<usize> {
        let first = self.links_asked;
        let wanted = match self.phase {
            Phase::Reaching => 1,
            Phase::Ramp if self.plan.ramp.is_zero() => self.plan.connections,
            Phase::Ramp => {
                let part = between(self.began, now).as_secs_f64() / self.plan.ramp.as_secs_f64();
                (self.plan.connections as f64 * part.min(1.0)).ceil() as usize
            }
            _ => return first..first,
        };
        let room = CONNECTING_AT_ONCE.saturating_sub(self.opening) as usize;
        self.links_asked = wanted.clamp(first, self.plan.connections).min(first + room);
        first..self.links_asked
    }

    /// Asks for a connection, or a UDP socket, for a link.
    pub fn ask(&mut self, link: usize, cx: &mut Context<'_>) {
        let Some(to) = self.route.current() else { return };
        self.asked.push_back(link);
        self.opening += 1;
        self.connections_asked += 1;
        let local = self.plan.sources.as_mut().map(|sources| sources.next_address());
        match (self.is_udp, local) {
            (true, None) => cx.open_socket(DatagramSpec::connected(to)),
            (true, Some(local)) => {
                cx.open_socket(DatagramSpec { bind: local, ..DatagramSpec::connected(to) });
            }
            (false, None) => cx.connect(to),
            (false, Some(local)) => cx.connect_from(local, to),
        }
    }

    /// The link that the next connection under way belongs to.
    pub fn asked_link(&mut self) -> Option<usize> {
        self.asked.pop_front()
    }

    pub fn server(&self) -> Option<SocketAddr> {
        self.route.current()
    }

    /// A connection is made.
    pub fn opened(&mut self, asked: Option<Instant>, now: Instant) {
        self.opening -= 1;
        self.opened += 1;
        self.open_now += 1;
        if let Some(asked) = asked {
            record(&mut self.tally.latencies.connect, between(asked, now));
        }
        if self.phase == Phase::Reaching {
            // The looking was no part of the ramp.
            self.began = now;
            self.enter(Phase::Ramp, now);
        }
    }

    /// A connection could not be made. True: try the same link once more.
    pub fn not_opened(&mut self, error: &io::Error, cx: &mut Context<'_>) -> bool {
        self.opening -= 1;
        if self.phase == Phase::Reaching {
            if self.route.next().is_some() {
                return true;
            }
            self.fail(self.route.unreachable(error), cx);
        }
        self.error(&connect_error(error));
        false
    }

    /// A connection that was made is gone.
    pub fn closed(&mut self) {
        self.open_now -= 1;
    }

    /// Counts an error.
    pub fn error(&mut self, kind: &str) {
        match self.errors.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(kind.to_owned(), 1);
            }
        }
    }

    fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Whether one more request may be sent in a closed loop.
    pub fn may_send(&mut self) -> bool {
        match (self.phase, &mut self.left) {
            (Phase::Warmup | Phase::Measure, None) => true,
            (Phase::Warmup | Phase::Measure, Some(left)) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// The next request of an open loop that is due.
    pub fn next_due(&mut self, now: Instant) -> Option<u64> {
        if !matches!(self.phase, Phase::Warmup | Phase::Measure) {
            return None;
        }
        self.schedule.as_mut()?.next_due(now)
    }

    /// Goes on to the next phase if it is time, and reports.
    pub fn go_on(&mut self, now: Instant, cx: &mut Context<'_>) -> Turn {
        // A phase without length is over as it begins.
        if self.phase == Phase::Ramp && self.is_ramp_over(now) {
            self.enter(Phase::Settle, now);
        }
        if self.phase == Phase::Settle && self.passed(now) >= self.plan.settle {
            self.start_load(now);
        }
        if self.phase == Phase::Warmup && self.passed(now) >= self.plan.warmup {
            self.end_warmup(now);
        }
        if self.phase == Phase::Measure && self.is_measured(self.passed(now)) {
            self.end_measuring(now);
        }
        self.report(now);
        let nothing_left = self.tally.under_way == 0 && self.waiting == 0;
        let is_over = match self.phase {
            Phase::Drain => nothing_left || self.passed(now) > self.plan.timeout + SWEEP,
            Phase::Over => true,
            Phase::Reaching | Phase::Ramp => false,
            _ => self.open_now == 0 && self.opening == 0 && !self.reconnects_soon(now),
        };
        if is_over && self.phase != Phase::Over {
            if self.phase != Phase::Drain {
                self.fail_for_lack_of_connections();
                self.end_measuring(now);
            }
            self.phase = Phase::Over;
            return Turn::End;
        }
        self.set_tick(cx);
        if between(self.swept, now) >= SWEEP {
            self.swept = now;
            return Turn::Sweep;
        }
        Turn::GoOn
    }

    fn passed(&self, now: Instant) -> Duration {
        between(self.phase_since, now)
    }

    /// A link whose connection ended a moment ago may be about to get another.
    fn reconnects_soon(&self, now: Instant) -> bool {
        self.passed(now) < 4 * SWEEP || self.tally.under_way > 0
    }

    fn fail_for_lack_of_connections(&mut self) {
        let kinds: Vec<&str> = self.errors.keys().map(String::as_str).collect();
        let why = if kinds.is_empty() { "all ended".to_owned() } else { kinds.join("; ") };
        self.failure.get_or_insert_with(|| format!("no connection is left to {}: {why}", self.route));
    }

    fn is_ramp_over(&self, now: Instant) -> bool {
        self.links_asked == self.plan.connections
            && self.opening == 0
            && between(self.began, now) >= self.plan.ramp
    }

    fn is_measured(&self, passed: Duration) -> bool {
        match self.plan.length {
            Length::For(time) => passed >= time,
            Length::Messages(_) => {
                let all_sent = match &self.schedule {
                    Some(schedule) => schedule.is_over() && self.waiting == 0,
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

    /// A number of messages is measured without those of the warm-up: they
    /// come back first.
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
        self.enter(Phase::Measure, now);
        self.tally.measured_from = Some(now);
        self.window =
            Some(Window { start: now, before: self.tally.counts, cpu_before: cpu_time(), end: None });
        if let Length::Messages(count) = self.plan.length {
            match &mut self.schedule {
                Some(schedule) => schedule.limit(count),
                None => self.left = Some(count),
            }
        }
    }

    fn end_measuring(&mut self, now: Instant) {
        if let Some(window) = &mut self.window
            && window.end.is_none()
        {
            let end = match self.plan.length {
                // It ended with its last answer, of which this tick learns now.
                Length::Messages(_) => self.tally.last_answer.unwrap_or(now).max(window.start),
                Length::For(_) => now,
            };
            window.end = Some((end, self.tally.counts, cpu_time()));
        }
        self.enter(Phase::Drain, now);
    }

    fn report(&mut self, now: Instant) {
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

    /// Ends a run that cannot be done.
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

    fn hand_over(&mut self, interrupted: bool) {
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

/// How a connection that was made ended, as a kind of error; `None` for an end
/// that is ours.
pub fn end_of_connection(why: &CloseReason) -> Option<String> {
    match why {
        CloseReason::ByUs | CloseReason::ShuttingDown => None,
        CloseReason::ByPeer => Some("closed by the server".into()),
        CloseReason::Reset => Some("reset by the server".into()),
        why => Some(why.to_string()),
    }
}

fn connect_error(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::ConnectionRefused, _) => "connection refused".into(),
        (io::ErrorKind::TimedOut, _) => "connecting took too long".into(),
        (io::ErrorKind::AddrNotAvailable, _) => "no local port is free (more --source addresses help)".into(),
        (_, Some(nix::libc::EMFILE | nix::libc::ENFILE)) => "no descriptor is free (raise ulimit -n)".into(),
        _ => error.to_string(),
    }
}
