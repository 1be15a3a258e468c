//! What can go wrong with a file, for the wire and for people.

use std::fmt;
use std::io::{self, ErrorKind};

use rustix::io::Errno;

use super::names::BadName;

/// Why a file is not handed out or not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileError {
    /// There is no regular file of that name below the root.
    NotFound,
    /// The daemon is not allowed to read it.
    Denied,
    /// No file can have that name.
    BadName(BadName),
    /// A single file may not be as long as that.
    TooLarge(u64),
    /// All files together may not be as long as that.
    NoRoom(u64),
    /// The disk is full.
    DiskFull,
    /// There may not be more files than that.
    TooManyFiles(u64),
    /// Nothing can be stored here.
    ReadOnly,
    /// Every name that was tried is taken.
    Taken,
    /// The contents do not have the SHA-256 that was told.
    WrongSum,
    /// The contents do not have the length that was told.
    WrongSize {
        /// The length that was told.
        told: u64,
        /// The bytes that came.
        came: u64,
    },
    /// The file changed while it was read.
    Changed,
    /// No more files can be open at the same time.
    Busy,
    /// The root cannot be opened.
    Unavailable(String),
    /// The disk failed.
    Io(String),
}

impl FileError {
    /// One word for the wire.
    pub fn code(&self) -> &'static str {
        match self {
            FileError::NotFound => "not-found",
            FileError::Denied => "denied",
            FileError::BadName(_) => "bad-name",
            FileError::TooLarge(_) => "too-large",
            FileError::NoRoom(_) | FileError::DiskFull => "no-room",
            FileError::TooManyFiles(_) => "too-many-files",
            FileError::ReadOnly => "read-only",
            FileError::Taken => "taken",
            FileError::WrongSum => "wrong-sum",
            FileError::WrongSize { .. } => "wrong-size",
            FileError::Changed => "changed",
            FileError::Busy => "busy",
            FileError::Unavailable(_) => "unavailable",
            FileError::Io(_) => "io",
        }
    }

    /// What an error means when a file was to be read.
    pub(super) fn reading(error: io::Error) -> FileError {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::NotADirectory => FileError::NotFound,
            // What leads out of the root is told no better than what is forbidden.
            ErrorKind::PermissionDenied => FileError::Denied,
            _ if Errno::from_io_error(&error) == Some(Errno::LOOP) => FileError::NotFound,
            _ if is_about_descriptors(&error) => FileError::Busy,
            _ => FileError::Io(format!("the file cannot be read: {error}")),
        }
    }

    /// What an error means when a file was to be stored.
    pub(super) fn storing(error: io::Error) -> FileError {
        match Errno::from_io_error(&error) {
            Some(Errno::NOSPC | Errno::DQUOT) => FileError::DiskFull,
            Some(Errno::ROFS | Errno::ACCESS | Errno::PERM) => FileError::ReadOnly,
            Some(Errno::MFILE | Errno::NFILE) => FileError::Busy,
            Some(Errno::NAMETOOLONG) => FileError::BadName(BadName::TooLong),
            _ => FileError::Io(format!("the file cannot be stored: {error}")),
        }
    }
}

/// Whether the process, or the system, has no descriptor left.
pub(super) fn is_about_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::NotFound => f.write_str("there is no file of that name"),
            FileError::Denied => f.write_str("the server may not read that file"),
            FileError::BadName(why) => write!(f, "{why}"),
            FileError::TooLarge(most) => write!(f, "a file may have at most {most} bytes here"),
            FileError::NoRoom(most) => {
                write!(f, "there is no room: all files together may have at most {most} bytes here")
            }
            FileError::DiskFull => f.write_str("the server's disk is full"),
            FileError::TooManyFiles(most) => write!(f, "there may be at most {most} files here"),
            FileError::ReadOnly => f.write_str("files cannot be stored here"),
            FileError::Taken => f.write_str("that name and all its numbered forms are taken; choose another"),
            FileError::WrongSum => f.write_str("the contents do not have the SHA-256 that was given"),
            FileError::WrongSize { told, came } => {
                write!(f, "{told} bytes were announced and {came} came")
            }
            FileError::Changed => f.write_str("the file changed while it was read; ask again"),
            FileError::Busy => f.write_str("the server has too many files open, try again later"),
            FileError::Unavailable(why) => write!(f, "the server's files are unavailable: {why}"),
            FileError::Io(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for FileError {}

impl From<BadName> for FileError {
    fn from(why: BadName) -> FileError {
        FileError::BadName(why)
    }
}
