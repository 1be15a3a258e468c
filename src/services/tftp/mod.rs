//! tftp: hands out files by TFTP, and takes them if it may.
//!
//! A request opens a socket of its own for the transfer, whose port tells transfers apart
//! (RFC 1350), or with `single_port` all share the port of the requests. The protocol is
//! in [`wire::tftp`](crate::wire::tftp): this file routes datagrams to transfers.
//! `transfer` has one of them with its file, `disk` its jobs.

mod disk;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value, files};
use crate::files::{FileError, Root, clean};
use crate::service::{
    Answer, Caps, Context, DatagramPeer, DatagramSpec, Full, Lane, PeerSessions, Service, SocketId,
};
use crate::services::transfers;
use crate::wire::tftp::{BadPacket, ErrorCode, Failure, Mode, Options, Packet, Request, error};
use disk::{Done, Upload, What};
use transfer::{Side, Transfer, refusal};

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "tftp",
    about: "hands out files by TFTP, and takes them if writable",
    notes: "TFTP asks nobody who they are: whoever reaches the port can read every file in the folder.",
    tcp: None,
    udp: Some(6969),
    keys: &[
        files::ROOT,
        files::NOT_WRITABLE,
        files::MAX_FILE_SIZE,
        files::MAX_TOTAL_SIZE,
        files::MAX_FILES,
        SINGLE_PORT,
        MAX_TRANSFERS,
        MAX_TRANSFERS_PER_ADDRESS,
    ],
    plan,
};

const SINGLE_PORT: Key = Key {
    name: "single_port",
    value: Value::Default("false"),
    about: "Whether transfers share the port of the requests, for clients behind NAT. There is one \
            block per window then. Set it only where nobody can forge the address of another: no \
            port of its own proves that a client receives what it is sent.",
};

const MAX_TRANSFERS: Key =
    Key { name: "max_transfers", value: Value::Default("100"), about: "The most transfers at a time." };

const MAX_TRANSFERS_PER_ADDRESS: Key = Key {
    name: "max_transfers_per_address",
    value: Value::Default("20"),
    about: "The most transfers of one address at a time; loopback is not limited.",
};

/// Each transfer has at most one job, and a lane holds 1,024 of one service.
const MOST_TRANSFERS: u32 = 500;
/// The largest block where transfers share a port: it fits into a packet of Ethernet.
const SINGLE_PORT_BLOCK: u16 = 1428;
/// A disk that takes longer for one job breaks the transfer.
const DISK_PATIENCE: Duration = Duration::from_secs(60);
/// The tags of sockets that transfers open begin here; those of the start are below.
const FIRST_TRANSFER: u64 = 1 << 32;

fn plan(settings: &mut Settings<'_>) -> Plan {
    let root = files::root(settings, &files::NOT_WRITABLE);
    let single_port = settings.get(&SINGLE_PORT, values::flag);
    let caps = Caps {
        sessions: settings.get(&MAX_TRANSFERS, transfers),
        per_address: settings.get(&MAX_TRANSFERS_PER_ADDRESS, transfers),
        loopback: false,
    };
    if single_port && !settings.bind.is_loopback() {
        log::warn!(
            "{}: with single_port, who can forge the address of another can have files sent there",
            settings.name
        );
    }
    let stores_in = root.stores_in();
    let service = Tftp::new(settings.name, root, settings.bind, single_port, caps);
    let opens = if single_port { 0 } else { caps.sessions };
    Plan { stores_in, opens, ..settings.listen(service) }
}

fn transfers(value: &Toml<'_>) -> Read<usize> {
    values::integer(value, 1..=MOST_TRANSFERS).map(|count| count as usize)
}

/// The TFTP service.
pub struct Tftp {
    /// What the log calls it.
    name: String,
    root: Root,
    bind: IpAddr,
    single_port: bool,
    transfers: PeerSessions<u64, Transfer>,
    last: u64,
    /// Whose socket it is.
    sockets: HashMap<SocketId, u64>,
    /// The latest transfer of each client.
    clients: HashMap<SocketAddr, u64>,
    ticks_at: Option<Instant>,
    /// When a transfer last went on.
    now: Option<Instant>,
    /// Where packets are written, one after the other.
    packet: Vec<u8>,
}

impl fmt::Debug for Tftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tftp {{ root: {:?}, transfers: {} }}", self.root, self.transfers.len())
    }
}

impl Tftp {
    /// A TFTP service with these files, whose transfers have sockets at `bind`.
    pub fn new(name: &str, root: Root, bind: IpAddr, single_port: bool, caps: Caps) -> Tftp {
        Tftp {
            name: name.to_owned(),
            root,
            bind,
            single_port,
            transfers: PeerSessions::new(caps),
            last: FIRST_TRANSFER,
            sockets: HashMap::new(),
            clients: HashMap::new(),
            ticks_at: None,
            now: None,
            packet: Vec::new(),
        }
    }

    /// A datagram came to the port of the requests.
    fn asked(&mut self, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let latest = self.clients.get(&from).copied();
        let (is_write, request) = match Packet::parse(datagram) {
            Ok(Packet::Read(request)) => (false, request),
            Ok(Packet::Write(request)) => (true, request),
            // An error is never answered, so two servers cannot make a loop.
            Ok(Packet::Error { .. }) if !self.single_port => return,
            packet => {
                if self.single_port
                    && let Some(transfer) = latest
                {
                    return self.hear(transfer, datagram, cx);
                }
                return match packet {
                    Ok(Packet::Error { .. }) => {}
                    Ok(_) => answer(cx, ErrorCode::UnknownTransfer, "there is no such transfer here"),
                    Err(bad) => self.refuse_packet(datagram, bad, cx),
                };
            }
        };
        if let Some(transfer) = latest
            && let Some(known) = self.transfers.get(&transfer)
        {
            if known.request == datagram && !known.is_over() {
                return;
            }
            if self.single_port {
                // The client has begun anew, and only its address tells transfers apart.
                self.end(transfer, cx);
            }
        }
        if let Err((code, text)) = self.begin(is_write, request, datagram, cx) {
            transfers::Transfer::begin(request.name, cx).refused(&text, cx);
            answer(cx, code, &text);
        }
    }

    fn begin(
        &mut self,
        is_write: bool,
        request: Request<'_>,
        datagram: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<(), (ErrorCode, String)> {
        let name = clean(request.name).map_err(|why| refusal(&why.into()))?;
        if is_write && !self.root.policy().writable {
            return Err(refusal(&FileError::ReadOnly));
        }
        let Some(peer) = cx.datagram_peer() else { return Ok(()) };
        // No request is for everybody (RFC 1123, 4.2.3.5).
        if peer.local.is_some_and(|local| local.is_multicast() || local == Ipv4Addr::BROADCAST) {
            return Ok(());
        }
        let line = transfers::Transfer::begin(request.name, cx);
        let Request { mode, options: asked, .. } = request;
        let new = Transfer {
            peer,
            request: datagram.to_vec(),
            mode,
            asked,
            socket: None,
            line,
            side: Side::Opening,
            is_busy: true,
        };
        if self.transfers.has_room_for(peer.address.ip()) == Err(Full::InAll) {
            self.make_room(cx);
        }
        self.last += 1;
        let transfer = self.last;
        let deadline = cx.now() + DISK_PATIENCE;
        self.transfers.insert(transfer, peer.address.ip(), new, deadline).map_err(|full| {
            let text = match full {
                Full::InAll => "too many transfers are under way, try again later",
                Full::OfAddress => "too many transfers of your address are under way, try again later",
            };
            (ErrorCode::Undefined, text.to_owned())
        })?;
        self.clients.insert(peer.address, transfer);
        let root = self.root.clone();
        if is_write {
            let size = asked.transfer_size.filter(|_| mode == Mode::Octet);
            let begin = move || What::Begun(Upload::begin(&root, &name, size, mode));
            cx.offload(Lane::Write, move || Done { transfer, what: begin() });
        } else {
            let open = move || What::Opened(disk::open(&root, &name, mode));
            cx.offload(Lane::Read, move || Done { transfer, what: open() });
        }
        self.keep_time(cx);
        Ok(())
    }

    /// Ends the oldest transfer whose client was sent something and has not answered, since
    /// its request may be forged: those who do answer need not wait for it.
    fn make_room(&mut self, cx: &mut Context<'_>) {
        let unanswered = self.transfers.iter().filter(|(_, known)| known.is_unanswered());
        if let Some(oldest) = unanswered.map(|(transfer, _)| *transfer).min() {
            if let Some(known) = self.transfers.get(&oldest) {
                known.line.refused("no answer came, and others want its place", cx);
            }
            self.end(oldest, cx);
        }
    }

    fn refuse_packet(&self, datagram: &[u8], bad: BadPacket, cx: &mut Context<'_>) {
        log::debug!("{}: {} bytes that are no packet: {bad}", self.name, datagram.len());
        answer(cx, bad.code(), &bad.to_string());
    }

    /// The file of a request is open, or there is one to write to: gives the transfer its
    /// socket.
    fn opened(&mut self, transfer: u64, what: What, cx: &mut Context<'_>) {
        let Some(known) = self.transfers.get_mut(&transfer) else { return };
        let Transfer { mode, asked, .. } = *known;
        let most = if self.single_port { SINGLE_PORT_BLOCK } else { u16::MAX };
        let granted = |size: Option<u64>| {
            let granted = asked.granted(most, size.filter(|_| mode == Mode::Octet));
            Options { window_size: granted.window_size.filter(|_| !self.single_port), ..granted }
        };
        let outcome = match what {
            What::Opened(opened) => opened.map(|(found, first)| {
                // curl takes the size 0 for a mistake.
                let options = granted(Some(found.size).filter(|size| *size > 0));
                known.send(&found, &first, options);
            }),
            What::Begun(begun) => begun.map(|upload| {
                let options = granted(asked.transfer_size);
                known.receive(upload, options);
            }),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            let (code, text) = refusal(&error);
            return self.refuse(transfer, code, &text, cx);
        }
        if self.single_port {
            known.socket = Some(known.peer.socket);
            return self.go_on(transfer, cx);
        }
        // A socket of every address answers from the one that was asked, unless that means
        // nothing without the name of its interface.
        let is_whole = |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let bind = known.peer.local.filter(is_whole).unwrap_or(self.bind);
        cx.open_socket(transfer, DatagramSpec::bound((bind, 0).into()));
    }

    /// Refuses a request that could not be answered at once.
    fn refuse(&mut self, transfer: u64, code: ErrorCode, text: &str, cx: &mut Context<'_>) {
        if let Some(refused) = self.transfers.get(&transfer) {
            refused.line.refused(text, cx);
            cx.send_to_peer(refused.peer, &error(code, text));
        }
        self.end(transfer, cx);
    }

    /// A datagram of its client came to a transfer.
    fn hear(&mut self, transfer: u64, datagram: &[u8], cx: &mut Context<'_>) {
        if let Some(known) = self.transfers.get_mut(&transfer) {
            known.handle(datagram, cx.now());
            self.go_on(transfer, cx);
        }
    }

    /// Sends what there is to send, keeps the disk busy, and notices the end.
    fn go_on(&mut self, transfer: u64, cx: &mut Context<'_>) {
        let now = cx.now();
        self.now = Some(now);
        let Some(known) = self.transfers.get_mut(&transfer) else { return };
        let Some(socket) = known.socket else { return };
        known.use_disk(transfer, cx);
        let to = DatagramPeer { socket, local: known.peer.local.filter(|_| self.single_port), ..known.peer };
        while known.next_packet(&mut self.packet, now) {
            if known.was_answered() {
                cx.send_to_proven(socket, to.address, &self.packet);
            } else {
                cx.send_to_peer(to, &self.packet);
            }
        }
        known.use_disk(transfer, cx);
        if let Some(outcome) = known.outcome() {
            known.tell(&self.name, outcome, now);
            return self.end(transfer, cx);
        }
        let due = known.due().unwrap_or(now + DISK_PATIENCE);
        self.transfers.set_deadline(&transfer, due);
        self.keep_time(cx);
    }

    /// Forgets a transfer.
    fn end(&mut self, transfer: u64, cx: &mut Context<'_>) {
        let Some(mut ended) = self.transfers.remove(&transfer) else { return };
        if self.clients.get(&ended.peer.address) == Some(&transfer) {
            self.clients.remove(&ended.peer.address);
        }
        if let Some(socket) = ended.socket
            && self.sockets.remove(&socket).is_some()
        {
            cx.close_socket(socket);
        }
        if let Some(unfinished) = ended.take_upload() {
            cx.offload(Lane::Write, move || drop(unfinished));
        }
        self.keep_time(cx);
    }

    fn keep_time(&mut self, cx: &mut Context<'_>) {
        let next = self.transfers.next_deadline();
        if next != self.ticks_at {
            self.ticks_at = next;
            match next {
                Some(at) => cx.set_tick(at),
                None => cx.clear_tick(),
            }
        }
    }
}

impl Drop for Tftp {
    /// The daemon ends: the log tells of transfers that do not.
    fn drop(&mut self) {
        let Some(now) = self.now else { return };
        let why = Failure::Ended { code: ErrorCode::Undefined, text: "the server ended".into() };
        for (_, transfer) in self.transfers.iter() {
            transfer.tell(&self.name, &Err(why.clone()), now);
        }
    }
}

/// Answers this datagram with an error.
fn answer(cx: &mut Context<'_>, code: ErrorCode, text: &str) {
    if let Some(peer) = cx.datagram_peer() {
        cx.send_to(peer.socket, peer.address, &error(code, text));
    }
}

impl Service for Tftp {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        let root = self.root.clone();
        // The log tells what is wrong with it, and requests are refused.
        cx.offload(Lane::Read, move || drop(root.prepare()));
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let Some(transfer) = self.sockets.get(&on).copied() else {
            return self.asked(from, datagram, cx);
        };
        match self.transfers.get(&transfer) {
            Some(known) if known.peer.address == from => self.hear(transfer, datagram, cx),
            // A stranger does not disturb the transfer.
            _ if matches!(Packet::parse(datagram), Ok(Packet::Error { .. })) => {}
            _ => answer(cx, ErrorCode::UnknownTransfer, "this port belongs to another transfer"),
        }
    }

    fn socket(&mut self, tag: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        if tag < FIRST_TRANSFER {
            return;
        }
        match (self.transfers.get_mut(&tag), opened) {
            (Some(known), Ok(socket)) => {
                known.socket = Some(socket);
                known.is_busy = false;
                self.sockets.insert(socket, tag);
                self.go_on(tag, cx);
            }
            (Some(_), Err(error)) => {
                log::warn!("{}: a transfer gets no socket: {error}", self.name);
                self.refuse(tag, ErrorCode::Undefined, "the server has no socket left, try again later", cx);
            }
            (None, Ok(socket)) => cx.close_socket(socket),
            (None, Err(_)) => {}
        }
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Answer, cx: &mut Context<'_>) {
        // A job that failed inside left its transfer to its deadline.
        let Ok(result) = answer.result else { return };
        let Ok(done) = result.downcast::<Done>() else { return };
        let Done { transfer, what } = *done;
        let Some(known) = self.transfers.get_mut(&transfer) else {
            // Its file must not be dropped on the loop.
            return cx.offload(Lane::Write, move || drop(what));
        };
        known.is_busy = false;
        match what {
            What::Opened(_) | What::Begun(_) => return self.opened(transfer, what, cx),
            What::Read(chunk) => known.was_read(chunk),
            What::Written(written) => known.was_written(written),
            What::Stored(stored) => known.was_stored(&self.name, stored, cx.now()),
        }
        self.go_on(transfer, cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        self.ticks_at = None;
        while let Some((transfer, mut known)) = self.transfers.expired(now) {
            let is_stuck = known.due().is_none();
            known.expire(now);
            let address = known.peer.address.ip();
            // There is room, since it has just left.
            let _ = self.transfers.insert(transfer, address, known, now + DISK_PATIENCE);
            if is_stuck {
                self.give_up(transfer, cx);
            }
            self.go_on(transfer, cx);
        }
        self.keep_time(cx);
    }
}

impl Tftp {
    /// Ends a transfer whose disk does not answer.
    fn give_up(&mut self, transfer: u64, cx: &mut Context<'_>) {
        const WHY: &str = "the server's disk does not answer";
        match self.transfers.get_mut(&transfer) {
            Some(known) if known.socket.is_some() => known.fail(ErrorCode::Undefined, WHY),
            _ => self.refuse(transfer, ErrorCode::Undefined, WHY, cx),
        }
    }
}
