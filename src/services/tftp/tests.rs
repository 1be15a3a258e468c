//! The service on a stage, with a disk in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::disk::{self, Disk};
use crate::files::{Policy, Roots};
use crate::rehearsal::Rehearsal;
use crate::services::{configured, refused};
use crate::wire::tftp::{Receiver, Sender};

const FOLDER: &str = "/files";
const SECOND: Duration = Duration::from_secs(1);

fn client(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A daemon on stage, and its disk.
struct Lab {
    stage: Rehearsal<Tftp>,
    disk: disk::simulated::Disk,
}

/// What the service sent: from which of its ports, to which client, and the packet.
type Sent = (u16, u16, Vec<u8>);

impl Lab {
    fn new() -> Lab {
        Lab::with(false, Policy { max_file_size: 100_000, ..Policy::default() }, 100)
    }

    fn with(single_port: bool, policy: Policy, transfers: usize) -> Lab {
        let disk = disk::simulated::Disk::new(1);
        disk.put(Path::new(FOLDER), "한글.txt", "안녕\n".as_bytes());
        disk.put(Path::new(FOLDER), "large", &contents(5000));
        let root = Roots::on(Disk::Simulated(disk.clone())).root(Path::new(FOLDER), policy);
        let caps = Caps { sessions: transfers, per_address: 2, loopback: false };
        let bind = [127, 0, 0, 1].into();
        Lab { stage: Rehearsal::new(Tftp::new("tftp", root, bind, single_port, caps)), disk }
    }

    /// Everything that was sent since the last call.
    fn sent(&mut self) -> Vec<Sent> {
        let sent = self.stage.datagrams_with_sources();
        sent.into_iter().map(|(from, to, bytes)| (from.port(), to.port(), bytes)).collect()
    }

    /// A client sends a datagram, and sees what the service sends.
    fn say(&mut self, from: u16, to: u16, datagram: &[u8]) -> Vec<Sent> {
        self.stage.datagram_to(client(from), client(to), datagram);
        self.sent()
    }

    /// The files that are there, but for those that the test has put there.
    fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = self.disk.contents(Path::new(FOLDER));
        files.retain(|name, _| name != "한글.txt" && name != "large");
        files
    }

    fn transfers(&mut self) -> usize {
        self.stage.service().transfers.len()
    }
}

/// The port of the requests.
const ASKED: u16 = 1000;

fn contents(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn read(name: &str, options: Options) -> Vec<u8> {
    Packet::Read(Request { name: name.as_bytes(), mode: Mode::Octet, options }).bytes()
}

fn write(name: &str, options: Options) -> Vec<u8> {
    Packet::Write(Request { name: name.as_bytes(), mode: Mode::Octet, options }).bytes()
}

fn data(block: u16, bytes: &[u8]) -> Vec<u8> {
    Packet::Data { block, bytes }.bytes()
}

fn ack(block: u16) -> Vec<u8> {
    Packet::Ack { block }.bytes()
}

/// The code and the text of the error that was sent, alone.
fn error_in(sent: &[Sent]) -> (u16, String) {
    match sent {
        [(_, _, packet)] => match Packet::parse(packet) {
            Ok(Packet::Error { code, text }) => (code, String::from_utf8_lossy(text).into_owned()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_is_sent_from_a_port_of_its_own() {
    let mut lab = Lab::new();
    let sent = lab.say(4000, ASKED, &read("한글.txt", Options::default()));
    let [(port, 4000, block)] = &sent[..] else { panic!("{sent:?}") };
    assert_ne!(*port, ASKED);
    assert_eq!(*block, data(1, "안녕\n".as_bytes()));
    assert_eq!(lab.say(4000, *port, &ack(1)), []);
    assert_eq!(lab.transfers(), 0);
}

#[test]
fn options_are_granted_within_bounds() {
    let mut lab = Lab::new();
    let asked =
        Options { block_size: Some(1000), window_size: Some(9000), timeout: Some(7), transfer_size: Some(0) };
    let sent = lab.say(4000, ASKED, &read("large", asked));
    let granted = Options { window_size: Some(64), transfer_size: Some(5000), ..asked };
    assert_eq!(sent[0].2, Packet::OptionAck(granted).bytes());
    let blocks = lab.say(4000, sent[0].0, &ack(0));
    assert_eq!(blocks.len(), 6, "the window, and an empty block at the end");
    assert_eq!(lab.say(4000, sent[0].0, &ack(6)), []);
    assert_eq!(lab.transfers(), 0);
}

#[test]
fn the_size_0_is_not_told_since_curl_takes_it_for_a_mistake() {
    let mut lab = Lab::new();
    lab.disk.put(Path::new(FOLDER), "empty", b"");
    let asked = Options { transfer_size: Some(0), ..Options::default() };
    assert_eq!(lab.say(4000, ASKED, &read("empty", asked))[0].2, data(1, b""));
}

#[test]
fn a_duplicate_request_begins_nothing() {
    let mut lab = Lab::new();
    lab.stage.hold_jobs();
    let request = read("large", Options::default());
    assert_eq!(lab.say(4000, ASKED, &request), []);
    assert_eq!(lab.say(4000, ASKED, &request), []);
    lab.stage.release_jobs();
    assert_eq!(lab.sent().len(), 1);
    assert_eq!(lab.say(4000, ASKED, &request), []);
    assert_eq!(lab.transfers(), 1);
}

#[test]
fn a_stranger_is_told_so_and_the_transfer_goes_on() {
    let mut lab = Lab::new();
    let port = lab.say(4000, ASKED, &read("large", Options::default()))[0].0;
    assert_eq!(error_in(&lab.say(4001, port, &ack(1))).0, ErrorCode::UnknownTransfer as u16);
    assert_eq!(lab.say(4001, port, &error(ErrorCode::Undefined, "x")), []);
    assert_eq!(error_in(&lab.say(4000, ASKED, &ack(1))).0, ErrorCode::UnknownTransfer as u16);
    assert_eq!(lab.say(4000, port, &ack(1)), [(port, 4000, data(2, &contents(5000)[512..1024]))]);
}

#[test]
fn an_address_that_may_be_forged_is_sent_little() {
    let mut lab = Lab::new();
    let forged: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    lab.stage.datagram(forged, &read("large", Options::default()));
    lab.stage.pass(60 * SECOND);
    let sent = lab.stage.datagrams();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|(to, packet)| *to == forged && packet.len() == 516));
    assert_eq!(lab.transfers(), 0);
}

#[test]
fn every_refusal_has_a_code_and_a_reason() {
    let mut lab = Lab::new();
    let huge = Options { transfer_size: Some(100_001), ..Options::default() };
    for (request, code, reason) in [
        (read("nothing", Options::default()), 1, "there is no file of that name"),
        (read("../", Options::default()), 2, "not the name of a file"),
        (read(".hidden", Options::default()), 2, "begin with a dot"),
        (read("COM1.txt", Options::default()), 2, "device on Windows"),
        (write("huge", huge), 3, "at most 100000 bytes"),
        (b"\0\x01a\0mail\0".to_vec(), 4, "octet nor netascii"),
        (b"\0\x01a\0octet\0blksize\0".to_vec(), 8, "an option has no value"),
        (b"\0\x09".to_vec(), 4, "no opcode 9"),
        (b"x".to_vec(), 4, "cut short"),
    ] {
        let (sent, text) = error_in(&lab.say(4000, ASKED, &request));
        assert!(sent == code && text.contains(reason), "{request:?}: {sent} {text}");
        assert_eq!(lab.transfers(), 0);
    }
    let mut lab = Lab::with(false, Policy { writable: false, ..Policy::default() }, 100);
    assert_eq!(
        error_in(&lab.say(4000, ASKED, &write("a", Options::default()))),
        (2, "files cannot be stored here".into())
    );
}

#[test]
fn transfers_are_limited_in_all_and_per_address() {
    let mut lab = Lab::with(false, Policy::default(), 3);
    let from = |last: u8, port: u16| SocketAddr::from(([192, 0, 2, last], port));
    let mut ask = |from: SocketAddr, answers: bool| {
        lab.stage.datagram(from, &read("large", Options::default()));
        let (source, _, packet) = lab.stage.datagrams_with_sources().remove(0);
        let is_sent = matches!(Packet::parse(&packet), Ok(Packet::Data { .. }));
        if is_sent && answers {
            lab.stage.datagram_to(from, source, &ack(1));
            lab.stage.datagrams();
        }
        is_sent
    };
    assert!(ask(from(1, 4000), true) && ask(from(1, 4001), true));
    assert!(!ask(from(1, 4002), true), "a third one of the address");
    assert!(ask(from(2, 4000), false));
    assert!(ask(from(3, 4000), true), "it takes the place of one that does not answer");
    assert!(!ask(from(4, 4000), true), "a fourth one in all");
}

#[test]
fn a_file_is_stored_before_its_last_block_is_acknowledged() {
    let mut lab = Lab::new();
    let sent = lab.say(4000, ASKED, &write("새 파일", Options::default()));
    let [(port, 4000, first)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(*first, ack(0));
    let file = contents(700);
    assert_eq!(lab.say(4000, *port, &data(1, &file[..512])), [(*port, 4000, ack(1))]);
    lab.stage.hold_jobs();
    assert_eq!(lab.say(4000, *port, &data(2, &file[512..])), []);
    assert!(!lab.stored().contains_key("새 파일"));
    lab.stage.release_jobs();
    assert_eq!(lab.stored(), BTreeMap::from([("새 파일".to_owned(), file.clone())]));
    assert_eq!(lab.sent(), [(*port, 4000, ack(2))]);
    assert_eq!(lab.say(4000, *port, &data(2, &file[512..])), [(*port, 4000, ack(2))], "it dallies");
    lab.stage.pass(60 * SECOND);
    assert_eq!((lab.transfers(), lab.sent().len()), (0, 0));
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let mut lab = Lab::new();
    for port in [4000, 4001] {
        let at = lab.say(port, ASKED, &write("a.txt", Options::default()))[0].0;
        lab.say(port, at, &data(1, b"x"));
    }
    assert_eq!(lab.stored().into_keys().collect::<Vec<_>>(), ["a (2).txt", "a.txt"]);
}

#[test]
fn a_broken_transfer_leaves_no_file() {
    let mut lab = Lab::new();
    for failure in [error(ErrorCode::Undefined, "no more"), b"\0\x03".to_vec(), data(2, &[0; 513])] {
        let port = lab.say(4000, ASKED, &write("a", Options::default()))[0].0;
        lab.say(4000, port, &data(1, &contents(512)));
        lab.say(4000, port, &failure);
        assert_eq!((lab.transfers(), lab.stored()), (0, BTreeMap::new()));
    }
    let port = lab.say(4000, ASKED, &write("a", Options::default()))[0].0;
    lab.say(4000, port, &data(1, &contents(512)));
    lab.stage.pass(100 * SECOND);
    assert_eq!((lab.transfers(), lab.stored()), (0, BTreeMap::new()), "the client is gone");
}

#[test]
fn a_disk_that_fails_at_any_moment_leaves_no_half_of_a_file() {
    let file = contents(700);
    for moment in 0..20 {
        let mut lab = Lab::new();
        lab.disk.fail_once(moment);
        let sent = lab.say(4000, ASKED, &write("a", Options::default()));
        let (port, first) = (sent[0].0, sent[0].2.clone());
        let mut last = Vec::new();
        if first == ack(0) {
            lab.say(4000, port, &data(1, &file[..512]));
            last = lab.say(4000, port, &data(2, &file[512..]));
        }
        let stored = lab.stored().get("a").cloned();
        assert!(stored.is_none() || stored.as_deref() == Some(&file), "moment {moment}");
        if last.iter().any(|(_, _, packet)| *packet == ack(2)) {
            assert!(stored.is_some(), "moment {moment}: it was acknowledged");
        }
        lab.stage.pass(60 * SECOND);
        assert_eq!(lab.transfers(), 0);
    }
}

#[test]
fn a_disk_that_stands_still_breaks_the_transfer_in_the_end() {
    let mut lab = Lab::new();
    lab.stage.hold_jobs();
    assert_eq!(lab.say(4000, ASKED, &read("large", Options::default())), []);
    lab.stage.pass(61 * SECOND);
    assert_eq!(error_in(&lab.sent()), (0, "the server's disk does not answer".into()));
    lab.stage.release_jobs();
    assert_eq!((lab.transfers(), lab.sent().len()), (0, 0));
}

#[test]
fn in_single_port_mode_everything_goes_over_one_port_a_block_at_a_time() {
    let mut lab = Lab::with(true, Policy::default(), 100);
    let asked = Options { block_size: Some(9000), window_size: Some(8), ..Options::default() };
    let sent = lab.say(4000, ASKED, &read("large", asked));
    let granted = Options { block_size: Some(SINGLE_PORT_BLOCK), ..Options::default() };
    assert_eq!(sent, [(ASKED, 4000, Packet::OptionAck(granted).bytes())]);
    assert_eq!(lab.say(4000, ASKED, &ack(0)).len(), 1);
    assert_eq!(error_in(&lab.say(4001, ASKED, &ack(1))).0, ErrorCode::UnknownTransfer as u16);
    assert_eq!(lab.say(4000, ASKED, &ack(1)).len(), 1);
    let anew = lab.say(4000, ASKED, &read("한글.txt", Options::default()));
    assert_eq!(anew, [(ASKED, 4000, data(1, "안녕\n".as_bytes()))], "the client has begun anew");
    assert_eq!(lab.say(4000, ASKED, &ack(1)), []);
    assert_eq!(lab.transfers(), 0);
}

#[test]
fn text_is_sent_and_stored_with_the_line_ends_of_each_side() {
    let mut lab = Lab::new();
    let request = |name: &'static str| Request {
        name: name.as_bytes(),
        mode: Mode::Netascii,
        options: Options::default(),
    };
    let sent = lab.say(4000, ASKED, &Packet::Read(request("한글.txt")).bytes());
    assert_eq!(sent[0].2, data(1, "안녕\r\n".as_bytes()));
    let port = lab.say(4001, ASKED, &Packet::Write(request("b")).bytes())[0].0;
    lab.say(4001, port, &data(1, b"1\r\n2\r\0\r"));
    assert_eq!(lab.stored()["b"], b"1\n2\r\r");
}

/// A generator of random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn percent(&mut self, percent: u64) -> bool {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)) % 100 < percent
    }
}

/// Runs one transfer of a client over a network that loses, doubles and swaps packets.
/// Returns whether the file arrived.
fn runs_badly(seed: u64) -> bool {
    let mut random = Random(seed);
    let mut lab = Lab::new();
    let is_read = random.percent(50);
    let options = Options {
        block_size: random.percent(50).then_some(100),
        window_size: random.percent(50).then_some(5),
        ..Options::default()
    };
    let mut sender = Sender::for_client(write("up", options), options);
    let mut receiver = Receiver::for_client(read("large", options), options);
    let (mut file, mut server, mut packet) = (Vec::new(), None, Vec::new());
    let mut now = Instant::now();
    let mut is_over = false;
    for _ in 0..20_000 {
        if !is_read && sender.wants().is_some() {
            sender.supply(&contents(5000), true);
        }
        let mut out = Vec::new();
        while if is_read {
            receiver.next_packet(&mut packet, now)
        } else {
            sender.next_packet(&mut packet, now)
        } {
            out.push(packet.clone());
        }
        for datagram in out {
            for _ in 0..usize::from(!random.percent(8)) + usize::from(random.percent(8)) {
                lab.stage.datagram_to(client(4000), client(server.unwrap_or(ASKED)), &datagram);
            }
        }
        let mut sent = lab.sent();
        if sent.len() > 1 && random.percent(20) {
            let last = sent.len() - 1;
            sent.swap(0, last);
        }
        let is_quiet = sent.is_empty();
        for (port, _, datagram) in sent {
            if random.percent(8) || server.is_some_and(|server| server != port) {
                continue;
            }
            server = Some(port);
            if is_read { receiver.handle(&datagram, now) } else { sender.handle(&datagram, now) }
        }
        if let Some((bytes, is_last)) = receiver.take() {
            file.extend_from_slice(&bytes);
            if is_last {
                receiver.stored(now);
            }
        }
        is_over |= if is_read { receiver.has_ended() } else { sender.has_ended() };
        if is_over && lab.transfers() == 0 {
            break;
        }
        if is_quiet {
            lab.stage.pass(SECOND / 10);
            now += SECOND / 10;
            receiver.expire(now);
            sender.expire(now);
        }
    }
    assert!(is_over && lab.transfers() == 0, "seed {seed}: it goes on forever");
    if is_read {
        let arrived = receiver.outcome() == Some(&Ok(()));
        assert!(!arrived || file == contents(5000), "seed {seed}");
        return arrived;
    }
    let stored = lab.stored();
    assert!(stored.is_empty() || stored["up"] == contents(5000), "seed {seed}");
    assert!(sender.outcome() != Some(&Ok(())) || stored.len() == 1, "seed {seed}");
    sender.outcome() == Some(&Ok(()))
}

#[test]
fn over_a_bad_network_a_file_arrives_whole_or_not_at_all() {
    let arrived = (0..300).filter(|seed| runs_badly(*seed)).count();
    assert!(arrived > 200, "only {arrived} of 300 arrived");
}

#[test]
fn its_keys_are_checked() {
    assert!(configured(&DESCRIPTION, "udp = 1\nsingle_port = true\nmax_transfers = 500").is_ok());
    refused(
        &DESCRIPTION,
        &[
            ("udp = 1\nsingle_port = 1", (3, 15), "expected true or false"),
            ("udp = 1\nmax_transfers = 0", (3, 17), "from 1 to 500"),
            ("udp = 1\nmax_transfers_per_address = 501", (3, 29), "from 1 to 500"),
        ],
    );
}
