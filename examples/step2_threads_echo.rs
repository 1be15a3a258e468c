//! Step 2: the same blocking calls, with one thread per client.
//!
//! No client waits for another any more, and the code still reads from top to
//! bottom. The price is a thread, with its stack and its context switches, for a
//! client that may be silent for hours; and locks, as soon as clients share
//! something, such as a chat room.
//!
//!     cargo run --example step2_threads_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` (or `onepoll echo`, as in step 1) in two terminals at
//! once; both are answered.
//!
//! Watch: `ls /proc/PID/task | wc -l` counts one thread per client and one that
//! accepts; `strace -f -p PID` shows them asleep, each client's in a `recvfrom` of its
//! own. Next, step 3: many clients on one thread, done wrong first.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

fn echo(mut client: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..length])?;
    }
}

fn serve(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening on {}, PID {}", listener.local_addr()?, process::id());
    loop {
        let served = listener.accept().and_then(|(client, peer)| {
            thread::Builder::new().name(peer.to_string()).spawn(move || match echo(client) {
                Ok(()) => eprintln!("{peer} has ended"),
                Err(error) => eprintln!("{peer}: {error}"),
            })
        });
        if let Err(error) = served {
            // Usually no descriptor or no thread is left, until other clients end.
            eprintln!("a client was not served: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn main() -> ExitCode {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let Err(error) = serve(&address) else { return ExitCode::SUCCESS };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses this port".to_owned(),
        _ => error.to_string(),
    };
    eprintln!("cannot serve on {address}: {why}; try another address, such as 127.0.0.1:4000");
    ExitCode::FAILURE
}
