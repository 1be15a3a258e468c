//! Writes files while a run goes on, outside its loop: a slow reader must not
//! hold up the generator, or its figures would be those of the reader.

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use crate::client::target::cause;

/// How many records wait for a slow reader. Further ones are left out.
const QUEUE: usize = 1024;

/// A file that grows with a run.
#[derive(Debug)]
pub struct Writer {
    /// What the user calls it.
    name: String,
    queue: SyncSender<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
    left_out: u64,
}

impl Writer {
    /// Writes to `file` in a thread of its own.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn new(name: String, file: File) -> Result<Writer, String> {
        let (queue, records) = sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("writer".into())
            .spawn(move || write_all(file, records))
            .map_err(|error| format!("cannot start a thread to write {name}: {}", cause(&error)))?;
        Ok(Writer { name, queue, thread, left_out: 0 })
    }

    /// Hands over a record without waiting for anybody.
    pub fn write(&mut self, record: Vec<u8>) {
        match self.queue.try_send(record) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.left_out += 1,
            // `finish` tells why nothing is written any more.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Waits until everything is written, and returns what could not be.
    pub fn finish(self) -> Option<String> {
        let Writer { name, queue, thread, left_out } = self;
        drop(queue);
        match thread.join() {
            Ok(Err(error)) => Some(format!("{name} could not be written completely: {}", cause(&error))),
            Err(_) => Some(format!("{name} could not be written completely")),
            Ok(Ok(())) if left_out > 0 => {
                Some(format!("{left_out} records are missing in {name}: its reader was too slow"))
            }
            Ok(Ok(())) => None,
        }
    }
}

fn write_all(mut file: File, records: Receiver<Vec<u8>>) -> io::Result<()> {
    for record in records {
        match file.write_all(&record) {
            // A reader that has closed its pipe has read all it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_slow_reader_holds_nobody_up_and_is_told_of() {
        let (mut reader, pipe) = io::pipe().unwrap();
        let mut writer = Writer::new("lines".into(), File::from(std::os::fd::OwnedFd::from(pipe))).unwrap();
        let record = vec![b'.'; 1024];
        // Four times what the queue holds; a pipe holds less than that.
        (0..4 * QUEUE).for_each(|_| writer.write(record.clone()));
        let left_out = writer.left_out;
        assert!(left_out > 0);
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes.len() as u64
        });
        let said = writer.finish().unwrap();
        assert!(said.starts_with(&format!("{left_out} records are missing in lines")), "{said}");
        assert_eq!(reading.join().unwrap(), (4 * QUEUE as u64 - left_out) * 1024);
    }

    #[test]
    fn a_full_device_is_told_of_and_a_reader_that_left_is_not() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = Writer::new("log".into(), full).unwrap();
        writer.write(b"record".to_vec());
        let said = writer.finish().unwrap();
        assert_eq!(said, "log could not be written completely: No space left on device");
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let mut writer = Writer::new("log".into(), File::from(std::os::fd::OwnedFd::from(pipe))).unwrap();
        writer.write(b"record".to_vec());
        assert_eq!(writer.finish(), None);
    }
}
