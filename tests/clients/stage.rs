//! Runs a client, and the servers that it talks to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::support::PATIENCE;

pub fn onepoll(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// What a client left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Checks that it ended with status 0 and these lines on standard output.
    #[track_caller]
    pub fn printed(self, lines: &[&str]) {
        let expected: String = lines.iter().map(|line| format!("{line}\n")).collect();
        assert_eq!((self.status, self.out.as_str()), (Some(0), expected.as_str()), "{}", self.err);
    }

    /// Checks that it ended with status 1 and one sentence that contains these
    /// parts.
    #[track_caller]
    pub fn failed_saying(self, parts: &[&str]) {
        assert_eq!(self.status, Some(1), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing in {self:?}");
        }
    }
}

/// Runs a client to its end with this text on standard input.
pub fn run(arguments: &[&str], typed: &[u8]) -> Ended {
    let mut client = Live::start(arguments);
    client.type_in(typed);
    client.end_of_input();
    client.end()
}

/// Like [`run`], with nothing typed.
pub fn ask(arguments: &[&str]) -> Ended {
    run(arguments, b"")
}

/// A running client.
pub struct Live {
    child: Child,
    stdin: Option<ChildStdin>,
    out: Stream,
    err: Stream,
}

/// One of its output streams, line by line.
struct Stream {
    lines: Receiver<String>,
    seen: String,
}

impl Stream {
    fn of(from: impl Read + Send + 'static) -> Stream {
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while from.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let _ = sender.send(String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned());
            }
        });
        Stream { lines, seen: String::new() }
    }

    fn wait_for(&mut self, part: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.contains(part) {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(error) => panic!("{part:?} never came ({error}), but {:?}", self.seen),
            }
        }
    }

    fn rest(mut self) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => return self.seen,
                Err(RecvTimeoutError::Timeout) => panic!("the output never ended: {:?}", self.seen),
            }
        }
    }
}

impl Live {
    pub fn start(arguments: &[&str]) -> Live {
        Live::of(onepoll(arguments).stdin(Stdio::piped()))
    }

    pub fn of(command: &mut Command) -> Live {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = Stream::of(child.stdout.take().unwrap());
        let err = Stream::of(child.stderr.take().unwrap());
        Live { stdin: child.stdin.take(), child, out, err }
    }

    pub fn type_in(&mut self, typed: &[u8]) {
        // It may have ended without reading everything.
        let _ = self.stdin.as_mut().unwrap().write_all(typed);
    }

    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    pub fn end_of_input(&mut self) {
        self.stdin = None;
    }

    pub fn wait_for_output(&mut self, part: &str) {
        self.out.wait_for(part);
    }

    pub fn wait_for_remark(&mut self, part: &str) {
        self.err.wait_for(part);
    }

    pub fn interrupt(&self) {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The most memory that it has had so far, in bytes.
    pub fn most_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        most.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    pub fn end(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status.code(),
                None if Instant::now() > until => {
                    self.child.kill().unwrap();
                    panic!("the client never ended");
                }
                None => thread::sleep(Duration::from_millis(2)),
            }
        };
        Ended { status, out: self.out.rest(), err: self.err.rest() }
    }
}

/// A server that serves one connection after another with `serve`, which receives
/// the number of the connection, from 1.
pub fn tcp_server(
    address: &str,
    mut serve: impl FnMut(TcpStream, usize) + Send + 'static,
) -> (SocketAddr, Receiver<usize>) {
    let listener = TcpListener::bind(address).unwrap();
    let (sender, served) = channel();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, connection) in listener.incoming().enumerate() {
            serve(connection.unwrap(), number + 1);
            let _ = sender.send(number + 1);
        }
    });
    (address, served)
}

/// A server that answers each datagram with the result of `answer`.
pub fn udp_server(
    address: &str,
    mut answer: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind(address).unwrap();
    let bound = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            if let Some(answer) = answer(&buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    bound
}

/// Like `conn.recv(1024)`; empty at the end.
pub fn recv(connection: &mut TcpStream) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let length = connection.read(&mut buffer).unwrap_or(0);
    buffer[..length].to_vec()
}

/// The course's echo server.
pub fn echo(mut connection: TcpStream) {
    loop {
        let heard = recv(&mut connection);
        if heard.is_empty() || connection.write_all(&heard).is_err() {
            return;
        }
    }
}

/// Answers each `recv` of every connection, and reports what it received.
pub fn answering(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> (SocketAddr, Receiver<Vec<u8>>) {
    let (sender, heard): (Sender<Vec<u8>>, _) = channel();
    let (address, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        loop {
            let bytes = recv(&mut connection);
            if bytes.is_empty() {
                return;
            }
            // First, so that it is known here by the time the client has its
            // answer.
            let _ = sender.send(bytes.clone());
            connection.write_all(&answer(&bytes)).unwrap();
        }
    });
    (address, heard)
}

/// A port of this machine that nobody uses, over TCP or UDP, at least for a
/// moment.
pub fn free_port() -> u16 {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    match UdpSocket::bind(("0.0.0.0", port)) {
        Ok(_) => port,
        Err(_) => free_port(),
    }
}
