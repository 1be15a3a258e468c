//! Whether `Selector` is level-triggered although mio is edge-triggered, and how
//! it handles hang-ups and errors.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::unix::SourceFd;
use onepoll::selectors::{EVENT_READ, EVENT_WRITE, Events, Selector};

const LOOK: Option<Duration> = Some(Duration::ZERO);
/// Ends a test that would otherwise wait forever; no test passes because of it.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

fn both() -> Events {
    EVENT_READ | EVENT_WRITE
}

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn selector() -> Selector<&'static str> {
    Selector::new().unwrap()
}

/// What one `select` reports, as descriptor and events, by descriptor.
fn report<T: Clone>(selector: &mut Selector<T>, timeout: Option<Duration>) -> Vec<(RawFd, Events)> {
    let mut report: Vec<_> =
        selector.select(timeout).unwrap().into_iter().map(|(key, events)| (key.fd, events)).collect();
    report.sort_by_key(|(fd, _)| *fd);
    report
}

fn fill(mut stream: &UnixStream) {
    while stream.write(&[7; 4096]).is_ok() {}
}

/// Why `Selector` has to arm again what it reported: if this ever fails, mio or
/// the kernel has changed.
#[test]
fn mio_alone_reports_a_half_read_descriptor_only_after_it_is_registered_anew() {
    let (mut reader, mut writer) = pair();
    let fd = reader.as_raw_fd();
    let mut poll = mio::Poll::new().unwrap();
    let mut events = mio::Events::with_capacity(8);
    let (token, interest) = (mio::Token(1), mio::Interest::READABLE);
    poll.registry().register(&mut SourceFd(&fd), token, interest).unwrap();
    writer.write_all(b"abc").unwrap();
    poll.poll(&mut events, PATIENCE).unwrap();
    assert_eq!(events.iter().count(), 1);
    reader.read_exact(&mut [0]).unwrap();
    poll.poll(&mut events, LOOK).unwrap();
    assert!(events.is_empty(), "edge-triggered");
    poll.registry().reregister(&mut SourceFd(&fd), token, interest).unwrap();
    poll.poll(&mut events, LOOK).unwrap();
    assert_eq!(events.iter().count(), 1, "EPOLL_CTL_MOD reports it again");
}

/// What is registered for which events and with which input, what the first
/// `select` reports, what is done then, and what every later one reports.
type Row = (Events, &'static [u8], Events, fn(&UnixStream), Events);

#[test]
fn a_socket_that_is_still_ready_is_reported_again() {
    let nothing = |_: &UnixStream| ();
    let read_one = |mut stream: &UnixStream| stream.read_exact(&mut [0]).unwrap();
    let write_one = |mut stream: &UnixStream| stream.write_all(b"x").unwrap();
    let none = Events::default();
    let table: [Row; 8] = [
        (EVENT_READ, b"abc", EVENT_READ, nothing, EVENT_READ),
        (EVENT_READ, b"abc", EVENT_READ, read_one, EVENT_READ),
        (EVENT_READ, b"a", EVENT_READ, read_one, none),
        (EVENT_WRITE, b"", EVENT_WRITE, nothing, EVENT_WRITE),
        (EVENT_WRITE, b"", EVENT_WRITE, write_one, EVENT_WRITE),
        (EVENT_WRITE, b"", EVENT_WRITE, fill, none),
        (both(), b"a", both(), read_one, EVENT_WRITE),
        (both(), b"a", both(), fill, EVENT_READ),
    ];
    for (row, (asked, input, first, then, later)) in table.into_iter().enumerate() {
        let (stream, mut peer) = pair();
        let fd = stream.as_raw_fd();
        let mut selector = selector();
        selector.register(&stream, asked, "").unwrap();
        peer.write_all(input).unwrap();
        assert_eq!(report(&mut selector, LOOK), [(fd, first)], "first select of row {row}");
        then(&stream);
        for time in ["second", "third"] {
            let expected = if later.is_empty() { vec![] } else { vec![(fd, later)] };
            assert_eq!(report(&mut selector, LOOK), expected, "{time} select of row {row}");
        }
    }
}

#[test]
fn a_listener_with_clients_left_to_accept_is_reported_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clients = [(); 3].map(|_| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    listener.set_nonblocking(true).unwrap();
    let mut selector = selector();
    selector.register(&listener, EVENT_READ, "").unwrap();
    for _ in &clients {
        assert_eq!(report(&mut selector, PATIENCE).len(), 1);
        listener.accept().unwrap();
    }
    assert_eq!(report(&mut selector, LOOK), []);
}

#[test]
fn reported_readiness_survives_a_change_of_events() {
    let (reader, mut writer) = pair();
    let fd = reader.as_raw_fd();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    writer.write_all(b"x").unwrap();
    for events in [EVENT_READ, EVENT_WRITE, both(), EVENT_READ] {
        selector.modify(&reader, events, "").unwrap();
        assert_eq!(report(&mut selector, LOOK), [(fd, events)]);
        assert_eq!(report(&mut selector, LOOK), [(fd, events)]);
    }
}

// Hang-ups and errors.

#[test]
fn the_end_of_input_is_readable_and_stays_so() {
    let (stream, peer) = tcp_pair();
    let mut selector = selector();
    selector.register(&stream, EVENT_READ, "").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    for _ in 0..2 {
        assert_eq!(report(&mut selector, PATIENCE), [(stream.as_raw_fd(), EVENT_READ)]);
    }
}

#[test]
fn a_peer_that_ended_its_output_makes_nothing_writable() {
    let (stream, peer) = pair();
    let mut selector = selector();
    fill(&stream);
    selector.register(&stream, both(), "").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(report(&mut selector, PATIENCE), [(stream.as_raw_fd(), EVENT_READ)]);
}

/// mio calls this one neither readable nor an error, only "read closed".
#[test]
fn a_pipe_whose_writer_is_gone_is_readable() {
    let (reader, writer) = io::pipe().unwrap();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    assert_eq!(report(&mut selector, LOOK), []);
    drop(writer);
    for _ in 0..2 {
        assert_eq!(report(&mut selector, PATIENCE), [(reader.as_raw_fd(), EVENT_READ)]);
    }
}

#[test]
fn a_full_pipe_whose_reader_is_gone_is_writable() {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(&[7; 65536]).unwrap();
    let mut selector = selector();
    selector.register(&writer, EVENT_WRITE, "").unwrap();
    assert_eq!(report(&mut selector, LOOK), [], "the pipe was not full");
    drop(reader);
    for _ in 0..2 {
        assert_eq!(report(&mut selector, PATIENCE), [(writer.as_raw_fd(), EVENT_WRITE)]);
    }
}

#[test]
fn a_reset_connection_is_ready_for_whatever_was_asked() {
    for asked in [EVENT_READ, EVENT_WRITE, both()] {
        let (stream, peer) = tcp_pair();
        // A write that was asked for would be ready anyway, so look for the
        // hang-up first.
        let mut selector = selector();
        selector.register(&stream, EVENT_READ, "").unwrap();
        socket2::SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
        assert_eq!(report(&mut selector, PATIENCE).len(), 1);
        selector.modify(&stream, asked, "").unwrap();
        assert_eq!(report(&mut selector, PATIENCE), [(stream.as_raw_fd(), asked)]);
    }
}
