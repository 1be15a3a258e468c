//! Step 2: the same blocking calls, in a thread for each client.
//!
//! Nobody waits for anybody any more, and the code still reads from top to
//! bottom. The price is a thread, with its stack and its switches, for a client
//! that may say nothing for hours; and as soon as clients share something, a chat
//! room say, locks.
//!
//!     cargo run --example step2_threads_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` in two terminals at once; both are answered.
//!
//! Watch: `ls /proc/PID/task | wc -l`, one thread for each `nc`; `strace -f -p PID`
//! shows each of them asleep in its own `recvfrom`. Next, step 3: many clients on
//! one thread, done wrong first.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
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

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let served = listener.accept().and_then(|(client, peer)| {
            thread::Builder::new().name(peer.to_string()).spawn(move || match echo(client) {
                Ok(()) => eprintln!("{peer} has ended"),
                Err(error) => eprintln!("{peer}: {error}"),
            })
        });
        if let Err(error) = served {
            // No descriptor or no thread left, as a rule. Others have to end first.
            eprintln!("a client was not served: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}
