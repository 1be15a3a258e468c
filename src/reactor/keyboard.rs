//! Standard input as one more thing to wait for.
//!
//! A terminal or a pipe goes into the poll. A file does not (epoll_ctl(2):
//! EPERM), so it is read on an offload thread. The descriptor stays blocking,
//! since its mode is shared with the shell that started us: it is asked with
//! poll(2) before each read.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::readiness::Latch;

/// Bytes of one read.
const READ_SIZE: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Keyboard {
    pub generation: u32,
    pub host: u16,
    pub latch: Latch,
    pub paused: bool,
    /// It is a file: an offload thread reads it.
    pub is_file: bool,
    /// A read is under way there.
    pub reading: bool,
}

/// What a read on an offload thread came to.
pub(crate) struct FileRead(pub io::Result<Vec<u8>>);

impl Keyboard {
    pub fn new(host: u16, generation: u32) -> Keyboard {
        Keyboard { generation, host, latch: Latch::default(), paused: false, is_file: false, reading: false }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let stdin = io::stdin().as_raw_fd();
        match registry.register(&mut SourceFd(&stdin), token, Interest::READABLE) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.is_file = true;
                Ok(())
            }
            outcome => outcome,
        }
    }

    pub fn deregister(&self, registry: &Registry) {
        if !self.is_file {
            // It stays open after us, so it has to be taken out by hand.
            let _ = registry.deregister(&mut SourceFd(&io::stdin().as_raw_fd()));
        }
    }

    /// Reads once if there is something; `None` if not, which clears the latch.
    /// An empty vector is the end.
    pub fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        let stdin = io::stdin();
        let mut waiting = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::ZERO)? == 0 {
            self.latch.drained();
            return Ok(None);
        }
        read_standard_input().map(Some)
    }
}

/// Waits for some of standard input.
pub(crate) fn read_standard_input() -> io::Result<Vec<u8>> {
    let mut typed = vec![0; READ_SIZE];
    let count = loop {
        match nix::unistd::read(io::stdin().as_fd(), &mut typed) {
            Err(nix::errno::Errno::EINTR) => {}
            // A terminal whose other side is gone.
            Err(nix::errno::Errno::EIO) => break 0,
            outcome => break outcome?,
        }
    };
    typed.truncate(count);
    Ok(typed)
}
