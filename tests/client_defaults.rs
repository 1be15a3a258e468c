//! `discover`, `multicast` and `broadcast` at their defaults, against a daemon at
//! its defaults. Each test has a network namespace of its own, so that no other
//! machine is asked.

#[path = "support/network.rs"]
mod network;
mod support;
#[path = "support/trials.rs"]
mod trials;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, ExitCode, Output, Stdio};

use libtest_mimic::Arguments;
use network::{in_namespace, ip};
use support::{Daemon, PATIENCE};
use trials::trial;

/// A network without a default route, as in a class room.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 1);

fn main() -> ExitCode {
    let tests: [(&str, fn()); 4] = [
        ("clients_at_their_defaults_find_a_daemon_at_its_defaults", find_the_daemon),
        ("without_any_network_a_broadcast_says_so", nothing_to_broadcast_to),
        ("without_a_default_route_discover_asks_each_network_and_loopback", discover_asks_each_network),
        ("without_a_default_route_broadcasts_and_groups_are_sent_to_each_network", each_network_is_sent_to),
    ];
    if let Some(ended) = network::run_again_as_root() {
        return ended;
    }
    let obstacle = network::obstacle();
    let trials = tests.map(|(name, test)| {
        trial(name, obstacle.clone(), move || {
            in_namespace(move || {
                ip("link set lo up");
                test();
            })
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Adds a network to loopback.
fn add_network() {
    ip("link add ours type veth peer name theirs");
    ip(&format!("addr add {OURS}/24 brd + dev ours"));
    ip("link set ours up");
    ip("link set theirs up");
}

fn onepoll(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(arguments.split(' ')).stdin(Stdio::null()).output().unwrap()
}

fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn find_the_daemon() {
    let _daemon = Daemon::start(&[]);
    let table = printed(&onepoll("discover --timeout 300ms"));
    let lines: Vec<&str> = table.lines().skip(1).collect();
    assert_eq!(lines.len(), 1, "{table}");
    assert!(lines[0].starts_with("127.0.0.1:37021 "), "{table}");
    assert_eq!(printed(&onepoll("multicast send 224.0.0.255:5005 안녕")), "from 127.0.0.1:5005: ACK\n");
}

fn nothing_to_broadcast_to() {
    let ended = onepoll("broadcast send 255.255.255.255:37020 안녕");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("255.255.255.255:37020 cannot be reached, there is no route to it"), "{said}");
}

/// A socket that hears everything sent to its port, including broadcasts.
fn listener() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Receives `count` datagrams, and returns their sources, sorted.
fn sources(socket: &UdpSocket, count: usize) -> Vec<SocketAddr> {
    let mut from: Vec<_> = (0..count).map(|_| socket.recv_from(&mut [0; 100]).unwrap().1).collect();
    from.sort();
    from
}

fn discover_asks_each_network() {
    add_network();
    let server = listener();
    let port = server.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        let from = sources(&server, 2);
        from.iter().for_each(|asker| drop(server.send_to("여기".as_bytes(), asker)));
        from
    });
    let table = printed(&onepoll(&format!("discover --timeout 1s --port {port}")));
    let asked_from = answering.join().unwrap().into_iter().map(|from| from.ip()).collect::<Vec<_>>();
    assert_eq!(asked_from, [OURS, Ipv4Addr::LOCALHOST]);
    assert_eq!(table.matches("여기").count(), 2, "{table}");
}

fn each_network_is_sent_to() {
    add_network();
    let everybody = listener();
    let port = everybody.local_addr().unwrap().port();
    assert_eq!(printed(&onepoll(&format!("broadcast send 255.255.255.255:{port} 안녕"))), "");
    assert_eq!(sources(&everybody, 1)[0].ip(), OURS);

    let member = listener();
    let port = member.local_addr().unwrap().port();
    let group = Ipv4Addr::new(224, 0, 0, 251);
    for interface in [OURS, Ipv4Addr::LOCALHOST] {
        member.join_multicast_v4(&group, &interface).unwrap();
    }
    let ended = onepoll(&format!("multicast send {group}:{port} 안녕 --timeout 100ms"));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("nobody"), "{ended:?}");
    let from: Vec<_> = sources(&member, 2).into_iter().map(|from| from.ip()).collect();
    assert_eq!(from, [OURS, Ipv4Addr::LOCALHOST]);
}
