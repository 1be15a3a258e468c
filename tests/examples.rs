//! Starts every example as its reader would, and talks to it.
//!
//! `cargo test` builds the examples before it runs this; `cargo test --test
//! examples` alone does not.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Ends a test that would otherwise wait forever; no test passes because of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than the buffers of two sockets can hold at most.
const TOO_MUCH: usize = 256 << 20;

/// An example that runs until this is dropped.
struct Example {
    process: Child,
    address: SocketAddr,
}

impl Example {
    fn start(name: &str) -> Example {
        let path = binary(name);
        let mut process = Command::new(&path)
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; `cargo build --examples` makes it", path.display()));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim_end().strip_prefix("listening on ").expect("the first line names the address");
        Example { address: address.parse().unwrap(), process }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// target/PROFILE/examples/NAME; this test is target/PROFILE/deps/examples-HASH.
fn binary(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    deps.parent().unwrap().with_file_name("examples").join(name)
}

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

/// The byte of a long message at `position`: no two stretches of the message look
/// alike.
fn byte_at(position: usize) -> u8 {
    (position / 4).to_le_bytes()[position % 4]
}

/// Sends until the server takes no more, which causes at least one partial write
/// on its side, and only then reads. `meanwhile` runs in between.
fn gives_all_back_to_a_client_that_reads_late(example: &Example, meanwhile: impl FnOnce()) {
    let mut client = example.connect();
    // The test does not wait for this time; it only defines "takes no more".
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

/// What every server for more than one client has to do, from step 2 on.
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
fn step8_async_echo_holds_up() {
    holds_up("step8_async_echo");
}
