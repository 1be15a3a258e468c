//! `get`, `put`, `ls` and `udp-file`, against the daemon's services and against servers that
//! lie, die or mean harm.

mod course;
mod get;
mod put;
mod udp;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::stage::{Ended, Live, onepoll, tcp_server};
use super::support::Daemon;

const MIB: usize = 1024 * 1024;

/// A student's folder, and a daemon with a folder of its own.
struct Classroom {
    base: PathBuf,
    daemon: Daemon,
}

impl Classroom {
    fn new() -> Classroom {
        Classroom::with("")
    }

    /// With these keys for the file service.
    fn with(keys: &str) -> Classroom {
        let base = folder();
        let (root, other) = (base.join("root"), base.join("upload"));
        for folder in [&root, &other] {
            fs::create_dir(folder).unwrap();
        }
        let text = format!(
            "[services.file]\ntcp = 0\nudp = 0\nroot = {root:?}\n{keys}\n\
             [services.upload]\ntcp = 0\nroot = {other:?}\n"
        );
        let config = base.join("daemon.toml");
        fs::write(&config, text).unwrap();
        fs::create_dir(base.join("home")).unwrap();
        Classroom { daemon: Daemon::start(&["--config", config.to_str().unwrap()]), base }
    }

    fn root(&self) -> PathBuf {
        self.base.join("root")
    }

    fn home(&self) -> PathBuf {
        self.base.join("home")
    }

    fn server(&self) -> String {
        self.daemon.tcp("file").to_string()
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        run_in(&self.home(), arguments)
    }
}

impl Drop for Classroom {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.base);
        }
    }
}

/// An empty folder for one test.
fn folder() -> PathBuf {
    static FOLDERS: AtomicUsize = AtomicUsize::new(0);
    let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
    let name = format!("client-files-{}-{number}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // There may be one from an earlier process of the same number.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn start_in(folder: &Path, arguments: &[&str]) -> Live {
    Live::of(onepoll(arguments).current_dir(folder).stdin(Stdio::null()))
}

fn run_in(folder: &Path, arguments: &[&str]) -> Ended {
    start_in(folder, arguments).end()
}

/// Contents that differ at every place.
fn contents(length: usize) -> Vec<u8> {
    let mut state = length as u32 | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn sum(contents: &[u8]) -> String {
    Sha256::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The objects that a client with `--json` has printed.
fn objects(ended: &Ended) -> Vec<Value> {
    ended.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A server that serves each connection with `serve`, which is given its requests line by
/// line.
fn server(mut serve: impl FnMut(Requests, TcpStream) + Send + 'static) -> SocketAddr {
    tcp_server("127.0.0.1:0", move |connection, _| {
        let requests = Requests(BufReader::new(connection.try_clone().unwrap()));
        serve(requests, connection);
    })
    .0
}

/// What a client asks, line by line.
struct Requests(BufReader<TcpStream>);

impl Requests {
    fn next(&mut self) -> String {
        let mut line = String::new();
        let _ = self.0.read_line(&mut line);
        line.trim_end_matches('\n').to_owned()
    }

    /// Reads until the client is gone.
    fn drain(&mut self) {
        let _ = std::io::copy(&mut (&mut self.0).take(u64::MAX), &mut std::io::sink());
    }
}

/// A server that gives the same answer to every connection, and waits until the client is
/// gone.
fn answering(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    let address = server(move |mut requests, mut connection| {
        requests.next();
        // The client may have heard enough before.
        let _ = connection.write_all(&answer);
        requests.drain();
    });
    address.to_string()
}
