//! Ends connections and requests, in order or otherwise.

use std::time::{Duration, Instant};

use onepoll::service::Context;

use super::{Due, Style, Talk, Way};
use crate::stress::run::{Phase, Reconnects, TICK};
use crate::stress::scenario::{Conversation, Verdict};

/// How long to wait before replacing a connection that could not be made or that
/// brought nothing.
const RETRY: Duration = Duration::from_millis(500);

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End<'a> {
    /// We closed it: it had served its one request, or was out of step.
    ByUs,
    /// The server closed it between two answers.
    InOrder,
    /// No answer came in time.
    GivenUp,
    Failed(&'a str),
}

impl<C: Conversation> Talk<C> {
    /// Handles the end of a link's connection.
    pub(super) fn ended(&mut self, number: usize, how: End<'_>, now: Instant, cx: &mut Context<'_>) {
        let link = &mut self.links[number];
        if link.way == Way::Down {
            return;
        }
        link.way = Way::Down;
        let is_used = std::mem::take(&mut link.is_used);
        let is_retried = std::mem::take(&mut link.is_retrying);
        let tally = &mut self.run.tally;
        match how {
            End::InOrder => tally.counts.reconnected += 1,
            // As HTTP clients do (RFC 9112, 9.3.1): the server may have closed before
            // it saw the request.
            End::Failed(_)
                if is_used
                    && !is_retried
                    && self.style == Style::Kept
                    && self.conversation.may_retry(number) =>
            {
                tally.counts.reconnected += 1;
                link.is_retrying = true;
            }
            End::Failed(error) => {
                self.conversation.lose(number, now, tally);
                self.run.broke(error);
            }
            End::GivenUp => self.conversation.time_out(number, now, tally),
            End::ByUs => self.conversation.lose(number, now, tally),
        }
        self.run.closed(now);
        let link = &mut self.links[number];
        if link.is_retrying || how == End::InOrder && is_used {
            // What is due meanwhile waits for the next connection.
            link.way = Way::Opening;
        } else if !matches!(self.style, Style::Churn { .. }) {
            self.run.drop_waiting(&mut link.share, now);
        }
        match (self.run.reconnects, how) {
            (Reconnects::Never, _) => {}
            (Reconnects::AfterFailure, _) if !is_used => self.connect_at(number, now + RETRY, cx),
            (Reconnects::Always, End::Failed(_)) if !is_used => self.connect_at(number, now + TICK, cx),
            _ => self.connect_at(number, now, cx),
        }
        self.open_more(cx);
    }

    /// Handles a connection that could not be made.
    pub(super) fn not_opened(&mut self, number: usize, cx: &mut Context<'_>) {
        let now = cx.moment();
        let link = &mut self.links[number];
        link.way = Way::Down;
        match self.run.reconnects {
            Reconnects::Always => {
                self.conversation.withdraw(number, now, &mut self.run.tally);
                self.connect_at(number, now + TICK, cx);
            }
            Reconnects::AfterFailure => {
                self.run.drop_waiting(&mut link.share, now);
                self.connect_at(number, now + RETRY, cx);
            }
            Reconnects::Never => {}
        }
        self.open_more(cx);
    }

    /// Connects a link again, at that time.
    fn connect_at(&mut self, number: usize, at: Instant, cx: &mut Context<'_>) {
        self.due.insert((at, Due::Connection(number)));
        if at <= cx.moment() {
            cx.set_tick(at);
        }
    }

    /// Does what is due: gives up messages that are overdue, and connects a link
    /// again, one per turn. Returns whether it connected one.
    pub(super) fn take_due(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut has_connected = false;
        let mut later = Vec::new();
        while let Some((at, due)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            match due {
                // Its answer may have arrived and not been read.
                Due::Answer(_) if at > self.run.read_until => later.push((at, due)),
                Due::Answer(number) => self.expire(number, now, cx),
                Due::Connection(_) if has_connected => later.push((at, due)),
                Due::Connection(number) => match (self.run.phase, self.style) {
                    (_, Style::Churn { .. }) => {
                        self.fill(number, now, cx);
                        has_connected = self.links[number].way == Way::Opening;
                    }
                    (Phase::Drain | Phase::Over, _) => {}
                    // The ramp ends only once no connection is being made.
                    (Phase::Ramp, _) => later.push((now + TICK, due)),
                    _ if !self.run.may_ask() => later.push((now + TICK, due)),
                    _ => {
                        self.open_link(number, cx);
                        has_connected = true;
                    }
                },
            }
        }
        self.due.extend(later);
        has_connected
    }

    /// Remembers when a link's oldest message will be overdue.
    #[inline]
    pub(super) fn time(&mut self, number: usize) {
        let link = &mut self.links[number];
        if !link.is_timed
            && let Some(at) = self.conversation.deadline(number, &self.run.tally)
        {
            link.is_timed = true;
            self.due.insert((at, Due::Answer(number)));
        }
    }

    /// Handles the messages of a link that are overdue, if any are.
    fn expire(&mut self, number: usize, now: Instant, cx: &mut Context<'_>) {
        let link = &mut self.links[number];
        link.is_timed = false;
        let way = link.way;
        // How long connecting may take is another limit.
        if way == Way::Opening && matches!(self.style, Style::Churn { .. }) {
            return;
        }
        let tally = &mut self.run.tally;
        if self.conversation.expire(number, self.run.read_until, now, tally) == Verdict::GiveUp {
            if let Way::Connection(connection) = way {
                cx.close_other(connection);
                self.ended(number, End::GivenUp, now, cx);
            } else {
                self.conversation.time_out(number, now, tally);
            }
        }
        if number < self.next_to_start && !self.run.begins_load && self.style == Style::Kept {
            self.fill(number, now, cx);
        }
        self.fill_freed(now, cx);
        self.time(number);
    }

    /// Accounts for everything in flight at the end, which has no answer.
    pub(super) fn account(&mut self, now: Instant) {
        for number in 0..self.links.len() {
            self.conversation.time_out(number, now, &mut self.run.tally);
            self.run.drop_waiting(&mut self.links[number].share, now);
        }
    }

    /// Accounts for everything in flight or due, which nobody waits for any
    /// longer.
    pub(super) fn cut_off(&mut self, now: Instant) {
        for (number, link) in self.links.iter().enumerate() {
            self.conversation.cut_off(number, now, &mut self.run.tally);
            self.run.cut_off_waiting(&link.share, now);
        }
    }
}
