//! Step 1: an echo server made of blocking calls, serving one client at a time.
//!
//! Every call waits until it has a result: `accept` for a client, `receive` for a
//! message. No server is simpler, but while it waits for one client it is deaf to
//! all others.
//!
//!     cargo run --example step1_blocking_echo [ADDRESS]
//!
//! Try: run `nc 127.0.0.1 3333` in a second terminal and type 안녕하세요. Where
//! `nc` is missing, use `onepoll echo`: `cargo run -- echo 127.0.0.1:3333`. Leave it
//! open and start another one in a third terminal: the kernel completes its
//! connection, but it gets no answer until the first one has ended (`onepoll echo`
//! gives up after ten seconds). Ctrl-C ends the server.
//!
//! Watch: `strace -p PID`, with the PID that the server prints (and as root, if the
//! system refuses). It sits in `accept4` or `recvfrom`, and `top` shows no load.
//! Next, step 2: one thread per client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{self, ExitCode};

/// A TCP server socket, reduced to what an echo needs. Call `init` once, then for
/// each client `accept`, `receive` and `send` as often as needed, and `disconnect`.
struct TcpServer {
    listener: TcpListener,
    client: Option<TcpStream>,
}

impl TcpServer {
    /// Binds `address` and listens on it; port 0 picks a free one.
    fn init(address: &str) -> io::Result<TcpServer> {
        Ok(TcpServer { listener: TcpListener::bind(address)?, client: None })
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for the next client.
    fn accept(&mut self) -> io::Result<SocketAddr> {
        let (client, peer) = self.listener.accept()?;
        self.client = Some(client);
        Ok(peer)
    }

    /// Waits for input and returns what has arrived; nothing at the client's end.
    fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = self.client()?.read(buffer)?;
        Ok(&buffer[..length])
    }

    /// Sends all of `bytes`, and waits as long as the client does not take them.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.client()?.write_all(bytes)
    }

    /// Closes the connection.
    fn disconnect(&mut self) {
        self.client = None;
    }

    fn client(&mut self) -> io::Result<&mut TcpStream> {
        self.client
            .as_mut()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "accept a client first"))
    }
}

fn echo(server: &mut TcpServer) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        // Bytes, not text: a read may end in the middle of a Korean character.
        let message = server.receive(&mut buffer)?;
        if message.is_empty() {
            return Ok(());
        }
        server.send(message)?;
    }
}

fn serve(address: &str) -> io::Result<()> {
    let mut server = TcpServer::init(address)?;
    println!("listening on {}, PID {}", server.address()?, process::id());
    loop {
        let peer = server.accept()?;
        // One broken connection is no reason to end the server.
        match echo(&mut server) {
            Ok(()) => eprintln!("{peer} has ended"),
            Err(error) => eprintln!("{peer}: {error}"),
        }
        server.disconnect();
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
