//! What signals ask of the loop. They arrive through a pipe that is one more
//! source of the poll.

use std::fs;
use std::io;

use nix::libc::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use super::Reactor;

impl Reactor {
    /// Ends in order at SIGTERM or SIGINT, and at once at the second one.
    ///
    /// # Errors
    /// When the system gives no signal pipe.
    pub fn watch_signals(&mut self) -> io::Result<()> {
        self.system.watch_signals(&[SIGINT, SIGTERM])
    }

    /// As [`Reactor::watch_signals`], for a program without a user in front of
    /// it: SIGHUP ends it in order too, SIGUSR1 and SIGUSR2 are logged and ignored.
    ///
    /// SIGHUP changes nothing if the end has begun: shells and service managers
    /// send several signals in a row. If it was ignored when the program started,
    /// it stays ignored, which is what nohup(1) is for.
    ///
    /// # Errors
    /// As [`Reactor::watch_signals`].
    pub fn watch_daemon_signals(&mut self) -> io::Result<()> {
        let mut signals = vec![SIGINT, SIGTERM, SIGUSR1, SIGUSR2];
        if !is_ignored(SIGHUP) {
            signals.push(SIGHUP);
        }
        self.system.watch_signals(&signals)
    }

    /// Does what the signals ask for that came since the last call.
    pub(crate) fn heed_signals(&mut self) {
        let mut signals = self.system.take_signals();
        // Those that came at once have no order. As the last, SIGHUP cuts nothing off.
        signals.sort_by_key(|signal| *signal == SIGHUP);
        for signal in signals {
            match signal {
                SIGUSR1 => log::info!("SIGUSR1 is ignored: it means nothing to this program"),
                SIGUSR2 => log::info!("SIGUSR2 is ignored: it means nothing to this program"),
                SIGHUP if self.net.draining_since.is_some() => {}
                _ => self.drain(),
            }
        }
    }
}

/// Whether this program was started with a signal ignored (proc_pid_status(5)).
/// On a system that does not tell, it was not.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("SigIgn:")).is_some_and(|mask| in_mask(mask, signal))
}

fn in_mask(mask: &str, signal: i32) -> bool {
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_signals_starts_with_signal_1() {
        // Rust's start-up ignores SIGPIPE, 13; nohup adds SIGHUP, 1.
        assert!(in_mask("\t0000000000001001", SIGHUP));
        assert!(!in_mask("\t0000000000001000", SIGHUP));
        assert!(!in_mask("", SIGHUP));
    }
}
