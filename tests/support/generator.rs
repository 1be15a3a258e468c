//! Runs `onepoll stress` as a child process, against servers in threads.
#![allow(dead_code)] // each test file uses its own part

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;

/// The command, ready to run.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.arg("stress").args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn stress(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// The text that it printed.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A path for this test alone, at which no file exists.
pub fn free(name: &str) -> String {
    let file: PathBuf =
        [env!("CARGO_TARGET_TMPDIR"), &format!("stress-{}-{name}", std::process::id())].iter().collect();
    let _ = fs::remove_file(&file);
    file.to_str().unwrap().to_owned()
}

/// A file that it wrote.
pub fn json(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// A TCP server that serves every connection with `serve`, in threads.
pub fn server(serve: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}
