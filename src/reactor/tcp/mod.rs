//! Connections: accepted or asked for, read, written and ended.

pub(crate) mod accept;
pub(crate) mod kept;
pub(crate) mod listener;
pub(crate) mod outbox;
pub(crate) mod read_ahead;
pub(crate) mod sending;
pub(crate) mod serve;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
