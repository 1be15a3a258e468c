//! Standard input.
//!
//! A terminal or a pipe goes into the poll. A file does not (epoll_ctl(2):
//! EPERM). The descriptor stays blocking, since its mode is shared with the
//! shell that started us: it is asked with poll(2) before each read.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::poll::Registry;
#[cfg(feature = "simulated")]
use super::simulated::World;

/// Bytes per read.
const READ_SIZE: usize = 64 * 1024;

/// Standard input; there is one.
#[derive(Debug)]
pub(crate) enum StandardInput {
    Kernel,
    #[cfg(feature = "simulated")]
    Simulated(World),
}

impl StandardInput {
    /// Registers it; false if it is a file, which the poll refuses.
    pub fn register(registry: &Registry, token: Token) -> io::Result<(StandardInput, bool)> {
        match registry {
            Registry::Kernel(registry) => {
                let stdin = io::stdin().as_raw_fd();
                match registry.register(&mut SourceFd(&stdin), token, Interest::READABLE) {
                    Ok(()) => Ok((StandardInput::Kernel, true)),
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        Ok((StandardInput::Kernel, false))
                    }
                    Err(error) => Err(error),
                }
            }
            #[cfg(feature = "simulated")]
            Registry::Simulated(world) => {
                let polled = world.register_stdin(token);
                Ok((StandardInput::Simulated(world.clone()), polled))
            }
        }
    }

    /// Takes it out of the poll. It stays open after us, so this is done by hand.
    pub fn deregister(&self, registry: &Registry) {
        match registry {
            Registry::Kernel(registry) => {
                let _ = registry.deregister(&mut SourceFd(&io::stdin().as_raw_fd()));
            }
            #[cfg(feature = "simulated")]
            Registry::Simulated(world) => world.deregister_stdin(),
        }
    }

    /// Reads once if there is something, `None` if not. An empty vector is the end.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match self {
            StandardInput::Kernel => {
                let stdin = io::stdin();
                let mut waiting = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
                match poll(&mut waiting, PollTimeout::ZERO) {
                    // A signal; asked again, it will tell.
                    Err(nix::errno::Errno::EINTR) => return Err(io::ErrorKind::Interrupted.into()),
                    Ok(0) => return Ok(None),
                    outcome => outcome?,
                };
                read_blocking().map(Some)
            }
            #[cfg(feature = "simulated")]
            StandardInput::Simulated(world) => world.read_stdin(),
        }
    }

    /// A job that waits for some of it, for a thread that may block.
    pub fn blocking_read(&self) -> Box<dyn FnOnce() -> io::Result<Vec<u8>> + Send> {
        match self {
            StandardInput::Kernel => Box::new(read_blocking),
            #[cfg(feature = "simulated")]
            StandardInput::Simulated(world) => {
                let world = world.clone();
                Box::new(move || world.read_stdin().map(Option::unwrap_or_default))
            }
        }
    }
}

/// Waits for some of standard input.
fn read_blocking() -> io::Result<Vec<u8>> {
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
