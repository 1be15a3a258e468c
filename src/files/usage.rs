//! What the files of a root take, those in flight included, without looking at each of them
//! per upload.
//!
//! The figures are those of the last scan, plus what was stored since. Files that somebody
//! adds or removes by hand are noticed at the next scan: each listing is one, uploads bring
//! one about now and then, and so does a refusal if the directory has changed since.

use super::error::FileError;
use super::root::Policy;
use crate::disk::Modified;

/// A scan costs about a microsecond per file, an upload two syncs. This often, the scans
/// take less time than the uploads between them.
const UPLOADS_PER_SCAN: u64 = 256;
const FILES_PER_UPLOAD: u64 = 16;

/// The figures of one root.
#[derive(Debug, Default)]
pub(super) struct Usage {
    files: u64,
    bytes: u64,
    files_in_flight: u64,
    bytes_in_flight: u64,
    /// What was ever stored; a scan compares these to notice what happened meanwhile.
    stored: Stored,
    begun_since_scan: u64,
    /// The directory, as the last scan began.
    scanned: Option<Modified>,
}

/// What was stored since the root was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    files: u64,
    bytes: u64,
    /// Files that are being given their names: a scan may see them before they are counted.
    being_named: u64,
}

impl Usage {
    /// What was stored so far. To be asked before a scan, and handed to [`Usage::scanned`]
    /// after it.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Takes the figures of a scan. A file that was stored meanwhile may be counted twice
    /// until the next one, but never missed.
    pub fn scanned(&mut self, files: u64, bytes: u64, before: Stored, directory: Option<Modified>) {
        self.files = files + (self.stored.files - before.files);
        self.bytes = bytes + (self.stored.bytes - before.bytes);
        self.begun_since_scan = 0;
        self.scanned = directory.filter(|_| before.being_named == 0);
    }

    /// Whether a scan is due for the sake of files that were added by hand.
    pub fn is_stale(&self) -> bool {
        self.begun_since_scan >= UPLOADS_PER_SCAN.max(self.files / FILES_PER_UPLOAD)
    }

    /// Whether the directory has changed since the last scan, so that another one may find
    /// that there is room after all.
    pub fn may_be_wrong(&self, directory: Option<Modified>) -> bool {
        self.scanned.is_none() || self.scanned != directory
    }

    /// Makes room for one more file, whose length is known or will grow.
    pub fn begin(&mut self, expected: Option<u64>, policy: &Policy) -> Result<(), FileError> {
        if self.files + self.files_in_flight >= policy.max_files {
            return Err(FileError::TooManyFiles(policy.max_files));
        }
        self.grow(0, expected.unwrap_or(0), policy)?;
        self.files_in_flight += 1;
        self.begun_since_scan += 1;
        Ok(())
    }

    /// Makes room for more bytes of a file in flight, which has some already.
    pub fn grow(&mut self, has: u64, more: u64, policy: &Policy) -> Result<(), FileError> {
        if has.saturating_add(more) > policy.max_file_size {
            return Err(FileError::TooLarge(policy.max_file_size));
        }
        let all = self.bytes.saturating_add(self.bytes_in_flight).saturating_add(more);
        if all > policy.max_total_size {
            return Err(FileError::NoRoom(policy.max_total_size));
        }
        self.bytes_in_flight += more;
        Ok(())
    }

    /// Gives back what a file in flight had.
    pub fn give_back(&mut self, reserved: u64) {
        self.files_in_flight -= 1;
        self.bytes_in_flight -= reserved;
    }

    /// Notes that a file in flight is about to get its name.
    pub fn begin_naming(&mut self) {
        self.stored.being_named += 1;
    }

    /// Notes that it has its name, or does not get one.
    pub fn end_naming(&mut self) {
        self.stored.being_named -= 1;
    }

    /// Counts a file that has its name now.
    pub fn store(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        self.stored.files += 1;
        self.stored.bytes += bytes;
    }

    /// Makes room for more bytes of a stored file that grows.
    pub fn append(&mut self, has: u64, more: u64, policy: &Policy) -> Result<(), FileError> {
        self.grow(has, more, policy)?;
        self.bytes_in_flight -= more;
        self.bytes += more;
        self.stored.bytes += more;
        Ok(())
    }

    /// A stored file in which there was nothing is gone.
    pub fn remove_empty(&mut self) {
        self.files = self.files.saturating_sub(1);
    }

    /// Files and bytes stored, and files and bytes in flight.
    #[cfg(test)]
    pub fn figures(&self) -> [u64; 4] {
        [self.files, self.bytes, self.files_in_flight, self.bytes_in_flight]
    }
}
