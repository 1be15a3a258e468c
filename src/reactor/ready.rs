//! The ready queues, and how much work a turn does before it polls again.

use std::collections::VecDeque;

use crate::service::ids::Handle;

/// The work of a turn, in bytes. What takes time without moving bytes counts as the
/// bytes that would take as long. Measured: a turn of this much takes about a
/// millisecond.
const WORK_PER_TURN: isize = 4 * 1024 * 1024;
/// The part of a turn that nobody who has just become ready can take from those who
/// are going on.
const KEPT_FOR_GOING_ON: isize = WORK_PER_TURN / 4;
/// What serving a connection or socket costs besides its bytes: two system calls.
const COST_OF_CALL: isize = 8 * 1024;
/// What a message costs a service besides its bytes: about a microsecond.
const COST_OF_MESSAGE: isize = 4 * 1024;

/// How many times more a byte costs that a service goes through than one that is only
/// moved. Measured: `upper` takes 4 ns for a byte, and moving one takes a quarter of one.
const COST_OF_WORK: isize = 16;
/// How many times more a byte of a file costs: all downloads together get 1 MiB per turn.
const COST_OF_FILE: isize = 4;
/// Who moves more bytes than this in one call is heavy: next time it waits with those
/// who are going on. A client that asks for little never waits for many that ask for
/// much.
pub(crate) const LIGHT_CALL: usize = 16 * 1024;

/// Who waits to be served. Everyone is in one of the queues at most once; the latches
/// see to that.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    /// Those to which something has happened.
    fresh: VecDeque<Handle>,
    /// Those that were served and have more to do, or moved much: they come after
    /// everyone who is fresh.
    going_on: VecDeque<Handle>,
    /// What is left of the turn's work.
    left: isize,
}

impl Ready {
    /// Gives the next turn its work.
    pub fn begin_turn(&mut self) {
        self.left = WORK_PER_TURN;
    }

    pub fn push(&mut self, handle: Handle) {
        self.fresh.push_back(handle);
    }

    pub fn push_going_on(&mut self, handle: Handle) {
        self.going_on.push_back(handle);
    }

    /// The next to serve in this turn: the fresh ones first, in the order in which they
    /// came, then those who are going on, until the turn's work is done.
    #[inline(always)]
    pub fn pop(&mut self) -> Option<Handle> {
        self.left -= COST_OF_CALL;
        if self.left > KEPT_FOR_GOING_ON
            && let Some(handle) = self.fresh.pop_front()
        {
            return Some(handle);
        }
        if self.left > 0 { self.going_on.pop_front() } else { None }
    }

    /// Counts bytes that were moved or looked at.
    #[inline(always)]
    pub fn count_bytes(&mut self, bytes: usize) {
        self.left -= bytes as isize;
    }

    /// Counts bytes of files that were sent.
    pub fn count_file_bytes(&mut self, bytes: usize) {
        self.left -= bytes as isize * COST_OF_FILE;
    }

    /// Counts messages and their bytes, which a service has gone through.
    #[inline(always)]
    pub fn count_messages(&mut self, messages: usize, bytes: usize) {
        self.left -= messages as isize * COST_OF_MESSAGE + bytes as isize * COST_OF_WORK;
    }

    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.going_on.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::ids::Generations;

    fn handles(count: u32) -> Vec<Handle> {
        let mut generations = Generations::default();
        (0..count).map(|key| Handle { generation: generations.next(), key }).collect()
    }

    #[test]
    fn who_has_just_become_ready_comes_before_those_who_are_going_on() {
        let all = handles(3);
        let mut ready = Ready::default();
        ready.begin_turn();
        ready.push_going_on(all[0]);
        ready.push(all[1]);
        ready.push(all[2]);
        assert_eq!(
            [ready.pop(), ready.pop(), ready.pop(), ready.pop()],
            [Some(all[1]), Some(all[2]), Some(all[0]), None]
        );
        assert!(ready.is_empty());
    }

    #[test]
    fn a_turn_ends_when_its_work_is_done() {
        let mut ready = Ready::default();
        ready.begin_turn();
        handles(10_000).into_iter().for_each(|handle| ready.push(handle));
        let calls = std::iter::from_fn(|| ready.pop()).count() as isize;
        assert_eq!(calls, (WORK_PER_TURN - KEPT_FOR_GOING_ON) / COST_OF_CALL - 1);
        ready.begin_turn();
        assert!(ready.pop().is_some());
        ready.count_messages(1000, 0);
        assert_eq!(ready.pop(), None);
    }

    #[test]
    fn fresh_work_without_end_leaves_a_part_of_the_turn_to_those_who_are_going_on() {
        let all = handles(2);
        let mut ready = Ready::default();
        ready.begin_turn();
        ready.push_going_on(all[0]);
        let mut served = Vec::new();
        ready.push(all[1]);
        while let Some(handle) = ready.pop() {
            ready.count_bytes(256 * 1024);
            if handle == all[0] {
                ready.push_going_on(handle);
            } else {
                ready.push(handle);
            }
            served.push(handle);
        }
        assert!(served.contains(&all[0]), "{served:?}");
        assert!(served.iter().filter(|handle| **handle == all[1]).count() > 8);
    }
}
