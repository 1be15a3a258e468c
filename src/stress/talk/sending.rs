//! Decides when a link may send, and sends it.

use std::time::Instant;

use onepoll::service::Context;

use super::{Link, Script, Style, Talk, Way};

/// How many links begin their load in one tick: few, since what is sent together
/// is timed from the same moment.
const LINKS_PER_TICK: usize = 64;

impl Talk {
    pub(super) fn open_more(&mut self, cx: &mut Context<'_>) {
        let now = cx.moment();
        for link in self.run.next_links(now) {
            match self.style {
                Style::Kept => self.open_link(link, cx),
                Style::Churn { .. } => self.converse(link, now, now, cx),
            }
        }
    }

    pub(super) fn open_link(&mut self, link: usize, cx: &mut Context<'_>) {
        self.links[link].way = Way::Opening;
        self.run.ask(link, cx);
    }

    /// Begins a request that has a connection of its own.
    pub(super) fn converse(&mut self, link: usize, due: Instant, now: Instant, cx: &mut Context<'_>) {
        self.links[link].window.send(due, now);
        self.run.tally.under_way += 1;
        self.open_link(link, cx);
    }

    /// Whether a link has a slot for another request.
    fn is_free(&self, number: usize) -> bool {
        let Link { way, window, .. } = &self.links[number];
        let may_begin = match self.style {
            Style::Kept => matches!(way, Way::Connection(_) | Way::Socket(_)),
            Style::Churn { .. } => *way == Way::Down,
        };
        may_begin
            && window.expected() < self.run.plan.load.depth()
            && window.in_flight.len() < self.most_under_way
    }

    /// Sends everything that a link may send now.
    pub(super) fn fill(&mut self, number: usize, now: Instant, cx: &mut Context<'_>) {
        self.out.clear();
        while self.is_free(number)
            && let Some(due) = self.run.take_next(&mut self.links[number].share, now)
        {
            match self.style {
                Style::Churn { .. } => self.converse(number, due, now, cx),
                Style::Kept => {
                    let sequence = self.links[number].window.send(due, now);
                    self.run.tally.under_way += 1;
                    self.put(number, sequence, cx);
                }
            }
        }
        self.flush(number, cx);
    }

    /// Sends one message.
    pub(super) fn put(&mut self, number: usize, sequence: u64, cx: &mut Context<'_>) {
        let Link { way, key, .. } = self.links[number];
        let is_ours = matches!(way, Way::Connection(id) if cx.connection() == Some(id));
        let before = self.out.len();
        let out = &mut self.out;
        let length = match &self.script {
            Script::Echo(payload) if is_ours => {
                payload.write(key, sequence, |part| cx.send(part));
                payload.size()
            }
            Script::Echo(payload) => {
                payload.write(key, sequence, |part| out.extend_from_slice(part));
                payload.size()
            }
            Script::Request(request) if is_ours => {
                cx.send(&request.message);
                request.message.len()
            }
            Script::Request(request) => {
                out.extend_from_slice(&request.message);
                request.message.len()
            }
            Script::Silence => 0,
        };
        if let (Way::Socket(socket), Some(server)) = (way, self.run.server()) {
            cx.send_to(socket, server, &self.out[before..]);
            self.out.truncate(before);
        }
        self.run.tally.counts.sent += 1;
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
        while let Some((number, due)) = self.run.next_due(self.links.len(), now) {
            let is_free = self.is_free(number);
            let link = &mut self.links[number];
            self.run.fell_due(&mut link.share, due, is_free, now);
            if self.style == Style::Kept && link.way == Way::Down {
                self.run.drop_waiting(&mut link.share, now);
            }
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
        let until = self.links.len().min(self.next_to_start + LINKS_PER_TICK);
        while self.next_to_start < until {
            self.fill(self.next_to_start, now, cx);
            self.next_to_start += 1;
        }
        until < self.links.len()
    }
}
