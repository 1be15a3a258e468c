//! How the daemon ends: SIGTERM, SIGINT and SIGHUP drain, and a second SIGTERM
//! does not wait.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, Log, PATIENCE, connect, eventually, read_exactly, read_to_end, udp};

const ECHO: &[&str] = &["--only", "echo", "--port", "echo=0"];

/// Makes echo's output back up, so that the daemon holds bytes we have not read.
fn fill(daemon: &Daemon) -> (TcpStream, usize) {
    let stream = connect(daemon.tcp("echo"));
    stream.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 64 * 1024];
    let (mut sent, mut refused_since) = (0, None);
    while refused_since.is_none_or(|since: Instant| since.elapsed() < Duration::from_millis(200)) {
        match (&stream).write(&chunk) {
            Ok(count) => {
                sent += count;
                refused_since = None;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused_since.get_or_insert_with(Instant::now);
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    (stream, sent)
}

#[test]
fn sigterm_sigint_and_sighup_end_an_idle_daemon_at_once_with_status_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut daemon = Daemon::start(ECHO);
        let idle = connect(daemon.tcp("echo"));
        (&idle).write_all(b"x").unwrap();
        read_exactly(&idle, 1);
        let told = Instant::now();
        daemon.signal(signal);
        let (status, rest) = daemon.wait();
        assert_eq!(status.code(), Some(0));
        assert!(told.elapsed() < Duration::from_secs(3), "the drain timeout is 5 s, and nothing was pending");
        assert_eq!(rest, "", "nothing but the announcement goes to standard output");
        assert_eq!(read_to_end(&idle), b"");
    }
}

#[test]
fn output_in_flight_still_goes_out() {
    let mut daemon = Daemon::start(ECHO);
    let (stream, _) = fill(&daemon);
    daemon.signal(Signal::SIGTERM);
    eventually("no new client is taken", || TcpStream::connect(daemon.tcp("echo")).is_err());
    // The daemon still sends what it had read; the rest is cut off.
    let mut received = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match (&stream).read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                assert!(buffer[..count].iter().all(|byte| *byte == b'x'));
                received += count;
            }
            Err(error) => panic!("after {received} bytes: {error}"),
        }
    }
    assert!(received > 64 * 1024, "only {received} bytes came");
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn output_not_taken_by_the_drain_timeout_is_cut_off() {
    let config = "[limits]\ndrain_timeout = \"300ms\"\n[services.echo]\ntcp = 0\n";
    let mut daemon = Daemon::with_config("drain", config);
    let (_stream, _) = fill(&daemon);
    let told = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let (status, _) = daemon.wait();
    assert_eq!(status.code(), Some(0));
    assert!(told.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_flood_of_datagrams_holds_up_neither_the_end_nor_idle_clients() {
    let config = "[limits]\ndrain_timeout = \"20s\"\n[services.echo]\ntcp = 0\nudp = 0\n";
    let mut daemon = Daemon::with_config("flood", config);
    let idle = connect(daemon.tcp("echo"));
    let at = daemon.udp("echo");
    let stops = Arc::new(AtomicBool::new(false));
    let flood = |socket: UdpSocket| {
        let stops = Arc::clone(&stops);
        std::thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while !stops.load(Ordering::Relaxed) && Instant::now() < end {
                // Once the daemon is gone, nobody listens.
                let _ = socket.send(b"x");
            }
        })
    };
    let floods: Vec<_> = (0..3).map(|_| flood(udp(at))).collect();
    std::thread::sleep(Duration::from_millis(200));
    let told = Instant::now();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(read_to_end(&idle), b"");
    drop(idle);
    let (status, _) = daemon.wait();
    let took = told.elapsed();
    stops.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().unwrap());
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "it took {took:?}");
}

#[test]
fn a_second_signal_does_not_wait() {
    let config = "[limits]\ndrain_timeout = 0\nsend_timeout = 0\n[services.echo]\ntcp = 0\n";
    let mut daemon = Daemon::with_config("second-signal", config);
    let (_stream, _) = fill(&daemon);
    daemon.signal(Signal::SIGTERM);
    eventually("the first signal arrived", || TcpStream::connect(daemon.tcp("echo")).is_err());
    assert!(daemon.process.try_wait().unwrap().is_none(), "without a limit it waits");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn a_second_sighup_cuts_nothing_off() {
    let config = "[limits]\ndrain_timeout = 0\nsend_timeout = 0\n[services.echo]\ntcp = 0\n";
    let mut daemon = Daemon::with_config("second-sighup", config);
    let (stream, _) = fill(&daemon);
    daemon.signal(Signal::SIGHUP);
    eventually("the first signal arrived", || TcpStream::connect(daemon.tcp("echo")).is_err());
    daemon.signal(Signal::SIGHUP);
    assert!(!read_to_end(&stream).is_empty(), "what is in flight comes, and then the end");
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn sigterm_and_sighup_at_once_cut_nothing_off() {
    let config = "[limits]\ndrain_timeout = 0\nsend_timeout = 0\n[services.echo]\ntcp = 0\n";
    let mut daemon = Daemon::with_config("sigterm-sighup", config);
    let (stream, _) = fill(&daemon);
    // It sees both when it goes on.
    for signal in [Signal::SIGSTOP, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        daemon.signal(signal);
    }
    assert!(!read_to_end(&stream).is_empty(), "what is in flight comes, and then the end");
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn sigusr1_and_sigusr2_are_logged_and_ignored() {
    let (mut daemon, log) = Daemon::logged("sigusr", ECHO);
    for (signal, name) in [(Signal::SIGUSR1, "SIGUSR1"), (Signal::SIGUSR2, "SIGUSR2")] {
        daemon.signal(signal);
        log.line_with(&[name, "ignored"]);
    }
    let client = connect(daemon.tcp("echo"));
    (&client).write_all(b"x").unwrap();
    assert_eq!(read_exactly(&client, 1), b"x");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().0.code(), Some(0));
}

#[test]
fn a_daemon_that_was_started_with_nohup_outlives_its_terminal() {
    let log = Log::new("nohup");
    let mut command = Command::new("nohup");
    command.args([env!("CARGO_BIN_EXE_onepoll"), "serve", "--announce"]).args(ECHO).stderr(log.writer());
    let mut daemon = Daemon::spawn(command);
    daemon.signal(Signal::SIGHUP);
    // Signals that come at once have no order, but the last of these comes later.
    for (signal, name) in [(Signal::SIGUSR1, "SIGUSR1"), (Signal::SIGUSR2, "SIGUSR2")] {
        daemon.signal(signal);
        log.line_with(&[name]);
    }
    let client = connect(daemon.tcp("echo"));
    (&client).write_all(b"x").unwrap();
    assert_eq!(read_exactly(&client, 1), b"x");
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait().0.code(), Some(0));
}
