//! beacon: broadcasts a message at an interval.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Destination, Key, Plan, Settings, Value};
use crate::interfaces::{LOOPBACK_BROADCAST, broadcast_addresses};
use crate::service::{Context, DatagramSpec, Service, SocketId};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "beacon",
    about: "broadcasts a message at an interval",
    notes: "The port is the one that it sends to. IPv4 only.",
    tcp: None,
    udp: Some(37020),
    keys: &[MESSAGE, INTERVAL, ADDRESS],
    plan,
};

const MESSAGE: Key =
    Key { name: "message", value: Value::Default(r#""broadcast message""#), about: "What it sends." };

const INTERVAL: Key = Key {
    name: "interval",
    value: Value::Default(r#""1s""#),
    about: "The time from one datagram to the next.",
};

const ADDRESS: Key = Key {
    name: "address",
    value: Value::Sample(r#""127.255.255.255""#),
    about: "The destination: a broadcast address, or one host. If unset: 127.255.255.255 for a \
            beacon bound to loopback (::1 too), otherwise 255.255.255.255. For a beacon bound to \
            0.0.0.0 or ::, 255.255.255.255 stands for the broadcast address of every network.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let message = settings.get(&MESSAGE, values::message);
    let interval = settings.get(&INTERVAL, interval);
    let everybody = if settings.bind.is_loopback() { LOOPBACK_BROADCAST } else { Ipv4Addr::BROADCAST };
    let address = settings.get_or(&ADDRESS, everybody, destination);
    if settings.udp == Some(0) {
        settings.refuse("udp", "a beacon's port is the one that it sends to, so it cannot be 0");
    }
    settings.socket.broadcast = true;
    let destination = SocketAddr::from((address, settings.udp.unwrap_or(0)));
    let source = source(settings.bind, destination);
    let mut beacon = Beacon::new(message, interval, destination);
    if source.is_unspecified() {
        beacon = beacon.on_every_network(broadcast_addresses);
    }
    let sends_to = match beacon.networks {
        Some(_) => Destination::EveryNetwork(destination.port()),
        None => Destination::One(destination),
    };
    Plan {
        udp: vec![DatagramSpec::bound((source, 0).into())],
        sends_to: Some(sends_to),
        ..Plan::without_sockets(beacon)
    }
}

fn interval(value: &Toml<'_>) -> Read<Duration> {
    match values::duration(value)? {
        Duration::ZERO => Err("an interval of 0 would send without a pause; write it like \"1s\"".into()),
        interval => Ok(interval),
    }
}

/// Reads the destination, which is IPv4: IPv6 has no broadcast.
fn destination(value: &Toml<'_>) -> Read<Ipv4Addr> {
    match values::address(value)? {
        IpAddr::V6(address) => {
            Err(format!("{address} is IPv6, which has no broadcast; give an IPv4 address"))
        }
        IpAddr::V4(address) if address.is_multicast() => {
            Err(format!("{address} is a multicast group; give a broadcast address or one host's"))
        }
        IpAddr::V4(address) if address.is_unspecified() => {
            Err(format!("{address} is not a host's address; give a broadcast address or one host's"))
        }
        IpAddr::V4(address) => Ok(address),
    }
}

/// The local address to send from: one that has a route to the destination.
fn source(bind: IpAddr, destination: SocketAddr) -> IpAddr {
    match bind {
        _ if destination.ip().is_loopback() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V4(bind) if !bind.is_loopback() => bind.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// How often the attached networks are listed: a machine may get its address after the
/// daemon has started.
const LIST_NETWORKS_EVERY: Duration = Duration::from_secs(5);

/// Lists the broadcast address of each attached network.
pub type ListNetworks = fn() -> io::Result<Vec<Ipv4Addr>>;

/// The beacon service: one socket that only sends.
#[derive(Debug)]
pub struct Beacon {
    message: String,
    interval: Duration,
    destination: SocketAddr,
    networks: Option<Networks>,
    socket: Option<SocketId>,
    /// When the next datagram is due.
    due: Option<Instant>,
}

/// The networks that 255.255.255.255 stands for.
#[derive(Debug)]
struct Networks {
    list: ListNetworks,
    addresses: Vec<Ipv4Addr>,
    listed: Option<Instant>,
}

impl Beacon {
    /// A beacon that sends a message to `destination` at an interval, which must not be zero.
    pub fn new(message: String, interval: Duration, destination: SocketAddr) -> Beacon {
        Beacon { message, interval, destination, networks: None, socket: None, due: None }
    }

    /// Replaces 255.255.255.255 by the broadcast address of each network, which needs no
    /// default route and reaches all of them.
    pub fn on_every_network(self, list: ListNetworks) -> Beacon {
        let is_for_all = self.destination.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
        let networks = is_for_all.then(|| Networks { list, addresses: Vec::new(), listed: None });
        Beacon { networks, ..self }
    }

    fn send(&mut self, socket: SocketId, cx: &mut Context<'_>) {
        let Beacon { message, destination, networks, .. } = self;
        let mut send_to = |address| cx.send_to(socket, address, message.as_bytes());
        match networks {
            None => send_to(*destination),
            Some(networks) => {
                for address in &networks.addresses {
                    send_to(SocketAddr::new((*address).into(), destination.port()));
                }
            }
        }
    }
}

impl Networks {
    fn refresh(&mut self, now: Instant) {
        if self.listed.is_some_and(|listed| now.duration_since(listed) < LIST_NETWORKS_EVERY) {
            return;
        }
        self.listed = Some(now);
        // If the kernel is out of memory or descriptors, the last list has to do.
        if let Ok(addresses) = (self.list)() {
            self.addresses = addresses;
        }
    }
}

impl Service for Beacon {
    type Session = ();

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, _: &mut Context<'_>) {
        self.socket = opened.ok().or(self.socket);
    }

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.set_tick(cx.now());
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(socket) = self.socket else { return };
        if let Some(networks) = &mut self.networks {
            networks.refresh(cx.now());
        }
        self.send(socket, cx);
        // On a fixed schedule, so that delays do not add up. Whatever was missed in a
        // long sleep is skipped.
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
    use crate::services::{configured, refused};
    use std::cell::RefCell;

    const DESTINATION: ([u8; 4], u16) = ([127, 255, 255, 255], 37_020);

    fn every_second(destination: SocketAddr) -> Beacon {
        Beacon::new("broadcast message".into(), Duration::from_secs(1), destination)
    }

    fn stage() -> Rehearsal<Beacon> {
        Rehearsal::new(every_second(DESTINATION.into()))
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

    #[test]
    fn it_needs_an_interval_and_somewhere_to_send() {
        let long = format!("udp = 1\nmessage = \"{}\"", "가".repeat(22_000));
        refused(
            &DESCRIPTION,
            &[
                ("udp = 1\ninterval = 0", (3, 12), "would send without a pause"),
                ("udp = 1\ninterval = \"0s\"", (3, 12), "would send without a pause"),
                ("udp = 0", (2, 7), "cannot be 0"),
                ("udp = 1\naddress = \"::1\"", (3, 11), "IPv6, which has no broadcast"),
                ("udp = 1\naddress = \"224.0.0.1\"", (3, 11), "multicast group"),
                ("udp = 1\naddress = \"0.0.0.0\"", (3, 11), "not a host's address"),
                (&long, (3, 11), "66000 bytes do not fit into a datagram"),
            ],
        );
    }

    #[test]
    fn it_stays_on_loopback_only_where_it_is_bound_there() {
        for (lines, destination) in [
            ("udp = 1", "127.255.255.255:1"),
            ("udp = 1\nbind = \"0.0.0.0\"", "255.255.255.255:1"),
            ("udp = 1\naddress = \"127.0.0.1\"", "127.0.0.1:1"),
            ("udp = 1\nbind = \"::1\"", "127.255.255.255:1"),
            ("udp = 1\nbind = \"::\"", "255.255.255.255:1"),
            ("udp = 1\nbind = \"2001:db8::1\"", "255.255.255.255:1"),
        ] {
            let service = configured(&DESCRIPTION, lines).unwrap();
            assert_eq!(service.plan.sends_to.unwrap().address().to_string(), destination, "{lines}");
            assert!(service.socket.broadcast && service.listens_on().is_empty());
        }
    }

    #[test]
    fn each_attached_network_is_sent_to_at_its_own_address_also_one_that_comes_later() {
        // A test runs in a thread of its own.
        thread_local!(static ATTACHED: RefCell<Vec<Ipv4Addr>> = const { RefCell::new(Vec::new()) });
        let attach = |addresses: &[[u8; 4]]| {
            ATTACHED.set(addresses.iter().map(|address| Ipv4Addr::from(*address)).collect());
        };
        let beacon = every_second((Ipv4Addr::BROADCAST, 37_020).into());
        attach(&[[192, 0, 2, 255]]);
        let mut stage = Rehearsal::new(beacon.on_every_network(|| Ok(ATTACHED.with_borrow(Clone::clone))));
        let mut hears = |after: Duration| {
            stage.pass(after);
            stage.datagrams().into_iter().map(|(to, _)| to.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(hears(Duration::ZERO), ["192.0.2.255:37020"]);
        attach(&[[192, 0, 2, 255], [198, 51, 100, 255]]);
        assert_eq!(hears(Duration::from_secs(5)).last().unwrap(), "198.51.100.255:37020");
    }

    #[test]
    fn one_network_that_is_named_is_the_only_one() {
        let beacon = every_second(DESTINATION.into());
        let mut stage = Rehearsal::new(beacon.on_every_network(|| panic!("nobody has to list them")));
        stage.pass(Duration::ZERO);
        assert_eq!(stage.datagrams(), [(DESTINATION.into(), b"broadcast message".to_vec())]);
    }
}
