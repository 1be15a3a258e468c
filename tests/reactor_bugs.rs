//! Bugs that were found in the reactor, each with a test named after it.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use onepoll::reactor::{Limits, Membership, Overflow, Reactor, Room, SocketId, SocketOptions};
use onepoll::rehearsal::Rehearsal;
use onepoll::service::{Answer, CloseReason, Context, Farewell, Input, Lane, Service};
use support::{PATIENCE, Running, connect, eventually, read_exactly, read_to_end, udp};

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn host<S: Service + 'static>(reactor: &mut Reactor, service: S) -> SocketAddr {
    host_with(reactor, service, Limits::default(), SocketOptions::default())
}

fn host_with<S: Service + 'static>(
    reactor: &mut Reactor,
    service: S,
    limits: Limits,
    options: SocketOptions,
) -> SocketAddr {
    let builder = reactor.host("test", service).limits(limits).options(options);
    builder.tcp(localhost()).start().unwrap().1[0].address
}

/// Echoes; answers `big` with as many bytes as it was made with.
struct Echo(usize);

impl Service for Echo {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        if input.unread() == b"big" {
            input.consume_all();
            cx.send(&vec![b'a'; self.0]);
        } else if input.unread() == b"last" {
            input.consume_all();
            cx.send(&vec![b'a'; self.0]);
            cx.close();
        } else {
            cx.send_input(input.consume_all());
        }
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        cx.send_to(on, from, datagram);
    }
}

const BIG: usize = 20 << 20;

fn is_served(at: SocketAddr) {
    let stream = connect(at);
    (&stream).write_all(b"x").unwrap();
    assert_eq!(read_exactly(&stream, 1), b"x");
}

/// A client with a small receive buffer, so that answers stay in the server's
/// kernel.
fn narrow_client(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects again whenever it could not.
struct Again {
    to: SocketAddr,
    left: u32,
    report: Sender<String>,
}

impl Service for Again {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.connect(self.to);
    }

    fn closed(&mut self, (): (), why: &CloseReason, cx: &mut Context<'_>) {
        self.left -= 1;
        if self.left == 0 {
            self.report.send(why.to_string()).unwrap();
        } else {
            cx.connect(self.to);
        }
    }
}

#[test]
fn reconnecting_in_closed_does_not_overflow_the_stack() {
    let (report, reports) = mpsc::channel();
    let _running = Running::start(move |reactor| {
        // A broadcast address is refused at once, without a wait.
        let to = ([127, 255, 255, 255], 1).into();
        reactor.host("again", Again { to, left: 50_000, report }).start().unwrap();
    });
    assert!(reports.recv_timeout(PATIENCE).unwrap().contains("not connected"));
}

struct BadFarewell;

impl Service for BadFarewell {
    type Session = ();

    fn farewell(&self, _: Farewell) -> String {
        panic!("in farewell")
    }
}

struct BadRange;

impl Service for BadRange {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.send_input(0..1);
    }
}

struct BadSession;

impl Default for BadSession {
    fn default() -> Self {
        panic!("in a session's default")
    }
}

struct BadDefault;

impl Service for BadDefault {
    type Session = BadSession;
}

#[test]
fn no_panic_of_one_service_ends_another() {
    std::panic::set_hook(Box::new(|_| {}));
    let limits = Limits { idle_timeout: Some(Duration::from_millis(20)), ..Limits::default() };
    let running = Running::start(|reactor| {
        let farewell = host_with(reactor, BadFarewell, limits, SocketOptions::default());
        ([farewell, host(reactor, BadRange), host(reactor, BadDefault)], host(reactor, Echo(0)))
    });
    let (bad, good) = running.made;
    for service in bad {
        let mut heard = Vec::new();
        let _ = connect(service).read_to_end(&mut heard);
        assert_eq!(heard, b"");
        is_served(good);
    }
}

#[test]
fn a_close_with_the_linger_option_never_blocks_the_loop() {
    let linger = Some(Duration::from_secs(20));
    let options = SocketOptions { send_buffer: Some(200_000), linger, ..SocketOptions::default() };
    let running = Running::start(|reactor| host_with(reactor, Echo(200_000), Limits::default(), options));
    let client = narrow_client(running.made);
    (&client).write_all(b"big").unwrap();
    eventually("the answer has begun to arrive", || client.peek(&mut [0; 1]).is_ok());
    client.shutdown(Shutdown::Write).unwrap();
    let asked = Instant::now();
    for _ in 0..10 {
        is_served(running.made);
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "others waited {:?}", asked.elapsed());
}

#[test]
fn a_drain_does_not_destroy_what_the_kernel_still_has_to_send() {
    let size = 200_000;
    // Longer than this machine may take to reach the next line.
    let linger = Some(Duration::from_secs(20));
    let options = SocketOptions { send_buffer: Some(size), linger, ..SocketOptions::default() };
    let running = Running::start(move |reactor| host_with(reactor, Echo(size), Limits::default(), options));
    let client = narrow_client(running.made);
    (&client).write_all(b"big").unwrap();
    eventually("the answer has begun to arrive", || client.peek(&mut [0; 1]).is_ok());
    running.remote().drain();
    eventually("it no longer listens", || TcpStream::connect(running.made).is_err());
    (&client).write_all(b"next question").unwrap();
    assert_eq!(read_to_end(&client).len(), size);
}

fn short_linger() -> SocketOptions {
    SocketOptions { linger: Some(Duration::from_millis(300)), ..SocketOptions::default() }
}

/// Whether the server has let go of a connection: a write meets a reset.
fn is_gone(mut stream: &TcpStream) -> bool {
    stream.write(b".").is_err()
}

#[test]
fn a_peer_that_drips_after_our_close_is_cut_at_the_linger_deadline() {
    let running = Running::start(|reactor| host_with(reactor, Echo(3), Limits::default(), short_linger()));
    let client = connect(running.made);
    (&client).write_all(b"last").unwrap();
    assert_eq!(read_to_end(&client), b"aaa");
    eventually("it is cut", || is_gone(&client));
}

#[test]
fn the_linger_deadline_is_armed_after_output_that_had_to_wait() {
    let limits = Limits { idle_timeout: None, send_timeout: None, ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Echo(BIG), limits, short_linger()));
    let client = connect(running.made);
    (&client).write_all(b"last").unwrap();
    eventually("the answer has begun to arrive", || client.peek(&mut [0; 1]).is_ok());
    assert_eq!(read_to_end(&client).len(), BIG);
    eventually("it is cut", || is_gone(&client));
}

#[test]
fn the_idle_deadline_is_armed_after_output_that_had_to_wait() {
    let limits = Limits { idle_timeout: Some(Duration::from_millis(300)), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Echo(BIG), limits, SocketOptions::default()));
    let client = connect(running.made);
    (&client).write_all(b"big").unwrap();
    eventually("the answer has begun to arrive", || client.peek(&mut [0; 1]).is_ok());
    read_exactly(&client, BIG);
    assert_eq!(read_to_end(&client), b"");
}

/// Answers lines; those that begin with `big`, at length.
struct Lines;

impl Service for Lines {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        while let Some(end) = input.unread().iter().position(|byte| *byte == b'\n') {
            let is_big = input.unread().starts_with(b"big");
            input.consume(end + 1);
            if is_big {
                cx.send(&vec![b'a'; BIG]);
            } else {
                cx.send(b"done\n");
            }
        }
    }

    fn farewell(&self, why: Farewell) -> String {
        format!("{why}\n")
    }
}

#[test]
fn a_message_that_we_leave_unread_ourselves_does_not_time_out() {
    let limits = Limits { message_timeout: Some(Duration::from_millis(400)), ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Lines, limits, SocketOptions::default()));
    let client = connect(running.made);
    (&client).write_all(b"big\nsma").unwrap();
    eventually("the answer has begun to arrive", || client.peek(&mut [0; 1]).is_ok());
    (&client).write_all(b"ll\n").unwrap();
    // Twice as long as a message may take, during which the answer is not read.
    std::thread::sleep(Duration::from_millis(800));
    read_exactly(&client, BIG);
    assert_eq!(read_exactly(&client, 5), b"done\n");
}

/// Submits every refused job again.
struct Retry {
    until: Instant,
}

impl Service for Retry {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        for _ in 0..1100 {
            cx.offload(Lane::Read, || std::thread::sleep(Duration::from_millis(20)));
        }
    }

    fn finished(&mut self, _: Option<&mut Self::Session>, answer: Answer, cx: &mut Context<'_>) {
        if answer.result.is_err() && Instant::now() < self.until {
            cx.offload(Lane::Read, || std::thread::sleep(Duration::from_millis(20)));
        }
    }
}

#[test]
fn submitting_refused_jobs_again_does_not_stop_the_loop() {
    let until = Instant::now() + Duration::from_secs(20);
    let running = Running::start(move |reactor| {
        let echo = host(reactor, Echo(0));
        reactor.host("retry", Retry { until }).start().unwrap();
        echo
    });
    let asked = Instant::now();
    is_served(running.made);
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited {:?}", asked.elapsed());
}

/// Sends of its own accord, every millisecond.
#[derive(Default)]
struct Talker;

impl Service for Talker {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.set_deadline_after(Duration::from_millis(1));
    }

    fn timeout(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.send(&[0; 64 * 1024]);
        cx.set_deadline_after(Duration::from_millis(1));
    }
}

#[test]
fn the_output_limit_also_holds_for_unprompted_output() {
    let running = Running::start(|reactor| host(reactor, Talker));
    let client = connect(running.made);
    eventually("it is dropped", || client.take_error().unwrap().is_some());
    assert_eq!(running.finish().too_slow, 1);
}

#[test]
fn a_dual_stack_socket_answers_an_ipv4_broadcast() {
    let running = Running::start(|reactor| {
        reactor.host("echo", Echo(0)).udp(([0u16; 8], 0).into()).start().unwrap().1[0].address.port()
    });
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_broadcast(true).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for asked in ["127.0.0.1", "127.255.255.255"] {
        client.send_to(b"anybody?", (asked, running.made)).unwrap();
        assert_eq!(client.recv_from(&mut [0; 10]).unwrap().0, 8);
    }
}

/// Reports how long its first tick took to come.
struct FirstTick {
    made: Instant,
    report: Sender<Duration>,
}

impl Service for FirstTick {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.set_tick(cx.now() + Duration::from_millis(300));
    }

    fn tick(&mut self, _: &mut Context<'_>) {
        self.report.send(self.made.elapsed()).unwrap();
    }
}

#[test]
fn a_tick_set_at_the_start_is_not_early() {
    let (report, reports) = mpsc::channel();
    let _running = Running::start(move |reactor| {
        // The reactor has no turn meanwhile, so its clock stands still.
        std::thread::sleep(Duration::from_millis(200));
        reactor.host("tick", FirstTick { made: Instant::now(), report }).start().unwrap();
    });
    assert!(reports.recv_timeout(PATIENCE).unwrap() >= Duration::from_millis(300));
}

struct Why(Sender<String>);

impl Service for Why {
    type Session = ();

    fn closed(&mut self, (): (), why: &CloseReason, _: &mut Context<'_>) {
        self.0.send(why.to_string()).unwrap();
    }
}

#[test]
fn a_connection_that_its_peer_closed_was_closed_by_the_peer() {
    let (report, reports) = mpsc::channel();
    let running = Running::start(|reactor| host(reactor, Why(report)));
    drop(connect(running.made));
    assert_eq!(reports.recv_timeout(PATIENCE).unwrap(), "closed by the peer");
}

#[test]
fn a_line_length_of_zero_is_no_limit() {
    let limits = Limits { line_length: 0, ..Limits::default() };
    let running = Running::start(|reactor| host_with(reactor, Lines, limits, SocketOptions::default()));
    let client = connect(running.made);
    for part in [&b"a"[..], &[b'b'; 200_000], b"\n"] {
        (&client).write_all(part).unwrap();
    }
    assert_eq!(read_exactly(&client, 5), b"done\n");
}

/// Closes its socket at the first datagram.
struct Hermit(Sender<()>);

impl Service for Hermit {
    type Session = ();

    fn datagram(&mut self, on: SocketId, _: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.close_socket(on);
        self.0.send(()).unwrap();
    }
}

#[test]
fn a_closed_socket_is_not_heard_any_more() {
    let (report, reports) = mpsc::channel();
    let mut reactor = Reactor::new().unwrap();
    let address = reactor.host("hermit", Hermit(report)).udp(localhost()).start().unwrap().1[0].address;
    let client = udp(address);
    for _ in 0..10 {
        client.send(b"x").unwrap();
    }
    for _ in 0..5 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert_eq!(reports.try_iter().count(), 1);
}

/// Publishes every two bytes as a message; a datagram joins.
struct Hall;

impl Service for Hall {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        for message in input.unread().chunks(2) {
            cx.publish(Room(0), message);
        }
        input.consume_all();
    }

    fn datagram(&mut self, _: SocketId, _: SocketAddr, _: &[u8], cx: &mut Context<'_>) {
        cx.join(Room(0), Membership { overflow: Overflow::Disconnect, lines: false });
    }
}

#[test]
fn a_turns_fan_out_to_udp_members_keeps_to_its_budget() {
    let mut reactor = Reactor::new().unwrap();
    let bound = reactor.host("hall", Hall).tcp(localhost()).udp(localhost()).start().unwrap().1;
    let member = udp(bound[1].address);
    member.send(b"join").unwrap();
    let speaker = connect(bound[0].address);
    for _ in 0..5 {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    (&speaker).write_all(&[b'a'; 20_000]).unwrap();
    let (mut most, mut counted) = (0, 0);
    while counted < 10_000 {
        let before = reactor.statistics().datagrams_sent;
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        let now = reactor.statistics();
        most = most.max(now.datagrams_sent - before);
        counted = now.datagrams_sent + now.datagrams_dropped;
    }
    assert_eq!(counted, 10_000, "each message is sent, or counted as dropped");
    assert!(most <= 64, "{most} datagrams in one turn");
}

#[test]
fn a_member_whose_callback_panicked_leaves_its_rooms() {
    struct FailsAfterJoin;
    impl Service for FailsAfterJoin {
        type Session = ();
        fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
            cx.join(Room(0), Membership { overflow: Overflow::Disconnect, lines: false });
            if cx.statistics().accepted == 1 {
                panic!("after the join");
            }
            cx.send(b"in");
        }
        fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
            cx.publish_to_all(Room(0), input.unread());
            input.consume_all();
        }
    }
    std::panic::set_hook(Box::new(|_| {}));
    let running = Running::start(|reactor| host(reactor, FailsAfterJoin));
    let first = connect(running.made);
    let end = (&first).read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    let second = connect(running.made);
    assert_eq!(read_exactly(&second, 2), b"in");
    (&second).write_all(b"hello").unwrap();
    assert_eq!(read_exactly(&second, 5), b"hello");
}

/// Panics at every connection.
struct Hopeless;

impl Service for Hopeless {
    type Session = ();

    fn open(&mut self, _: &mut (), _: &mut Context<'_>) {
        panic!("at every connection");
    }
}

#[test]
fn a_reactor_whose_last_service_was_stopped_ends_with_an_error() {
    std::panic::set_hook(Box::new(|_| {}));
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut reactor = Reactor::new().unwrap();
        sender.send(host(&mut reactor, Hopeless)).unwrap();
        reactor.run().map_err(|error| error.to_string())
    });
    let address = receiver.recv().unwrap();
    for _ in 0..3 {
        let mut heard = Vec::new();
        let _ = connect(address).read_to_end(&mut heard);
    }
    assert!(thread.join().unwrap().unwrap_err().contains("no service is left"));
}

#[test]
fn urgent_data_does_not_strand_what_follows_it() {
    let mut reactor = Reactor::new().unwrap();
    let at = host(&mut reactor, Echo(0));
    for _ in 0..10 {
        let client = connect(at);
        client.set_nodelay(true).unwrap();
        client.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            reactor.turn(Some(Duration::from_millis(1))).unwrap();
        }
        (&client).write_all(b"abc").unwrap();
        assert_eq!(socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap(), 1);
        (&client).write_all(b"def").unwrap();
        let mut heard = Vec::new();
        eventually("what was sent comes back", || {
            reactor.turn(Some(Duration::from_millis(10))).unwrap();
            let mut buffer = [0; 100];
            if let Ok(count) = (&client).read(&mut buffer) {
                heard.extend_from_slice(&buffer[..count]);
            }
            heard.len() == 6
        });
        assert_eq!(heard, b"abcdef");
    }
}

/// Sets a deadline with its first message, and answers each byte with a dot.
struct Patient;

impl Service for Patient {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        if input.unread().len() > 64 {
            cx.set_deadline_after(Duration::from_secs(1));
        }
        while !input.unread().is_empty() && cx.may_go_on(input) {
            input.consume(1);
            cx.send(b".");
        }
    }

    fn timeout(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.send(b"late");
    }
}

#[test]
fn a_deadline_that_was_set_before_the_rest_of_the_input_was_shown_comes_in_time() {
    let mut stage = Rehearsal::new(Patient);
    let client = stage.connect();
    stage.send(client, &[b'x'; 100]);
    assert_eq!(stage.received(client), [b'.'; 100]);
    stage.pass(Duration::from_millis(1100));
    assert_eq!(stage.received(client), b"late");
}
