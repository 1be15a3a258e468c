//! Deadlines: a heap of (time, handle) in microseconds since the reactor's start.
//!
//! Cancelling is lazy. The owner's own deadline is the truth and its entry here
//! is only a wake-up call: who is woken early arms the later time again. So a
//! connection that is busy moves its idle deadline with one store and no heap
//! operation.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::service::ids::Handle;

/// One second in the reactor's time, which counts microseconds.
pub(crate) const SECOND: u64 = 1_000_000;
/// A time that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(u64, Handle)>>,
    stale: usize,
}

impl Timers {
    pub fn arm(&mut self, at: u64, handle: Handle) {
        self.heap.push(Reverse((at, handle)));
    }

    /// The earliest wake-up, stale ones included.
    pub fn next(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes every wake-up due at `now` into `due`.
    pub fn take_due(&mut self, now: u64, due: &mut Vec<(u64, Handle)>) {
        while let Some(Reverse((at, handle))) = self.heap.peek().copied() {
            if at > now {
                break;
            }
            self.heap.pop();
            due.push((at, handle));
        }
    }

    /// An entry lost its meaning: its owner closed or armed an earlier one.
    pub fn abandon(&mut self) {
        self.stale += 1;
    }

    /// A stale entry came up by itself.
    pub fn dropped_stale(&mut self) {
        self.stale = self.stale.saturating_sub(1);
    }

    /// Whether over half of the entries are stale, so that [`Timers::compact`] pays.
    pub fn is_mostly_stale(&self) -> bool {
        self.heap.len() > 256 && self.stale * 2 > self.heap.len()
    }

    pub fn compact(&mut self, mut is_live: impl FnMut(u64, Handle) -> bool) {
        self.heap.retain(|Reverse((at, handle))| is_live(*at, *handle));
        self.stale = 0;
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(key: u32) -> Handle {
        Handle { generation: key, key }
    }

    #[test]
    fn wake_ups_come_in_the_order_of_their_times() {
        let mut timers = Timers::default();
        for (at, key) in [(30, 3), (10, 1), (20, 2), (40, 4)] {
            timers.arm(at, handle(key));
        }
        let mut due = Vec::new();
        timers.take_due(30, &mut due);
        assert_eq!(due, [(10, handle(1)), (20, handle(2)), (30, handle(3))]);
        assert_eq!(timers.next(), Some(40));
    }

    #[test]
    fn the_heap_is_compacted_when_most_of_it_is_stale() {
        let mut timers = Timers::default();
        for key in 0..1000 {
            timers.arm(u64::from(key), handle(key));
        }
        for _ in 0..501 {
            timers.abandon();
        }
        assert!(timers.is_mostly_stale());
        timers.compact(|_, handle| handle.key >= 501);
        assert_eq!(timers.len(), 499);
        assert!(!timers.is_mostly_stale());
    }
}
