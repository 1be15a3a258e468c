//! A panic inside a service ends the connection it happened on; the third one
//! ends the service and no other.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use onepoll::reactor::Reactor;
use onepoll::service::{CloseReason, Context, Input, Service};
use support::{Running, connect, eventually, read_exactly};

/// Echoes, counts the connections it was told are closed, and panics at a word.
#[derive(Default)]
struct Fragile {
    closed: u32,
}

impl Service for Fragile {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        input.consume_all();
        cx.send(bytes);
        match bytes {
            b"panic" => panic!("as asked"),
            b"closed?" => cx.send(self.closed.to_string().as_bytes()),
            _ => {}
        }
    }

    fn closed(&mut self, (): (), _: &CloseReason, _: &mut Context<'_>) {
        self.closed += 1;
    }
}

fn two_services(reactor: &mut Reactor) -> (SocketAddr, SocketAddr) {
    let mut host = |name| {
        let bound = reactor.host(name, Fragile::default()).tcp(([127, 0, 0, 1], 0).into()).start().unwrap().1;
        bound[0].address
    };
    (host("fragile"), host("other"))
}

fn ask(to: SocketAddr, question: &[u8], answer: &[u8]) {
    let stream = connect(to);
    (&stream).write_all(question).unwrap();
    assert_eq!(read_exactly(&stream, answer.len()), answer);
}

fn panic_on(to: SocketAddr) {
    let stream = connect(to);
    (&stream).write_all(b"panic").unwrap();
    let mut heard = Vec::new();
    let end = (&stream).read_to_end(&mut heard).map_err(|error| error.kind());
    assert_eq!(heard, b"", "the effects of the call that panicked are dropped");
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

#[test]
fn a_panic_ends_its_connection_and_the_third_its_service() {
    std::panic::set_hook(Box::new(|_| {}));
    let running = Running::start(two_services);
    let (fragile, other) = running.made;
    let neighbour = connect(fragile);
    for _ in 0..2 {
        panic_on(fragile);
        (&neighbour).write_all("아직".as_bytes()).unwrap();
        assert_eq!(read_exactly(&neighbour, 6), "아직".as_bytes());
        ask(fragile, b"closed?", b"closed?");
    }
    panic_on(fragile);
    let end = (&neighbour).read(&mut [0; 10]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
    eventually("the service no longer listens", || std::net::TcpStream::connect(fragile).is_err());
    ask(other, b"hello", b"hello");
    assert_eq!(running.finish().panics, 3);
}

#[test]
fn a_service_is_not_told_that_a_connection_it_panicked_on_has_ended() {
    std::panic::set_hook(Box::new(|_| {}));
    let running = Running::start(two_services);
    let (fragile, _) = running.made;
    panic_on(fragile);
    let stream = connect(fragile);
    (&stream).write_all(b"closed?").unwrap();
    assert_eq!(read_exactly(&stream, 8), b"closed?0");
}

/// A session that cannot be dropped without a panic.
#[derive(Default)]
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("in the drop of a session")
    }
}

struct Shelf;

impl Service for Shelf {
    type Session = Brittle;

    fn open(&mut self, _: &mut Brittle, cx: &mut Context<'_>) {
        cx.send(b"1");
    }
}

fn shelf_and_other(reactor: &mut Reactor) -> (SocketAddr, SocketAddr) {
    let shelf = reactor.host("shelf", Shelf).tcp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address;
    (shelf, two_services(reactor).1)
}

fn shelve(at: SocketAddr) -> TcpStream {
    let stream = connect(at);
    assert_eq!(read_exactly(&stream, 1), b"1");
    stream
}

#[test]
fn sessions_whose_drop_panics_do_not_abort_the_process_when_their_service_is_stopped() {
    std::panic::set_hook(Box::new(|_| {}));
    let running = Running::start(shelf_and_other);
    let (shelf, other) = running.made;
    let mut all: Vec<TcpStream> = (0..6).map(|_| shelve(shelf)).collect();
    // The third panic stops the service, which drops the other three at once.
    all.truncate(3);
    eventually("the service no longer listens", || TcpStream::connect(shelf).is_err());
    ask(other, b"hello", b"hello");
    assert!(running.finish().panics >= 3);
}

#[test]
fn sessions_whose_drop_panics_do_not_abort_the_process_when_the_reactor_ends() {
    std::panic::set_hook(Box::new(|_| {}));
    for _ in 0..2 {
        let running = Running::start(|reactor| (shelf_and_other(reactor), shelf_and_other(reactor)));
        let ((one, _), (other, _)) = running.made;
        let _all: Vec<TcpStream> = [one, one, other, other].map(shelve).into();
        // Asked twice, it ends at once, with all of its sessions.
        running.remote().drain();
        running.remote().drain();
        running.finish();
    }
}
