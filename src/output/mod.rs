//! Writing to the user, who may have gone (`| head -1`) or may not be reading.

mod queue;

use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use queue::Queue;

/// How long the end of the program waits for a reader of standard error. A pipe that is
/// read takes a full queue in a few milliseconds.
const FLUSH_AT_MOST: Duration = Duration::from_millis(500);

/// What standard error gets goes through this, once there is one.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Writes to standard output at once. A reader that has closed it is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Writes to standard error, because standard output is for something else.
pub fn print_aside(text: &str) {
    match QUEUE.get() {
        Some(queue) => queue.add(text.as_bytes()),
        // There is nowhere left to report a failure.
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Tells the user something that is not the result, on a line of standard error.
pub fn remark(sentence: &str) {
    print_aside(&format!("onepoll: {sentence}\n"));
}

/// From now on nobody waits for the reader of standard error: what is written there goes
/// through a bounded queue, and a thread empties it. Where lines found no room, the
/// thread writes what `report` says about their number.
///
/// # Errors
/// If the system gives no thread.
pub fn queue_stderr(report: impl Fn(u64) -> String + Send + 'static) -> io::Result<()> {
    let write_all = move || {
        let queue = QUEUE.get_or_init(Queue::default);
        loop {
            queue.write_next(&mut io::stderr(), &report);
        }
    };
    thread::Builder::new().name("log".into()).spawn(write_all)?;
    QUEUE.get_or_init(Queue::default);
    Ok(())
}

/// Waits until standard error has got everything, but not forever.
pub fn flush() {
    flush_within(FLUSH_AT_MOST);
}

/// As [`flush`], for those who cannot wait that long.
pub fn flush_within(at_most: Duration) {
    if let Some(queue) = QUEUE.get() {
        queue.flush(at_most);
    }
}

/// Standard error, for the log: a write is one line.
pub struct Aside;

impl Write for Aside {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match QUEUE.get() {
            Some(queue) => queue.add(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
