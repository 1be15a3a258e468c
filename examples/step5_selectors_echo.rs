//! Step 5: `selectors`, with a callback as each key's data.
//!
//! The selector remembers who waits for what, so the loop is three lines and knows
//! nothing of echo: it calls what it finds in `key.data`.
//!
//! The example in Python's documentation sends each answer at once and hopes that
//! `send` does not block. A client that reads late shows what that is worth: the
//! socket takes a part, or nothing. Here the rest is kept, and a `modify` says what
//! the client waits for now: room to send. Until then it is not read.
//!
//!     cargo run --example step5_selectors_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals; then the client that never reads, of
//! step 4.
//!
//! Watch: `strace -c -p PID` with many clients connected: a message costs four calls
//! now, however many others are idle. One of them is the `epoll_ctl` that makes an
//! edge-triggered epoll level-triggered. Next, step 6: without it.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use onepoll::selectors::{EVENT_READ, EVENT_WRITE, Selector};

/// What happens when the descriptor is ready. An error ends that connection only.
type Callback = fn(&mut Server, RawFd) -> io::Result<()>;

struct Server {
    selector: Selector<Callback>,
    listener: TcpListener,
    clients: HashMap<RawFd, Client>,
}

struct Client {
    stream: TcpStream,
    /// Read, but not taken back by the socket yet.
    unsent: Vec<u8>,
}

impl Server {
    fn accept(&mut self, _listener: RawFd) -> io::Result<()> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        self.selector.register(&stream, EVENT_READ, Server::read)?;
        self.clients.insert(stream.as_raw_fd(), Client { stream, unsent: Vec::new() });
        Ok(())
    }

    fn read(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&fd) else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        let length = client.stream.read(&mut buffer)?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        client.unsent.extend_from_slice(&buffer[..length]);
        self.write(fd)
    }

    fn write(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&fd) else { return Ok(()) };
        match client.stream.write(&client.unsent) {
            Ok(length) => drop(client.unsent.drain(..length)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // Costs nothing where it changes nothing.
        if client.unsent.is_empty() {
            self.selector.modify(&fd, EVENT_READ, Server::read)?;
        } else {
            self.selector.modify(&fd, EVENT_WRITE, Server::write)?;
        }
        Ok(())
    }

    fn failed(&mut self, fd: RawFd, error: io::Error) {
        if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
            // Ready means "try"; what was ready may be gone.
        } else if let Some(client) = self.clients.remove(&fd) {
            let _ = self.selector.unregister(&client.stream);
        } else {
            // The listener, and out of descriptors as a rule: it stays readable, so
            // take a breath instead of spinning until somebody leaves.
            eprintln!("cannot accept a client: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut selector: Selector<Callback> = Selector::new()?;
    selector.register(&listener, EVENT_READ, Server::accept)?;
    let mut server = Server { selector, listener, clients: HashMap::new() };
    loop {
        for (key, _) in server.selector.select(None)? {
            let callback = key.data;
            callback(&mut server, key.fd).unwrap_or_else(|error| server.failed(key.fd, error));
        }
    }
}
