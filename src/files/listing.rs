//! The files of a root, as one pass over its directory finds them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, OnceLock};

use super::names::Name;
use super::root::is_temporary;
use crate::disk::{Entry, Modified};

/// The most files that a listing shows, which bounds its memory to a few MiB. A root holds
/// no more by default; where somebody put more, the newest are shown.
pub const MOST_LISTED: usize = 10_000;

/// A file of a listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// When its contents changed last.
    pub modified: Modified,
    /// The name to ask for.
    pub name: Name,
    /// Its length in bytes.
    pub size: u64,
}

/// What a root shows to clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of their names.
    pub files: Vec<Listed>,
    /// How many older ones are not shown, since there are more than [`MOST_LISTED`].
    pub left_out: u64,
    text: OnceLock<Arc<[u8]>>,
}

impl Listing {
    /// The listing as `write` writes it: once, however many ask.
    pub fn text(&self, write: impl FnOnce(&Listing) -> Vec<u8>) -> Arc<[u8]> {
        Arc::clone(self.text.get_or_init(|| write(self).into()))
    }
}

/// A listing that is being made, and what takes room.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The oldest on top.
    newest: BinaryHeap<Reverse<Listed>>,
    left_out: u64,
    /// Abandoned uploads, perhaps.
    pub temporary: Vec<String>,
    pub files: u64,
    pub bytes: u64,
}

impl Scan {
    pub fn add(&mut self, entry: Entry) {
        if let Some(name) = entry.name.as_deref().filter(|name| is_temporary(name)) {
            if self.temporary.len() < MOST_LISTED {
                self.temporary.push(name.into());
            }
            return;
        }
        if !entry.is_link {
            self.files += 1;
            self.bytes += entry.size;
        }
        let Some(name) = entry.name.as_deref().and_then(Name::of_file) else { return };
        self.newest.push(Reverse(Listed { modified: entry.modified, name, size: entry.size }));
        if self.newest.len() > MOST_LISTED {
            self.newest.pop();
            self.left_out += 1;
        }
    }

    pub fn listing(self) -> Listing {
        let mut files: Vec<_> = self.newest.into_iter().map(|Reverse(file)| file).collect();
        files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Listing { files, left_out: self.left_out, text: OnceLock::new() }
    }
}
