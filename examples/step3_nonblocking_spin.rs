//! Step 3: non-blocking sockets on one thread, asked again and again.
//!
//! A non-blocking call never waits: it answers, or says `WouldBlock`. So one
//! thread can ask all sockets in turn. But nobody tells it *when* to ask, so it
//! asks all the time: an idle server burns a whole core on questions that are
//! answered with "nothing yet", more of them with every client. The line that it
//! prints each second counts them.
//!
//!     cargo run --example step3_nonblocking_spin [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals; both are answered, at once even.
//!
//! Watch: `top` (100 % of a core, for nothing) and `strace -c -p PID` for a second:
//! hundreds of thousands of failed `accept4` and `recvfrom`. A sleep in the loop
//! only trades the load for delay. Next, step 4: let the kernel say when.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

struct Client {
    stream: TcpStream,
    /// Read, but not taken back by the socket yet.
    unsent: Vec<u8>,
}

enum Turn {
    Progress,
    NothingYet,
    Ended,
}

impl Client {
    /// One question to the socket. While something is unsent nothing more is read:
    /// who does not take its answers is not heard, and memory stays bounded.
    fn turn(&mut self, buffer: &mut [u8]) -> Turn {
        let answer = if self.unsent.is_empty() {
            self.stream.read(buffer).inspect(|&length| self.unsent.extend_from_slice(&buffer[..length]))
        } else {
            // A write may take a part only.
            self.stream.write(&self.unsent).inspect(|&length| drop(self.unsent.drain(..length)))
        };
        match answer {
            Ok(0) => Turn::Ended,
            Ok(_) => Turn::Progress,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Turn::NothingYet
            }
            Err(error) => {
                eprintln!("a connection broke: {error}");
                Turn::Ended
            }
        }
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}", listener.local_addr()?);

    let mut clients: Vec<Client> = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let (mut useful, mut in_vain, mut second) = (0u64, 0u64, Instant::now());
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                clients.push(Client { stream, unsent: Vec::new() });
                useful += 1;
            }
            // Nobody there; or no descriptor left, and then nobody can be let in.
            Err(_) => in_vain += 1,
        }
        clients.retain_mut(|client| {
            let turn = client.turn(&mut buffer);
            *(if matches!(turn, Turn::NothingYet) { &mut in_vain } else { &mut useful }) += 1;
            !matches!(turn, Turn::Ended)
        });
        if second.elapsed() >= Duration::from_secs(1) {
            eprintln!("{} clients; system calls: {useful} useful, {in_vain} in vain", clients.len());
            (useful, in_vain, second) = (0, 0, Instant::now());
        }
    }
}
