//! Bytes to messages and back: pure functions and small state machines, used
//! by the daemon, the clients and the load generator alike.
//!
//! TCP delivers bytes, not messages: what a peer sent in one call may come in
//! pieces, and what it sent in several may come as one. Each module here finds
//! the messages of one protocol in such a stream, whatever the split, without
//! knowing a socket or a clock.
//!
//! - [`text`]: messages of people and of simple programs, as chunks or lines.
//! - [`json`]: JSON values, one after the other.
//!
//! [`answers`] holds what a service answers to a message where a client can
//! know it beforehand.

pub mod answers;
pub mod json;
pub mod text;
