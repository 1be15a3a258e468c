//! The command line of `onepoll stress`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use onepoll::config::{format_duration, parse_duration, parse_size};
use regex_lite::Regex;

use super::checks::check;
use super::fail_if::Condition;
use super::payload::mix;
use super::plan::{Length, Load, Plan, SHORTEST_INTERVAL, Sources};
use super::report::files::Files;
use super::report::summary::Settings;
use super::request::{Expected, escape, unescape};
use crate::client::target::{Route, Target};

/// Requests per second that one core could conceivably send.
const FASTEST: f64 = 10_000_000.0;
/// Requests in flight per connection in an open loop, unless the user says
/// otherwise.
const OPEN_DEPTH: usize = 64;

/// Put a server under load, check every answer, and measure
#[derive(Debug, Subcommand)]
pub enum StressCommand {
    /// Send messages that must come back unchanged
    Echo(EchoArgs),
    /// Send a given message and expect a given answer
    Request(RequestArgs),
    /// Join a room, in which every line must reach every other member once and in
    /// order
    Chat(ChatArgs),
    /// Connect, send a message that must come back, close, and start over
    Connect(ConnectArgs),
    /// Hold connections open without sending anything
    Idle(IdleArgs),
    /// Compare two summaries written by --json
    ///
    /// Only a difference beyond the spread of both sides counts, so use --repeat
    /// 5.
    Compare {
        /// The summary to compare with
        a: PathBuf,
        /// The summary to judge
        b: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Common {
    /// The server; put an IPv6 address in brackets, as in [::1]:3333
    #[arg(value_name = "HOST:PORT")]
    pub target: Target,
    /// How many connections to hold at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub connections: usize,
    /// Open the connections evenly over this time; load starts when all are open
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub duration: Duration,
    /// How long an answer, or connecting, may take; anything longer is an error
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = some_time)]
    pub timeout: Duration,
    /// Connect from these addresses in turn, as in 127.0.0.0/8; a single address
    /// has about 28,000 ports
    #[arg(long, value_name = "NETWORK")]
    pub source: Option<Sources>,
    /// Determines every byte that echo, chat and connect send; two runs in one room
    /// need different ones [default: a different one for each run, shown in the title]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Time between two records of --ndjson and --hdr, and between two points of
    /// --report; at least 10ms [default: a tenth of --duration, at most 1s; 100ms
    /// with --messages]
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Repeat the whole run this many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub repeat: usize,
    /// Exit with status 3 if this holds for any run, as in 'p99>20ms' or
    /// 'errors>0'
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<Condition>,
    #[command(flatten)]
    pub files: Files,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// How long to put the server under load before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Measure this many messages instead of a period of time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Messages in flight per connection; the next one is sent when one comes
    /// back [default: 1, or 64 with --rate if answers can be told apart]
    #[arg(long, value_name = "D", value_parser = at_least_one)]
    depth: Option<usize>,
    /// Send this many messages per second over all connections, on an even
    /// schedule, whether or not earlier ones have come back
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
}

#[derive(Debug, Args)]
pub struct EchoArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
    /// Use UDP instead of TCP: one socket per connection; a message without an
    /// answer within --timeout is lost
    #[arg(long)]
    udp: bool,
    /// Size of a message in bytes
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
    /// Use UDP instead of TCP: one socket per connection; a message without an
    /// answer within --timeout is lost
    #[arg(long)]
    udp: bool,
    /// The message to send; \n, \r, \t, \0, \\ and \xHH have their meaning in C
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    send: String,
    /// The expected answer, byte for byte
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "expect_regex")]
    expect: Option<String>,
    /// A pattern that the answer must match; over TCP, the answer is complete as
    /// soon as it does. The pattern may match any part of the answer: anchor it
    /// (^...$) to match all of it
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    expect_regex: Option<Regex>,
    /// Open a new connection for each message, for servers that close after one
    #[arg(long, conflicts_with = "udp")]
    per_connection: bool,
}

#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
    /// Size of a line in bytes, including its line end
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
    /// How many members send
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = at_least_one)]
    senders: usize,
    /// Expect the server to send each line to its sender too
    #[arg(long)]
    echo_to_sender: bool,
    /// How long to stay silent once all are connected, so that the server can
    /// make all of them members
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    settle: Duration,
}

#[derive(Debug, Args)]
pub struct ConnectArgs {
    #[command(flatten)]
    common: Common,
    /// How long to put the server under load before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Measure this many conversations instead of a period of time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Start this many conversations per second, on an even schedule
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Size of the message in bytes
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
    /// Close with a reset, which leaves no port in TIME_WAIT
    #[arg(long)]
    reset: bool,
}

#[derive(Debug, Args)]
pub struct IdleArgs {
    #[command(flatten)]
    common: Common,
}

/// What a scenario sends and expects, apart from the load.
#[derive(Debug)]
pub enum Words {
    Echo { size: usize },
    Request { send: Vec<u8>, expected: Expected, per_connection: bool },
    Chat { size: usize, senders: usize, echo_to_sender: bool },
    Connect { size: usize, reset: bool },
    Silence,
}

impl Words {
    /// Whether several messages may be in flight unless the user says otherwise.
    /// The answer to a request does not say which request it is for, so after a
    /// lost datagram the next answer would be taken for the missing one.
    fn may_overlap(&self, udp: bool) -> bool {
        self.answers_have_an_end(udp) && !(udp && matches!(self, Words::Request { .. }))
    }

    /// Whether one can tell where an answer ends and the next one begins.
    pub fn answers_have_an_end(&self, udp: bool) -> bool {
        udp || !matches!(self, Words::Request { expected: Expected::Pattern(_) | Expected::Anything, .. })
    }
}

/// A different seed each time, so that two runs in one room can be told apart.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    mix(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 48) % 1_000_000
}

/// A command line that has been checked.
#[derive(Debug)]
pub struct Order {
    pub common: Common,
    pub words: Words,
    pub udp: bool,
    pub plan: Plan,
}

impl StressCommand {
    /// Checks how the options fit together.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn order(self) -> Result<Order, String> {
        let none = LoadArgs { warmup: Duration::ZERO, messages: None, depth: None, rate: None };
        let (common, load, udp, words) = match self {
            StressCommand::Echo(EchoArgs { common, load, udp, size }) => {
                (common, load, udp, Words::Echo { size })
            }
            StressCommand::Request(RequestArgs {
                common,
                load,
                udp,
                send,
                expect,
                expect_regex,
                per_connection,
            }) => {
                let expected = match (expect, expect_regex) {
                    (Some(text), _) => {
                        Expected::Text(unescape(&text).map_err(|why| format!("--expect: {why}"))?)
                    }
                    (None, Some(pattern)) => Expected::Pattern(pattern),
                    (None, None) => Expected::Anything,
                };
                let send = unescape(&send).map_err(|why| format!("--send: {why}"))?;
                (common, load, udp, Words::Request { send, expected, per_connection })
            }
            StressCommand::Chat(ChatArgs { common, load, size, senders, echo_to_sender, settle }) => {
                let words = Words::Chat { size, senders, echo_to_sender };
                let mut order = Order::new(common, load, false, words)?;
                order.plan.settle = settle;
                return Ok(order);
            }
            StressCommand::Connect(ConnectArgs { common, warmup, messages, rate, size, reset }) => {
                let load = LoadArgs { warmup, messages, depth: Some(1), rate };
                (common, load, false, Words::Connect { size, reset })
            }
            StressCommand::Idle(IdleArgs { common }) => (common, none, false, Words::Silence),
            StressCommand::Compare { .. } => return Err("compare runs nothing".into()),
        };
        Order::new(common, load, udp, words)
    }
}

impl Order {
    fn new(common: Common, load: LoadArgs, udp: bool, words: Words) -> Result<Order, String> {
        let LoadArgs { warmup, messages, depth, rate } = load;
        if let (Some(sources), Some(to)) = (&common.source, Route::new(common.target.clone()).current())
            && !sources.fits(to)
        {
            return Err(format!(
                "{to} cannot be reached from --source {sources}: one is IPv4, the other IPv6"
            ));
        }
        let per_connection =
            matches!(words, Words::Request { per_connection: true, .. } | Words::Connect { .. });
        let depth = match depth {
            Some(depth) if per_connection && depth > 1 => {
                return Err("--per-connection allows only one message at a time: --depth must be 1".into());
            }
            _ if per_connection => 1,
            Some(depth) => depth,
            None if rate.is_some() && words.may_overlap(udp) => OPEN_DEPTH,
            None => 1,
        };
        let load = match (&words, rate) {
            (Words::Silence, _) => Load::Closed { depth: 0 },
            (_, Some(rate)) => Load::Open { rate, depth },
            (_, None) => Load::Closed { depth },
        };
        let length = messages.map_or(Length::For(common.duration), Length::Messages);
        let plan = Plan {
            connections: common.connections,
            load,
            ramp: common.ramp,
            settle: Duration::ZERO,
            warmup,
            length,
            timeout: common.timeout,
            interval: common.interval.unwrap_or_else(|| length.interval()),
            seed: common.seed.unwrap_or_else(any_seed),
            sources: common.source.clone(),
        };
        check(&words, &plan, udp)?;
        Ok(Order { common, words, udp, plan })
    }

    pub fn settings(&self) -> Settings {
        let plan = &self.plan;
        let (duration_s, messages) = match plan.length {
            Length::For(time) => (Some(time.as_secs_f64()), None),
            Length::Messages(count) => (None, Some(count)),
        };
        let mut settings = Settings {
            transport: if self.udp { "udp" } else { "tcp" }.into(),
            target: self.common.target.to_string(),
            connections: plan.connections,
            depth: plan.load.depth(),
            rate: match plan.load {
                Load::Open { rate, .. } => Some(rate),
                Load::Closed { .. } => None,
            },
            ramp_s: plan.ramp.as_secs_f64(),
            warmup_s: plan.warmup.as_secs_f64(),
            duration_s,
            messages,
            timeout_s: plan.timeout.as_secs_f64(),
            seed: plan.seed,
            source: plan.sources.as_ref().map(Sources::to_string),
            interval_s: Some(plan.interval.as_secs_f64()),
            ..Settings::default()
        };
        let (scenario, size) = match &self.words {
            Words::Echo { size } => ("echo", Some(*size)),
            Words::Request { send, expected, per_connection } => {
                settings.send = Some(escape(send));
                settings.per_connection = Some(*per_connection);
                match expected {
                    Expected::Text(text) => settings.expect = Some(escape(text)),
                    Expected::Pattern(pattern) => settings.expect_regex = Some(pattern.to_string()),
                    Expected::Anything => {}
                }
                ("request", Some(send.len()))
            }
            Words::Chat { size, senders, echo_to_sender } => {
                settings.senders = Some(*senders);
                settings.echo_to_sender = Some(*echo_to_sender);
                settings.settle_s = Some(plan.settle.as_secs_f64());
                ("chat", Some(*size))
            }
            Words::Connect { size, reset } => {
                settings.reset = Some(*reset);
                ("connect", Some(*size))
            }
            Words::Silence => ("idle", None),
        };
        Settings { scenario: scenario.into(), size, ..settings }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a whole number, at least 1".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim_end_matches("/s").parse::<f64>() {
        Ok(rate) if (0.001..=FASTEST).contains(&rate) => Ok(rate),
        _ => Err("it must be a number of messages per second, from 0.001 to 10000000".into()),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("it must be longer than 0".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if time >= SHORTEST_INTERVAL => Ok(time),
        Ok(_) => Err(format!("it must be at least {}", format_duration(SHORTEST_INTERVAL))),
        Err(error) => Err(error.to_string()),
    }
}
