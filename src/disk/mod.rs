//! Files in one directory: the kernel's, or (feature `simulated`) in memory with seeded
//! faults.
//!
//! [`Disk`] opens a [`Directory`], and everything else goes through that handle: no name
//! leads out of it, by a link or otherwise. A [`File`] is read and written at offsets.
//!
//! Everything here may block, for as long as a disk takes. The loop leaves it to offloaded
//! jobs; on its own thread it only sends from a file and drops one.

mod kernel;
#[cfg(feature = "simulated")]
pub mod simulated;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where directories are opened.
#[derive(Debug, Clone, Default)]
pub enum Disk {
    /// The file systems of this machine.
    #[default]
    Kernel,
    /// A disk in memory.
    #[cfg(feature = "simulated")]
    Simulated(simulated::Disk),
}

/// An open directory. Clones share the handle.
#[derive(Debug, Clone)]
pub enum Directory {
    /// One of the kernel's.
    Kernel(kernel::Directory),
    /// One of a disk in memory.
    #[cfg(feature = "simulated")]
    Simulated(simulated::Directory),
}

/// An open regular file. Threads may share it.
#[derive(Debug)]
pub enum File {
    /// One of the kernel's.
    Kernel(std::fs::File),
    /// One of a disk in memory.
    #[cfg(feature = "simulated")]
    Simulated(simulated::File),
}

/// What an entry of a directory shows without being opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; `None` if that is not UTF-8.
    pub name: Option<String>,
    /// Its length in bytes.
    pub size: u64,
    /// When its contents changed last.
    pub modified: Modified,
    /// Whether it is a link to a file, and takes no room of its own.
    pub is_link: bool,
}

/// When something changed last. The later one is the greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modified {
    /// Seconds since 1970, which may be before.
    pub seconds: i64,
    /// The rest of the second.
    pub nanoseconds: u32,
}

/// Tells the contents of one file from those of another, and from its own once they have
/// changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// When its contents changed last.
    pub modified: Modified,
}

impl Disk {
    /// Opens a directory.
    ///
    /// # Errors
    /// A path that cannot be opened, or is no directory.
    pub fn open(&self, path: &Path) -> io::Result<Directory> {
        match self {
            Disk::Kernel => kernel::Directory::open(path).map(Directory::Kernel),
            #[cfg(feature = "simulated")]
            Disk::Simulated(disk) => disk.open(path).map(Directory::Simulated),
        }
    }

    /// Creates a directory, and those above it that are missing.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn create(&self, path: &Path) -> io::Result<()> {
        match self {
            Disk::Kernel => std::fs::create_dir_all(path),
            #[cfg(feature = "simulated")]
            Disk::Simulated(disk) => disk.create(path),
        }
    }

    /// How many descriptors its files and everything else can have, if there is a limit.
    pub fn descriptors(&self) -> Option<u64> {
        match self {
            Disk::Kernel => rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            #[cfg(feature = "simulated")]
            Disk::Simulated(_) => None,
        }
    }

    /// One path for all ways to write it. Links are followed where there is something
    /// already.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        match self {
            Disk::Kernel => kernel::resolve(path),
            #[cfg(feature = "simulated")]
            Disk::Simulated(_) => path.into(),
        }
    }
}

impl Directory {
    /// Shows each regular file to `visit`, and each link that leads to one within the directory.
    /// What vanishes meanwhile is left out.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn entries(&self, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
        match self {
            Directory::Kernel(it) => it.entries(visit),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.entries(visit),
        }
    }

    /// When an entry was added, removed or renamed last.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn modified(&self) -> io::Result<Modified> {
        match self {
            Directory::Kernel(it) => it.modified(),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.modified(),
        }
    }

    /// Opens a regular file for reading, without waiting for whoever has its other end if it
    /// is a FIFO.
    ///
    /// # Errors
    /// `InvalidInput` for what is no regular file, and what the disk refuses.
    pub fn open(&self, name: &str) -> io::Result<File> {
        match self {
            Directory::Kernel(it) => it.open_file(name).map(File::Kernel),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.open_file(name).map(File::Simulated),
        }
    }

    /// Creates a file, for this process alone until it is dropped: see [`Directory::is_in_use`].
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken, and what the disk refuses.
    pub fn create(&self, name: &str) -> io::Result<File> {
        match self {
            Directory::Kernel(it) => it.create(name).map(File::Kernel),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.create(name).map(File::Simulated),
        }
    }

    /// Whether somebody, in this process or another, still has the file that they created.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn is_in_use(&self, name: &str) -> io::Result<bool> {
        match self {
            Directory::Kernel(it) => it.is_in_use(name),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.is_in_use(name),
        }
    }

    /// Whether there is anything of that name: a file, a directory, a link to nowhere.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn contains(&self, name: &str) -> io::Result<bool> {
        match self {
            Directory::Kernel(it) => it.contains(name),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.contains(name),
        }
    }

    /// Gives a file another name, in one step, and never over anything that has that name.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken, and what the disk refuses.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        match self {
            Directory::Kernel(it) => it.rename(from, to),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.rename(from, to),
        }
    }

    /// Removes a file. Whoever has it open keeps it.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self {
            Directory::Kernel(it) => it.remove(name),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.remove(name),
        }
    }

    /// Waits until the names are on the disk.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Directory::Kernel(it) => it.sync(),
            #[cfg(feature = "simulated")]
            Directory::Simulated(it) => it.sync(),
        }
    }
}

#[cfg(all(test, feature = "simulated"))]
impl File {
    /// Cuts off what lies behind `size`.
    pub(crate) fn truncate(&self, size: usize) {
        if let File::Simulated(file) = self {
            file.truncate(size);
        }
    }

    /// Makes every later read of its disk fail.
    pub(crate) fn break_down(&self) {
        if let File::Simulated(file) = self {
            file.break_down();
        }
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File::Kernel(file)
    }
}

impl File {
    /// A file on a disk of its own, of which nothing is in the page cache.
    #[cfg(feature = "simulated")]
    pub fn in_memory(bytes: Vec<u8>) -> File {
        File::Simulated(simulated::File::alone(bytes))
    }

    /// The kernel's file, which it sends by itself.
    pub(crate) fn kernel(&self) -> Option<&std::fs::File> {
        match self {
            File::Kernel(file) => Some(file),
            #[cfg(feature = "simulated")]
            File::Simulated(_) => None,
        }
    }

    /// Whether sending this range would wait for no disk.
    #[cfg(feature = "simulated")]
    pub(crate) fn is_warm(&self, range: Range<u64>) -> bool {
        match self {
            File::Kernel(_) => true,
            File::Simulated(file) => file.is_warm(range),
        }
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn size(&self) -> io::Result<u64> {
        self.identity().map(|identity| identity.size)
    }

    /// Which file it is, and which contents it has now.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn identity(&self) -> io::Result<Identity> {
        match self {
            File::Kernel(file) => kernel::identity(file),
            #[cfg(feature = "simulated")]
            File::Simulated(file) => file.identity(),
        }
    }

    /// Reads at an offset, and returns how many bytes: fewer than asked for only where the
    /// file ends.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            File::Kernel(file) => kernel::read_at(file, buffer, offset),
            #[cfg(feature = "simulated")]
            File::Simulated(file) => file.read_at(buffer, offset),
        }
    }

    /// Writes all of the bytes at an offset.
    ///
    /// # Errors
    /// What the disk refuses. Some of the bytes may have been written.
    pub fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self {
            File::Kernel(file) => kernel::write_at(file, bytes, offset),
            #[cfg(feature = "simulated")]
            File::Simulated(file) => file.write_at(bytes, offset),
        }
    }

    /// Waits until the contents are on the disk. Once it has failed, they may never get
    /// there, whatever a second call says.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            File::Kernel(file) => file.sync_all(),
            #[cfg(feature = "simulated")]
            File::Simulated(file) => file.sync(),
        }
    }

    /// Brings a range into the page cache and waits for it, so that sending it does not wait
    /// for the disk. What is past the end of the file is left out.
    ///
    /// # Errors
    /// What the disk refuses.
    pub fn warm(&self, range: Range<u64>) -> io::Result<()> {
        match self {
            File::Kernel(file) => kernel::warm(file, range),
            #[cfg(feature = "simulated")]
            File::Simulated(file) => file.warm(range),
        }
    }
}
