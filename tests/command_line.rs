//! The command line: exit statuses, what goes to which stream, and errors that a
//! person can act on.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::process::{Command, Output, Stdio};

use onepoll::services::CATALOG;
use support::{Daemon, config_file, connect, read_exactly, read_to_end};

fn onepoll(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onepoll")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn wrong_usage_is_explained_with_status_2() {
    for (arguments, fragment) in [
        (&["no-such-command"][..], "Usage"),
        (&["serve", "--no-such-option"], "Usage"),
        (&["serve", "--port", "echo"], "NAME=PORT"),
        (&["serve", "--port", "echo=70000"], "0 to 65535"),
        (&["serve", "--bind", "not-an-address"], "--bind"),
        (&["serve", "--only", "nonsense"], "there is no service \"nonsense\""),
        (&["serve", "--port", "json/udp=1"], "json does not speak udp"),
        (&["serve", "--only", "echo", "--port", "upper=5"], "--port upper=5: upper is not served"),
        (&["serve", "--bind", "fe80::1"], "--bind: fe80::1 is link-local"),
        (&["serve", "--config", "/no/such/file.toml"], "/no/such/file.toml"),
        (&["serve", "--port", "echo=1,echo/tcp=2"], "both set the TCP port of echo"),
        (&["ehco"], "similar"),
        (&["help", "ehco"], "did you mean 'echo'?"),
        (&["serve", "--only", "ehco"], "did you mean echo?"),
        (&["config", "chekc", "lab.toml"], "similar"),
        (&["config", "check"], "Usage"),
        (&["config", "check", "/dev/zero"], "not a regular file"),
        (&["serve", "--config", "/dev/zero"], "not a regular file"),
        (&["config", "check", "/no/such/file.toml"], "/no/such/file.toml"),
    ] {
        let output = onepoll(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(fragment), "{arguments:?}: {error}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[test]
fn help_is_a_command_too() {
    for (arguments, fragment) in [
        (&["help"][..], "onepoll <COMMAND>"),
        (&["help", "serve"], "--announce"),
        (&["help", "config", "check"], "onepoll config check"),
        (&["config", "help"], "example"),
    ] {
        let output = onepoll(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains(fragment), "{arguments:?}: {}", text(&output.stdout));
    }
}

#[test]
fn ports_are_given_one_by_one_or_in_a_list() {
    for ports in [&["--port", "echo=0,json=0"][..], &["--port", "echo=0", "--port", "json=0"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(["serve", "--announce", "--only", "echo,json"]).args(ports).stderr(Stdio::null());
        let daemon = Daemon::spawn(command);
        assert_ne!(daemon.tcp("echo").port(), 3333);
        assert_ne!(daemon.tcp("json").port(), 9000);
    }
}

#[test]
fn a_config_is_checked_from_standard_input_too_and_every_error_is_told() {
    let check = |config: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(["config", "check", "-"]).stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        process.wait_with_output().unwrap()
    };
    let right = check("[services.echo]\ntcp = 4000\n");
    assert_eq!(right.status.code(), Some(0), "{}", text(&right.stderr));
    assert!(text(&right.stdout).contains("127.0.0.1:4000"), "{}", text(&right.stdout));

    let wrong = check("[limits]\nidle_timeout = \"soon\"\n[services.echo]\ntcp = \"many\"\ncolour = 1\n");
    assert_eq!(wrong.status.code(), Some(2));
    for place in ["standard input:2:16: ", "standard input:4:7: ", "standard input:5:1: "] {
        assert!(text(&wrong.stderr).contains(place), "{}", text(&wrong.stderr));
    }
    assert_eq!(text(&wrong.stdout), "");
}

#[test]
fn a_mistake_in_a_config_is_reported_with_line_and_column() {
    for (config, place, fragment) in [
        ("[services.echo]\ntcp = 0\ncolour = 1\n", ":3:1", "colour"),
        ("[services.echo]\ntcp = \"many\"\n", ":2:7", "tcp"),
        ("bind = \"300.1.1.1\"\n[services.echo]\ntcp = 0\n", ":1:8", "300.1.1.1"),
        ("[limits]\nidle_timeout = \"soon\"\n[services.echo]\ntcp = 0\n", ":2:16", "soon"),
        ("[services.hello]\nudp = 0\nnodelay = true\n", ":3:1", "nodelay"),
    ] {
        let file = config_file("mistake", config);
        for arguments in [&["config", "check", &file][..], &["serve", "--config", &file]] {
            let output = onepoll(arguments);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{config}: {error}");
            assert!(error.contains(&format!("{file}{place}")), "{config}: {error}");
            assert!(error.contains(fragment), "{config}: {error}");
        }
    }
}

#[test]
fn the_example_config_serves_what_is_served_without_a_config() {
    let example = onepoll(&["config", "example"]);
    assert!(example.status.success());
    let file = config_file("example", text(&example.stdout));
    let checked = onepoll(&["config", "check", &file]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let listing = text(&checked.stdout);
    let catalog = onepoll(&["services"]);
    let names: Vec<&str> =
        text(&catalog.stdout).lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, CATALOG.iter().map(|kind| kind.name).collect::<Vec<_>>());
    for name in names {
        assert!(listing.contains(name), "{name} is missing:\n{listing}");
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_service_address_and_cause() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = onepoll(&[
        "serve",
        "--announce",
        "--only",
        "upper,echo",
        "--port",
        "upper=0",
        "--port",
        &format!("echo/tcp={port}"),
    ]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(text(&output.stdout), "", "nothing is announced");
    for fragment in ["echo", &format!("TCP 127.0.0.1:{port}"), "another program uses this port"] {
        assert!(error.contains(fragment), "{error}");
    }
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output =
        onepoll(&["serve", "--only", "echo", "--port", "echo/tcp=0", "--port", &format!("echo/udp={port}")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(&format!("UDP 127.0.0.1:{port}")), "{}", text(&output.stderr));
}

#[test]
fn two_services_of_one_kind_run_under_two_names() {
    let config =
        "[services.echo]\ntcp = 0\n[services.quiet]\nkind = \"echo\"\ntcp = 0\nend_command = \"그만\"\n";
    let daemon = Daemon::with_config("two", config);
    let quiet = connect(daemon.tcp("quiet"));
    (&quiet).write_all("/end".as_bytes()).unwrap();
    assert_eq!(read_exactly(&quiet, 4), b"/end");
    (&quiet).write_all("그만".as_bytes()).unwrap();
    assert_eq!(read_to_end(&quiet), "그만".as_bytes());
    assert_ne!(daemon.tcp("echo"), daemon.tcp("quiet"));
}

/// Runs an echo with a log, talks to it, and returns what it logged.
fn log_of(arguments: &[&str], environment: &[(&str, &str)], conversation: impl FnOnce(&Daemon)) -> String {
    let echo = ["--only", "echo", "--port", "echo=0"];
    log_of_serving(&[&echo, arguments].concat(), environment, conversation)
}

fn log_of_serving(
    arguments: &[&str],
    environment: &[(&str, &str)],
    conversation: impl FnOnce(&Daemon),
) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(["serve", "--announce"]).args(arguments);
    command.envs(environment.iter().copied()).stderr(Stdio::piped());
    let mut daemon = Daemon::spawn(command);
    conversation(&daemon);
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    let log = BufReader::new(daemon.process.stderr.take().unwrap());
    let log = log.lines().map(|line| line.unwrap() + "\n").collect();
    assert_eq!(daemon.wait().0.code(), Some(0));
    log
}

fn echo_once(daemon: &Daemon) {
    let stream = connect(daemon.tcp("echo"));
    (&stream).write_all(b"secret words").unwrap();
    assert_eq!(read_exactly(&stream, 12), b"secret words");
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&stream), b"");
}

#[test]
fn the_log_shows_services_at_info_and_connections_at_debug() {
    let quiet = log_of(&[], &[], echo_once);
    assert!(quiet.contains("echo") && quiet.contains("127.0.0.1:"), "{quiet}");
    assert!(!quiet.contains("connected"), "{quiet}");
    let verbose = log_of(&["-v"], &[], echo_once);
    assert!(verbose.contains("connected"), "{verbose}");
    assert!(
        verbose.contains("ended: closed by") && verbose.contains("12 bytes in, 12 bytes out"),
        "{verbose}"
    );
    assert!(!verbose.contains("secret"), "no payload is logged:\n{verbose}");
    let silent = log_of(&[], &[("RUST_LOG", "error")], echo_once);
    assert_eq!(silent, "");
}

#[test]
fn the_log_speaks_of_one_byte_in_the_singular() {
    let log = log_of(&["-v"], &[], |daemon| {
        let stream = connect(daemon.tcp("echo"));
        (&stream).write_all(b"x").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), b"x");
    });
    assert!(log.contains("1 byte in, 1 byte out, "), "{log}");
}

#[test]
fn every_end_of_a_connection_is_logged_with_its_reason() {
    let config = "[services.echo]\ntcp = 0\nidle_timeout = \"100ms\"\n\
                  [services.small]\nkind = \"echo\"\ntcp = 0\nconnections = 1\n\
                  [services.json]\ntcp = 0\nmessage_timeout = \"100ms\"\n\
                  [services.number]\ntcp = 0\nline_length = 64\n";
    let file = config_file("reasons", config);
    let log = log_of_serving(&["-v", "--config", &file], &[], |daemon| {
        echo_once(daemon);
        let by_us = connect(daemon.tcp("echo"));
        (&by_us).write_all(b"/end").unwrap();
        assert_eq!(read_to_end(&by_us), b"/end");
        drop(by_us);
        let idle = connect(daemon.tcp("echo"));
        assert_eq!(read_to_end(&idle), b"");
        drop(idle);
        let unfinished = connect(daemon.tcp("json"));
        (&unfinished).write_all(b"[1,").unwrap();
        assert!(text(&read_to_end(&unfinished)).contains("took too long"));
        drop(unfinished);
        let long = connect(daemon.tcp("number"));
        (&long).write_all(b"1\n").unwrap();
        assert_eq!(read_exactly(&long, 4), b"one\n");
        (&long).write_all(&[b'x'; 100]).unwrap();
        assert_eq!(read_to_end(&long), b"the line is too long\n");
        drop(long);
        let reset = connect(daemon.tcp("small"));
        (&reset).write_all(b"x").unwrap();
        assert_eq!(read_exactly(&reset, 1), b"x");
        assert_eq!(read_to_end(&connect(daemon.tcp("small"))), b"", "a second one is refused");
        socket2::SockRef::from(&reset).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(reset);
        support::eventually("there is a place again", || {
            let next = connect(daemon.tcp("small"));
            (&next).write_all(b"x").unwrap();
            matches!(std::io::Read::read(&mut &next, &mut [0; 1]), Ok(1))
        });
    });
    for reason in [
        "echo: 127.0.0.1",
        "ended: closed by the peer;",
        "ended: closed by us;",
        "ended: timed out, idle;",
        "ended: timed out, unfinished message;",
        "ended: line too long;",
        "ended: reset by the peer;",
        "ended: refused, too many connections are open",
    ] {
        assert!(log.contains(reason), "{reason} is missing in\n{log}");
    }
}

#[test]
fn daemons_share_a_port_only_if_both_are_told_to() {
    let config = |port: u16, reuse: bool| {
        format!("[socket]\nreuse_port = {reuse}\n[services.echo]\ntcp = {port}\nudp = {port}\n")
    };
    // A port that is free for TCP may not be for UDP.
    let (first, port) = (0..20)
        .find_map(|_| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            UdpSocket::bind(("127.0.0.1", free)).ok()?;
            Some((Daemon::with_config("sharing-first", &config(free, true)), free))
        })
        .unwrap();
    let second = Daemon::with_config("sharing-second", &config(port, true));
    assert_eq!(first.tcp("echo"), second.tcp("echo"));
    let before = (first.descriptors(), second.descriptors());
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let stream = connect(first.tcp("echo"));
            (&stream).write_all(b"x").unwrap();
            assert_eq!(read_exactly(&stream, 1), b"x");
            stream
        })
        .collect();
    let taken = (first.descriptors() - before.0, second.descriptors() - before.1);
    assert_eq!(taken.0 + taken.1, clients.len());
    assert!(taken.0 > 0 && taken.1 > 0, "the kernel deals them out: {taken:?}");
    let file = config_file("sharing-third", &config(port, false));
    let third = onepoll(&["serve", "--config", &file]);
    assert_eq!(third.status.code(), Some(1));
    assert!(text(&third.stderr).contains("another program uses this port"), "{}", text(&third.stderr));
}
