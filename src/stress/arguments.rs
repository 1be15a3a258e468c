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

/// Requests a second that one core could conceivably send.
const FASTEST: f64 = 10_000_000.0;
/// An open loop's window, unless the user says otherwise.
const OPEN_DEPTH: usize = 64;

/// Put a server under load, check every answer, and measure
#[derive(Debug, Subcommand)]
pub enum StressCommand {
    /// Send messages that must come back as they are
    Echo(EchoArgs),
    /// Send a given message and expect a given answer
    Request(RequestArgs),
    /// Be a room: every line must reach every other member once and in order
    Chat(ChatArgs),
    /// Connect, send a message that must come back, close, and again
    Connect(ConnectArgs),
    /// Hold connections open that say nothing
    Idle(IdleArgs),
    /// Compare two summaries written by --json
    ///
    /// A difference counts where it is larger than each side's spread: use --repeat 5.
    Compare {
        /// The summary that is the measure
        a: PathBuf,
        /// The summary that is held against it
        b: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Common {
    /// The server; an IPv6 address stands in brackets, as in [::1]:3333
    #[arg(value_name = "HOST:PORT")]
    pub target: Target,
    /// Connections at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    pub connections: usize,
    /// Open them evenly over this time; load begins when all are open
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    pub duration: Duration,
    /// How long an answer may take, and connecting: longer is an error
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = some_time)]
    pub timeout: Duration,
    /// Connect from these addresses in turn, as in 127.0.0.0/8: one address has
    /// about 28,000 ports
    #[arg(long, value_name = "NETWORK")]
    pub source: Option<Sources>,
    /// Decides every byte that echo, chat and connect send (default: another one
    /// each time, which the title tells; two runs in one room must differ)
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The time between two records of --ndjson and --hdr, and two points of
    /// --report, 10ms at least (default: a tenth of what is measured, at most
    /// 1s; with --messages 100ms)
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub interval: Option<Duration>,
    /// Do it all so many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub repeat: usize,
    /// End with status 3 if this holds in any run, as in 'p99>20ms' or 'errors>0'
    #[arg(long, value_name = "CONDITION")]
    pub fail_if: Vec<Condition>,
    #[command(flatten)]
    pub files: Files,
}

#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Load without measuring first
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Measure so many messages instead of a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Messages under way on a connection; the next is sent when one came back
    /// (default 1; with --rate 64, where each answer can be told from the next)
    #[arg(long, value_name = "D", value_parser = at_least_one)]
    depth: Option<usize>,
    /// Send so many a second over all connections, on an even schedule, whether
    /// or not earlier ones came back
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
}

#[derive(Debug, Args)]
pub struct EchoArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
    /// Use UDP instead of TCP: a socket for each connection, and a message that
    /// has no answer within --timeout is lost
    #[arg(long)]
    udp: bool,
    /// Bytes of a message
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
    /// Use UDP instead of TCP: a socket for each connection, and a message that
    /// has no answer within --timeout is lost
    #[arg(long)]
    udp: bool,
    /// What to send; \n, \r, \t, \0, \\ and \xHH stand for what they do in C
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    send: String,
    /// The answer, byte for byte
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "expect_regex")]
    expect: Option<String>,
    /// A pattern that the answer matches; over TCP it is whole when it does.
    /// It may match any part: anchor it (^...$) where it has to match the whole
    /// answer
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    expect_regex: Option<Regex>,
    /// A new connection for each message, for servers that close after one
    #[arg(long, conflicts_with = "udp")]
    per_connection: bool,
}

#[derive(Debug, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    load: LoadArgs,
    /// Bytes of a line, with its end
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
    /// Members that speak
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = at_least_one)]
    senders: usize,
    /// The server sends a line to its sender too
    #[arg(long)]
    echo_to_sender: bool,
    /// How long to be silent once all are connected, so that the server has
    /// made members of all
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    settle: Duration,
}

#[derive(Debug, Args)]
pub struct ConnectArgs {
    #[command(flatten)]
    common: Common,
    /// Load without measuring first
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Measure so many conversations instead of a time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,
    /// Begin so many conversations a second, on an even schedule
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Bytes of the message
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

/// What a scenario says, without the load.
#[derive(Debug)]
pub enum Words {
    Echo { size: usize },
    Request { send: Vec<u8>, expected: Expected, per_connection: bool },
    Chat { size: usize, senders: usize, echo_to_sender: bool },
    Connect { size: usize, reset: bool },
    Silence,
}

impl Words {
    /// Whether several messages may be under way, unless the user says otherwise.
    /// A request's answer does not tell which one it is for: where a datagram
    /// is lost, the next answer would be taken for its.
    fn may_overlap(&self, udp: bool) -> bool {
        self.answers_have_an_end(udp) && !(udp && matches!(self, Words::Request { .. }))
    }

    /// Whether it can be told where an answer ends and the next begins.
    pub fn answers_have_an_end(&self, udp: bool) -> bool {
        udp || !matches!(self, Words::Request { expected: Expected::Pattern(_) | Expected::Anything, .. })
    }
}

/// Another one each time, so that two runs in one room are told apart.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    mix(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 48) % 1_000_000
}

/// A command line that was checked.
#[derive(Debug)]
pub struct Order {
    pub common: Common,
    pub words: Words,
    pub udp: bool,
    pub plan: Plan,
}

impl StressCommand {
    /// Checks what one option alone cannot tell.
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
            return Err(format!("{to} cannot be reached from --source {sources}: it is of the other family"));
        }
        let per_connection =
            matches!(words, Words::Request { per_connection: true, .. } | Words::Connect { .. });
        let depth = match depth {
            Some(depth) if per_connection && depth > 1 => {
                return Err("--per-connection leaves room for one message only: --depth is 1".into());
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
        _ => Err("it is a whole number from 1 on".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.trim_end_matches("/s").parse::<f64>() {
        Ok(rate) if (0.001..=FASTEST).contains(&rate) => Ok(rate),
        _ => Err("it is a number of messages a second, from 0.001 to 10000000".into()),
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
        Ok(_) => Err(format!("the least is {}", format_duration(SHORTEST_INTERVAL))),
        Err(error) => Err(error.to_string()),
    }
}
