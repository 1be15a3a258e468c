//! SHA-256 sums: computed in slices, and remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::error::FileError;
use super::root::{Found, Root};
use crate::disk::{File, Identity};

/// What one step hashes: some 10 to 40 ms, so that many long files take turns.
const SLICE: u64 = 16 << 20;
const BUFFER: usize = 256 << 10;
/// About 100 bytes each.
const MOST_REMEMBERED: usize = 4096;

/// The sums of files that have not changed since. The oldest go first.
#[derive(Debug, Default)]
pub(super) struct Sums {
    known: HashMap<Identity, [u8; 32]>,
    order: VecDeque<Identity>,
}

impl Sums {
    pub fn get(&self, identity: &Identity) -> Option<[u8; 32]> {
        self.known.get(identity).copied()
    }

    pub fn remember(&mut self, identity: Identity, sum: [u8; 32]) {
        if self.known.insert(identity, sum).is_none() {
            self.order.push_back(identity);
        }
        if self.order.len() > MOST_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// A sum that is being computed. Each [`Summing::step`] is a job of its own, so that a long
/// file does not keep others waiting.
#[derive(Debug)]
pub struct Summing {
    root: Root,
    file: Arc<File>,
    identity: Identity,
    hashed: u64,
    hasher: Sha256,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// There is more to hash.
    More(Summing),
    /// The sum.
    Done([u8; 32]),
}

impl Root {
    /// Begins to compute the sum of a file.
    pub fn sum(&self, found: &Found) -> Summing {
        let (root, file) = (self.clone(), found.file.clone());
        Summing { root, file, identity: found.identity, hashed: 0, hasher: Sha256::new() }
    }
}

impl Summing {
    /// Hashes at most 16 MiB more, or none if the sum is known by now.
    ///
    /// # Errors
    /// A file that changes meanwhile, or cannot be read.
    pub fn step(mut self) -> Result<Step, FileError> {
        if let Some(sum) = self.root.known_sum(&self.identity) {
            return Ok(Step::Done(sum));
        }
        let end = self.identity.size.min(self.hashed + SLICE);
        let mut buffer = vec![0; BUFFER];
        while self.hashed < end {
            let wanted = (end - self.hashed).min(BUFFER as u64) as usize;
            let count = self.file.read_at(&mut buffer[..wanted], self.hashed).map_err(FileError::reading)?;
            if count == 0 {
                return Err(FileError::Changed);
            }
            self.hasher.update(&buffer[..count]);
            self.hashed += count as u64;
        }
        if self.hashed < self.identity.size {
            return Ok(Step::More(self));
        }
        if self.file.identity().map_err(FileError::reading)? != self.identity {
            return Err(FileError::Changed);
        }
        let sum = self.hasher.finalize().into();
        self.root.remember_sum(self.identity, sum);
        Ok(Step::Done(sum))
    }

    /// The bytes hashed so far, and all there are.
    pub fn progress(&self) -> (u64, u64) {
        (self.hashed, self.identity.size)
    }
}
