//! `onepoll discover`: asks everybody on the network, and lists who answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use clap::Parser;
use onepoll::interfaces::LOOPBACK_BROADCAST;
use onepoll::reactor::{DatagramSpec, SocketId, SocketOptions};
use onepoll::service::{Context, Service};

use super::destinations::broadcast_destinations;
use super::screen::{print_line, visible_line};
use super::target::Route;
use super::{ClientError, Run, Timeout, parse_time_to_gather, run_service};

/// Any datagram asks; this one says so.
const QUESTION: &[u8] = b"discover";

/// Find the servers on this network and this machine by broadcast
#[derive(Debug, Parser)]
#[command(name = "discover")]
pub struct DiscoverCommand {
    /// The port that the servers listen on
    #[arg(long, value_name = "P", default_value_t = 37021, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Where to ask; 127.255.255.255 asks this machine only [default: the network and this machine]
    #[arg(long, value_name = "ADDR")]
    broadcast: Option<Ipv4Addr>,
    /// How long to wait for answers
    #[arg(long, value_parser = parse_time_to_gather, default_value = "3s")]
    timeout: Timeout,
}

impl Run for DiscoverCommand {
    /// Asks once and prints the answers in the order in which they come.
    fn run(self) -> Result<(), ClientError> {
        let DiscoverCommand { port, broadcast, timeout } = self;
        let addresses = match broadcast {
            Some(address) => vec![address],
            // A daemon bound to loopback does not hear the network's broadcasts.
            None => vec![Ipv4Addr::BROADCAST, LOOPBACK_BROADCAST],
        };
        let asked = addresses.into_iter().map(|address| SocketAddrV4::new(address, port)).collect();
        let client = Discover { asked, timeout, asked_at: None, answers: 0 };
        run_service("discover", client, SocketOptions { broadcast: true, ..SocketOptions::default() })
    }
}

struct Discover {
    asked: Vec<SocketAddrV4>,
    timeout: Timeout,
    asked_at: Option<Instant>,
    answers: u64,
}

impl Discover {
    /// Replaces the addresses to ask by destinations that have a route. If there is
    /// none, returns the first error.
    fn find_destinations(&mut self) -> Result<(), String> {
        let mut destinations = Vec::new();
        let mut failure = None;
        for address in std::mem::take(&mut self.asked) {
            match broadcast_destinations(address) {
                Ok(found) => destinations.extend(found),
                Err(error) => {
                    failure.get_or_insert_with(|| Route::to(address.into()).unreachable(&error));
                }
            }
        }
        self.asked = destinations;
        failure.filter(|_| self.asked.is_empty()).map_or(Ok(()), Err)
    }
}

fn row(address: &str, answer: &str, round_trip: &str) -> String {
    format!("{address:<22}{answer:<32}{round_trip}")
}

impl Service for Discover {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        match self.find_destinations() {
            Ok(()) => cx.open_socket(0, DatagramSpec::bound((Ipv4Addr::UNSPECIFIED, 0).into())),
            Err(sentence) => cx.fail(sentence),
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(socket) => {
                for to in &self.asked {
                    cx.send_to(socket, (*to).into(), QUESTION);
                }
                self.asked_at = Some(cx.now());
                cx.set_tick(cx.now() + self.timeout.0);
            }
            Err(error) => cx.fail(format!("a UDP socket cannot be opened: {error}")),
        }
    }

    fn datagram(&mut self, _: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if self.answers == 0 && !print_line(row("ADDRESS", "ANSWER", "ROUND TRIP").as_bytes(), cx) {
            return;
        }
        self.answers += 1;
        let took = self.asked_at.map_or_else(Default::default, |asked_at| cx.now().duration_since(asked_at));
        let took = format!("{:.3} ms", took.as_secs_f64() * 1000.0);
        // If nobody reads it any more, the client ends by itself.
        let _ = print_line(row(&from.to_string(), &visible_line(datagram), &took).as_bytes(), cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let timeout = self.timeout;
        let asked: Vec<String> = self.asked.iter().map(SocketAddrV4::to_string).collect();
        let asked = asked.join(" or ");
        if self.answers > 0 {
            cx.stop();
        } else if cx.statistics().datagrams_sent == 0 {
            cx.fail(format!("the question to {asked} could not be sent: check the address and the network"));
        } else {
            cx.fail(format!(
                "nobody at {asked} answered within {timeout}: check that a discovery server runs on this network and port"
            ));
        }
    }
}
