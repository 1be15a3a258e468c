//! A part of a file, on its way to a peer.

use std::ops::Range;
use std::sync::Arc;

use crate::disk::File;

/// A part of a file for [`Context::send_file`](super::Context::send_file).
#[derive(Debug, Clone)]
pub struct FileRange {
    /// The file, which stays open until the range is out.
    pub file: Arc<File>,
    /// The bytes to send, by their offsets in the file.
    pub range: Range<u64>,
    /// Up to this offset, the job that opened the file has brought the range into the page
    /// cache, see [`File::warm`]: that much goes out at once, and the reactor has the rest
    /// read ahead. 0 if it has brought in nothing.
    pub warm: u64,
}
