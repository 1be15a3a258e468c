//! What one client can make the daemon keep, and others wait for: each bound in a
//! scene of its own, in a calm world.

use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::config::{Config, Overrides};
use crate::hosting;
use crate::reactor::Reactor;
use crate::reactor::audit::Auditor;
use crate::services::CATALOG;
use crate::system::simulated::{Nature, Stream, World};

const PORT: u16 = 4_000;
const KIB: usize = 1024;
const SECOND: Duration = Duration::from_secs(1);

/// The daemon with one service, and the time that passes for it.
struct Scene {
    world: World,
    reactor: Reactor,
    auditor: Auditor,
}

impl Scene {
    fn of(service: &str, settings: &str) -> Scene {
        let world = World::new(Nature::calm());
        let mut reactor = Reactor::simulated(&world).unwrap();
        let text = format!("{settings}\n[services.{service}]\ntcp = {PORT}\n");
        let overrides = Overrides::default();
        let config = Config::parse(CATALOG, &text, Path::new("bounds.toml"), &overrides).unwrap();
        for service in config.services {
            hosting::host(&mut reactor, service).unwrap();
        }
        Scene { world, reactor, auditor: Auditor::default() }
    }

    fn enter(&mut self, port: u16) -> Guest {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let guest =
            Guest { address: at(port), socket: self.world.call(at(port), at(PORT)), heard: Vec::new() };
        self.pass(Duration::ZERO);
        guest
    }

    /// Turns the loop until the time has passed and nothing is left to do.
    fn pass(&mut self, time: Duration) {
        let end = self.world.micros() + time.as_micros() as u64;
        loop {
            let left = end.saturating_sub(self.world.micros());
            self.reactor.turn(Some(Duration::from_micros(left))).unwrap();
            self.auditor.look(&mut self.reactor).unwrap();
            if self.world.micros() >= end && self.reactor.is_at_rest() && !self.world.has_news() {
                return;
            }
        }
    }

    /// Why the daemon ended a guest's connection.
    fn end_of(&self, guest: &Guest) -> Option<String> {
        self.world.end_of(guest.address)
    }
}

struct Guest {
    address: SocketAddr,
    socket: Option<Stream>,
    heard: Vec<u8>,
}

impl Guest {
    /// Sends as much as there is room for.
    fn say(&mut self, words: &[u8]) -> usize {
        match self.socket.as_ref().unwrap().write(&[IoSlice::new(words)]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{}: {error}", self.address),
        }
    }

    /// Reads at most so many bytes; returns how many there were.
    fn read(&mut self, most: usize) -> usize {
        let mut buffer = vec![0; most];
        let count = self.socket.as_ref().unwrap().read(&mut buffer).unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..count]);
        count
    }
}

/// A speaker's flood: numbered lines, of which it sends what there is room for.
struct Flood {
    bytes: Vec<u8>,
    sent: usize,
}

impl Flood {
    fn new(lines: usize) -> Flood {
        let bytes = (0..lines).flat_map(|number| format!("{number:0>99}\n").into_bytes()).collect();
        Flood { bytes, sent: 0 }
    }

    fn go_on(&mut self, speaker: &mut Guest) {
        self.sent += speaker.say(&self.bytes[self.sent..]);
    }
}

#[test]
fn a_member_that_takes_64_kib_per_second_is_waited_for_and_loses_nothing() {
    let mut scene = Scene::of("chat", "");
    let (mut speaker, mut slow, mut prompt) = (scene.enter(1), scene.enter(2), scene.enter(3));
    let mut flood = Flood::new(120_000);
    for _ in 0..90 {
        // As often as the speaker could send more, if the room let it.
        for _ in 0..20 {
            flood.go_on(&mut speaker);
            scene.pass(SECOND / 20);
            prompt.read(KIB * KIB);
        }
        slow.read(64 * KIB);
        assert_eq!(scene.end_of(&slow), None);
    }
    assert!(flood.sent < flood.bytes.len(), "the speaker has to wait");
    assert_eq!(slow.heard.len(), 90 * 64 * KIB);
    assert!(flood.bytes.starts_with(&slow.heard), "it hears everything in order");
    while slow.read(KIB * KIB) > 0 || prompt.read(KIB * KIB) > 0 || flood.sent < flood.bytes.len() {
        flood.go_on(&mut speaker);
        scene.pass(SECOND / 100);
    }
    assert!(slow.heard == flood.bytes && prompt.heard == flood.bytes);
}

#[test]
fn a_member_that_reads_a_byte_now_and_then_holds_its_room_up_for_five_seconds() {
    let mut scene = Scene::of("chat", "");
    let (mut speaker, mut lazy, mut prompt) = (scene.enter(1), scene.enter(2), scene.enter(3));
    let mut flood = Flood::new(80_000);
    let mut stalled = 0;
    while flood.sent < flood.bytes.len() {
        flood.go_on(&mut speaker);
        scene.pass(SECOND / 10);
        lazy.read(1);
        stalled += u32::from(prompt.read(KIB * KIB) == 0);
        assert!(stalled <= 51, "the room stood still for {stalled} tenths of a second");
    }
    assert_eq!(scene.end_of(&lazy).as_deref(), Some("too slow, output over its limit"));
    assert_eq!(scene.reactor.statistics().too_slow, 1);
    while prompt.read(KIB * KIB) > 0 {
        scene.pass(SECOND / 10);
    }
    assert!(prompt.heard == flood.bytes, "the others lose nothing");
}

/// In a world as on Linux: room is announced only when a third of the buffer is free,
/// which takes this reader much longer than the timeout.
#[test]
fn whoever_reads_is_not_reset_by_the_send_timeout_however_slowly() {
    let mut scene = Scene::of("echo", "[limits]\nsend_timeout = \"10s\"");
    let mut slow = scene.enter(1);
    let flood = Flood::new(20_000);
    let mut sent = 0;
    for _ in 0..300 {
        sent += slow.say(&flood.bytes[sent..]);
        scene.pass(SECOND);
        slow.read(1_000);
        assert_eq!(scene.end_of(&slow), None, "after {} bytes", slow.heard.len());
    }
    while slow.heard.len() < sent {
        scene.pass(SECOND / 10);
        slow.read(KIB * KIB);
    }
    assert!(slow.heard == flood.bytes[..sent]);
}

#[test]
fn whoever_reads_nothing_is_reset_once_the_send_timeout_is_over() {
    let mut scene = Scene::of("echo", "[limits]\nsend_timeout = \"8s\"");
    let mut deaf = scene.enter(1);
    let flood = Flood::new(20_000);
    let mut sent = 0;
    for _ in 0..10 {
        sent += deaf.say(&flood.bytes[sent..]);
        scene.pass(Duration::ZERO);
    }
    scene.pass(8 * SECOND);
    assert_eq!(scene.end_of(&deaf), None);
    scene.pass(SECOND + Duration::from_millis(1));
    assert_eq!(scene.end_of(&deaf).as_deref(), Some("timed out, output not taken"));
}

#[test]
fn an_answer_that_exceeds_the_output_limit_is_sent_to_whoever_goes_on_taking_it() {
    let mut scene = Scene::of("json", "[limits]\noutput_limit = \"64 KiB\"");
    let (mut slow, mut deaf) = (scene.enter(1), scene.enter(2));
    let value = format!("\"{}\"", "가".repeat(340_000));
    for guest in [&mut slow, &mut deaf] {
        assert_eq!(guest.say(value.as_bytes()), value.len());
    }
    // Large values are written in steps, one per turn.
    scene.pass(SECOND);
    assert!(Auditor::most_unsent(&scene.reactor) > 64 * KIB, "both answers exceed the limit");
    let length = 2 + 340_000 * 6;
    while slow.heard.len() < length {
        scene.pass(9 * SECOND);
        assert!(slow.read(16 * KIB) > 0, "it ended: {:?}", scene.end_of(&slow));
    }
    assert_eq!(scene.end_of(&slow), None);
    assert_eq!(scene.end_of(&deaf).as_deref(), Some("too slow, output over its limit"));
}

#[test]
fn frames_that_slow_viewers_hold_count_as_memory_and_whoever_holds_most_is_cut_off() {
    let mut scene = Scene::of("video", "");
    scene.reactor.set_memory_budget(4_000 * KIB);
    let mut publisher = scene.enter(50_000);
    let mut publish = |scene: &mut Scene, filling: u8| {
        let frame = [&[0xFF, 0xD8][..], &vec![filling; 700 * KIB], &[0xFF, 0xD9]].concat();
        let message = [&(frame.len() as u64).to_le_bytes()[..], &frame].concat();
        let said = publisher.say(&message);
        scene.pass(Duration::ZERO);
        assert_eq!(said, message.len());
        message.len()
    };
    let length = publish(&mut scene, 0);
    let mut fast = scene.enter(50_001);
    // Each stops in the middle of another frame.
    let mut slow = Vec::new();
    for number in 1..=10 {
        slow.push(scene.enter(51_000 + u16::from(number)));
        publish(&mut scene, number);
        while fast.read(length) > 0 {
            scene.pass(Duration::ZERO);
        }
    }
    let ends: Vec<_> = slow.iter().filter_map(|viewer| scene.end_of(viewer)).collect();
    assert!((4..10).contains(&ends.len()), "{ends:?}");
    assert!(ends.iter().all(|end| end == "memory is used up, and it held the most"), "{ends:?}");
    assert_eq!(scene.end_of(&fast), None);
    assert_eq!(fast.heard.len(), 11 * length);
}
