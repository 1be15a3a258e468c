//! `onepoll serve`: from the command line to a running reactor.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use log::LevelFilter;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use onepoll::config::{
    self, Config, ConfigErrors, Destination, Overrides, PortOverride, Reach, ServiceConfig,
};
use onepoll::files;
use onepoll::hosting;
use onepoll::interfaces::{broadcast_addresses, in_place_of, interfaces_up};
use onepoll::reactor::{self, Reactor};
use onepoll::service::{Bound, Lane};
use onepoll::services::CATALOG;
use onepoll::wire::json;

use crate::{Failure, heap, logging, memory_limit, output, signals};

/// Connections are accepted before they are turned away.
const TURNED_AWAY: u64 = reactor::MOST_OVER_LIMIT as u64;
/// The time zone is read again now and then, by the loop and by the thread of the log.
const TIME_ZONES: u64 = 2;
/// A beacon lists the networks through a socket.
const NETWORK_LISTS: u64 = 1;
/// A thread that looks up a name opens a file, and a socket to a name server.
const OFFLOADED: u64 = 2 * Lane::Lookup.threads() as u64;
/// What is opened while the daemon serves, besides connections and what is in [`Opened`].
/// Everything else is open before: the poll, the sockets of the services, the spare
/// descriptor.
const OPENED_LATER: u64 = TURNED_AWAY + TIME_ZONES + NETWORK_LISTS + OFFLOADED;
/// What a thread that works on a file has open besides: the directory, to list or sync it;
/// where a file is read ahead to; a file that turns out to be open already.
const BESIDE_FILES: u64 = (Lane::Read.threads() + Lane::Write.threads() + Lane::Hash.threads()) as u64;

#[derive(Args)]
pub struct ServeArgs {
    /// The config file (- is standard input); without it, every service runs on its
    /// default ports
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to bind to [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    bind: Option<IpAddr>,
    /// Serve only these services, separated by commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Use other ports, separated by commas; 0 takes a free one
    #[arg(long = "port", value_name = "NAME[/tcp|/udp]=PORT", value_delimiter = ',')]
    ports: Vec<PortOverride>,
    /// Print one line of JSON with the addresses on standard output
    #[arg(long)]
    announce: bool,
    /// Log the start and end of each connection and UDP conversation (if RUST_LOG is set,
    /// it decides instead)
    #[arg(short, long)]
    verbose: bool,
}

/// One line of the start-up table.
struct Served {
    name: String,
    kind: &'static str,
    bound: Bound,
    sends_to: Option<Destination>,
}

/// What the services open for their clients.
#[derive(Default)]
struct Opened {
    has_files: bool,
    sockets: usize,
}

impl Opened {
    fn add(&mut self, service: &ServiceConfig) {
        self.has_files |= service.kind.has_files();
        self.sockets += service.plan.opens;
    }

    /// How many descriptors are kept free for it. Sockets have an eighth of all at most:
    /// where there is none left for one, its client is told.
    fn descriptors(&self, all: u64) -> u64 {
        let files = if self.has_files { files::most_open(all) as u64 + BESIDE_FILES } else { 0 };
        files + (self.sockets as u64).min(all / 8)
    }
}

/// Serves until it is told to end.
pub fn serve(arguments: &ServeArgs) -> Result<(), Failure> {
    heap::limit_arenas();
    logging::start(if arguments.verbose { LevelFilter::Debug } else { LevelFilter::Info });
    let descriptors = raise_descriptor_limit();
    let config = load(arguments).map_err(Failure::usage)?;
    let mut reactor = Reactor::new().map_err(Failure::at_run_time)?;
    signals::watch_as_daemon(&mut reactor).map_err(Failure::at_run_time)?;
    let memory = config.memory.unwrap_or_else(memory_limit::automatic);
    reactor.set_memory_budget(memory);
    reactor.give_memory_back_by(heap::give_back);
    let mut wanted = vec![(String::new(), config.limits.connections)];
    let (mut served, mut reach, mut opened) = (Vec::new(), Vec::new(), Opened::default());
    for service in config.services {
        opened.add(&service);
        wanted.push((format!("{}: ", service.name), service.limits.connections));
        let (name, kind) = (service.name.clone(), service.kind.name);
        let (its_reach, sends_to) = (Reach::of(&service), service.plan.sends_to);
        let sockets = match hosting::host(&mut reactor, service) {
            Ok(sockets) => sockets,
            Err(error) if error.is_about_joining() => {
                log::warn!(
                    "{error}. It is not served; to serve it, set interface in [services.{name}] to the address of a network that is up"
                );
                continue;
            }
            Err(error) => return Err(Failure::at_run_time(error)),
        };
        reach.push(its_reach);
        served.extend(sockets.into_iter().map(|bound| Served { name: name.clone(), kind, bound, sends_to }));
    }
    if served.is_empty() {
        return Err(Failure::at_run_time("nothing is left to serve"));
    }
    let possible = possible_connections(descriptors, &opened);
    reactor.set_max_connections(within(possible, wanted[0].1));
    // One service cannot have more than the whole daemon.
    wanted.iter().for_each(|(whose, wanted)| warn_if_lowered(whose, *wanted, possible, descriptors));
    log_table(&served, &reach);
    log::debug!("clients may take {} of memory", config::format_size(memory));
    // From here on peers cause lines.
    logging::queue_lines();
    if arguments.announce {
        let failed = |error| Failure::at_run_time(format!("the announcement cannot be written: {error}"));
        output::print(&announcement(&served)).map_err(failed)?;
    }
    signals::run(&mut reactor).map_err(Failure::at_run_time)?;
    log::info!("ended");
    Ok(())
}

fn load(arguments: &ServeArgs) -> Result<Config, ConfigErrors> {
    let overrides = Overrides {
        bind: arguments.bind,
        only: arguments.only.clone(),
        ports: arguments.ports.clone(),
        ..Overrides::default()
    };
    match &arguments.config {
        Some(file) => read_config(file, &overrides),
        None => Config::built_in(CATALOG, &overrides),
    }
}

/// Reads a config file; `-` is standard input.
pub fn read_config(file: &Path, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    if file == Path::new("-") {
        return Config::read(CATALOG, io::stdin().lock(), Path::new("standard input"), overrides);
    }
    Config::load(CATALOG, file, overrides)
}

/// Raises the soft limit on open descriptors to the hard one, and returns what it is now.
fn raise_descriptor_limit() -> u64 {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(error) => {
            log::warn!("the limit of {soft} open descriptors cannot be raised to {hard}: {error}");
            soft
        }
    }
}

/// How many connections the descriptors allow, once everything that stays open is.
fn possible_connections(descriptors: u64, opened: &Opened) -> usize {
    let in_use =
        fs::read_dir("/proc/self/fd").or_else(|_| fs::read_dir("/dev/fd")).map_or(64, |list| list.count());
    let kept = OPENED_LATER + opened.descriptors(descriptors);
    descriptors.saturating_sub(in_use as u64 + kept).max(1) as usize
}

/// The limit on connections: what is wanted, or what is possible if that is less or
/// nothing is wanted.
fn within(possible: usize, wanted: usize) -> usize {
    if wanted == 0 { possible } else { wanted.min(possible) }
}

fn warn_if_lowered(whose: &str, wanted: usize, possible: usize, descriptors: u64) {
    if wanted > possible {
        log::warn!(
            "{whose}connections = {wanted} is lowered to {possible}: the system allows this program {descriptors} open descriptors (ulimit -n)"
        );
    }
}

fn log_table(served: &[Served], reach: &[Reach]) {
    // They are only shown: without them, 255.255.255.255 stands for them.
    let networks = broadcast_addresses().unwrap_or_default();
    let width = served.iter().map(|line| line.name.len()).max().unwrap_or(0).max("service".len());
    log::info!("{:<width$}  transport  address", "service");
    for Served { name, kind, bound, sends_to } in served {
        let address = sends_to.map_or(bound.address.to_string(), |to| to.in_table(&networks));
        let kind = if name == kind { String::new() } else { format!("  (kind {kind})") };
        log::info!("{name:<width$}  {:<9}  {}{kind}", bound.transport.to_string(), address);
    }
    for sentence in config::reachable(reach, &networks).into_iter().chain(addresses_to_type(served)) {
        log::info!("{sentence}");
    }
}

/// Says what to type in place of the wildcard addresses in the table.
fn addresses_to_type(served: &[Served]) -> Vec<String> {
    let addresses = served.iter().map(|line| line.bound.address.ip());
    let wildcards: BTreeSet<_> = addresses.filter(IpAddr::is_unspecified).collect();
    if wildcards.is_empty() {
        return Vec::new();
    }
    match interfaces_up() {
        Ok(interfaces) => wildcards.into_iter().map(|wildcard| in_place_of(wildcard, &interfaces)).collect(),
        Err(error) => vec![format!("The addresses of this machine cannot be listed: {error}.")],
    }
}

/// The line of `--announce`.
fn announcement(served: &[Served]) -> String {
    let mut line = b"{\"services\":[".to_vec();
    for (number, Served { name, kind, bound, .. }) in served.iter().enumerate() {
        if number > 0 {
            line.push(b',');
        }
        let addr = bound.address.to_string();
        let transport = bound.transport.to_string();
        let fields = [("name", name.as_str()), ("kind", kind), ("transport", &transport), ("addr", &addr)];
        for (at, (key, value)) in fields.into_iter().enumerate() {
            line.extend_from_slice(if at == 0 { b"{\"" } else { b",\"" });
            line.extend_from_slice(key.as_bytes());
            line.extend_from_slice(b"\":");
            json::quote(value, &mut line);
        }
        line.push(b'}');
    }
    line.extend_from_slice(b"]}\n");
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use onepoll::reactor::Transport;

    #[test]
    fn the_announcement_is_one_line_of_json() {
        let served = Served {
            name: "메아리".into(),
            kind: "echo",
            bound: Bound { transport: Transport::Tcp, address: ([127, 0, 0, 1], 3333).into() },
            sends_to: None,
        };
        let line = announcement(&[served]);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["services"][0]["name"], "메아리");
        assert_eq!(value["services"][0]["addr"], "127.0.0.1:3333");
        assert_eq!(line.matches('\n').count(), 1);
    }
}
