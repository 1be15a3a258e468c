//! What a service left unread.

/// Input that a service has not consumed. It stays where it is while more of it is
/// consumed, and only new bytes are copied behind it.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// Where the unread bytes begin.
    start: usize,
    /// When the first unread byte arrived, in the reactor's microseconds.
    pub since: u64,
}

/// The bytes of a [`Kept`] while they are shown to a service.
#[derive(Debug)]
pub(crate) struct Unread {
    bytes: Vec<u8>,
    start: usize,
}

/// There is no memory to keep more.
#[derive(Debug)]
pub(crate) struct OutOfMemory;

impl Kept {
    /// A copy of what is left unread of the shared buffer.
    pub fn copy(unread: &[u8], now: u64) -> Result<Kept, OutOfMemory> {
        let mut bytes = Vec::new();
        extend(&mut bytes, unread)?;
        Ok(Kept { bytes, start: 0, since: now })
    }

    /// Bytes that are unread.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// The memory it takes, in bytes.
    pub fn memory(&self) -> usize {
        size_of::<Kept>() + self.bytes.capacity()
    }

    /// Takes the bytes out, to be shown; [`Kept::put_back`] ends that.
    pub fn take(&mut self) -> Unread {
        Unread { bytes: std::mem::take(&mut self.bytes), start: std::mem::take(&mut self.start) }
    }

    /// Puts the bytes back, without those that were consumed. Memory that they no
    /// longer need is given back, unless they are soon to be shown again.
    pub fn put_back(&mut self, unread: Unread, consumed: usize, is_shown_again: bool) {
        (self.bytes, self.start) = (unread.bytes, unread.start + consumed);
        if !is_shown_again && self.bytes.capacity() > 2 * self.len() + WORTH_SHRINKING {
            self.bytes.drain(..self.start);
            self.bytes.shrink_to_fit();
            self.start = 0;
        }
    }
}

/// Less unused memory than this is kept for more input.
const WORTH_SHRINKING: usize = 4096;

impl Unread {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// Adds what has been read since.
    pub fn append(&mut self, more: &[u8]) -> Result<(), OutOfMemory> {
        self.bytes.drain(..self.start);
        self.start = 0;
        extend(&mut self.bytes, more)
    }
}

fn extend(bytes: &mut Vec<u8>, more: &[u8]) -> Result<(), OutOfMemory> {
    bytes.try_reserve(more.len()).map_err(|_| OutOfMemory)?;
    bytes.extend_from_slice(more);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_consumed_goes_and_what_is_read_comes_behind_it() {
        let mut kept = Kept::copy(b"one two", 0).unwrap();
        let unread = kept.take();
        assert_eq!(unread.bytes(), b"one two");
        kept.put_back(unread, 4, true);
        assert_eq!(kept.len(), 3);
        let mut unread = kept.take();
        unread.append(b" three").unwrap();
        assert_eq!(unread.bytes(), b"two three");
        kept.put_back(unread, 9, false);
        assert_eq!(kept.len(), 0);
    }

    #[test]
    fn a_small_rest_of_a_large_read_gives_its_memory_back() {
        let mut kept = Kept::copy(&[b'x'; 256 * 1024], 0).unwrap();
        let unread = kept.take();
        kept.put_back(unread, 256 * 1024 - 10, false);
        assert_eq!(kept.len(), 10);
        assert!(kept.bytes.capacity() < 1024, "{}", kept.bytes.capacity());
    }
}
