//! A peer to compare with, written as most people would today: one task per
//! connection on tokio's single-threaded runtime.
//!
//! Usage: `tokio_echo BUFFER_BYTES`. It takes a free port of 127.0.0.1, prints
//! it, and serves until it is killed.
#![forbid(unsafe_code)]

use std::io;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// As long as those of the other servers. With the usual backlog, connections
/// that arrive a thousand at a time are dropped, and then take a second.
const BACKLOG: u32 = 4096;

fn main() -> io::Result<()> {
    let Some(buffer) = std::env::args().nth(1).and_then(|text| text.parse().ok()).filter(|size| *size > 0)
    else {
        return Err(io::Error::other("usage: tokio_echo BUFFER_BYTES"));
    };
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(serve(buffer))
}

async fn serve(buffer: usize) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(echo(stream, buffer));
    }
}

/// A broken connection is over: there is nobody to report to.
async fn echo(mut stream: TcpStream, buffer: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; buffer];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
