//! Makes the connections of a run.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use onepoll::reactor::DatagramSpec;
use onepoll::service::{Answer, Context};

use super::{Phase, Reconnects, Run};
use crate::client::target::cause;
use crate::stress::kinds::kind;
use crate::stress::measure::{Outage, between, record};
use crate::stress::plan::Schedule;

/// How many connections are being made at a time: a server's backlog is limited,
/// and a connect that does not fit is retried only after a second.
const CONNECTING_AT_ONCE: u64 = 128;

/// A generator with a core to itself never opens a connection as late as this.
const LATE_CONNECT: Duration = Duration::from_millis(1);
/// A shorter time without a connection is no outage.
const OUTAGE: Duration = Duration::from_millis(100);

/// A time without any connection.
#[derive(Debug)]
pub(super) struct Gap {
    from: Instant,
    to: Option<Instant>,
    /// Messages that had been due by its beginning, and that fell due in it.
    due_before: u64,
    due: u64,
}

impl Run {
    /// Looks the server up, or begins if its address is known. Returns whether to
    /// [open](Run::next_link) links now.
    pub fn start(&mut self, cx: &mut Context<'_>) -> bool {
        if self.route.current().is_none() {
            self.route.look_up(cx);
            return false;
        }
        self.begin(cx);
        true
    }

    /// Takes the resolver's answer. Returns the same as [`Run::start`].
    pub fn found(&mut self, answer: Answer, cx: &mut Context<'_>) -> bool {
        match self.route.found(answer) {
            Ok(_) => self.begin(cx),
            Err(sentence) => self.fail(sentence, cx),
        }
        self.failure.is_none()
    }

    fn begin(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        (self.began, self.latest, self.latest_tick, self.phase_since, self.interval.0) =
            (now, now, now, now, now);
        if let (Some(sources), Some(to)) = (&self.plan.sources, self.route.current())
            && !sources.fits(to)
        {
            return self
                .fail(format!("{to} cannot be reached from --source: one is IPv4, the other IPv6"), cx);
        }
        self.set_tick(Some(now), now, cx);
    }

    /// When the next link is to be opened, if there is one: evenly over the ramp,
    /// and in no case two in one turn, or the second would be timed with the first.
    pub fn next_link_at(&self, now: Instant) -> Option<Instant> {
        let has_more = self.links_asked < self.plan.connections && self.may_ask();
        match self.phase {
            Phase::Reaching => (self.links_asked == 0).then_some(now),
            Phase::Ramp if has_more => {
                let part = self.links_asked as f64 / self.plan.connections as f64;
                Some(self.began + self.plan.ramp.mul_f64(part))
            }
            _ => None,
        }
    }

    /// The link to open now, which is to be [asked for](Run::ask).
    pub fn next_link(&mut self, now: Instant) -> Option<usize> {
        let at = self.next_link_at(now).filter(|at| *at <= now)?;
        if !self.plan.ramp.is_zero() && between(at, now) > LATE_CONNECT {
            self.connects_late += 1;
        }
        self.links_asked += 1;
        Some(self.links_asked - 1)
    }

    /// Whether another connection may be made now.
    pub fn may_ask(&self) -> bool {
        self.opening < CONNECTING_AT_ONCE
    }

    /// Asks for a connection, or a UDP socket, for a link.
    pub fn ask(&mut self, link: usize, cx: &mut Context<'_>) {
        let Some(to) = self.route.current() else { return };
        self.asked.push_back(link);
        self.opening += 1;
        self.connections_asked += 1;
        let local = self.plan.sources.as_mut().map(|sources| sources.next_address());
        match (self.is_udp, local) {
            (true, None) => cx.open_socket(0, DatagramSpec::connected(to)),
            (true, Some(local)) => {
                cx.open_socket(0, DatagramSpec { bind: local, ..DatagramSpec::connected(to) });
            }
            (false, None) => cx.connect(to),
            (false, Some(local)) => cx.connect_from(local, to),
        }
    }

    /// The link that the next connection being made belongs to.
    pub fn asked_link(&mut self) -> Option<usize> {
        self.asked.pop_front()
    }

    pub fn server(&self) -> Option<SocketAddr> {
        self.route.current()
    }

    /// Notes that a connection has been made.
    pub fn opened(&mut self, asked: Option<Instant>, now: Instant) {
        self.opening -= 1;
        self.opened += 1;
        self.open_now += 1;
        self.end_gap(now);
        self.time_connect(asked, now);
        if self.phase == Phase::Reaching {
            // The time spent looking up and reaching the server is not part of
            // the ramp.
            (self.began, self.interval.0) = (now, now);
            self.enter(Phase::Ramp, now);
        }
    }

    /// Times how long it took until a connection was made, or could not be.
    fn time_connect(&mut self, asked: Option<Instant>, now: Instant) {
        // If connecting is what is measured, the warm-up does not count.
        let is_measured = self.reconnects != Reconnects::Always || self.tally.measured_from.is_some();
        if let Some(asked) = asked.filter(|_| is_measured) {
            record(&mut self.tally.latencies.connect, between(asked, now));
        }
    }

    /// Notes that a connection could not be made. Returns whether to try the same
    /// link once more.
    pub fn not_opened(&mut self, error: &io::Error, asked: Option<Instant>, cx: &mut Context<'_>) -> bool {
        self.opening -= 1;
        self.time_connect(asked, cx.now());
        if self.phase == Phase::Reaching {
            if self.route.next().is_some() {
                return true;
            }
            self.fail(self.unreachable(error), cx);
        }
        self.tally.counts.not_connected += 1;
        self.name_error(&connect_error(error, self.plan.sources.is_some()));
        false
    }

    /// Why the first connection could not be made: because of the server, or
    /// because of the address that it was to come from.
    fn unreachable(&self, error: &io::Error) -> String {
        match (&self.plan.sources, error.kind()) {
            (Some(sources), io::ErrorKind::AddrNotAvailable | io::ErrorKind::InvalidInput) => format!(
                "{} (--source) is not an address from which this machine can reach {} ({}): give one that it has \
                 (`ip address` lists them), or leave --source out",
                sources.last_address(),
                self.route,
                cause(error)
            ),
            _ => self.route.unreachable(error),
        }
    }

    /// Notes that an established connection is gone.
    pub fn closed(&mut self, now: Instant) {
        self.open_now -= 1;
        if self.open_now == 0 && self.reconnects == Reconnects::AfterFailure && self.sends() {
            let heard = self.tally.last_heard;
            match self.gaps.last_mut() {
                // Nothing has come since: the server is not back yet.
                Some(gap) if heard.is_none_or(|heard| heard <= gap.from) => gap.to = None,
                _ => self.gaps.push(Gap { from: now, to: None, due_before: self.due_so_far(), due: 0 }),
            }
        }
    }

    fn due_so_far(&self) -> u64 {
        self.schedule.as_ref().map_or(0, Schedule::given_out)
    }

    /// Ends a time without connections.
    fn end_gap(&mut self, now: Instant) {
        self.deserted_since = None;
        let due = self.due_so_far();
        if let Some(gap) = self.gaps.last_mut().filter(|gap| gap.to.is_none()) {
            (gap.to, gap.due) = (Some(now), due - gap.due_before);
        }
    }

    /// Whether the server is gone, and has not just closed.
    pub(super) fn is_out(&self, now: Instant) -> bool {
        self.gaps.last().is_some_and(|gap| gap.to.is_none() && between(gap.from, now) >= OUTAGE)
    }

    /// The times without connections that are long enough to tell of.
    pub(super) fn outages(&self) -> Vec<Outage> {
        let seconds = |at: Instant| between(self.began, at).as_secs_f64();
        let is_long = |gap: &&Gap| gap.to.is_none_or(|to| between(gap.from, to) >= OUTAGE);
        let outage = |gap: &Gap| Outage {
            from_s: seconds(gap.from),
            to_s: gap.to.map(seconds),
            due: gap.to.map_or(self.due_so_far() - gap.due_before, |_| gap.due),
        };
        self.gaps.iter().filter(is_long).map(outage).collect()
    }

    /// Counts the end of a connection that was not in order.
    pub fn broke(&mut self, kind: &str) {
        self.tally.counts.closed += 1;
        self.name_error(kind);
    }

    /// Counts an error once, however often it occurs: its effect on each message
    /// is counted there.
    pub fn refused_once(&mut self, kind: &str) {
        if !self.errors.contains_key(kind) {
            self.tally.counts.not_connected += 1;
            self.name_error(kind);
        }
    }

    fn name_error(&mut self, kind: &str) {
        match self.errors.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                self.errors.insert(kind.to_owned(), 1);
            }
        }
    }
}

fn connect_error(error: &io::Error, has_sources: bool) -> String {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::TimedOut, _) => "connecting took too long".into(),
        (io::ErrorKind::AddrNotAvailable, _) if has_sources => {
            "no local port is free, or --source includes an address that this machine does not have".into()
        }
        (io::ErrorKind::AddrNotAvailable, _) => "no local port is free (more --source addresses help)".into(),
        (_, Some(nix::libc::EMFILE | nix::libc::ENFILE)) => "no descriptor is free (raise ulimit -n)".into(),
        _ => kind(error),
    }
}
