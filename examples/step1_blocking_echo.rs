//! Step 1: an echo server of blocking calls, for one client at a time.
//!
//! Every call waits until it can answer: `accept` for a client, `receive` for a
//! message. That is the simplest server there is, and while it waits for one
//! client it is deaf to all others.
//!
//!     cargo run --example step1_blocking_echo [ADDRESS]
//!
//! Try: `nc 127.0.0.1 3333` and type 안녕하세요. Then, without ending that one, a
//! second `nc`: it connects (the kernel does that alone) but gets no answer until
//! the first has ended. Ctrl-C ends the server.
//!
//! Watch: `strace -p PID` stands still in `recvfrom` or `accept4`; `top` shows no
//! load. Next, step 2: a thread for each client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// What is needed of a TCP server socket, and no more: `init`, `accept`,
/// `receive` and `send` as often as needed, `disconnect`, the next `accept`.
struct TcpServer {
    listener: TcpListener,
    client: Option<TcpStream>,
}

impl TcpServer {
    /// Binds `address` and listens there; port 0 takes a free one.
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

    /// Waits for input and returns as much as there is; nothing at its end.
    fn receive<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let length = self.client()?.read(buffer)?;
        Ok(&buffer[..length])
    }

    /// Sends all of `bytes`, and waits while the client takes none.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.client()?.write_all(bytes)
    }

    /// Ends the connection.
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
        // Bytes and no text: a Korean character may come in two parts.
        let message = server.receive(&mut buffer)?;
        if message.is_empty() {
            return Ok(());
        }
        server.send(message)?;
    }
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3333".to_owned());
    let mut server = TcpServer::init(&address)?;
    println!("listening on {}", server.address()?);
    loop {
        let peer = server.accept()?;
        // One client's broken connection is no reason to end the server.
        match echo(&mut server) {
            Ok(()) => eprintln!("{peer} has ended"),
            Err(error) => eprintln!("{peer}: {error}"),
        }
        server.disconnect();
    }
}
