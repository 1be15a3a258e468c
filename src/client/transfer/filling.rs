//! Contents on their way to the disk: one write in flight, a bounded amount waiting.

use super::saving::Saving;

/// As much as may wait before the server is left unread. One read of at most 256 KiB may
/// come on top.
const FULL: usize = 1024 * 1024 - 256 * 1024;

/// A file that is being filled. [`Filling::next`] hands it to a job with what is waiting,
/// and [`Filling::put_back`] takes it back.
#[derive(Debug, Default)]
pub struct Filling {
    /// `None` while it is not open yet, or with a job.
    saving: Option<Saving>,
    waiting: Vec<u8>,
    in_flight: usize,
}

impl Filling {
    /// Takes bytes in.
    pub fn take(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Whether as much is waiting as may wait.
    pub fn is_full(&self) -> bool {
        self.waiting.len() + self.in_flight >= FULL
    }

    /// The file and what is to be written to it, if there is something and no write is in
    /// flight.
    pub fn next(&mut self) -> Option<(Saving, Vec<u8>)> {
        if self.waiting.is_empty() {
            return None;
        }
        let saving = self.saving.take()?;
        let bytes = std::mem::take(&mut self.waiting);
        self.in_flight = bytes.len();
        Some((saving, bytes))
    }

    /// The file is open, or a write is done; its buffer is used again.
    pub fn put_back(&mut self, saving: Saving, mut buffer: Vec<u8>) {
        self.saving = Some(saving);
        self.in_flight = 0;
        if self.waiting.is_empty() {
            buffer.clear();
            self.waiting = buffer;
        }
    }

    /// The file, once all that came is written.
    pub fn settled(&mut self) -> Option<&mut Saving> {
        self.saving.as_mut().filter(|_| self.waiting.is_empty())
    }

    /// Takes the file out.
    pub fn take_saving(&mut self) -> Option<Saving> {
        self.saving.take()
    }
}
