//! What a service is shown of a connection's bytes.

use std::ops::Range;

/// A cursor over all bytes of a connection that its service has not consumed: what
/// it left unread before, then what has arrived now, as one slice.
#[derive(Debug)]
pub struct Input<'a> {
    bytes: &'a [u8],
    consumed: usize,
}

impl<'a> Input<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, consumed: 0 }
    }

    /// What is not consumed yet.
    pub fn unread(&self) -> &'a [u8] {
        &self.bytes[self.consumed..]
    }

    /// Consumes the next `count` bytes, or as many as there are, and says where
    /// they are, for [`Context::send_input`](super::Context::send_input).
    pub fn consume(&mut self, count: usize) -> Range<usize> {
        let start = self.consumed;
        self.consumed += count.min(self.bytes.len() - start);
        start..self.consumed
    }

    /// Consumes everything.
    pub fn consume_all(&mut self) -> Range<usize> {
        self.consume(self.bytes.len())
    }

    /// Bytes consumed so far.
    pub fn consumed(&self) -> usize {
        self.consumed
    }
}
