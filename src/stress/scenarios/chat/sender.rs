//! A member that sends, and what becomes of its lines.

use std::collections::VecDeque;
use std::time::Instant;

use crate::stress::tally::Tally;
use crate::stress::window::InFlight;

#[derive(Debug)]
pub(super) struct Sender {
    pub next: u64,
    pub under_way: VecDeque<Spoken>,
    /// How many of them somebody will still receive. A line that was overtaken
    /// everywhere takes no slot away from the next one.
    pub expected: usize,
    /// Whether its first line has arrived everywhere. Servers that use the first
    /// line to tell lines from chunks have decided by then, however the next ones
    /// are cut.
    pub is_known: bool,
}

/// A line in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spoken {
    pub line: InFlight,
    /// Members that have not received it.
    pub left: usize,
    /// How many of those have received a later one.
    pub overtaken: usize,
    /// Whether its time is over: nobody waits for it, but what comes next may show
    /// what became of it.
    pub is_overdue: bool,
}

impl Spoken {
    pub fn is_expected(&self) -> bool {
        self.left > self.overtaken && !self.is_overdue
    }
}

impl Sender {
    pub fn new() -> Sender {
        Sender { next: 0, under_way: VecDeque::new(), expected: 0, is_known: false }
    }

    /// Records a line that is sent now, and returns its number.
    pub fn speak(&mut self, due: Instant, now: Instant, listeners: usize) -> u64 {
        let line = InFlight { number: self.next, due, sent: now };
        self.next += 1;
        self.expected += 1;
        self.under_way.push_back(Spoken { line, left: listeners, overtaken: 0, is_overdue: false });
        line.number
    }

    /// When the next line is overdue; one that is already has the same time again.
    pub fn deadline(&self, tally: &Tally) -> Option<Instant> {
        let once = |spoken: &Spoken| tally.patience.deadline(spoken.line.sent);
        let overdue = self.under_way.partition_point(|spoken| spoken.is_overdue);
        let twice = self.under_way.front().filter(|front| front.is_overdue);
        let twice = twice.map(|front| once(front) + tally.patience.timeout);
        self.under_way.get(overdue).map(once).into_iter().chain(twice).min()
    }

    /// Stops waiting for the lines that are overdue at `at`. What is missing in
    /// those that have had their time twice, or that later ones have overtaken
    /// everywhere, is lost.
    pub fn expire(&mut self, at: Instant, now: Instant, tally: &mut Tally) {
        let timeout = tally.patience.timeout;
        for place in 0..self.under_way.len() {
            let spoken = &mut self.under_way[place];
            if spoken.is_overdue {
                continue;
            }
            if tally.patience.deadline(spoken.line.sent) > at {
                break;
            }
            (0..spoken.left).for_each(|_| tally.given_up(&spoken.line, now));
            self.expected -= usize::from(spoken.is_expected());
            spoken.is_overdue = true;
        }
        let is_over = |spoken: &Spoken, tally: &Tally| {
            let is_past = tally.patience.deadline(spoken.line.sent) + timeout <= at;
            spoken.is_overdue && (is_past || spoken.left == spoken.overtaken)
        };
        while let Some(spoken) = self.take_if(|spoken| is_over(spoken, tally)) {
            tally.count(&spoken.line, |counts| counts.lost += spoken.left as u64);
            tally.settle(&spoken.line);
        }
    }

    /// Updates what is known of a line, if it is in flight, and returns the
    /// updated state.
    pub fn change(&mut self, number: u64, change: impl FnOnce(&mut Spoken)) -> Option<Spoken> {
        let first = self.under_way.front()?.line.number;
        let spoken = self.under_way.get_mut(number.checked_sub(first)? as usize)?;
        let was_expected = spoken.is_expected();
        change(spoken);
        self.expected -= usize::from(was_expected && !spoken.is_expected());
        Some(*spoken)
    }

    /// Removes the oldest line if `is_so` holds for it.
    pub fn take_if(&mut self, is_so: impl FnOnce(&Spoken) -> bool) -> Option<Spoken> {
        let spoken = self.under_way.pop_front_if(|spoken| is_so(spoken))?;
        self.expected -= usize::from(spoken.is_expected());
        Some(spoken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_expected_lines_are_those_that_somebody_will_get_still(
            events in prop::collection::vec((0..4u8, 0..12u64), 0..60),
        ) {
            let now = Instant::now();
            let mut sender = Sender::new();
            for (event, number) in events {
                match event {
                    0 => assert_eq!(sender.speak(now, now, 2) + 1, sender.next),
                    1 => drop(sender.change(number, |spoken| {
                        spoken.overtaken = spoken.left.min(spoken.overtaken + 1);
                    })),
                    2 => drop(sender.change(number, |spoken| {
                        spoken.left = spoken.left.saturating_sub(1);
                        spoken.overtaken = spoken.overtaken.min(spoken.left);
                    })),
                    _ => drop(sender.take_if(|spoken| spoken.left == 0 || number == 0)),
                }
                let expected = sender.under_way.iter().filter(|spoken| spoken.is_expected()).count();
                prop_assert_eq!(sender.expected, expected);
            }
        }
    }
}
