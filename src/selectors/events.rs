//! The events that a descriptor is watched for and found ready for.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitOrAssign};

use mio::Interest;
use mio::event::Event;

/// Readable: a read, a receive or an accept would not block. This includes the
/// end of input and errors, since the read that reports them returns at once.
pub const EVENT_READ: Events = Events(1);

/// Writable: there is room to send, or a connect has finished. This includes
/// errors, since the write that reports them returns at once.
pub const EVENT_WRITE: Events = Events(2);

/// A set of [`EVENT_READ`] and [`EVENT_WRITE`], combined with `|`.
///
/// The default is the empty set; registering with it is an error.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Events(u8);

impl Events {
    /// Whether every event of `other` is in this set.
    pub const fn contains(self, other: Events) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The same set as mio expresses it; `None` for the empty set, which mio
    /// cannot express.
    pub(super) fn interest(self) -> Option<Interest> {
        match (self.contains(EVENT_READ), self.contains(EVENT_WRITE)) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    /// Translates a mio event. epoll reports errors and hang-ups without being
    /// asked (epoll_ctl(2)), and mio does not always call those readable or
    /// writable: a pipe whose writer is gone is only "read closed". A hang-up
    /// is both "read closed" and "write closed"; a peer that ended its output
    /// is only the first.
    pub(super) fn of(event: &Event) -> Events {
        let mut events = Events::default();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            events |= EVENT_READ;
        }
        if event.is_writable() || event.is_write_closed() || event.is_error() {
            events |= EVENT_WRITE;
        }
        events
    }
}

impl BitOr for Events {
    type Output = Events;

    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

impl BitAnd for Events {
    type Output = Events;

    fn bitand(self, other: Events) -> Events {
        Events(self.0 & other.0)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.contains(EVENT_READ), self.contains(EVENT_WRITE)) {
            (true, true) => "EVENT_READ | EVENT_WRITE",
            (true, false) => "EVENT_READ",
            (false, true) => "EVENT_WRITE",
            (false, false) => "no events",
        })
    }
}
