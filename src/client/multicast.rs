//! `onepoll multicast send` and `onepoll multicast listen` (RFC 1112).

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;

use clap::{Args, Parser, Subcommand};
use onepoll::reactor::{DatagramSpec, Multicast, SocketId, SocketOptions};
use onepoll::service::{Context, LARGEST_DATAGRAM, Service, any_address};

use super::broadcast::not_bound;
use super::destinations::multicast_interfaces;
use super::screen::print_line;
use super::target::cause;
use super::{ClientError, Run, Timeout, parse_time_to_gather, run_service};
use crate::output::remark;

/// Send to a multicast group, or listen to it
#[derive(Debug, Parser)]
#[command(name = "multicast")]
pub struct MulticastCommand {
    #[command(subcommand)]
    action: Action,
}

/// What to do with a group.
#[derive(Debug, Subcommand)]
enum Action {
    /// Send a message to a group and print who answers
    Send(SendArgs),
    /// Join a group and print what is sent to it, until Ctrl-C
    Listen(ListenArgs),
}

/// The command line of `multicast send`.
#[derive(Debug, Args)]
struct SendArgs {
    /// The group, as in 224.0.0.255:5005
    #[arg(value_name = "GROUP:PORT", value_parser = parse_group)]
    group: SocketAddr,
    /// What to send
    message: OsString,
    /// How many networks it may cross, counting this one [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    ttl: Option<u32>,
    /// The address of the interface to send from; 127.0.0.1 stays on this machine [default: the network and this machine]
    #[arg(long, value_name = "IP")]
    interface: Option<IpAddr>,
    /// How long to wait for answers
    #[arg(long, value_parser = parse_time_to_gather, default_value = "500ms")]
    timeout: Timeout,
}

/// The command line of `multicast listen`.
#[derive(Debug, Args)]
struct ListenArgs {
    /// The group, as in 224.0.0.255:5005
    #[arg(value_name = "GROUP:PORT", value_parser = parse_group)]
    group: SocketAddr,
    /// The address of the interface to listen on
    #[arg(long, value_name = "IP")]
    interface: Option<IpAddr>,
    /// Answer each message with ACK
    #[arg(long)]
    ack: bool,
}

fn parse_group(text: &str) -> Result<SocketAddr, &'static str> {
    match text.parse::<SocketAddr>() {
        Ok(group) if !group.ip().is_multicast() => {
            Err("this is not a multicast address; those are 224.0.0.0 to 239.255.255.255, and ff00::/8")
        }
        Ok(group) if group.port() > 0 => Ok(group),
        _ => Err("write a group's address and a port, as in 224.0.0.255:5005"),
    }
}

impl Run for MulticastCommand {
    /// Sends or listens.
    fn run(self) -> Result<(), ClientError> {
        match self.action {
            Action::Send(SendArgs { group, message, ttl, interface, timeout }) => {
                let message = message.into_vec();
                let client = Send {
                    group,
                    message,
                    interface,
                    timeout,
                    unopened: 0,
                    sent: 0,
                    answers: 0,
                    is_unsent: false,
                };
                run_service("multicast", client, SocketOptions { ttl, ..SocketOptions::default() })
            }
            Action::Listen(ListenArgs { group, interface, ack }) => {
                run_service("multicast", Listen { group, interface, ack }, SocketOptions::default())
            }
        }
    }
}

/// Says that a group's interface does not exist, if that is the error.
fn no_interface(group: SocketAddr, interface: Option<IpAddr>, error: &io::Error) -> Option<String> {
    let is_missing = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::NotFound);
    if !is_missing && error.raw_os_error() != Some(nix::libc::ENODEV) {
        return None;
    }
    Some(match interface {
        Some(address) => {
            format!(
                "no interface of this machine has the address {address}: give --interface one that it has"
            )
        }
        None => {
            format!("no network of this machine has a route to {group}: name an interface with --interface")
        }
    })
}

struct Send {
    group: SocketAddr,
    message: Vec<u8>,
    interface: Option<IpAddr>,
    timeout: Timeout,
    /// Sockets that were asked for, one for each interface.
    unopened: usize,
    /// Those that were opened, and sent from.
    sent: usize,
    answers: u64,
    /// The message did not go out.
    is_unsent: bool,
}

impl Send {
    fn open_socket(&mut self, spec: DatagramSpec, interface: Option<IpAddr>, cx: &mut Context<'_>) {
        self.unopened += 1;
        let multicast = Multicast { group: self.group.ip(), interface, join: false };
        cx.open_socket(0, DatagramSpec { multicast: Some(multicast), ..spec });
    }
}

impl Service for Send {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        let (group, length) = (self.group, self.message.len());
        if length > LARGEST_DATAGRAM {
            return cx.fail(format!(
                "the message to {group} has {length} bytes, too long for one datagram: send at most {LARGEST_DATAGRAM}"
            ));
        }
        let interfaces = match self.interface {
            Some(interface) => vec![Some(interface)],
            None => multicast_interfaces(group),
        };
        for interface in interfaces {
            self.open_socket(DatagramSpec::bound(any_address(group)), interface, cx);
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        self.unopened = self.unopened.saturating_sub(1);
        match opened {
            Ok(_) if self.is_unsent => {
                cx.fail(format!(
                    "the message to {} could not be sent: check the network, and --interface",
                    self.group
                ));
            }
            Ok(socket) => {
                self.sent += 1;
                cx.send_to(socket, self.group, &self.message);
                cx.set_tick(cx.now() + self.timeout.0);
            }
            // One interface that fails does not stop the others.
            Err(_) if !self.is_unsent && (self.unopened > 0 || self.sent > 0) => {}
            Err(error) => {
                let sentence = no_interface(self.group, self.interface, &error).unwrap_or_else(|| {
                    let (group, cause) = (self.group, cause(&error));
                    format!("nothing can be sent to {group}: {cause}; check the network, and --interface")
                });
                cx.fail(sentence);
            }
        }
    }

    fn datagram(&mut self, _: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        self.answers += 1;
        // If nobody reads it any more, the client ends by itself.
        let _ = print_line(&[format!("from {from}: ").as_bytes(), datagram].concat(), cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Send { group, timeout, .. } = *self;
        if self.answers > 0 {
            cx.stop();
        } else if cx.statistics().datagrams_sent == 0 {
            // Only a socket that knows its one peer is told why.
            self.is_unsent = true;
            self.open_socket(DatagramSpec::connected(self.group), self.interface, cx);
        } else {
            cx.fail(format!(
                "nobody in {group} answered within {timeout}: check that a member listens, and --interface"
            ));
        }
    }
}

/// The kernel leaves the group when the socket closes, however the client ends.
struct Listen {
    group: SocketAddr,
    interface: Option<IpAddr>,
    ack: bool,
}

impl Service for Listen {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        let group = self.group.ip();
        // Bound to the group, the socket hears nothing else on that port. For an IPv6
        // group that would take the interface's number, so there the membership alone
        // decides.
        let bind = if group.is_ipv4() { group } else { any_address(self.group).ip() };
        let multicast = Multicast { group, interface: self.interface, join: true };
        let spec = DatagramSpec::bound((bind, self.group.port()).into());
        cx.open_socket(0, DatagramSpec { multicast: Some(multicast), listens_only: !self.ack, ..spec });
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(_) => remark(&format!("listening to {}; Ctrl-C ends it", self.group)),
            Err(error) => {
                let sentence = no_interface(self.group, self.interface, &error);
                cx.fail(sentence.unwrap_or_else(|| not_bound(self.group.port(), &error)));
            }
        }
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if print_line(&[format!("from {from}: ").as_bytes(), datagram].concat(), cx) && self.ack {
            cx.send_to(on, from, b"ACK");
        }
    }
}
