//! A part of a file that is being sent.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::disk::File;
use crate::service::FileRange;

/// What one connection may send of files in one call.
pub(crate) const SLICE: usize = 64 * 1024;
/// What a call of sendfile counts as at least, so that many small files are no more work
/// than one large one.
pub(crate) const LEAST_SLICE: usize = 8 * 1024;
/// How much is read ahead at a time. Twice as much may be in the page cache for a
/// connection: what is being sent, and what comes next.
pub(crate) const WINDOW: u64 = 4 * 1024 * 1024;

/// A part of a file on its way. What has gone out lies before `next`, and
/// `next <= warm <= end` always holds.
#[derive(Debug)]
pub(crate) struct Sending {
    file: Arc<File>,
    next: u64,
    end: u64,
    /// Up to here it is in the page cache.
    warm: u64,
    /// More of it is being read ahead, or waits for that.
    is_read_ahead: bool,
}

/// The outcome of sending a slice.
#[derive(Debug)]
pub(crate) struct Slice {
    pub taken: usize,
    /// The socket takes no more, and an event will announce room.
    pub is_refused: bool,
    /// `UnexpectedEof` means that the file has become shorter.
    pub outcome: io::Result<()>,
}

impl Default for Slice {
    fn default() -> Slice {
        Slice { taken: 0, is_refused: false, outcome: Ok(()) }
    }
}

impl Sending {
    pub fn new(FileRange { file, range, warm }: &FileRange) -> Sending {
        let (next, end) = (range.start, range.end.max(range.start));
        let warm = (*warm).clamp(next, end);
        Sending { file: Arc::clone(file), next, end, warm, is_read_ahead: false }
    }

    pub fn is_over(&self) -> bool {
        self.next == self.end
    }

    /// Whether it waits for the disk.
    pub fn is_cold(&self) -> bool {
        self.next == self.warm && !self.is_over()
    }

    /// Sends until `most` bytes are out, the socket refuses more, or the rest is not in the
    /// page cache. A short count of sendfile proves nothing: it may be the socket or the
    /// end of the file, and the next call tells.
    pub fn send(
        &mut self,
        most: usize,
        mut send: impl FnMut(&File, u64, usize) -> io::Result<usize>,
    ) -> Slice {
        let warm = usize::try_from(self.warm - self.next).unwrap_or(usize::MAX);
        let goal = most.min(warm);
        let mut slice = Slice::default();
        while slice.taken < goal {
            match send(&self.file, self.next, goal - slice.taken) {
                Ok(0) => {
                    slice.outcome = Err(io::ErrorKind::UnexpectedEof.into());
                    break;
                }
                Ok(count) => {
                    self.next += count as u64;
                    slice.taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slice.is_refused = true;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    slice.outcome = Err(error);
                    break;
                }
            }
        }
        slice
    }

    /// Whether more is to be read ahead, and nobody has been told so yet.
    pub fn begin_read_ahead(&mut self) -> bool {
        let wants = !self.is_read_ahead && self.warm < self.end && self.warm - self.next <= WINDOW;
        self.is_read_ahead |= wants;
        wants
    }

    /// What is read ahead next.
    pub fn window(&self) -> (Arc<File>, Range<u64>) {
        (Arc::clone(&self.file), self.warm..self.end.min(self.warm + WINDOW))
    }

    pub fn was_read(&mut self, up_to: u64) {
        self.is_read_ahead = false;
        self.warm = up_to.clamp(self.warm, self.end);
    }
}
