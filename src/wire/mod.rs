//! Turns bytes into messages and back, with pure functions and small state
//! machines that the daemon, the clients and the load generator share.
//!
//! TCP delivers bytes, not messages: what a peer sent in one call may arrive in
//! pieces, and what it sent in several may arrive as one. Each module here
//! finds the messages of one protocol in such a stream, however it is split,
//! without knowing about sockets or clocks.
//!
//! - [`text`]: messages from people and from simple programs, as chunks or
//!   lines.
//! - [`json`]: JSON values, one after another.
//! - [`frames`]: pictures with their length in front; [`datagram_frames`]: pictures in
//!   twenty datagrams; [`jpeg`]: JPEGs one after another.
//! - [`http`]: requests and answers of the web.
//! - [`pickle`]: pictures as numpy arrays.
//! - [`answers`]: the answers of number and upper, which the clients check too.
//! - [`files`]: requests for files, and the names of files that arrive with their
//!   contents.
//! - [`tftp`]: TFTP packets, and both ends of a transfer.

pub mod answers;
pub mod datagram_frames;
pub mod files;
pub mod frames;
pub mod http;
pub mod jpeg;
pub mod json;
pub mod pickle;
pub mod text;
pub mod tftp;
