//! What services do with files: names that are fit, uploads that appear whole or not at all,
//! quotas, sums.
//!
//! A service is given a [`Root`]. From its jobs (each of these may wait for the disk):
//!
//! - [`clean`] turns what a peer calls a file into a [`Name`].
//! - [`Root::open`], [`Root::newest`] and [`Root::list`] find files. A [`Found`] is open: it
//!   keeps its contents, whatever happens to its name meanwhile.
//! - [`Root::begin`], [`Incoming::write`] and [`Incoming::finish`] take an upload. It goes to
//!   a temporary file, and gets its name once it is whole, checked and synced. To break it
//!   off, drop the [`Incoming`].
//! - [`Root::grow`] and [`Growing::append`] write a file that has its name from the start.
//! - [`Root::sum`] and [`Summing::step`] compute a SHA-256.
//!
//! Files that differ only by case are two files if they are on the disk below. Links are
//! followed as long as they stay below the root.

mod error;
mod growing;
mod incoming;
mod listing;
mod names;
mod open_files;
pub mod receiving;
mod root;
mod sums;
#[cfg(test)]
mod tests;
mod usage;

pub use error::FileError;
pub use growing::Growing;
pub use incoming::{Incoming, Stored};
pub use listing::{Listed, Listing, MOST_LISTED};
pub use names::{BadName, Name, clean};
pub use open_files::most_open;
pub use root::{Found, Policy, Root, Roots};
pub use sums::{Step, Summing};
