//! A file that is being saved. Everything here may wait for the disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use onepoll::files::{Name, clean};
use onepoll::wire::files::framed::Sha256 as Sum;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::shown;

const PART: &str = ".part";
/// What Linux allows for one name (NAME_MAX), in bytes.
const LONGEST_NAME: usize = 255;
/// What one step of hashing reads, and how much of it at once.
const SLICE: u64 = 16 << 20;
const BUFFER: usize = 256 << 10;

/// Where a file is to be saved, and what may be replaced there.
#[derive(Debug, Clone)]
pub struct Destination {
    path: PathBuf,
    part: PathBuf,
    force: bool,
    resume: bool,
}

/// A file that is being saved, under a temporary name until it is whole. If it is dropped
/// before, what came is kept for a later `--resume`, unless that is nothing or worthless.
#[derive(Debug)]
pub struct Saving {
    to: Destination,
    file: File,
    hasher: Sha256,
    written: u64,
    /// How much of the partial file is still to be hashed.
    unhashed: u64,
    keeps_part: bool,
    is_saved: bool,
}

impl Destination {
    /// The path that the user has given, or else the name of the file, in this folder. An
    /// error is a sentence.
    pub fn of(output: Option<&Path>, name: &str, force: bool, resume: bool) -> Result<Destination, String> {
        let path = match output {
            Some(path) => path.to_owned(),
            None => {
                let name = clean(name).map_err(|why| {
                    format!("{} is not usable: {why}; name the file to save to with --output", quoted(name))
                })?;
                PathBuf::from(Name::as_str(&name))
            }
        };
        let name = path.file_name().ok_or_else(|| no_file(&path))?;
        if path.as_os_str().as_bytes().ends_with(b"/") {
            return Err(no_file(&path));
        }
        let part = path.with_file_name(part_name(name.as_bytes()));
        Ok(Destination { path, part, force, resume })
    }

    /// The path of the whole file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of the file while it is not whole.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Checks that nothing is in the way, before anybody is asked for the contents. Returns
    /// the partial file of an earlier download, if that is to go on.
    pub fn prepare(self) -> Result<Option<Saving>, String> {
        let path = shown(&self.path);
        match self.path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() || self.path.is_dir() => return Err(no_file(&self.path)),
            Ok(_) if !self.force => return Err(taken(&self.path)),
            Ok(metadata) if !metadata.is_file() && !metadata.is_symlink() => {
                return Err(format!("{path} is no regular file; save to another one with --output"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
                if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                    return Err(format!("there is no folder {}; make it first", shown(folder)));
                }
            }
            Err(error) => return Err(failed(&self.path, &error)),
        }
        let part = shown(&self.part);
        match self.part.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&self.part, &error)),
            Ok(metadata) if !metadata.is_file() => {
                Err(format!("{part}, where a partial file would be, is no regular file; remove it"))
            }
            Ok(_) if self.resume => Saving::open(self).map(Some),
            Ok(_) if self.force => Ok(None),
            Ok(_) => Err(format!(
                "{part} is left from an earlier download: go on from it with --resume, or begin anew with --force"
            )),
        }
    }
}

impl Saving {
    /// Creates the file, under its temporary name.
    pub fn create(to: Destination, keeps_part: bool) -> Result<Saving, String> {
        let create = || OpenOptions::new().read(true).write(true).create_new(true).open(&to.part);
        let file = match create() {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && to.force => {
                locked(&to, &open(&to.part)?)?;
                fs::remove_file(&to.part).and_then(|()| create())
            }
            created => created,
        };
        let file = file.map_err(|error| failed(&to.path, &error))?;
        locked(&to, &file)?;
        Ok(Saving::of(to, file, 0, keeps_part))
    }

    /// Opens what an earlier download has left. Its contents have to be
    /// [hashed](Saving::hash) before more are written.
    fn open(to: Destination) -> Result<Saving, String> {
        let file = open(&to.part)?;
        locked(&to, &file)?;
        let size = file.metadata().map_err(|error| failed(&to.part, &error))?.len();
        Ok(Saving::of(to, file, size, true))
    }

    fn of(to: Destination, file: File, written: u64, keeps_part: bool) -> Saving {
        let hasher = Sha256::new();
        Saving { to, file, hasher, written, unhashed: written, keeps_part, is_saved: false }
    }

    /// How many bytes it has.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Where it is going to be.
    pub fn destination(&self) -> &Destination {
        &self.to
    }

    /// Whether [`Saving::hash`] has more to do.
    pub fn is_unhashed(&self) -> bool {
        self.unhashed > 0
    }

    /// Hashes a slice of what was there before.
    pub fn hash(mut self) -> Result<Saving, String> {
        let mut left = self.unhashed.min(SLICE);
        self.unhashed -= left;
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            match self.file.read(&mut buffer[..most]) {
                Ok(0) => return Err(format!("{} has become shorter meanwhile", shown(&self.to.part))),
                Ok(count) => {
                    self.hasher.update(&buffer[..count]);
                    left -= count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&self.to.part, &error)),
            }
        }
        Ok(self)
    }

    /// Appends contents.
    pub fn write(mut self, bytes: &[u8]) -> Result<Saving, String> {
        self.file.write_all(bytes).map_err(|error| self.not_written(&error))?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(self)
    }

    /// The sum of all contents.
    pub fn sum(&self) -> Sum {
        self.hasher.clone().finalize().into()
    }

    /// Its contents are wrong, so that they are not worth keeping.
    pub fn discard(&mut self) {
        self.keeps_part = false;
    }

    /// Waits until it is on the disk, and gives it its name.
    pub fn finish(mut self) -> Result<(), String> {
        self.file.sync_all().map_err(|error| self.not_written(&error))?;
        let (from, to) = (&self.to.part, &self.to.path);
        let named = if self.to.force { fs::rename(from, to) } else { rename_new(from, to) };
        match named {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(to)),
            named => named.map_err(|error| self.not_written(&error))?,
        }
        self.is_saved = true;
        Ok(())
    }

    fn not_written(&self, error: &io::Error) -> String {
        failed(&self.to.path, error)
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        if !self.is_saved && (!self.keeps_part || self.written == 0) {
            // It may be beyond reach; then it stays.
            let _ = fs::remove_file(&self.to.part);
        }
    }
}

/// Gives a file a name that nobody has.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// Opens a partial file, and nothing that a link leads to.
fn open(part: &Path) -> Result<File, String> {
    let flags = OFlags::NOFOLLOW.bits() as i32;
    let opened = OpenOptions::new().read(true).append(true).custom_flags(flags).open(part);
    opened.map_err(|error| failed(part, &error))
}

/// Two downloads never write to one file. Where a file system has no locks, that is up to
/// the user.
fn locked(to: &Destination, file: &File) -> Result<(), String> {
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => {
            Err(format!("another download writes to {} at this moment", shown(&to.part)))
        }
        _ => Ok(()),
    }
}

/// The temporary name of a file, cut where it would be too long.
fn part_name(name: &[u8]) -> OsString {
    let most = LONGEST_NAME - PART.len();
    let cut = match std::str::from_utf8(name) {
        Ok(name) => &name.as_bytes()[..name.floor_char_boundary(most)],
        Err(_) => &name[..name.len().min(most)],
    };
    OsString::from_vec([cut, PART.as_bytes()].concat())
}

fn quoted(name: &str) -> String {
    format!("the name {name:?}")
}

fn failed(path: &Path, error: &io::Error) -> String {
    let path = shown(path);
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => {
            format!("the disk is full: {path} cannot be written; make room and try again")
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            format!("{path} cannot be written: you may not write there; save to another place with --output")
        }
        Some(Errno::NAMETOOLONG) => format!("{path} is too long a name; save to another one with --output"),
        _ => format!("{path} cannot be written: {}", crate::client::target::cause(error)),
    }
}

fn taken(path: &Path) -> String {
    format!("{} exists already: replace it with --force, or save to another file with --output", shown(path))
}

fn no_file(path: &Path) -> String {
    format!("{} is a folder; name the file to save to with --output", shown(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters_for_the_partial_file() {
        assert_eq!(part_name("강의.pdf".as_bytes()), "강의.pdf.part");
        let long = part_name("가".repeat(85).as_bytes());
        assert_eq!(long, OsString::from(format!("{}.part", "가".repeat(83))));
    }

    #[test]
    fn a_name_from_a_server_never_leaves_the_folder() {
        for (name, saved) in [("../../etc/passwd", "passwd"), ("C:\\a\\강의.pdf", "강의.pdf")] {
            assert_eq!(Destination::of(None, name, false, false).unwrap().path(), Path::new(saved));
        }
        for name in ["..", ".bashrc", "a\x1b[2J", "CON", ""] {
            assert!(Destination::of(None, name, false, false).unwrap_err().contains("not usable"), "{name}");
        }
        assert!(Destination::of(Some("/tmp/".as_ref()), "a", false, false).is_err());
    }
}
