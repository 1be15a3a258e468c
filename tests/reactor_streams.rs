//! Connections on the reactor: half-close, lingering close, backpressure, stale
//! events, pulled answers, outbound connections.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use onepoll::reactor::{Limits, Reactor};
use onepoll::service::{CloseReason, Context, Input, Service};
use support::{PATIENCE, Running, connect, eventually, read_exactly, read_to_end};

const LOCALHOST: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn host<S: Service + 'static>(reactor: &mut Reactor, service: S) -> SocketAddr {
    host_with(reactor, service, Limits::default())
}

fn host_with<S: Service + 'static>(reactor: &mut Reactor, service: S, limits: Limits) -> SocketAddr {
    let (_, bound) = reactor.host("test", service).limits(limits).tcp(LOCALHOST.into()).start().unwrap();
    bound[0].address
}

struct Echo;

impl Service for Echo {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.send_input(input.consume_all());
    }
}

#[test]
fn a_client_that_half_closes_still_gets_everything() {
    let running = Running::start(|reactor| host(reactor, Echo));
    let stream = connect(running.made);
    let sent: Vec<u8> = (0..3_000_000u32).map(|number| number as u8).collect();
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        read_to_end(&stream)
    });
    assert!(received == sent, "{} of {} bytes came back, or others", received.len(), sent.len());
}

#[test]
fn a_fin_that_came_with_the_last_bytes_is_not_overlooked() {
    let running = Running::start(|reactor| host(reactor, Echo));
    for _ in 0..200 {
        let stream = connect(running.made);
        (&stream).write_all("마지막".as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&stream), "마지막".as_bytes());
    }
}

/// Answers the first input and closes, whatever else the client still sends.
struct AnswerAndClose;

impl Service for AnswerAndClose {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        cx.send("대답".repeat(1000).as_bytes());
        cx.close();
    }
}

#[test]
fn unread_input_does_not_destroy_the_answer() {
    let running = Running::start(|reactor| host(reactor, AnswerAndClose));
    for _ in 0..20 {
        let stream = connect(running.made);
        let flood = vec![b'x'; 4 << 20];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The server half-closes but goes on reading, so this must not
                // fail.
                (&stream).write_all(&flood).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            });
            assert_eq!(read_to_end(&stream), "대답".repeat(1000).as_bytes());
        });
    }
}

#[test]
fn a_slow_reader_stops_its_own_input_and_nobody_elses() {
    let running = Running::start(|reactor| host(reactor, Echo));
    let slow = connect(running.made);
    slow.set_nonblocking(true).unwrap();
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    let mut refusals = 0;
    // What the server no longer reads fills the kernel's buffers, and then the
    // client's writes stop: the server holds no more than one read.
    while refusals < 20 {
        match (&slow).write(&chunk) {
            Ok(count) => {
                sent += count;
                refusals = 0;
                assert!(sent < 256 << 20, "the server reads on without an end");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                let other = connect(running.made);
                (&other).write_all(b"meanwhile").unwrap();
                assert_eq!(read_exactly(&other, 9), b"meanwhile");
            }
            Err(error) => panic!("{error}"),
        }
    }
    slow.set_nonblocking(false).unwrap();
    slow.shutdown(Shutdown::Write).unwrap();
    let received = read_to_end(&slow);
    assert_eq!(received.len(), sent);
    assert!(received.iter().all(|byte| *byte == b'x'));
}

/// Echoes; at a command, closes all other connections.
#[derive(Default)]
struct Shuffle {
    connections: Vec<onepoll::reactor::ConnectionId>,
}

impl Service for Shuffle {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.connections.extend(cx.connection());
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        input.consume_all();
        if bytes == b"close the others" {
            let own = cx.connection();
            for other in self.connections.drain(..).filter(|other| Some(*other) != own) {
                cx.close_other(other);
            }
            cx.send(b"done");
        } else {
            cx.send(bytes);
        }
    }
}

/// All clients send at the same moment, and the first one served closes the
/// others: their events are already in the batch, and the sockets accepted next
/// reuse their descriptors and slab keys. A byte for a closed connection must not
/// reach a new one.
#[test]
fn events_of_closed_connections_do_not_reach_their_successors() {
    let running = Running::start(|reactor| host(reactor, Shuffle::default()));
    for round in 0..30 {
        let old: Vec<TcpStream> = (0..20).map(|_| connect(running.made)).collect();
        for stream in &old {
            (&mut &*stream).write_all(b"hello").unwrap();
            assert_eq!(read_exactly(stream, 5), b"hello");
        }
        let (closer, others) = old.split_first().unwrap();
        for stream in others {
            (&mut &*stream).write_all(b"late").unwrap();
        }
        (&mut &*closer).write_all(b"close the others").unwrap();
        let new: Vec<TcpStream> = (0..20).map(|_| connect(running.made)).collect();
        assert_eq!(read_exactly(closer, 4), b"done");
        for stream in others {
            let rest = read_to_end(stream);
            assert!(rest.is_empty() || rest == b"late", "round {round}: {rest:?}");
        }
        for (number, stream) in new.iter().enumerate() {
            let message = format!("new {number:03}");
            (&mut &*stream).write_all(message.as_bytes()).unwrap();
            assert_eq!(read_exactly(stream, message.len()), message.as_bytes(), "round {round}");
        }
        drop((old, new));
    }
}

/// A long answer that is never held in memory as a whole: the next part is made
/// once the previous one is out.
struct Numbers;

const NUMBERS: u32 = 200_000;

impl Service for Numbers {
    type Session = u32;

    fn open(&mut self, next: &mut u32, cx: &mut Context<'_>) {
        self.room_to_send(next, cx);
    }

    fn room_to_send(&mut self, next: &mut u32, cx: &mut Context<'_>) {
        for number in *next..(*next + 1000).min(NUMBERS) {
            cx.send(format!("{number}\n").as_bytes());
        }
        *next += 1000;
        if *next < NUMBERS {
            cx.more_to_send();
        } else {
            cx.close();
        }
    }
}

#[test]
fn a_long_answer_is_pulled_as_the_reader_takes_it() {
    let running = Running::start(|reactor| host(reactor, Numbers));
    let expected: String = (0..NUMBERS).map(|number| format!("{number}\n")).collect();
    let late = connect(running.made);
    let prompt = connect(running.made);
    assert!(read_to_end(&prompt) == expected.as_bytes());
    assert!(read_to_end(&late) == expected.as_bytes());
}

/// Connects, says hello, and reports what it receives and how the connection
/// ends.
struct Caller {
    to: SocketAddr,
    report: mpsc::Sender<String>,
}

impl Service for Caller {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.connect(self.to);
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.send("여보세요".as_bytes());
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.report.send(String::from_utf8_lossy(input.unread()).into_owned()).unwrap();
        input.consume_all();
        cx.close();
    }

    fn closed(&mut self, (): (), why: &CloseReason, _: &mut Context<'_>) {
        self.report.send(why.to_string()).unwrap();
    }
}

#[test]
fn an_outbound_connection_behaves_like_an_accepted_one() {
    let echo = Running::start(|reactor| host(reactor, Echo));
    let (report, heard) = mpsc::channel();
    let to = echo.made;
    let _caller = Running::start(move |reactor| {
        reactor.host("caller", Caller { to, report }).start().unwrap();
    });
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "여보세요");
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), "closed by us");
}

/// Makes three connections and reports which of them it was told about, in order.
struct Numbered {
    to: SocketAddr,
    asked: u32,
    report: mpsc::Sender<(&'static str, u32)>,
}

impl Service for Numbered {
    type Session = u32;

    fn start(&mut self, cx: &mut Context<'_>) {
        (0..3).for_each(|_| cx.connect(self.to));
    }

    fn connecting(&mut self, number: &mut u32, _: &mut Context<'_>) {
        self.asked += 1;
        *number = self.asked;
        self.report.send(("connecting", self.asked)).unwrap();
    }

    fn open(&mut self, number: &mut u32, _: &mut Context<'_>) {
        self.report.send(("open", *number)).unwrap();
    }
}

#[test]
fn a_session_is_known_before_its_connection_is() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (report, heard) = mpsc::channel();
    let to = server.local_addr().unwrap();
    let _caller = Running::start(move |reactor| {
        reactor.host("caller", Numbered { to, asked: 0, report }).start().unwrap();
    });
    let mut told: Vec<_> = (0..6).map(|_| heard.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(told[..3], [("connecting", 1), ("connecting", 2), ("connecting", 3)]);
    told[3..].sort_unstable();
    assert_eq!(told[3..], [("open", 1), ("open", 2), ("open", 3)]);
}

/// Connects from a given address, and reports the peer's address.
struct From {
    local: SocketAddr,
    to: SocketAddr,
}

impl Service for From {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.connect_from(self.local, self.to);
    }
}

#[test]
fn a_connection_can_come_from_a_chosen_address() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let local = ([127, 5, 6, 7], 0).into();
    let _caller = Running::start(move |reactor| {
        reactor.host("caller", From { local, to }).start().unwrap();
    });
    assert_eq!(server.accept().unwrap().1.ip(), local.ip());
}

#[test]
fn a_service_learns_of_a_refused_connection() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (report, heard) = mpsc::channel();
    let _caller = Running::start(move |reactor| {
        reactor.host("caller", Caller { to: free, report }).start().unwrap();
    });
    let why = heard.recv_timeout(PATIENCE).unwrap();
    assert!(why.contains("refused"), "{why}");
}

/// Never consumes anything.
struct Stubborn;

impl Service for Stubborn {
    type Session = ();

    fn receive(&mut self, _: &mut (), _: &mut Input<'_>, _: &mut Context<'_>) {}

    fn farewell(&self, why: onepoll::service::Farewell) -> String {
        format!("{why}\n")
    }
}

#[test]
fn input_longer_than_a_line_and_left_unread_closes_the_connection_with_words() {
    let limits = Limits { line_length: 1000, ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Stubborn, limits));
    let stream = connect(running.made);
    (&stream).write_all(&[b'x'; 1000]).unwrap();
    (&stream).write_all(&[b'y'; 1000]).unwrap();
    assert_eq!(read_to_end(&stream), b"the line is too long\n");
}

#[test]
fn a_message_that_is_never_finished_is_timed_out_however_slowly_it_drips() {
    let limits = Limits { message_timeout: Some(Duration::from_millis(300)), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Stubborn, limits));
    let stream = connect(running.made);
    stream.set_nonblocking(true).unwrap();
    let mut answer = Vec::new();
    // A byte now and then does not move the deadline.
    eventually("the message times out", || {
        let _ = (&stream).write(b".");
        let mut buffer = [0; 100];
        if let Ok(count) = (&stream).read(&mut buffer) {
            answer.extend_from_slice(&buffer[..count]);
        }
        answer.ends_with(b"\n")
    });
    assert_eq!(answer, b"the message took too long to arrive\n");
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = Limits { idle_timeout: Some(Duration::from_millis(400)), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Echo, limits));
    let busy = connect(running.made);
    let idle = connect(running.made);
    idle.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut turns = 0;
    loop {
        (&busy).write_all(b"x").unwrap();
        assert_eq!(read_exactly(&busy, 1), b"x");
        turns += 1;
        match (&idle).read(&mut [0; 10]) {
            Ok(0) => break,
            Ok(_) => panic!("nothing was sent"),
            Err(_) => assert!(turns < 1000, "the idle connection is still open"),
        }
    }
    (&busy).write_all(b"x").unwrap();
    assert_eq!(read_exactly(&busy, 1), b"x");
}

/// Sends without end.
struct Fountain;

impl Service for Fountain {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.room_to_send(&mut (), cx);
    }

    fn room_to_send(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.send(&[b'~'; 100_000]);
        cx.more_to_send();
    }
}

#[test]
fn a_peer_that_takes_none_of_its_output_is_cut() {
    let limits = Limits { send_timeout: Some(Duration::from_millis(300)), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Fountain, limits));
    let stream = connect(running.made);
    eventually("the connection is cut", || {
        stream.take_error().unwrap().is_some_and(|error| error.kind() == ErrorKind::ConnectionReset)
    });
    assert_eq!(running.finish().timed_out, 1);
}

/// The kernel announces room only when much of its buffer is free again, which takes
/// this reader far longer than the timeout.
#[test]
fn a_peer_that_reads_slowly_is_not_cut() {
    let patience = Duration::from_secs(2);
    let limits = Limits { send_timeout: Some(patience), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Fountain, limits));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&running.made.into()).unwrap();
    let stream = TcpStream::from(socket);
    let start = Instant::now();
    while start.elapsed() < 3 * patience {
        assert_eq!(read_exactly(&stream, 500), [b'~'; 500]);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(stream.take_error().unwrap().is_none(), "it was reset");
}

#[test]
fn limits_on_connections_turn_clients_away_and_let_them_back_in() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Stubborn, limits));
    let first = connect(running.made);
    let _second = connect(running.made);
    let third = connect(running.made);
    assert_eq!(read_to_end(&third), b"too many connections are open, try again later\n");
    drop(first);
    eventually("a place is free again", || {
        let stream = connect(running.made);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        matches!((&stream).read(&mut [0; 100]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
}

#[test]
fn one_address_cannot_take_every_slot() {
    let limits = Limits { connections_per_peer: Some(1), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Stubborn, limits));
    let _first = connect(running.made);
    let second = connect(running.made);
    assert_eq!(read_to_end(&second), b"too many connections from your address are open\n");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&running.made.into()).unwrap();
    let other = TcpStream::from(socket);
    other.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let outcome = (&other).read(&mut [0; 100]);
    assert!(matches!(&outcome, Err(error) if error.kind() == ErrorKind::WouldBlock), "{outcome:?}");
}

/// Remembers one connection and passes on to it what the others say.
#[derive(Default)]
struct Switchboard {
    remembered: Option<onepoll::reactor::ConnectionId>,
}

impl Service for Switchboard {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        input.consume_all();
        match bytes {
            b"remember me" => self.remembered = cx.connection(),
            b"tell" => cx.tell(self.remembered.unwrap(), b"for the first one"),
            _ => {}
        }
        cx.send(b"ok");
    }
}

/// The slab gives the successor the same key, the kernel the same descriptor.
#[test]
fn output_for_a_connection_that_is_gone_does_not_reach_its_successor() {
    let running = Running::start(|reactor| host(reactor, Switchboard::default()));
    let asks = |mut stream: &TcpStream, text: &[u8]| {
        stream.write_all(text).unwrap();
        assert_eq!(read_exactly(stream, 2), b"ok");
    };
    let other = connect(running.made);
    asks(&other, b"hello");
    let first = connect(running.made);
    asks(&first, b"remember me");
    asks(&other, b"tell");
    assert_eq!(read_exactly(&first, 17), b"for the first one");
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&first), b"");
    let successor = connect(running.made);
    asks(&successor, b"hello");
    asks(&other, b"tell");
    asks(&successor, b"still nothing else");
}
