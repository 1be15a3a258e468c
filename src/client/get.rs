//! `onepoll get`: downloads a file, framed or as the course does it.
//!
//! Contents go to the disk in jobs, at most one at a time, under a temporary name. What the
//! server sends faster is left unread, so memory does not grow with the file. When a framed
//! download breaks, what came stays for a later `--resume`.

mod download;
mod offer;
mod outcome;

use std::path::PathBuf;

use clap::Parser;

use super::target::Target;
use super::transfer::{Completion, Report, Server, run_transfer};
use super::{ClientError, Run, Timeout, parse_timeout};
use download::{Download, Wanted};

/// Download a file, and verify its SHA-256
///
/// The file has the name FILE.part until it is whole. If the download breaks, --resume goes
/// on from what came.
#[derive(Debug, Parser)]
#[command(name = "get")]
pub struct GetCommand {
    /// Where to save it [default: the file's own name, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on from what an earlier download has left
    #[arg(long, conflicts_with = "course")]
    resume: bool,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
    /// Speak as the course's programs do: a name, then the contents, with no length and no sum
    #[arg(long)]
    course: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// How long the server may be silent, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "30s")]
    timeout: Timeout,
    /// The server; an IPv6 address needs brackets, as in [::1]:2600
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// Which file [default: the only one; with --course, the one that the server offers]
    name: Option<String>,
}

impl Run for GetCommand {
    /// Downloads the file.
    fn run(self) -> Result<(), ClientError> {
        let GetCommand { output, resume, force, course, json, timeout, target, name } = self;
        let completion = Completion::default();
        let server = Server::new(target, timeout);
        let report = Report { command: "get", json };
        let wanted = Wanted { name, output, force, resume, course };
        let client = Download::new(server, report, wanted, completion.clone());
        run_transfer("get", &completion, client)
    }
}
