//! Decides when a link may send, and sends it.

use std::time::Instant;

use onepoll::service::Context;

use super::{Link, Style, Talk, Way};
use crate::stress::measure::Counts;
use crate::stress::scenario::Conversation;

/// How many links begin their load in one tick: few, since what is sent together
/// is timed from the same moment.
const LINKS_PER_TICK: usize = 64;

impl<C: Conversation> Talk<C> {
    /// Asks for a tick if another link is to be opened now.
    pub(super) fn open_more(&mut self, cx: &mut Context<'_>) {
        let now = cx.moment();
        if self.run.next_link_at(now).is_some_and(|at| at <= now) {
            cx.set_tick(now);
        }
    }

    pub(super) fn open_link(&mut self, link: usize, cx: &mut Context<'_>) {
        self.links[link].way = Way::Opening;
        self.run.ask(link, cx);
    }

    /// Begins a request that has a connection of its own.
    pub(super) fn converse(&mut self, link: usize, due: Instant, now: Instant, cx: &mut Context<'_>) {
        self.conversation.record(link, due, now);
        self.run.tally.under_way += 1;
        self.open_link(link, cx);
    }

    /// Whether a link has a slot for another request.
    fn is_free(&self, number: usize) -> bool {
        self.is_ready(number) && self.conversation.is_free(number, self.run.plan.load.depth())
    }

    /// Whether a link has a connection to send on, or may have one made.
    #[inline]
    fn is_ready(&self, number: usize) -> bool {
        match (self.style, self.links[number].way) {
            (Style::Churn { .. }, way) => way == Way::Down,
            (_, way) => matches!(way, Way::Connection(_) | Way::Socket(_)),
        }
    }

    /// Sends everything that a link may send now.
    pub(super) fn fill(&mut self, number: usize, now: Instant, cx: &mut Context<'_>) {
        if number >= self.senders || !self.is_ready(number) {
            return;
        }
        self.out.clear();
        let depth = self.run.plan.load.depth();
        while self.conversation.is_free(number, depth)
            && let Some(due) = self.run.take_next(&mut self.links[number].share, now)
        {
            match self.style {
                Style::Churn { .. } => return self.converse(number, due, now, cx),
                _ => {
                    let message = self.conversation.record(number, due, now);
                    self.run.tally.sent(due);
                    self.put(number, message, cx);
                }
            }
        }
        self.flush(number, cx);
        self.time(number);
    }

    /// Sends what was recorded before the connection was made: the message that it
    /// was made for, or those that the connection before it did not answer.
    pub(super) fn put_again(&mut self, number: usize, now: Instant, cx: &mut Context<'_>) {
        let count = self.conversation.in_flight(number);
        if count == 0 {
            return;
        }
        self.out.clear();
        let is_retrying = self.links[number].is_retrying;
        for place in 0..count {
            let message = self.conversation.message(number, place);
            let count = |counts: &mut Counts| {
                *(if is_retrying { &mut counts.retried } else { &mut counts.sent }) += 1;
            };
            self.run.tally.count(&message, count);
            self.put(number, message.number, cx);
        }
        self.flush(number, cx);
        self.run.note(now);
        self.time(number);
    }

    /// Sends one message.
    fn put(&mut self, number: usize, message: u64, cx: &mut Context<'_>) {
        let Link { way, .. } = self.links[number];
        let is_ours = matches!(way, Way::Connection(id) if cx.connection() == Some(id));
        let before = self.out.len();
        let out = &mut self.out;
        let length = if is_ours {
            self.conversation.write(number, message, |part| cx.send(part))
        } else {
            self.conversation.write(number, message, |part| out.extend_from_slice(part))
        };
        if let (Way::Socket(socket), Some(server)) = (way, self.run.server()) {
            cx.send_to(socket, server, &self.out[before..]);
            self.out.truncate(before);
        }
        self.run.tally.counts.bytes_sent += length as u64;
    }

    /// Passes messages to another connection, all at once.
    fn flush(&mut self, number: usize, cx: &mut Context<'_>) {
        if let (Way::Connection(connection), false) = (self.links[number].way, self.out.is_empty()) {
            cx.tell(connection, &self.out);
        }
        self.out.clear();
    }

    /// Hands the requests that fell due to their links, and sends them.
    pub(super) fn send_due(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some((number, due)) = self.run.next_due(self.senders, now) {
            let is_free = self.is_free(number);
            let link = &mut self.links[number];
            self.run.fell_due(&mut link.share, due, is_free, now);
            if !matches!(self.style, Style::Churn { .. }) && link.way == Way::Down {
                self.run.drop_waiting(&mut link.share, now);
            }
            self.fill(number, now, cx);
        }
    }

    /// Sends on the links that have a free slot because of what others received.
    pub(super) fn fill_freed(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(number) = self.conversation.freed() {
            self.fill(number, now, cx);
        }
    }

    /// Begins load on the links, a few per tick. Returns whether the next ones
    /// should follow at once.
    pub(super) fn start_load(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        if !self.run.sends() {
            return false;
        }
        if std::mem::take(&mut self.run.begins_load) {
            self.next_to_start = 0;
            self.links.iter_mut().for_each(|link| link.share.restart());
        }
        // A turn makes one connection.
        let at_once = if matches!(self.style, Style::Churn { .. }) { 1 } else { LINKS_PER_TICK };
        let until = self.senders.min(self.next_to_start + at_once);
        while self.next_to_start < until {
            self.fill(self.next_to_start, now, cx);
            self.next_to_start += 1;
        }
        until < self.senders
    }
}
