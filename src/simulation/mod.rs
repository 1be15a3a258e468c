//! The whole daemon in a world where everything goes wrong, from a seed.
//!
//! A seed draws a world (the size of its buffers, its faults and their rates), a
//! configuration, and clients that misbehave. The clients talk to every service for a
//! while; then the faults stop. After each turn the reactor is audited. At the end, every
//! byte was answered or its connection ended for a reason, nothing outlives its
//! connection, a drain ends in time, and the statistics add up. One seed always gives
//! the same run.
//!
//! ```
//! let report = onepoll::simulation::run(1).map_err(|violation| violation.to_string())?;
//! assert_eq!(report.trace, onepoll::simulation::run(1).unwrap().trace);
//! # Ok::<(), String>(())
//! ```
//!
//! `client` plays the TCP clients and checks what they receive, and `peer` does so for
//! UDP. `courier` is a service that uses what the daemon's own services do not. `bugs`,
//! `jobs` and `scenarios` play one bug, promise or attack at a time.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod bugs;
mod client;
mod configuration;
mod courier;
mod files;
#[cfg(test)]
mod jobs;
mod peer;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod scene;
mod stage;
mod tftp;
mod video;
mod web;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use stage::Stage;

/// The figures of a run without a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// A hash of everything that happened.
    pub trace: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Bytes read from connections and written to them.
    pub bytes: u64,
    /// Datagrams received and sent.
    pub datagrams: u64,
}

/// A promise that did not hold in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The seed that reproduces it.
    pub seed: u64,
    /// What did not hold.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Violation {}

/// Runs the simulation of a seed.
///
/// # Errors
/// If a promise did not hold; a panic counts as a violation.
pub fn run(seed: u64) -> Result<Report, Violation> {
    let outcome = catch_unwind(AssertUnwindSafe(|| Stage::new(seed)?.play()));
    let outcome = outcome.unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        let what = what.or_else(|| panic.downcast_ref::<&str>().map(|what| (*what).to_owned()));
        Err(format!("panicked: {}", what.unwrap_or_else(|| "no reason given".to_owned())))
    });
    outcome.map_err(|what| Violation { seed, what })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few, since this build is not optimized; `.ci/run` plays thousands.
    const SEEDS: u64 = 20;

    #[test]
    fn every_promise_holds_under_every_fault() {
        let violations: Vec<String> =
            (0..SEEDS).filter_map(|seed| run(seed).err()).map(|violation| violation.to_string()).collect();
        assert!(violations.is_empty(), "{} of {SEEDS}:\n{}", violations.len(), violations.join("\n"));
    }

    #[test]
    fn one_seed_is_one_run() {
        for seed in 0..5 {
            assert_eq!(run(seed), run(seed), "seed {seed}");
        }
    }

    #[test]
    fn seeds_differ() {
        let traces: std::collections::BTreeSet<u64> =
            (0..10).filter_map(|seed| run(seed).ok()).map(|report| report.trace).collect();
        assert_eq!(traces.len(), 10);
    }
}
