//! Ends connections and requests, in order or otherwise.

use std::time::{Duration, Instant};

use onepoll::service::Context;

use super::{Style, Talk, Way};
use crate::stress::measure::between;
use crate::stress::run::{Phase, Reconnects};

/// How long to wait before replacing a connection that could not be made or that
/// brought nothing.
pub(super) const RETRY: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End<'a> {
    /// It served one request, which has been answered.
    Done,
    /// Its messages are counted as faults.
    GivenUp,
    Failed(&'a str),
}

impl Talk {
    /// Counts anything beyond the expected answers as a fault.
    pub(super) fn judge_leftover(&mut self, number: usize) {
        let link = &mut self.links[number];
        if link.window.has_leftover() {
            self.run.tally.counts.corrupted += 1;
        } else if link.window.in_flight.is_empty() && !link.answer.is_empty() {
            self.run.tally.wrong([&link.answer, &[]]);
            link.answer.clear();
        }
    }

    /// Handles the end of a link's connection.
    pub(super) fn ended(&mut self, number: usize, how: End<'_>, now: Instant, cx: &mut Context<'_>) {
        if self.links[number].way == Way::Down {
            return;
        }
        self.judge_leftover(number);
        let link = &mut self.links[number];
        link.way = Way::Down;
        link.answer.clear();
        let is_answered = std::mem::take(&mut link.is_answered);
        let tally = &mut self.run.tally;
        for message in link.window.abandon() {
            tally.counts.lost += 1;
            tally.under_way -= 1;
            tally.given_up(&message, now);
        }
        self.run.closed();
        if let End::Failed(error) = how {
            self.run.error(error);
        }
        if self.style == Style::Kept {
            self.run.drop_waiting(&mut self.links[number].share, now);
        }
        match (self.run.reconnects, how) {
            (Reconnects::Never, _) | (_, End::Done) => {}
            (Reconnects::AfterFailure, _) if !is_answered => self.retry(number, now + RETRY),
            _ => {
                self.retry(number, now);
                self.take_retries(now, cx);
            }
        }
        self.open_more(cx);
    }

    /// Schedules another connection for a link.
    pub(super) fn retry(&mut self, number: usize, at: Instant) {
        self.retries.insert((at, number));
    }

    /// Reconnects the links whose time has come.
    pub(super) fn take_retries(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some((at, number)) = self.retries.first().copied()
            && at <= now
        {
            let is_kept = self.style == Style::Kept;
            // The ramp ends only once no connection is being made.
            if is_kept && (self.run.phase == Phase::Ramp || !self.run.may_ask()) {
                return;
            }
            self.retries.pop_first();
            match self.run.phase {
                Phase::Drain | Phase::Over if is_kept => {}
                _ if is_kept => self.open_link(number, cx),
                _ => self.fill(number, now, cx),
            }
        }
    }

    /// Checks for overdue answers.
    pub(super) fn sweep(&mut self, now: Instant, cx: &mut Context<'_>) {
        let timeout = self.run.plan.timeout;
        for number in 0..self.links.len() {
            loop {
                let link = &mut self.links[number];
                let Some(oldest) = link.window.in_flight.front() else { break };
                if link.way == Way::Opening || between(oldest.sent, now) < timeout {
                    break;
                }
                let is_lost = link.window.is_overtaken(oldest) && !link.window.is_half_read();
                if self.is_udp || is_lost {
                    link.window.expire(now, &mut self.run.tally);
                    continue;
                }
                let way = link.way;
                self.time_out(number, now);
                if let Way::Connection(connection) = way {
                    cx.close_other(connection);
                }
                self.ended(number, End::GivenUp, now, cx);
            }
            if number < self.next_to_start && !self.run.begins_load {
                self.fill(number, now, cx);
            }
        }
    }

    /// Gives up everything in flight on a link. If part of an answer came, that
    /// is a wrong answer.
    fn time_out(&mut self, number: usize, now: Instant) {
        let link = &mut self.links[number];
        let tally = &mut self.run.tally;
        if !link.answer.is_empty()
            && let Some(message) = link.window.in_flight.pop_front()
        {
            tally.wrong([&link.answer, &[]]);
            link.answer.clear();
            tally.under_way -= 1;
            tally.given_up(&message, now);
        }
        for message in link.window.in_flight.drain(..) {
            tally.timed_out(&message, now);
        }
        link.window.forget_partial();
    }

    /// Accounts for everything in flight at the end, which has no answer.
    pub(super) fn account(&mut self, now: Instant) {
        for number in 0..self.links.len() {
            let link = &mut self.links[number];
            while let Some(oldest) = link.window.in_flight.front() {
                if !self.is_udp && !link.window.is_overtaken(oldest) {
                    break;
                }
                link.window.expire(now, &mut self.run.tally);
            }
            self.judge_leftover(number);
            self.time_out(number, now);
            self.run.drop_waiting(&mut self.links[number].share, now);
        }
    }

    /// Accounts for everything in flight or due, which nobody waits for any
    /// longer.
    pub(super) fn cut_off(&mut self, now: Instant) {
        for link in &self.links {
            for message in &link.window.in_flight {
                self.run.tally.cut_off(message, now);
            }
            self.run.cut_off_waiting(&link.share, now);
        }
    }
}
