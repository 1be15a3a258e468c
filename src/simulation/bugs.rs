//! Scenarios with a name: each is one bug of the loop that was found, in a world in which
//! nothing else goes wrong.

use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::scene::{A_FEW, AT, NAME, Scene, hear};
use crate::service::{CloseReason, Context, Input, Limits, Membership, Message, Overflow, Room, Service};
use crate::system::simulated::Stream;

fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

/// Notes why its connections ended.
#[derive(Default)]
struct Echo {
    ends: Vec<String>,
    /// It keeps a connection whose peer has half-closed.
    is_patient: bool,
}

impl Service for Echo {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.send_input(input.consume_all());
    }

    fn end_of_input(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        if !self.is_patient {
            cx.close();
        }
    }

    fn closed(&mut self, (): (), why: &CloseReason, _: &mut Context<'_>) {
        self.ends.push(why.to_string());
    }
}

#[test]
fn urgent_data_does_not_strand_what_follows_it() {
    let mut scene = Scene::of(Echo::default(), Limits::default());
    let client = scene.call(40_000);
    client.write(&[IoSlice::new(b"abc")]).unwrap();
    assert!(client.send_urgent());
    scene.say(&client, b"def");
    assert_eq!(hear(&client).0, b"abcdef");
    assert!(client.send_urgent());
    scene.turns(A_FEW);
    scene.say(&client, b"ghi");
    assert_eq!(hear(&client).0, b"ghi");
}

#[test]
fn after_urgent_data_a_message_costs_one_read_again() {
    let mut scene = Scene::of(Echo::default(), Limits::default());
    let client = scene.call(40_000);
    assert!(client.send_urgent());
    scene.say(&client, b"abc");
    let before = scene.world.calls().reads;
    scene.say(&client, b"def");
    assert_eq!(scene.world.calls().reads - before, 1);
}

#[test]
fn a_reset_after_a_half_close_is_noticed() {
    for comes_apart in [true, false] {
        let service = Echo { is_patient: true, ..Echo::default() };
        let mut scene = Scene::of(service, Limits { idle_timeout: None, ..Limits::default() });
        let client = scene.call(40_000);
        client.half_close().unwrap();
        if comes_apart {
            scene.turns(A_FEW);
            assert!(scene.service::<Echo>().ends.is_empty());
        }
        client.reset_on_close();
        drop(client);
        scene.turns(A_FEW);
        assert_eq!(scene.service::<Echo>().ends, ["reset by the peer"], "apart: {comes_apart}");
    }
}

/// Rests for ten seconds before it answers.
struct Naps;

impl Service for Naps {
    type Session = bool;

    fn receive(&mut self, has_napped: &mut bool, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if !std::mem::replace(has_napped, true) {
            return cx.pause_until(cx.now() + Duration::from_secs(10));
        }
        input.consume_all();
    }
}

#[test]
fn a_connection_that_we_pause_is_not_idle() {
    let mut scene = Scene::of(Naps, Limits { idle_timeout: seconds(3), ..Limits::default() });
    let client = scene.call(40_000);
    scene.say(&client, b"x");
    scene.pass(Duration::from_secs(11));
    assert!(!hear(&client).1, "the pause is over, and its idle time begins");
    scene.pass(Duration::from_secs(4));
    assert!(hear(&client).1, "now it is idle");
}

#[test]
fn a_peer_at_its_limit_that_reconnects_is_not_turned_away() {
    for stalls in [false, true] {
        let limits = Limits { connections_per_peer: Some(1), connections: 1, ..Limits::default() };
        let mut scene = Scene::of(Echo::default(), limits);
        let first = scene.call(40_000);
        if stalls {
            // The listener is announced before the end of the first.
            let second = scene.world.call((Ipv4Addr::LOCALHOST, 40_001).into(), AT).unwrap();
            drop(first);
            scene.say(&second, b"x");
            assert_eq!(hear(&second), (b"x".to_vec(), false));
        } else {
            drop(first);
            let second = scene.call(40_001);
            scene.say(&second, b"x");
            assert_eq!(hear(&second), (b"x".to_vec(), false));
        }
    }
}

/// Connects as it starts, and sends at once if it is told to.
struct Caller {
    to: SocketAddr,
    speaks: bool,
    ends: Vec<String>,
}

impl Service for Caller {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.connect(self.to);
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        if self.speaks {
            cx.send("여보세요".as_bytes());
        }
    }

    fn closed(&mut self, (): (), why: &CloseReason, _: &mut Context<'_>) {
        self.ends.push(why.to_string());
    }
}

#[test]
fn an_outbound_connection_times_out_as_idle_whether_it_spoke_first_or_not() {
    for (speaks, connect_timeout) in [(false, None), (true, None), (true, seconds(60))] {
        let to = (Ipv4Addr::LOCALHOST, 4_001).into();
        let limits = Limits { idle_timeout: seconds(3), connect_timeout, ..Limits::default() };
        let mut scene = Scene::of(Caller { to, speaks, ends: Vec::new() }, limits);
        let server = scene.world.accept_outside().unwrap();
        scene.pass(Duration::from_secs(4));
        assert!(hear(&server).1, "speaks: {speaks}");
        drop(server);
        scene.turns(A_FEW);
        assert_eq!(scene.service::<Caller>().ends, ["timed out, idle"], "speaks: {speaks}");
    }
}

/// Answers lines.
struct Lines;

impl Service for Lines {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        while let Some(end) = input.unread().iter().position(|byte| *byte == b'\n') {
            input.consume(end + 1);
            cx.send(b"done\n");
        }
    }
}

#[test]
fn a_message_that_came_in_time_is_answered_although_the_loop_was_late() {
    let limits = Limits { message_timeout: seconds(2), idle_timeout: seconds(3), ..Limits::default() };
    let mut scene = Scene::of(Lines, limits);
    let client = scene.call(40_000);
    scene.say(&client, b"ha");
    client.write(&[IoSlice::new(b"lf\n")]).unwrap();
    scene.world.leap(Duration::from_secs(5));
    scene.turns(A_FEW);
    assert_eq!(hear(&client), (b"done\n".to_vec(), false));
}

#[test]
fn a_drain_answers_everything_that_had_arrived() {
    let mut scene = Scene::of(Echo::default(), Limits::default());
    // More than the kernel tells of at once.
    let call = |number: u16| scene.world.call((Ipv4Addr::LOCALHOST, 10_000 + number).into(), AT).unwrap();
    let clients: Vec<Stream> = (0..3_000).map(call).collect();
    while scene.world.backlog() > 0 {
        scene.turns(1);
    }
    scene.turns(A_FEW);
    for client in &clients {
        client.write(&[IoSlice::new("끝".as_bytes())]).unwrap();
    }
    scene.drain(Duration::from_secs(5));
    let unanswered = clients.iter().filter(|client| hear(client).0 != "끝".as_bytes()).count();
    assert_eq!(unanswered, 0);
}

/// Never comes to rest: it posts to itself, and connects again in `closed`.
struct Restless {
    to: SocketAddr,
    posts: bool,
    rounds: u32,
}

impl Service for Restless {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        if self.posts {
            cx.post(NAME, Box::new(()));
        } else {
            cx.connect(self.to);
        }
    }

    fn message(&mut self, _: Message, cx: &mut Context<'_>) {
        self.rounds += 1;
        cx.post(NAME, Box::new(()));
    }

    fn closed(&mut self, (): (), _: &CloseReason, cx: &mut Context<'_>) {
        self.rounds += 1;
        cx.connect(self.to);
    }
}

fn restless(posts: bool) -> Scene {
    let to = (Ipv4Addr::LOCALHOST, 4_001).into();
    Scene::in_time(Restless { to, posts, rounds: 0 }, Limits::default())
}

#[test]
fn a_drain_ends_although_a_service_posts_to_itself() {
    let mut scene = restless(true);
    let client = scene.call(40_000);
    let took = scene.drain(Duration::from_secs(5));
    assert!(took < Duration::from_secs(1), "nothing else was going on, and it took {took:?}");
    assert!(hear(&client).1);
    assert!(scene.service::<Restless>().rounds > 0);
}

#[test]
fn a_drain_ends_although_a_service_reconnects_when_it_is_closed() {
    let mut scene = restless(false);
    let _server = scene.world.accept_outside().unwrap();
    scene.turns(A_FEW);
    let took = scene.drain(Duration::from_secs(5));
    assert!(took < Duration::from_secs(1), "nothing else was going on, and it took {took:?}");
    assert_eq!(scene.service::<Restless>().rounds, 1, "no connection is made any more");
}

#[test]
fn a_drain_ends_although_no_attempt_to_connect_succeeds() {
    let mut scene = restless(false);
    assert!(scene.world.refuse_outside(ErrorKind::ConnectionRefused));
    scene.turns(A_FEW);
    scene.drain(Duration::from_secs(5));
}

/// Its room hears something in every turn.
struct Hall;

impl Service for Hall {
    type Session = ();

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.join(Room(0), Membership { overflow: Overflow::Disconnect, lines: false });
        cx.post(NAME, Box::new(()));
    }

    fn message(&mut self, _: Message, cx: &mut Context<'_>) {
        cx.publish_to_all(Room(0), "또\n".as_bytes());
        cx.post(NAME, Box::new(()));
    }
}

#[test]
fn a_drain_ends_although_a_room_is_never_empty() {
    let limits = Limits { drain_timeout: seconds(2), ..Limits::default() };
    let mut scene = Scene::in_time(Hall, limits);
    let _members: Vec<Stream> = (0..20).map(|number| scene.call(40_000 + number)).collect();
    let told = scene.world.micros();
    scene.reactor.drain();
    while !scene.reactor.has_ended() {
        scene.reactor.turn(Some(Duration::ZERO)).unwrap();
        let took = scene.world.micros() - told;
        assert!(took < 2_100_000, "it still runs after {took} µs");
    }
}
