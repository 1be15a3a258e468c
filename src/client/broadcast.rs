//! `onepoll broadcast send` and `onepoll broadcast listen`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use onepoll::config::{UnitError, parse_duration};
use onepoll::reactor::{DatagramSpec, SocketId, SocketOptions};
use onepoll::service::{Context, Service};

use super::destinations::broadcast_destinations;
use super::screen::print_line;
use super::target::{Route, cause};
use super::{ClientError, Run, run_service};
use crate::output::remark;

/// The time between two datagrams if only `--count` is given.
const EVERY: Duration = Duration::from_secs(1);

/// Send broadcasts, or listen to them
#[derive(Debug, Parser)]
#[command(name = "broadcast")]
pub struct BroadcastCommand {
    #[command(subcommand)]
    action: Action,
}

/// What to do with broadcasts.
#[derive(Debug, Subcommand)]
enum Action {
    /// Send a message to everybody, once or repeatedly
    Send(SendArgs),
    /// Print what is broadcast on a port, until Ctrl-C
    Listen(ListenArgs),
}

/// The command line of `broadcast send`.
#[derive(Debug, Args)]
struct SendArgs {
    /// A broadcast address of IPv4, as in 255.255.255.255:37020; 127.255.255.255 stays on this machine
    #[arg(value_name = "ADDR:PORT", value_parser = parse_address)]
    to: SocketAddrV4,
    /// What to send
    message: OsString,
    /// Repeat it at this interval, until Ctrl-C or --count
    #[arg(long, value_name = "INTERVAL", value_parser = parse_interval)]
    every: Option<Duration>,
    /// Send it this many times (without --every, 1s apart)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// The command line of `broadcast listen`.
#[derive(Debug, Args)]
struct ListenArgs {
    /// The port to listen on
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn parse_address(text: &str) -> Result<SocketAddrV4, &'static str> {
    match text.parse() {
        Ok(SocketAddr::V4(address)) if address.port() > 0 => Ok(address),
        Ok(SocketAddr::V6(_)) => Err("IPv6 has no broadcast; use onepoll multicast send"),
        _ => Err("write an IPv4 address and a port, as in 255.255.255.255:37020"),
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text).map_err(|error: UnitError| error.to_string())?;
    if interval.is_zero() { Err("the interval is at least 1ms".into()) } else { Ok(interval) }
}

impl Run for BroadcastCommand {
    /// Sends or listens.
    fn run(self) -> Result<(), ClientError> {
        match self.action {
            Action::Send(SendArgs { to, message, every, count }) => {
                let count = count.or(if every.is_some() { None } else { Some(1) });
                let every = every.unwrap_or(EVERY);
                let message = message.into_vec();
                let (unopened, sockets) = (VecDeque::new(), Vec::new());
                let client = Send { to, message, every, left: count, unopened, sockets };
                run_service(
                    "broadcast",
                    client,
                    SocketOptions { broadcast: true, ..SocketOptions::default() },
                )
            }
            Action::Listen(ListenArgs { port, count }) => {
                run_service("broadcast", Listen { port, left: count }, SocketOptions::default())
            }
        }
    }
}

struct Send {
    to: SocketAddrV4,
    message: Vec<u8>,
    every: Duration,
    /// How many times it is still to be sent; `None` without a limit.
    left: Option<u64>,
    /// Destinations whose sockets were asked for, in this order.
    unopened: VecDeque<SocketAddrV4>,
    /// One socket for each destination that can be sent to.
    sockets: Vec<(SocketId, SocketAddrV4)>,
}

impl Service for Send {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        match broadcast_destinations(self.to) {
            Ok(destinations) => {
                for to in &destinations {
                    // Connected, so that the system reports a refusal.
                    cx.open_socket(0, DatagramSpec::connected((*to).into()));
                }
                self.unopened = destinations.into();
            }
            Err(error) => cx.fail(Route::to(self.to.into()).unreachable(&error)),
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        let asked_for = self.unopened.pop_front();
        let is_last = asked_for.is_some() && self.unopened.is_empty();
        match (asked_for, opened) {
            (Some(to), Ok(socket)) => self.sockets.push((socket, to)),
            // One destination that fails does not stop the others.
            (Some(_), Err(_)) if !is_last || !self.sockets.is_empty() => {}
            (None, Err(_)) if self.sockets.len() > 1 && cx.statistics().datagrams_sent > 0 => {}
            (_, Err(error)) => return cx.fail(Route::to(self.to.into()).unreachable(&error)),
            (None, Ok(_)) => {}
        }
        if is_last {
            self.tick(cx);
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        for (socket, to) in &self.sockets {
            cx.send_to(*socket, (*to).into(), &self.message);
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return cx.stop();
            }
        }
        cx.set_tick(cx.now() + self.every);
    }
}

struct Listen {
    port: u16,
    /// How many messages are still to be heard; `None` without a limit.
    left: Option<u64>,
}

impl Service for Listen {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        // Only the wildcard address hears every broadcast address.
        let everywhere = DatagramSpec::bound((Ipv4Addr::UNSPECIFIED, self.port).into());
        cx.open_socket(0, DatagramSpec { listens_only: true, ..everywhere });
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        let port = self.port;
        match opened {
            Ok(_) => remark(&format!("listening on port {port}; Ctrl-C ends it")),
            Err(error) => cx.fail(not_bound(port, &error)),
        }
    }

    fn datagram(&mut self, _: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if self.left == Some(0) || !print_line(&[format!("from {from}: ").as_bytes(), datagram].concat(), cx)
        {
            return;
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                cx.stop();
            }
        }
    }
}

/// Why a port cannot be listened on, as a sentence.
pub(super) fn not_bound(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} is used by a program that does not share it; end that program first")
        }
        io::ErrorKind::PermissionDenied => {
            format!("the system does not permit listening on port {port}: choose one above 1023")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("port {port} cannot be listened on: this machine has no such address or interface")
        }
        _ => format!("port {port} cannot be listened on: {}", cause(error)),
    }
}
