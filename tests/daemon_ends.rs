//! How the daemon ends: SIGTERM and SIGINT drain, and a second signal does not
//! wait.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Daemon, connect, eventually, read_exactly, read_to_end};

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
fn sigterm_and_sigint_end_an_idle_daemon_at_once_with_status_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
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
