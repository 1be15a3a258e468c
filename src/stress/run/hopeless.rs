//! Decides when a run ends because nothing more will come of it.

use std::time::{Duration, Instant};

use super::{Reconnects, Run};
use crate::stress::measure::between;
use crate::stress::plan::{Length, Load};

/// How long, at least, a run with a number of messages goes on without any
/// connection.
const DESERTED: Duration = Duration::from_secs(1);

impl Run {
    /// Whether no connection is left and no further one will be made.
    pub(super) fn is_deserted(&mut self, now: Instant) -> bool {
        if self.open_now > 0 {
            self.deserted_since = None;
            return false;
        }
        let since = *self.deserted_since.get_or_insert(now);
        match self.reconnects {
            Reconnects::Never => self.opening == 0,
            // The server may come back.
            Reconnects::AfterFailure => {
                matches!(self.plan.length, Length::Messages(_))
                    && between(since, now) >= self.plan.timeout.max(DESERTED)
            }
            Reconnects::Always => false,
        }
    }

    /// Whether the messages that a run still waits for will never come back.
    pub(super) fn is_hopeless(&self, now: Instant) -> bool {
        let Length::Messages(_) = self.plan.length else { return false };
        let between_two = match self.plan.load {
            Load::Open { rate, .. } => Duration::from_secs_f64(1.0 / rate),
            Load::Closed { .. } => Duration::ZERO,
        };
        let since = self.tally.last_heard.unwrap_or(self.phase_since).max(self.phase_since);
        self.sends() && between(since, now) > 3 * (self.plan.timeout + between_two)
    }

    pub(super) fn fail_for_lack_of_service(&mut self) {
        let kinds: Vec<&str> = self.errors.keys().map(String::as_str).collect();
        let why = match self.open_now {
            0 if kinds.is_empty() => format!("no connections to {} are left: all of them ended", self.route),
            0 => format!("no connections to {} are left: {}", self.route, kinds.join("; ")),
            _ => format!("{} no longer answers", self.route),
        };
        self.failure.get_or_insert(why);
    }
}
