//! Both ends of a TFTP transfer over a bad network with strangers on it. The input is a
//! script: the options, the file, and then what happens to each packet. After it the
//! network is good, and the transfer has to end.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use onepoll::wire::tftp::{Mode, Options, Packet, Receiver, Request, Sender};

use crate::generate::bytes;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "tftp_transfers",
    check,
    generate,
    words: &[
        &[0],
        &[1],
        &[2],
        &[3],
        &[4],
        &[5],
        &[6],
        &[7],
        &[8],
        &[4, 0, 4, 0, 1],
        &[3, 0, 3, 0, 1],
        &[4, 0, 5, 0, 0],
        &[4, 0, 6],
        &[0, 4, 0, 1],
    ],
    memory: Memory { fixed: 2 << 20, per_byte: 256 },
};

/// Steps of a good network that suffice to end any transfer here.
const LONGEST: usize = 20_000;

fn check(script: &[u8]) {
    let mut u = Unstructured::new(script);
    let Ok(mut network) = Network::new(&mut u) else { return };
    while !u.is_empty() {
        // A script that ends in the middle of a step ends before it.
        if network.step(&mut u).is_err() {
            break;
        }
    }
    network.settle();
}

struct Network {
    now: Instant,
    /// The client reads: the server sends.
    is_read: bool,
    asked: Options,
    file: Vec<u8>,
    supplied: usize,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    to_sender: VecDeque<Vec<u8>>,
    to_receiver: VecDeque<Vec<u8>>,
    stored: Vec<u8>,
    /// Packets were changed or made up, so that the file may arrive changed.
    is_forged: bool,
}

impl Network {
    fn new(u: &mut Unstructured) -> Result<Network> {
        let is_read = u.arbitrary()?;
        let pick = |u: &mut Unstructured, choices: &[Option<u16>]| u.choose(choices).copied();
        let asked = Options {
            block_size: pick(u, &[None, Some(8), Some(9), Some(512), Some(1428), Some(65_464)])?,
            window_size: pick(u, &[None, Some(1), Some(2), Some(7), Some(64), Some(65_535)])?,
            timeout: *u.choose(&[None, Some(1), Some(255)])?,
            transfer_size: *u.choose(&[None, Some(0)])?,
        };
        let block = usize::from(asked.block_size.unwrap_or(512)).min(1428);
        let length = (block * u.int_in_range(0..=20)? + u.int_in_range(0..=2)?).saturating_sub(1);
        let file = (0..length).map(|at| (at / 7) as u8).collect();
        let request = Request { name: b"a", mode: Mode::Octet, options: asked };
        let (mut sender, mut receiver) = (None, None);
        match is_read {
            true => receiver = Some(Receiver::for_client(Packet::Read(request).bytes(), asked)),
            false => sender = Some(Sender::for_client(Packet::Write(request).bytes(), asked)),
        }
        Ok(Network {
            now: Instant::now(),
            is_read,
            asked,
            file,
            supplied: 0,
            sender,
            receiver,
            to_sender: VecDeque::new(),
            to_receiver: VecDeque::new(),
            stored: Vec::new(),
            is_forged: false,
        })
    }

    /// Something happens to a packet of the network.
    fn step(&mut self, u: &mut Unstructured) -> Result<()> {
        let what = u.int_in_range(0..=11u8)?;
        let queue = if u.arbitrary()? { &mut self.to_sender } else { &mut self.to_receiver };
        match what {
            0 => drop(queue.pop_front()),
            1 => queue.rotate_left(queue.len().min(1)),
            2 => queue.extend(queue.front().cloned()),
            3 => {
                self.is_forged = true;
                queue.push_front(bytes(u, 12)?);
            }
            4 => {
                let place = u.arbitrary::<u16>()?;
                if let Some(packet) = queue.front_mut().filter(|packet| !packet.is_empty()) {
                    self.is_forged = true;
                    let place = usize::from(place) % packet.len();
                    packet[place] ^= 1 << (place % 8);
                }
            }
            5 => self.now += Duration::from_millis(u.arbitrary::<u16>()?.into()),
            6 => self.wait(),
            7 => self.disk(),
            _ => self.deliver(),
        }
        self.expire();
        self.send();
        Ok(())
    }

    /// From here on nothing is lost, and both sides end.
    fn settle(&mut self) {
        for _ in 0..LONGEST {
            self.send();
            self.disk();
            self.send();
            if !self.to_sender.is_empty() || !self.to_receiver.is_empty() {
                self.deliver();
                continue;
            }
            let has_ended = self.sender.as_ref().is_none_or(Sender::has_ended)
                && self.receiver.as_ref().is_none_or(Receiver::has_ended);
            if has_ended {
                return self.has_arrived();
            }
            self.wait();
            self.expire();
        }
        panic!("the transfer never ends: {:?}, {:?}", self.sender, self.receiver);
    }

    fn has_arrived(&self) {
        let sent = self.sender.as_ref().and_then(Sender::outcome).is_some_and(|outcome| outcome.is_ok());
        let received =
            self.receiver.as_ref().and_then(Receiver::outcome).is_some_and(|outcome| outcome.is_ok());
        if !self.is_forged {
            assert!(!received || self.stored == self.file, "another file has arrived");
            assert!(
                !sent || self.stored == self.file,
                "the sender takes a file for sent that did not arrive"
            );
        }
    }

    /// Until the next of both sides is due.
    fn wait(&mut self) {
        let due =
            [self.sender.as_ref().and_then(Sender::due), self.receiver.as_ref().and_then(Receiver::due)];
        let next = due.into_iter().flatten().min();
        // Neither waits for the other: only the server's user is left, who gives up.
        match next {
            Some(next) => self.now = self.now.max(next),
            None => self.now += Duration::from_secs(1),
        }
    }

    fn expire(&mut self) {
        if let Some(sender) = &mut self.sender {
            sender.expire(self.now);
        }
        if let Some(receiver) = &mut self.receiver {
            receiver.expire(self.now);
        }
    }

    /// The disks give and take what they are asked for.
    fn disk(&mut self) {
        if let Some(sender) = &mut self.sender
            && let Some(wanted) = sender.wants()
        {
            let end = (self.supplied + wanted).min(self.file.len());
            sender.supply(&self.file[self.supplied..end], end == self.file.len());
            self.supplied = end;
        }
        if let Some(receiver) = &mut self.receiver
            && let Some((contents, is_last)) = receiver.take()
        {
            self.stored.extend_from_slice(&contents);
            if is_last {
                receiver.stored(self.now);
            }
        }
    }

    /// Hands the first packet of each queue over.
    fn deliver(&mut self) {
        if let Some(packet) = self.to_sender.pop_front() {
            match &mut self.sender {
                Some(sender) => sender.handle(&packet, self.now),
                // The request of a client that reads begins the server's side.
                None => {
                    if let Ok(Packet::Read(request)) = Packet::parse(&packet) {
                        let size = self.file.len() as u64;
                        self.sender = Some(Sender::for_server(request.options.granted(1428, Some(size))));
                    }
                }
            }
        }
        if let Some(packet) = self.to_receiver.pop_front() {
            match &mut self.receiver {
                Some(receiver) => receiver.handle(&packet, self.now),
                None => {
                    if let Ok(Packet::Write(request)) = Packet::parse(&packet) {
                        let size = request.options.transfer_size;
                        self.receiver = Some(Receiver::for_server(request.options.granted(1428, size)));
                    }
                }
            }
        }
    }

    /// Both sides send what they have to. A server that the request has not reached yet
    /// sees it only once: requests that come again belong to other transfers.
    fn send(&mut self) {
        let most = 2 + usize::from(self.asked.window_size.unwrap_or(1));
        let is_request = |packet: &[u8]| matches!(packet, [0, 1 | 2, ..]);
        let mut packet = Vec::new();
        let mut count = 0;
        while self.sender.as_mut().is_some_and(|sender| sender.next_packet(&mut packet, self.now)) {
            count += 1;
            assert!(count <= most, "more than a window is sent at once");
            if !is_request(&packet) || self.receiver.is_none() {
                self.to_receiver.push_back(packet.clone());
            }
        }
        count = 0;
        while self.receiver.as_mut().is_some_and(|receiver| receiver.next_packet(&mut packet, self.now)) {
            count += 1;
            assert!(count <= 2, "more than an acknowledgement is sent at once");
            if !is_request(&packet) || self.sender.is_none() {
                self.to_sender.push_back(packet.clone());
            }
        }
        // What is still on its way when the server has begun.
        if self.is_read && self.sender.is_some() {
            self.to_sender.retain(|packet| !is_request(packet));
        }
        if !self.is_read && self.receiver.is_some() {
            self.to_receiver.retain(|packet| !is_request(packet));
        }
        self.to_sender.truncate(200);
        self.to_receiver.truncate(200);
    }
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    bytes(u, 400)
}
