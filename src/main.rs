//! The `onepoll` command: parses the command line, runs one command, and turns
//! its outcome into an exit status: 0 for success, 1 for a failure at run time,
//! 2 for wrong usage.

mod client;
mod daemon;
mod heap;
mod logging;
mod memory_limit;
mod output;
mod signals;
mod stress;

use std::env;
use std::ffi::OsString;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use onepoll::config::{self, Overrides};
use onepoll::interfaces::broadcast_addresses;
use onepoll::services::CATALOG;
use onepoll::wording::nearest;

use client::ClientCommand;
use daemon::ServeArgs;
use stress::StressCommand;

/// Every service of a socket-programming course from one thread and one Poll,
/// with clients for them.
#[derive(Parser)]
#[command(name = "onepoll", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM, SIGHUP or Ctrl-C
    Serve(ServeArgs),
    /// Check a config file, or print one
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the catalog of services
    Services,
    /// Put a server under load, check every answer, and measure
    ///
    /// The status is 0 if nothing went wrong, 1 if anything did (a message lost,
    /// duplicated, reordered or corrupted, a connection refused or closed), and 3 if a
    /// --fail-if condition holds.
    #[command(subcommand)]
    Stress(Box<StressCommand>),
    #[command(flatten)]
    Client(ClientCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say what a config file would serve
    Check {
        /// The config file; - is standard input
        file: PathBuf,
    },
    /// Print a commented config file with every key at its default
    Example,
}

/// Why a command failed: what to say, and the exit status.
struct Failure {
    sentence: String,
    status: u8,
}

impl Failure {
    fn at_run_time(error: impl ToString) -> Failure {
        Failure { sentence: error.to_string(), status: 1 }
    }

    fn usage(error: impl ToString) -> Failure {
        Failure { sentence: error.to_string(), status: 2 }
    }
}

/// How long a panic waits until it is logged. The process may abort right after it, and
/// the loop may have to go on.
const PANIC_FLUSH: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    panic::set_hook(Box::new(|info| {
        log::error!("this is a bug in onepoll, please report it: {info}");
        output::flush_within(PANIC_FLUSH);
    }));
    let outcome = match parse().command {
        Command::Serve(arguments) => daemon::serve(&arguments),
        Command::Config(ConfigCommand::Check { file }) => check(&file),
        Command::Config(ConfigCommand::Example) => print(&config::example(CATALOG)),
        Command::Services => print(&catalog()),
        Command::Stress(command) => stress::run(*command),
        Command::Client(command) => client::run(command).map_err(Failure::at_run_time),
    };
    let status = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::remark(&failure.sentence);
            ExitCode::from(failure.status)
        }
    };
    output::flush();
    status
}

/// Reads the command line. Whatever is wrong with it, the usage of the command is shown
/// too, which clap leaves out if only a value is wrong.
fn parse() -> Arguments {
    Arguments::try_parse().unwrap_or_else(|error| {
        let mut command = Arguments::command();
        command.build();
        if error.kind() == ErrorKind::InvalidSubcommand
            && let Some(sentence) = unknown_topic(&mut command, env::args_os().skip(1))
        {
            command.error(ErrorKind::InvalidSubcommand, sentence).exit();
        }
        if error.kind() != ErrorKind::ValueValidation {
            error.exit();
        }
        let mut words = env::args_os().skip(1);
        while let Some(found) = words.next().and_then(|word| command.find_subcommand(word)) {
            command = found.clone();
        }
        let sentence = error.to_string();
        let end = sentence.rfind("\n\nFor more information").unwrap_or(sentence.len());
        // It quotes the value, which may hold anything.
        let sentence = sentence[..end].trim_start_matches("error: ").replace(char::is_control, "\u{FFFD}");
        command.error(ErrorKind::ValueValidation, sentence).exit()
    })
}

/// The sentence for `onepoll help WORD…` with a word that is no command, for which clap
/// has no suggestion; `None` for any other command line.
fn unknown_topic(command: &mut clap::Command, mut words: impl Iterator<Item = OsString>) -> Option<String> {
    words.next().filter(|word| word == "help")?;
    for word in words {
        let Some(found) = command.find_subcommand(&word) else {
            let word = word.to_string_lossy().replace(char::is_control, "\u{FFFD}");
            let names = command.get_subcommands().map(clap::Command::get_name);
            let hint =
                nearest(&word, names).map_or(String::new(), |near| format!("; did you mean '{near}'?"));
            return Some(format!("unrecognized subcommand '{word}'{hint}"));
        };
        *command = found.clone();
    }
    None
}

fn check(file: &std::path::Path) -> Result<(), Failure> {
    let config = daemon::read_config(file, &Overrides::default()).map_err(Failure::usage)?;
    print(&config::describe(&config, &broadcast_addresses().unwrap_or_default()))
}

fn print(text: &str) -> Result<(), Failure> {
    output::print(text).map_err(|error| Failure::at_run_time(format!("cannot write the output: {error}")))
}

fn catalog() -> String {
    let port = |port: Option<u16>| port.map_or("-".to_owned(), |port| port.to_string());
    let mut text = format!("{:<12}{:<8}{:<8}{}\n", "service", "tcp", "udp", "what it does");
    for entry in CATALOG {
        text += &format!("{:<12}{:<8}{:<8}{}\n", entry.name, port(entry.tcp), port(entry.udp), entry.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults_in_parentheses(command: &mut clap::Command, found: &mut Vec<String>) {
        let help = command.render_long_help().to_string();
        found.extend(help.lines().filter(|line| line.contains("(default")).map(str::to_owned));
        command.get_subcommands_mut().for_each(|command| defaults_in_parentheses(command, found));
    }

    #[test]
    fn every_help_shows_defaults_in_brackets() {
        let mut found = Vec::new();
        defaults_in_parentheses(&mut Arguments::command(), &mut found);
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn help_for_an_unknown_word_says_what_was_probably_meant() {
        let topic = |words: &[&str]| {
            let mut command = Arguments::command();
            command.build();
            unknown_topic(&mut command, words.iter().map(OsString::from))
        };
        assert_eq!(topic(&["help", "ehco"]).unwrap(), "unrecognized subcommand 'ehco'; did you mean 'echo'?");
        let said = topic(&["help", "stress", "caht"]).unwrap();
        assert_eq!(said, "unrecognized subcommand 'caht'; did you mean 'chat'?");
        assert_eq!(topic(&["help", "안녕"]).unwrap(), "unrecognized subcommand '안녕'");
        assert_eq!(topic(&["help", "stress"]), None);
        assert_eq!(topic(&["ehco"]), None);
    }
}
