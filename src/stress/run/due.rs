//! Follows the requests of an open loop from when they fall due until they are
//! sent.

use std::time::Instant;

use super::{Phase, Run};
use crate::stress::plan::Load;

/// The share of the schedule that belongs to one link, and how far it has come.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    first: u64,
    step: u64,
    /// Requests of this link that fell due and were sent or given up.
    taken: u64,
    /// Requests of this link that fell due and are waiting for a slot.
    waiting: u64,
}

impl Share {
    /// The share of one of `links` links that take turns.
    pub fn new(link: usize, links: usize) -> Share {
        Share { first: link as u64, step: links as u64, taken: 0, waiting: 0 }
    }

    /// Starts over with a new schedule.
    pub fn restart(&mut self) {
        self.taken = 0;
    }
}

impl Run {
    /// The next request that falls due: which of `links` links it belongs to, and
    /// when it was due.
    pub fn next_due(&mut self, links: usize, now: Instant) -> Option<(usize, Instant)> {
        // What fell due before the end and was missed is still sent after it.
        if !self.sends() && self.phase != Phase::Drain {
            return None;
        }
        let schedule = self.schedule.as_mut()?;
        let request = schedule.next_due(now)?;
        Some(((request % links as u64) as usize, schedule.due(request)))
    }

    /// Notes that a request fell due on a link, which may or may not have a free
    /// slot.
    pub fn fell_due(&mut self, share: &mut Share, due: Instant, is_free: bool, now: Instant) {
        if is_free && share.waiting == 0 {
            self.tally.late(due, now);
        }
        share.waiting += 1;
        self.waiting += 1;
    }

    /// Notes that something is sent now.
    pub fn note(&mut self, now: Instant) {
        self.latest = now;
    }

    /// Takes the request that a link with a free slot may send now, and returns
    /// when it was due.
    pub fn take_next(&mut self, share: &mut Share, now: Instant) -> Option<Instant> {
        self.note(now);
        match self.plan.load {
            Load::Closed { .. } => self.may_send().then_some(now),
            Load::Open { .. } if share.waiting > 0 && self.may_catch_up(now) => Some(self.take(share, now)),
            Load::Open { .. } => None,
        }
    }

    /// Takes the first waiting request, to send it, and returns when it was due.
    fn take(&mut self, share: &mut Share, now: Instant) -> Instant {
        let due = self.due(share, 0).unwrap_or(now);
        share.waiting -= 1;
        self.waiting -= 1;
        share.taken += 1;
        due
    }

    /// Gives up everything that waits on a link.
    pub fn drop_waiting(&mut self, share: &mut Share, now: Instant) {
        while share.waiting > 0 {
            let due = self.take(share, now);
            self.tally.never_sent(due, now);
        }
    }

    /// Accounts for what waits on a link, which nobody waits for any longer.
    pub fn cut_off_waiting(&mut self, share: &Share, now: Instant) {
        for ahead in 0..share.waiting {
            if let Some(due) = self.due(share, ahead) {
                self.tally.cut_off_unsent(due, now);
            }
        }
    }

    fn due(&self, share: &Share, ahead: u64) -> Option<Instant> {
        let request = share.first + (share.taken + ahead) * share.step;
        self.schedule.as_ref().map(|schedule| schedule.due(request))
    }
}
