//! Conversations in the room.

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::interfaces::Network;
use crate::reactor::Reactor;
use crate::rehearsal::{Client, Rehearsal, splits};
use crate::service::{Limits, Rate};
use crate::services::refused;
use crate::system::simulated::{Nature, World};

const SECOND: Duration = Duration::from_secs(1);

fn stage() -> Rehearsal<Chat> {
    Rehearsal::new(Chat::new(false))
}

fn stage_with(limits: Limits) -> Rehearsal<Chat> {
    Rehearsal::with_limits(Chat::new(false), limits)
}

fn text(stage: &mut Rehearsal<Chat>, client: Client) -> String {
    String::from_utf8(stage.received(client)).unwrap()
}

/// A UDP peer on loopback.
fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// What UDP peers were sent, as `port text`.
fn datagrams(stage: &mut Rehearsal<Chat>) -> Vec<String> {
    let sent = stage.datagrams().into_iter();
    sent.map(|(to, bytes)| format!("{} {}", to.port(), String::from_utf8(bytes).unwrap())).collect()
}

#[test]
fn a_message_goes_to_every_other_member_byte_for_byte() {
    let mut stage = stage();
    let (a, b, c) = (stage.connect(), stage.connect(), stage.connect());
    for message in ["[민수] 안녕", " ", "/unknown word", "[a] bye", "[a] /who", "ends\r\n"] {
        stage.send(a, message.as_bytes());
        assert_eq!(text(&mut stage, b), message);
        assert_eq!(text(&mut stage, c), message);
    }
    assert_eq!(text(&mut stage, a), "");
    stage.send(b, b"\xFF\x00");
    assert_eq!(stage.received(a), b"\xFF\x00");
}

#[test]
fn echo_to_sender_sends_it_to_the_sender_too() {
    let mut stage = Rehearsal::new(Chat::new(true));
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, "안녕".as_bytes());
    assert_eq!(text(&mut stage, a), "안녕");
    assert_eq!(text(&mut stage, b), "안녕");
}

#[test]
fn a_member_that_sends_lines_hears_lines() {
    let mut stage = stage();
    let (person, program) = (stage.connect(), stage.connect());
    stage.send(program, b"before");
    assert_eq!(text(&mut stage, person), "before", "nobody knows yet that it reads lines");
    stage.send(person, b"hi\r\n\r\n");
    assert_eq!(text(&mut stage, program), "hi\r\n\r\n");
    stage.send(program, "안녕".as_bytes());
    stage.send(program, b"ended\r\n");
    assert_eq!(text(&mut stage, person), "안녕\nended\r\n");
}

#[test]
fn bye_leaves_and_nobody_hears_it() {
    for bye in ["bye", "bye\n", "bye\r\n", "/quit", "/quit\n"] {
        let mut stage = stage();
        let (a, b) = (stage.connect(), stage.connect());
        stage.send(a, bye.as_bytes());
        assert!(stage.is_closed(a), "{bye:?}");
        stage.send(b, b"who is there?");
        assert_eq!((text(&mut stage, a), text(&mut stage, b)), (String::new(), String::new()));
    }
}

#[test]
fn what_follows_bye_is_not_relayed() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, b"one\nbye\ntwo\n");
    assert_eq!(text(&mut stage, b), "one\n");
    assert!(stage.is_closed(a));
}

#[test]
fn a_nick_stands_in_front_and_its_bearer_is_announced() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, "/nick 민수".as_bytes());
    assert_eq!(text(&mut stage, a), "* you are 민수\n");
    assert_eq!(text(&mut stage, b), "* 민수 joined\n");
    stage.send(a, "안녕".as_bytes());
    assert_eq!(text(&mut stage, b), "[민수] 안녕");
    stage.send(a, "/nick 영희".as_bytes());
    assert_eq!(text(&mut stage, b), "* 민수 is now 영희\n");
    stage.send(a, b"bye");
    assert_eq!(text(&mut stage, b), "* 영희 left\n");
    assert_eq!(text(&mut stage, a), "* you are 영희\n");
}

#[test]
fn a_nick_is_taken_once_and_free_again_when_its_bearer_leaves_or_changes_it() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, "/nick 민수".as_bytes());
    stage.send(a, "/nick 민수".as_bytes());
    assert_eq!(text(&mut stage, a), "* you are 민수\n* you are 민수\n");
    text(&mut stage, b);
    stage.send(b, "/nick 민수".as_bytes());
    assert_eq!(text(&mut stage, b), "* 민수 is taken, choose another nick\n");
    stage.datagram(at(1), "/nick 민수".as_bytes());
    assert_eq!(datagrams(&mut stage), ["1 * 민수 is taken, choose another nick\n"]);
    stage.send(a, "/nick 영희".as_bytes());
    stage.send(b, "/nick 민수".as_bytes());
    stage.hang_up(a);
    stage.datagram(at(1), "/nick 영희".as_bytes());
    assert_eq!(text(&mut stage, b), "* 민수 is now 영희\n* you are 민수\n* 영희 left\n* 영희 joined\n");
}

#[test]
fn a_nick_that_breaks_the_rules_is_refused_to_its_sender_alone() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    for nick in ["", " a", "a ", "a\tb", &"가".repeat(33)] {
        stage.send(a, format!("/nick {nick}").as_bytes());
        let answer = text(&mut stage, a);
        assert!(answer.starts_with("* ") && answer.ends_with('\n'), "{answer:?}");
        assert!(!answer.contains("you are"), "{answer:?}");
    }
    assert_eq!(text(&mut stage, b), "");
}

#[test]
fn members_without_a_nick_come_and_go_in_silence() {
    let mut stage = stage();
    let a = stage.connect();
    let b = stage.connect();
    stage.datagram(at(1), b"");
    stage.datagram(at(1), b"quit");
    stage.hang_up(b);
    assert_eq!((text(&mut stage, a), datagrams(&mut stage)), (String::new(), vec![]));
}

#[test]
fn who_lists_those_with_a_nick_and_counts_the_others() {
    let mut stage = stage();
    let a = stage.connect();
    stage.send(a, b"/who\n");
    assert_eq!(text(&mut stage, a), "* 1 member is here, 1 without a nick\n");
    let b = stage.connect();
    stage.send(b, "/nick 민수".as_bytes());
    stage.datagram(at(1), "/nick 영희".as_bytes());
    stage.datagram(at(2), b"");
    text(&mut stage, a);
    stage.send(a, b"/who\n");
    assert_eq!(text(&mut stage, a), "* 4 members are here, 2 without a nick: 민수, 영희\n");
    stage.datagram(at(2), b"quit");
    stage.hang_up(b);
    text(&mut stage, a);
    stage.send(a, b"/who\n");
    assert_eq!(text(&mut stage, a), "* 2 members are here, 1 without a nick: 영희\n");
}

#[test]
fn a_long_list_of_members_is_cut_and_says_by_how_many() {
    let mut stage = stage();
    let mut last = stage.connect();
    for number in 0..1_000 {
        last = stage.connect();
        stage.send(last, format!("/nick member {number:03}").as_bytes());
    }
    stage.datagrams();
    text(&mut stage, last);
    stage.send(last, b"/who");
    let answer = text(&mut stage, last);
    assert!(answer.len() < 5_000, "{}", answer.len());
    let listed = answer.matches("member ").count();
    assert!(answer.ends_with(&format!(" and {} more\n", 1_000 - listed)), "{answer}");

    stage.datagram(at(1), b"");
    stage.datagrams();
    stage.datagram(at(1), b"/who");
    let sent = stage.datagrams();
    assert!(sent.len() == 1 && sent[0].1.len() < 512, "a forged source must not be sent much");
}

#[test]
fn help_is_for_the_one_who_asks() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, b"/help");
    let help = text(&mut stage, a);
    assert!(["/nick", "/who", "/help", "/quit", "bye"].iter().all(|word| help.contains(word)), "{help}");
    assert!(help.ends_with('\n'));
    assert_eq!(text(&mut stage, b), "");
}

#[test]
fn a_member_that_does_not_read_is_announced_as_dropped() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, "/nick 민수\n".as_bytes());
    stage.stop_reading(a);
    for _ in 0..48 {
        stage.send(b, &[b'.'; 64 * 1024]);
    }
    assert_eq!(text(&mut stage, b), "* 민수 joined\n", "for a while the others wait for it");
    stage.pass(5 * SECOND);
    assert_eq!(text(&mut stage, b), "* 민수 was dropped: it does not read\n");
}

#[test]
fn what_was_not_ended_is_relayed_at_a_half_close() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, b"one\n");
    stage.send(a, b"two");
    stage.half_close(a);
    assert_eq!(text(&mut stage, b), "one\ntwo");
    assert!(stage.is_closed(a));
}

#[test]
fn an_unfinished_line_is_relayed_after_a_second() {
    let mut stage = stage();
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, b"\n");
    stage.send(a, b"by");
    stage.pass(SECOND);
    assert_eq!(text(&mut stage, b), "\nby");
    stage.send(a, b"bye");
    stage.pass(SECOND);
    assert!(stage.is_closed(a));
}

#[test]
fn a_line_that_is_too_long_ends_the_membership() {
    let mut stage = stage_with(Limits { line_length: 64, ..Limits::default() });
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, b"/nick a\n");
    stage.send(a, &[b'x'; 65]);
    assert_eq!(text(&mut stage, a), "* you are a\n* the line is too long\n");
    assert_eq!(text(&mut stage, b), "* a joined\n* a left\n");
    assert!(stage.is_closed(a));
}

#[test]
fn the_first_datagram_joins_and_one_with_text_is_relayed() {
    let mut stage = stage();
    let a = stage.connect();
    stage.datagram(at(1), b"");
    stage.datagram(at(2), "안녕".as_bytes());
    assert_eq!(text(&mut stage, a), "안녕");
    assert_eq!(datagrams(&mut stage), ["1 안녕"]);
    stage.datagram(at(1), b"");
    assert_eq!((text(&mut stage, a), datagrams(&mut stage)), (String::new(), vec![]));
    stage.send(a, b"from TCP");
    assert_eq!(datagrams(&mut stage), ["1 from TCP", "2 from TCP"]);
}

#[test]
fn quit_and_bye_leave_over_udp() {
    for bye in ["quit", "bye", "/quit"] {
        let mut stage = stage();
        let a = stage.connect();
        stage.datagram(at(1), b"");
        stage.datagram(at(2), bye.as_bytes());
        stage.datagram(at(1), bye.as_bytes());
        stage.send(a, b"anybody?");
        assert_eq!((text(&mut stage, a), datagrams(&mut stage)), (String::new(), vec![]), "{bye}");
    }
}

#[test]
fn commands_work_over_udp_one_a_datagram() {
    let mut stage = stage();
    let a = stage.connect();
    stage.datagram(at(1), "/nick 민수".as_bytes());
    stage.datagram(at(1), "안녕".as_bytes());
    stage.datagram(at(1), b"/who");
    stage.datagram(at(1), b"");
    stage.datagram(at(1), b"quit");
    assert_eq!(text(&mut stage, a), "* 민수 joined\n[민수] 안녕* 민수 left\n");
    assert_eq!(
        datagrams(&mut stage),
        ["1 * you are 민수\n", "1 * 2 members are here, 1 without a nick: 민수\n"]
    );
}

#[test]
fn a_udp_member_from_whom_nothing_comes_expires() {
    let mut stage = stage_with(Limits { idle_timeout: Some(60 * SECOND), ..Limits::default() });
    let a = stage.connect();
    stage.datagram(at(1), "/nick 민수".as_bytes());
    stage.datagram(at(2), b"");
    stage.pass(40 * SECOND);
    stage.datagram(at(2), b"");
    stage.datagrams();
    stage.pass(20 * SECOND);
    assert_eq!(text(&mut stage, a), "* 민수 joined\n* 민수 left\n");
    assert_eq!(datagrams(&mut stage), ["1 * nothing was sent for too long\n", "2 * 민수 left\n"]);
    stage.pass(40 * SECOND);
    assert_eq!(datagrams(&mut stage), ["2 * nothing was sent for too long\n"]);
    stage.send(a, b"anybody?");
    assert_eq!(datagrams(&mut stage), [""; 0]);
    stage.datagram(at(1), b"");
    stage.pass(61 * SECOND);
    assert_eq!(datagrams(&mut stage).len(), 1, "the tick is set again for a later member");
}

/// A UDP peer that is not on loopback.
fn far(last: u8, port: u16) -> SocketAddr {
    ([192, 0, 2, last], port).into()
}

fn open_to_all() -> Rehearsal<Chat> {
    Rehearsal::new(Chat::new(false).with_members(Members::Any))
}

#[test]
fn forged_joins_do_not_keep_an_honest_one_out() {
    let mut stage = stage();
    let forged = |number: usize| SocketAddr::from(([127, 1, (number >> 8) as u8, number as u8], 1));
    stage.datagram(at(1), b"first");
    stage.datagram(at(1), b"and again");
    (0..peers::MOST - 1).for_each(|number| stage.datagram(forged(number), b""));
    assert_eq!(stage.datagrams(), []);
    stage.datagram(at(2), b"");
    let words = b"* too many connections are open, try again later\n".to_vec();
    assert_eq!(stage.datagrams(), [(forged(0), words)], "the oldest that spoke once goes");
    stage.datagram(at(2), "안녕".as_bytes());
    let heard: Vec<SocketAddr> = stage.datagrams().into_iter().map(|(to, _)| to).collect();
    assert_eq!(heard.len(), peers::MOST - 1);
    assert!(heard.contains(&at(1)) && !heard.contains(&forged(0)));
}

#[test]
fn an_address_has_a_few_members_and_a_new_one_takes_the_place_of_the_quietest() {
    let mut stage = open_to_all();
    let a = stage.connect();
    stage.datagram(far(1, 1), b"");
    stage.datagram(far(1, 1), b"");
    (2..=5).for_each(|port| stage.datagram(far(1, port), b""));
    stage.datagram(far(2, 1), b"");
    stage.datagrams();
    stage.send(a, b"x");
    assert_eq!(datagrams(&mut stage), ["1 x", "3 x", "4 x", "5 x", "1 x"]);
}

#[test]
fn who_is_not_on_a_network_of_this_machine_is_told_to_use_tcp() {
    let elsewhere = || Ok(vec![Network::new([10, 9, 0, 1].into(), 24)]);
    for (admission, words) in [
        (Admission::with_networks(elsewhere), "only peers on this network can join over UDP, use TCP"),
        (Admission::new(Members::None), "nobody can join over UDP, use TCP"),
    ] {
        let mut stage = Rehearsal::new(Chat { admission, ..Chat::new(false) });
        let a = stage.connect();
        stage.datagram(far(1, 1), "안녕".as_bytes());
        assert_eq!(datagrams(&mut stage), [format!("1 * {words}\n")]);
        stage.send(a, b"x");
        assert_eq!((text(&mut stage, a), datagrams(&mut stage)), (String::new(), vec![]), "{words}");
    }
}

/// One forged datagram made its victim hear the room for half an hour.
#[test]
fn a_forged_member_is_sent_no_more_than_its_account_allows() {
    let mut stage = open_to_all();
    let a = stage.connect();
    stage.datagram(far(1, 1), b"");
    let mut sent = 0;
    for second in 0..20 {
        for _ in 0..20 {
            stage.send(a, &[b'x'; 500]);
        }
        sent += stage.datagrams().iter().map(|(_, bytes)| bytes.len() + 28).sum::<usize>();
        let most = 3 * 28 + 4096 + 1024 * second;
        assert!((most - 1000..=most).contains(&sent), "{sent} of {most} bytes");
        stage.pass(SECOND);
    }
}

#[test]
fn a_quiet_listener_hears_an_ordinary_conversation() {
    let mut stage = open_to_all();
    let a = stage.connect();
    stage.datagram(far(1, 1), b"");
    for _ in 0..600 {
        stage.send(a, "[민수] 다음 시간에는 소켓 옵션을 같이 보겠습니다\n".as_bytes());
        assert_eq!(stage.datagrams().len(), 1);
        stage.pass(SECOND / 10);
    }
}

/// 10,000 that expired together held up everybody else for 100 ms.
#[test]
fn members_that_expire_together_go_some_per_turn() {
    let world = World::new(Nature::calm());
    let mut reactor = Reactor::simulated(&world).unwrap();
    let limits = Limits { idle_timeout: Some(60 * SECOND), ..Limits::default() };
    reactor.host("chat", Chat::new(false)).limits(limits).udp(at(1000)).start().unwrap();
    for number in 0..300 {
        world.send_datagram(at(2000 + number), at(1000), b"");
        reactor.turn(Some(Duration::ZERO)).unwrap();
    }
    world.leap(60 * SECOND);
    let mut expired = Vec::new();
    for _ in 0..20 {
        reactor.turn(Some(Duration::ZERO)).unwrap();
        expired.push(world.take_outside().len());
    }
    assert_eq!(expired.iter().sum::<usize>(), 300, "{expired:?}");
    assert!(expired.iter().all(|in_turn| *in_turn <= 32), "{expired:?}");
}

fn ten_a_second() -> Limits {
    let messages_per_second = Rate { per_second: 10, burst: 20, loopback: true };
    Limits { messages_per_second, ..Limits::default() }
}

#[test]
fn a_flood_of_lines_is_slowed_to_the_rate_and_nothing_is_lost() {
    let mut stage = stage_with(ten_a_second());
    let (a, b) = (stage.connect(), stage.connect());
    let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
    stage.send(a, lines.as_bytes());
    let mut heard = text(&mut stage, b);
    assert_eq!(heard.lines().count(), 20);
    stage.pass(SECOND);
    heard += &text(&mut stage, b);
    assert!((29..=31).contains(&heard.lines().count()), "{}", heard.lines().count());
    stage.pass(8 * SECOND);
    assert_eq!(heard + &text(&mut stage, b), lines);
    assert!(!stage.is_closed(a));
}

#[test]
fn a_flood_that_is_half_closed_is_relayed_to_its_end() {
    let mut stage = stage_with(ten_a_second());
    let (a, b) = (stage.connect(), stage.connect());
    let lines: String = (0..60).map(|number| format!("{number}\n")).collect();
    stage.send(a, lines.as_bytes());
    stage.send(a, b"end");
    stage.half_close(a);
    stage.pass(6 * SECOND);
    assert_eq!(text(&mut stage, b), lines + "end");
    assert!(stage.is_closed(a));
}

#[test]
fn a_flood_that_lasts_ten_seconds_is_dropped_and_told_why() {
    let mut stage = stage_with(ten_a_second());
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, "/nick 민수\n".as_bytes());
    let mut seconds = 0;
    while !stage.is_closed(a) && seconds < 30 {
        stage.send(a, &b"x\n".repeat(50));
        stage.pass(SECOND);
        seconds += 1;
    }
    assert!((10..=12).contains(&seconds), "{seconds}");
    let told = text(&mut stage, a);
    assert!(told.ends_with("* you are dropped: you send more than 10 messages per second\n"), "{told}");
    let heard = text(&mut stage, b);
    assert!(heard.ends_with("* 민수 was dropped: it sends too much\n"), "{heard}");
}

#[test]
fn lines_that_wait_for_the_rate_stay_lines() {
    let slow = Rate { per_second: 1, burst: 1, loopback: true };
    let mut stage = stage_with(Limits { messages_per_second: slow, ..Limits::default() });
    let (a, b) = (stage.connect(), stage.connect());
    stage.send(a, b"\n");
    stage.send(a, b"by");
    // The token comes a hair after the second for which "by" is held.
    stage.pass(Duration::from_millis(700));
    stage.send(a, b"e\nnever\n");
    stage.pass(3 * SECOND);
    assert_eq!(text(&mut stage, b), "\n");
    assert!(stage.is_closed(a));
}

#[test]
fn datagrams_over_the_rate_are_dropped_and_after_ten_seconds_their_sender() {
    let mut stage = stage_with(ten_a_second());
    let a = stage.connect();
    for _ in 0..30 {
        stage.datagram(at(1), b"x");
    }
    assert_eq!(text(&mut stage, a), "x".repeat(20));
    let mut told = Vec::new();
    for _ in 0..150 {
        stage.pass(SECOND / 10);
        stage.datagram(at(1), b"x");
        stage.datagram(at(1), b"x");
        told.extend(datagrams(&mut stage));
    }
    assert_eq!(told[0], "1 * you are dropped: you send more than 10 messages per second\n");
}

#[test]
fn the_default_rate_spares_loopback_and_no_one_else() {
    let mut stage = stage();
    let near = stage.connect();
    let far = stage.connect_from(([192, 0, 2, 1], 40_000).into());
    let hears = stage.connect();
    stage.send(near, &b"x\n".repeat(500));
    assert_eq!(stage.received(hears).len(), 1_000);
    stage.send(far, &b"x\n".repeat(500));
    assert_eq!(stage.received(hears).len(), 200);
}

#[test]
fn who_can_join_is_local_any_or_none() {
    let lines = "udp = 1\nmembers = \"all\"";
    refused(&DESCRIPTION, &[(lines, (3, 11), "\"all\" is not \"local\", \"any\" or \"none\"")]);
}

#[test]
fn a_session_is_small() {
    assert!(size_of::<ChatSession>() <= 64, "{}", size_of::<ChatSession>());
}

proptest! {
    #[test]
    fn the_others_hear_the_same_at_any_split(
        text in "[ac-z가😀 \n]{0,60}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        first in prop::sample::select(vec!["x", "x\n"]),
    ) {
        let mut stage = stage();
        let (a, b) = (stage.connect(), stage.connect());
        stage.send(a, first.as_bytes());
        for piece in splits(text.as_bytes(), &cuts) {
            stage.send(a, piece);
        }
        stage.half_close(a);
        prop_assert_eq!(stage.received(b), [first.as_bytes(), text.as_bytes()].concat());
    }

    #[test]
    fn commands_are_found_at_any_split_of_lines(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let script = "/nick 민수\n/who\n안녕\n/nick 영희\n여기\nbye\n뒤\n";
        let mut stage = stage();
        let (a, b) = (stage.connect(), stage.connect());
        stage.send(a, b"\n");
        for piece in splits(script.as_bytes(), &cuts) {
            stage.send(a, piece);
        }
        prop_assert_eq!(
            text(&mut stage, a),
            "* you are 민수\n* 2 members are here, 1 without a nick: 민수\n* you are 영희\n"
        );
        let heard = text(&mut stage, b);
        prop_assert_eq!(heard, "\n* 민수 joined\n[민수] 안녕\n* 민수 is now 영희\n[영희] 여기\n* 영희 left\n");
    }
}
