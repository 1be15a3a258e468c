//! beacon: broadcasts a message at an interval.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::LOOPBACK_BROADCAST;
use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value};
use crate::service::{Context, DatagramPeer, DatagramSpec, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "beacon",
    about: "broadcasts a message at an interval",
    notes: "Its port is the one that it sends to. IPv4 only.",
    tcp: None,
    udp: Some(37020),
    keys: &[MESSAGE, INTERVAL, ADDRESS],
    plan,
};

const MESSAGE: Key =
    Key { name: "message", value: Value::Default(r#""broadcast message""#), about: "What it sends." };

const INTERVAL: Key =
    Key { name: "interval", value: Value::Default(r#""1s""#), about: "From one datagram to the next." };

const ADDRESS: Key = Key {
    name: "address",
    value: Value::Sample(r#""127.255.255.255""#),
    about: "Where it sends to: a broadcast address or one host. Without: 127.255.255.255 where it is \
            bound to loopback (::1 too), else 255.255.255.255.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let message = settings.get(&MESSAGE, values::message);
    let interval = settings.get(&INTERVAL, interval);
    let everybody = if settings.bind.is_loopback() { LOOPBACK_BROADCAST } else { Ipv4Addr::BROADCAST };
    let address = settings.get_or(&ADDRESS, everybody, destination);
    if settings.udp == Some(0) {
        settings.refuse("udp", "a beacon's port is the one it sends to, which cannot be 0");
    }
    settings.socket.broadcast = true;
    let destination = SocketAddr::from((address, settings.udp.unwrap_or(0)));
    Plan {
        udp: vec![DatagramSpec::bound((source(settings.bind, destination), 0).into())],
        sends_to: Some(destination),
        ..Plan::without_sockets(Beacon::new(message, interval, destination))
    }
}

fn interval(value: &Toml<'_>) -> Read<Duration> {
    match values::duration(value)? {
        Duration::ZERO => Err("an interval of 0 would send without end; write it like \"1s\"".into()),
        interval => Ok(interval),
    }
}

/// Where it sends to. IPv6 has no broadcast.
fn destination(value: &Toml<'_>) -> Read<Ipv4Addr> {
    match values::address(value)? {
        IpAddr::V6(address) => {
            Err(format!("{address} is IPv6, which has no broadcast; give an IPv4 address"))
        }
        IpAddr::V4(address) if address.is_multicast() => {
            Err(format!("{address} is a multicast group; give a broadcast address or one host's"))
        }
        IpAddr::V4(address) if address.is_unspecified() => {
            Err(format!("{address} is nobody's address; give a broadcast address or one host's"))
        }
        IpAddr::V4(address) => Ok(address),
    }
}

/// The local address of its socket: one that the destination can be reached from.
fn source(bind: IpAddr, destination: SocketAddr) -> IpAddr {
    match bind {
        _ if destination.ip().is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(bind) if !bind.is_loopback() => bind.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// The beacon service: one socket that only sends.
#[derive(Debug)]
pub struct Beacon {
    message: String,
    interval: Duration,
    destination: SocketAddr,
    socket: Option<SocketId>,
    /// When the next datagram is due.
    due: Option<Instant>,
}

impl Beacon {
    /// A beacon that sends a message to `destination` at an interval, which must not be zero.
    pub fn new(message: String, interval: Duration, destination: SocketAddr) -> Beacon {
        Beacon { message, interval, destination, socket: None, due: None }
    }
}

impl Service for Beacon {
    type Session = ();

    fn socket(&mut self, opened: io::Result<SocketId>, _: &mut Context<'_>) {
        self.socket = opened.ok().or(self.socket);
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.set_tick(cx.now());
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(socket) = self.socket else { return };
        let to = DatagramPeer { socket, address: self.destination, local: None };
        cx.send_to_peer(to, self.message.as_bytes());
        // By the schedule, so that lateness does not add up. After a long
        // sleep what was missed is left out.
        let next = self.due.unwrap_or(cx.now()) + self.interval;
        let next = if next > cx.now() { next } else { cx.now() + self.interval };
        self.due = Some(next);
        cx.set_tick(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Rehearsal;

    const DESTINATION: ([u8; 4], u16) = ([127, 255, 255, 255], 37_020);

    fn stage() -> Rehearsal<Beacon> {
        Rehearsal::new(Beacon::new("broadcast message".into(), Duration::from_secs(1), DESTINATION.into()))
    }

    #[test]
    fn it_sends_at_once_and_then_at_every_interval() {
        let mut stage = stage();
        stage.pass(Duration::ZERO);
        assert_eq!(stage.datagrams(), [(DESTINATION.into(), b"broadcast message".to_vec())]);
        stage.pass(Duration::from_millis(999));
        assert_eq!(stage.datagrams(), []);
        stage.pass(Duration::from_millis(1));
        assert_eq!(stage.datagrams().len(), 1);
        stage.pass(Duration::from_secs(100));
        assert_eq!(stage.datagrams().len(), 100);
    }

    #[test]
    fn a_late_tick_does_not_move_the_schedule() {
        let mut stage = stage();
        stage.pass(Duration::ZERO);
        stage.oversleep(Duration::from_millis(1_400));
        assert_eq!(stage.datagrams().len(), 2);
        stage.pass(Duration::from_millis(600));
        assert_eq!(stage.datagrams().len(), 1);
    }

    #[test]
    fn after_a_long_sleep_what_was_missed_is_left_out() {
        let mut stage = stage();
        stage.pass(Duration::ZERO);
        stage.oversleep(Duration::from_secs(3_600));
        assert_eq!(stage.datagrams().len(), 2);
        stage.pass(Duration::from_millis(999));
        assert_eq!(stage.datagrams(), []);
    }

    #[test]
    fn it_sends_from_where_its_destination_can_be_reached() {
        let source = |bind: &str, to: &str| {
            source(bind.parse().unwrap(), SocketAddr::new(to.parse().unwrap(), 1)).to_string()
        };
        assert_eq!(source("127.0.0.1", "127.255.255.255"), "127.0.0.1");
        assert_eq!(source("0.0.0.0", "127.255.255.255"), "127.0.0.1");
        assert_eq!(source("127.0.0.1", "192.0.2.255"), "0.0.0.0");
        assert_eq!(source("192.0.2.1", "255.255.255.255"), "192.0.2.1");
        assert_eq!(source("::", "255.255.255.255"), "0.0.0.0");
    }

    #[test]
    fn what_it_is_sent_is_not_answered() {
        let mut stage = stage();
        stage.datagrams();
        stage.datagram(([127, 0, 0, 1], 41_000).into(), b"hello");
        assert_eq!(stage.datagrams(), []);
    }
}
