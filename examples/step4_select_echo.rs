//! Step 4: `select`. The kernel says which sockets are ready, and the program
//! sleeps until one is.
//!
//! Before each wait the program lists what it waits for: room to send for a client
//! with unsent output, input from everybody else.
//!
//! This `select` has the form of Python's, but it is emulated on epoll, Linux's own
//! way to wait: `epoll_create1` makes a set, `epoll_ctl` adds a descriptor to it, and
//! `epoll_wait` sleeps until one of them is ready. Such a set can be kept from one
//! wait to the next; but `select` remembers nothing, so each call makes a new one.
//!
//!     cargo run --example step4_select_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` (or `onepoll echo`, as in step 1) in two terminals. Then
//! a client that never reads:
//! `python3 -c "import socket; s = socket.create_connection(('127.0.0.1', 3333)); s.sendall(bytes(10**8))"`
//! stops when the socket buffers are full, and the others are still served.
//!
//! Watch: `top` shows no load any more. Hold fifty silent connections open with
//! `cargo run -- stress idle 127.0.0.1:3333 --connections 50 --duration 5m`, and run
//! `strace -c -p PID` while you type a few lines into `nc`. There is no `select`: each
//! line costs one `epoll_create1`, `epoll_wait` and `close`, and an `epoll_ctl` for each
//! of the 52 sockets. So the more clients are idle, the more a message costs. Next,
//! step 5: hand the lists over once.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use onepoll::selectors::select;

struct Client {
    stream: TcpStream,
    peer: SocketAddr,
    /// Read from the socket, but not yet taken back by it.
    unsent: Vec<u8>,
}

impl Client {
    /// Makes one read and one write at most. False at the end of the client's input.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if self.unsent.is_empty() {
            let length = self.stream.read(buffer)?;
            if length == 0 {
                return Ok(false);
            }
            self.unsent.extend_from_slice(&buffer[..length]);
        }
        // The socket may take only a part. The rest waits for room.
        let length = self.stream.write(&self.unsent)?;
        self.unsent.drain(..length);
        Ok(true)
    }
}

/// "Ready" means "try": what was ready may be gone by now. So the sockets are
/// non-blocking, with `select` too.
fn try_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn accept(listener: &TcpListener, clients: &mut HashMap<RawFd, Client>) {
    let accepted = listener.accept().and_then(|(stream, peer)| {
        stream.set_nonblocking(true)?;
        Ok(clients.insert(stream.as_raw_fd(), Client { stream, peer, unsent: Vec::new() }))
    });
    if let Err(error) = accepted
        && !try_later(&error)
    {
        // Usually no descriptor is left. The listener stays readable, so take a
        // breath instead of spinning until somebody leaves.
        eprintln!("cannot accept a client: {error}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}, PID {}", listener.local_addr()?, process::id());

    let mut clients: HashMap<RawFd, Client> = HashMap::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let (mut read, mut write) = (vec![listener.as_raw_fd()], vec![]);
        for (fd, client) in &clients {
            if client.unsent.is_empty() { read.push(*fd) } else { write.push(*fd) }
        }
        let (readable, writable, _) = select(&read, &write, &[], None)?;
        for fd in readable.into_iter().chain(writable) {
            if fd == listener.as_raw_fd() {
                accept(&listener, &mut clients);
                continue;
            }
            let Some(client) = clients.get_mut(&fd) else { continue };
            match client.turn(&mut buffer) {
                Ok(true) => continue,
                Err(error) if try_later(&error) => continue,
                Ok(false) => eprintln!("{} has ended", client.peer),
                Err(error) => eprintln!("{}: {error}", client.peer),
            }
            clients.remove(&fd);
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
