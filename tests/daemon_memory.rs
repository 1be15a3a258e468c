//! What clients can make a daemon hold: it survives in a small address space whatever
//! they send, and what they let go of goes back to the system.

mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::{Daemon, connect, eventually, read_exactly};

const MIB: usize = 1 << 20;
const SERVICES: &str = "--only echo,json --port echo=0,json=0";

/// A client that sends most of a value and waits. What is not taken stays unsent.
fn holder(daemon: &Daemon) -> TcpStream {
    let mut client = connect(daemon.tcp("json"));
    let value = [b"\"".as_slice(), &vec![b'x'; MIB - 100]].concat();
    let mut sent = 0;
    client.set_nonblocking(true).unwrap();
    while sent < value.len() {
        match client.write(&value[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            // It holds most, and was cut off for it.
            Err(_) => break,
        }
    }
    client
}

fn is_served(mut client: &TcpStream) {
    client.write_all("가".as_bytes()).unwrap();
    assert_eq!(read_exactly(client, 3), "가".as_bytes());
}

/// The memory of a process that is resident, in bytes.
fn resident(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[test]
fn in_a_small_address_space_the_daemon_survives_whatever_clients_hold() {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_onepoll");
    let kib = 320 * 1024;
    command.args(["-c", &format!("ulimit -v {kib}; exec {binary} serve --announce {SERVICES}")]);
    command.stderr(Stdio::null());
    let mut daemon = Daemon::spawn(command);
    let client = connect(daemon.tcp("echo"));
    let mut holders = Vec::new();
    for _ in 0..150 {
        holders.push(holder(&daemon));
        is_served(&client);
    }
    assert!(daemon.process.try_wait().unwrap().is_none(), "it has ended");
    assert!(resident(&daemon) < 160 * MIB, "half of the address space at most: {}", resident(&daemon));
}

#[test]
fn memory_that_clients_let_go_of_goes_back_to_the_system() {
    let daemon = Daemon::start(&SERVICES.split(' ').collect::<Vec<_>>());
    is_served(&connect(daemon.tcp("echo")));
    let before = resident(&daemon);
    let holders: Vec<TcpStream> = (0..50).map(|_| holder(&daemon)).collect();
    eventually("the values are held", || resident(&daemon) > before + 40 * MIB);
    drop(holders);
    eventually("the memory is given back", || resident(&daemon) < before + 8 * MIB);
}
