//! Makes the connections of a run.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use onepoll::reactor::DatagramSpec;
use onepoll::service::{Answer, Context};

use super::{Phase, Reconnects, Run};
use crate::client::target::cause;
use crate::stress::kinds::kind;
use crate::stress::measure::{between, record};

/// How many connections are being made at a time: a server's backlog is limited,
/// and a connect that does not fit is retried only after a second.
const CONNECTING_AT_ONCE: u64 = 128;

impl Run {
    /// Looks the server up, or begins if its address is known. Returns whether to
    /// [open](Run::next_links) links now.
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
        (self.began, self.latest, self.phase_since, self.swept, self.interval.0) = (now, now, now, now, now);
        if let (Some(sources), Some(to)) = (&self.plan.sources, self.route.current())
            && !sources.fits(to)
        {
            return self
                .fail(format!("{to} cannot be reached from --source: one is IPv4, the other IPv6"), cx);
        }
        self.set_tick(now, cx);
    }

    /// The links to open now, each of which is to be [asked for](Run::ask).
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
        self.deserted_since = None;
        // If connecting is what is measured, the warm-up does not count.
        let is_measured = self.reconnects != Reconnects::Always || self.tally.measured_from.is_some();
        if let Some(asked) = asked.filter(|_| is_measured) {
            record(&mut self.tally.latencies.connect, between(asked, now));
        }
        if self.phase == Phase::Reaching {
            // The time spent looking up and reaching the server is not part of
            // the ramp.
            (self.began, self.interval.0) = (now, now);
            self.enter(Phase::Ramp, now);
        }
    }

    /// Notes that a connection could not be made. Returns whether to try the same
    /// link once more.
    pub fn not_opened(&mut self, error: &io::Error, cx: &mut Context<'_>) -> bool {
        self.opening -= 1;
        if self.phase == Phase::Reaching {
            if self.route.next().is_some() {
                return true;
            }
            self.fail(self.unreachable(error), cx);
        }
        self.error(&connect_error(error, self.plan.sources.is_some()));
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

    /// How many connections are open.
    pub fn open_now(&self) -> usize {
        self.open_now
    }

    /// Notes that an established connection is gone.
    pub fn closed(&mut self) {
        self.open_now -= 1;
    }

    /// Counts an error once, however often it occurs: its effect on each message
    /// is counted there.
    pub fn error_once(&mut self, kind: &str) {
        self.errors.entry(kind.to_owned()).or_insert(1);
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
