//! Step 5: `selectors`, with a callback as the data of each key.
//!
//! The selector remembers who waits for what, so the loop is three lines long and
//! knows nothing about echo: it calls what it finds in `key.data`.
//!
//! The example in Python's documentation sends each answer at once and hopes that
//! `send` does not block. A client that reads late shows what that hope is worth: the
//! socket takes a part, or nothing. Here the rest is kept, and `modify` says what the
//! client waits for now: room to send. Until then it is not read.
//!
//!     cargo run --example step5_selectors_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` (or `onepoll echo`, as in step 1) in two terminals; then
//! the client that never reads, from step 4; then many clients at once:
//! `cargo run -- stress echo 127.0.0.1:3333 --connections 50`.
//!
//! Watch: the fifty silent connections of step 4 cost nothing any more.
//! `strace -c -p PID` counts four calls per line: `epoll_wait`, `recvfrom`, `sendto`
//! and `epoll_ctl`. Under the load of fifty clients, one `epoll_wait` serves many.
//!
//! Why the `epoll_ctl`? `select` and `selectors` are level-triggered: every wait
//! reports a socket that is ready. The epoll underneath is used edge-triggered: it
//! reports a socket when something new arrives or room appears, but not again just
//! because input is still unread. So after each report an `epoll_ctl` makes it look
//! anew. Next, step 6: without it.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use onepoll::selectors::{EVENT_READ, EVENT_WRITE, Selector};

/// Called when the descriptor is ready. An error ends that connection only.
type Callback = fn(&mut Server, RawFd) -> io::Result<()>;

struct Server {
    selector: Selector<Callback>,
    listener: TcpListener,
    clients: HashMap<RawFd, Client>,
}

struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    /// Read from the socket, but not yet taken back by it.
    unsent: Vec<u8>,
}

impl Server {
    fn accept(&mut self, _listener: RawFd) -> io::Result<()> {
        let (stream, peer) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        self.selector.register(&stream, EVENT_READ, Server::read)?;
        self.clients.insert(stream.as_raw_fd(), Client { stream, peer, unsent: Vec::new() });
        Ok(())
    }

    fn read(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&fd) else { return Ok(()) };
        let mut buffer = [0; 16 * 1024];
        let length = client.stream.read(&mut buffer)?;
        if length == 0 {
            self.close(fd, Ok(()));
            return Ok(());
        }
        client.unsent.extend_from_slice(&buffer[..length]);
        self.write(fd)
    }

    fn write(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(client) = self.clients.get_mut(&fd) else { return Ok(()) };
        match client.stream.write(&client.unsent) {
            Ok(length) => drop(client.unsent.drain(..length)),
            Err(error) if try_later(&error) => {}
            Err(error) => return Err(error),
        }
        // Makes a system call only if this changes what the client waits for.
        if client.unsent.is_empty() {
            self.selector.modify(&fd, EVENT_READ, Server::read)?;
        } else {
            self.selector.modify(&fd, EVENT_WRITE, Server::write)?;
        }
        Ok(())
    }

    fn close(&mut self, fd: RawFd, outcome: io::Result<()>) {
        let Some(client) = self.clients.remove(&fd) else { return };
        // Fails only if a failed `modify` has done this already.
        let _ = self.selector.unregister(&client.stream);
        match outcome {
            Ok(()) => eprintln!("{} has ended", client.peer),
            Err(error) => eprintln!("{}: {error}", client.peer),
        }
    }

    fn failed(&mut self, fd: RawFd, error: io::Error) {
        if try_later(&error) {
            return;
        }
        if fd == self.listener.as_raw_fd() {
            // Usually no descriptor is left. The listener stays readable, so take a
            // breath instead of spinning until somebody leaves.
            eprintln!("cannot accept a client: {error}");
            thread::sleep(Duration::from_millis(100));
        } else {
            self.close(fd, Err(error));
        }
    }
}

/// "Ready" means "try": what was ready may be gone by now.
fn try_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}, PID {}", listener.local_addr()?, process::id());

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

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let Err(error) = serve(&address) else { return ExitCode::SUCCESS };
    let why = match error.kind() {
        ErrorKind::AddrInUse => "another program uses this port".to_owned(),
        _ => error.to_string(),
    };
    eprintln!("cannot serve on {address}: {why}; try another address, such as 127.0.0.1:4000");
    ExitCode::FAILURE
}
