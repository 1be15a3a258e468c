//! The words of the file services.
//!
//! - [`framed`]: requests and answers with lengths and error codes.
//! - [`together`]: the course's uploads, in which nothing separates a file's name from
//!   its contents.

pub mod framed;
pub mod together;
