//! A file in memory, which knows what of it is in the page cache.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE: u64 = 4096;

#[derive(Debug)]
pub(super) struct File(Mutex<State>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    /// The numbers of the pages that are in the page cache.
    cached: BTreeSet<u64>,
    is_broken: bool,
}

fn pages(range: Range<u64>) -> Range<u64> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

impl File {
    pub fn new(bytes: Vec<u8>) -> File {
        File(Mutex::new(State { bytes, cached: BTreeSet::new(), is_broken: false }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn size(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let mut state = self.state();
        let bytes = usize::try_from(offset).ok().and_then(|offset| state.bytes.get(offset..)).unwrap_or(&[]);
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        state.cached.extend(pages(offset..offset + count as u64));
        count
    }

    pub fn warm(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.state();
        if state.is_broken {
            return Err(io::Error::from_raw_os_error(nix::libc::EIO));
        }
        state.cached.extend(pages(range));
        Ok(())
    }

    pub fn is_warm(&self, range: Range<u64>) -> bool {
        let state = self.state();
        let end = range.end.min(state.bytes.len() as u64);
        pages(range.start..end).all(|page| state.cached.contains(&page))
    }

    #[cfg(test)]
    pub fn truncate(&self, size: u64) {
        self.state().bytes.truncate(size as usize);
    }

    #[cfg(test)]
    pub fn break_down(&self) {
        self.state().is_broken = true;
    }
}
