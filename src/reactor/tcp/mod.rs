//! Connections: accepted or asked for, read, written and ended.

mod accept;
pub(crate) mod kept;
pub(crate) mod listener;
pub(crate) mod outbox;
pub(crate) mod serve;
pub(crate) mod stream;
