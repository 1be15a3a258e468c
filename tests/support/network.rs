//! Network namespaces: networks that a test has to itself. Making one takes root,
//! at least of a user namespace.

use std::env;
use std::process::{Command, ExitCode};
use std::thread;

use nix::sched::{CloneFlags, unshare};

/// Set in the process that was started again as root of a user namespace.
const IS_AGAIN: &str = "ONEPOLL_TEST_IS_ROOT_OF_A_USER_NAMESPACE";

/// What stands in the way of a network namespace, if anything.
pub fn obstacle() -> Option<String> {
    if Command::new("ip").arg("-Version").output().is_err() {
        return Some("it needs the command ip (Debian's package iproute2)".into());
    }
    // The thread takes the namespace with it.
    let tried = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join().unwrap();
    tried.err().map(|error| format!("it needs a network namespace: {error}"))
}

/// Runs this program again as root of a user namespace if that removes the
/// obstacle, and returns its exit code.
pub fn run_again_as_root() -> Option<ExitCode> {
    if obstacle().is_none() || env::var_os(IS_AGAIN).is_some() {
        return None;
    }
    let can = Command::new("unshare").args(["-rn", "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let mut again = Command::new("unshare");
    again.arg("-r").arg(env::current_exe().unwrap()).args(env::args_os().skip(1)).env(IS_AGAIN, "1");
    let status = again.status().unwrap();
    Some(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// Runs a test in a thread that has its own network, which the programs that it
/// starts share. No interface of it is up yet.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        test();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs the command `ip`.
pub fn ip(words: &str) {
    let ended = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(ended.status.success(), "ip {words}: {}", String::from_utf8_lossy(&ended.stderr));
}
