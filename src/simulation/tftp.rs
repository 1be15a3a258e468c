//! A TFTP client, which stores a file and fetches it again, whatever befalls its datagrams.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::files::Told;
use crate::system::simulated::{Rng, World};
use crate::wire::tftp::{ErrorCode, Failure, Mode, Options, Packet, Receiver, Request, Sender};

/// Its files have names of their own.
const NUMBER: usize = 1_000_000;
/// Each transfer has a port of its own.
const FIRST_PORT: u16 = 40_000;

/// One client, with at most one transfer at a time.
pub(super) struct TftpClient {
    server: SocketAddr,
    start: Instant,
    begun: u16,
    doing: Doing,
    /// Files that were stored and fetched.
    pub completed: u32,
    /// How the last one went.
    last: Option<Result<(), Failure>>,
}

enum Doing {
    Nothing,
    Putting(Transfer<Sender>),
    Getting(Transfer<Receiver>),
}

struct Transfer<Machine> {
    address: SocketAddr,
    /// Where the server answers from, once it has.
    server: Option<SocketAddr>,
    name: String,
    told: Told,
    options: Options,
    machine: Machine,
    received: Vec<u8>,
}

impl TftpClient {
    pub fn new(server: SocketAddr) -> TftpClient {
        TftpClient {
            server,
            start: Instant::now(),
            begun: 0,
            doing: Doing::Nothing,
            completed: 0,
            last: None,
        }
    }

    /// Begins to store a file, unless it is busy. It fetches the file once it is stored.
    pub fn begin(&mut self, rng: &mut Rng) {
        if !self.is_idle() {
            return;
        }
        let size = *rng.pick(&[0, 1, 511, 512, 513, 3_000, 40_000]);
        let told = Told::new(NUMBER, usize::from(self.begun), size);
        let options = Options {
            block_size: *rng.pick(&[None, None, Some(8.max(size as u16 / 50)), Some(1428)]),
            window_size: *rng.pick(&[None, Some(1), Some(16)]),
            transfer_size: rng.pick(&[None, Some(size as u64)]).to_owned(),
            ..Options::default()
        };
        let name = told.name();
        let request = Request { name: name.as_bytes(), mode: Mode::Octet, options };
        let mut machine = Sender::for_client(Packet::Write(request).bytes(), options);
        machine.supply(&told.contents(), true);
        let transfer = self.transfer(name, told, options, machine);
        (self.doing, self.last) = (Doing::Putting(transfer), None);
    }

    fn transfer<M>(&mut self, name: String, told: Told, options: Options, machine: M) -> Transfer<M> {
        self.begun += 1;
        let address = (Ipv4Addr::LOCALHOST, FIRST_PORT + self.begun).into();
        Transfer { address, server: None, name, told, options, machine, received: Vec::new() }
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.doing, Doing::Nothing)
    }

    /// Why the last transfer failed, if one has failed since the last call of `begin`.
    pub fn failure(&self) -> Option<&Failure> {
        self.last.as_ref()?.as_ref().err()
    }

    /// Takes a datagram, if it is for this client.
    pub fn hear(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8], world: &World) {
        let now = self.now(world);
        match &mut self.doing {
            Doing::Nothing => {}
            Doing::Putting(transfer) => {
                if transfer.is_for(from, to) {
                    transfer.machine.handle(datagram, now);
                }
            }
            Doing::Getting(transfer) => {
                if transfer.is_for(from, to) {
                    transfer.machine.handle(datagram, now);
                }
            }
        }
    }

    /// Sends what there is to send, and goes on to the next transfer.
    pub fn go_on(&mut self, world: &World) -> Result<(), String> {
        let now = self.now(world);
        let mut packet = Vec::new();
        match &mut self.doing {
            Doing::Nothing => {}
            Doing::Putting(transfer) => {
                if transfer.machine.due().is_some_and(|due| due <= now) {
                    transfer.machine.expire(now);
                }
                while transfer.machine.next_packet(&mut packet, now) {
                    transfer.send(self.server, &packet, world);
                }
                if let Some(outcome) = transfer.machine.outcome().cloned() {
                    self.was_put(outcome);
                }
            }
            Doing::Getting(transfer) => {
                let receiver = &mut transfer.machine;
                if receiver.due().is_some_and(|due| due <= now) {
                    receiver.expire(now);
                }
                while let Some((bytes, is_last)) = receiver.take() {
                    transfer.received.extend_from_slice(&bytes);
                    if is_last {
                        receiver.stored(now);
                    }
                }
                while transfer.machine.next_packet(&mut packet, now) {
                    transfer.send(self.server, &packet, world);
                }
                if let Some(outcome) = transfer.machine.outcome().cloned() {
                    return self.was_got(outcome);
                }
            }
        }
        Ok(())
    }

    /// The file is stored, and is fetched from now on.
    fn was_put(&mut self, outcome: Result<(), Failure>) {
        let Doing::Putting(put) = std::mem::replace(&mut self.doing, Doing::Nothing) else { return };
        if outcome.is_err() {
            self.last = Some(outcome);
            return;
        }
        let Transfer { name, told, options, .. } = put;
        let options = Options { transfer_size: options.transfer_size.map(|_| 0), ..options };
        let request = Request { name: name.as_bytes(), mode: Mode::Octet, options };
        let machine = Receiver::for_client(Packet::Read(request).bytes(), options);
        self.doing = Doing::Getting(self.transfer(name, told, options, machine));
    }

    fn was_got(&mut self, outcome: Result<(), Failure>) -> Result<(), String> {
        let Doing::Getting(got) = std::mem::replace(&mut self.doing, Doing::Nothing) else { return Ok(()) };
        let Transfer { name, told, received, .. } = got;
        match &outcome {
            Ok(()) if received != told.contents() => {
                return Err(format!("{name} came over TFTP with {} other bytes", received.len()));
            }
            Ok(()) => self.completed += 1,
            Err(Failure::Refused { code, .. }) if *code == ErrorCode::FileNotFound as u16 => {
                return Err(format!("{name} was stored over TFTP, and is not there"));
            }
            Err(_) => {}
        }
        self.last = Some(outcome);
        Ok(())
    }

    fn now(&self, world: &World) -> Instant {
        self.start + Duration::from_micros(world.micros())
    }
}

impl<Machine> Transfer<Machine> {
    /// Whether a datagram belongs to it. The first answer decides whom it talks to.
    fn is_for(&mut self, from: SocketAddr, to: SocketAddr) -> bool {
        self.address == to && *self.server.get_or_insert(from) == from
    }

    fn send(&self, asked: SocketAddr, packet: &[u8], world: &World) {
        world.throw_datagram(self.address, self.server.unwrap_or(asked), packet);
    }
}
