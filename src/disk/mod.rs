//! Files: the kernel's, or in tests one in memory.
//!
//! Everything here may wait for a disk, so only offloaded jobs call it. Dropping a file
//! is allowed anywhere, and the loop may send a range that is in the page cache.

#[cfg(feature = "simulated")]
mod simulated;

use std::io;
use std::ops::Range;

/// An open file, which is read and written by offset.
#[derive(Debug)]
pub struct File(Form);

#[derive(Debug)]
enum Form {
    Kernel(std::fs::File),
    #[cfg(feature = "simulated")]
    Simulated(simulated::File),
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> File {
        File(Form::Kernel(file))
    }
}

impl File {
    /// A file in memory, of which nothing is in the page cache.
    #[cfg(feature = "simulated")]
    pub fn in_memory(bytes: Vec<u8>) -> File {
        File(Form::Simulated(simulated::File::new(bytes)))
    }

    /// How many bytes it holds.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn size(&self) -> io::Result<u64> {
        match &self.0 {
            Form::Kernel(file) => Ok(file.metadata()?.len()),
            #[cfg(feature = "simulated")]
            Form::Simulated(file) => Ok(file.size()),
        }
    }

    /// Reads bytes from `offset` on, as many as there are and `buffer` takes.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.0 {
            Form::Kernel(file) => std::os::unix::fs::FileExt::read_at(file, buffer, offset),
            #[cfg(feature = "simulated")]
            Form::Simulated(file) => Ok(file.read_at(buffer, offset)),
        }
    }

    /// Brings a range into the page cache and waits for it, without a copy of its bytes.
    /// What lies behind the end of the file is ignored.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn warm(&self, range: Range<u64>) -> io::Result<()> {
        match &self.0 {
            Form::Kernel(file) => warm(file, range),
            #[cfg(feature = "simulated")]
            Form::Simulated(file) => file.warm(range),
        }
    }

    /// The kernel's file, which it sends by itself.
    pub(crate) fn kernel(&self) -> Option<&std::fs::File> {
        match &self.0 {
            Form::Kernel(file) => Some(file),
            #[cfg(feature = "simulated")]
            Form::Simulated(_) => None,
        }
    }

    /// Whether sending this range would wait for no disk.
    #[cfg(feature = "simulated")]
    pub(crate) fn is_warm(&self, range: Range<u64>) -> bool {
        match &self.0 {
            Form::Kernel(_) => true,
            Form::Simulated(file) => file.is_warm(range),
        }
    }

    /// Cuts off what lies behind `size`.
    #[cfg(all(test, feature = "simulated"))]
    pub(crate) fn truncate(&self, size: u64) {
        match &self.0 {
            Form::Kernel(_) => {}
            Form::Simulated(file) => file.truncate(size),
        }
    }

    /// Makes every later `warm` fail.
    #[cfg(all(test, feature = "simulated"))]
    pub(crate) fn break_down(&self) {
        match &self.0 {
            Form::Kernel(_) => {}
            Form::Simulated(file) => file.break_down(),
        }
    }
}

/// Sends the range to /dev/null: that reads what is not in the page cache yet, and of
/// what is there it only looks at the pages.
#[cfg(target_os = "linux")]
fn warm(file: &std::fs::File, range: Range<u64>) -> io::Result<()> {
    use std::sync::OnceLock;

    static NOWHERE: OnceLock<std::fs::File> = OnceLock::new();
    let nowhere = match NOWHERE.get() {
        Some(nowhere) => nowhere,
        None => {
            let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
            NOWHERE.get_or_init(|| nowhere)
        }
    };
    let mut offset = range.start;
    while offset < range.end {
        let left = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
        match rustix::fs::sendfile(nowhere, file, Some(&mut offset), left) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn warm(file: &std::fs::File, range: Range<u64>) -> io::Result<()> {
    use std::os::unix::fs::FileExt;

    let mut buffer = vec![0; 64 * 1024];
    let mut offset = range.start;
    while offset < range.end {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => break,
            Ok(count) => offset += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
