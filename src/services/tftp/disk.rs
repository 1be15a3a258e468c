//! What a transfer has its disk do: jobs off the loop, and what they bring back.

use std::sync::Arc;

use crate::disk::File;
use crate::files::{FileError, Found, Incoming, Name, Root, Stored};
use crate::wire::tftp::{Mode, netascii};

/// The first contents of a file, which are read as it is opened.
const FIRST_READ: usize = 128 * 1024;

/// A job's result, for the transfer that asked for it.
pub(super) struct Done {
    pub transfer: u64,
    pub what: What,
}

pub(super) enum What {
    Opened(Result<(Found, Chunk), FileError>),
    Read(Result<Chunk, FileError>),
    Begun(Result<Upload, FileError>),
    Written(Result<Upload, FileError>),
    Stored(Result<Stored, FileError>),
}

/// Contents of a file, as they go over the wire.
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    /// Where the file goes on behind it.
    pub end: u64,
    pub is_last: bool,
}

/// A file on its way out.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    file: Arc<File>,
    /// Its size when it was opened: no more than that is sent.
    size: u64,
    mode: Mode,
}

impl Reader {
    pub fn new(found: &Found, mode: Mode) -> Reader {
        Reader { file: found.file.clone(), size: found.size, mode }
    }

    /// Reads the next `wanted` bytes of the file.
    pub fn read(&self, start: u64, wanted: usize) -> Result<Chunk, FileError> {
        let length = (self.size - start).min(wanted as u64) as usize;
        let mut bytes = vec![0; length];
        let mut read = 0;
        while read < length {
            match self.file.read_at(&mut bytes[read..], start + read as u64) {
                Ok(0) => return Err(FileError::Changed),
                Ok(count) => read += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::Io(format!("the file cannot be read: {error}"))),
            }
        }
        if self.mode == Mode::Netascii {
            let mut encoded = Vec::with_capacity(bytes.len() + bytes.len() / 16);
            netascii::encode(&bytes, &mut encoded);
            bytes = encoded;
        }
        let end = start + length as u64;
        Ok(Chunk { bytes, end, is_last: end == self.size })
    }
}

/// Opens a file and reads its beginning.
pub(super) fn open(root: &Root, name: &Name, mode: Mode) -> Result<(Found, Chunk), FileError> {
    let found = root.open(name)?;
    let chunk = Reader::new(&found, mode).read(0, FIRST_READ)?;
    Ok((found, chunk))
}

/// A file on its way in. Dropping it touches the disk.
#[derive(Debug)]
pub(super) struct Upload {
    incoming: Box<Incoming>,
    decoder: Option<netascii::Decoder>,
}

impl Upload {
    pub fn begin(root: &Root, name: &Name, size: Option<u64>, mode: Mode) -> Result<Upload, FileError> {
        let decoder = (mode == Mode::Netascii).then(netascii::Decoder::default);
        Ok(Upload { incoming: Box::new(root.begin(name, size)?), decoder })
    }

    /// Writes contents as they came over the wire, and stores the file if they are the
    /// last.
    pub fn write(mut self, bytes: &[u8], is_last: bool) -> What {
        let mut decoded = Vec::new();
        let bytes = match &mut self.decoder {
            Some(decoder) => {
                decoder.decode(bytes, &mut decoded);
                if is_last {
                    decoder.finish(&mut decoded);
                }
                &decoded
            }
            None => bytes,
        };
        match (self.incoming.write(bytes), is_last) {
            (Ok(()), true) => What::Stored(self.incoming.finish(None)),
            (Ok(()), false) => What::Written(Ok(self)),
            (Err(error), true) => What::Stored(Err(error)),
            (Err(error), false) => What::Written(Err(error)),
        }
    }
}
