//! Writing to the user, who may have gone (`| head -1`) or may not be reading.

mod queue;

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::Duration;

use nix::libc::PIPE_BUF;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use queue::Queue;

/// How long the end of the program waits for a reader of standard error. A pipe that is
/// read takes a full queue in a few milliseconds.
const FLUSH_AT_MOST: Duration = Duration::from_millis(500);

/// What standard error gets goes through this, once there is one.
static WRITER: OnceLock<Writer> = OnceLock::new();

/// Writes to standard error as long as it takes a line at once. From the first line on that
/// it does not take, a thread does, since a process with threads pays for them at every
/// system call (glibc's cancellation points: 50 instructions each).
struct Writer {
    queue: Queue,
    report: Box<dyn Fn(u64) -> String + Send + Sync>,
    thread: Once,
}

impl Writer {
    fn write(&'static self, line: &[u8]) {
        if !self.thread.is_completed() && takes_at_once(&io::stderr(), line.len()) {
            // There is nowhere left to report a failure.
            return drop(io::stderr().write_all(line));
        }
        self.queue.add(line);
        self.thread.call_once(|| {
            let write_all = move || {
                loop {
                    self.queue.write_next(&mut io::stderr(), &self.report);
                }
            };
            // Without a thread the queue fills up, and the loop goes on all the same.
            let _ = thread::Builder::new().name("log".into()).spawn(write_all);
        });
    }
}

/// Whether a write of so many bytes is sure not to wait. A pipe that is writable has room
/// for PIPE_BUF bytes (pipe(7)); a terminal may have room for less than a line.
fn takes_at_once(to: &(impl AsFd + IsTerminal), length: usize) -> bool {
    let mut polled = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    length <= PIPE_BUF && !to.is_terminal() && poll(&mut polled, PollTimeout::ZERO) == Ok(1)
}

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
    match WRITER.get() {
        Some(writer) => writer.write(text.as_bytes()),
        // There is nowhere left to report a failure.
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Tells the user something that is not the result, on a line of standard error.
pub fn remark(sentence: &str) {
    print_aside(&format!("onepoll: {sentence}\n"));
}

/// From now on nobody waits for the reader of standard error: what it does not take at
/// once goes through a bounded queue, which a thread empties. Where lines found no room,
/// the thread writes what `report` says about their number.
pub fn queue_stderr(report: impl Fn(u64) -> String + Send + Sync + 'static) {
    WRITER.get_or_init(|| Writer { queue: Queue::default(), report: Box::new(report), thread: Once::new() });
}

/// Waits until standard error has got everything, but not forever.
pub fn flush() {
    flush_within(FLUSH_AT_MOST);
}

/// As [`flush`], for those who cannot wait that long.
pub fn flush_within(at_most: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.queue.flush(at_most);
    }
}

/// Standard error, for the log: a write is one line.
pub struct Aside;

impl Write for Aside {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match WRITER.get() {
            Some(writer) => writer.write(line),
            None => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
