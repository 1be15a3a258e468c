//! Rehearsals: a service in memory, on the real loop and a simulated system, whose time
//! passes only if a test says so.
//!
//! It needs the feature `simulated`:
//!
//! ```
//! use onepoll::rehearsal::Rehearsal;
//! use onepoll::service::{Context, Input, Service};
//!
//! struct Shout;
//! impl Service for Shout {
//!     type Session = ();
//!     fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
//!         cx.send_input(input.consume_all());
//!         cx.send(b"!");
//!     }
//! }
//!
//! let mut stage = Rehearsal::new(Shout);
//! let client = stage.connect();
//! stage.send(client, "안녕".as_bytes());
//! assert_eq!(stage.received(client), "안녕!".as_bytes());
//! ```

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IoSlice};
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::reactor::{Reactor, ServiceId};
use crate::service::{Limits, Service};
use crate::system::simulated::{End, Nature, Stream, World};

/// Where the service listens, over TCP and UDP.
const STAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1000);
/// The ports of clients that need no particular one begin here.
const FIRST_PORT: u16 = 40_000;
/// A stage that has not come to rest after this many turns never will.
const MOST_TURNS: usize = 1_000_000;

/// A service on a stage: [`connect`](Rehearsal::connect) clients,
/// [`send`](Rehearsal::send) what they say, let time
/// [`pass`](Rehearsal::pass), and look at what they
/// [`received`](Rehearsal::received).
///
/// Each call runs the loop until it has nothing left to do at this moment. Clients read
/// everything at once, and close when the service does.
pub struct Rehearsal<S: Service + 'static> {
    reactor: Reactor,
    world: World,
    id: ServiceId,
    clients: BTreeMap<Client, Seat>,
    /// Which client sits at which end.
    ends: BTreeMap<End, Client>,
    service: PhantomData<S>,
}

/// One client of a [`Rehearsal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client(u32);

/// A client's side of its connection.
struct Seat {
    /// `None` once it is closed.
    socket: Option<Stream>,
    received: Vec<u8>,
    reads: bool,
}

impl<S: Service + 'static> Rehearsal<S> {
    /// Puts a service on stage, with the default limits and one UDP socket.
    pub fn new(service: S) -> Rehearsal<S> {
        Rehearsal::with_limits(service, Limits::default())
    }

    /// As [`Rehearsal::new`], with limits of its own.
    ///
    /// # Panics
    /// Never, unless the stage itself is broken.
    pub fn with_limits(service: S, limits: Limits) -> Rehearsal<S> {
        let world = World::new(Nature::calm());
        let mut reactor = Reactor::simulated(&world).expect("a calm world has room for a reactor");
        let (id, _) = reactor
            .host("stage", service)
            .limits(limits)
            .tcp(STAGE)
            .udp(STAGE)
            .start()
            .expect("a calm world has room for a service");
        let mut stage = Rehearsal {
            reactor,
            world,
            id,
            clients: BTreeMap::new(),
            ends: BTreeMap::new(),
            service: PhantomData,
        };
        stage.settle();
        stage
    }

    /// Sets what [`Context::system_time`](crate::service::Context::system_time) returns
    /// at the beginning.
    pub fn set_wall_clock(&mut self, at: SystemTime) {
        self.reactor.set_wall_clock(at);
    }

    /// The service itself.
    ///
    /// # Panics
    /// If it has panicked too often and was stopped.
    pub fn service(&mut self) -> &mut S {
        self.reactor.service_mut(self.id).expect("the service was stopped")
    }

    /// A client connects from the loopback address. If the service has asked to
    /// [connect](crate::service::Context::connect), its oldest attempt succeeds instead.
    pub fn connect(&mut self) -> Client {
        let port = FIRST_PORT + (self.clients.len() % 10_000) as u16;
        self.connect_from((Ipv4Addr::LOCALHOST, port).into())
    }

    /// As [`Rehearsal::connect`], from an address. If the service no longer listens, the
    /// client is closed from the start.
    pub fn connect_from(&mut self, peer: SocketAddr) -> Client {
        self.welcome(peer, true)
    }

    /// As [`Rehearsal::connect`], for a client that reads nothing before
    /// [`Rehearsal::read_on`]: the kernel of the stage takes 1 MiB for it, and the rest
    /// waits in its outbox.
    pub fn connect_without_reading(&mut self) -> Client {
        let port = FIRST_PORT + (self.clients.len() % 10_000) as u16;
        self.welcome((Ipv4Addr::LOCALHOST, port).into(), false)
    }

    fn welcome(&mut self, peer: SocketAddr, reads: bool) -> Client {
        let socket = self.world.accept_outside().or_else(|| self.world.call(peer, STAGE));
        let client = Client(self.clients.len() as u32);
        self.ends.extend(socket.as_ref().map(|socket| (socket.end, client)));
        self.clients.insert(client, Seat { socket, received: Vec::new(), reads });
        self.settle();
        client
    }

    /// The oldest connection that the service has asked for fails. Returns false if there
    /// is none.
    pub fn refuse(&mut self, why: ErrorKind) -> bool {
        let refused = self.world.refuse_outside(why);
        self.settle();
        refused
    }

    /// The program is told to end, as by SIGTERM.
    pub fn drain(&mut self) {
        self.reactor.drain();
        self.settle();
    }

    /// A client's bytes arrive. Nothing happens if it is closed.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            let Some(socket) = self.clients.get(&client).and_then(|seat| seat.socket.as_ref()) else {
                return;
            };
            let sent = match socket.write(&[IoSlice::new(rest)]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => return self.settle(),
            };
            rest = &rest[sent..];
            self.settle();
            if rest.is_empty() || sent == 0 {
                return;
            }
        }
    }

    /// A client half-closes: it will send no more.
    pub fn half_close(&mut self, client: Client) {
        if let Some(socket) = self.clients.get(&client).and_then(|seat| seat.socket.as_ref()) {
            // The connection may be gone already.
            let _ = socket.half_close();
        }
        self.settle();
    }

    /// A client resets its connection.
    pub fn reset(&mut self, client: Client) {
        if let Some(socket) = self.clients.get_mut(&client).and_then(|seat| seat.socket.take()) {
            socket.reset_on_close();
        }
        self.settle();
    }

    /// A client closes its connection.
    pub fn hang_up(&mut self, client: Client) {
        if let Some(seat) = self.clients.get_mut(&client) {
            seat.socket = None;
        }
        self.settle();
    }

    /// A client stops reading.
    pub fn stop_reading(&mut self, client: Client) {
        if let Some(seat) = self.clients.get_mut(&client) {
            seat.reads = false;
        }
    }

    /// A client reads everything again.
    pub fn read_on(&mut self, client: Client) {
        if let Some(seat) = self.clients.get_mut(&client) {
            seat.reads = true;
            seat.listen();
        }
        self.settle();
    }

    /// A datagram arrives at the service's socket.
    pub fn datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.world.send_datagram(from, STAGE, datagram);
        self.settle();
    }

    /// Lets no job of [`Context::offload`](crate::service::Context::offload) begin before
    /// [`Rehearsal::release_jobs`], as on a disk that stands still.
    pub fn hold_jobs(&mut self) {
        self.world.hold_jobs(true);
    }

    /// Lets jobs begin again.
    pub fn release_jobs(&mut self) {
        self.world.hold_jobs(false);
        self.settle();
    }

    /// What a client has received since the last call.
    pub fn received(&mut self, client: Client) -> Vec<u8> {
        self.clients.get_mut(&client).map_or(Vec::new(), |seat| std::mem::take(&mut seat.received))
    }

    /// The datagrams that were sent since the last call, and where they went.
    pub fn datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.world.take_outside().into_iter().map(|message| (message.to, message.bytes)).collect()
    }

    /// A datagram arrives at another socket of the service, by its address.
    pub fn datagram_to(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.world.send_datagram(from, to, datagram);
        self.settle();
    }

    /// As [`Rehearsal::datagrams`], with where each came from in front.
    pub fn datagrams_with_sources(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.world.take_outside().into_iter().map(|sent| (sent.from, sent.to, sent.bytes)).collect()
    }

    /// Whether a client's connection is closed, by either side.
    pub fn is_closed(&self, client: Client) -> bool {
        self.clients.get(&client).is_none_or(|seat| seat.socket.is_none())
    }

    /// What the service [failed](crate::service::Context::fail) with.
    pub fn failure(&self) -> Option<&str> {
        self.reactor.failure()
    }

    /// Time passes in one leap, as for a process that was suspended: whatever fell due
    /// happens afterwards, late.
    pub fn oversleep(&mut self, time: Duration) {
        self.world.leap(time);
        self.settle();
    }

    /// Lets time pass; whatever falls due happens on time.
    pub fn pass(&mut self, time: Duration) {
        let end = self.world.micros() + time.as_micros() as u64;
        self.settle();
        while self.world.micros() < end && !self.reactor.has_ended() {
            self.turn(Duration::from_micros(end - self.world.micros()));
            self.settle();
        }
    }

    /// Turns the loop until nothing more happens at this moment.
    fn settle(&mut self) {
        for _ in 0..MOST_TURNS {
            self.turn(Duration::ZERO);
            let mut heard = false;
            for end in self.world.take_client_news() {
                let seat = self.ends.get(&end).and_then(|client| self.clients.get_mut(client));
                heard |= seat.is_some_and(Seat::listen);
            }
            if !heard && self.reactor.is_at_rest() && !self.world.has_news() || self.reactor.has_ended() {
                return;
            }
        }
        panic!("the stage does not come to rest");
    }

    fn turn(&mut self, at_most: Duration) {
        self.reactor.turn(Some(at_most)).expect("a calm world lets the loop turn");
    }
}

impl Seat {
    /// Reads what has come, and closes at the end. Returns whether anything came.
    fn listen(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let mut heard = false;
        while let (Some(socket), true) = (&self.socket, self.reads) {
            match socket.read(&mut buffer) {
                Ok(0) => self.socket = None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if is_nothing(&error) => break,
                Err(_) => self.socket = None,
            }
            heard = true;
        }
        heard
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// `bytes` in pieces, cut at some places: a split of a client's input for a
/// property test.
#[cfg(test)]
pub(crate) fn splits<'a>(bytes: &'a [u8], cuts: &[proptest::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for place in places {
        pieces.push(&bytes[start..place]);
        start = place;
    }
    pieces.push(&bytes[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Context, Input};

    const LENGTH: usize = 3 * 1024 * 1024;
    const STEP: usize = 4 * 1024;

    /// Sends a long answer in steps, also to a client that half-closes meanwhile.
    struct Long;

    impl Long {
        fn step(left: &mut usize, cx: &mut Context<'_>) {
            let now = STEP.min(*left);
            *left -= now;
            cx.send(&vec![b'.'; now]);
            match *left {
                0 => cx.close(),
                _ => cx.more_to_send(),
            }
        }
    }

    impl Service for Long {
        type Session = usize;

        fn open(&mut self, left: &mut usize, cx: &mut Context<'_>) {
            *left = LENGTH;
            Long::step(left, cx);
        }

        fn room_to_send(&mut self, left: &mut usize, cx: &mut Context<'_>) {
            Long::step(left, cx);
        }

        fn end_of_input(&mut self, _: &mut usize, _: &mut Input<'_>, _: &mut Context<'_>) {}
    }

    #[test]
    fn a_client_that_does_not_read_is_not_sent_more_than_its_buffers_hold() {
        let mut stage = Rehearsal::new(Long);
        let client = stage.connect_without_reading();
        let left = stage.reactor.statistics().bytes_sent as usize;
        assert!((1024 * 1024..1024 * 1024 + STEP).contains(&left), "{left} bytes were sent");
        stage.half_close(client);
        stage.read_on(client);
        assert_eq!(stage.received(client).len(), LENGTH);
        assert!(stage.is_closed(client));
    }
}
