//! A service's place in the reactor, and the builder that gives it its sockets.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::{Index, IndexMut};

use crate::reactor::Reactor;
use crate::reactor::ending::DRAIN_GRACE;
use crate::reactor::net::Entry;
use crate::reactor::per_address::PerAddress;
use crate::reactor::tcp::listener::Listener;
use crate::reactor::tcp::stream::{LINGER, Terms, later};
use crate::reactor::udp::datagram::Datagram;
pub(crate) use crate::service::any::{Call, Hosted, SessionKey, drop_guarded};
use crate::service::ids::{ServiceId, SocketId};
use crate::service::limits::Limits;
use crate::service::options::SocketOptions;
use crate::service::sockets::{Bound, DatagramSpec, Transport};
use crate::service::{AnyService, Statistics};

/// A service's place in the reactor.
pub(crate) struct Slot {
    pub name: String,
    pub limits: Limits,
    pub options: SocketOptions,
    /// `None` once the service was stopped.
    pub service: Option<Box<dyn Hosted>>,
    pub connections: usize,
    /// Its own part of the reactor's counts, without the bytes of the connections that
    /// are open.
    pub statistics: Statistics,
    pub bound: Vec<Bound>,
    /// Counted only if a limit needs it.
    pub per_peer: PerAddress,
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

impl Drop for Hosts {
    /// One by one, as the sessions of each.
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|slot| drop_guarded(slot.service.take()));
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

/// Ports below it need a privilege (capabilities(7), CAP_NET_BIND_SERVICE).
const FIRST_FREE_PORT: u16 = 1024;

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
            io::ErrorKind::PermissionDenied if (1..FIRST_FREE_PORT).contains(&address.port()) => f.write_str(
                "the system keeps ports below 1024 for privileged programs; choose a higher port, or permit \
                 this program with `sudo setcap cap_net_bind_service=+ep FILE` (in a systemd unit: \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE)",
            ),
            io::ErrorKind::PermissionDenied => write!(f, "the system does not permit it ({source})"),
            _ => write!(f, "{source}"),
        }
    }
}

impl BindError {
    /// Whether the error is that a multicast group cannot be joined, as the network
    /// is now. Other sockets are not affected.
    pub fn is_about_joining(&self) -> bool {
        self.address.ip().is_multicast() && self.source.kind() != io::ErrorKind::AddrInUse
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
pub struct HostBuilder<'r> {
    reactor: &'r mut Reactor,
    name: String,
    service: AnyService,
    limits: Limits,
    options: SocketOptions,
    tcp: Vec<SocketAddr>,
    udp: Vec<DatagramSpec>,
}

impl<'r> HostBuilder<'r> {
    pub(crate) fn new(reactor: &'r mut Reactor, name: &str, service: AnyService) -> HostBuilder<'r> {
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
            let listener = Listener::bind(&reactor.system, address, &options, id)
                .map_err(|source| failed(Transport::Tcp, address, source))?;
            listeners.push(listener);
        }
        let mut datagrams = Vec::new();
        for (mut spec, tag) in udp.into_iter().zip(0..) {
            let has_configured_port = spec.bind.port() != 0;
            if let (0, Some(before)) = (spec.bind.port(), datagrams.last()) {
                spec.bind.set_port(Datagram::port(before));
            }
            let datagram = Datagram::open(&reactor.system, &spec, &options, id, tag)
                .map_err(|source| failed(Transport::Udp, spec.bind, source))?;
            datagrams.push(Datagram { has_configured_port, ..datagram });
        }
        let mut bound = Vec::new();
        let mut sockets = Vec::new();
        let mut handles = Vec::new();
        let mut failure = None;
        for listener in listeners {
            let address = listener.address;
            log::trace!("{name}: TCP {address}: {}", listener.socket.granted());
            match reactor.net.insert(Entry::Listener(Box::new(listener))) {
                Ok(handle) => handles.push(handle),
                Err(error) => failure = Some(failed(Transport::Tcp, address, error)),
            }
            bound.push(Bound { transport: Transport::Tcp, address });
        }
        for datagram in datagrams {
            let address = datagram.socket.address();
            log::trace!("{name}: UDP {address}: {}", datagram.socket.granted());
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
        reactor.hosts.add(Slot {
            name,
            limits,
            options,
            service: Some(service.0),
            connections: 0,
            statistics: Statistics::default(),
            bound: bound.clone(),
            per_peer: PerAddress::default(),
            tick: None,
        });
        for (socket, tag) in sockets.into_iter().zip(0..) {
            reactor.call_service(id, Call::Socket { tag, opened: Ok(socket) });
        }
        reactor.call_service(id, Call::Start);
        Ok((id, bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privileged_port_says_what_to_do() {
        let told = |port: u16| {
            let address = ([127, 0, 0, 1], port).into();
            let source = io::ErrorKind::PermissionDenied.into();
            BindError { service: "echo".into(), transport: Transport::Tcp, address, source }.to_string()
        };
        let privileged = told(7);
        for part in ["service echo cannot use TCP 127.0.0.1:7: ", "a higher port", "setcap", "systemd"] {
            assert!(privileged.contains(part), "{privileged}");
        }
        assert!(told(3333).contains("the system does not permit it"), "{}", told(3333));
    }
}
