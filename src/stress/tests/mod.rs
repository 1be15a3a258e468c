//! Whole runs in memory and in virtual time, against servers that lie.

mod chat;

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use onepoll::rehearsal::{Client, Rehearsal};
use onepoll::service::Service;

use super::exchange::{Exchange, Script};
use super::measure::{Counts, Outcome};
use super::payload::Payload;
use super::plan::{Length, Load, Plan};
use super::report::Reporter;
use super::run::Run;
use super::scenario::{Shape, Style};
use super::scenarios::chat::Chat;
use super::talk::Talk;
use crate::client::target::Route;

type Results = Receiver<(Outcome, Reporter)>;

const SIZE: usize = 32;
const MILLI: Duration = Duration::from_millis(1);

fn plan(connections: usize, load: Load, length: Length) -> Plan {
    Plan {
        connections,
        load,
        ramp: Duration::ZERO,
        settle: Duration::ZERO,
        warmup: Duration::ZERO,
        length,
        timeout: Duration::from_secs(1),
        interval: Duration::from_millis(100),
        seed: 7,
        sources: None,
    }
}

fn run(plan: Plan) -> (Run, Results) {
    let (sender, results) = channel();
    let route = Route::to(([127, 0, 0, 1], 3333).into());
    (Run::new(plan, route, false, Reporter::default(), sender), results)
}

fn talk(run: Run, script: Script, style: Style) -> Talk<Exchange> {
    let links = run.plan.connections;
    let is_kept = style == Style::Kept;
    let shape = Shape { style, ..Shape::kept("echo") };
    Talk::new(run, Exchange::new(script, links, false, is_kept), shape)
}

/// A room with one sender.
fn room(run: Run) -> Talk<Chat> {
    let chat = Chat::new(SIZE, run.plan.seed, run.plan.connections, 1, false);
    let shape = Shape { style: Style::Held, ..Shape::kept("chat") };
    Talk::new(run, chat, shape)
}

fn echo(plan: Plan) -> (Rehearsal<Talk<Exchange>>, Results) {
    let script = Script::Echo(Payload::new(SIZE, plan.seed));
    let (run, results) = run(plan);
    (Rehearsal::new(talk(run, script, Style::Kept)), results)
}

/// Makes the connections that the run asks for, and lets load begin.
fn connect<S: Service>(stage: &mut Rehearsal<S>, connections: usize) -> Vec<Client> {
    let clients = (0..connections).map(|_| stage.connect()).collect();
    stage.pass(10 * MILLI);
    clients
}

/// Drives a run to its end.
fn outcome<S: Service>(stage: &mut Rehearsal<S>, results: &Results) -> Outcome {
    for _ in 0..100 {
        if let Ok((outcome, _)) = results.try_recv() {
            return outcome;
        }
        stage.pass(100 * MILLI);
    }
    panic!("the run does not end");
}

#[test]
fn each_lie_of_a_server_is_counted_as_what_it_is() {
    // Which of the four messages in flight come back, and how.
    let right = |messages: &[&[u8]]| messages.concat();
    let lost = |messages: &[&[u8]]| [messages[0], messages[2], messages[3]].concat();
    let duplicated = |messages: &[&[u8]]| [messages.concat(), messages[3].to_vec()].concat();
    let reordered = |messages: &[&[u8]]| [messages[0], messages[2], messages[1], messages[3]].concat();
    let corrupted = |messages: &[&[u8]]| {
        let mut bytes = messages.concat();
        bytes[SIZE + 20] ^= 1;
        bytes
    };
    let strange = |messages: &[&[u8]]| [messages.concat(), vec![b'?'; SIZE]].concat();
    type Lie<'a> = &'a dyn Fn(&[&[u8]]) -> Vec<u8>;
    let lies: [(&str, Lie<'_>, [u64; 4]); 6] = [
        ("right", &right, [0, 0, 0, 0]),
        ("lost", &lost, [1, 0, 0, 0]),
        ("duplicated", &duplicated, [0, 1, 0, 0]),
        ("reordered", &reordered, [0, 0, 1, 0]),
        ("corrupted", &corrupted, [0, 0, 0, 1]),
        ("never sent", &strange, [0, 0, 0, 1]),
    ];
    for (name, lie, faults) in lies {
        let (mut stage, results) = echo(plan(1, Load::Closed { depth: 4 }, Length::Messages(4)));
        let client = connect(&mut stage, 1)[0];
        let sent = stage.received(client);
        let messages: Vec<&[u8]> = sent.chunks(SIZE).collect();
        assert_eq!(messages.len(), 4);
        // In pieces that ignore message boundaries.
        for piece in lie(&messages).chunks(SIZE - 5) {
            stage.send(client, piece);
        }
        let Counts { lost, duplicated, reordered, corrupted, timeouts, .. } =
            outcome(&mut stage, &results).total();
        assert_eq!([lost, duplicated, reordered, corrupted], faults, "{name}");
        assert_eq!(timeouts, 0, "{name}");
    }
}

#[test]
fn a_number_of_messages_is_measured_without_the_warm_up() {
    let mut plan = plan(2, Load::Closed { depth: 1 }, Length::Messages(10));
    plan.warmup = 50 * MILLI;
    let (mut stage, results) = echo(plan);
    let clients = connect(&mut stage, 2);
    for _ in 0..40 {
        for client in &clients {
            let sent = stage.received(*client);
            stage.send(*client, &sent);
        }
        stage.pass(5 * MILLI);
    }
    let outcome = outcome(&mut stage, &results);
    assert_eq!(outcome.window.answered, 10);
    assert_eq!(outcome.latencies.service.len(), 10);
    assert!(outcome.total().answered > 10);
    assert_eq!(outcome.total().faults(), 0);
}

#[test]
fn a_server_that_stalls_cannot_hide_from_an_open_loop() {
    let load = Load::Open { rate: 100.0, depth: 1 };
    let (mut stage, results) = echo(plan(1, load, Length::For(Duration::from_secs(2))));
    let client = connect(&mut stage, 1)[0];
    for milli in 0..2500 {
        // It answers at once, except for half a second in which it does nothing.
        while !(500..1000).contains(&milli) {
            let sent = stage.received(client);
            if sent.is_empty() {
                break;
            }
            stage.send(client, &sent);
        }
        stage.pass(MILLI);
    }
    let outcome = outcome(&mut stage, &results);
    let (service, due) = (&outcome.latencies.service, &outcome.latencies.due);
    assert_eq!(outcome.total().faults(), 0);
    assert!((198..=202).contains(&due.len()), "{} requests", due.len());
    // One request was in flight during the stall; fifty fell due in it.
    assert_eq!(service.len() - service.count_between(0, 20_000_000), 1);
    let delayed = due.len() - due.count_between(0, 20_000_000);
    assert!((47..=50).contains(&delayed), "{delayed} of {} were delayed", due.len());
    assert!(due.value_at_quantile(0.9) > 200_000_000);
    assert!(service.value_at_quantile(0.9) < 2_000_000);
}

/// Answers everything at once for this many milliseconds.
fn answer_for<S: Service>(stage: &mut Rehearsal<S>, client: Client, millis: u32) {
    for _ in 0..millis {
        let sent = stage.received(client);
        stage.send(client, &sent);
        stage.pass(MILLI);
    }
}

#[test]
fn a_server_that_dies_cannot_hide_from_an_open_loop() {
    let load = Load::Open { rate: 100.0, depth: 1 };
    let (mut stage, results) = echo(plan(1, load, Length::For(Duration::from_secs(2))));
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 1000);
    stage.hang_up(client);
    let outcome = outcome(&mut stage, &results);
    let due = &outcome.latencies.due;
    assert!(outcome.total().unsent + outcome.total().lost >= 90, "{} unsent", outcome.total().unsent);
    assert!(due.value_at_quantile(0.75) >= 1_000_000_000, "they are timed with the timeout");
    assert!(due.value_at_quantile(0.25) < 20_000_000);
}

#[test]
fn an_interrupted_open_loop_counts_nothing_that_fell_due_later() {
    let load = Load::Open { rate: 1000.0, depth: 2 };
    let plan = plan(1, load, Length::For(Duration::from_secs(3600)));
    let script = Script::Echo(Payload::new(SIZE, plan.seed));
    let (run, results) = run(plan);
    let limits = super::limits(Duration::from_secs(1));
    let mut stage = Rehearsal::with_limits(talk(run, script, Style::Kept), limits);
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 100);
    stage.pass(100 * MILLI);
    // The server neither answers nor closes.
    stage.stop_reading(client);
    stage.drain();
    stage.pass(Duration::from_secs(1));
    drop(stage);
    let (outcome, _) = results.try_recv().unwrap();
    assert_eq!(outcome.under_way, 2, "a slot each");
    assert_eq!(outcome.under_way, outcome.total().sent - outcome.total().answered);
    let due = outcome.total().sent + outcome.waiting;
    assert!((195..=205).contains(&due), "{due} were due in 200 ms");
    assert_eq!(outcome.latencies.due.len(), due, "each of them is timed");
    assert!(outcome.elapsed <= Duration::from_millis(205), "{:?}", outcome.elapsed);
}

#[test]
fn an_interrupted_open_loop_hides_nothing_that_waited() {
    let load = Load::Open { rate: 100.0, depth: 1 };
    let (mut stage, results) = echo(plan(1, load, Length::For(Duration::from_secs(3600))));
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 500);
    stage.pass(Duration::from_millis(900));
    drop(stage);
    let (outcome, _) = results.try_recv().unwrap();
    assert_eq!(outcome.under_way, 1, "one is in flight");
    assert!(outcome.waiting > 80, "{} waited", outcome.waiting);
    assert_eq!((outcome.total().unsent, outcome.total().faults()), (0, 0), "nobody's fault");
    assert!(outcome.latencies.due.max() >= 890_000_000, "{} ns", outcome.latencies.due.max());
    assert!(outcome.elapsed >= Duration::from_millis(1390), "{:?}", outcome.elapsed);
}

#[test]
fn a_stall_that_began_in_the_warm_up_of_a_closed_loop_is_timed() {
    let mut plan = plan(1, Load::Closed { depth: 1 }, Length::For(Duration::from_secs(1)));
    plan.warmup = 500 * MILLI;
    let (mut stage, results) = echo(plan);
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 300);
    stage.pass(800 * MILLI);
    answer_for(&mut stage, client, 500);
    let service = outcome(&mut stage, &results).latencies.service;
    assert!(service.max() >= 790_000_000, "{} ns", service.max());
}

#[test]
fn a_refused_conversation_is_timed_with_the_timeout() {
    let plan = plan(1, Load::Closed { depth: 1 }, Length::For(100 * MILLI));
    let script = Script::Echo(Payload::new(SIZE, plan.seed));
    let (run, results) = run(plan);
    let mut stage = Rehearsal::new(talk(run, script, Style::Churn { reset: false }));
    for number in 0..30 {
        if number == 5 {
            stage.refuse(ErrorKind::ConnectionRefused);
        } else {
            let client = stage.connect();
            let sent = stage.received(client);
            stage.send(client, &sent);
        }
        stage.pass(10 * MILLI);
    }
    let outcome = outcome(&mut stage, &results);
    assert_eq!((outcome.total().faults(), outcome.total().not_connected), (1, 1));
    assert_eq!(outcome.errors().get("refused (is the server running?)"), Some(&1));
    assert!(outcome.latencies.service.max() >= 1_000_000_000);
}

#[test]
fn requests_that_fell_due_while_the_generator_stood_still_are_sent_and_counted() {
    let load = Load::Open { rate: 100.0, depth: 64 };
    let (mut stage, results) = echo(plan(1, load, Length::For(Duration::from_secs(2))));
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 1000);
    // For two seconds, including the end, the generator does not run.
    stage.oversleep(Duration::from_secs(2));
    answer_for(&mut stage, client, 300);
    let outcome = outcome(&mut stage, &results);
    assert_eq!((outcome.total().sent, outcome.latencies.due.len()), (200, 200));
    assert!(outcome.latencies.due.max() > 1_900_000_000);
    assert!(outcome.latencies.late.max() > 1_900_000_000, "it says that it was late itself");
}

#[test]
fn an_open_loop_is_measured_for_as_long_as_its_requests_take() {
    for (rate, length, messages, millis) in [
        (1000.0, Length::For(300 * MILLI), 300, 300),
        (1000.0, Length::For(Duration::from_secs(2)), 2000, 2000),
        (5.0, Length::Messages(3), 3, 600),
        (0.5, Length::Messages(2), 2, 4000),
    ] {
        let (mut stage, results) = echo(plan(1, Load::Open { rate, depth: 64 }, length));
        let client = connect(&mut stage, 1)[0];
        answer_for(&mut stage, client, millis + 100);
        let outcome = outcome(&mut stage, &results);
        assert_eq!(outcome.window.answered, messages);
        let off = outcome.elapsed.as_secs_f64() * 1000.0 - f64::from(millis);
        assert!((-0.1..0.1).contains(&off), "{rate} per second, {length:?}: {off} ms more");
    }
}

#[test]
fn a_ramp_ends_although_connections_fail() {
    let mut plan = plan(4, Load::Closed { depth: 1 }, Length::For(100 * MILLI));
    plan.ramp = 100 * MILLI;
    let (mut stage, results) = echo(plan);
    stage.connect();
    stage.pass(100 * MILLI);
    // One fails every quarter of a second, so they are never all down at once.
    for _ in 0..20 {
        stage.pass(250 * MILLI);
        stage.refuse(ErrorKind::TimedOut);
    }
    let (outcome, _) = results.try_recv().expect("it has ended");
    assert!(outcome.errors()["connecting took too long"] >= 3);
}

#[test]
fn connections_that_end_after_an_answer_are_followed_at_once() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 1 }, Length::For(Duration::from_secs(3))));
    let mut client = connect(&mut stage, 1)[0];
    let mut answered = 0;
    while results.try_recv().is_err() && answered < 10_000 {
        let sent = stage.received(client);
        if !sent.is_empty() {
            stage.send(client, &sent);
            answered += 1;
        }
        stage.hang_up(client);
        client = stage.connect();
        stage.pass(MILLI);
    }
    assert!((2900..3100).contains(&answered), "{answered} connections in three seconds, one per millisecond");
}

#[test]
fn a_number_of_messages_after_a_warm_up_has_a_schedule_of_its_own() {
    let mut plan = plan(2, Load::Open { rate: 100.0, depth: 1 }, Length::Messages(20));
    plan.warmup = 500 * MILLI;
    let (mut stage, results) = echo(plan);
    let clients = connect(&mut stage, 2);
    for _ in 0..200 {
        let sent = clients.iter().map(|client| stage.received(*client)).collect::<Vec<_>>();
        // Each answer takes five milliseconds.
        stage.pass(5 * MILLI);
        clients.iter().zip(sent).for_each(|(client, sent)| stage.send(*client, &sent));
    }
    let outcome = outcome(&mut stage, &results);
    let due = &outcome.latencies.due;
    assert_eq!((outcome.window.answered, due.len()), (20, 20));
    assert!(due.min() >= 4_900_000 && due.max() <= 10_100_000, "{} to {} ns", due.min(), due.max());
}

#[test]
fn a_stream_that_is_out_of_step_is_given_up() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 16 }, Length::For(100 * MILLI)));
    let client = connect(&mut stage, 1)[0];
    stage.send(client, &[b'?'; 7 * SIZE]);
    assert!(!stage.is_closed(client));
    // More than one message is kept, in case the next one begins in it.
    stage.send(client, &[b'?'; 3 * SIZE]);
    assert!(stage.is_closed(client));
    let total = outcome(&mut stage, &results).total();
    assert_eq!((total.corrupted, total.faults()), (8, 8));
    assert!(total.unanswered > 8, "the seven had made room for others");
}

#[test]
fn a_server_that_hangs_up_on_everybody_is_not_asked_in_a_loop() {
    let (mut stage, _results) =
        echo(plan(1, Load::Closed { depth: 1 }, Length::For(Duration::from_secs(10))));
    let client = connect(&mut stage, 1)[0];
    stage.hang_up(client);
    stage.pass(400 * MILLI);
    let early = stage.connect();
    assert!(stage.received(early).is_empty(), "it was not asked for");
    stage.pass(200 * MILLI);
    let client = stage.connect();
    assert_eq!(stage.received(client).len(), SIZE);
}

#[test]
fn messages_that_were_never_sent_are_missing_and_the_whole_time_counts() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 1 }, Length::Messages(1000)));
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 100);
    let answered = stage.received(client);
    assert!(!answered.is_empty());
    stage.hang_up(client);
    let outcome = outcome(&mut stage, &results);
    assert_eq!(outcome.total().unsent + outcome.total().sent, 1000);
    assert!(outcome.elapsed >= Duration::from_secs(1), "until it was clear that nobody is left");
}

#[test]
fn a_run_does_not_wait_forever_for_its_number_of_messages() {
    // Connections that are given up are replaced, so the run has no end of its
    // own.
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 1 }, Length::Messages(1000)));
    let first = connect(&mut stage, 1)[0];
    answer_for(&mut stage, first, 100);
    for _ in 0..40 {
        stage.pass(100 * MILLI);
        stage.connect();
    }
    let failure = outcome(&mut stage, &results).failure.unwrap();
    assert!(failure.contains("no longer answers"), "{failure}");
}

#[test]
fn a_slow_schedule_is_not_mistaken_for_silence() {
    let load = Load::Open { rate: 0.2, depth: 1 };
    let (mut stage, results) = echo(plan(1, load, Length::Messages(3)));
    let client = connect(&mut stage, 1)[0];
    answer_for(&mut stage, client, 11_000);
    let outcome = outcome(&mut stage, &results);
    assert_eq!((&outcome.failure, outcome.total().answered), (&None, 3));
}

#[test]
fn half_a_wrong_message_is_one_fault() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 1 }, Length::For(100 * MILLI)));
    let client = connect(&mut stage, 1)[0];
    stage.send(client, b"????");
    assert_eq!(outcome(&mut stage, &results).total().faults(), 1);
}

#[test]
fn a_conversation_with_a_byte_too_many_is_one_fault() {
    let plan = plan(1, Load::Closed { depth: 1 }, Length::Messages(1));
    let script = Script::Echo(Payload::new(SIZE, plan.seed));
    let (run, results) = run(plan);
    let mut stage = Rehearsal::new(talk(run, script, Style::Churn { reset: false }));
    // The first connection shows that there is a server; the second is asked for
    // afterwards.
    for _ in 0..3 {
        let client = stage.connect();
        stage.pass(20 * MILLI);
        let sent = stage.received(client);
        if !sent.is_empty() {
            stage.send(client, &[&sent[..], b"!"].concat());
        }
    }
    let total = outcome(&mut stage, &results).total();
    assert!(total.answered > 0);
    assert_eq!(total.corrupted, total.answered, "one for each");
}

#[test]
fn a_lost_message_takes_no_slot_once_later_ones_came() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 2 }, Length::For(500 * MILLI)));
    let client = connect(&mut stage, 1)[0];
    let mut answered = 0;
    for _ in 0..490 {
        let sent = stage.received(client);
        for (number, message) in sent.chunks(SIZE).enumerate() {
            // The first of every two is lost.
            if sent.len() == SIZE || number > 0 {
                stage.send(client, message);
                answered += 1;
            }
        }
        stage.pass(MILLI);
    }
    assert!(answered > 400, "{answered} answered: it went on in spite of what is missing");
    let outcome = outcome(&mut stage, &results);
    assert!(outcome.total().lost > 0);
    assert!(outcome.latencies.service.max() >= 1_000_000_000, "what is lost is timed with the timeout");
}

#[test]
fn what_comes_after_the_last_answer_is_a_fault() {
    for extra in [&b"?"[..], &[b'?'; SIZE]] {
        let (mut stage, results) = echo(plan(1, Load::Closed { depth: 1 }, Length::Messages(1)));
        let client = connect(&mut stage, 1)[0];
        let sent = stage.received(client);
        stage.send(client, &sent);
        stage.pass(50 * MILLI);
        stage.send(client, extra);
        assert_eq!(outcome(&mut stage, &results).total().corrupted, 1, "{} B", extra.len());
    }
}

#[test]
fn an_open_loop_spreads_its_requests_evenly() {
    let load = Load::Open { rate: 300.0, depth: 64 };
    let (mut stage, _results) = echo(plan(3, load, Length::For(Duration::from_secs(2))));
    let clients = connect(&mut stage, 3);
    for _ in 0..5 {
        stage.pass(100 * MILLI);
        for client in &clients {
            let sent = stage.received(*client);
            assert!((9..=11).contains(&(sent.len() / SIZE)), "{} messages", sent.len() / SIZE);
            stage.send(*client, &sent);
        }
    }
}

#[test]
fn a_server_that_is_too_slow_is_not_accused_of_not_answering() {
    let load = Load::Open { rate: 100.0, depth: 1 };
    let (mut stage, results) = echo(plan(1, load, Length::For(Duration::from_secs(1))));
    let client = connect(&mut stage, 1)[0];
    // It answers every 150 ms, so one answer still comes when the last requests
    // have waited too long.
    let outcome = loop {
        if let Ok((outcome, _)) = results.try_recv() {
            break outcome;
        }
        stage.pass(150 * MILLI);
        let sent = stage.received(client);
        stage.send(client, &sent);
    };
    assert_eq!((outcome.total().timeouts, outcome.total().lost), (0, 0));
    assert_eq!(outcome.total().answered, outcome.total().sent);
    assert!(outcome.total().unsent > 50, "{} were due but not sent", outcome.total().unsent);
}

#[test]
fn an_answer_that_never_comes_is_a_timeout_and_the_run_ends() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 2 }, Length::For(100 * MILLI)));
    connect(&mut stage, 1);
    let outcome = outcome(&mut stage, &results);
    assert_eq!(outcome.total().timeouts, 2);
    assert_eq!(outcome.total().lost, 0);
    assert!(outcome.latencies.service.max() >= 1_000_000_000, "the slowest are in the latencies");
}

#[test]
fn the_end_of_a_connection_is_one_fault() {
    let (mut stage, results) = echo(plan(2, Load::Closed { depth: 3 }, Length::For(300 * MILLI)));
    let clients = connect(&mut stage, 2);
    stage.hang_up(clients[0]);
    for _ in 0..30 {
        let sent = stage.received(clients[1]);
        stage.send(clients[1], &sent);
        stage.pass(10 * MILLI);
    }
    let last = stage.received(clients[1]);
    stage.send(clients[1], &last);
    let outcome = outcome(&mut stage, &results);
    let Counts { closed, unanswered, .. } = outcome.total();
    assert_eq!((closed, unanswered, outcome.total().faults()), (1, 3, 1));
    assert_eq!(outcome.errors().get("closed by the server"), Some(&1));
}

#[test]
fn a_run_with_no_connections_left_goes_on_to_its_end_and_says_so() {
    let (mut stage, results) = echo(plan(1, Load::Closed { depth: 1 }, Length::For(Duration::from_secs(5))));
    let client = connect(&mut stage, 1)[0];
    stage.hang_up(client);
    let outcome = outcome(&mut stage, &results);
    assert!(outcome.elapsed >= Duration::from_secs(5), "{:?}", outcome.elapsed);
    assert_eq!((outcome.outages.len(), outcome.outages[0].to_s), (1, None));
    let failure = outcome.failure.unwrap();
    assert!(failure.contains("no connections to ") && failure.contains("closed by the server"), "{failure}");
}

#[test]
fn whatever_ends_the_loop_the_figures_survive() {
    let (mut stage, results) =
        echo(plan(1, Load::Closed { depth: 1 }, Length::For(Duration::from_secs(3600))));
    let client = connect(&mut stage, 1)[0];
    let sent = stage.received(client);
    stage.send(client, &sent);
    drop(stage);
    let (outcome, _) = results.try_recv().unwrap();
    assert!(outcome.interrupted);
    assert_eq!(outcome.total().answered, 1);
    assert_eq!(outcome.total().faults(), 0, "what is in flight is not the server's fault");
}
