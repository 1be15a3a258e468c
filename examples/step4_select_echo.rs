//! Step 4: `select`. The kernel says which sockets are ready, and the program
//! sleeps until one is.
//!
//! Before each wait the program lists what it waits for: room to send for a
//! client that still has an answer to come, input for everybody else.
//!
//!     cargo run --example step4_select_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals. Then a client that never reads:
//! `python3 -c "import socket; s = socket.create_connection(('127.0.0.1', 3333)); s.sendall(bytes(10**8))"`
//! stops where the socket buffers end, and the others are served on.
//!
//! Watch: `top` shows no load now. But `strace -c -p PID` shows an `epoll_ctl` for
//! every client at every wait: the lists are handed over anew each time, so a
//! message costs more the more clients are idle. Next, step 5: hand them over once.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::thread;
use std::time::Duration;

use onepoll::selectors::select;

struct Client {
    stream: TcpStream,
    /// Read, but not taken back by the socket yet.
    unsent: Vec<u8>,
}

impl Client {
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        if self.unsent.is_empty() {
            let length = self.stream.read(buffer)?;
            if length == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.unsent.extend_from_slice(&buffer[..length]);
        }
        // A write may take a part only. The rest waits for room.
        let length = self.stream.write(&self.unsent)?;
        self.unsent.drain(..length);
        Ok(())
    }
}

/// Ready means "try", and what was ready may be gone; so the sockets are
/// non-blocking, with select too.
fn try_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn accept(listener: &TcpListener, clients: &mut HashMap<RawFd, Client>) {
    let accepted = listener.accept().and_then(|(stream, _)| {
        stream.set_nonblocking(true)?;
        Ok(clients.insert(stream.as_raw_fd(), Client { stream, unsent: Vec::new() }))
    });
    if let Err(error) = accepted
        && !try_later(&error)
    {
        // Out of descriptors, as a rule: the listener stays readable, so take a
        // breath instead of spinning until somebody leaves.
        eprintln!("cannot accept a client: {error}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

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
            } else if let Some(client) = clients.get_mut(&fd)
                && let Err(error) = client.turn(&mut buffer)
                && !try_later(&error)
            {
                clients.remove(&fd);
            }
        }
    }
}
