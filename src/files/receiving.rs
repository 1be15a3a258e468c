//! A file that is coming in, on its way to the disk.
//!
//! Bytes are taken as they come and handed to the disk by jobs, in order and one at a time.
//! While the disk is slower than the peer, bytes wait here: whoever owns a [`Receiving`]
//! asks whether it [`is_full`](Receiving::is_full) and then leaves its peer unread.

use super::{FileError, Incoming, Name, Root, Stored};
use crate::wire::files::framed::Sha256;

/// How many bytes may be here, waiting or being written, before whoever sends them has to
/// wait. A read of a connection may come on top of what is one byte below this, so no more
/// than 1 MiB ever is.
const FULL: usize = 1024 * 1024 - 256 * 1024;

/// A file that is coming in.
#[derive(Debug)]
pub struct Receiving {
    place: Place,
    waiting: Vec<u8>,
    /// How many bytes the job that runs is writing.
    in_flight: usize,
    received: u64,
    /// How much had come when somebody asked whether it is silent.
    seen: u64,
    end: Option<End>,
}

/// Where the file is.
#[derive(Debug)]
enum Place {
    Here(Box<Incoming>),
    WithJob,
    /// Stored, or failed.
    Nowhere,
}

/// All has come.
#[derive(Debug, Clone, Copy)]
struct End {
    expected: Option<Sha256>,
}

/// What is to be done off the loop. What it returns goes to [`Receiving::done`].
#[derive(Debug)]
pub struct Job(Task);

#[derive(Debug)]
enum Task {
    Begin { root: Root, name: Name, size: Option<u64> },
    Write { incoming: Box<Incoming>, bytes: Vec<u8>, end: Option<End> },
}

/// What a [`Job`] has done. If nobody wants it any more, it has to be dropped off the loop,
/// since that removes an unfinished file.
#[derive(Debug)]
pub struct Done {
    outcome: Result<Outcome, FileError>,
}

#[derive(Debug)]
enum Outcome {
    Goes(Box<Incoming>),
    Stored(Stored),
}

/// How far a file has come.
#[derive(Debug)]
pub enum Progress {
    /// The disk goes on.
    Goes,
    /// It is there, under its final name.
    Stored(Stored),
}

impl Receiving {
    /// Begins to receive a file. With its size, there is room for it if the job says so.
    pub fn begin(root: &Root, name: Name, size: Option<u64>) -> (Receiving, Job) {
        let job = Job(Task::Begin { root: root.clone(), name, size });
        let place = Place::WithJob;
        (Receiving { place, waiting: Vec::new(), in_flight: 0, received: 0, seen: 0, end: None }, job)
    }

    /// Takes bytes in; they wait for the next job.
    pub fn take(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.received += bytes.len() as u64;
    }

    /// Notes that all has come. If a sum is expected, the file is stored only if it has that.
    pub fn end(&mut self, expected: Option<Sha256>) {
        self.end = Some(End { expected });
    }

    /// Whether as much is waiting as may wait.
    pub fn is_full(&self) -> bool {
        self.memory() >= FULL
    }

    /// Whether nothing has come since this was last asked, although the disk had nothing to
    /// do.
    pub fn is_silent(&mut self) -> bool {
        let seen = std::mem::replace(&mut self.seen, self.received);
        seen == self.received && !self.is_with_the_disk() && self.end.is_none()
    }

    /// How many bytes have come.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether a job is with the disk.
    pub fn is_with_the_disk(&self) -> bool {
        matches!(self.place, Place::WithJob)
    }

    /// How many bytes are here, waiting or being written.
    pub fn memory(&self) -> usize {
        self.waiting.len() + self.in_flight
    }

    /// The next job, if there is something to do and the job before it is done.
    pub fn next_job(&mut self) -> Option<Job> {
        if self.waiting.is_empty() && self.end.is_none() {
            return None;
        }
        match std::mem::replace(&mut self.place, Place::WithJob) {
            Place::Here(incoming) => {
                let bytes = std::mem::take(&mut self.waiting);
                self.in_flight = bytes.len();
                Some(Job(Task::Write { incoming, bytes, end: self.end }))
            }
            other => {
                self.place = other;
                None
            }
        }
    }

    /// Takes back what a job has done.
    ///
    /// # Errors
    /// Why the file is not stored. What was begun is removed by then.
    pub fn done(&mut self, done: Done) -> Result<Progress, FileError> {
        self.in_flight = 0;
        self.place = Place::Nowhere;
        match done.outcome? {
            Outcome::Goes(incoming) => {
                self.place = Place::Here(incoming);
                Ok(Progress::Goes)
            }
            Outcome::Stored(stored) => Ok(Progress::Stored(stored)),
        }
    }

    /// Gives up. What is returned has to be dropped off the loop; if a job is with the disk,
    /// that is what it returns.
    pub fn abandon(self) -> Option<Box<Incoming>> {
        match self.place {
            Place::Here(incoming) => Some(incoming),
            Place::WithJob | Place::Nowhere => None,
        }
    }
}

impl Job {
    /// Does it, which may take as long as a disk takes.
    pub fn run(self) -> Done {
        match self.0 {
            Task::Begin { root, name, size } => {
                let begun = root.begin(&name, size);
                Done { outcome: begun.map(|incoming| Outcome::Goes(Box::new(incoming))) }
            }
            Task::Write { incoming, bytes, end } => Done { outcome: write(incoming, &bytes, end) },
        }
    }
}

/// If it fails, the file is dropped here, off the loop.
fn write(mut incoming: Box<Incoming>, bytes: &[u8], end: Option<End>) -> Result<Outcome, FileError> {
    incoming.write(bytes)?;
    match end {
        Some(End { expected }) => incoming.finish(expected).map(Outcome::Stored),
        None => Ok(Outcome::Goes(incoming)),
    }
}
