//! The clients, for people and scripts: small services on the same reactor,
//! one file a command. `ask` is the one to read first.
//!
//! What they print on standard output is what the server said; remarks go to
//! standard error. A client that got its answers, or was ended by Ctrl-C, ends
//! with status 0; one that got none says why in one sentence, with status 1.

mod ask;
mod asked;
mod broadcast;
mod chat;
mod console;
mod discover;
mod editor;
mod interfaces;
mod json_values;
mod messages;
mod multicast;
mod screen;
pub mod target;

use std::fmt;
use std::io;
use std::time::Duration;

use clap::Subcommand;
use onepoll::config::{UnitError, format_duration, parse_duration};
use onepoll::reactor::{Limits, Reactor, RunError, SocketOptions};
use onepoll::service::Service;

use crate::signals;

/// The client commands.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Send messages to an echo server and print what comes back
    ///
    /// An answer that differs from what was sent is an error.
    Echo(ask::AskArgs),
    /// Send text to an upper server and print it in upper case
    Upper(ask::AskArgs),
    /// Send numbers to a number server and print their words
    Number(ask::AskArgs),
    /// Print the time that a time server tells
    Time(ask::TimeArgs),
    /// Send JSON to a json server and print its answers
    ///
    /// A value may go over several lines, and a line or an argument hold several
    /// values; each is sent by itself. An answer that reports an error in the
    /// JSON is an answer too: status 0. An argument that ends inside a value is
    /// wrong usage; standard input that does is sent as it is.
    Json(ask::JsonArgs),
    /// Greet a hello server over UDP and print its answer
    Hello(ask::HelloArgs),
    /// Talk in a chat; a typed bye, q or /end leaves
    ///
    /// /help, /who, /nick NAME and /quit are for the server, which answers them:
    /// they go out as they are, also with --name. Everything else is for the
    /// others.
    Chat(chat::ChatArgs),
    /// Find the servers on this network by broadcast
    Discover(discover::DiscoverArgs),
    /// Send broadcasts, or listen to them
    #[command(subcommand)]
    Broadcast(broadcast::BroadcastCommand),
    /// Send to a multicast group, or listen to it
    #[command(subcommand)]
    Multicast(multicast::MulticastCommand),
}

/// Why a client failed.
#[derive(Debug)]
pub enum ClientError {
    /// The system gave no poll or no signal pipe.
    Setup(io::Error),
    /// It could not do what it was asked to.
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
    // The reactor's notices are for who runs a daemon, unless RUST_LOG asks for them.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    let outcome = match command {
        ClientCommand::Echo(arguments) => ask::run(ask::Question::Echo, arguments),
        ClientCommand::Upper(arguments) => ask::run(ask::Question::Upper, arguments),
        ClientCommand::Number(arguments) => ask::run(ask::Question::Number, arguments),
        ClientCommand::Time(arguments) => ask::run(ask::Question::Time, arguments.into()),
        ClientCommand::Json(arguments) => ask::run(ask::Question::Json, arguments.into()),
        ClientCommand::Hello(arguments) => ask::run(ask::Question::Hello, arguments.into()),
        ClientCommand::Chat(arguments) => chat::run(arguments),
        ClientCommand::Discover(arguments) => discover::run(arguments),
        ClientCommand::Broadcast(command) => broadcast::run(command),
        ClientCommand::Multicast(command) => multicast::run(command),
    };
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
    // A user may think for hours between two lines, and a server may too; what
    // is unsent is one message, whose length the user chose.
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

/// Reads how long to gather answers: the end of that time is when they are judged.
fn parse_time_to_gather(text: &str) -> Result<Timeout, String> {
    match parse_timeout(text).map_err(|error| error.to_string())? {
        Timeout(Duration::ZERO) => Err("0 would wait for ever; give a time, as in 3s".into()),
        timeout => Ok(timeout),
    }
}

/// How long to wait; zero is for ever.
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
