//! Files on their way to peers, on the real loop in a world in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::sending::{LEAST_SLICE, SLICE, WINDOW};
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
    assert_eq!(scene.world.calls().futile_writes, 0);
}

/// Sixteen clients have asked for a file of this size, and read all that comes.
fn sixteen_downloads(length: usize) -> (Scene, Vec<Stream>) {
    let mut scene = Scene::calm(whole(length, 0));
    let clients: Vec<Stream> = (1..=16).map(|port| scene.enter(port)).collect();
    for client in &clients {
        say(client, b"g");
    }
    (scene, clients)
}

#[test]
fn sixteen_downloads_share_fairly_and_take_half_a_mib_per_turn_together() {
    let (mut scene, clients) = sixteen_downloads(8 * MIB);
    let mut heard = [0; 16];
    let mut sent = 0;
    while heard.iter().sum::<usize>() < 16 * 8 * MIB {
        scene.turn(Duration::from_secs(1));
        let before = std::mem::replace(&mut sent, scene.reactor.statistics().bytes_sent);
        assert!(sent - before <= (MIB / 2 + SLICE) as u64, "{} bytes in one turn", sent - before);
        for (heard, client) in heard.iter_mut().zip(&clients) {
            *heard += read(client, MIB).map_or(0, |bytes| bytes.len());
        }
        let (least, most) = (heard.iter().min().unwrap(), heard.iter().max().unwrap());
        assert!(most - least <= 2 * SLICE, "{heard:?}");
    }
}

#[test]
fn an_echo_beside_downloads_is_answered_in_the_turn_in_which_it_comes() {
    let (mut scene, clients) = sixteen_downloads(4 * MIB);
    let asker = scene.world.call((Ipv4Addr::LOCALHOST, 99).into(), PLACE).unwrap();
    let mut server = Server { file: None, ..Server::default() };
    scene.turn(Duration::ZERO);
    // Those who have asked by now get the file, and whoever asks from now on an echo.
    std::mem::swap(scene.server(), &mut server);
    let mut questions = 0;
    let mut left = 16 * 4 * MIB;
    while left > 0 {
        say(&asker, b"anybody there?");
        scene.turn(Duration::ZERO);
        assert_eq!(read(&asker, 100).unwrap(), b"anybody there?");
        questions += 1;
        for client in &clients {
            left -= read(client, MIB).map_or(0, |bytes| bytes.len());
        }
    }
    assert!(questions >= 64, "64 MiB took {questions} turns");
}

#[test]
fn many_small_files_are_no_more_work_for_a_turn_than_one_large_one() {
    let mut server = whole(MIB, MIB);
    server.file.as_ref().unwrap().warm(0..MIB as u64).unwrap();
    server.parts = (0..5000).map(|at| Part::File(at * 100..at * 100 + 1, MIB as u64)).collect();
    let mut scene = Scene::calm(server);
    let client = scene.enter(1);
    say(&client, b"g");
    let mut heard = 0;
    while heard < 5000 {
        let before = scene.world.calls().writes;
        scene.turn(Duration::ZERO);
        let calls = scene.world.calls().writes - before;
        assert!(calls <= (2 * MIB / LEAST_SLICE) as u64, "{calls} calls in one turn");
        heard += read(&client, MIB).map_or(0, |bytes| bytes.len());
    }
}

#[test]
fn downloads_take_no_memory_and_do_not_count_against_the_output_limit() {
    let limits = Limits { output_limit: KIB, ..Limits::default() };
    let mut server = whole(4 * MIB, 0);
    server.parts.insert(0, Part::Bytes(b"4 MiB follow\n".to_vec()));
    let mut scene = Scene::new(Nature::calm(), limits, server);
    scene.reactor.set_memory_budget(100 * KIB);
    let clients: Vec<Stream> = (1..=100).map(|port| scene.enter(port)).collect();
    for client in &clients {
        say(client, b"g");
    }
    scene.pass(Duration::from_secs(5));
    let in_use = scene.reactor.memory_in_use();
    assert!((1..=100 * 200).contains(&in_use), "{in_use} bytes for 100 downloads");
    assert!(clients.iter().all(|client| read(client, KIB).unwrap().starts_with(b"4 MiB")));
    assert_eq!(scene.server().ends, []);
}

/// The kernel of the stage takes a MiB, and the rest waits.
#[test]
fn a_download_that_its_client_does_not_take_ends_by_the_send_timeout() {
    let limits = Limits { send_timeout: Some(Duration::from_secs(8)), ..Limits::default() };
    let server = Server { closes: false, ..whole(4 * MIB, 0) };
    let mut scene = Scene::new(Nature::calm(), limits, server);
    let (deaf, slow) = (scene.enter(1), scene.enter(2));
    say(&deaf, b"g");
    say(&slow, b"g");
    for _ in 0..30 {
        scene.pass(Duration::from_secs(1));
        read(&slow, KIB).unwrap();
    }
    assert_eq!(deaf.read(&mut [0; 8]).unwrap_or(1), 8);
    assert_eq!(scene.server().ends, [("timed out, output not taken".to_owned(), MIB as u64)]);
}

#[test]
fn a_client_is_not_to_blame_for_a_slow_disk() {
    let nature = Nature { delay: 100_000_000, seed: 5, ..Nature::calm() };
    let limits = Limits {
        send_timeout: Some(Duration::from_secs(1)),
        idle_timeout: Some(Duration::from_secs(1)),
        ..Limits::default()
    };
    let length = 3 * WINDOW as usize;
    let mut scene = Scene::new(nature, limits, whole(length, 0));
    let client = scene.enter(1);
    say(&client, b"g");
    let mut heard = 0;
    while let Some(bytes) = read(&client, MIB) {
        heard += bytes.len();
        scene.pass(Duration::from_millis(100));
    }
    assert_eq!(heard, length);
}

#[test]
fn a_client_that_half_closes_during_a_download_gets_all_of_it() {
    let mut scene = Scene::calm(Server { closes: false, ..whole(4 * MIB, 0) });
    let client = scene.enter(1);
    say(&client, b"g");
    scene.settle();
    client.half_close().unwrap();
    let mut heard = Vec::new();
    while let Some(bytes) = read(&client, MIB) {
        heard.extend(bytes);
        scene.settle();
    }
    assert!(heard == contents(4 * MIB));
    drop(client);
    scene.settle();
    assert_eq!(scene.server().ends, [("closed by the peer".to_owned(), 4 * MIB as u64)]);
}

#[test]
fn a_client_that_leaves_during_a_download_ends_it() {
    let mut scene = Scene::calm(Server { closes: false, ..whole(4 * MIB, 0) });
    let client = scene.enter(1);
    say(&client, b"g");
    scene.settle();
    drop(client);
    scene.settle();
    assert_eq!(scene.server().ends.len(), 1);
    assert_eq!(Arc::strong_count(scene.server().file.as_ref().unwrap()), 1);
}

#[test]
fn a_download_that_a_drain_cuts_off_does_not_look_whole() {
    let mut scene = Scene::calm(whole(4 * MIB, 0));
    let (prompt, deaf) = (scene.enter(1), scene.enter(2));
    say(&prompt, b"g");
    say(&deaf, b"g");
    scene.settle();
    scene.reactor.drain();
    let mut heard = 0;
    while let Some(bytes) = read(&prompt, MIB) {
        heard += bytes.len();
        scene.settle();
    }
    assert_eq!(heard, 4 * MIB);
    drop(prompt);
    while !scene.reactor.has_ended() {
        scene.turn(Duration::from_secs(1));
    }
    let end = loop {
        match deaf.read(&mut [0; 64 * KIB]) {
            Ok(0) => panic!("it looks whole"),
            Ok(_) => {}
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
}

/// All but the first are sent at once what was read for it.
#[test]
fn what_was_read_for_one_download_is_not_read_again_for_the_next() {
    let (mut scene, clients) = sixteen_downloads(3 * WINDOW as usize);
    let mut left = clients.len();
    let mut ended = vec![false; left];
    let mut wakes = 0;
    while left > 0 {
        let waited = scene.world.calls().jobs;
        scene.turn(Duration::from_secs(1));
        wakes += scene.world.calls().jobs - waited;
        for (ended, client) in ended.iter_mut().zip(&clients).filter(|(ended, _)| !**ended) {
            *ended = read(client, MIB).is_none();
            left -= usize::from(*ended);
        }
    }
    assert_eq!(wakes, 3, "one job per window");
    let before = scene.world.calls().jobs;
    let late = scene.enter(99);
    say(&late, b"g");
    while read(&late, MIB).is_some() {
        scene.turn(Duration::from_secs(1));
    }
    assert_eq!(scene.world.calls().jobs, before);
}

#[test]
fn few_files_are_read_ahead_at_once_and_none_is_forgotten() {
    let nature = Nature { delay: 10_000, ..Nature::calm() };
    let faults = Faults { queue_full: 500, ..Faults::default() };
    let mut scene = Scene::new(Nature { faults, ..nature }, Limits::default(), whole(100 * KIB, 0));
    let clients: Vec<Stream> = (1..=200).map(|port| scene.enter(port)).collect();
    for client in &clients {
        say(client, b"g");
    }
    scene.pass(Duration::from_secs(10));
    for client in &clients {
        assert_eq!(read(client, MIB).unwrap().len(), 100 * KIB);
    }
}
