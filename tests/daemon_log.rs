//! What the daemon's log says, to whom it says it, and in which form.

mod support;

use std::io::{BufRead, BufReader, PipeReader, Write, pipe};
use std::net::UdpSocket;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use support::{Daemon, PATIENCE, config_file, connect, read_exactly, udp};

const ECHO: &[&str] = &["--only", "echo", "--port", "echo=0"];

fn ask(socket: &UdpSocket, question: &[u8]) -> usize {
    socket.send(question).unwrap();
    socket.recv(&mut [0; 100]).unwrap()
}

#[test]
fn with_v_a_udp_conversation_has_a_line_at_its_start_and_one_with_counts() {
    let (mut daemon, log) = Daemon::logged("conversations", &[ECHO, &["-v"]].concat());
    let (one, other) = (udp(daemon.udp("echo")), udp(daemon.udp("echo")));
    for question in ["안녕", "", "x"] {
        assert_eq!(ask(&one, question.as_bytes()), question.len());
    }
    assert_eq!(ask(&other, b"x"), 1);
    for socket in [&one, &other] {
        let peer = socket.local_addr().unwrap();
        log.line_with(&["DEBUG", &format!("echo: a UDP conversation with {peer} begins")]);
    }
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    let peer = one.local_addr().unwrap();
    log.line_with(&[&format!(
        "echo: the UDP conversation with {peer} is over: 3 datagrams (7 bytes) in, 3 datagrams (7 bytes) out, "
    )]);
    log.line_with(&["is over: 1 datagram (1 byte) in, 1 datagram (1 byte) out, "]);
    assert_eq!(log.text().matches("conversation").count(), 4, "{}", log.text());
}

#[test]
fn without_v_a_udp_conversation_is_not_logged() {
    let (mut daemon, log) = Daemon::logged("no-conversations", ECHO);
    assert_eq!(ask(&udp(daemon.udp("echo")), b"x"), 1);
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    assert!(!log.text().contains("conversation"), "{}", log.text());
}

#[test]
fn the_log_begins_with_the_table_also_with_v() {
    let (_daemon, log) = Daemon::logged("table-first", &[ECHO, &["-v"]].concat());
    log.line_with(&["echo", "tcp"]);
    let first = log.text().lines().next().unwrap().to_owned();
    assert!(first.ends_with("service  transport  address"), "{first}");
}

#[test]
fn an_empty_rust_log_counts_as_unset_and_a_misspelt_one_is_named() {
    for (set, complaint) in
        [("", None), (" ,", None), ("inof", Some("\"inof\"")), ("onepol=info", Some("\"onepol=info\""))]
    {
        let (_daemon, log) = Daemon::logged_with("rust-log", ECHO, &[("RUST_LOG", set)]);
        log.line_with(&["INFO", "echo", "tcp"]);
        let complaints: Vec<_> =
            log.text().lines().filter(|line| line.contains("RUST_LOG")).map(str::to_owned).collect();
        assert_eq!(complaints.len(), usize::from(complaint.is_some()), "{complaints:?}");
        if let Some(word) = complaint {
            assert!(
                complaints[0].contains(word) && complaints[0].contains("default level, info"),
                "{complaints:?}"
            );
        }
    }
}

#[test]
fn rust_log_decides_where_it_says_something() {
    let (mut daemon, log) = Daemon::logged_with("rust-log-warn", ECHO, &[("RUST_LOG", "onepoll=warn")]);
    daemon.signal(Signal::SIGTERM);
    daemon.wait();
    assert_eq!(log.text(), "");
}

#[test]
fn times_are_local_and_have_milliseconds() {
    let (_daemon, log) = Daemon::logged_with("local-time", ECHO, &[("TZ", "Asia/Seoul")]);
    let line = log.line_with(&["echo", "tcp"]);
    // [2026-11-21T15:48:48.123+09:00 INFO ] …
    let time = line.trim_start_matches('[').split(' ').next().unwrap();
    assert!(time.ends_with("+09:00"), "{line}");
    assert_eq!(time.split_once('.').map(|(_, rest)| rest.len()), Some("123+09:00".len()), "{line}");
    let time: jiff::Timestamp = time.parse().unwrap();
    let off = jiff::Timestamp::now().duration_since(time).as_secs_f64();
    assert!((0.0..PATIENCE.as_secs_f64()).contains(&off), "{line}");
}

#[test]
fn a_throttled_chat_member_is_logged_once_per_flood() {
    let config = config_file("throttled", "[services.chat]\ntcp = 0\nudp = 0\nmessages_per_second = 1\n");
    let (daemon, log) = Daemon::logged("throttled", &["--config", &config]);
    let (stream, socket) = (connect(daemon.tcp("chat")), udp(daemon.udp("chat")));
    // Five messages at once are allowed.
    (&stream).write_all(b"1\n2\n3\n4\n5\n6\n7\n").unwrap();
    log.line_with(&[&format!("{} is read more slowly: it sends more than 1 ", stream.local_addr().unwrap())]);
    for _ in 0..8 {
        socket.send("여보세요".as_bytes()).unwrap();
    }
    log.line_with(&[
        "INFO",
        &format!("{} loses messages: it sends more than 1 ", socket.local_addr().unwrap()),
    ]);
    // What the UDP member said before is heard, so that its flood was worked off.
    read_exactly(&stream, 5 * ("여보세요\n".len()));
    let text = log.text();
    assert_eq!((text.matches("slowly").count(), text.matches("loses").count()), (1, 1), "{text}");
}

#[test]
fn withheld_answers_are_logged() {
    let config = config_file("withheld", "[services.hello]\nudp = 0\ndatagrams_per_second = 2\n");
    let (daemon, log) = Daemon::logged("withheld", &["--config", &config]);
    let socket = udp(daemon.udp("hello"));
    for _ in 0..50 {
        socket.send(b"x").unwrap();
    }
    log.line_with(&[
        "INFO",
        "hello: 127.0.0.1 is not answered: it asks more often than datagrams_per_second",
    ]);
}

#[test]
fn a_group_that_cannot_be_joined_leaves_the_rest_served() {
    let text = "[services.echo]\ntcp = 0\n[services.multicast]\nudp = 0\ninterface = \"192.0.2.77\"\n";
    let (daemon, log) = Daemon::logged("no-interface", &["--config", &config_file("no-interface", text)]);
    let warning = log.line_with(&["WARN", "multicast", "192.0.2.77"]);
    assert!(warning.contains("set interface in [services.multicast]"), "{warning}");
    let client = connect(daemon.tcp("echo"));
    (&client).write_all(b"x").unwrap();
    assert_eq!(read_exactly(&client, 1), b"x");
    assert!(daemon.addresses("multicast", "udp").is_empty());
}

/// Standard error that nobody reads, filled by the log.
fn with_unread_log(arguments: &[&str]) -> (Daemon, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(["serve", "--announce"]).args(arguments).env("RUST_LOG", "debug").stderr(writer);
    (Daemon::spawn(command), reader)
}

#[test]
fn a_log_that_nobody_reads_delays_nobody_and_sigterm_ends_the_daemon() {
    let (mut daemon, reader) = with_unread_log(ECHO);
    // Over 2 MiB of lines at two per connection: more than the queue and the pipe take.
    for _ in 0..15_000 {
        drop(connect(daemon.tcp("echo")));
    }
    let client = connect(daemon.tcp("echo"));
    (&client).write_all("안녕".as_bytes()).unwrap();
    assert_eq!(read_exactly(&client, "안녕".len()), "안녕".as_bytes());
    let told = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().0.code(), Some(0));
    assert!(told.elapsed() < PATIENCE, "the log is flushed within a bound");
    drop(reader);
}

#[test]
fn lines_that_were_dropped_are_counted_in_the_log_and_the_end_is_flushed() {
    let (mut daemon, reader) = with_unread_log(ECHO);
    for _ in 0..15_000 {
        drop(connect(daemon.tcp("echo")));
    }
    let client = connect(daemon.tcp("echo"));
    (&client).write_all(b"x").unwrap();
    assert_eq!(read_exactly(&client, 1), b"x");
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    let report = lines.by_ref().find(|line| line.contains("WARN")).unwrap();
    let count = report.split_once("] ").unwrap().1.split_once(" lines of the log are missing here");
    assert!(count.unwrap().0.parse::<u64>().unwrap() > 0, "{report}");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(lines.last().map(|line| line.ends_with("] ended")), Some(true));
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn a_service_that_is_not_served_is_not_called_reachable() {
    // On loopback nothing is called reachable, and this group would be, on its interface.
    let text = "[services.echo]\ntcp = 0\n[services.multicast]\nudp = 0\ninterface = \"192.0.2.77\"\n";
    let (_daemon, log) = Daemon::logged("not-reachable", &["--config", &config_file("not-reachable", text)]);
    log.line_with(&["Only programs on this machine can reach these services."]);
    assert!(!log.text().contains("Reachable"), "{}", log.text());
}

#[test]
fn a_failed_join_of_the_only_service_mentions_no_other_services() {
    let text = "[services.multicast]\nudp = 0\ninterface = \"192.0.2.77\"\n";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(["serve", "--config", &config_file("only-a-group", text)]).env_remove("RUST_LOG");
    let ended = command.output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(log.contains("It is not served; to serve it, set interface in [services.multicast]"), "{log}");
    assert!(log.ends_with("onepoll: nothing is left to serve\n") && !log.contains("other services"), "{log}");
    assert_eq!(ended.status.code(), Some(1), "{log}");
}
