//! A file on its way out, in either mode.

use crate::files::{FileError, Found, Name, Root};
use crate::service::{CloseReason, Context, FileRange};
use crate::services::transfers::{Transfer, Way};

/// How much of a file is brought into the page cache by the job that opens it, so that it
/// can go out at once.
const WARM: u64 = 1024 * 1024;

/// An open file, part of which is warm.
#[derive(Debug)]
pub(super) struct Opened {
    pub found: Found,
    offset: u64,
    warm: u64,
}

/// A file that is being sent to a connection.
#[derive(Debug)]
pub(super) struct Download {
    transfer: Transfer,
    /// Where its first byte stands in everything that was sent to the connection.
    start: u64,
    length: u64,
}

impl Opened {
    /// Opens a file, off the loop.
    pub fn open(root: &Root, name: &Name, offset: u64) -> Result<Opened, FileError> {
        Ok(Opened::new(root.open(name)?, offset))
    }

    /// Warms a file, off the loop.
    pub fn new(found: Found, offset: u64) -> Opened {
        let end = found.size.min(offset.saturating_add(WARM));
        // What cannot be read will not go out either: that is when it is told.
        let warm = if offset < end && found.file.warm(offset..end).is_ok() { end } else { 0 };
        Opened { found, offset, warm }
    }
}

impl Download {
    /// Sends a file behind the `queued` bytes that the connection was sent before.
    pub fn begin(opened: Opened, transfer: Transfer, queued: u64, cx: &mut Context<'_>) -> Download {
        let Opened { found, offset, warm } = opened;
        cx.send_file(FileRange { file: found.file, range: offset..found.size, warm });
        cx.more_to_send();
        Download { transfer, start: queued, length: found.size - offset }
    }

    /// Whether it begins within the file.
    pub fn is_within(opened: &Opened) -> bool {
        opened.offset <= opened.found.size
    }

    /// How many bytes are to go out.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Logs that all of it is out.
    pub fn complete(&self, service: &str, cx: &Context<'_>) {
        self.transfer.complete(service, Way::Out, self.length, cx.now());
    }

    /// Logs how far it came when its connection ended.
    pub fn closed(&self, service: &str, why: &CloseReason, cx: &Context<'_>) {
        let sent = cx.bytes_sent().saturating_sub(self.start).min(self.length);
        if sent == self.length {
            return self.complete(service, cx);
        }
        let done = (sent, Some(self.length));
        self.transfer.broken(service, Way::Out, done, &why.to_string(), cx.now());
    }
}
