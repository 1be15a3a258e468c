//! Rooms on real sockets: everybody receives everything, a member that does not
//! read is dropped, and a flood is held back at its source.

mod support;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use onepoll::reactor::{Limits, Membership, Overflow, Reactor, Room};
use onepoll::service::{Context, Input, Service};
use support::{Running, connect, eventually, read_exactly};

const ROOM: Room = Room(0);

/// Everybody is a member, and everything said is published.
struct Hall {
    overflow: Overflow,
}

impl Service for Hall {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.join(ROOM, Membership { overflow: self.overflow, lines: false });
        cx.send(b"welcome\n");
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.publish(ROOM, input.unread());
        input.consume_all();
    }
}

fn host(reactor: &mut Reactor, overflow: Overflow, limits: Limits) -> SocketAddr {
    let hall = reactor.host("hall", Hall { overflow }).limits(limits);
    hall.tcp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address
}

fn enter(hall: SocketAddr) -> TcpStream {
    let stream = connect(hall);
    assert_eq!(read_exactly(&stream, 8), b"welcome\n");
    stream
}

#[test]
fn every_member_hears_every_message_once_and_in_order() {
    let running = Running::start(|reactor| host(reactor, Overflow::Disconnect, Limits::default()));
    let members: Vec<TcpStream> = (0..300).map(|_| enter(running.made)).collect();
    let said: Vec<String> = (0..50).map(|number| format!("말 {number:03}\n")).collect();
    for line in &said {
        (&mut &members[0]).write_all(line.as_bytes()).unwrap();
    }
    let expected = said.concat();
    for (number, member) in members.iter().enumerate().skip(1) {
        let heard = String::from_utf8(read_exactly(member, expected.len())).unwrap();
        assert_eq!(heard, expected, "member {number}");
    }
    // The speaker receives none of it: the next thing it receives is somebody
    // else's.
    (&mut &members[1]).write_all(b"done\n").unwrap();
    assert_eq!(read_exactly(&members[0], 5), b"done\n");
}

#[test]
fn a_member_that_does_not_read_is_dropped_and_the_others_lose_nothing() {
    let running = Running::start(|reactor| host(reactor, Overflow::Disconnect, Limits::default()));
    let deaf = enter(running.made);
    let speaker = enter(running.made);
    let listener = enter(running.made);
    let message = vec![b'm'; 32 * 1024];
    let mut rounds = 0;
    while deaf.take_error().unwrap().is_none() {
        (&speaker).write_all(&message).unwrap();
        assert!(read_exactly(&listener, message.len()) == message);
        rounds += 1;
        assert!(rounds < 10_000, "the member that does not read is still there");
    }
    (&speaker).write_all(b"after").unwrap();
    assert_eq!(read_exactly(&listener, 5), b"after");
    assert_eq!(running.finish().too_slow, 1);
}

#[test]
fn a_slow_member_that_wants_the_latest_frame_skips_older_ones() {
    let running = Running::start(|reactor| host(reactor, Overflow::LatestFrame, Limits::default()));
    let speaker = enter(running.made);
    let prompt = enter(running.made);
    let slow = enter(running.made);
    let frame = |number: u32| [number.to_be_bytes().as_slice(), &vec![0; 60_000]].concat();
    let last = 400;
    for number in 0..=last {
        (&speaker).write_all(&frame(number)).unwrap();
        assert!(read_exactly(&prompt, 60_004) == frame(number), "frame {number}");
    }
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let next = read_exactly(&slow, 60_004);
        heard.push(u32::from_be_bytes(next[..4].try_into().unwrap()));
        assert!(next[4..].iter().all(|byte| *byte == 0), "a frame is cut");
    }
    assert!(heard.is_sorted() && heard.len() < last as usize, "{heard:?}");
    assert_eq!(running.finish().too_slow, 0);
}

/// Shows each input as a frame, and newcomers the newest one.
#[derive(Default)]
struct Screen {
    newest: Bytes,
}

impl Service for Screen {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.join(ROOM, Membership { overflow: Overflow::LatestFrame, lines: false });
        cx.send(b"welcome\n");
        cx.send_latest(self.newest.clone());
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        if input.unread().len() < FRAME {
            return;
        }
        self.newest = Bytes::copy_from_slice(&input.unread()[..FRAME]);
        input.consume(FRAME);
        assert!(cx.publish_latest(ROOM, self.newest.clone()));
    }
}

const FRAME: usize = 60_000;

#[test]
fn viewers_get_whole_frames_and_a_newcomer_the_newest_at_once() {
    let limits = Limits { line_length: 1 << 20, ..Limits::default() };
    let running = Running::start(|reactor| {
        let screen = reactor.host("screen", Screen::default()).limits(limits);
        screen.tcp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address
    });
    let publisher = enter(running.made);
    let viewers: Vec<TcpStream> = (0..80).map(|_| enter(running.made)).collect();
    for number in 0..10u8 {
        (&publisher).write_all(&[number; FRAME]).unwrap();
        for viewer in &viewers {
            assert!(read_exactly(viewer, FRAME) == [number; FRAME], "frame {number}");
        }
    }
    let late = enter(running.made);
    assert!(read_exactly(&late, FRAME) == [9; FRAME]);
}

/// A publisher that is faster than its room is left unread, so the flood stays
/// with the sender, and nobody who reads is dropped.
#[test]
fn a_flood_is_held_back_at_its_source_and_nothing_of_it_is_lost() {
    let limits = Limits { output_limit: 64 << 10, ..Limits::default() };
    let running = Running::start(|reactor| host(reactor, Overflow::Disconnect, limits));
    let speaker = enter(running.made);
    let members: Vec<TcpStream> = (0..20).map(|_| enter(running.made)).collect();
    let flood: Vec<u8> = (0..8_000_000u32).map(|number| (number / 7) as u8).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| (&speaker).write_all(&flood).unwrap());
        for member in &members {
            scope.spawn(|| assert!(read_exactly(member, flood.len()) == flood));
        }
    });
}

#[test]
fn a_member_that_resets_in_mid_broadcast_harms_nobody() {
    let running = Running::start(|reactor| host(reactor, Overflow::Disconnect, Limits::default()));
    let speaker = enter(running.made);
    let stays = enter(running.made);
    for round in 0..50 {
        let goes = enter(running.made);
        socket2::SockRef::from(&goes).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        let line = format!("round {round:02}");
        (&speaker).write_all(line.as_bytes()).unwrap();
        drop(goes);
        assert_eq!(read_exactly(&stays, line.len()), line.as_bytes());
    }
    eventually("all who left are gone", || {
        // A message after each reset is received once.
        (&speaker).write_all(b"x").unwrap();
        read_exactly(&stays, 1) == b"x"
    });
    let error = (&stays).write(b"y").err().map(|error| error.kind());
    assert_ne!(error, Some(ErrorKind::BrokenPipe));
}

/// Publishes its own messages and everybody's in turn, all in one callback.
struct Alternating;

impl Service for Alternating {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.join(ROOM, Membership { overflow: Overflow::Disconnect, lines: false });
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        for number in 0..300 {
            cx.publish(ROOM, b"own ");
            cx.publish_to_all(ROOM, format!("{number} ").as_bytes());
        }
    }
}

#[test]
fn a_speaker_whose_turn_is_split_into_many_pieces_gets_all_of_them() {
    let running = Running::start(|reactor| {
        let host = reactor.host("alternating", Alternating).tcp(([127, 0, 0, 1], 0).into());
        host.start().unwrap().1[0].address
    });
    let speaker = connect(running.made);
    (&speaker).write_all(b"go").unwrap();
    let expected: String = (0..300).map(|number| format!("{number} ")).collect();
    assert_eq!(String::from_utf8(read_exactly(&speaker, expected.len())).unwrap(), expected);
}
