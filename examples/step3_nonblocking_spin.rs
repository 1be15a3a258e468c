//! Step 3: non-blocking sockets on one thread, asked again and again.
//!
//! A non-blocking call never waits: it returns a result at once, or the error
//! `WouldBlock`. So one thread can ask every socket in turn. But nothing tells it
//! *when* to ask, so it asks all the time: an idle server burns a whole core on calls
//! that return nothing, one per client and round.
//!
//!     cargo run --example step3_nonblocking_spin [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` (or `onepoll echo`, as in step 1) in two terminals; both
//! are answered, and at once.
//!
//! Watch: `top` shows a core at 100 %. Each second the server prints how many calls
//! it made: with nobody connected, hundreds of thousands in vain. Run `strace -c -p
//! PID` for a second: it slows down each call, and still counts tens of thousands of
//! failed `accept4` and `recvfrom`. A sleep in the loop would only trade the load for
//! delay. Next, step 4: let the kernel say when.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};

struct Client {
    stream: TcpStream,
    /// Read from the socket, but not yet taken back by it.
    unsent: Vec<u8>,
}

#[derive(PartialEq)]
enum Turn {
    Progress,
    NothingYet,
    Ended,
}

impl Client {
    /// Makes one call on the socket. While output is unsent nothing more is read, so
    /// a client that does not take its answers cannot fill our memory.
    fn turn(&mut self, buffer: &mut [u8]) -> Turn {
        let result = if self.unsent.is_empty() {
            self.stream.read(buffer).inspect(|&length| self.unsent.extend_from_slice(&buffer[..length]))
        } else {
            // The socket may take only a part.
            self.stream.write(&self.unsent).inspect(|&length| drop(self.unsent.drain(..length)))
        };
        match result {
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

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    println!("listening on {}, PID {}", listener.local_addr()?, process::id());

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
            // Nobody is waiting, or no descriptor is left to let anybody in.
            Err(_) => in_vain += 1,
        }
        clients.retain_mut(|client| {
            let turn = client.turn(&mut buffer);
            if turn == Turn::NothingYet {
                in_vain += 1
            } else {
                useful += 1
            }
            turn != Turn::Ended
        });
        if second.elapsed() >= Duration::from_secs(1) {
            eprintln!("{} clients; system calls: {useful} useful, {in_vain} in vain", clients.len());
            (useful, in_vain, second) = (0, 0, Instant::now());
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
