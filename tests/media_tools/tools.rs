//! Programs that not every machine has, and files to show them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Why a program cannot be used, if it cannot.
pub fn obstacle(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let runs = command.status().is_ok_and(|status| status.success());
    (!runs).then(|| format!("`{} {}` does not run here", program.display(), arguments.join(" ")))
}

/// The Python that has this generation of numpy.
pub fn python(generation: u8) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/venv/numpy-{generation}/bin/python"))
}

/// A program of these tests or of the fixtures.
pub fn script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(path)
}

/// Runs a program to its end, and returns what it wrote; it must not complain.
pub fn output(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // A program that reads nothing may be gone by now.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed ({}): {errors}", output.status);
    assert_eq!(errors, "", "{command:?} complains");
    output.stdout
}

pub fn text(command: &mut Command, input: &[u8]) -> String {
    String::from_utf8(output(command, input)).unwrap()
}

/// A file for a program to read, removed at the end of the test.
pub struct TemporaryFile(pub PathBuf);

impl TemporaryFile {
    pub fn new(name: &str, bytes: &[u8]) -> TemporaryFile {
        let path = std::env::temp_dir().join(format!("onepoll-{}-{name}", std::process::id()));
        fs::write(&path, bytes).unwrap();
        TemporaryFile(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
