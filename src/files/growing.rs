//! A file that has its name while it grows, such as a recording: whatever happens, what was
//! written stays.

use std::fmt;
use std::io::ErrorKind;

use super::error::FileError;
use super::names::Name;
use super::root::Root;
use crate::disk::{Directory, File};

/// The numbers that are tried for a name that is taken.
const NUMBERS_TRIED: usize = 10_000;

/// A file that is being appended to. Dropping it ends that, and removes a file in which
/// there is nothing. Dropping it uses the disk, so drop it where that may wait.
pub struct Growing {
    root: Root,
    directory: Directory,
    file: File,
    name: Name,
    written: u64,
}

impl Root {
    /// Begins a file, under a name or the next one with a number.
    ///
    /// # Errors
    /// A root that is not writable, a quota that is used up, and what the disk refuses.
    pub fn grow(&self, name: &Name) -> Result<Growing, FileError> {
        if !self.policy.writable {
            return Err(FileError::ReadOnly);
        }
        let directory = self.directory()?;
        self.make_room(&directory, None)?;
        let created = create(&directory, name);
        // It counts as stored from now on: whoever lists the root finds it.
        let mut state = self.shared.state();
        state.usage.give_back(0);
        let (file, name) = created?;
        state.usage.store(0);
        drop(state);
        Ok(Growing { root: self.clone(), directory, file, name, written: 0 })
    }
}

fn create(directory: &Directory, name: &Name) -> Result<(File, Name), FileError> {
    for number in 1..=NUMBERS_TRIED {
        let name = if number == 1 { name.clone() } else { name.numbered(number) };
        match directory.create(name.as_str()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (file, name)).map_err(FileError::storing),
        }
    }
    Err(FileError::Taken)
}

impl Growing {
    /// The name that it got.
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
    /// More bytes than a quota allows, and what the disk refuses; then some of the bytes may
    /// be in the file.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let more = bytes.len() as u64;
        self.root.shared.state().usage.append(self.written, more, &self.root.policy)?;
        self.file.write_at(bytes, self.written).map_err(FileError::storing)?;
        self.written += more;
        Ok(())
    }

    /// Waits until everything is on the disk.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync().and_then(|()| self.directory.sync()).map_err(FileError::storing)
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        if self.written == 0 && self.directory.remove(self.name.as_str()).is_ok() {
            self.root.shared.state().usage.remove_empty();
        }
    }
}

impl fmt::Debug for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Growing {{ name: {:?}, written: {} }}", self.name, self.written)
    }
}

#[cfg(all(test, feature = "simulated"))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, simulated};
    use crate::files::{Policy, Roots, clean};

    fn root(policy: Policy) -> Root {
        Roots::on(Disk::Simulated(simulated::Disk::new(1))).root(Path::new("a"), policy)
    }

    fn listed(root: &Root) -> Vec<(String, u64)> {
        let listing = root.list().unwrap();
        listing.files.iter().map(|file| (file.name.as_str().to_owned(), file.size)).collect()
    }

    #[test]
    fn it_can_be_read_while_it_grows_and_the_next_one_gets_a_number() {
        let root = root(Policy::default());
        let name = clean("녹화.mp4").unwrap();
        let mut first = root.grow(&name).unwrap();
        first.append(b"one").unwrap();
        first.append(b"two").unwrap();
        let found = root.open(&name).unwrap();
        let mut bytes = [0; 8];
        assert_eq!(found.file.read_at(&mut bytes, 0).unwrap(), 6);
        assert_eq!(&bytes[..6], b"onetwo");
        let second = root.grow(&name).unwrap();
        assert_eq!(second.name().as_str(), "녹화 (2).mp4");
    }

    #[test]
    fn a_file_in_which_there_is_nothing_does_not_stay() {
        let root = root(Policy { max_files: 2, ..Policy::default() });
        let name = clean("a.mp4").unwrap();
        for _ in 0..5 {
            drop(root.grow(&name).unwrap());
        }
        assert!(listed(&root).iter().all(|(name, _)| name != "a.mp4"));
        let mut kept = root.grow(&name).unwrap();
        kept.append(b"x").unwrap();
        drop(kept);
        assert!(listed(&root).contains(&("a.mp4".to_owned(), 1)));
        assert!(matches!(root.grow(&name), Err(FileError::TooManyFiles(2))));
    }

    #[test]
    fn it_keeps_to_the_quotas() {
        let root = root(Policy { max_file_size: 10, max_total_size: 1000, ..Policy::default() });
        let mut file = root.grow(&clean("a.mp4").unwrap()).unwrap();
        file.append(&[0; 10]).unwrap();
        assert_eq!(file.append(&[0; 1]), Err(FileError::TooLarge(10)));
        let welcome = listed(&root).iter().map(|(_, size)| size).sum::<u64>() - 10;
        let mut files = Vec::new();
        let refusal = loop {
            let mut file = root.grow(&clean("b.mp4").unwrap()).unwrap();
            match file.append(&[0; 10]) {
                Ok(()) => files.push(file),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!(refusal, FileError::NoRoom(1000));
        assert_eq!(files.len() as u64 + 1, (1000 - welcome) / 10);
    }
}
