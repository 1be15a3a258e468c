//! The latch: what is known about a socket's readiness.
//!
//! mio is edge-triggered: it reports a socket when something happens to it, that is
//! when bytes or a FIN arrive, or when room appears in a full send buffer. One new
//! byte is enough, even while earlier ones are unread. But what was left unread is
//! not reported again for that alone: if nothing more happens, the socket is silent.
//! So readiness is remembered here, set by events and cleared only by proof: a system
//! call that would have blocked, or one that moved fewer bytes than it was offered.

use crate::system::Readiness;

/// The remembered readiness of one socket, and whether it waits in the ready queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Latch(u8);

const READABLE: u8 = 1;
const WRITABLE: u8 = 2;
/// Behind what a read returns lies a FIN, a reset or urgent data, in the kernel's queue
/// already. No further edge will announce it, so a short read does not mean that nothing
/// is left to read.
const MORE_BEHIND: u8 = 4;
const QUEUED: u8 = 8;
/// Its room is full: it waits for the room, and not in the ready queue.
const PARKED: u8 = 16;
/// It moved much when it was served last: next time it comes after those who did not.
const HEAVY: u8 = 32;

impl Latch {
    /// Takes in what an event says.
    pub fn set(&mut self, ready: Readiness) {
        if ready.readable {
            self.0 |= READABLE;
        }
        if ready.writable {
            self.0 |= WRITABLE;
        }
        if ready.more_behind {
            self.0 |= MORE_BEHIND;
        }
    }

    pub fn set_readable(&mut self) {
        self.0 |= READABLE;
    }

    pub fn is_readable(self) -> bool {
        self.0 & READABLE != 0
    }

    pub fn is_writable(self) -> bool {
        self.0 & WRITABLE != 0
    }

    pub fn has_more_behind(self) -> bool {
        self.0 & MORE_BEHIND != 0
    }

    /// A read returned fewer bytes than the buffer had room for, so the socket is
    /// drained. Knowing that saves a second read, which would only say WouldBlock.
    pub fn short_read(&mut self) {
        if self.0 & MORE_BEHIND == 0 {
            self.0 &= !READABLE;
        }
    }

    /// There is nothing to read now.
    pub fn drained(&mut self) {
        self.0 &= !(READABLE | MORE_BEHIND);
    }

    pub fn write_blocked(&mut self) {
        self.0 &= !WRITABLE;
    }

    /// Marks it as waiting in the ready queue; false if it already was.
    pub fn enqueue(&mut self) -> bool {
        let first = self.0 & QUEUED == 0;
        self.0 |= QUEUED;
        first
    }

    #[cfg(feature = "simulated")]
    pub fn is_queued(self) -> bool {
        self.0 & QUEUED != 0
    }

    /// It is about to be served. How heavy it is will be seen anew.
    pub fn dequeue(&mut self) {
        self.0 &= !(QUEUED | HEAVY);
    }

    pub fn set_heavy(&mut self) {
        self.0 |= HEAVY;
    }

    pub fn is_heavy(self) -> bool {
        self.0 & HEAVY != 0
    }

    /// Marks it as waiting for its room; false if it already was.
    pub fn park(&mut self) -> bool {
        let first = self.0 & PARKED == 0;
        self.0 |= PARKED;
        first
    }

    pub fn is_parked(self) -> bool {
        self.0 & PARKED != 0
    }

    pub fn unpark(&mut self) {
        self.0 &= !PARKED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_read_clears_the_latch_unless_a_fin_or_urgent_data_is_queued() {
        let mut open = Latch(READABLE);
        open.short_read();
        assert!(!open.is_readable());
        let mut half_closed = Latch(READABLE | MORE_BEHIND);
        half_closed.short_read();
        assert!(half_closed.is_readable());
        half_closed.drained();
        assert!(!half_closed.is_readable());
    }

    #[test]
    fn a_handle_is_queued_once() {
        let mut latch = Latch::default();
        assert!(latch.enqueue());
        assert!(!latch.enqueue());
        latch.dequeue();
        assert!(latch.enqueue());
    }
}
