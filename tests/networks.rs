//! The daemon on networks of each shape: one without a default route, two at
//! once, none at all. Each test has a network namespace of its own.

#[path = "support/network.rs"]
mod network;
mod support;
#[path = "support/trials.rs"]
mod trials;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use network::{in_namespace, ip};
use nix::libc;
use onepoll::services::CATALOG;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use support::{Daemon, PATIENCE, config_file, connect, eventually, read_exactly, read_line};
use trials::trial;

const LAN: [&str; 2] = ["lan", "192.0.2.10/24"];
const OTHER_LAN: [&str; 2] = ["other", "198.51.100.10/24"];
const BEACON_PORT: u16 = 37020;
const DISCOVERY_PORT: u16 = 37021;
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 255), 5005);
const EVERYWHERE: &[&str] = &["--bind", "0.0.0.0"];

fn main() -> ExitCode {
    let tests: [(&str, fn()); 12] = [
        ("without_a_default_route_every_service_is_served", lan_without_default_route),
        ("a_beacon_reaches_each_of_two_networks", beacon_on_two_networks),
        ("a_group_is_heard_on_each_of_two_networks_and_on_loopback", group_on_two_networks),
        ("a_beacon_bound_to_one_network_stays_there", beacon_on_one_of_two_networks),
        ("discovery_bound_to_one_network_hears_its_broadcasts", discovery_on_one_of_two_networks),
        ("with_loopback_alone_every_service_is_served", loopback_alone),
        ("with_no_interface_up_all_but_the_group_is_served", no_interface),
        ("a_beacon_finds_a_network_that_comes_later", network_that_comes_later),
        ("one_address_of_the_network_has_a_quarter_of_the_connections", quarter_for_one_address),
        ("a_forged_member_of_a_chat_is_sent_no_more_than_its_account_allows", flood_of_a_chat),
        ("hosts_that_are_not_there_do_not_keep_others_from_being_answered", forged_questions),
        ("forged_members_of_a_chat_do_not_keep_an_honest_one_from_hearing", forged_joins_of_a_chat),
    ];
    if let Some(ended) = network::run_again_as_root() {
        return ended;
    }
    let obstacle = network::obstacle();
    let trials = tests.map(|(name, test)| trial(name, obstacle.clone(), move || in_namespace(test)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Attaches a network, at the other end of which nobody is.
fn attach([name, address]: [&str; 2]) {
    ip(&format!("link add {name} type veth peer name {name}-far"));
    ip(&format!("address add {address} dev {name}"));
    ip(&format!("link set {name} up"));
    ip(&format!("link set {name}-far up"));
}

/// A socket that hears what is sent to this address.
fn listener(address: &str, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((address, port)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    let mut bytes = [0; 100];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    (String::from_utf8_lossy(&bytes[..length]).into_owned(), from)
}

/// What is answered to a datagram from this address of ours.
fn ask(from: &str, to: (Ipv4Addr, u16)) -> (String, SocketAddr) {
    let socket = listener(from, 0);
    socket.set_broadcast(true).unwrap();
    SockRef::from(&socket).set_multicast_if_v4(&from.parse().unwrap()).unwrap();
    socket.send_to("안녕".as_bytes(), to).unwrap();
    receive(&socket)
}

fn heard_in_group(from: &str) {
    let (answer, by) = ask(from, GROUP);
    assert_eq!((answer.as_str(), by), ("ACK", SocketAddr::new(from.parse().unwrap(), GROUP.1)));
}

fn echoes(at: &str) {
    let client = connect(SocketAddr::new(at.parse().unwrap(), 3333));
    (&client).write_all("안녕".as_bytes()).unwrap();
    assert_eq!(read_exactly(&client, 6), "안녕".as_bytes());
}

/// The services that a daemon serves, once per transport.
fn served(daemon: &Daemon) -> Vec<String> {
    let sockets = CATALOG.iter().flat_map(|kind| [(kind.name, "tcp"), (kind.name, "udp")]);
    let sockets = sockets.filter(|(name, transport)| !daemon.addresses(name, transport).is_empty());
    sockets.map(|(name, transport)| format!("{name}/{transport}")).collect()
}

/// All that the catalog has.
fn everything() -> Vec<String> {
    let transports =
        CATALOG.iter().flat_map(|kind| [(kind.name, "tcp", kind.tcp), (kind.name, "udp", kind.udp)]);
    let transports = transports.filter(|(_, _, port)| port.is_some());
    transports.map(|(name, transport, _)| format!("{name}/{transport}")).collect()
}

fn lan_without_default_route() {
    ip("link set lo up");
    attach(LAN);
    let (daemon, log) = Daemon::logged("lan", EVERYWHERE);
    assert_eq!(served(&daemon), everything());
    echoes("192.0.2.10");
    heard_in_group("192.0.2.10");
    let (answer, by) = ask("192.0.2.10", (Ipv4Addr::new(192, 0, 2, 255), DISCOVERY_PORT));
    assert_eq!((answer.as_str(), by.to_string().as_str()), ("receive message", "192.0.2.10:37021"));
    assert_eq!(receive(&listener("0.0.0.0", BEACON_PORT)).0, "broadcast message");
    log.line_with(&["type 192.0.2.10 (lan) in place of 0.0.0.0"]);
    assert!(!log.text().contains("WARN"), "{}", log.text());
}

fn flood_of_a_chat() {
    const LINES: usize = 2_000;
    ip("link set lo up");
    attach(LAN);
    let (_daemon, log) = Daemon::logged("flooded", EVERYWHERE);
    let chat = SocketAddr::from((Ipv4Addr::LOCALHOST, 9999));
    let member = listener("192.0.2.10", 0);
    let joined = Instant::now();
    member.send_to(b"", "192.0.2.10:9999").unwrap();
    let (speaker, hears) = (connect(chat), connect(chat));
    for client in [&speaker, &hears] {
        (&*client).write_all(b"/who\n").unwrap();
    }
    let greeting = "* 3 members are here, 3 without a nick\n";
    assert_eq!(read_exactly(&hears, greeting.len()), greeting.as_bytes());
    let line = [&[b'x'; 99][..], b"\n"].concat();
    (&speaker).write_all(&line.repeat(LINES)).unwrap();
    assert_eq!(read_exactly(&hears, LINES * line.len()).len(), LINES * line.len());
    log.line_with(&["chat: 192.0.2.10 misses datagrams"]);
    let took = joined.elapsed().as_secs() as usize + 1;
    member.set_nonblocking(true).unwrap();
    let heard = std::iter::from_fn(|| member.recv(&mut [0; 200]).ok());
    let sent: usize = heard.map(|length| length + 28).sum();
    let most = 3 * 28 + 4096 + 1024 * took;
    assert!((3 * 1024..=most).contains(&sent), "{sent} of {most} bytes");
}

/// An empty datagram from an address that is not ours.
fn forge(raw: &Socket, source: Ipv4Addr, port: u16, to: SocketAddrV4) {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(source.octets());
    packet.extend(to.ip().octets());
    for field in [port, to.port(), 8, 0] {
        packet.extend(field.to_be_bytes());
    }
    raw.send_to(&packet, &to.into()).unwrap();
}

/// Answers to hosts that are not there wait in the socket's buffer for three seconds. With
/// the largest buffer that most systems grant, some 500 of them left no room for anybody
/// else, again and again.
fn forged_questions() {
    ip("link set lo up");
    attach(LAN);
    let config = config_file("forged", "[socket]\nsend_buffer = \"208 KiB\"\n[services.echo]\nudp = 3333\n");
    let _daemon = Daemon::start(&[EVERYWHERE, &["--config", config.as_str()]].concat());
    let echo = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 3333);
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW))).unwrap();
    let honest = listener("192.0.2.10", 0);
    honest.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut rounds = 0..20_000;
    let mut is_answered_beside_forged_ones = || {
        let round = rounds.next().expect("the buffer is full sooner");
        for last in 100..120 {
            forge(&raw, Ipv4Addr::new(192, 0, 2, last), 40_000, echo);
        }
        honest.send_to(format!("안녕 {round}").as_bytes(), echo).unwrap();
        honest.recv(&mut [0; 100]).is_ok()
    };
    while is_answered_beside_forged_ones() {}
    eventually("what waited is gone", &mut is_answered_beside_forged_ones);
    for round in 0..200 {
        assert!(is_answered_beside_forged_ones(), "round {round}");
    }
}

/// What the room says to those who are not there waited for three seconds in the
/// socket's buffer, and left no room for others.
fn forged_joins_of_a_chat() {
    ip("link set lo up");
    attach(LAN);
    let _daemon = Daemon::start(EVERYWHERE);
    let chat = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), 9999);
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW))).unwrap();
    let member = listener("192.0.2.10", 0);
    for last in 100..200 {
        (1..=4).for_each(|port| forge(&raw, Ipv4Addr::new(192, 0, 2, last), port, chat));
    }
    member.send_to(b"", chat).unwrap();
    let speaker = connect((Ipv4Addr::LOCALHOST, chat.port()).into());
    let mut answers = BufReader::new(&speaker);
    eventually("all are members", || {
        (&speaker).write_all(b"/who\n").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        answer.starts_with("* 402 members are here,")
    });
    (&speaker).write_all("안녕\n".as_bytes()).unwrap();
    assert_eq!(receive(&member).0, "안녕\n");
}

fn beacon_on_two_networks() {
    ip("link set lo up");
    attach(LAN);
    attach(OTHER_LAN);
    let networks = [listener("192.0.2.255", BEACON_PORT), listener("198.51.100.255", BEACON_PORT)];
    let (_daemon, log) = Daemon::logged("two-lans", EVERYWHERE);
    for (network, from) in networks.iter().zip(["192.0.2.10", "198.51.100.10"]) {
        let (message, by) = receive(network);
        assert_eq!((message.as_str(), by.ip().to_string().as_str()), ("broadcast message", from));
    }
    log.line_with(&["type 192.0.2.10 (lan) or 198.51.100.10 (other) in place of 0.0.0.0"]);
    log.line_with(&["beacon", "udp        to 192.0.2.255:37020, 198.51.100.255:37020"]);
    log.line_with(&["beacon broadcasts to each network of this machine (192.0.2.255, 198.51.100.255)."]);
}

fn group_on_two_networks() {
    ip("link set lo up");
    attach(LAN);
    attach(OTHER_LAN);
    // It would be the kernel's only choice.
    ip("route add default dev lan");
    let _daemon = Daemon::start(EVERYWHERE);
    for address in ["192.0.2.10", "198.51.100.10", "127.0.0.1"] {
        heard_in_group(address);
    }
}

fn beacon_on_one_of_two_networks() {
    ip("link set lo up");
    attach(LAN);
    attach(OTHER_LAN);
    let all = listener("0.0.0.0", BEACON_PORT);
    let daemon = Daemon::start(&["--bind", "198.51.100.10"]);
    assert_eq!(served(&daemon), everything());
    for _ in 0..2 {
        let (message, by) = receive(&all);
        assert_eq!((message.as_str(), by.ip().to_string().as_str()), ("broadcast message", "198.51.100.10"));
    }
    heard_in_group("198.51.100.10");
}

fn discovery_on_one_of_two_networks() {
    ip("link set lo up");
    attach(LAN);
    attach(OTHER_LAN);
    let (_daemon, log) = Daemon::logged("one-lan", &["--bind", "198.51.100.10"]);
    log.line_with(&["discovery", "198.51.100.255:37021"]);
    log.line_with(&["Reachable from every machine that has a route to 198.51.100.10,", "discovery"]);
    assert!(!log.text().contains("a route to 198.51.100.255"), "{}", log.text());
    let (answer, by) = ask("198.51.100.10", (Ipv4Addr::new(198, 51, 100, 255), DISCOVERY_PORT));
    assert_eq!((answer.as_str(), by.to_string().as_str()), ("receive message", "198.51.100.10:37021"));
}

fn loopback_alone() {
    ip("link set lo up");
    let (daemon, log) = Daemon::logged("loopback-alone", EVERYWHERE);
    assert_eq!(served(&daemon), everything());
    echoes("127.0.0.1");
    heard_in_group("127.0.0.1");
    assert_eq!(receive(&listener("127.255.255.255", BEACON_PORT)).0, "broadcast message");
    log.line_with(&["This machine has no network address yet"]);
}

fn no_interface() {
    let (daemon, log) = Daemon::logged("no-network", EVERYWHERE);
    let all_but_one = everything().into_iter().filter(|socket| socket != "multicast/udp");
    assert_eq!(served(&daemon), all_but_one.collect::<Vec<_>>());
    log.line_with(&["WARN", "224.0.0.255:5005", "no network interface is up", "set interface"]);
    ip("link set lo up");
    echoes("127.0.0.1");
}

fn network_that_comes_later() {
    ip("link set lo up");
    let _daemon = Daemon::start(EVERYWHERE);
    assert_eq!(receive(&listener("127.255.255.255", BEACON_PORT)).0, "broadcast message");
    attach(LAN);
    let (message, by) = receive(&listener("192.0.2.255", BEACON_PORT));
    assert_eq!((message.as_str(), by.ip().to_string().as_str()), ("broadcast message", "192.0.2.10"));
}

fn quarter_for_one_address() {
    ip("link set lo up");
    attach(LAN);
    let config = config_file(
        "quarter",
        "bind = \"0.0.0.0\"\n[limits]\nconnections = 8\n[services.number]\ntcp = 2500\n",
    );
    let _daemon = Daemon::start(&["--config", &config]);
    let word = |client: &TcpStream| {
        (&mut &*client).write_all(b"7\n").unwrap();
        read_line(client)
    };
    let connect_to = |address: &str| connect(SocketAddr::new(address.parse().unwrap(), 2500));
    let two = [connect_to("192.0.2.10"), connect_to("192.0.2.10")];
    assert!(two.iter().all(|client| word(client) == "seven\n"));
    assert_eq!(read_line(&connect_to("192.0.2.10")), "too many connections from your address are open\n");
    let others: Vec<_> = (0..6).map(|_| connect_to("127.0.0.1")).collect();
    assert!(others.iter().all(|client| word(client) == "seven\n"));
}
