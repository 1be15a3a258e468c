//! Rooms in memory, whose server lies.

use super::*;

type Room = Rehearsal<Talk<Chat>>;

/// Lines that the first member sends once load has begun.
fn chat(members: usize, lines: u64) -> (Room, Results, Vec<Client>, Vec<Vec<u8>>) {
    let (run, results) = run(plan(members, Load::Closed { depth: 4 }, Length::Messages(lines)));
    let mut stage = Rehearsal::new(room(run));
    let clients = connect(&mut stage, members);
    // The first line goes alone.
    let first = stage.received(clients[0]);
    assert_eq!(first.len(), SIZE);
    clients[1..].iter().for_each(|client| stage.send(*client, &first));
    let rest = stage.received(clients[0]);
    let said = rest.chunks(SIZE).map(<[u8]>::to_vec).collect();
    (stage, results, clients, said)
}

#[test]
fn each_lie_of_a_chat_is_counted_as_what_it_is() {
    // Which of the lines 1 to 4 the last of three members receives; the second
    // receives all of them.
    type Lie<'a> = &'a dyn Fn(&[Vec<u8>]) -> Vec<u8>;
    let right = |lines: &[Vec<u8>]| lines.concat();
    let greeting = |lines: &[Vec<u8>]| ["* 민수 joined\n".as_bytes(), &lines.concat()].concat();
    let lost = |lines: &[Vec<u8>]| [&lines[0][..], &lines[2], &lines[3]].concat();
    let duplicated = |lines: &[Vec<u8>]| [lines.concat(), lines[3].clone()].concat();
    let reordered = |lines: &[Vec<u8>]| [&lines[0][..], &lines[2], &lines[1], &lines[3]].concat();
    let corrupted = |lines: &[Vec<u8>]| {
        let mut bytes = lines.concat();
        bytes[SIZE + 25] ^= 1;
        bytes
    };
    let lies: [(&str, Lie<'_>, [u64; 4]); 6] = [
        ("right", &right, [0, 0, 0, 0]),
        ("greeting", &greeting, [0, 0, 0, 0]),
        ("lost", &lost, [1, 0, 0, 0]),
        ("duplicated", &duplicated, [0, 1, 0, 0]),
        ("reordered", &reordered, [0, 0, 1, 0]),
        ("corrupted", &corrupted, [0, 0, 0, 1]),
    ];
    for (name, lie, faults) in lies {
        let (mut stage, results, clients, said) = chat(3, 5);
        assert_eq!(said.len(), 4);
        stage.send(clients[1], &said.concat());
        for piece in lie(&said).chunks(7) {
            stage.send(clients[2], piece);
        }
        let total = outcome(&mut stage, &results).total();
        let Counts { lost, duplicated, reordered, corrupted, .. } = total;
        assert_eq!([lost, duplicated, reordered, corrupted], faults, "{name}");
        assert_eq!(total.sent, 5);
        assert_eq!(total.answered, 10 - lost - corrupted, "{name}: deliveries");
    }
}

#[test]
fn what_a_server_says_before_the_load_is_a_greeting() {
    let mut plan = plan(2, Load::Closed { depth: 1 }, Length::For(100 * MILLI));
    plan.settle = 50 * MILLI;
    let (run, results) = run(plan);
    let mut stage = Rehearsal::new(room(run));
    let clients = connect(&mut stage, 2);
    stage.send(clients[1], "환영합니다\n".as_bytes());
    stage.pass(100 * MILLI);
    stage.send(clients[1], "그런 말은 아무도 안 했다\n".as_bytes());
    let line = stage.received(clients[0]);
    stage.send(clients[1], &line);
    let total = outcome(&mut stage, &results).total();
    assert_eq!((total.other_lines, total.corrupted), (1, 1));
}

#[test]
fn a_line_that_comes_back_to_its_sender_is_one_delivery_too_many() {
    let (mut stage, results, clients, said) = chat(2, 5);
    clients.iter().for_each(|client| stage.send(*client, &said.concat()));
    assert_eq!(outcome(&mut stage, &results).total().duplicated, 4);
}

#[test]
fn a_member_that_the_server_drops_is_one_fault() {
    let (mut stage, results, clients, said) = chat(3, 5);
    stage.send(clients[1], &said.concat());
    stage.send(clients[2], &said[0]);
    stage.hang_up(clients[2]);
    let outcome = outcome(&mut stage, &results);
    let Counts { closed, unanswered, .. } = outcome.total();
    assert_eq!((closed, unanswered, outcome.total().faults()), (1, 3, 1));
    assert_eq!(outcome.errors().get("closed by the server"), Some(&1));
}

#[test]
fn a_line_that_one_member_missed_takes_no_slot_once_later_ones_arrived() {
    let (mut stage, results, clients, said) = chat(3, 40);
    stage.send(clients[1], &said.concat());
    stage.send(clients[2], &said[1..].concat());
    let more = stage.received(clients[0]);
    assert_eq!(more.len() / SIZE, 4, "it goes on with four in flight");
    clients[1..].iter().for_each(|client| stage.send(*client, &more));
    drop(stage);
    assert_eq!(results.try_recv().unwrap().0.total().faults(), 0, "it may still come");
}

#[test]
fn a_line_that_arrives_after_it_was_given_up_is_one_fault() {
    let (mut stage, results, clients, said) = chat(3, 5);
    stage.send(clients[1], &said.concat());
    stage.send(clients[2], &said[1..].concat());
    stage.pass(Duration::from_millis(1200));
    stage.send(clients[2], &said[0]);
    let outcome = outcome(&mut stage, &results);
    let Counts { lost, reordered, .. } = outcome.total();
    assert_eq!((lost, reordered), (1, 0));
    assert!(outcome.latencies.service.max() >= 1_000_000_000, "its time is among the latencies");
}
