//! Deadlines: a heap of (time, who is woken) in microseconds since the reactor's
//! start.
//!
//! Cancelling is lazy. The owner's own deadline is the truth, and its entry here is
//! only a wake-up call: an owner that is woken early arms the later time. So a busy
//! connection moves its idle deadline with one store and no heap operation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::service::ids::{Handle, ServiceId};

/// One second in the reactor's time, which counts microseconds.
pub(crate) const SECOND: u64 = 1_000_000;
/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// Who is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wake {
    /// A service, for its tick.
    Service(ServiceId),
    /// A connection for its next deadline, or a listener or UDP socket that rests.
    Entry(Handle),
}

const _: () = assert!(size_of::<(u64, Wake)>() == 16, "an entry of the heap has outgrown two words");

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Wake)>>,
    stale: usize,
}

impl Timers {
    pub fn arm(&mut self, at: u64, wake: Wake) {
        self.heap.push(Reverse((at, wake)));
    }

    /// The earliest wake-up, stale ones included.
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes every wake-up due at `now` into `due`.
    pub fn take_due(&mut self, now: u64, due: &mut Vec<(u64, Wake)>) {
        while let Some(Reverse((at, wake))) = self.heap.peek().copied() {
            if at > now {
                break;
            }
            self.heap.pop();
            due.push((at, wake));
        }
    }

    /// An entry has lost its meaning: its owner closed, or armed an earlier one.
    pub fn abandon(&mut self) {
        self.stale += 1;
    }

    /// A stale entry came due by itself.
    pub fn dropped_stale(&mut self) {
        self.stale = self.stale.saturating_sub(1);
    }

    /// Whether more than half of the entries are stale, so that [`Timers::compact`]
    /// pays.
    pub fn is_mostly_stale(&self) -> bool {
        self.heap.len() > 256 && self.stale * 2 > self.heap.len()
    }

    pub fn compact(&mut self, mut is_live: impl FnMut(u64, Wake) -> bool) {
        self.heap.retain(|Reverse((at, wake))| is_live(*at, *wake));
        self.stale = 0;
    }

    #[cfg(any(test, feature = "simulated"))]
    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(key: u32) -> Wake {
        Wake::Service(ServiceId(key))
    }

    #[test]
    fn wake_ups_come_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        for (at, key) in [(30, 3), (10, 1), (20, 2), (40, 4)] {
            timers.arm(at, service(key));
        }
        let mut due = Vec::new();
        timers.take_due(30, &mut due);
        assert_eq!(due, [(10, service(1)), (20, service(2)), (30, service(3))]);
        assert_eq!(timers.next(), Some(40));
    }

    #[test]
    fn the_heap_is_compacted_when_most_of_it_is_stale() {
        let mut timers = Timers::default();
        for key in 0..1000 {
            timers.arm(u64::from(key), service(key));
        }
        for _ in 0..501 {
            timers.abandon();
        }
        assert!(timers.is_mostly_stale());
        timers.compact(|_, wake| wake >= service(501));
        assert_eq!(timers.len(), 499);
        assert!(!timers.is_mostly_stale());
    }
}
