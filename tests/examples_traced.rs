//! The system calls that the examples say `strace` shows, counted by it.
//!
//! Where `strace` is missing, or may not trace, they are reported as ignored.

#[path = "support/example.rs"]
mod example;
mod support;
#[path = "support/trials.rs"]
mod trials;

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use example::{Example, binary};
use libtest_mimic::Arguments;
use nix::sys::signal::Signal;
use support::eventually;
use trials::trial;

/// Clients that are connected and silent while one talks.
const IDLE: usize = 10;
/// More than all the calls of one kind that setting up costs: so a count divided by
/// it is what one message costs.
const MESSAGES: usize = 200;

type Test = (&'static str, fn());

const TESTS: [Test; 4] = [
    ("step 4 builds an epoll set of all sockets for each message", step4),
    ("step 5 makes four calls per message, however many others are idle", step5),
    ("step 6 makes three calls per message", || three_calls("step6_reactor_echo")),
    ("step 8 makes the calls of step 6", || three_calls("step8_async_echo")),
];

fn main() -> ExitCode {
    let obstacle = (!strace_works()).then(|| "there is no strace, or it may not trace".to_owned());
    let trials = TESTS.map(|(name, test)| trial(name, obstacle.clone(), test));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn strace_works() -> bool {
    let mut command = Command::new("strace");
    command.args(["-c", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn step4() {
    let per_message = calls_per_message("step4_select_echo");
    assert_eq!(per_message("select") + per_message("pselect6"), 0);
    for call in ["epoll_create1", "epoll_wait", "close"] {
        assert_eq!(per_message(call), 1, "{call}");
    }
    assert!(per_message("epoll_ctl") >= IDLE + 2, "one per client, and one for the listener");
}

fn step5() {
    let per_message = calls_per_message("step5_selectors_echo");
    for call in ["epoll_wait", "recvfrom", "sendto", "epoll_ctl"] {
        assert_eq!(per_message(call), 1, "{call}");
    }
}

fn three_calls(step: &str) {
    let per_message = calls_per_message(step);
    for call in ["epoll_wait", "recvfrom", "sendto"] {
        assert_eq!(per_message(call), 1, "{call}");
    }
    assert_eq!(per_message("epoll_ctl"), 0);
}

fn calls_per_message(step: &str) -> impl Fn(&str) -> usize {
    let counts = trace(step);
    move |call| counts.get(call).copied().unwrap_or(0) / MESSAGES
}

/// Sends messages one by one, each when the example sleeps again, and returns how
/// often it made each system call.
fn trace(step: &str) -> HashMap<String, usize> {
    let summary = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{step}.strace"));
    let mut strace = Command::new("strace");
    strace.args(["-c", "-o"]).arg(&summary).arg(binary(step)).arg("127.0.0.1:0");
    let mut example = Example::spawn(&mut strace);
    let clients: Vec<TcpStream> = (0..=IDLE).map(|_| example.connect()).collect();
    for client in &clients {
        echoes(client);
    }
    for _ in 0..MESSAGES {
        echoes(&clients[0]);
        eventually("it sleeps", || is_asleep(example.pid));
    }
    example.signal(Signal::SIGTERM);
    example.process.wait().unwrap();
    let summary = fs::read_to_string(summary).unwrap();
    // % time, seconds, usecs/call, calls, errors (or nothing), syscall
    let lines = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let count = |fields: Vec<&str>| Some((fields.last()?.to_string(), fields.get(3)?.parse().ok()?));
    lines.filter_map(count).collect()
}

fn echoes(mut client: &TcpStream) {
    let message = "안녕".as_bytes();
    client.write_all(message).unwrap();
    let mut answer = vec![0; message.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
}

/// Whether it waits in a system call, rather than for `strace`.
fn is_asleep(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('S')
}
