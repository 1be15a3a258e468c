//! Jobs off the loop: where they run, and what comes back.

use std::any::Any;
use std::fmt;

use super::ConnectionId;

/// A kind of job. Each has threads and a queue of its own, so that slow jobs of one kind
/// delay none of another: hashing a large file keeps neither a name lookup nor an `fsync`
/// waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Name lookups, which wait for other machines.
    Lookup,
    /// Opening, listing and reading files, which waits for a disk.
    Read,
    /// Writing, syncing, renaming and removing files, which waits for a disk. A drain
    /// waits for these jobs.
    Write,
    /// Work for the processor. Keep each job short, and ask for the next from
    /// [`Service::finished`](super::Service::finished): so others get their turn.
    Hash,
    /// Drawing, coding and decoding pictures, a few milliseconds each.
    Code,
}

impl Lane {
    /// Every lane, in the order of the variants.
    pub const ALL: [Lane; 5] = [Lane::Lookup, Lane::Read, Lane::Write, Lane::Hash, Lane::Code];

    /// The most threads that it has. Those that wait for a disk or a name server may be
    /// more than the processors; hashing leaves one to the loop.
    pub const fn threads(self) -> usize {
        match self {
            Lane::Lookup | Lane::Code => 2,
            Lane::Read | Lane::Write => 4,
            Lane::Hash => 1,
        }
    }

    /// Its name, which its threads have too.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Lane::Lookup => "lookup",
            Lane::Read => "read",
            Lane::Write => "write",
            Lane::Hash => "hash",
            Lane::Code => "code",
        }
    }
}

/// The outcome of an offloaded job.
pub struct Answer {
    /// The connection whose callback asked for it, whether or not it is still open.
    pub connection: Option<ConnectionId>,
    /// What the job returned.
    pub result: Result<Box<dyn Any + Send>, OffloadError>,
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffloadError {
    /// Too many jobs of this service are waiting in the lane already.
    QueueFull,
    /// The job panicked.
    Panicked,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OffloadError::QueueFull => "too many jobs are waiting",
            OffloadError::Panicked => "the job failed inside",
        })
    }
}

impl std::error::Error for OffloadError {}
