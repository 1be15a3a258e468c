//! A service with its sessions, and the builder that gives it its sockets.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Index, IndexMut};

use slab::Slab;
use socket2::SockRef;

use crate::reactor::Reactor;
use crate::reactor::ending::DRAIN_GRACE;
use crate::reactor::net::Entry;
use crate::reactor::tcp::listener::{Listener, granted};
use crate::reactor::tcp::stream::{LINGER, Terms, later};
use crate::reactor::udp::datagram::Datagram;
use crate::service::ids::{ServiceId, SocketId};
use crate::service::limits::Limits;
use crate::service::options::SocketOptions;
use crate::service::sockets::{Bound, DatagramSpec, Transport};
use crate::service::{Answer, CloseReason, Context, Farewell, Input, Message, Service};

/// A session's place in the slab of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKey(u32);

/// One call into a service.
pub(crate) enum Call<'a, 'b> {
    Start,
    Connecting(SessionKey),
    Open(SessionKey),
    Receive(SessionKey, &'a mut Input<'b>),
    EndOfInput(SessionKey, &'a mut Input<'b>),
    RoomToSend(SessionKey),
    Timeout(SessionKey, &'a mut Input<'b>),
    Closed(SessionKey, &'a CloseReason),
    Datagram { on: SocketId, from: SocketAddr, datagram: &'a [u8] },
    Tick,
    Socket(io::Result<SocketId>),
    Finished(Answer),
    Message(Message),
    Keyboard(Option<&'a [u8]>),
}

impl Call<'_, '_> {
    /// How many bytes of input the call may refer to.
    pub fn input_length(&self) -> usize {
        match self {
            Call::Receive(_, input) | Call::EndOfInput(_, input) | Call::Timeout(_, input) => {
                input.unread().len()
            }
            _ => 0,
        }
    }
}

/// A service of any type.
pub(crate) trait Hosted {
    fn new_session(&mut self) -> SessionKey;
    fn drop_session(&mut self, session: SessionKey);
    fn call(&mut self, call: Call<'_, '_>, cx: &mut Context<'_>);
    fn farewell(&self, why: Farewell) -> String;
}

struct Host<S: Service> {
    service: S,
    sessions: Slab<S::Session>,
}

impl<S: Service> Hosted for Host<S> {
    fn new_session(&mut self) -> SessionKey {
        SessionKey(self.sessions.insert(S::Session::default()) as u32)
    }

    fn drop_session(&mut self, SessionKey(session): SessionKey) {
        self.sessions.try_remove(session as usize);
    }

    fn call(&mut self, call: Call<'_, '_>, cx: &mut Context<'_>) {
        let Host { service, sessions } = self;
        match call {
            Call::Start => service.start(cx),
            Call::Connecting(key) => service.connecting(&mut sessions[key.0 as usize], cx),
            Call::Open(key) => service.open(&mut sessions[key.0 as usize], cx),
            Call::Receive(key, input) => service.receive(&mut sessions[key.0 as usize], input, cx),
            Call::EndOfInput(key, input) => service.end_of_input(&mut sessions[key.0 as usize], input, cx),
            Call::RoomToSend(key) => service.room_to_send(&mut sessions[key.0 as usize], cx),
            Call::Timeout(key, input) => service.timeout(&mut sessions[key.0 as usize], input, cx),
            Call::Closed(key, why) => service.closed(sessions.remove(key.0 as usize), why, cx),
            Call::Datagram { on, from, datagram } => service.datagram(on, from, datagram, cx),
            Call::Tick => service.tick(cx),
            Call::Socket(opened) => service.socket(opened, cx),
            Call::Finished(answer) => service.finished(answer, cx),
            Call::Message(message) => service.message(message, cx),
            Call::Keyboard(typed) => service.keyboard(typed, cx),
        }
    }

    fn farewell(&self, why: Farewell) -> String {
        self.service.farewell(why)
    }
}

/// A service's place in the reactor.
pub(crate) struct Slot {
    pub name: String,
    pub limits: Limits,
    pub options: SocketOptions,
    /// `None` once the service was stopped.
    pub service: Option<Box<dyn Hosted>>,
    pub panics: u32,
    pub connections: usize,
    /// Counted only if a limit needs it.
    pub per_peer: HashMap<IpAddr, usize>,
    pub tick: Option<u64>,
}

impl Slot {
    /// What the deadlines of its connections are computed from.
    pub fn terms(&self, draining_since: Option<u64>) -> Terms<'_> {
        let unless_set = if draining_since.is_some() { DRAIN_GRACE } else { LINGER };
        let linger = self.options.linger.map_or(unless_set, |linger| later(0, linger));
        match draining_since {
            None => Terms { limits: &self.limits, linger, drain_at: None },
            Some(since) => {
                let drain_at = self.limits.drain_timeout.map(|limit| later(since, limit));
                Terms { limits: &self.limits, linger, drain_at }
            }
        }
    }
}

/// All services, by their ids. One that was stopped keeps its place.
#[derive(Default)]
pub(crate) struct Hosts(Vec<Slot>);

impl Hosts {
    /// The id of the service that is added next.
    pub fn next_id(&self) -> ServiceId {
        ServiceId(self.0.len() as u32)
    }

    pub fn add(&mut self, slot: Slot) {
        self.0.push(slot);
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.0.iter()
    }

    /// The service of a name, unless it was stopped.
    pub fn running(&self, name: &str) -> Option<ServiceId> {
        let is_it = |slot: &Slot| slot.name == name && slot.service.is_some();
        self.iter().position(is_it).map(|at| ServiceId(at as u32))
    }
}

impl Index<ServiceId> for Hosts {
    type Output = Slot;

    #[inline(always)]
    fn index(&self, ServiceId(key): ServiceId) -> &Slot {
        &self.0[key as usize]
    }
}

impl IndexMut<ServiceId> for Hosts {
    #[inline(always)]
    fn index_mut(&mut self, ServiceId(key): ServiceId) -> &mut Slot {
        &mut self.0[key as usize]
    }
}

/// Why a service could not be given a socket.
#[derive(Debug)]
pub struct BindError {
    /// The service.
    pub service: String,
    /// The kind of socket.
    pub transport: Transport,
    /// The address that was requested.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BindError { service, transport, address, source } = self;
        let transport = if *transport == Transport::Tcp { "TCP" } else { "UDP" };
        write!(f, "service {service} cannot use {transport} {address}: ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                f.write_str("another program uses this port; end it, or choose another port")
            }
            io::ErrorKind::AddrNotAvailable => f.write_str("this machine has no such address"),
            io::ErrorKind::PermissionDenied => write!(f, "the system does not permit it ({source})"),
            _ => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Gives a service its sockets; made by [`Reactor::host`]. Call
/// [`tcp`](HostBuilder::tcp) and [`udp`](HostBuilder::udp) for each address,
/// then [`start`](HostBuilder::start).
pub struct HostBuilder<'r, S: Service> {
    reactor: &'r mut Reactor,
    name: String,
    service: S,
    limits: Limits,
    options: SocketOptions,
    tcp: Vec<SocketAddr>,
    udp: Vec<DatagramSpec>,
}

impl<'r, S: Service + 'static> HostBuilder<'r, S> {
    pub(crate) fn new(reactor: &'r mut Reactor, name: &str, service: S) -> HostBuilder<'r, S> {
        HostBuilder {
            reactor,
            name: name.to_owned(),
            service,
            limits: Limits::default(),
            options: SocketOptions::default(),
            tcp: Vec::new(),
            udp: Vec::new(),
        }
    }

    /// Sets its limits, instead of the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets its socket options, instead of the defaults.
    pub fn options(mut self, options: SocketOptions) -> Self {
        self.options = options;
        self
    }

    /// Accepts connections on an address; port 0 takes a free one.
    pub fn tcp(mut self, address: SocketAddr) -> Self {
        self.tcp.push(address);
        self
    }

    /// Receives datagrams on an address; port 0 takes a free one, the same for
    /// all addresses.
    pub fn udp(self, address: SocketAddr) -> Self {
        self.socket(DatagramSpec::bound(address))
    }

    /// Opens a UDP socket of any kind.
    pub fn socket(mut self, spec: DatagramSpec) -> Self {
        self.udp.push(spec);
        self
    }

    /// Opens the sockets, TCP first, in the order given. Clients can connect from
    /// now on, and are served when the reactor runs. If one socket cannot be
    /// opened, none is.
    pub fn start(self) -> Result<(ServiceId, Vec<Bound>), BindError> {
        let HostBuilder { reactor, name, service, limits, options, tcp, udp } = self;
        reactor.refresh_clock();
        let id = reactor.hosts.next_id();
        let failed =
            |transport, address, source| BindError { service: name.clone(), transport, address, source };
        let mut listeners = Vec::new();
        for address in tcp {
            let listener = Listener::bind(address, &options, id)
                .map_err(|source| failed(Transport::Tcp, address, source))?;
            listeners.push(listener);
        }
        let mut datagrams = Vec::new();
        for mut spec in udp {
            if let (0, Some(before)) = (spec.bind.port(), datagrams.last()) {
                spec.bind.set_port(Datagram::port(before));
            }
            let datagram = Datagram::open(&spec, &options, id)
                .map_err(|source| failed(Transport::Udp, spec.bind, source))?;
            datagrams.push(datagram);
        }
        let mut bound = Vec::new();
        let mut sockets = Vec::new();
        let mut handles = Vec::new();
        let mut failure = None;
        for mut listener in listeners {
            let address = listener.address;
            log::debug!("{name}: TCP {address}: {}", granted(SockRef::from(&*listener.socket())));
            match reactor.net.insert(Entry::Listener(Box::new(listener))) {
                Ok(handle) => handles.push(handle),
                Err(error) => failure = Some(failed(Transport::Tcp, address, error)),
            }
            bound.push(Bound { transport: Transport::Tcp, address });
        }
        for datagram in datagrams {
            let address = datagram.address;
            log::debug!("{name}: UDP {address}: {}", granted(SockRef::from(&datagram.socket)));
            match reactor.net.insert(Entry::Datagram(Box::new(datagram))) {
                Ok(handle) => {
                    handles.push(handle);
                    sockets.push(SocketId(handle));
                }
                Err(error) => failure = Some(failed(Transport::Udp, address, error)),
            }
            bound.push(Bound { transport: Transport::Udp, address });
        }
        if let Some(failure) = failure {
            handles.into_iter().for_each(|handle| reactor.net.remove(handle));
            return Err(failure);
        }
        reactor.make_room_for_lines(limits.line_length);
        let service: Box<dyn Hosted> = Box::new(Host { service, sessions: Slab::new() });
        reactor.hosts.add(Slot {
            name,
            limits,
            options,
            service: Some(service),
            panics: 0,
            connections: 0,
            per_peer: HashMap::new(),
            tick: None,
        });
        for socket in sockets {
            reactor.call_service(id, Call::Socket(Ok(socket)));
        }
        reactor.call_service(id, Call::Start);
        Ok((id, bound))
    }
}
