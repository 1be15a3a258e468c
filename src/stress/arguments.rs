//! The command line of `onepoll stress`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use onepoll::config::{format_duration, parse_duration};

use super::fail_if::Condition;
use super::host;
use super::metrics::Metric;
use super::payload::mix;
use super::plan::{Length, Load, Plan, SHORTEST_INTERVAL, Sources};
use super::report::files::Files;
use super::report::summary::Settings;
use super::run::Run;
use super::scenario::{Scenario, Shape, Style};
use super::scenarios::chat::ChatArgs;
use super::scenarios::connect::ConnectArgs;
use super::scenarios::echo::EchoArgs;
use super::scenarios::idle::IdleArgs;
use super::scenarios::request::RequestArgs;
use super::talk::Talk;
use crate::client::target::{Route, Target};

/// Requests per second that one core could conceivably send.
const FASTEST: f64 = 10_000_000.0;
/// Requests in flight per connection in an open loop, unless the user says
/// otherwise.
const OPEN_DEPTH: usize = 64;
const GIB: u64 = 1024 * 1024 * 1024;
/// How much the connections may have to hold of messages that the server does not
/// read.
const MOST_HELD: u64 = 4 * GIB;

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
    /// 5. The exit status is 1 if the second is worse, or has faults that the first
    /// has not.
    Compare {
        /// The summary to compare with
        a: PathBuf,
        /// The summary to judge
        b: PathBuf,
        /// Exit with status 3 if this holds for the ratio of the second to the first,
        /// as in 'p99>1.2'
        #[arg(long, value_name = "CONDITION", value_parser = Condition::on_ratio)]
        fail_if: Vec<Condition>,
    },
}

#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The server; put an IPv6 address in brackets, as in [::1]:3333
    #[arg(value_name = "HOST:PORT")]
    pub target: Target,
    /// How many connections to hold at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least::<usize>)]
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
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least::<usize>)]
    pub repeat: usize,
    #[arg(long, value_name = "CONDITION", help = fail_if_help())]
    pub fail_if: Vec<Condition>,
    #[command(flatten)]
    pub files: Files,
}

fn fail_if_help() -> String {
    format!(
        "Exit with status 3 if this holds for any run, as in 'p99>20ms' or 'errors>0': {}",
        Metric::names()
    )
}

#[derive(Debug, Clone, Args)]
pub struct LoadArgs {
    /// How long to put the server under load before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub warmup: Duration,
    /// Measure this many messages instead of a period of time
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = at_least::<u64>)]
    pub messages: Option<u64>,
    /// Messages in flight per connection; the next one is sent when one comes
    /// back [default: 1, or 64 with --rate if answers can be told apart]
    #[arg(long, value_name = "D", value_parser = at_least::<usize>)]
    pub depth: Option<usize>,
    /// Send this many messages per second over all connections, on an even
    /// schedule, whether or not earlier ones have come back
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
}

/// A different seed each time, so that two runs in one room can be told apart.
fn any_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    mix(now.as_nanos() as u64 ^ u64::from(std::process::id()) << 48) % 1_000_000
}

/// A command line that has been checked.
pub struct Order {
    pub common: Common,
    pub plan: Plan,
    pub shape: Shape,
    pub settings: Settings,
    /// Hosts the scenario's conversation until the run is over.
    pub host: Box<dyn Fn(Run) -> Result<(), String>>,
}

impl StressCommand {
    /// Checks how the options fit together.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn order(self) -> Result<Order, String> {
        match self {
            StressCommand::Echo(args) => Order::new(args.common.clone(), Some(args.load.clone()), args),
            StressCommand::Request(args) => Order::new(args.common.clone(), Some(args.load.clone()), args),
            StressCommand::Chat(args) => Order::new(args.common.clone(), Some(args.load.clone()), args),
            StressCommand::Connect(args) => Order::new(args.common.clone(), Some(args.load()), args),
            StressCommand::Idle(args) => Order::new(args.common.clone(), None, args),
            StressCommand::Compare { .. } => Err("compare runs nothing".into()),
        }
    }
}

impl Order {
    /// `load` is what is sent, if anything is.
    fn new<S: Scenario>(common: Common, load: Option<LoadArgs>, scenario: S) -> Result<Order, String> {
        let shape = scenario.shape();
        if let (Some(sources), Some(to)) = (&common.source, Route::new(common.target.clone()).current())
            && !sources.fits(to)
        {
            return Err(format!(
                "{to} cannot be reached from --source {sources}: one is IPv4, the other IPv6"
            ));
        }
        let is_silent = load.is_none();
        let none = LoadArgs { warmup: Duration::ZERO, messages: None, depth: None, rate: None };
        let LoadArgs { warmup, messages, depth, rate } = load.unwrap_or(none);
        let is_churn = matches!(shape.style, Style::Churn { .. });
        let depth = match depth {
            Some(depth) if is_churn && depth > 1 => {
                return Err("--per-connection allows only one message at a time: --depth must be 1".into());
            }
            _ if is_churn => 1,
            _ if is_silent => 0,
            Some(depth) => depth,
            None if rate.is_some() && shape.may_overlap => OPEN_DEPTH,
            None => 1,
        };
        let load = rate.map_or(Load::Closed { depth }, |rate| Load::Open { rate, depth });
        let length = messages.map_or(Length::For(common.duration), Length::Messages);
        let plan = Plan {
            connections: common.connections,
            load,
            ramp: common.ramp,
            settle: shape.settle,
            warmup,
            length,
            timeout: common.timeout,
            interval: common.interval.unwrap_or_else(|| length.interval()),
            seed: common.seed.unwrap_or_else(any_seed),
            sources: common.source.clone(),
        };
        scenario.check(&plan)?;
        check_memory(scenario.held(&plan), &plan, &shape)?;
        let mut settings = settings(&common, &plan, &shape);
        scenario.describe(&mut settings);
        let timeout = plan.timeout;
        let for_host = plan.clone();
        let host =
            Box::new(move |run| host(Talk::new(run, scenario.conversation(&for_host), shape), timeout));
        Ok(Order { common, plan, shape, settings, host })
    }
}

/// Checks what the connections may have to hold of messages that the server does not
/// read; over UDP nothing is held.
fn check_memory((size, holders): (usize, usize), plan: &Plan, shape: &Shape) -> Result<(), String> {
    let depth = plan.load.depth();
    let held = [size, holders, depth].iter().fold(1u64, |held, part| held.saturating_mul(*part as u64));
    if shape.is_udp || held <= MOST_HELD {
        return Ok(());
    }
    let sending = if holders < plan.connections { "senders" } else { "connections" };
    Err(format!(
        "--depth {depth} on each of {holders} {sending}, in messages of {size} B, is {:.1} GiB, all of which must \
         be held in memory if the server does not read, and the limit is 4 GiB: use a smaller --depth, fewer \
         {sending} or shorter messages",
        held as f64 / GIB as f64
    ))
}

/// The settings that all scenarios have.
fn settings(common: &Common, plan: &Plan, shape: &Shape) -> Settings {
    let (duration_s, messages) = match plan.length {
        Length::For(time) => (Some(time.as_secs_f64()), None),
        Length::Messages(count) => (None, Some(count)),
    };
    Settings {
        scenario: shape.name.into(),
        transport: if shape.is_udp { "udp" } else { "tcp" }.into(),
        target: common.target.to_string(),
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
    }
}

pub fn at_least<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    match text.parse() {
        Ok(number) if number >= N::from(1) => Ok(number),
        _ => Err("it must be a whole number, at least 1".into()),
    }
}

pub fn rate(text: &str) -> Result<f64, String> {
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
