//! Directories and files of the kernel.

use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::{Entry, Identity, Modified};

/// One handle, below which cap-std resolves every name.
#[derive(Debug, Clone)]
pub struct Directory(Arc<Dir>);

/// One path for all ways to write it.
pub(super) fn resolve(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.into())
}

impl Directory {
    pub(super) fn open(path: &Path) -> io::Result<Directory> {
        Dir::open_ambient_dir(path, ambient_authority()).map(|dir| Directory(Arc::new(dir)))
    }

    pub(super) fn entries(&self, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
        for entry in self.0.entries()? {
            if let Some(entry) = self.entry(&entry?) {
                visit(entry);
            }
        }
        Ok(())
    }

    /// What a regular file shows, or a link that leads to one; `None` for anything else, and
    /// for what is gone already.
    fn entry(&self, entry: &DirEntry) -> Option<Entry> {
        let kind = entry.file_type().ok()?;
        let is_link = kind.is_symlink();
        let metadata = match is_link {
            true => self.0.metadata(entry.file_name()).ok()?,
            false if kind.is_file() => entry.metadata().ok()?,
            false => return None,
        };
        let name = entry.file_name().into_string().ok();
        let entry = Entry { name, size: metadata.len(), modified: modified(&metadata), is_link };
        metadata.is_file().then_some(entry)
    }

    pub(super) fn modified(&self) -> io::Result<Modified> {
        self.0.dir_metadata().map(|metadata| modified(&metadata))
    }

    pub(super) fn open_file(&self, name: &str) -> io::Result<std::fs::File> {
        // Opening a FIFO for reading would wait for somebody who writes to it.
        let options = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).clone();
        let file = self.0.open_with(single(name)?, &options)?.into_std();
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    pub(super) fn create(&self, name: &str) -> io::Result<std::fs::File> {
        let options = OpenOptions::new().read(true).write(true).create_new(true).clone();
        let file = self.0.open_with(single(name)?, &options)?.into_std();
        // Some network file systems have no locks. There, a second daemon that starts in the
        // same directory takes the file for an abandoned one.
        let _ = file.try_lock();
        Ok(file)
    }

    pub(super) fn is_in_use(&self, name: &str) -> io::Result<bool> {
        Ok(matches!(self.open_file(name)?.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
    }

    pub(super) fn contains(&self, name: &str) -> io::Result<bool> {
        match self.0.symlink_metadata(single(name)?) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (single(from)?, single(to)?);
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        match rustix::fs::renameat_with(&*self.0, from, &*self.0, to, rustix::fs::RenameFlags::NOREPLACE) {
            // The file system cannot do that in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
        rustix::fs::linkat(&*self.0, from, &*self.0, to, AtFlags::empty())?;
        self.remove(from).inspect_err(|_| {
            // It failed as a whole, as it does in one step.
            let _ = self.remove(to);
        })
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove_file(single(name)?)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        // The handle itself only stands for the directory, and cannot be synced.
        self.0.open(".")?.sync_all()
    }
}

/// Refuses what is no name of a single entry: rustix, unlike cap-std, would follow it.
fn single(name: &str) -> io::Result<&str> {
    match name {
        "" | "." | ".." => Err(ErrorKind::InvalidInput.into()),
        name if name.contains('/') => Err(ErrorKind::InvalidInput.into()),
        name => Ok(name),
    }
}

fn modified(metadata: &Metadata) -> Modified {
    Modified { seconds: metadata.mtime(), nanoseconds: metadata.mtime_nsec() as u32 }
}

pub(super) fn identity(file: &std::fs::File) -> io::Result<Identity> {
    let metadata = file.metadata()?;
    Ok(Identity {
        device: MetadataExt::dev(&metadata),
        inode: MetadataExt::ino(&metadata),
        size: metadata.len(),
        modified: Modified {
            seconds: MetadataExt::mtime(&metadata),
            nanoseconds: MetadataExt::mtime_nsec(&metadata) as u32,
        },
    })
}

pub(super) fn read_at(file: &std::fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match FileExt::read_at(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

pub(super) fn write_at(file: &std::fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    FileExt::write_all_at(file, bytes, offset)
}

/// What is sent to /dev/null is read from the disk and copied nowhere.
#[cfg(target_os = "linux")]
pub(super) fn warm(file: &std::fs::File, range: Range<u64>) -> io::Result<()> {
    let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(&nowhere, file, Some(&mut offset), left) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn warm(file: &std::fs::File, range: Range<u64>) -> io::Result<()> {
    let mut page = vec![0; 64 * 1024];
    let mut offset = range.start;
    while offset < range.end {
        match read_at(file, &mut page, offset)? {
            0 => break,
            count => offset += count as u64,
        }
    }
    Ok(())
}
