//! How connections end, reason by reason: whether the peer sees an orderly end or
//! a reset, which words it hears, what the service is told, and what is counted.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use onepoll::reactor::{Limits, Reactor, Statistics};
use onepoll::service::{CloseReason, Context, Farewell, Input, Service};
use socket2::SockRef;
use support::{PATIENCE, Running, connect, eventually, read_exactly};

/// More than a connection's kernel buffers hold.
const BIG: usize = 20 << 20;

/// Does what it is told to, and reports what it is told of an end.
struct Obedient(Sender<String>);

impl Service for Obedient {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let order = input.unread();
        match order {
            b"unfinished" => return,
            b"close" => {
                cx.send("끝\n".as_bytes());
                cx.close();
            }
            b"give up" => {
                cx.send(b"no place\n");
                cx.close_for(Farewell::Full);
            }
            b"abort" => cx.abort(),
            b"pause" => {
                cx.send(b"paused\n");
                cx.pause();
            }
            b"panic" => panic!("as told"),
            b"send much" => cx.send(&vec![b'x'; BIG]),
            b"send much and close" => {
                cx.send(&vec![b'x'; BIG]);
                cx.close();
            }
            b"tell much" => {
                if let Some(connection) = cx.connection() {
                    cx.tell(connection, &vec![b'x'; BIG]);
                }
            }
            order => cx.send(order),
        }
        input.consume_all();
    }

    fn closed(&mut self, (): (), why: &CloseReason, _: &mut Context<'_>) {
        let _ = self.0.send(why.to_string());
    }

    fn farewell(&self, why: Farewell) -> String {
        format!("{why}\n")
    }
}

/// What an end came to.
#[derive(Debug, PartialEq, Eq)]
struct End {
    /// What the client heard; only whether it was much, where it was.
    heard: String,
    is_reset: bool,
    counted: Counted,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counted {
    refused: u64,
    timed_out: u64,
    too_slow: u64,
    panics: u64,
}

impl From<Statistics> for Counted {
    fn from(statistics: Statistics) -> Counted {
        let Statistics { refused, timed_out, too_slow, panics, .. } = statistics;
        Counted { refused, timed_out, too_slow, panics }
    }
}

const UNCOUNTED: Counted = Counted { refused: 0, timed_out: 0, too_slow: 0, panics: 0 };

fn orderly(heard: &str, counted: Counted) -> End {
    End { heard: heard.into(), is_reset: false, counted }
}

fn reset(heard: &str, counted: Counted) -> End {
    End { heard: heard.into(), is_reset: true, counted }
}

struct Stage {
    running: Running<SocketAddr>,
    told: Receiver<String>,
}

impl Stage {
    fn with(limits: Limits) -> Stage {
        let (report, told) = mpsc::channel();
        let running = Running::start(|reactor: &mut Reactor| {
            let host = reactor.host("obedient", Obedient(report)).limits(limits);
            host.tcp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address
        });
        Stage { running, told }
    }

    /// A client that gives an order.
    fn order(&self, order: &str) -> TcpStream {
        let client = connect(self.running.made);
        (&client).write_all(order.as_bytes()).unwrap();
        client
    }

    /// Waits until the service is told of an end.
    fn told(&self) -> String {
        self.told.recv_timeout(PATIENCE).unwrap()
    }

    fn is_told_nothing(&self) -> bool {
        self.told.try_recv().is_err()
    }

    /// Reads a client to its end, and ends the reactor.
    fn end_of(self, mut client: TcpStream) -> End {
        let mut heard = Vec::new();
        let outcome = client.read_to_end(&mut heard);
        let is_reset = outcome.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
        let heard = if heard.len() < 1000 { String::from_utf8(heard).unwrap() } else { "much".into() };
        End { heard, is_reset, counted: self.running.finish().into() }
    }
}

fn any() -> Stage {
    Stage::with(Limits::default())
}

fn soon() -> Option<Duration> {
    Some(Duration::from_millis(200))
}

#[test]
fn a_close_by_the_service_is_orderly() {
    let stage = any();
    let client = stage.order("close");
    assert_eq!(stage.end_of(client), orderly("끝\n", UNCOUNTED));
}

#[test]
fn a_close_by_the_peer_is_told_as_its_own() {
    let stage = any();
    drop(stage.order(""));
    assert_eq!(stage.told(), "closed by the peer");
    assert_eq!(Counted::from(stage.running.finish()), UNCOUNTED);
}

#[test]
fn an_abort_resets() {
    let stage = any();
    let client = stage.order("abort");
    assert_eq!(stage.told(), "aborted by us");
    assert_eq!(stage.end_of(client), reset("", UNCOUNTED));
}

#[test]
fn a_reset_by_the_peer_is_told() {
    let stage = any();
    let client = stage.order("hello");
    assert_eq!(read_exactly(&client, 5), b"hello");
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(stage.told(), "reset by the peer");
    assert_eq!(Counted::from(stage.running.finish()), UNCOUNTED);
}

#[test]
fn a_reset_by_the_peer_is_told_although_we_do_not_read() {
    let stage = any();
    let client = stage.order("pause");
    assert_eq!(read_exactly(&client, 7), b"paused\n");
    (&client).write_all(b"unread").unwrap();
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(stage.told(), "reset by the peer");
}

#[test]
fn an_idle_client_is_told_why_and_counted() {
    let stage = Stage::with(Limits { idle_timeout: soon(), ..Limits::default() });
    let client = stage.order("");
    let counted = Counted { timed_out: 1, ..UNCOUNTED };
    assert_eq!(stage.end_of(client), orderly("nothing was sent for too long\n", counted));
}

#[test]
fn a_client_that_does_not_finish_a_message_is_told_why_and_counted() {
    let stage = Stage::with(Limits { message_timeout: soon(), ..Limits::default() });
    let client = stage.order("unfinished");
    let counted = Counted { timed_out: 1, ..UNCOUNTED };
    assert_eq!(stage.end_of(client), orderly("the message took too long to arrive\n", counted));
}

#[test]
fn a_client_whose_line_is_too_long_is_told_why() {
    let stage = Stage::with(Limits { line_length: 5, ..Limits::default() });
    let client = stage.order("unfinished");
    assert_eq!(stage.end_of(client), orderly("the line is too long\n", UNCOUNTED));
}

#[test]
fn a_client_over_a_connection_limit_is_told_why_and_counted() {
    for limits in [
        Limits { connections: 1, ..Limits::default() },
        Limits { connections_per_peer: Some(1), ..Limits::default() },
    ] {
        let words = match limits.connections {
            1 => "too many connections are open, try again later\n",
            _ => "too many connections from your address are open\n",
        };
        let stage = Stage::with(limits);
        let _first = stage.order("");
        let second = connect(stage.running.made);
        assert!(stage.is_told_nothing(), "it never was a connection of the service");
        assert_eq!(stage.end_of(second), orderly(words, Counted { refused: 1, ..UNCOUNTED }));
    }
}

#[test]
fn a_client_that_its_service_gives_up_reads_only_its_words_and_is_counted() {
    let stage = any();
    let client = stage.order("give up");
    assert_eq!(stage.end_of(client), orderly("no place\n", Counted { refused: 1, ..UNCOUNTED }));
}

#[test]
fn a_client_that_takes_nothing_is_reset_and_counted() {
    let stage = Stage::with(Limits { send_timeout: soon(), ..Limits::default() });
    let client = stage.order("send much");
    assert_eq!(stage.told(), "timed out, output not taken");
    assert_eq!(stage.end_of(client), reset("much", Counted { timed_out: 1, ..UNCOUNTED }));
}

#[test]
fn a_closed_connection_whose_client_takes_nothing_is_reset_and_counted() {
    let stage = Stage::with(Limits { send_timeout: soon(), ..Limits::default() });
    let client = stage.order("send much and close");
    assert_eq!(stage.told(), "closed by us");
    assert_eq!(stage.end_of(client), reset("much", Counted { timed_out: 1, ..UNCOUNTED }));
}

#[test]
fn a_client_that_is_too_slow_is_reset_and_counted() {
    let stage = any();
    let client = stage.order("tell much");
    assert_eq!(stage.told(), "too slow, output over its limit");
    assert_eq!(stage.end_of(client), reset("much", Counted { too_slow: 1, ..UNCOUNTED }));
}

#[test]
fn a_panic_resets_and_is_told_to_nobody() {
    std::panic::set_hook(Box::new(|_| {}));
    let stage = any();
    let client = stage.order("panic");
    let mut heard = Vec::new();
    assert!((&client).read_to_end(&mut heard).is_err());
    let next = stage.order("hello");
    assert_eq!(read_exactly(&next, 5), b"hello");
    assert!(stage.is_told_nothing());
    assert_eq!(Counted::from(stage.running.finish()), Counted { panics: 1, ..UNCOUNTED });
}

#[test]
fn a_drain_is_orderly_for_a_client_that_has_read_everything() {
    let stage = any();
    let client = stage.order("hello");
    assert_eq!(read_exactly(&client, 5), b"hello");
    stage.running.remote().drain();
    assert_eq!(stage.told(), "shutting down");
    assert_eq!(stage.end_of(client), orderly("", UNCOUNTED));
}

#[test]
fn a_drain_cuts_off_a_client_that_does_not_take_the_rest_in_time() {
    let stage = Stage::with(Limits { drain_timeout: soon(), ..Limits::default() });
    let client = stage.order("send much");
    eventually("the answer is in flight", || client.peek(&mut [0; 1]).is_ok());
    stage.running.remote().drain();
    assert_eq!(stage.told(), "cut off, no time was left");
    assert_eq!(Counted::from(stage.running.finish()), UNCOUNTED);
}

/// Connects at the start, and reports the end.
struct Caller(SocketAddr, Sender<String>);

impl Service for Caller {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.connect(self.0);
    }

    fn closed(&mut self, (): (), why: &CloseReason, _: &mut Context<'_>) {
        self.1.send(why.to_string()).unwrap();
    }
}

#[test]
fn a_connection_that_is_not_made_is_told_and_not_counted() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (report, told) = mpsc::channel();
    let running = Running::start(move |reactor| {
        reactor.host("caller", Caller(free, report)).start().unwrap();
    });
    assert!(told.recv_timeout(PATIENCE).unwrap().starts_with("not connected: "));
    assert_eq!(Counted::from(running.finish()), UNCOUNTED);
}
