//! A program that a test runs as its user would: what is typed, and what it
//! shows.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::eventually;

/// Ends a program that would otherwise run forever; no test passes because of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program; it is killed when this is dropped.
pub struct Program {
    name: String,
    child: Child,
    output: Pipe,
    errors: Pipe,
}

impl Program {
    /// Runs one of the course's programs.
    pub fn python(name: &str, host: &str, port: u16, more: &[&str]) -> Program {
        Program::python_of(Path::new("python3"), name, host, port, more)
    }

    /// Runs one of the course's programs with a Python of its own.
    pub fn python_of(python: &Path, name: &str, host: &str, port: u16, more: &[&str]) -> Program {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/course/{name}.py"));
        let mut command = Command::new(python);
        command.arg(file).args([host, &port.to_string()]).args(more);
        command.env("PYTHONUNBUFFERED", "1").env("PYTHONUTF8", "1");
        Program::spawn(name, command)
    }

    /// Runs one of our own commands.
    pub fn onepoll(arguments: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(arguments);
        Program::spawn(&arguments.join(" "), command)
    }

    fn spawn(name: &str, mut command: Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Pipe::drain(child.stdout.take().unwrap());
        let errors = Pipe::drain(child.stderr.take().unwrap());
        Program { name: name.to_owned(), child, output, errors }
    }

    pub fn types(&mut self, line: &str) {
        let keyboard = self.child.stdin.as_mut().unwrap();
        keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// Waits until it has shown these lines and nothing else on standard output.
    pub fn shows(&self, lines: &[&str]) {
        let expected = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        // A wrong line will not become right, so there is no need to wait.
        let is_wrong = || !expected.starts_with(&self.output.text());
        eventually(&format!("{} shows {lines:?}", self.name), || {
            assert!(!is_wrong(), "{} shows\n{}{}", self.name, self.output.text(), self.errors.text());
            self.output.text() == expected
        });
    }

    /// Waits until it has written this to standard error.
    pub fn remarks(&self, text: &str) {
        eventually(&format!("{} remarks {text:?}", self.name), || self.errors.text().contains(text));
    }

    /// The first line of a server: the port that it was given.
    pub fn port(&self) -> u16 {
        eventually(&format!("{} tells its port", self.name), || {
            assert_eq!(self.errors.text(), "", "{}", self.name);
            self.output.text().contains('\n')
        });
        self.output.text().lines().next().unwrap().parse().unwrap()
    }

    /// Waits until it ends, in order and with nothing more typed, having shown
    /// only this.
    pub fn ends_with(self, expected: &str) {
        let name = self.name.clone();
        let (status, output, errors) = self.end();
        assert!(status.success(), "{name} ended with {status}\n{output}{errors}");
        assert_eq!(output, expected, "{name}\n{errors}");
    }

    /// Waits until it ends.
    pub fn end(mut self) -> (ExitStatus, String, String) {
        drop(self.child.stdin.take());
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                None => panic!("{} does not end\n{}{}", self.name, self.output.text(), self.errors.text()),
            }
        };
        (status, self.output.rest(), self.errors.rest())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What has come through a pipe so far, read by a thread so that no program has
/// to wait for us to read its output.
struct Pipe {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Pipe {
    fn drain(mut from: impl Read + Send + 'static) -> Pipe {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut chunk) {
                shared.lock().unwrap().extend_from_slice(&chunk[..count]);
            }
        });
        Pipe { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }

    /// All of the output, once the program has ended.
    fn rest(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.text()
    }
}
