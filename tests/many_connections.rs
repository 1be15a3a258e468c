//! As many connections as a large course has: 5,000 to echo, 10,000 in one chat.
//!
//! Both ends need a descriptor per connection. If the hard limit does not allow
//! that, the test is reported as ignored.

mod support;
#[path = "support/trials.rs"]
mod trials;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::Arguments;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use support::{Daemon, PATIENCE, eventually};
use trials::trial;

/// Descriptors that a process needs besides its connections, with some to spare.
const BESIDES: usize = 200;
const ECHO_CONNECTIONS: usize = 5_000;
const CHAT_MEMBERS: usize = 10_000;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after another: together they might need more descriptors than there
    // are.
    arguments.test_threads = Some(1);
    let tests: [(&str, usize, fn()); 2] = [
        ("5000_connections_are_served_and_leave_nothing_behind", ECHO_CONNECTIONS, thousands_echo),
        (
            "10000_members_hear_each_line_once_and_only_who_stops_reading_is_dropped",
            CHAT_MEMBERS,
            thousands_chat,
        ),
    ];
    let allowed = raise_descriptor_limit();
    let trials = tests.map(|(name, connections, test)| {
        let needed = connections + BESIDES;
        let obstacle = (allowed < needed as u64)
            .then(|| format!("it needs {needed} descriptors, the hard limit is {allowed}: see `ulimit -Hn`"));
        trial(name, obstacle, test)
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// Raises the soft limit as far as possible.
fn raise_descriptor_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}

fn thousands_echo() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let (descriptors, memory) = (descriptors(&daemon), daemon.resident());
    let mut after_first_round = 0;
    for round in 0..3 {
        let mut clients: Vec<TcpStream> =
            (0..ECHO_CONNECTIONS).map(|number| connect_from(number, daemon.tcp("echo"), None)).collect();
        let mut order: Vec<usize> = (0..clients.len()).collect();
        for what in ["하나", "두 번째 메시지"] {
            let message = |number: usize| format!("{what} {number}");
            // All of them wait for an answer at the same time.
            for &number in &order {
                clients[number].write_all(message(number).as_bytes()).unwrap();
            }
            for &number in &order {
                assert_eq!(take(&clients[number], message(number).len()), message(number).as_bytes());
            }
            shuffle(&mut order);
        }
        for client in &clients {
            assert!(has_nothing_to_read(client), "each message is answered once");
        }
        assert_eq!(self::descriptors(&daemon), descriptors + ECHO_CONNECTIONS, "none is refused");
        let each = daemon.resident().saturating_sub(memory) / ECHO_CONNECTIONS;
        assert!(each < 512, "a connection costs {each} B");
        clients.clear();
        eventually("all connections are gone", || self::descriptors(&daemon) == descriptors);
        if round == 0 {
            after_first_round = daemon.resident();
        }
    }
    let grown = daemon.resident().saturating_sub(after_first_round);
    assert!(grown < 256 * 1024, "two more rounds left {grown} B behind");
}

/// With little buffering, it takes little to see that a member does not read.
const CHAT: &str = r#"
[services.chat]
tcp = 0
send_buffer = "4 KiB"
output_limit = "16 KiB"
"#;
const LINE: usize = 2048;

fn thousands_chat() {
    let daemon = Daemon::with_config("many-members", CHAT);
    let descriptors_alone = descriptors(&daemon);
    let address = daemon.tcp("chat");
    // The member that will not read is in the middle of them.
    let deaf = CHAT_MEMBERS / 2;
    let members: Vec<TcpStream> = (0..CHAT_MEMBERS)
        .map(|number| connect_from(number, address, (number == deaf).then_some(4096)))
        .collect();
    // The last one to join asks, so the others are members by then.
    let last = CHAT_MEMBERS - 1;
    assert_eq!(count_members(&members[last]), CHAT_MEMBERS);

    let everyone = || 0..CHAT_MEMBERS;
    say(&members, 7, "첫 줄", everyone());
    say(&members, last, "마지막 사람의 줄", everyone());

    // From now on one member does not read. Each line waits for all others, so
    // none of them ever falls behind.
    let hearing = || everyone().filter(|&number| number != deaf);
    let mut lines = 0;
    while descriptors(&daemon) == descriptors_alone + CHAT_MEMBERS {
        lines += 1;
        assert!(lines <= 100, "{lines} lines of {LINE} B wait for a member that does not read");
        say(&members, lines, &format!("{lines:0>LINE$}"), hearing());
    }
    assert_eq!(count_members(&members[last]), CHAT_MEMBERS - 1, "one is dropped");
    let heard = read_to_its_end(&members[deaf]);
    assert!(heard < lines * LINE, "the one that is dropped has not read all: {heard} B");
    say(&members, 3, "우리는 모두 남아 있다", hearing());
    for number in hearing() {
        assert!(has_nothing_to_read(&members[number]), "each line is heard once");
    }
}

/// One member says a line, and all listeners except the speaker receive exactly
/// that line.
fn say(members: &[TcpStream], speaker: usize, line: &str, hearers: impl Iterator<Item = usize>) {
    (&members[speaker]).write_all(line.as_bytes()).unwrap();
    for hearer in hearers.filter(|&hearer| hearer != speaker) {
        let heard = take(&members[hearer], line.len());
        assert!(heard == line.as_bytes(), "member {hearer} hears {:?}", String::from_utf8_lossy(&heard));
    }
}

/// The number of members according to the chat itself.
fn count_members(mut asking: &TcpStream) -> usize {
    asking.write_all(b"/who").unwrap();
    let mut answer = [0; 256];
    let length = asking.read(&mut answer).unwrap();
    let answer = str::from_utf8(&answer[..length]).unwrap();
    let count = answer.strip_prefix("* ").and_then(|rest| rest.split_once(' ')).expect(answer).0;
    count.parse().unwrap()
}

/// A connection from one of eight addresses, because a single address would run
/// out of ports.
fn connect_from(number: usize, to: SocketAddr, receive_buffer: Option<usize>) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if let Some(size) = receive_buffer {
        socket.set_recv_buffer_size(size).unwrap();
    }
    let from = Ipv4Addr::new(127, 0, 0, 2 + (number % 8) as u8);
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn take(mut stream: &TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn has_nothing_to_read(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let outcome = stream.read(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    outcome.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// How many bytes come before the end, whether that is a close or a reset.
fn read_to_its_end(mut stream: &TcpStream) -> usize {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut total, mut bytes) = (0, [0; 4096]);
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return total,
            Ok(count) => total += count,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return total,
            Err(error) => panic!("the member that is dropped sees no end: {error}"),
        }
    }
}

/// The daemon's open descriptors: sockets, mostly.
fn descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.process.id())).unwrap().count()
}

/// A shuffled order, the same in each run.
fn shuffle(order: &mut [usize]) {
    let mut state: u64 = 20_261_120;
    for last in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(last, (state >> 33) as usize % (last + 1));
    }
}
