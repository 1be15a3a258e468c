//! The clients, for people and scripts: small services on the same reactor, one
//! file per command. Read `number` and `ask` first. A command's file holds its name,
//! its help, its command line and what it does; one line in [`CLIENTS`] makes it
//! known.
//!
//! Standard output carries what the server said; remarks go to standard error. A client
//! that got its answers, or was ended by Ctrl-C, exits with status 0. Any other says in
//! one sentence what went wrong, and exits with status 1.

mod ask;
mod asked;
mod broadcast;
mod chat;
mod console;
mod destinations;
mod discover;
mod echo;
mod editor;
mod hello;
mod json;
mod json_values;
mod messages;
mod multicast;
mod number;
mod screen;
pub mod target;
mod tftp;
mod time;
mod upper;

use std::fmt;
use std::io;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;
use onepoll::config::{UnitError, format_duration, parse_duration};
use onepoll::reactor::{Limits, Reactor, RunError, SocketOptions};
use onepoll::service::Service;

use crate::{logging, signals};

/// The client commands, in the order in which the help lists them.
const CLIENTS: &[Client] = &[
    client::<echo::Echo>(),
    client::<upper::Upper>(),
    client::<number::Number>(),
    client::<time::Time>(),
    client::<json::Json>(),
    client::<hello::Hello>(),
    client::<chat::ChatCommand>(),
    client::<discover::DiscoverCommand>(),
    client::<broadcast::BroadcastCommand>(),
    client::<multicast::MulticastCommand>(),
    client::<tftp::TftpCommand>(),
];

/// A command line that can be run.
trait Run: Parser {
    /// Runs the command to its end.
    fn run(self) -> Result<(), ClientError>;
}

/// A command as the command line knows it.
struct Client {
    command: fn() -> Command,
    parse: fn(&ArgMatches) -> Result<ClientCommand, clap::Error>,
}

const fn client<C: Run + 'static>() -> Client {
    Client { command: C::command, parse: |matches| C::from_arg_matches(matches).map(ClientCommand::of) }
}

/// A client command with its arguments.
pub struct ClientCommand(Box<dyn FnOnce() -> Result<(), ClientError>>);

impl ClientCommand {
    fn of(command: impl Run + 'static) -> ClientCommand {
        ClientCommand(Box::new(|| command.run()))
    }
}

impl Subcommand for ClientCommand {
    fn augment_subcommands(all: Command) -> Command {
        all.subcommands(CLIENTS.iter().map(|client| (client.command)()))
    }

    fn augment_subcommands_for_update(all: Command) -> Command {
        ClientCommand::augment_subcommands(all)
    }

    fn has_subcommand(name: &str) -> bool {
        CLIENTS.iter().any(|client| (client.command)().get_name() == name)
    }
}

impl FromArgMatches for ClientCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ClientCommand, clap::Error> {
        let missing = || clap::Error::new(ErrorKind::MissingSubcommand);
        let (name, matches) = matches.subcommand().ok_or_else(missing)?;
        let client = CLIENTS.iter().find(|client| (client.command)().get_name() == name);
        (client.ok_or_else(missing)?.parse)(matches)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = ClientCommand::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Why a client failed.
#[derive(Debug)]
pub enum ClientError {
    /// The system gave no poll or no signal pipe.
    Setup(io::Error),
    /// The client could not do what it was asked to do.
    Run(RunError),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Setup(error) => write!(f, "the event loop cannot start: {error}"),
            ClientError::Run(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

/// Runs a client to its end.
///
/// # Errors
/// One sentence for the user, which belongs to exit status 1.
pub fn run(command: ClientCommand) -> Result<(), ClientError> {
    // The reactor's notices are for people who run a daemon; RUST_LOG can ask for them.
    logging::start(LevelFilter::Error);
    let ClientCommand(run) = command;
    let outcome = run();
    if outcome.is_err() {
        screen::clear_line();
    }
    outcome
}

/// Runs one service until it stops or fails, or a signal ends it in order.
fn run_service<S: Service + 'static>(
    name: &str,
    service: S,
    options: SocketOptions,
) -> Result<(), ClientError> {
    // A user may think for hours between two lines, and so may a server. Unsent output is
    // one message, whose length the user chose.
    let limits = Limits { idle_timeout: None, message_timeout: None, output_limit: 0, ..Limits::default() };
    let mut reactor = Reactor::new().map_err(ClientError::Setup)?;
    signals::watch(&mut reactor).map_err(ClientError::Setup)?;
    let host = reactor.host(name, service).limits(limits).options(options);
    host.start().map_err(|error| ClientError::Setup(io::Error::other(error)))?;
    signals::run(&mut reactor).map_err(ClientError::Run)
}

/// Reads how long to wait, for the command line.
fn parse_timeout(text: &str) -> Result<Timeout, UnitError> {
    parse_duration(text).map(Timeout)
}

/// Reads how long to gather answers. It has to end, since they are judged then.
fn parse_time_to_gather(text: &str) -> Result<Timeout, String> {
    match parse_timeout(text).map_err(|error| error.to_string())? {
        Timeout(Duration::ZERO) => Err("0 would never end; give a time, as in 3s".into()),
        timeout => Ok(timeout),
    }
}

/// How long to wait; zero is without a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timeout(Duration);

impl Timeout {
    fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.0))
    }
}
