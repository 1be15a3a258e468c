//! UDP sockets in memory.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::Token;

use super::{Happening, Source, State, World};
use crate::service::DatagramSpec;
use crate::system::{Arrival, MESSAGES_PER_CALL, Parcel, STRIDE};

/// How many unread bytes a socket holds before it drops datagrams, as SO_RCVBUF does.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// What the kernel charges for a datagram in addition to its bytes.
const OVERHEAD: usize = 256;

/// A datagram on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct DatagramState {
    address: SocketAddr,
    peer: Option<SocketAddr>,
    pub queue: VecDeque<Message>,
    held: usize,
    /// What every receive fails with.
    fails: Option<ErrorKind>,
    pub token: Option<Token>,
    pub queued: bool,
}

/// What passed between the program under test and an address outside, in bytes on the
/// wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchanged {
    pub address: IpAddr,
    pub came: u64,
    pub sent: u64,
    /// When the first of it came or was sent.
    pub since: u64,
}

/// Headers of a datagram over IPv4.
const HEADERS: usize = 28;

/// A UDP socket.
#[derive(Debug)]
pub(crate) struct Datagram {
    world: World,
    id: u32,
    pub address: SocketAddr,
    pub is_connected: bool,
    pub coalesces: bool,
}

impl World {
    pub fn open_datagram(&self, spec: &DatagramSpec) -> io::Result<Datagram> {
        let mut state = self.state();
        let mut address = spec.bind;
        if address.port() == 0 {
            address.set_port(state.new_port());
        }
        if state.datagrams.values().any(|socket| socket.address == address) && !spec.listens_only {
            return Err(ErrorKind::AddrInUse.into());
        }
        state.open_descriptor()?;
        let id = state.new_id();
        let socket = DatagramState {
            address,
            peer: spec.connect,
            queue: VecDeque::new(),
            held: 0,
            fails: None,
            token: None,
            queued: false,
        };
        state.datagrams.insert(id, socket);
        let is_connected = spec.connect.is_some();
        Ok(Datagram { world: self.clone(), id, address, is_connected, coalesces: false })
    }

    /// Delivers a datagram from outside at once and without fail.
    pub fn send_datagram(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.state().deliver(Message { from, to, bytes: bytes.to_vec() });
    }

    /// Sends a datagram from outside, which is delivered as networks do.
    pub fn throw_datagram(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.state().transmit(Message { from, to, bytes: bytes.to_vec() });
    }

    /// What passed over UDP between the program under test and each address that is not
    /// on loopback.
    pub fn exchanged(&self) -> Vec<Exchanged> {
        self.state().exchanged.values().copied().collect()
    }

    /// From now on every receive of a socket fails, or none.
    #[cfg(test)]
    pub fn fail_receives(&self, on: SocketAddr, why: Option<ErrorKind>) {
        let mut state = self.state();
        let sockets = state.datagrams.values_mut();
        sockets.filter(|socket| socket.address == on).for_each(|socket| socket.fails = why);
    }

    /// Takes the datagrams that were sent to addresses outside since the last call.
    pub fn take_outside(&self) -> Vec<Message> {
        std::mem::take(&mut self.state().outside)
    }
}

impl State {
    fn exchange(&mut self, address: IpAddr, came: usize, sent: usize) {
        if !address.is_loopback() {
            let new = Exchanged { address, came: 0, sent: 0, since: self.now };
            let exchanged = self.exchanged.entry(address).or_insert(new);
            exchanged.came += came as u64;
            exchanged.sent += sent as u64;
        }
    }

    /// Sends a datagram, which may be lost, duplicated or overtaken.
    fn transmit(&mut self, message: Message) {
        self.note("datagram", message.bytes.len() as u64);
        if !self.rng.chance(self.nature.faults.datagram) {
            return self.deliver(message);
        }
        match self.rng.below(3) {
            0 => {}
            1 => {
                self.deliver(message.clone());
                self.deliver(message);
            }
            _ => self.later(Happening::Deliver(message)),
        }
    }

    pub(super) fn deliver(&mut self, message: Message) {
        let hears = |socket: &DatagramState| {
            let at = socket.address;
            let is_here = at.port() == message.to.port()
                && (at.ip() == message.to.ip()
                    || at.ip().is_unspecified() && !message.to.ip().is_multicast());
            is_here && socket.peer.is_none_or(|peer| peer == message.from)
        };
        let hearers: Vec<u32> =
            self.datagrams.iter().filter(|(_, socket)| hears(socket)).map(|(id, _)| *id).collect();
        if hearers.is_empty() {
            return self.outside.push(message);
        }
        for id in hearers {
            if let Some(socket) = self.datagrams.get_mut(&id) {
                let size = message.bytes.len() + OVERHEAD;
                if socket.held + size <= RECEIVE_BUFFER {
                    socket.held += size;
                    socket.queue.push_back(message.clone());
                }
            }
            self.announce(Source::Datagram(id));
        }
    }

    fn receive(
        &mut self,
        id: u32,
        coalesces: bool,
        buffer: &mut [u8],
        arrivals: &mut Vec<Arrival>,
    ) -> io::Result<()> {
        self.interruption()?;
        let (would_block, partial) = (self.nature.faults.would_block, self.nature.faults.partial_read);
        let blocks = self.rng.chance(would_block);
        let cut = self.rng.chance(partial);
        let Some(socket) = self.datagrams.get_mut(&id) else { return Err(ErrorKind::WouldBlock.into()) };
        if let Some(why) = socket.fails {
            return Err(why.into());
        }
        if socket.queue.is_empty() || blocks {
            if !socket.queue.is_empty() {
                self.announce(Source::Datagram(id));
            }
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut places = (buffer.len() / STRIDE).min(MESSAGES_PER_CALL);
        if cut {
            places = self.rng.between(1, places);
        }
        let Some(socket) = self.datagrams.get_mut(&id) else { return Ok(()) };
        let tells = socket.address.ip().is_unspecified();
        let mut came = Vec::new();
        for place in buffer.chunks_exact_mut(STRIDE).take(places) {
            let Some(message) = socket.queue.pop_front() else { break };
            socket.held -= message.bytes.len() + OVERHEAD;
            let (first, mut length, mut segment) = (message.bytes.len(), message.bytes.len(), 0);
            place[..length].copy_from_slice(&message.bytes);
            while coalesces && first > 0 && length.is_multiple_of(first) {
                let goes_on = |next: &Message| {
                    let size = next.bytes.len();
                    next.from == message.from
                        && next.to == message.to
                        && (1..=first).contains(&size)
                        && length + size <= 65_507
                };
                if !socket.queue.front().is_some_and(goes_on) {
                    break;
                }
                let Some(next) = socket.queue.pop_front() else { break };
                socket.held -= next.bytes.len() + OVERHEAD;
                place[length..length + next.bytes.len()].copy_from_slice(&next.bytes);
                length += next.bytes.len();
                segment = first;
            }
            let datagrams = if segment == 0 { 1 } else { length.div_ceil(segment) };
            self.totals.datagrams_received += datagrams as u64;
            came.push((message.from.ip(), length + datagrams * HEADERS));
            arrivals.push(Arrival {
                from: message.from,
                to: tells.then(|| message.to.ip()),
                length,
                segment,
            });
        }
        let more = !socket.queue.is_empty();
        came.into_iter().for_each(|(from, size)| self.exchange(from, size, 0));
        self.note("receive", arrivals.len() as u64);
        if cut && more {
            self.announce(Source::Datagram(id));
        }
        Ok(())
    }

    fn send(
        &mut self,
        id: u32,
        parcels: &[Parcel],
        local: Option<IpAddr>,
        bytes: &[u8],
    ) -> io::Result<usize> {
        use nix::libc::{EAGAIN, EINVAL, ENOBUFS, EPERM};
        self.interruption()?;
        let refused = self.nature.faults.send_refused;
        if self.rng.chance(refused) {
            let errno = *self.rng.pick(&[EAGAIN, ENOBUFS, EPERM, EINVAL]);
            return Err(io::Error::from_raw_os_error(errno));
        }
        if local.is_some_and(|local| local.is_multicast() || local == Ipv4Addr::BROADCAST) {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        let count = if self.rng.chance(refused) { self.rng.between(1, parcels.len()) } else { parcels.len() };
        let Some(socket) = self.datagrams.get(&id) else { return Err(ErrorKind::NotConnected.into()) };
        let (mut from, peer) = (socket.address, socket.peer);
        if from.ip().is_unspecified() {
            from.set_ip(local.unwrap_or(Ipv4Addr::LOCALHOST.into()));
        }
        for parcel in &parcels[..count] {
            for datagram in parcel.apart() {
                let to = peer.unwrap_or(parcel.to.address);
                let bytes = bytes[datagram.start..datagram.end].to_vec();
                self.totals.datagrams_sent += 1;
                self.exchange(to.ip(), 0, bytes.len() + HEADERS);
                let is_ours = self.datagrams.values().any(|socket| socket.address == to);
                self.totals.datagrams_to_itself += u64::from(is_ours);
                self.transmit(Message { from, to, bytes });
            }
        }
        Ok(count)
    }
}

impl Datagram {
    pub fn receive(&self, buffer: &mut [u8], arrivals: &mut Vec<Arrival>) -> io::Result<()> {
        self.world.state().receive(self.id, self.coalesces, buffer, arrivals)
    }

    pub fn send(&self, parcels: &[Parcel], local: Option<IpAddr>, bytes: &[u8]) -> io::Result<usize> {
        self.world.state().send(self.id, parcels, local, bytes)
    }

    pub fn register(&self, token: Token) -> io::Result<()> {
        let mut state = self.world.state();
        if let Some(socket) = state.datagrams.get_mut(&self.id) {
            socket.token = Some(token);
            if !socket.queue.is_empty() {
                state.announce(Source::Datagram(self.id));
            }
        }
        Ok(())
    }
}

impl Drop for Datagram {
    fn drop(&mut self) {
        let mut state = self.world.state();
        state.descriptors -= 1;
        if let Some(socket) = state.datagrams.remove(&self.id) {
            state.bury(socket.token);
        }
    }
}
