//! Packets at their limits, and whole transfers over a network that loses, doubles,
//! delays and reorders whatever it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const NOTHING: [Vec<u8>; 0] = [];
const NO_BLOCKS: [u16; 0] = [];

fn options() -> impl Strategy<Value = Options> {
    (
        prop::option::of(BLOCK_SIZES),
        prop::option::of(WINDOW_SIZES),
        prop::option::of(1u8..),
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(block_size, window_size, timeout, transfer_size)| Options {
            block_size,
            window_size,
            timeout,
            transfer_size,
        })
}

proptest! {
    #[test]
    fn any_packet_is_read_as_it_was_written(
        name in prop::collection::vec(1u8.., 1..255),
        netascii in any::<bool>(),
        options in options(),
        block in any::<u16>(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        text in prop::collection::vec(1u8.., 0..200),
    ) {
        let mode = if netascii { Mode::Netascii } else { Mode::Octet };
        let request = Request { name: &name, mode, options };
        for packet in [
            Packet::Read(request),
            Packet::Write(request),
            Packet::Data { block, bytes: &bytes },
            Packet::Ack { block },
            Packet::Error { code: block, text: &text },
            Packet::OptionAck(options),
        ] {
            let bytes = packet.bytes();
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }

    #[test]
    fn whatever_is_read_is_written_and_read_again(datagram in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(packet) = Packet::parse(&datagram) {
            let bytes = packet.bytes();
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }

    #[test]
    fn bytes_that_look_like_a_request_never_break_it(
        opcode in 0u8..8,
        fields in prop::collection::vec(prop::sample::select(vec!["", "a", "octet", "NETASCII", "blksize", "tsize", "windowsize", "timeout", "0", "7", "8", "65465", "-1", "+5", "99999999999999999999"]), 0..9),
        ends in any::<bool>(),
    ) {
        let mut datagram = vec![0, opcode];
        datagram.extend_from_slice(fields.join("\0").as_bytes());
        if ends { datagram.push(0); }
        if let Ok(packet) = Packet::parse(&datagram) {
            let bytes = packet.bytes();
            prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
        }
    }

    #[test]
    fn what_a_server_grants_is_what_a_client_can_agree_to(asked in options(), most in BLOCK_SIZES, size in prop::option::of(any::<u64>())) {
        let granted = asked.granted(most, size);
        let agreed = asked.agree(&granted).unwrap();
        prop_assert_eq!(agreed, granted.agreed());
        prop_assert!(agreed.window_bytes() <= 128 * 1024 || agreed.window == 1);
    }
}

fn parse(bytes: &[u8]) -> Result<Packet<'_>, BadPacket> {
    Packet::parse(bytes)
}

#[test]
fn bad_packets_are_refused() {
    let long = [&b"\0\x01"[..], &[b'a'; 510], b"\0octet\0"].concat();
    for (datagram, why) in [
        (&b""[..], BadPacket::Short),
        (b"\0", BadPacket::Short),
        (b"\0\x03\0", BadPacket::Short),
        (b"\0\x04\0", BadPacket::Short),
        (b"\0\x04\0\x01x", BadPacket::Long),
        (b"\0\0", BadPacket::Opcode(0)),
        (b"\0\x07", BadPacket::Opcode(7)),
        (b"\x01\x01", BadPacket::Opcode(257)),
        (b"\0\x01", BadPacket::Text),
        (b"\0\x01a", BadPacket::Text),
        (b"\0\x01\0octet\0", BadPacket::NoName),
        (b"\0\x01a\0", BadPacket::Text),
        (b"\0\x01a\0octet", BadPacket::Text),
        (b"\0\x01a\0mail\0", BadPacket::Mode),
        (b"\0\x01a\0\0", BadPacket::Mode),
        (b"\0\x01a\0octet\0blksize", BadPacket::Option),
        (b"\0\x01a\0octet\0blksize\0", BadPacket::Option),
        (b"\0\x01a\0octet\0blksize\x0099", BadPacket::Option),
        (b"\0\x01a\0octet\0\x0099\0", BadPacket::Option),
        (b"\0\x01a\0octet\0blksize\x0099\0BLKSIZE\x0099\0", BadPacket::Option),
        (b"\0\x05\0", BadPacket::Short),
        (b"\0\x05\0\x01no\0more\0", BadPacket::Text),
        (b"\0\x06blksize\x007\0", BadPacket::OptionValue),
        (b"\0\x06colour\0red\0", BadPacket::OptionValue),
        (&long, BadPacket::LongRequest),
    ] {
        assert_eq!(parse(datagram), Err(why), "{datagram:?}");
    }
}

#[test]
fn options_that_make_no_sense_count_as_not_asked_for() {
    let request =
        b"\0\x01a\0OcTeT\0blksize\x007\0timeout\x00256\0windowsize\x000\0tsize\0-1\0rollover\x001\0";
    let Ok(Packet::Read(request)) = parse(request) else { panic!("it is a request") };
    assert_eq!((request.mode, request.options), (Mode::Octet, Options::default()));
    let Ok(Packet::Read(request)) = parse(b"\0\x01a\0octet\0BlkSize\x0070000\0") else { panic!() };
    assert_eq!(request.options.block_size, Some(65_464));
}

#[test]
fn an_error_may_lack_its_text_or_the_end_of_it() {
    for datagram in [&b"\0\x05\0\x01"[..], b"\0\x05\0\x01\0"] {
        assert_eq!(parse(datagram), Ok(Packet::Error { code: 1, text: b"" }));
    }
    assert_eq!(parse(b"\0\x05\0\x02no"), Ok(Packet::Error { code: 2, text: b"no" }));
}

#[test]
fn more_than_was_asked_for_is_not_agreed_to() {
    let asked = Options { block_size: Some(1000), timeout: Some(3), ..Options::default() };
    for accepted in [
        Options { block_size: Some(1001), ..Options::default() },
        Options { window_size: Some(1), ..Options::default() },
        Options { timeout: Some(2), ..Options::default() },
        Options { transfer_size: Some(2), ..Options::default() },
    ] {
        assert_eq!(asked.agree(&accepted), Err(BadPacket::OptionValue));
    }
    assert_eq!(asked.agree(&Options::default()), Ok(Agreed::default()));
}

fn packets_of(next: impl FnMut(&mut Vec<u8>) -> bool) -> Vec<Vec<u8>> {
    let (mut next, mut packets, mut packet) = (next, Vec::new(), Vec::new());
    while next(&mut packet) {
        packets.push(packet.clone());
    }
    packets
}

fn ack(block: u16) -> Vec<u8> {
    Packet::Ack { block }.bytes()
}

fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    Packet::Data { block, bytes }.bytes()
}

fn blocks(packets: &[Vec<u8>]) -> Vec<u16> {
    let block = |packet: &Vec<u8>| match parse(packet) {
        Ok(Packet::Data { block, .. }) => block,
        other => panic!("{other:?}"),
    };
    packets.iter().map(block).collect()
}

/// A server that sends ten blocks of 8 bytes and an empty one, four at a time.
fn sender_with_a_window() -> (Sender, Instant) {
    let accepted = Options { block_size: Some(8), window_size: Some(4), ..Options::default() };
    let (mut sender, now) = (Sender::for_server(accepted), Instant::now());
    sender.supply(&[7; 80], true);
    assert_eq!(packets_of(|packet| sender.next_packet(packet, now)), [Packet::OptionAck(accepted).bytes()]);
    (sender, now)
}

fn answer(sender: &mut Sender, datagram: &[u8], now: Instant) -> Vec<u16> {
    sender.handle(datagram, now);
    blocks(&packets_of(|packet| sender.next_packet(packet, now)))
}

#[test]
fn a_duplicate_acknowledgement_sends_nothing() {
    let (mut sender, now) = sender_with_a_window();
    assert_eq!(answer(&mut sender, &ack(0), now), [1, 2, 3, 4]);
    assert_eq!(answer(&mut sender, &ack(0), now), NO_BLOCKS);
    assert_eq!(answer(&mut sender, &ack(4), now), [5, 6, 7, 8]);
    assert_eq!(answer(&mut sender, &ack(4), now), NO_BLOCKS);
    assert_eq!(answer(&mut sender, &ack(0), now), NO_BLOCKS);
    assert_eq!(answer(&mut sender, &ack(9), now), NO_BLOCKS, "not sent yet");
    assert_eq!(answer(&mut sender, &ack(8), now), [9, 10, 11]);
    assert_eq!(answer(&mut sender, &ack(11), now), NO_BLOCKS);
    assert_eq!((sender.outcome(), sender.resent()), (Some(&Ok(())), 0));
}

#[test]
fn a_window_goes_on_from_the_block_that_is_missing() {
    let (mut sender, now) = sender_with_a_window();
    assert_eq!(answer(&mut sender, &ack(0), now), [1, 2, 3, 4]);
    assert_eq!(answer(&mut sender, &ack(2), now), [3, 4, 5, 6]);
    assert_eq!(sender.resent(), 2);
}

#[test]
fn before_the_first_acknowledgement_only_block_1_goes_out_and_not_often() {
    let mut sender = Sender::for_server(Options::default());
    let mut now = Instant::now();
    sender.supply(&[1; 5000], true);
    let mut sent = Vec::new();
    while !sender.has_ended() {
        sent.extend(blocks(&packets_of(|packet| sender.next_packet(packet, now))));
        now = sender.due().unwrap();
        sender.expire(now);
    }
    assert_eq!((sent, sender.outcome()), (vec![1, 1, 1], Some(&Err(Failure::Silence))));
}

#[test]
fn a_gap_is_reported_once_and_the_window_taken_up_again() {
    let accepted = Options { block_size: Some(8), window_size: Some(4), ..Options::default() };
    let (mut receiver, now) = (Receiver::for_server(accepted), Instant::now());
    let mut answers = |datagram: &[u8]| {
        receiver.handle(datagram, now);
        packets_of(|packet| receiver.next_packet(packet, now))
    };
    let block = |number| data(number, &[number as u8; 8]);
    assert_eq!(answers(&block(1)), NOTHING);
    assert_eq!(answers(&block(3)), [ack(1)]);
    assert_eq!(answers(&block(4)), NOTHING);
    for number in 2..5 {
        assert_eq!(answers(&block(number)), NOTHING, "{number}");
    }
    assert_eq!(answers(&block(4)), NOTHING, "doubled in the middle of a window");
    assert_eq!(answers(&block(5)), [ack(5)]);
    assert_eq!(answers(&block(5)), [ack(5)], "the acknowledgement was lost");
    assert_eq!(answers(&block(3)), NOTHING);
}

#[test]
fn the_last_block_is_acknowledged_once_the_file_is_safe_and_again_while_it_dallies() {
    let (mut receiver, now) = (Receiver::for_server(Options::default()), Instant::now());
    let packets = |receiver: &mut Receiver| packets_of(|packet| receiver.next_packet(packet, now));
    assert_eq!(packets(&mut receiver), [ack(0)]);
    receiver.handle(&data(1, b"end"), now);
    assert_eq!(packets(&mut receiver), NOTHING);
    assert_eq!(receiver.take(), Some((b"end".to_vec(), true)));
    receiver.handle(&data(1, b"end"), now);
    assert_eq!(packets(&mut receiver), NOTHING);
    receiver.stored(now);
    assert_eq!(packets(&mut receiver), [ack(1)]);
    receiver.handle(&data(1, b"end"), now);
    assert_eq!(packets(&mut receiver), [ack(1)]);
    receiver.expire(receiver.due().unwrap());
    assert_eq!(receiver.outcome(), Some(&Ok(())));
}

#[test]
fn a_peer_waits_while_contents_are_not_taken_and_is_not_given_up_for_it() {
    let accepted = Options { block_size: Some(60_000), ..Options::default() };
    let (mut receiver, mut now) = (Receiver::for_server(accepted), Instant::now());
    let block = vec![3; 60_000];
    for number in 1..=10 {
        receiver.handle(&data(number, &block), now);
        packets_of(|packet| receiver.next_packet(packet, now));
    }
    assert_eq!(receiver.received(), 5 * 60_000, "one over the high water mark");
    now += Duration::from_secs(3600);
    receiver.expire(now);
    assert!(!receiver.has_ended());
    assert_eq!(receiver.take().map(|(bytes, is_last)| (bytes.len(), is_last)), Some((300_000, false)));
    assert_eq!(packets_of(|packet| receiver.next_packet(packet, now)), [ack(5)]);
}

#[test]
fn what_makes_no_sense_ends_the_transfer_with_an_error() {
    let now = Instant::now();
    let oversized = data(1, &[0; 513]);
    for (datagram, code) in
        [(&b"\0\x04\0\x01"[..], 4), (b"\0\x06blksize\x009\0", 4), (b"\0\x03", 4), (&oversized, 4)]
    {
        let mut receiver = Receiver::for_server(Options::default());
        packets_of(|packet| receiver.next_packet(packet, now));
        receiver.handle(datagram, now);
        let packets = packets_of(|packet| receiver.next_packet(packet, now));
        assert!(matches!(parse(&packets[0]), Ok(Packet::Error { code: sent, .. }) if sent == code));
        assert!(receiver.has_ended());
    }
}

/// A generator of random numbers (splitmix64), so that a seed is all a failure needs.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

enum Machine {
    Sender(Sender),
    Receiver(Receiver),
}

/// One end of a transfer, with its disk.
struct Side {
    machine: Machine,
    file: Vec<u8>,
    /// How much of `file` was read.
    read: usize,
    disk_busy: bool,
    /// Acknowledgements that were handled.
    heard: BTreeSet<Vec<u8>>,
}

enum Event {
    Arrives {
        at_server: bool,
        datagram: Vec<u8>,
    },
    /// A disk is done, and a writer got the last contents.
    DiskDone {
        of_server: bool,
        is_last: bool,
    },
}

/// A client and a server on a bad network.
struct World {
    random: Random,
    start: Instant,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    faults: [u64; 3],
    slow_disks: bool,
    client: Side,
    server: Option<Side>,
    file: Vec<u8>,
    most_block_size: u16,
}

const MILLISECOND: u64 = 1000;

impl Side {
    fn new(machine: Machine, file: Vec<u8>) -> Side {
        Side { machine, file, read: 0, disk_busy: false, heard: BTreeSet::new() }
    }

    fn due(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Sender(sender) => sender.due(),
            Machine::Receiver(receiver) => receiver.due(),
        }
    }

    fn outcome(&self) -> Option<Result<(), Failure>> {
        match &self.machine {
            Machine::Sender(sender) => sender.outcome().cloned(),
            Machine::Receiver(receiver) => receiver.outcome().cloned(),
        }
    }

    /// What goes out now.
    fn packets(&mut self, now: Instant) -> Vec<Vec<u8>> {
        packets_of(|packet| match &mut self.machine {
            Machine::Sender(sender) => sender.next_packet(packet, now),
            Machine::Receiver(receiver) => receiver.next_packet(packet, now),
        })
    }
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(seed);
        let asked = Options {
            block_size: random.percent(70).then_some(8 + random.below(1500) as u16),
            window_size: random.percent(60).then_some(1 + random.below(20) as u16),
            timeout: random.percent(20).then_some(1),
            transfer_size: random.percent(50).then_some(0),
        };
        let blocks = random.below(80);
        let size = blocks * u64::from(asked.block_size.unwrap_or(512)) + random.below(3);
        let most_block_size = if random.percent(50) { 65_464 } else { 300 };
        // None, or up to this many of 100 are lost, doubled or delayed.
        let faults = [0; 3].map(|_| if random.percent(30) { 0 } else { random.below(30) });
        let slow_disks = random.percent(50);
        World::with(random, asked, size as usize, most_block_size, faults, slow_disks)
    }

    fn with(
        mut random: Random,
        asked: Options,
        size: usize,
        most_block_size: u16,
        faults: [u64; 3],
        slow_disks: bool,
    ) -> World {
        let file: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
        let request = Request { name: b"a", mode: Mode::Octet, options: asked };
        let client = if random.percent(50) {
            let receiver = Receiver::for_client(Packet::Read(request).bytes(), asked);
            Side::new(Machine::Receiver(receiver), Vec::new())
        } else {
            let sender = Sender::for_client(Packet::Write(request).bytes(), asked);
            Side::new(Machine::Sender(sender), file.clone())
        };
        World {
            random,
            start: Instant::now(),
            now: 0,
            events: BTreeMap::new(),
            number: 0,
            faults,
            slow_disks,
            client,
            server: None,
            file,
            most_block_size,
        }
    }

    fn clock(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn later(&mut self, after: u64, event: Event) {
        self.number += 1;
        self.events.insert((self.now + after, self.number), event);
    }

    fn send(&mut self, to_server: bool, datagram: Vec<u8>) {
        let [lost, doubled, delayed] = self.faults;
        if self.random.percent(lost) {
            return;
        }
        let copies = if self.random.percent(doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.random.percent(delayed) { self.random.below(3000) * MILLISECOND } else { 1 };
            self.later(delay, Event::Arrives { at_server: to_server, datagram: datagram.clone() });
        }
    }

    /// Sends what a side has to send and keeps its disk busy.
    fn go_on(&mut self, is_server: bool) {
        let now = self.clock();
        let Some(side) = (if is_server { self.server.as_mut() } else { Some(&mut self.client) }) else {
            return;
        };
        let mut job = None;
        if !side.disk_busy {
            match &mut side.machine {
                Machine::Sender(sender) => job = sender.wants().map(|_| false),
                Machine::Receiver(receiver) => {
                    if let Some((bytes, is_last)) = receiver.take() {
                        side.file.extend_from_slice(&bytes);
                        job = Some(is_last);
                    }
                }
            }
        }
        side.disk_busy |= job.is_some();
        let packets = side.packets(now);
        packets.into_iter().for_each(|packet| self.send(!is_server, packet));
        if let Some(is_last) = job {
            let slow = if self.slow_disks { self.random.below(500) * MILLISECOND } else { 2 };
            self.later(slow, Event::DiskDone { of_server: is_server, is_last });
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.clock();
        match event {
            Event::Arrives { at_server: true, datagram } if self.server.is_none() => {
                self.server = match Packet::parse(&datagram) {
                    Ok(Packet::Read(request)) => {
                        let accepted =
                            request.options.granted(self.most_block_size, Some(self.file.len() as u64));
                        Some(Side::new(Machine::Sender(Sender::for_server(accepted)), self.file.clone()))
                    }
                    Ok(Packet::Write(request)) => {
                        let accepted =
                            request.options.granted(self.most_block_size, request.options.transfer_size);
                        Some(Side::new(Machine::Receiver(Receiver::for_server(accepted)), Vec::new()))
                    }
                    other => panic!("{other:?}"),
                };
                self.go_on(true);
            }
            Event::Arrives { at_server, datagram } => {
                // A request goes to the port for requests.
                if at_server && matches!(parse(&datagram), Ok(Packet::Read(_) | Packet::Write(_))) {
                    return;
                }
                let Some(side) = (if at_server { self.server.as_mut() } else { Some(&mut self.client) })
                else {
                    return;
                };
                let is_duplicate = matches!(parse(&datagram), Ok(Packet::Ack { .. }))
                    && !side.heard.insert(datagram.clone());
                match &mut side.machine {
                    Machine::Sender(sender) => sender.handle(&datagram, now),
                    Machine::Receiver(receiver) => receiver.handle(&datagram, now),
                }
                if is_duplicate && side.file.len() < 60_000 * 8 {
                    assert_eq!(side.packets(now), NOTHING, "sent for a duplicate {datagram:?}");
                }
                self.go_on(at_server);
            }
            Event::DiskDone { of_server, is_last } => {
                let Some(side) = (if of_server { self.server.as_mut() } else { Some(&mut self.client) })
                else {
                    return;
                };
                side.disk_busy = false;
                match &mut side.machine {
                    Machine::Sender(sender) => {
                        // A disk may give less than it was asked for.
                        let wanted = sender.wants().unwrap_or(0).min(1 + self.random.below(5000) as usize);
                        let end = (side.read + wanted).min(side.file.len());
                        sender.supply(&side.file[side.read..end], end == side.file.len());
                        side.read = end;
                    }
                    Machine::Receiver(receiver) if is_last => receiver.stored(now),
                    Machine::Receiver(_) => {}
                }
                self.go_on(of_server);
            }
        }
    }

    /// Runs to the end. Returns whether the file arrived.
    fn run(mut self) -> bool {
        self.go_on(false);
        loop {
            let due = [self.client.due(), self.server.as_ref().and_then(Side::due)];
            let due = due.into_iter().flatten().min().map(|due| (due - self.start).as_micros() as u64 + 1);
            let next = self.events.keys().next().map(|(at, _)| *at);
            match (next, due) {
                (Some(at), due) if due.is_none_or(|due| at <= due) => {
                    self.now = self.now.max(at);
                    if let Some((_, event)) = self.events.pop_first() {
                        self.happen(event);
                    }
                }
                (_, Some(due)) => {
                    self.now = self.now.max(due);
                    let now = self.clock();
                    for side in [Some(&mut self.client), self.server.as_mut()].into_iter().flatten() {
                        match &mut side.machine {
                            Machine::Sender(sender) => sender.expire(now),
                            Machine::Receiver(receiver) => receiver.expire(now),
                        }
                    }
                    self.go_on(false);
                    self.go_on(true);
                }
                _ => break,
            }
            assert!(self.now < 86_400_000 * MILLISECOND, "it goes on for days");
        }
        self.judge()
    }

    fn judge(self) -> bool {
        let client = self.client.outcome().expect("the client has ended");
        let Some(server) = self.server else {
            assert_eq!(client, Err(Failure::Silence));
            return false;
        };
        let served = server.outcome().expect("the server has ended");
        let (sent, received, written) = match (&self.client.machine, &server.machine) {
            (Machine::Sender(_), _) => (client, served, server.file),
            _ => (served, client, self.client.file),
        };
        assert!(received.is_err() || written == self.file, "the file arrived, but not whole");
        assert!(sent.is_err() || received.is_ok(), "sent: {sent:?}, received: {received:?}");
        for outcome in [sent, received.clone()] {
            assert!(matches!(outcome, Ok(()) | Err(Failure::Silence)), "{outcome:?}");
        }
        received.is_ok()
    }
}

#[test]
fn over_a_bad_network_a_file_arrives_whole_or_the_transfer_fails() {
    let seeds = std::env::var("TFTP_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(4000);
    let mut arrived = 0;
    for seed in 0..seeds {
        let run = std::panic::catch_unwind(|| World::new(seed).run());
        arrived += u64::from(run.unwrap_or_else(|_| panic!("seed {seed}")));
    }
    assert!(arrived > seeds * 8 / 10, "only {arrived} of {seeds} files arrived");
}

#[test]
fn block_numbers_roll_over() {
    for (seed, window) in [(1, None), (2, Some(16)), (3, None), (4, Some(16)), (5, Some(60))] {
        let asked = Options { block_size: Some(8), window_size: window, ..Options::default() };
        let faults = if seed > 2 { [0, 1, 0] } else { [0; 3] };
        assert!(World::with(Random(seed), asked, 140_000 * 8 + 3, 65_464, faults, false).run());
    }
}
