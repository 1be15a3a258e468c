//! Log lines about refusals, drops, limits and faults: at info, and rate-limited,
//! so that an attack on the daemon does not flood its log.

use std::fmt;

use crate::reactor::time::timers::SECOND;

/// What a notice is about; each kind has its own rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    Refused,
    TooSlow,
    Limit,
    Timeout,
    LoopGuard,
    DatagramLimit,
    Fault,
}

const KINDS: usize = 7;
/// Lines of one kind per second; the rest is only counted.
const LINES_PER_SECOND: u32 = 5;

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    second: u64,
    lines: u32,
    suppressed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Notices([Window; KINDS]);

impl Notices {
    /// Logs a line, unless its kind has used up its lines of this second.
    pub fn say(&mut self, kind: Notice, now: u64, line: fmt::Arguments<'_>) {
        match self.0[kind as usize].admit(now / SECOND) {
            Some(0) => log::info!("{line}"),
            Some(suppressed) => log::info!("{line} (and {suppressed} more of this kind before)"),
            None => {}
        }
    }
}

impl Notices {
    /// At the end, logs how many lines were suppressed.
    pub fn finish(&mut self) {
        let suppressed: u64 = self.0.iter_mut().map(|window| std::mem::take(&mut window.suppressed)).sum();
        if suppressed > 0 {
            log::info!("{suppressed} more lines about refusals, drops and limits were not written");
        }
    }
}

impl Window {
    /// How many lines were suppressed before this one, or `None` if this one must
    /// be too.
    fn admit(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines == LINES_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_rate_are_counted_and_not_written() {
        let mut window = Window::default();
        let admitted: Vec<_> = (0..9).map(|_| window.admit(3)).collect();
        assert_eq!(admitted.iter().filter(|line| line.is_some()).count(), 5);
        assert_eq!(window.admit(4), Some(4));
        assert_eq!(window.admit(4), Some(0));
    }
}
