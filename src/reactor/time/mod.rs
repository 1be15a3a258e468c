//! Deadlines: which comes next, how it wakes the poll, and what happens then.

pub(crate) mod alarm;
mod deadlines;
pub(crate) mod timers;
