//! Shared by the tests on real sockets: a reactor in a thread, the daemon as a
//! child process, and sockets that never wait forever.
#![allow(dead_code)] // each test file uses its own part

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use onepoll::reactor::{Reactor, Remote, Statistics};

/// Ends a test that would otherwise wait forever; no test passes because of it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A reactor that runs in a thread of its own until this is dropped.
pub struct Running<T> {
    /// The result of the set-up, usually addresses.
    pub made: T,
    remote: Remote,
    thread: Option<JoinHandle<Statistics>>,
}

impl<T: Send + 'static> Running<T> {
    /// Runs a reactor with the services that `set_up` hosts on it.
    pub fn start(set_up: impl FnOnce(&mut Reactor) -> T + Send + 'static) -> Running<T> {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut reactor = Reactor::new().unwrap();
            let made = set_up(&mut reactor);
            sender.send((reactor.remote(), made)).unwrap();
            reactor.run().unwrap();
            reactor.statistics()
        });
        let (remote, made) = receiver.recv().unwrap();
        Running { made, remote, thread: Some(thread) }
    }

    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Ends it and returns its statistics.
    pub fn finish(mut self) -> Statistics {
        self.remote.drain();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        // The second request makes it end at once.
        self.remote.drain();
        self.remote.drain();
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(outcome.is_ok() || thread::panicking(), "the reactor's thread panicked");
        }
    }
}

/// The daemon as a child process, ended when this is dropped.
pub struct Daemon {
    pub process: Child,
    services: serde_json::Value,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Daemon {
    /// Starts `onepoll serve --announce` with further arguments.
    pub fn start(arguments: &[&str]) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(["serve", "--announce"]).args(arguments).stderr(Stdio::null());
        // Services without a config file keep their files in the working directory.
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        Daemon::spawn(command)
    }

    /// Starts it with this config file, on free ports wherever the file says 0.
    pub fn with_config(name: &str, text: &str) -> Daemon {
        let file = config_file(name, text);
        Daemon::start(&["--config", &file])
    }

    /// Starts it with its log in a file for this test alone.
    pub fn logged(name: &str, arguments: &[&str]) -> (Daemon, Log) {
        Daemon::logged_with(name, arguments, &[])
    }

    /// As [`Daemon::logged`], with environment variables.
    pub fn logged_with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (Daemon, Log) {
        let log = Log::new(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(["serve", "--announce"]).args(arguments).env_remove("RUST_LOG");
        command.envs(variables.iter().copied()).stderr(log.writer());
        command.current_dir(env!("CARGO_TARGET_TMPDIR"));
        (Daemon::spawn(command), log)
    }

    pub fn spawn(mut command: Command) -> Daemon {
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let announcement: serde_json::Value =
            serde_json::from_str(&line).expect("the daemon announces itself");
        Daemon { process, services: announcement["services"].clone(), stdout }
    }

    /// The addresses of a service, in the order in which they were announced.
    pub fn addresses(&self, name: &str, transport: &str) -> Vec<SocketAddr> {
        let all = self.services.as_array().unwrap().iter();
        let its = all.filter(|service| service["name"] == name && service["transport"] == transport);
        its.map(|service| service["addr"].as_str().unwrap().parse().unwrap()).collect()
    }

    pub fn tcp(&self, name: &str) -> SocketAddr {
        self.addresses(name, "tcp")[0]
    }

    pub fn udp(&self, name: &str) -> SocketAddr {
        self.addresses(name, "udp")[0]
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }

    /// Waits until it ends, and returns what else it wrote to standard output.
    pub fn wait(&mut self) -> (ExitStatus, String) {
        let status = self.process.wait().unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    /// User and system time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// How many descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a program wrote to standard error, in a file for this test alone.
pub struct Log(std::path::PathBuf);

impl Log {
    pub fn new(name: &str) -> Log {
        let file = format!("{name}-{}.log", std::process::id());
        Log(std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(file))
    }

    /// An empty file for it.
    pub fn writer(&self) -> std::fs::File {
        std::fs::File::create(&self.0).unwrap()
    }

    /// All that was written so far.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }

    /// Waits for a line that holds all these words, and returns it.
    pub fn line_with(&self, words: &[&str]) -> String {
        let find = || {
            let is_it = |line: &&str| words.iter().all(|word| line.contains(word));
            self.text().lines().find(is_it).map(str::to_owned)
        };
        eventually(&format!("a line of the log says {words:?}"), || find().is_some());
        find().unwrap()
    }
}

/// Writes a config file for this test alone and returns its path.
pub fn config_file(name: &str, text: &str) -> String {
    let file =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Writes a config file into a new folder of its own, for services that keep files next to
/// it, and returns its path.
pub fn config_in_own_folder(name: &str, text: &str) -> std::path::PathBuf {
    let folder =
        std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    // There may be one of an earlier process of the same number.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("lab.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// A connection whose reads fail instead of waiting forever.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A UDP socket that talks to one address.
pub fn udp(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((if to.is_ipv4() { "127.0.0.1" } else { "::1" }, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket
}

pub fn read_exactly(mut stream: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads up to the end; a reset is an error.
pub fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn read_line(stream: &TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.extend(read_exactly(stream, 1));
    }
    String::from_utf8(line).unwrap()
}

/// Waits until a condition holds.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "this never happened: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Gives a child's standard input away, so that the borrow ends.
pub fn stdin_of(child: &mut Child) -> ChildStdin {
    child.stdin.take().unwrap()
}
