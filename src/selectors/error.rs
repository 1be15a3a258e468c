//! What can go wrong with a selector.

use std::error::Error;
use std::fmt;
use std::io;
use std::os::fd::RawFd;

/// The reason why a call on a [`Selector`](super::Selector), or
/// [`select`](super::select()), failed.
///
/// `?` turns it into an [`io::Error`], so code that also reads and writes needs
/// only one error type.
#[derive(Debug)]
#[non_exhaustive]
pub enum SelectorError {
    /// `register` for a descriptor that already has a key (Python: `KeyError`).
    AlreadyRegistered {
        /// The descriptor.
        fd: RawFd,
    },
    /// `unregister`, `modify` or `get_key` for a descriptor without a key
    /// (Python: `KeyError`).
    NotRegistered {
        /// The descriptor.
        fd: RawFd,
    },
    /// `register` or `modify` with an empty set of events (Python: `ValueError`).
    NoEvents {
        /// The descriptor.
        fd: RawFd,
    },
    /// The number is negative or does not belong to an open descriptor (EBADF).
    BadDescriptor {
        /// The number.
        fd: RawFd,
    },
    /// The kernel cannot wait for this kind of descriptor: it is a regular file
    /// or a directory (EPERM).
    Unsupported {
        /// The descriptor.
        fd: RawFd,
    },
    /// The selector has been closed (Python: `RuntimeError`).
    Closed,
    /// The system refused for a reason that is not the caller's fault, usually
    /// because a limit has been reached.
    System {
        /// What was attempted, to follow "cannot".
        action: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl SelectorError {
    /// The error for a descriptor that mio (that is, epoll_ctl(2)) refused.
    pub(super) fn refused(fd: RawFd, source: io::Error) -> SelectorError {
        use nix::libc::{EBADF, EPERM};
        match source.raw_os_error() {
            Some(EBADF) => SelectorError::BadDescriptor { fd },
            Some(EPERM) => SelectorError::Unsupported { fd },
            _ => SelectorError::System { action: format!("watch descriptor {fd}"), source },
        }
    }

    /// The error for a call that concerns none of the caller's descriptors.
    pub(super) fn system(action: &str, source: io::Error) -> SelectorError {
        SelectorError::System { action: action.to_owned(), source }
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SelectorError::*;
        match self {
            AlreadyRegistered { fd } => {
                write!(f, "descriptor {fd} is already registered: modify it, or unregister it first")
            }
            NotRegistered { fd } => write!(f, "descriptor {fd} is not registered with this selector"),
            NoEvents { fd } => {
                write!(f, "no events given for descriptor {fd}: pass EVENT_READ, EVENT_WRITE or both")
            }
            BadDescriptor { fd } => {
                write!(f, "{fd} is not an open descriptor: it was closed, or never opened")
            }
            Unsupported { fd } => write!(
                f,
                "descriptor {fd} cannot be waited for: it is a regular file or a directory, \
                 which never blocks for long; read or write it directly"
            ),
            Closed => write!(f, "the selector is closed: make a new one"),
            System { action, source } => write!(f, "cannot {action}: {source}"),
        }
    }
}

impl Error for SelectorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SelectorError::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<SelectorError> for io::Error {
    fn from(error: SelectorError) -> io::Error {
        let kind = match &error {
            SelectorError::AlreadyRegistered { .. } => io::ErrorKind::AlreadyExists,
            SelectorError::NotRegistered { .. } => io::ErrorKind::NotFound,
            SelectorError::Unsupported { .. } => io::ErrorKind::Unsupported,
            SelectorError::System { source, .. } => source.kind(),
            SelectorError::NoEvents { .. } | SelectorError::BadDescriptor { .. } | SelectorError::Closed => {
                io::ErrorKind::InvalidInput
            }
        };
        io::Error::new(kind, error)
    }
}
