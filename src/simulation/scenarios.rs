//! Attacks that seeds meet too rarely: one attacker at a time, in a world without
//! faults.

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

const ATTACKED: u16 = 4_000;
const ECHO: u16 = 4_001;

/// A daemon with an echo service, and one that is attacked.
struct Scene {
    world: World,
    reactor: Reactor,
    auditor: Auditor,
    last_port: u16,
}

impl Scene {
    fn new(attacked: &str) -> Scene {
        let world = World::new(Nature::calm());
        let mut reactor = Reactor::simulated(&world).unwrap();
        let text = format!(
            "[services.{attacked}\ntcp = {ATTACKED}\n[services.other]\nkind = \"echo\"\ntcp = {ECHO}\n"
        );
        let config = Config::parse(CATALOG, &text, Path::new("scene.toml"), &Overrides::default());
        for service in config.unwrap().services {
            hosting::host(&mut reactor, service).unwrap();
        }
        Scene { world, reactor, auditor: Auditor::default(), last_port: 40_000 }
    }

    fn connect(&mut self, to: u16) -> Stream {
        self.connect_from(Ipv4Addr::LOCALHOST, to)
    }

    fn connect_from(&mut self, from: Ipv4Addr, to: u16) -> Stream {
        self.last_port += 1;
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
        self.world.call((from, self.last_port).into(), to).unwrap()
    }

    fn turn(&mut self) {
        self.reactor.turn(Some(Duration::ZERO)).unwrap();
        self.auditor.look(&mut self.reactor).unwrap();
    }

    /// The same while time passes, as for what goes on in the next turn.
    fn settle_for_millis(&mut self, millis: usize) {
        for _ in 0..millis {
            self.world.leap(Duration::from_millis(1));
            self.settle();
        }
    }

    /// Turns until the reactor has nothing left to do.
    fn settle(&mut self) {
        self.turn();
        while !self.reactor.is_at_rest() {
            self.turn();
        }
    }
}

fn say(socket: &Stream, words: &[u8]) {
    assert_eq!(socket.write(&[IoSlice::new(words)]).unwrap(), words.len());
}

fn hear(socket: &Stream) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return heard,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Twenty clients pipeline as many small messages as one read holds, and read what they
/// get; then an echo has to wait for one turn at most.
fn an_echo_does_not_wait_for(attacked: &str, line: &str, answer: &str) {
    let mut scene = Scene::new(attacked);
    let count = 20_000 / line.len();
    let attackers: Vec<Stream> = (0..20).map(|_| scene.connect(ATTACKED)).collect();
    let client = scene.connect(ECHO);
    scene.settle();
    // A line end sent by itself settles that the conversation is in lines.
    attackers.iter().for_each(|attacker| say(attacker, b"\n"));
    scene.settle();
    attackers.iter().for_each(|attacker| drop(hear(attacker)));
    attackers.iter().for_each(|attacker| say(attacker, line.repeat(count).as_bytes()));
    // Each attacker has been served once; from now on they only have more to do.
    (0..5).for_each(|_| scene.turn());
    for _ in 0..5 {
        say(&client, "가".as_bytes());
        scene.turn();
        assert_eq!(hear(&client), "가".as_bytes());
    }
    let mut answers = vec![Vec::new(); attackers.len()];
    let expected = answer.len() * count;
    while answers.iter().any(|answers| answers.len() < expected) {
        scene.turn();
        let before: usize = answers.iter().map(Vec::len).sum();
        for (answers, attacker) in answers.iter_mut().zip(&attackers) {
            answers.extend(hear(attacker));
        }
        assert!(answers.iter().map(Vec::len).sum::<usize>() > before, "a client is forgotten");
    }
    assert!(answers.iter().all(|answers| *answers == answer.repeat(count).as_bytes()));
}

#[test]
fn an_echo_does_not_wait_for_a_flood_of_json() {
    let error = "{\"error\": \"JSON has no such word: only true, false and null, in small letters\", \
                 \"line\": 1, \"column\": 1}\n";
    an_echo_does_not_wait_for("json]", "x\n", error);
    an_echo_does_not_wait_for("json]", "[1]\n", "[1]\n");
}

#[test]
fn an_echo_does_not_wait_for_a_flood_of_numbers() {
    an_echo_does_not_wait_for("number]", "일\n", "Try again\n");
}

#[test]
fn an_echo_does_not_wait_for_a_flood_of_lines_in_upper_case() {
    an_echo_does_not_wait_for("upper]\nkeep_open = true", "가b\n", "가B\n");
}

#[test]
fn an_echo_does_not_wait_for_those_who_move_much() {
    let mut scene = Scene::new("echo]");
    let large = vec![b'.'; 200_000];
    let attackers: Vec<Stream> = (0..50).map(|_| scene.connect(ATTACKED)).collect();
    let client = scene.connect(ECHO);
    scene.settle();
    attackers.iter().for_each(|attacker| say(attacker, &large));
    scene.settle();
    for _ in 0..3 {
        // All of them are ready before the client is.
        for attacker in &attackers {
            assert_eq!(hear(attacker), large);
            say(attacker, &large);
        }
        say(&client, "가".as_bytes());
        scene.turn();
        assert_eq!(hear(&client), "가".as_bytes());
        scene.settle();
    }
}

#[test]
fn answers_to_one_read_stay_within_the_output_limit() {
    let mut scene = Scene::new("json]");
    let attacker = scene.connect(ATTACKED);
    scene.settle();
    say(&attacker, &b"x\n".repeat(120_000));
    // The auditor looks at the limit after each turn.
    (0..100).for_each(|_| scene.turn());
    assert!(hear(&attacker).len() > 900_000, "it was answered as far as it reads");
}

/// Whether its connection was reset.
/// To write a mebibyte of short keys took 20 ms in one call.
#[test]
fn a_large_value_is_written_in_steps_between_which_others_are_served() {
    let mut scene = Scene::new("json]");
    let (attacker, client) = (scene.connect(ATTACKED), scene.connect(ECHO));
    scene.settle();
    let members: Vec<String> = (0..90_000).map(|number| format!("\"{number:06}\":0")).collect();
    let value = format!("{{{}}}", members.join(","));
    let expected = value.replace(':', ": ").replace(',', ", ");
    let (mut sent, mut answer, mut turns) = (0, Vec::new(), 0);
    while answer.len() < expected.len() {
        if let Ok(written) = attacker.write(&[IoSlice::new(&value.as_bytes()[sent..])]) {
            sent += written;
        }
        say(&client, "가".as_bytes());
        scene.world.leap(Duration::from_millis(1));
        scene.turn();
        assert_eq!(hear(&client), "가".as_bytes());
        answer.extend(hear(&attacker));
        turns += 1;
        assert!(turns < 10_000);
    }
    let least = (value.len() + expected.len()) / (64 * 1024);
    assert!(turns > least, "{turns} turns, {least} at least");
    assert!(answer == expected.as_bytes());
}

/// The client whose large value is being written leaves; the next one has its turn.
#[test]
fn who_leaves_while_its_large_value_is_written_keeps_nobody_waiting() {
    let mut scene = Scene::new("json]");
    let value = format!("[{}0]", "0,".repeat(100_000));
    let (leaves, stays) = (scene.connect(ATTACKED), scene.connect(ATTACKED));
    for client in [&leaves, &stays] {
        say(client, value.as_bytes());
    }
    (0..4).for_each(|_| scene.turn());
    drop(leaves);
    scene.settle_for_millis(100);
    assert_eq!(hear(&stays).len(), value.replace(',', ", ").len());
}

/// The daemon is told to end while large values are being written, or wait for their turn.
#[test]
fn large_values_are_answered_although_the_daemon_ends() {
    let mut scene = Scene::new("json]");
    let value = format!("[{}0]", "0,".repeat(100_000));
    let clients: Vec<Stream> = (0..3).map(|_| scene.connect(ATTACKED)).collect();
    clients.iter().for_each(|client| say(client, value.as_bytes()));
    (0..2).for_each(|_| scene.turn());
    scene.reactor.drain();
    let expected = value.replace(',', ", ").len();
    let mut heard = [0; 3];
    for _ in 0..500 {
        scene.world.leap(Duration::from_millis(1));
        scene.turn();
        clients.iter().zip(&mut heard).for_each(|(client, heard)| *heard += hear(client).len());
    }
    assert_eq!(heard, [expected; 3]);
}

fn is_cut_off(socket: &Stream) -> bool {
    matches!(socket.read(&mut [0; 16]), Err(error) if error.kind() != ErrorKind::WouldBlock)
}

#[test]
fn who_holds_most_is_cut_off_when_memory_is_used_up() {
    let mut scene = Scene::new("json]");
    scene.reactor.set_memory_budget(2_000_000);
    let client = scene.connect(ECHO);
    let modest = scene.connect(ATTACKED);
    let attackers: Vec<Stream> = (0..10).map(|_| scene.connect(ATTACKED)).collect();
    say(&modest, b"[\"half of a value");
    for attacker in &attackers {
        say(attacker, &[b"\"".as_slice(), &[b'x'; 500_000]].concat());
        // The auditor compares what is held with the budget.
        scene.settle();
    }
    let lost = attackers.iter().filter(|attacker| is_cut_off(attacker)).count();
    assert!((6..10).contains(&lost), "{lost} of 10 are cut off");
    say(&modest, b"\"]");
    say(&client, "가".as_bytes());
    scene.settle();
    assert_eq!(hear(&modest), b"[\"half of a value\"]");
    assert_eq!(hear(&client), "가".as_bytes());
}

#[test]
fn what_datagrams_leave_in_tables_is_charged_to_the_memory_budget() {
    const BUDGET: usize = 600_000;
    const VALUES: u16 = 4_002;
    let both = format!("json]\ntcp = {VALUES}\n[services.chat]\nudp = {ATTACKED}\nmembers = \"any\"");
    let mut scene = Scene::new(&both);
    scene.reactor.set_memory_budget(BUDGET);
    let modest = scene.connect(VALUES);
    say(&modest, b"[\"half of a value");
    let holders: Vec<Stream> = (0..12).map(|_| scene.connect(VALUES)).collect();
    for holder in &holders {
        say(holder, &[b"\"".as_slice(), &[b'x'; 30_000]].concat());
        scene.settle();
    }
    assert!(!holders.iter().any(is_cut_off), "they hold more than half of the budget");
    for forged in 0..2_000 {
        let from = SocketAddr::from((Ipv4Addr::from_bits(0x0A00_0000 + forged), 40_000));
        scene.world.send_datagram(from, (Ipv4Addr::LOCALHOST, ATTACKED).into(), b"");
        // The auditor compares what is held with the budget.
        scene.settle();
    }
    assert_eq!(scene.reactor.charged_tables(), BUDGET / 2, "half of the budget at most");
    assert!(holders.iter().any(is_cut_off), "there is no room for both");
    assert!(!holders.iter().all(is_cut_off), "nobody has to go for more than the tables take");
    say(&modest, b"\"]");
    scene.settle();
    assert_eq!(hear(&modest), b"[\"half of a value\"]");
}

#[test]
fn of_the_address_that_holds_most_the_largest_connection_goes_first() {
    let mut scene = Scene::new("json]");
    scene.reactor.set_memory_budget(2_000_000);
    let (one, many) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    let value = |size| [b"\"".as_slice(), &vec![b'x'; size]].concat();
    let honest = scene.connect_from(one, ATTACKED);
    say(&honest, &value(400_000));
    scene.settle();
    let attackers: Vec<Stream> = (0..7).map(|_| scene.connect_from(many, ATTACKED)).collect();
    say(&attackers[0], &value(350_000));
    scene.settle();
    for attacker in &attackers[1..] {
        say(attacker, &value(200_000));
        scene.settle();
    }
    assert!(is_cut_off(&attackers[0]), "the largest of the address that holds most");
    say(&honest, b"\"");
    scene.settle_for_millis(100);
    assert_eq!(hear(&honest).len(), 400_002, "it is the largest of all, but of another address");
}
