//! A file on its way in: it gets its name when it is whole, checked and on the disk.

use std::fmt;
use std::io::ErrorKind;

use sha2::{Digest, Sha256};

use super::error::FileError;
use super::names::Name;
use super::open_files::Place;
use super::root::Root;
use crate::disk::{Directory, File};

/// The numbers that are tried for a name that is taken.
const NUMBERS_TRIED: usize = 10_000;

/// An upload. Until [`Incoming::finish`] succeeds it is a temporary file that nobody is
/// shown; dropping it removes that and gives its quota back. Dropping it uses the disk, so
/// drop it where that may wait.
pub struct Incoming {
    root: Root,
    directory: Directory,
    file: File,
    _place: Place,
    temporary: String,
    name: Name,
    expected: Option<u64>,
    written: u64,
    /// What it holds of the quotas.
    reserved: Option<u64>,
    /// Whether it has its final name instead of the temporary one, or had it.
    has_name: bool,
    /// Whether it is there under that name.
    is_stored: bool,
    hasher: Sha256,
    /// Why it cannot be finished any more.
    failed: Option<FileError>,
}

/// A file that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name, with a number if the one that was asked for was taken.
    pub name: Name,
    /// Its length in bytes.
    pub size: u64,
    /// The SHA-256 of its contents.
    pub sha256: [u8; 32],
}

impl Root {
    /// Begins an upload, whose length may be known.
    ///
    /// # Errors
    /// A root that is not writable, a quota that is used up, and what the disk refuses.
    pub fn begin(&self, name: &Name, expected: Option<u64>) -> Result<Incoming, FileError> {
        if !self.policy.writable {
            return Err(FileError::ReadOnly);
        }
        let directory = self.directory()?;
        let place = self.shared.open_files.write()?;
        self.make_room(&directory, expected)?;
        let reserved = expected.unwrap_or(0);
        self.shared.clean_up(&directory);
        let (temporary, file) = match self.shared.create_temporary(&directory) {
            Ok(created) => created,
            Err(error) => {
                self.shared.state().usage.give_back(reserved);
                // The directory itself is gone.
                if error.kind() == ErrorKind::NotFound {
                    return Err(self.shared.lost(&error));
                }
                return Err(FileError::storing(error));
            }
        };
        Ok(Incoming {
            root: self.clone(),
            directory,
            file,
            _place: place,
            temporary,
            name: name.clone(),
            expected,
            written: 0,
            reserved: Some(reserved),
            has_name: false,
            is_stored: false,
            hasher: Sha256::new(),
            failed: None,
        })
    }

    /// Reserves a file, and its bytes if they are known, under the quotas.
    pub(super) fn make_room(&self, directory: &Directory, expected: Option<u64>) -> Result<(), FileError> {
        if self.shared.state().usage.is_stale() {
            self.shared.scan(directory)?;
        }
        let refusal = match self.shared.state().usage.begin(expected, &self.policy) {
            Err(refusal @ (FileError::NoRoom(_) | FileError::TooManyFiles(_))) => refusal,
            outcome => return outcome,
        };
        // Somebody may have made room by hand.
        let modified = directory.modified().ok();
        if !self.shared.state().usage.may_be_wrong(modified) {
            return Err(refusal);
        }
        self.shared.scan(directory)?;
        self.shared.state().usage.begin(expected, &self.policy)
    }
}

impl Incoming {
    /// The name that it was given.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// More bytes than were announced or a quota allows, and what the disk refuses. The
    /// upload cannot be finished then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let outcome = self.append(bytes);
        if let Err(error) = &outcome {
            self.failed.get_or_insert_with(|| error.clone());
        }
        outcome
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let came = self.written + bytes.len() as u64;
        if let Some(told) = self.expected.filter(|told| came > *told) {
            return Err(FileError::WrongSize { told, came });
        }
        let reserved = self.reserved.unwrap_or(0);
        if came > reserved {
            self.root.shared.state().usage.grow(reserved, came - reserved, &self.root.policy)?;
            self.reserved = Some(came);
        }
        self.file.write_at(bytes, self.written).map_err(FileError::storing)?;
        self.hasher.update(bytes);
        self.written = came;
        Ok(())
    }

    /// Checks the file, waits until it is on the disk, and gives it its name, or the next
    /// one with a number if that is taken.
    ///
    /// # Errors
    /// A length or sum other than what was announced, and what the disk refuses. Nothing is
    /// stored then, unless the disk fails at the very end, to sync the name and to remove it.
    pub fn finish(mut self, expected_sum: Option<[u8; 32]>) -> Result<Stored, FileError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some(told) = self.expected.filter(|told| *told != self.written) {
            return Err(FileError::WrongSize { told, came: self.written });
        }
        let sha256: [u8; 32] = std::mem::take(&mut self.hasher).finalize().into();
        if expected_sum.is_some_and(|expected| expected != sha256) {
            return Err(FileError::WrongSum);
        }
        self.file.sync().map_err(FileError::storing)?;
        let name = self.publish()?;
        if let Ok(identity) = self.file.identity() {
            self.root.remember_sum(identity, sha256);
        }
        Ok(Stored { name, size: self.written, sha256 })
    }

    /// Gives the temporary file its name, waits until the disk knows it, and counts it.
    fn publish(&mut self) -> Result<Name, FileError> {
        self.root.shared.state().usage.begin_naming();
        let outcome = self.name_and_sync();
        let mut state = self.root.shared.state();
        state.usage.end_naming();
        if self.is_stored
            && let Some(reserved) = self.reserved.take()
        {
            state.usage.give_back(reserved);
            state.usage.store(self.written);
        }
        drop(state);
        outcome
    }

    fn name_and_sync(&mut self) -> Result<Name, FileError> {
        let name = self.rename()?;
        (self.has_name, self.is_stored) = (true, true);
        if let Err(error) = self.directory.sync() {
            // A client that is told of a failure tries again, so the file should not stay.
            self.is_stored = self.directory.remove(name.as_str()).is_err();
            return Err(FileError::storing(error));
        }
        Ok(name)
    }

    fn rename(&self) -> Result<Name, FileError> {
        for number in 1..=NUMBERS_TRIED {
            let name = if number == 1 { self.name.clone() } else { self.name.numbered(number) };
            // It would look like the other one, and hide it.
            if let Some(decomposed) = name.decomposed()
                && self.directory.contains(&decomposed).map_err(FileError::storing)?
            {
                continue;
            }
            match self.directory.rename(&self.temporary, name.as_str()) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                renamed => return renamed.map(|()| name).map_err(FileError::storing),
            }
        }
        Err(FileError::Taken)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.has_name {
            self.root.shared.remove_temporary(&self.directory, std::mem::take(&mut self.temporary));
        }
        if let Some(reserved) = self.reserved.take() {
            self.root.shared.state().usage.give_back(reserved);
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incoming { name, expected, written, .. } = self;
        write!(f, "Incoming {{ name: {name:?}, expected: {expected:?}, written: {written} }}")
    }
}
