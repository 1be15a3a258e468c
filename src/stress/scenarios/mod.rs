//! One file or folder per scenario, with its arguments, checks, settings, labels and
//! conversation.

pub mod chat;
pub mod connect;
pub mod echo;
pub mod idle;
pub mod request;
