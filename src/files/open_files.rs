//! The files that a daemon has open, over all its roots: each one once, however many are sent
//! it, and no more than its descriptors allow.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::error::FileError;
use crate::disk::{File, Identity};

/// The part of a process's descriptors that open files may take: one in four. Whoever opens
/// anything else leaves that many free.
pub fn most_open(descriptors: u64) -> usize {
    usize::try_from(descriptors / 4).unwrap_or(usize::MAX).max(1)
}

/// Fewer places than this are not worth clearing up.
const WORTH_CLEARING: usize = 64;

/// The open files.
#[derive(Debug)]
pub(super) struct OpenFiles {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The files that are read, by device and inode: an inode is not used again while it is
    /// open. Some may be closed already.
    read: HashMap<(u64, u64), Weak<File>>,
    /// Those that are closed are forgotten once there are so many.
    clear_at: usize,
    /// How many files are written.
    written: usize,
}

/// A place for a file that is written. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place(Arc<OpenFiles>);

impl OpenFiles {
    pub fn new(most: usize) -> Arc<OpenFiles> {
        Arc::new(OpenFiles { most, table: Mutex::default() })
    }

    /// Takes a file that was opened to be read. If it is open already, the new descriptor
    /// is closed and the old one is shared, and with it what was read ahead.
    pub fn share(&self, file: File, identity: &Identity) -> Result<Arc<File>, FileError> {
        let mut table = self.table();
        let inode = (identity.device, identity.inode);
        if let Some(open) = table.read.get(&inode).and_then(Weak::upgrade) {
            return Ok(open);
        }
        self.make_room(&mut table)?;
        let file = Arc::new(file);
        table.read.insert(inode, Arc::downgrade(&file));
        Ok(file)
    }

    /// Makes room for a file that is written.
    pub fn write(self: &Arc<Self>) -> Result<Place, FileError> {
        let mut table = self.table();
        self.make_room(&mut table)?;
        table.written += 1;
        Ok(Place(Arc::clone(self)))
    }

    fn make_room(&self, table: &mut Table) -> Result<(), FileError> {
        if table.read.len() + table.written >= self.most.min(table.clear_at.max(WORTH_CLEARING)) {
            table.read.retain(|_, file| file.strong_count() > 0);
            table.clear_at = 2 * (table.read.len() + table.written);
        }
        if table.read.len() + table.written >= self.most { Err(FileError::Busy) } else { Ok(()) }
    }

    /// How many places of the table are taken.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.table().read.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.table().written -= 1;
    }
}
