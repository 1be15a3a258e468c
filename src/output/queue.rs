//! Lines on their way to standard error, which may be a pipe that nobody reads or a
//! terminal that somebody has stopped with Ctrl-S.

use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The most bytes that wait: some 10,000 lines, which a busy daemon with `-v` writes in a
/// quarter of a second. As many again may be on their way to the reader.
const MOST_BYTES: usize = 1024 * 1024;

/// A bounded queue of whole lines. Whoever [adds](Queue::add) one never waits for the
/// reader; one thread [writes](Queue::write_next) what has gathered.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    has_lines: Condvar,
    is_written: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that found no room after those that wait.
    dropped: u64,
    is_writing: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.dropped == 0
    }
}

impl Queue {
    /// Adds a line, or counts it if there is no room for it.
    pub fn add(&self, line: &[u8]) {
        let mut state = self.state();
        let has_room = state.waiting.len() + line.len() <= MOST_BYTES;
        // Once one line was dropped, so are the others until the queue is taken: what is
        // missing is missing in one place.
        if state.dropped == 0 && has_room && state.waiting.try_reserve(line.len()).is_ok() {
            state.waiting.extend_from_slice(line);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.has_lines.notify_one();
    }

    /// Waits for lines and writes all that have gathered, and what `report` says about
    /// those that were dropped.
    pub fn write_next(&self, to: &mut (impl Write + AsFd), report: impl Fn(u64) -> String) {
        let state = self.state();
        let wait = self.has_lines.wait_while(state, |state| state.is_empty());
        let mut state = wait.unwrap_or_else(PoisonError::into_inner);
        let lines = mem::take(&mut state.waiting);
        let dropped = mem::take(&mut state.dropped);
        state.is_writing = true;
        drop(state);
        // There is nowhere left to report a failure.
        let _ = write_all(&lines, to);
        if dropped > 0 {
            let _ = write_all(report(dropped).as_bytes(), to);
        }
        self.state().is_writing = false;
        self.is_written.notify_all();
    }

    /// Waits until everything is written, but not longer than this.
    pub fn flush(&self, at_most: Duration) {
        let is_unwritten = |state: &mut State| state.is_writing || !state.is_empty();
        // Either it is written, or the time is up, or the writer panicked: all end the wait.
        let _ = self.is_written.wait_timeout_while(self.state(), at_most, is_unwritten);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and a log goes on in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes everything, also to a descriptor that another program has made non-blocking.
fn write_all(mut bytes: &[u8], to: &mut (impl Write + AsFd)) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, PipeReader, Read, pipe};
    use std::sync::Arc;
    use std::thread;
    use std::time::Instant;

    fn report(dropped: u64) -> String {
        format!("{dropped} are missing\n")
    }

    /// A queue whose thread writes to a pipe.
    fn queue() -> (Arc<Queue>, PipeReader) {
        let (reader, mut writer) = pipe().unwrap();
        let queue = Arc::new(Queue::default());
        let written = Arc::clone(&queue);
        thread::spawn(move || {
            // The reader is gone when the test is over.
            loop {
                written.write_next(&mut writer, report);
            }
        });
        (queue, reader)
    }

    #[test]
    fn lines_come_in_order_and_a_flush_waits_for_the_last() {
        let (queue, mut reader) = queue();
        for line in ["하나\n", "둘\n", "셋\n"] {
            queue.add(line.as_bytes());
        }
        queue.flush(Duration::from_secs(30));
        let mut came = vec![0; "하나\n둘\n셋\n".len()];
        reader.read_exact(&mut came).unwrap();
        assert_eq!(String::from_utf8(came).unwrap(), "하나\n둘\n셋\n");
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read_and_what_is_dropped_is_reported_in_its_place() {
        let (queue, reader) = queue();
        // More than the pipe takes.
        let first = format!("{}\n", "첫".repeat(100_000));
        queue.add(first.as_bytes());
        while !queue.state().is_writing {
            thread::yield_now();
        }
        let line = format!("{}\n", "줄".repeat(300));
        let has_room_for = MOST_BYTES / line.len();
        for _ in 0..has_room_for + 7 {
            queue.add(line.as_bytes());
        }
        let started = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(started.elapsed() >= Duration::from_millis(50), "it cannot be written");
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        assert_eq!(lines.next().as_deref(), Some(first.trim_end()));
        assert!(lines.by_ref().take(has_room_for).all(|read| read == line.trim_end()));
        assert_eq!(lines.next().as_deref(), Some("7 are missing"));
        queue.add(b"then\n");
        assert_eq!(lines.next().as_deref(), Some("then"));
    }
}
