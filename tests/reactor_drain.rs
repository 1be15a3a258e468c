//! How a drain ends: what is in flight goes out, whoever is idle is closed at once, and
//! whatever goes on, it is over by the drain timeout.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use onepoll::reactor::{Limits, Reactor, SocketId};
use onepoll::service::{Answer, Context, Input, Lane, Service};
use support::{PATIENCE, Running, connect, eventually, read_exactly, read_to_end};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Long enough that nothing which waits for it passes as "at once".
const LONG: Duration = Duration::from_secs(20);

fn limits(drain_timeout: Duration) -> Limits {
    Limits { drain_timeout: Some(drain_timeout), ..Limits::default() }
}

/// Does something again and again, on a thread of its own, until it is dropped.
struct Flood {
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn of(mut once: impl FnMut() -> bool + Send + 'static) -> Flood {
        let stops = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stops);
        let thread = thread::spawn(move || {
            let end = Instant::now() + PATIENCE;
            while !told.load(Ordering::Relaxed) && Instant::now() < end && once() {}
        });
        Flood { stops, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Takes so long over a datagram that its socket is never empty under a flood.
struct Thorough;

impl Service for Thorough {
    type Session = ();

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        thread::sleep(Duration::from_micros(200));
        cx.send_to(on, from, datagram);
    }
}

#[test]
fn a_drain_ends_although_udp_is_flooded() {
    let running = Running::start(|reactor: &mut Reactor| {
        let host = reactor.host("thorough", Thorough).limits(limits(Duration::from_millis(500)));
        host.udp(LOOPBACK).start().unwrap().1[0].address
    });
    let at = running.made;
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.connect(at).unwrap();
    let _flood = Flood::of(move || {
        let _ = socket.send(b"x");
        true
    });
    thread::sleep(Duration::from_millis(200));
    let told = Instant::now();
    running.finish();
    assert!(told.elapsed() < Duration::from_secs(5), "it took {:?}", told.elapsed());
}

/// Discards what it is sent.
struct Sink;

impl Service for Sink {
    type Session = ();

    fn end_of_input(&mut self, _: &mut (), _: &mut Input<'_>, _: &mut Context<'_>) {}
}

#[test]
fn a_drain_closes_idle_connections_at_once_beside_busy_ones() {
    let running = Running::start(|reactor: &mut Reactor| {
        reactor.host("sink", Sink).limits(limits(LONG)).tcp(LOOPBACK).start().unwrap().1[0].address
    });
    let idle = connect(running.made);
    let _floods: Vec<Flood> = (0..4)
        .map(|_| {
            let busy = connect(running.made);
            let block = vec![0; 1 << 20];
            Flood::of(move || (&busy).write_all(&block).is_ok())
        })
        .collect();
    thread::sleep(Duration::from_millis(200));
    let told = Instant::now();
    running.remote().drain();
    assert_eq!(read_to_end(&idle), b"");
    assert!(told.elapsed() < LONG / 4, "it was held for {:?}", told.elapsed());
}

/// Offloads a job for each read. It is done when the test says so.
struct Slow(Arc<std::sync::Mutex<Receiver<()>>>);

impl Service for Slow {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        let released = Arc::clone(&self.0);
        cx.send(b"wait\n");
        cx.offload(Lane::Read, move || released.lock().unwrap().recv_timeout(PATIENCE).is_ok());
    }

    fn finished(&mut self, _: Option<&mut Self::Session>, answer: Answer, cx: &mut Context<'_>) {
        if let Some(connection) = answer.connection {
            cx.tell(connection, "끝\n".as_bytes());
        }
    }
}

fn slow(drain_timeout: Duration) -> (Running<SocketAddr>, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let slow = Slow(Arc::new(std::sync::Mutex::new(released)));
    let running = Running::start(move |reactor: &mut Reactor| {
        reactor.host("slow", slow).limits(limits(drain_timeout)).tcp(LOOPBACK).start().unwrap().1[0].address
    });
    (running, release)
}

fn ask(at: SocketAddr) -> TcpStream {
    let client = connect(at);
    (&client).write_all(b"question").unwrap();
    assert_eq!(read_exactly(&client, 5), b"wait\n");
    client
}

#[test]
fn a_drain_waits_for_an_answer_that_is_worked_out_off_the_loop() {
    let (running, release) = slow(LONG);
    let idle = connect(running.made);
    let client = ask(running.made);
    running.remote().drain();
    assert_eq!(read_to_end(&idle), b"", "an idle connection does not wait for it");
    release.send(()).unwrap();
    assert_eq!(read_to_end(&client), "끝\n".as_bytes());
    let told = Instant::now();
    drop(client);
    running.finish();
    assert!(told.elapsed() < LONG / 4, "nothing is left to wait for");
}

#[test]
fn a_drain_does_not_wait_longer_than_its_timeout_for_an_answer_off_the_loop() {
    let (running, _release) = slow(Duration::from_millis(200));
    let mut client = ask(running.made);
    let remote = running.remote().clone();
    remote.drain();
    eventually("it is cut off", || matches!(client.read(&mut [0; 16]), Ok(0) | Err(_)));
    running.finish();
}
