//! Every example is started as its reader would start it and spoken to.

#[path = "support/example.rs"]
mod example;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use example::{Example, binary};
use nix::sys::signal::Signal;
use socket2::SockRef;
use support::{PATIENCE, read_to_end};

const STEPS: [&str; 8] = [
    "step1_blocking_echo",
    "step2_threads_echo",
    "step3_nonblocking_spin",
    "step4_select_echo",
    "step5_selectors_echo",
    "step6_reactor_echo",
    "step7_your_service",
    "step8_async_echo",
];
/// More than the buffers of two sockets can be made to hold.
const TOO_MUCH: usize = 256 << 20;

fn echoes(mut stream: &TcpStream, message: &str) {
    stream.write_all(message.as_bytes()).unwrap();
    let mut answer = vec![0; message.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(String::from_utf8(answer).unwrap(), message);
}

/// Half of a character is echoed as half of a character.
fn echoes_a_split_character(mut stream: &TcpStream) {
    for part in "한".as_bytes().chunks(1) {
        stream.write_all(part).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, part);
    }
}

fn serves_one_after_another(example: &Example) {
    for name in ["철수", "영희"] {
        let client = example.connect();
        echoes(&client, "안녕하세요");
        echoes(&client, name);
        echoes_a_split_character(&client);
    }
}

fn serves_many_at_once(example: &Example) {
    let clients = [(); 5].map(|_| example.connect());
    for round in ["하나", "둘", "셋"] {
        for (number, client) in clients.iter().enumerate() {
            echoes(client, &format!("{round} {number}\n"));
        }
    }
    let [first, second, rest @ ..] = clients;
    drop(rest);
    echoes_a_split_character(&first);
    drop(first);
    echoes(&second, "아직 여기 있어요");
    serves_one_after_another(example);
}

/// The byte of a long message at `position`: no two stretches of it look alike.
fn byte_at(position: usize) -> u8 {
    (position / 4).to_le_bytes()[position % 4]
}

/// Sends until nothing more is taken, which takes at least one partial write by the
/// server; only then reads. `meanwhile` runs in between.
fn gives_all_back_to_a_client_that_reads_late(example: &Example, meanwhile: impl FnOnce()) {
    let mut client = example.connect();
    // Not the moment that is waited for, only what counts as "takes no more".
    client.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while sent < TOO_MUCH {
        let chunk: Vec<u8> = (sent..sent + 64 * 1024).map(byte_at).collect();
        match client.write(&chunk) {
            Ok(length) => sent += length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent >= 1 << 20, "only {sent} bytes were taken");
    assert!(sent < TOO_MUCH, "the server reads on although its answers are not taken");
    meanwhile();

    let more = 1 << 20;
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    thread::scope(|scope| {
        let mut writer = client.try_clone().unwrap();
        scope.spawn(move || {
            let rest: Vec<u8> = (sent..sent + more).map(byte_at).collect();
            writer.write_all(&rest).unwrap();
        });
        let mut position = 0;
        let mut buffer = vec![0; 64 * 1024];
        while position < sent + more {
            let length = client.read(&mut buffer).unwrap();
            assert!(length > 0, "the end came after {position} of {} bytes", sent + more);
            let wrong = (0..length).find(|&i| buffer[i] != byte_at(position + i));
            assert_eq!(wrong.map(|i| position + i), None, "the first wrong byte");
            position += length;
        }
    });
    echoes(&client, "끝");
}

/// What every server of more than one client has to do, from step 2 on.
fn holds_up(name: &str) {
    let example = Example::start(name);
    serves_many_at_once(&example);
    gives_all_back_to_a_client_that_reads_late(&example, || serves_one_after_another(&example));
}

#[test]
fn step1_blocking_echo_serves_one_client_after_another() {
    let example = Example::start("step1_blocking_echo");
    serves_one_after_another(&example);
    gives_all_back_to_a_client_that_reads_late(&example, || ());
    serves_one_after_another(&example);
}

#[test]
fn step2_threads_echo_holds_up() {
    holds_up("step2_threads_echo");
}

#[test]
fn step3_nonblocking_spin_holds_up() {
    holds_up("step3_nonblocking_spin");
}

#[test]
fn step4_select_echo_holds_up() {
    holds_up("step4_select_echo");
}

#[test]
fn step5_selectors_echo_holds_up() {
    holds_up("step5_selectors_echo");
}

#[test]
fn step6_reactor_echo_holds_up() {
    holds_up("step6_reactor_echo");
}

#[test]
fn step7_your_service_numbers_lines_however_they_arrive() {
    let example = Example::start("step7_your_service");
    let (first, second) = (example.connect(), example.connect());
    let answers = |mut stream: &TcpStream, sent: &[&str], expected: &str| {
        for part in sent {
            stream.write_all(part.as_bytes()).unwrap();
        }
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
    };
    answers(&first, &["안녕\n하"], "1/1: 안녕\n");
    answers(&second, &["a\nb\n"], "1/2: a\n2/3: b\n");
    answers(&first, &["세", "요\n"], "2/4: 하세요\n");
}

#[test]
fn step7_your_service_answers_the_last_line_of_a_client_that_half_closes() {
    let example = Example::start("step7_your_service");
    for (sent, expected) in [("안녕\n하세요", "1/1: 안녕\n2/2: 하세요\n"), ("끝\n", "1/3: 끝\n"), ("", "")]
    {
        let mut client = example.connect();
        client.write_all(sent.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(String::from_utf8(read_to_end(&client)).unwrap(), expected);
    }
}

#[test]
fn step8_async_echo_holds_up() {
    holds_up("step8_async_echo");
}

#[test]
fn every_step_prints_its_pid() {
    for step in STEPS {
        let example = Example::start(step);
        assert_eq!(example.pid, example.process.id(), "{step}");
    }
}

#[test]
fn every_step_says_in_a_sentence_what_is_wrong_with_an_address() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for step in STEPS {
        for address in ["어디", "127.0.0.1", &taken] {
            let output = Command::new(binary(step)).arg(address).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{step} {address}: {said}");
            assert_eq!(said.lines().count(), 1, "{step} {address}: {said}");
            assert!(said.contains(address), "{step} {address}: {said}");
            // The debug form of an error has one of these.
            assert!(!said.contains(['{', '"']), "{step} {address}: {said}");
            let is_taken = said.contains("another program uses this port");
            assert_eq!(is_taken, address == taken, "{step} {address}: {said}");
            assert!(!is_taken || !said.contains("os error"), "{step} {address}: {said}");
        }
    }
}

#[test]
fn an_orderly_end_is_told_from_a_broken_connection() {
    for step in ["step1_blocking_echo", "step2_threads_echo", "step4_select_echo", "step5_selectors_echo"] {
        let example = Example::start(step);
        let client = example.connect();
        let peer = client.local_addr().unwrap();
        echoes(&client, "안녕하세요");
        drop(client);
        assert_eq!(example.next_line(), format!("{peer} has ended"), "{step}");

        let client = example.connect();
        let peer = client.local_addr().unwrap();
        echoes(&client, "안녕하세요");
        // Closing resets the connection.
        SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let said = example.next_line();
        assert!(said.starts_with(&format!("{peer}: Connection reset by peer")), "{step}: {said}");
    }
}

#[test]
fn the_reactors_log_follows_rust_log_and_tells_of_ctrl_c() {
    for step in ["step6_reactor_echo", "step7_your_service", "step8_async_echo"] {
        for (level, tells_of_connections) in [(None, false), (Some("debug"), true)] {
            let mut command = Command::new(binary(step));
            command.arg("127.0.0.1:0").env_remove("RUST_LOG").envs(level.map(|level| ("RUST_LOG", level)));
            let mut example = Example::spawn(&mut command);
            let client = example.connect();
            let peer = client.local_addr().unwrap().to_string();
            client.shutdown(Shutdown::Write).unwrap();
            read_to_end(&client);
            example.signal(Signal::SIGINT);
            let mut told = Vec::new();
            while !told.last().is_some_and(|line: &String| {
                line.contains("shutting down: sending the output that is still in flight")
            }) {
                told.push(example.next_line());
            }
            assert_eq!(
                told.iter().any(|line| line.contains(&peer)),
                tells_of_connections,
                "{step}: {told:?}"
            );
            assert_eq!(example.process.wait().unwrap().code(), Some(0));
        }
    }
}
