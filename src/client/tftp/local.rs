//! The local file of a transfer. Everything here may wait for the disk.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use onepoll::wire::tftp::{Mode, netascii};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// A file to send.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: File,
    size: u64,
    read: u64,
    mode: Mode,
}

/// Contents as they go over the wire.
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    pub is_last: bool,
}

impl Source {
    pub fn open(path: &Path, mode: Mode) -> Result<Source, String> {
        let failed = |error: io::Error| format!("{} cannot be read: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(format!("{} is no file; name one", path.display()));
        }
        Ok(Source { path: path.to_owned(), file, size: metadata.len(), read: 0, mode })
    }

    /// Its size when it was opened: no more than that is sent.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads the next `wanted` bytes.
    pub fn read(&mut self, wanted: usize) -> Result<Chunk, String> {
        let length = (self.size - self.read).min(wanted as u64) as usize;
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => format!("{} has become shorter meanwhile", self.path.display()),
            _ => format!("{} cannot be read: {error}", self.path.display()),
        })?;
        self.read += length as u64;
        if self.mode == Mode::Netascii {
            let mut encoded = Vec::with_capacity(length);
            netascii::encode(&bytes, &mut encoded);
            bytes = encoded;
        }
        Ok(Chunk { bytes, is_last: self.read == self.size })
    }
}

/// A file to save. It has a temporary name until it is whole, and disappears if it is
/// dropped before.
#[derive(Debug)]
pub(super) struct Saving {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    force: bool,
    decoder: Option<netascii::Decoder>,
    written: u64,
}

impl Saving {
    pub fn begin(path: &Path, force: bool, mode: Mode) -> Result<Saving, String> {
        let name = path.file_name().ok_or_else(|| no_name(path))?;
        if path.is_dir() {
            return Err(no_name(path));
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(taken(path));
        }
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = File::create_new(&temporary)
            .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
        let decoder = (mode == Mode::Netascii).then(netascii::Decoder::default);
        Ok(Saving { path: path.to_owned(), temporary, file, force, decoder, written: 0 })
    }

    /// Writes contents as they came over the wire.
    pub fn write(mut self, bytes: &[u8], is_last: bool) -> Result<Saving, String> {
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
        self.file.write_all(bytes).map_err(|error| self.failed(&error))?;
        self.written += bytes.len() as u64;
        Ok(self)
    }

    /// Gives it its name. Returns its size.
    pub fn finish(self) -> Result<u64, String> {
        self.file.sync_all().map_err(|error| self.failed(&error))?;
        if self.force {
            fs::rename(&self.temporary, &self.path).map_err(|error| self.failed(&error))?;
        } else {
            let (from, to) = (&self.temporary, &self.path);
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => return Err(taken(to)),
                renamed => renamed.map_err(|error| self.failed(&error.into()))?,
            }
        }
        Ok(self.written)
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("{} cannot be written: {error}", self.path.display())
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        // It may have its name already, or be beyond reach.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn taken(path: &Path) -> String {
    format!(
        "{} exists already: give --force to replace it, or --output to save to another file",
        path.display()
    )
}

fn no_name(path: &Path) -> String {
    format!("{:?} is not the name of a file to save to: give one with --output", path.display().to_string())
}
