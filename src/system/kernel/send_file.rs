//! Sending a part of a file over a connection.

use std::fs::File;
use std::io;

use mio::net::TcpStream;

/// As sendfile(2): the kernel reads the file, and no byte of it is copied.
#[cfg(target_os = "linux")]
pub(crate) fn send_file(socket: &TcpStream, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    let mut offset = offset;
    rustix::fs::sendfile(socket, file, Some(&mut offset), count).map_err(io::Error::from)
}

/// Elsewhere the bytes pass through a buffer.
#[cfg(not(target_os = "linux"))]
pub(crate) fn send_file(mut socket: &TcpStream, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    let mut buffer = vec![0; count];
    match file.read_at(&mut buffer, offset)? {
        0 => Ok(0),
        count => socket.write(&buffer[..count]),
    }
}
