//! A file that is to be sent. Everything here may wait for the disk.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use onepoll::disk::File;
use onepoll::files::{Name, clean};
use onepoll::wire::files::framed::Sha256 as Sum;
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::shown;
use crate::client::target::cause;

/// What one step of hashing reads, and how much of it at once.
const SLICE: u64 = 16 << 20;
const BUFFER: usize = 256 << 10;

/// A file that is to be sent.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub file: Arc<File>,
    /// Its name for the server.
    pub name: Name,
    /// Its size when it was opened: no more than that is sent.
    pub size: u64,
}

impl Source {
    /// Opens a file. An error is a sentence.
    pub fn open(path: &Path) -> Result<Source, String> {
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::NotFound => format!("there is no file {}", shown(path)),
            ErrorKind::PermissionDenied => format!("you may not read {}", shown(path)),
            _ => format!("{} cannot be read: {}", shown(path), cause(&error)),
        };
        // Opening a FIFO would wait for somebody who writes to it.
        let flags = OFlags::NONBLOCK.bits() as i32;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(format!("{} is a folder; name the files in it", shown(path)));
        }
        if !metadata.is_file() {
            return Err(format!("{} is no regular file", shown(path)));
        }
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let name = clean(name).map_err(|why| format!("{} cannot be sent: {why}", shown(path)))?;
        Ok(Source { file: Arc::new(file.into()), name, size: metadata.len() })
    }

    /// Reads a piece of it, or an error if it has become shorter.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let length = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(length).min(length);
        let mut bytes = vec![0; length];
        match self.file.read_at(&mut bytes, offset) {
            Ok(count) if count == length => Ok(bytes),
            Ok(_) => Err(self.shrank()),
            Err(error) => Err(format!("{} cannot be read: {}", self.name, cause(&error))),
        }
    }

    /// What is said of a file that has lost contents meanwhile.
    pub fn shrank(&self) -> String {
        format!("{} became shorter while it was being sent", self.name)
    }
}

/// The sum of a file, while it is being computed: each step is a job of its own, so that the
/// client can be interrupted between two.
#[derive(Debug)]
pub struct Summing {
    source: Source,
    hasher: Sha256,
    hashed: u64,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// There is more to hash.
    More(Summing),
    /// The file, and its sum.
    Done(Source, Sum),
}

impl Summing {
    /// Opens a file, and hashes nothing of it yet.
    pub fn open(path: &Path) -> Result<Step, String> {
        Ok(Step::More(Summing { source: Source::open(path)?, hasher: Sha256::new(), hashed: 0 }))
    }

    /// Hashes a slice.
    pub fn step(mut self) -> Result<Step, String> {
        let end = self.source.size.min(self.hashed + SLICE);
        while self.hashed < end {
            let length = usize::try_from(end - self.hashed).unwrap_or(BUFFER).min(BUFFER);
            let bytes = self.source.read(self.hashed, length)?;
            self.hasher.update(&bytes);
            self.hashed += bytes.len() as u64;
        }
        if self.hashed < self.source.size {
            return Ok(Step::More(self));
        }
        Ok(Step::Done(self.source, self.hasher.finalize().into()))
    }
}
