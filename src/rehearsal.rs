//! A service in memory: no socket, no clock, time that passes when told to.
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
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use crate::service::effects::{Closing, Effect, Effects, Outgoings, Piece};
use crate::service::ids::{Generations, Handle};
use crate::service::rooms::{Deliver, Delivery, Rooms};
use crate::service::{CloseReason, Context, Input, Service};
use crate::service::{ConnectionId, DatagramPeer, Limits, ServiceId, SocketId, Statistics};

/// The service on stage.
const THE_ONLY_ONE: ServiceId = ServiceId(0);

/// A service on a stage: [`connect`](Rehearsal::connect) clients,
/// [`send`](Rehearsal::send) what they say (one call is one turn of the loop),
/// let time [`pass`](Rehearsal::pass), and look at what they
/// [`received`](Rehearsal::received).
pub struct Rehearsal<S: Service> {
    service: S,
    limits: Limits,
    clients: BTreeMap<Client, Connection<S::Session>>,
    /// What every client ever received, closed ones too, and has not been asked for.
    outputs: BTreeMap<Client, Vec<u8>>,
    socket: SocketId,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
    posts: Vec<String>,
    rooms: Rooms,
    effects: Effects,
    outgoing: Outgoings,
    statistics: Statistics,
    generations: Generations,
    start: Instant,
    now: Instant,
    wall_clock: SystemTime,
    tick: Option<Instant>,
    failure: Option<String>,
}

/// One client of a [`Rehearsal`].
pub type Client = ConnectionId;

struct Connection<T> {
    session: T,
    peer: SocketAddr,
    kept: Vec<u8>,
    deadline: Option<Instant>,
    paused_until: Option<Instant>,
    /// It half-closed in a pause, which is seen when the pause ends.
    ended_in_pause: bool,
    more_to_send: bool,
}

enum Moment<'a> {
    Start,
    Open(Client),
    Receive(Client, &'a [u8]),
    EndOfInput(Client),
    RoomToSend(Client),
    Timeout(Client),
    Datagram(DatagramPeer, &'a [u8]),
    Tick,
}

impl<S: Service> Rehearsal<S> {
    /// Puts a service on stage, with the default limits and one UDP socket.
    pub fn new(service: S) -> Rehearsal<S> {
        Rehearsal::with_limits(service, Limits::default())
    }

    /// As [`Rehearsal::new`], with limits of its own.
    pub fn with_limits(service: S, limits: Limits) -> Rehearsal<S> {
        let start = Instant::now();
        let mut generations = Generations::default();
        let mut stage = Rehearsal {
            service,
            limits,
            clients: BTreeMap::new(),
            outputs: BTreeMap::new(),
            socket: SocketId(Handle::without_place(generations.next())),
            datagrams: Vec::new(),
            posts: Vec::new(),
            rooms: Rooms::default(),
            effects: Effects::default(),
            outgoing: Outgoings::default(),
            statistics: Statistics::default(),
            generations,
            start,
            now: start,
            wall_clock: SystemTime::UNIX_EPOCH,
            tick: None,
            failure: None,
        };
        let opened = Ok(stage.socket);
        stage.with_context(None, None, |service, cx| service.socket(opened, cx));
        stage.turn(Moment::Start);
        stage
    }

    /// Sets what [`Context::system_time`] says at the beginning of the play.
    pub fn set_wall_clock(&mut self, at: SystemTime) {
        self.wall_clock = at;
    }

    /// The service itself.
    pub fn service(&mut self) -> &mut S {
        &mut self.service
    }

    /// A client connects from the loopback address.
    pub fn connect(&mut self) -> Client {
        self.connect_from(([127, 0, 0, 1], 40_000).into())
    }

    /// A client connects from an address.
    pub fn connect_from(&mut self, peer: SocketAddr) -> Client {
        let client = ConnectionId(Handle::without_place(self.generations.next()));
        let connection = Connection {
            session: S::Session::default(),
            peer,
            kept: Vec::new(),
            deadline: None,
            paused_until: None,
            ended_in_pause: false,
            more_to_send: false,
        };
        self.clients.insert(client, connection);
        self.statistics.connections += 1;
        self.turn(Moment::Open(client));
        client
    }

    /// A connection that the service asked for is not made.
    pub fn refuse(&mut self, error: io::Error) {
        let mut session = S::Session::default();
        self.with_context(None, None, |service, cx| service.connecting(&mut session, cx));
        let why = CloseReason::NotConnected(error);
        self.with_context(None, None, |service, cx| service.closed(session, &why, cx));
        self.fan_out();
    }

    /// A client's bytes arrive, all in one read. Nothing happens if it is closed.
    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        self.turn(Moment::Receive(client, bytes));
    }

    /// A client signals that it will send no more.
    pub fn half_close(&mut self, client: Client) {
        match self.clients.get_mut(&client) {
            Some(connection) if connection.paused_until.is_some() => connection.ended_in_pause = true,
            _ => self.turn(Moment::EndOfInput(client)),
        }
    }

    /// A client is gone.
    pub fn hang_up(&mut self, client: Client) {
        self.lose(client, CloseReason::ByPeer);
    }

    /// A client's connection ends for a reason that the reactor has.
    pub fn lose(&mut self, client: Client, why: CloseReason) {
        self.close(client, why);
        self.fan_out();
    }

    /// A datagram arrives at the service's socket.
    pub fn datagram(&mut self, from: SocketAddr, datagram: &[u8]) {
        let peer = DatagramPeer { socket: self.socket, address: from, local: None };
        self.turn(Moment::Datagram(peer, datagram));
    }

    /// What a client received since it was asked last.
    pub fn received(&mut self, client: Client) -> Vec<u8> {
        self.outputs.remove(&client).unwrap_or_default()
    }

    /// The datagrams sent since it was asked last, with where they went.
    pub fn datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.datagrams)
    }

    /// Whether the service closed a client's connection.
    pub fn is_closed(&self, client: Client) -> bool {
        !self.clients.contains_key(&client)
    }

    /// What the service [failed](Context::fail) with.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The names of the services that something was posted to.
    pub fn posts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.posts)
    }

    /// Time passes in one leap, as for a process that was suspended: what was
    /// due in it happens afterwards, late.
    pub fn oversleep(&mut self, time: Duration) {
        self.now += time;
        self.pass(Duration::ZERO);
    }

    /// Lets time pass; everything due in it happens at its moment.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_due().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            if self.tick.is_some_and(|tick| tick <= self.now) {
                self.tick = None;
                self.turn(Moment::Tick);
            }
            let clients: Vec<Client> = self.clients.keys().copied().collect();
            for client in clients {
                self.wake(client);
            }
        }
        self.now = end;
    }

    fn next_due(&self) -> Option<Instant> {
        let clients = self.clients.values().flat_map(|client| [client.deadline, client.paused_until]);
        clients.chain([self.tick]).flatten().min()
    }

    /// A deadline comes before the end of a pause, as in the reactor.
    fn wake(&mut self, client: Client) {
        let now = self.now;
        let Some(connection) = self.clients.get_mut(&client) else { return };
        if connection.deadline.is_some_and(|at| at <= now) {
            connection.deadline = None;
            self.turn(Moment::Timeout(client));
        }
        let Some(connection) = self.clients.get_mut(&client) else { return };
        if connection.paused_until.is_some_and(|at| at <= now) {
            connection.paused_until = None;
            if std::mem::take(&mut connection.ended_in_pause) {
                self.turn(Moment::EndOfInput(client));
            } else if !connection.kept.is_empty() {
                self.turn(Moment::Receive(client, &[]));
            }
        }
    }

    /// One callback, what it asked for, and the fan-out that ends a turn.
    fn turn(&mut self, moment: Moment<'_>) {
        match moment {
            Moment::Start => self.with_context(None, None, |service, cx| service.start(cx)),
            Moment::Tick => self.with_context(None, None, |service, cx| service.tick(cx)),
            Moment::Datagram(peer, datagram) => self.with_context(None, Some(peer), |service, cx| {
                service.datagram(peer.socket, peer.address, datagram, cx);
            }),
            Moment::Open(client)
            | Moment::Receive(client, _)
            | Moment::EndOfInput(client)
            | Moment::RoomToSend(client)
            | Moment::Timeout(client) => self.turn_of_client(client, &moment),
        }
        self.fan_out();
        let waiting = |(client, connection): (&Client, &Connection<S::Session>)| {
            connection.more_to_send.then_some(*client)
        };
        if let Some(client) = self.clients.iter().find_map(waiting) {
            self.turn(Moment::RoomToSend(client));
        }
    }

    fn turn_of_client(&mut self, client: Client, moment: &Moment<'_>) {
        let Some(mut connection) = self.clients.remove(&client) else { return };
        let mut shown = std::mem::take(&mut connection.kept);
        if let Moment::Receive(_, bytes) = moment {
            shown.extend_from_slice(bytes);
            if connection.paused_until.is_some() {
                connection.kept = shown;
                self.clients.insert(client, connection);
                return;
            }
        }
        if matches!(moment, Moment::RoomToSend(_)) {
            connection.more_to_send = false;
        }
        let mut input = Input::new(&shown);
        let session = &mut connection.session;
        let peer = connection.peer;
        self.with_context(Some((client, peer)), None, |service, cx| match moment {
            Moment::Open(_) => service.open(session, cx),
            Moment::Receive(..) => service.receive(session, &mut input, cx),
            Moment::EndOfInput(_) => service.end_of_input(session, &mut input, cx),
            Moment::RoomToSend(_) => service.room_to_send(session, cx),
            _ => service.timeout(session, &mut input, cx),
        });
        connection.kept = if matches!(moment, Moment::Open(_) | Moment::RoomToSend(_)) {
            shown.clone()
        } else {
            input.unread().to_vec()
        };
        self.apply(client, connection, &shown);
    }

    fn with_context(
        &mut self,
        connection: Option<(Client, SocketAddr)>,
        datagram: Option<DatagramPeer>,
        call: impl FnOnce(&mut S, &mut Context<'_>),
    ) {
        let mut context = Context {
            now: self.now,
            system_time: Some(self.wall_clock + self.now.duration_since(self.start)),
            service: THE_ONLY_ONE,
            connection: connection.as_ref().map(|(id, peer)| (*id, peer)),
            datagram: datagram.as_ref(),
            // A range that is too long is noticed when the answer is made up.
            input_length: usize::MAX,
            limits: &self.limits,
            effects: &mut self.effects,
            outgoing: &mut self.outgoing,
            rooms: &mut self.rooms,
            generations: &mut self.generations,
            statistics: &self.statistics,
        };
        call(&mut self.service, &mut context);
        self.take_outgoing();
        if connection.is_none() {
            self.apply_others();
            self.effects.clear();
        }
    }

    fn apply(&mut self, client: Client, mut connection: Connection<S::Session>, input: &[u8]) {
        let output = self.outputs.entry(client).or_default();
        for piece in &self.effects.answer {
            output.extend_from_slice(match piece {
                Piece::Scratch(range) => &self.effects.scratch[range.clone()],
                Piece::Input(range) => &input[range.clone()],
            });
        }
        if let Some(deadline) = self.effects.deadline {
            connection.deadline = deadline;
        }
        connection.paused_until = self.effects.pause_until.or(connection.paused_until);
        connection.more_to_send |= self.effects.more_to_send;
        let closing = self.effects.closing;
        self.clients.insert(client, connection);
        self.apply_others();
        self.effects.clear();
        if closing != Closing::No {
            self.close(client, CloseReason::ByUs);
        }
    }

    fn apply_others(&mut self) {
        let others = std::mem::take(&mut self.effects.others);
        let mut closing = Vec::new();
        for effect in others {
            match effect {
                Effect::Tell { to, bytes } => {
                    let told = &self.effects.scratch[bytes];
                    self.outputs.entry(to).or_default().extend_from_slice(told);
                }
                Effect::CloseOther(other) => closing.push(other),
                Effect::Post { service, .. } => self.posts.push(service),
                Effect::Tick(at) => self.tick = at,
                Effect::Fail(why) => self.failure = Some(why),
                _ => {}
            }
        }
        self.effects.clear();
        for client in closing {
            self.close(client, CloseReason::ByUs);
        }
    }

    fn close(&mut self, client: Client, why: CloseReason) {
        let Some(connection) = self.clients.remove(&client) else { return };
        self.statistics.connections -= 1;
        self.rooms.leave_all(THE_ONLY_ONE, client.0);
        let Connection { session, peer, .. } = connection;
        self.with_context(Some((client, peer)), None, |service, cx| service.closed(session, &why, cx));
        self.apply_others();
    }

    fn take_outgoing(&mut self) {
        for datagram in &self.outgoing.list {
            let bytes = self.outgoing.bytes[datagram.start..datagram.end].to_vec();
            self.datagrams.push((datagram.to.address, bytes));
        }
        self.outgoing.clear();
    }

    fn fan_out(&mut self) {
        let mut inboxes = Inboxes { outputs: &mut self.outputs, datagrams: &mut self.datagrams };
        while self.rooms.has_work() {
            self.rooms.fan_out(&mut inboxes, &mut Vec::new());
        }
    }
}

struct Inboxes<'a> {
    outputs: &'a mut BTreeMap<Client, Vec<u8>>,
    datagrams: &'a mut Vec<(SocketAddr, Vec<u8>)>,
}

impl Deliver for Inboxes<'_> {
    fn to_connection(&mut self, handle: Handle, delivery: Delivery<'_>) -> bool {
        let output = self.outputs.entry(ConnectionId(handle)).or_default();
        for range in delivery.ranges {
            output.extend_from_slice(&delivery.bytes[range.clone()]);
        }
        true
    }

    fn to_peer(&mut self, peer: &DatagramPeer, message: &[u8]) -> bool {
        self.datagrams.push((peer.address, message.to_vec()));
        true
    }
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
