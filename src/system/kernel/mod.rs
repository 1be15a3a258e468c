//! The kernel: mio's poll, and sockets opened with the options that mio does
//! not set.

mod datagram;
mod membership;
#[cfg(target_os = "linux")]
mod mmsg;
#[cfg(not(target_os = "linux"))]
#[path = "mmsg_plain.rs"]
mod mmsg;
mod multicast;
mod options;
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
mod progress;
mod send_file;
mod timer;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt};
use signal_hook_mio::v1_0::Signals;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub(super) use datagram::DatagramSocket;
pub(super) use mmsg::{ReceiveHeaders, SendHeaders};
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(super) use progress::acknowledged;
pub(super) use send_file::send_file;
pub(super) use timer::Timer;

use super::poll::{Event, Readiness};
use crate::service::SocketOptions;
use options::apply_to_stream;

/// mio's poll, with the events of its last wait.
pub(crate) struct Poll {
    pub poll: mio::Poll,
    pub events: mio::Events,
    pub signals: Option<Signals>,
}

impl Poll {
    pub fn new(events: usize) -> io::Result<Poll> {
        Ok(Poll { poll: mio::Poll::new()?, events: mio::Events::with_capacity(events), signals: None })
    }

    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// What mio says, as the loop takes it. Error and hang-up alone make both
/// directions ready: the next system call tells what happened. kqueue does not tell of
/// urgent data: there, what follows it waits for the next bytes.
#[inline(always)]
pub(super) fn event(event: &mio::event::Event) -> Event {
    let is_over = event.is_error() || event.is_write_closed();
    let more_behind = is_over | event.is_read_closed() | event.is_priority();
    let readiness = Readiness {
        readable: event.is_readable() || more_behind,
        writable: event.is_writable() || is_over,
        more_behind,
    };
    Event { token: event.token(), readiness }
}

/// Binds and listens. Options are set on the listener, for Linux hands them
/// down to the connections: an accept then costs no further call.
pub(super) fn listen(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    apply_to_stream(options, &socket, address)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Begins to connect without waiting: the socket becomes writable when the
/// attempt has ended, and SO_ERROR tells how (connect(2), EINPROGRESS).
pub(super) fn connect(
    to: SocketAddr,
    local: Option<SocketAddr>,
    options: &SocketOptions,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    apply_to_stream(options, &socket, to)?;
    if let Some(local) = local {
        // Else `bind` itself takes a port, which no other connection can share,
        // although its destination may be another (ip(7)).
        #[cfg(target_os = "linux")]
        if local.port() == 0 && local.is_ipv4() {
            setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        }
        socket.bind(&local.into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// This system does not tell what the peer has acknowledged: what it has taken itself
/// must do.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn acknowledged(_: SockRef<'_>, sent: u64) -> u64 {
    sent
}

/// The buffer sizes that the kernel granted, for the log.
pub(super) fn granted(socket: SockRef<'_>) -> String {
    let size = |size: io::Result<usize>| size.map_or_else(|_| "?".into(), |size| size.to_string());
    format!(
        "receive buffer {} bytes, send buffer {} bytes",
        size(socket.recv_buffer_size()),
        size(socket.send_buffer_size())
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream as Blocking};

    use mio::Token;

    use super::*;
    use crate::system::stream::STREAM_INTEREST;

    const OURS: Token = Token(7);
    const PATIENCE: Duration = Duration::from_secs(30);
    /// What is said of a connection that is over.
    const GONE: Readiness = Readiness { readable: true, writable: true, more_behind: true };

    /// A registered connection, its other end, and a poll that has seen it writable.
    fn pair() -> (Poll, TcpStream, Blocking) {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let theirs = Blocking::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut ours = TcpStream::from_std(ours);
        let mut poll = Poll::new(16).unwrap();
        poll.poll.registry().register(&mut ours, OURS, STREAM_INTEREST).unwrap();
        let first = next(&mut poll);
        assert_eq!(first, Readiness { writable: true, ..Readiness::default() });
        (poll, ours, theirs)
    }

    /// What the next event says.
    fn next(poll: &mut Poll) -> Readiness {
        loop {
            poll.wait(Some(PATIENCE)).unwrap();
            let events: Vec<Event> = poll.events.iter().map(event).collect();
            match events[..] {
                [Event { token: OURS, readiness }] => return readiness,
                [] => panic!("no event came"),
                _ => {}
            }
        }
    }

    #[test]
    fn bytes_make_a_socket_readable() {
        let (mut poll, _ours, mut theirs) = pair();
        theirs.write_all("안녕".as_bytes()).unwrap();
        let now = next(&mut poll);
        assert!(now.readable && !now.more_behind);
    }

    #[test]
    fn one_more_byte_is_one_more_event_although_the_first_is_unread() {
        let (mut poll, _ours, mut theirs) = pair();
        for _ in 0..3 {
            theirs.write_all(b"x").unwrap();
            assert!(next(&mut poll).readable);
        }
    }

    #[test]
    fn a_half_close_is_told_with_the_bytes_before_it() {
        let (mut poll, mut ours, mut theirs) = pair();
        theirs.write_all(b"bye").unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut now = next(&mut poll);
        while !now.more_behind {
            now = next(&mut poll);
        }
        assert!(now.readable);
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 3);
        assert_eq!(ours.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_read_stops_at_urgent_data_of_which_its_event_told() {
        let (mut poll, mut ours, mut theirs) = pair();
        theirs.write_all(b"abc").unwrap();
        SockRef::from(&theirs).send_out_of_band(b"!").unwrap();
        theirs.write_all(b"def").unwrap();
        while !next(&mut poll).more_behind {}
        let mut buffer = [0; 16];
        assert_eq!(ours.read(&mut buffer).unwrap(), 3);
        assert_eq!(ours.read(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"def");
        assert_eq!(ours.read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        theirs.write_all(b"ghi").unwrap();
        assert!(!next(&mut poll).more_behind);
    }

    #[test]
    fn a_reset_makes_both_directions_ready() {
        let (mut poll, mut ours, theirs) = pair();
        SockRef::from(&theirs).set_linger(Some(Duration::ZERO)).unwrap();
        drop(theirs);
        let now = next(&mut poll);
        assert_eq!(now, GONE);
        assert_eq!(ours.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_refused_connection_makes_both_directions_ready() {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let mut socket = connect(free, None, &SocketOptions::default()).unwrap();
        let mut poll = Poll::new(16).unwrap();
        poll.poll.registry().register(&mut socket, OURS, STREAM_INTEREST).unwrap();
        assert_eq!(next(&mut poll), GONE);
        let refusal = socket.take_error().unwrap().unwrap();
        assert_eq!(refusal.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    #[test]
    fn what_a_peer_reads_is_acknowledged_long_before_there_is_room_to_write() {
        let (mut poll, mut ours, mut theirs) = pair();
        let block = vec![b'.'; 256 * 1024];
        let mut sent = 0;
        while let Ok(count) = ours.write(&block) {
            sent += count as u64;
        }
        let acknowledged = |ours: &TcpStream| acknowledged(SockRef::from(ours), sent);
        let before = acknowledged(&ours);
        assert!(before < sent, "some of it waits");
        let start = std::time::Instant::now();
        while acknowledged(&ours) == before {
            assert!(start.elapsed() < PATIENCE, "reading moves nothing");
            theirs.read_exact(&mut [0; 1024]).unwrap();
        }
        poll.wait(Some(Duration::ZERO)).unwrap();
        assert!(poll.events.is_empty(), "nothing has announced room");
    }

    #[test]
    fn room_to_write_is_announced_once_a_full_buffer_has_drained() {
        let (mut poll, mut ours, mut theirs) = pair();
        let block = vec![b'.'; 256 * 1024];
        let mut sent = 0;
        while let Ok(count) = ours.write(&block) {
            sent += count;
        }
        theirs.read_exact(&mut vec![0; sent]).unwrap();
        assert!(next(&mut poll).writable);
    }
}
