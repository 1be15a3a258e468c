//! Deadlines: which come next, how the poll is woken for them, what they do.

pub(crate) mod alarm;
mod deadlines;
pub(crate) mod timers;
