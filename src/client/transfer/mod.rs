//! What `get`, `put`, `ls` and `udp-file` share: the way to the server, the local file at
//! either end, and what is printed about it.
//!
//! Everything that may wait for the disk is in [`saving`] and [`source`], and runs in jobs
//! off the loop.

mod filling;
mod saving;
mod server;
mod source;

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use onepoll::reactor::SocketOptions;
use onepoll::service::{Context, Service};

pub use filling::Filling;
pub use saving::{Destination, Saving};
pub use server::Server;
pub use source::{Source, Step, Summing};

use super::screen::{print_line, visible_line};
use super::{ClientError, run_service};
use crate::output::remark;

/// The longest line of a server: a size, a sum and the longest name, with room to spare.
pub const LONGEST_LINE: usize = 4096;

/// Whether all that was asked for is done. If it is not when the client ends, the user has
/// ended it.
#[derive(Debug, Clone, Default)]
pub struct Completion(Rc<Cell<bool>>);

impl Completion {
    /// Ends the client in order: all is done, or nobody wants to hear of it any more.
    pub fn stop(&self, cx: &mut Context<'_>) {
        self.0.set(true);
        cx.stop();
    }
}

/// Runs a transfer. Unlike a chat, one that the user has ended has failed.
pub fn run_transfer<S: Service + 'static>(
    name: &str,
    completion: &Completion,
    service: S,
) -> Result<(), ClientError> {
    run_service(name, service, SocketOptions::default())?;
    if completion.0.get() { Ok(()) } else { Err(ClientError::Interrupted) }
}

/// Why the server did not do what it was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its word for programs.
    pub code: String,
    /// A sentence for people.
    pub sentence: String,
}

impl Refusal {
    /// The server's own words, which may hold anything.
    pub fn by(server: &Server, about: &str, code: &str, why: &str) -> Refusal {
        let [code, why] = [code, why].map(|text| visible_line(text.as_bytes()));
        let why = if why.is_empty() { "no reason is given" } else { &why };
        Refusal { sentence: format!("{server} refused {about}: {why} ({code})"), code }
    }
}

/// How outcomes are printed: for people or for programs.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The name of the command.
    pub command: &'static str,
    /// One JSON object per file, instead of sentences.
    pub json: bool,
}

impl Report {
    /// Prints what went through: a line for people, or an object with these members. Returns
    /// false if nobody reads it any more.
    pub fn done(self, line: &str, members: serde_json::Value, cx: &mut Context<'_>) -> bool {
        let text = if self.json { self.object(members) } else { line.to_owned() };
        print_line(text.as_bytes(), cx)
    }

    /// Tells a program that a file failed.
    pub fn failed(self, file: Option<&str>, code: Option<&str>, why: &str, cx: &mut Context<'_>) {
        if self.json {
            let members = serde_json::json!({ "name": file, "error": why, "code": code });
            // If nobody reads it, the client fails all the same.
            let _ = print_line(self.object(members).as_bytes(), cx);
        }
    }

    /// A remark for people.
    pub fn remark(self, sentence: &str) {
        remark(sentence);
    }

    /// An object with these members, on one line.
    pub fn object(self, mut members: serde_json::Value) -> String {
        members["command"] = self.command.into();
        members.to_string()
    }
}

/// A path for a sentence.
pub fn shown(path: &Path) -> String {
    visible_line(path.to_string_lossy().as_bytes())
}
