//! Files on their way to peers, on the real loop in a world in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::sending::WINDOW;
use crate::disk::File;
use crate::reactor::Reactor;
use crate::reactor::audit::Auditor;
use crate::service::{CloseReason, Context, FileRange, Input, Limits, Service};
use crate::system::simulated::{Faults, Nature, Stream, World};

const PLACE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1000);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// A part of an answer.
#[derive(Debug, Clone)]
enum Part {
    Bytes(Vec<u8>),
    /// These bytes of the file, so many of which are in the page cache.
    File(std::ops::Range<u64>, u64),
}

/// Answers each `g` with all parts, and anything else with itself.
#[derive(Default)]
struct Server {
    parts: Vec<Part>,
    file: Option<Arc<File>>,
    closes: bool,
    /// Why connections ended, and what had been sent to them.
    ends: Vec<(String, u64)>,
    rooms: usize,
    /// What the kernel had taken when `room_to_send` was called.
    sent: u64,
}

impl Service for Server {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let range = input.consume_all();
        if cx.input_length == 0 {
            return;
        }
        match &self.file {
            Some(file) if !self.parts.is_empty() => {
                for part in &self.parts {
                    match part {
                        Part::Bytes(bytes) => cx.send(bytes),
                        Part::File(range, warm) => cx.send_file(FileRange {
                            file: Arc::clone(file),
                            range: range.clone(),
                            warm: *warm,
                        }),
                    }
                }
                if self.closes {
                    cx.close();
                } else {
                    cx.more_to_send();
                }
            }
            _ => cx.send_input(range),
        }
    }

    fn room_to_send(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.rooms += 1;
        self.sent = cx.bytes_sent();
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        self.ends.push((why.to_string(), cx.bytes_sent()));
    }
}

/// A reactor with a [`Server`], audited after each turn.
struct Scene {
    world: World,
    reactor: Reactor,
    auditor: Auditor,
    id: crate::service::ServiceId,
    turns: u64,
}

impl Scene {
    fn new(nature: Nature, limits: Limits, server: Server) -> Scene {
        let world = World::new(nature);
        let mut reactor = Reactor::simulated(&world).unwrap();
        let (id, _) = reactor.host("files", server).limits(limits).tcp(PLACE).start().unwrap();
        Scene { world, reactor, auditor: Auditor::default(), id, turns: 0 }
    }

    fn calm(server: Server) -> Scene {
        Scene::new(Nature::calm(), Limits::default(), server)
    }

    fn server(&mut self) -> &mut Server {
        self.reactor.service_mut(self.id).unwrap()
    }

    fn enter(&mut self, port: u16) -> Stream {
        let socket = self.world.call((Ipv4Addr::LOCALHOST, port).into(), PLACE).unwrap();
        self.settle();
        socket
    }

    fn turn(&mut self, at_most: Duration) {
        self.reactor.turn(Some(at_most)).unwrap();
        self.auditor.look(&mut self.reactor).unwrap();
        self.turns += 1;
    }

    /// Turns the loop until nothing is left to do at this moment.
    fn settle(&mut self) {
        loop {
            self.turn(Duration::ZERO);
            if self.reactor.is_at_rest() && !self.world.has_news() {
                return;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.world.micros() + time.as_micros() as u64;
        self.settle();
        while self.world.micros() < end {
            self.turn(Duration::from_micros(end - self.world.micros()));
            self.settle();
        }
    }
}

/// What has arrived, up to `most` bytes; `None` at the end.
fn read(socket: &Stream, most: usize) -> Option<Vec<u8>> {
    let mut buffer = vec![0; most];
    match socket.read(&mut buffer) {
        Ok(0) => None,
        Ok(count) => {
            buffer.truncate(count);
            Some(buffer)
        }
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Some(Vec::new()),
        Err(error) => panic!("{error}"),
    }
}

fn say(socket: &Stream, words: &[u8]) {
    assert_eq!(socket.write(&[std::io::IoSlice::new(words)]).unwrap(), words.len());
}

/// `length` bytes that differ from place to place.
fn contents(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn whole(length: usize, warm: usize) -> Server {
    Server {
        parts: vec![Part::File(0..length as u64, warm as u64)],
        file: Some(Arc::new(File::in_memory(contents(length)))),
        closes: true,
        ..Server::default()
    }
}

fn any_part() -> impl Strategy<Value = Part> {
    let bytes = prop::collection::vec(any::<u8>(), 0..300).prop_map(Part::Bytes);
    let file = (0u64..200_000, 0u64..100_000, 0u64..300_000)
        .prop_map(|(start, length, warm)| Part::File(start..(start + length).min(200_000), warm));
    prop_oneof![bytes, file]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_and_files_come_out_once_and_in_order(
        parts in prop::collection::vec(any_part(), 1..12),
        seed in any::<u64>(),
        buffer in prop::sample::select(vec![1usize, 200, 4096, 65_536, 1_000_000]),
        delay in prop::sample::select(vec![0usize, 1000, 300_000]),
        step in 1usize..100_000,
        rate in prop::sample::select(vec![0u32, 30, 300]),
    ) {
        // One byte at a time takes too long for much.
        let parts = if buffer == 1 { parts.into_iter().take(2).map(shortened).collect() } else { parts };
        let file = contents(200_000);
        // The page cache holds what the server says that it holds.
        let on_disk = File::in_memory(file.clone());
        for part in &parts {
            if let Part::File(range, warm) = part {
                on_disk.warm(range.start..(*warm).clamp(range.start, range.end.max(range.start))).unwrap();
            }
        }
        let expected: Vec<u8> = parts.iter().flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.clone(),
            Part::File(range, _) if range.is_empty() => Vec::new(),
            Part::File(range, _) => file[range.start as usize..range.end as usize].to_vec(),
        }).collect();
        let faults = Faults {
            interrupted: rate, would_block: rate, partial_write: rate, queue_full: rate,
            spurious_event: rate, ..Faults::default()
        };
        let server = Server { parts, file: Some(Arc::new(on_disk)), ..Server::default() };
        let nature = Nature { seed, faults, buffer, delay, ..Nature::calm() };
        let mut scene = Scene::new(nature, Limits::default(), server);
        let client = scene.enter(1);
        say(&client, b"g");
        let mut heard = Vec::new();
        for _ in 0..1_000_000 {
            if heard.len() >= expected.len() && scene.server().rooms > 0 {
                break;
            }
            scene.pass(Duration::from_millis(if delay > 0 { 20 } else { 0 }));
            heard.extend(read(&client, step).unwrap());
            if rate > 0 {
                scene.pass(Duration::from_millis(1));
            }
        }
        prop_assert!(heard == expected, "{} of {} bytes", heard.len(), expected.len());
        let server = scene.server();
        prop_assert_eq!((server.rooms, server.sent), (1, expected.len() as u64));
    }
}

fn shortened(part: Part) -> Part {
    match part {
        Part::Bytes(bytes) => Part::Bytes(bytes.into_iter().take(20).collect()),
        Part::File(range, warm) => Part::File(range.start..range.end.min(range.start + 100), warm),
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_in_a_reset() {
    let mut scene = Scene::calm(Server { closes: false, ..whole(8 * MIB, 0) });
    let client = scene.enter(1);
    say(&client, b"g");
    scene.settle();
    let mut heard = read(&client, 300 * KIB).unwrap();
    scene.server().file.as_ref().unwrap().truncate(2 * MIB + 5);
    let end = loop {
        scene.settle();
        let mut buffer = vec![0; 300 * KIB];
        match client.read(&mut buffer) {
            Ok(0) => panic!("it looks whole, after {} bytes", heard.len()),
            Ok(count) => heard.extend(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
    assert_eq!(heard.len(), 2 * MIB + 5);
    let sent = 2 * MIB as u64 + 5;
    assert_eq!(scene.server().ends, [("the file became shorter while it was being sent".to_owned(), sent)]);
}

#[test]
fn a_file_that_its_disk_cannot_read_ends_in_a_reset() {
    let mut scene = Scene::calm(Server { closes: false, ..whole(MIB, 0) });
    scene.server().file.as_ref().unwrap().break_down();
    let client = scene.enter(1);
    say(&client, b"g");
    scene.settle();
    assert_eq!(client.read(&mut [0; 100]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    let (why, sent) = scene.server().ends[0].clone();
    assert!(why.starts_with("failed: ") && sent == 0, "{why}");
}

#[test]
fn a_cold_file_waits_for_its_disk_without_spinning() {
    let nature = Nature { delay: 300_000, ..Nature::calm() };
    let length = 3 * WINDOW as usize;
    let mut scene = Scene::new(nature, Limits::default(), whole(length, 0));
    let client = scene.enter(1);
    say(&client, b"g");
    let mut heard = 0;
    while let Some(bytes) = read(&client, MIB) {
        heard += bytes.len();
        scene.pass(Duration::from_millis(5));
    }
    assert_eq!(heard, length);
    // Each MiB is written in slices; the rest of the time nothing happens at all.
    assert!(scene.turns < 3 * 1000, "{} turns", scene.turns);
    let futile = scene.world.calls().futile_writes;
    assert!(futile <= 3 * length as u64 / MIB as u64, "{futile} futile writes");
}
