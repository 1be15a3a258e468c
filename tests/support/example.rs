//! An example as a child process.
//!
//! `cargo test` builds the examples before it runs the tests; `cargo test --test
//! NAME` alone does not.
#![allow(dead_code)] // each test file uses its own part

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{PATIENCE, connect};

/// An example that runs until this is dropped.
pub struct Example {
    pub process: Child,
    pub address: SocketAddr,
    /// As the example prints it: under `strace`, not that of `process`.
    pub pid: u32,
    log: Receiver<String>,
}

impl Example {
    pub fn start(name: &str) -> Example {
        Example::spawn(Command::new(binary(name)).arg("127.0.0.1:0"))
    }

    pub fn spawn(command: &mut Command) -> Example {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}; `cargo build --examples` makes it"));
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (address, pid) = line
            .trim_end()
            .strip_prefix("listening on ")
            .and_then(|line| line.split_once(", PID "))
            .expect("the first line names the address and the PID");
        let errors = BufReader::new(process.stderr.take().unwrap());
        let (sender, log) = channel();
        thread::spawn(move || errors.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Example { process, address: address.parse().unwrap(), pid: pid.parse().unwrap(), log }
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid as i32), signal).unwrap();
    }

    /// The next line that it writes to standard error.
    pub fn next_line(&self) -> String {
        self.log.recv_timeout(PATIENCE).expect("it writes a line")
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if let Ok(None) = self.process.try_wait() {
            // Not `process`: an example would outlive the `strace` that runs it.
            self.signal(Signal::SIGKILL);
            let _ = self.process.wait();
        }
    }
}

/// target/PROFILE/examples/NAME; a test is target/PROFILE/deps/TEST-HASH.
pub fn binary(name: &str) -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    deps.parent().unwrap().with_file_name("examples").join(name)
}
