//! The command-line clients as child processes, against small servers in the
//! style of the course's Python programs: `recv(1024)`, an answer, and perhaps a
//! close.

mod ask;
mod chat;
mod failures;
mod files;
mod groups;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
