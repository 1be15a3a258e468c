use std::collections::BTreeMap;

use super::*;

const CHAT: ServiceId = ServiceId(0);
const OTHER: ServiceId = ServiceId(1);
const ROOM: Room = Room(0);
const PLAIN: Membership = Membership { overflow: Overflow::Disconnect, lines: false };
const LINES: Membership = Membership { overflow: Overflow::Disconnect, lines: true };

/// Collects deliveries, with a budget for each kind.
#[derive(Default)]
struct Inboxes {
    connections: BTreeMap<u32, Vec<u8>>,
    datagrams: BTreeMap<u16, Vec<Vec<u8>>>,
    budget: Option<usize>,
    datagram_budget: Option<usize>,
    /// Members that do not keep up.
    slow: Vec<Handle>,
    dropped: u64,
}

fn spend(budget: &mut Option<usize>) -> bool {
    match budget {
        Some(left) => {
            *left -= 1;
            *left > 0
        }
        None => true,
    }
}

impl Inboxes {
    fn of(&self, member: u32) -> &str {
        self.connections.get(&member).map_or("", |bytes| std::str::from_utf8(bytes).unwrap())
    }
}

impl Deliver for Inboxes {
    fn to_connection(&mut self, handle: Handle, delivery: Delivery<'_>) -> Delivered {
        let inbox = self.connections.entry(handle.generation.number()).or_default();
        for range in delivery.ranges {
            inbox.extend_from_slice(&delivery.bytes[range.clone()]);
        }
        Delivered { is_behind: self.is_behind(handle), goes_on: spend(&mut self.budget) }
    }

    fn is_behind(&mut self, handle: Handle) -> bool {
        self.slow.contains(&handle)
    }

    fn to_peer(&mut self, peer: &DatagramPeer, message: &[u8]) -> bool {
        self.datagrams.entry(peer.address.port()).or_default().push(message.to_vec());
        spend(&mut self.datagram_budget)
    }

    fn dropped(&mut self, _: ServiceId, datagrams: u64) {
        self.dropped += datagrams;
    }
}

fn id(number: u32) -> Generation {
    Generation::from_number(number).unwrap()
}

fn handle(number: u32) -> Handle {
    Handle { generation: id(number), key: number }
}

fn peer(port: u16) -> DatagramPeer {
    DatagramPeer { socket: SocketId(handle(u32::MAX)), address: ([127, 0, 0, 1], port).into(), local: None }
}

fn fan_out(rooms: &mut Rooms) -> Inboxes {
    let mut inboxes = Inboxes::default();
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    inboxes
}

#[test]
fn everybody_hears_all_but_its_own_messages_in_order() {
    let mut rooms = Rooms::default();
    for member in 1..=4 {
        rooms.join(CHAT, ROOM, handle(member), PLAIN);
    }
    for (speaker, message) in [(2, "가"), (3, "b"), (2, "c"), (0, "!"), (1, "d")] {
        rooms.publish(CHAT, ROOM, Generation::from_number(speaker), message.as_bytes());
    }
    let inboxes = fan_out(&mut rooms);
    assert_eq!(inboxes.of(1), "가bc!");
    assert_eq!(inboxes.of(2), "b!d");
    assert_eq!(inboxes.of(3), "가c!d");
    assert_eq!(inboxes.of(4), "가bc!d");
    assert!(!rooms.has_work());
}

#[test]
fn a_member_hears_only_what_is_published_after_it_joined() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.publish(CHAT, ROOM, Some(id(9)), b"before ");
    rooms.join(CHAT, ROOM, handle(2), PLAIN);
    rooms.publish(CHAT, ROOM, Some(id(9)), b"after ");
    let inboxes = fan_out(&mut rooms);
    assert_eq!(inboxes.of(1), "before after ");
    assert_eq!(inboxes.of(2), "after ");
}

fn show(rooms: &mut Rooms, frame: &'static str) {
    assert!(rooms.publish_latest(CHAT, ROOM, Bytes::from_static(frame.as_bytes())));
}

#[test]
fn a_frame_takes_the_place_of_one_that_has_not_gone_out_and_is_shared() {
    let mut rooms = Rooms::default();
    (1..=3).for_each(|member| rooms.join(CHAT, ROOM, handle(member), PLAIN));
    show(&mut rooms, "one ");
    show(&mut rooms, "two ");
    let mut inboxes = Inboxes { budget: Some(1), ..Inboxes::default() };
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    show(&mut rooms, "three ");
    show(&mut rooms, "four ");
    while rooms.has_work() {
        inboxes.budget = Some(1);
        rooms.fan_out(&mut inboxes, &mut Vec::new());
    }
    for member in 1..=3 {
        assert_eq!(inboxes.of(member), "two four ", "the frame that had begun is finished first");
    }
}

#[test]
fn a_member_that_joins_between_two_frames_gets_the_later_one_only() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    show(&mut rooms, "before ");
    rooms.join(CHAT, ROOM, handle(2), PLAIN);
    let inboxes = fan_out(&mut rooms);
    assert_eq!((inboxes.of(1), inboxes.of(2)), ("before ", ""));
    show(&mut rooms, "unseen ");
    rooms.join(CHAT, ROOM, handle(3), PLAIN);
    show(&mut rooms, "after ");
    let inboxes = fan_out(&mut rooms);
    assert_eq!([1, 2, 3].map(|member| inboxes.of(member)), ["after "; 3]);
}

#[test]
fn frames_and_messages_of_one_room_do_not_mix() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.publish(CHAT, ROOM, Some(id(9)), "말 ".as_bytes());
    show(&mut rooms, "frame ");
    rooms.join(CHAT, ROOM, handle(2), LINES);
    rooms.publish(CHAT, ROOM, Some(id(1)), b"later");
    let mut inboxes = Inboxes::default();
    while rooms.has_work() {
        rooms.fan_out(&mut inboxes, &mut Vec::new());
    }
    assert_eq!(inboxes.of(1), "frame 말 ");
    assert_eq!(inboxes.of(2), "later\n", "what came before it joined is not for it");
}

#[test]
fn who_leaves_loses_what_is_still_gathered() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.publish(CHAT, ROOM, Some(id(9)), b"unheard");
    rooms.leave(CHAT, ROOM, handle(1));
    assert_eq!(fan_out(&mut rooms).of(1), "");
}

#[test]
fn a_member_that_reads_lines_gets_a_line_end_where_there_is_none() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.join(CHAT, ROOM, handle(2), LINES);
    rooms.join(CHAT, ROOM, handle(3), LINES);
    for (speaker, message) in [(1, "가나"), (3, "b\n"), (3, "c"), (1, "d\r\n"), (2, "e")] {
        rooms.publish(CHAT, ROOM, Some(id(speaker)), message.as_bytes());
    }
    let inboxes = fan_out(&mut rooms);
    assert_eq!(inboxes.of(1), "b\nce");
    assert_eq!(inboxes.of(2), "가나\nb\nc\nd\r\n");
    assert_eq!(inboxes.of(3), "가나\nd\r\ne\n");
}

#[test]
fn changing_how_it_hears_loses_a_member_nothing() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.publish(CHAT, ROOM, Some(id(9)), b"hello");
    rooms.join(CHAT, ROOM, handle(1), LINES);
    assert_eq!(fan_out(&mut rooms).of(1), "hello\n");
}

#[test]
fn a_datagram_peer_gets_one_datagram_a_message() {
    let mut rooms = Rooms::default();
    rooms.join_peer(CHAT, ROOM, id(5), peer(1001), PLAIN);
    rooms.join_peer(CHAT, ROOM, id(6), peer(1002), PLAIN);
    let speaker = rooms.peer_id(CHAT, ROOM, &peer(1001)).unwrap();
    rooms.publish(CHAT, ROOM, Some(speaker), b"own");
    rooms.publish(CHAT, ROOM, None, b"x");
    rooms.publish(CHAT, ROOM, None, b"y");
    let inboxes = fan_out(&mut rooms);
    assert_eq!(inboxes.datagrams[&1001], [b"x".to_vec(), b"y".to_vec()]);
    assert_eq!(inboxes.datagrams[&1002], [b"own".to_vec(), b"x".to_vec(), b"y".to_vec()]);
}

#[test]
fn a_fan_out_that_runs_out_of_budget_goes_on_at_the_next_member() {
    let mut rooms = Rooms::default();
    for member in 1..=10 {
        rooms.join(CHAT, ROOM, handle(member), PLAIN);
    }
    rooms.publish(CHAT, ROOM, None, b"one ");
    let mut inboxes = Inboxes { budget: Some(4), ..Inboxes::default() };
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    assert_eq!(inboxes.connections.len(), 4);
    rooms.leave(CHAT, ROOM, handle(5));
    rooms.join(CHAT, ROOM, handle(11), PLAIN);
    rooms.publish(CHAT, ROOM, None, b"two ");
    inboxes.budget = None;
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    assert_eq!(inboxes.of(10), "one ", "the next turn is not begun in the same call");
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    for member in [1, 2, 3, 4, 6, 7, 8, 9, 10] {
        assert_eq!(inboxes.of(member), "one two ", "member {member}");
    }
    assert_eq!(inboxes.of(5), "");
    assert_eq!(inboxes.of(11), "two ");
}

#[test]
fn a_full_room_keeps_its_publishers_waiting_until_it_has_sent() {
    let mut rooms = Rooms::default();
    for member in 1..=3 {
        rooms.join(CHAT, ROOM, handle(member), PLAIN);
    }
    rooms.publish(CHAT, ROOM, Some(id(1)), &vec![b'x'; ROOM_CAPACITY]);
    assert!(rooms.is_full(CHAT, ROOM));
    rooms.wait_for_space(CHAT, ROOM, handle(1));
    let mut readable = Vec::new();
    let mut inboxes = Inboxes { budget: Some(1), ..Inboxes::default() };
    rooms.fan_out(&mut inboxes, &mut readable);
    assert!(!rooms.is_full(CHAT, ROOM), "a frozen turn makes space for the next");
    assert_eq!(readable, [handle(1)]);
}

#[test]
fn rooms_of_different_services_do_not_hear_each_other() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.join(OTHER, ROOM, handle(2), PLAIN);
    rooms.publish(OTHER, ROOM, None, b"for the second");
    let inboxes = fan_out(&mut rooms);
    assert_eq!(inboxes.of(1), "");
    assert_eq!(inboxes.of(2), "for the second");
}

#[test]
fn a_datagram_peer_is_sent_no_more_of_a_turn_than_the_budget_allows() {
    let mut rooms = Rooms::default();
    for number in [5, 6] {
        rooms.join_peer(CHAT, ROOM, id(number), peer(1000 + number as u16), PLAIN);
    }
    let messages: Vec<Vec<u8>> = (0..10u8).map(|number| vec![b'a' + number]).collect();
    for message in &messages {
        rooms.publish(CHAT, ROOM, None, message);
    }
    let mut inboxes = Inboxes::default();
    for sent in [3, 6, 9, 12, 15, 18, 20] {
        inboxes.datagram_budget = Some(3);
        rooms.fan_out(&mut inboxes, &mut Vec::new());
        assert_eq!(inboxes.datagrams.values().map(Vec::len).sum::<usize>(), sent);
    }
    assert_eq!(inboxes.datagrams[&1005], messages);
    assert_eq!(inboxes.datagrams[&1006], messages);
    inboxes.datagram_budget = None;
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    assert!(!rooms.has_work());
}

#[test]
fn a_room_that_nobody_empties_refuses_what_is_too_much() {
    let mut rooms = Rooms::default();
    let message = vec![b'x'; 1 << 20];
    let taken = (0..1000).take_while(|_| rooms.publish(CHAT, ROOM, None, &message)).count();
    assert_eq!(taken, ROOM_LIMIT >> 20);
}

#[test]
fn a_room_of_datagram_peers_does_work_that_grows_with_its_messages_and_no_faster() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.join(CHAT, ROOM, handle(2), PLAIN);
    for number in 10..110 {
        rooms.join_peer(CHAT, ROOM, id(number), peer(number as u16), PLAIN);
    }
    // What made 37 s of it: each delivery began again at the first message.
    let lines = 524_288;
    for _ in 0..lines {
        rooms.publish(CHAT, ROOM, Some(id(1)), b"\n");
    }
    let mut inboxes = Inboxes { datagram_budget: Some(64), ..Inboxes::default() };
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    assert_eq!(inboxes.of(2).len(), lines, "a connection waits for no datagram");
    assert_eq!(inboxes.datagrams.values().map(Vec::len).sum::<usize>(), 64);
    assert_eq!(inboxes.dropped, 100 * (lines - BATCH_MESSAGES) as u64);
    let mut turns = 1;
    while rooms.has_work() {
        inboxes.datagram_budget = Some(64);
        rooms.fan_out(&mut inboxes, &mut Vec::new());
        turns += 1;
    }
    assert!(inboxes.datagrams.values().all(|datagrams| datagrams.len() == BATCH_MESSAGES));
    assert!(turns <= 100 * BATCH_MESSAGES / 64 + 1, "{turns} turns");
}

#[test]
fn peers_that_are_being_served_do_not_keep_connections_waiting_and_lose_nothing_of_a_batch() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.join_peer(CHAT, ROOM, id(5), peer(1005), PLAIN);
    rooms.join_peer(CHAT, ROOM, id(6), peer(1006), PLAIN);
    let mut inboxes = Inboxes::default();
    for word in ["one ", "two ", "three "] {
        rooms.publish(CHAT, ROOM, None, word.as_bytes());
        inboxes.datagram_budget = Some(1);
        rooms.fan_out(&mut inboxes, &mut Vec::new());
    }
    assert_eq!(inboxes.of(1), "one two three ");
    rooms.leave_peer(CHAT, ROOM, &peer(1005));
    rooms.join_peer(CHAT, ROOM, id(7), peer(1007), PLAIN);
    rooms.publish(CHAT, ROOM, Some(id(6)), b"four ");
    inboxes.datagram_budget = None;
    while rooms.has_work() {
        rooms.fan_out(&mut inboxes, &mut Vec::new());
    }
    let heard = |port| inboxes.datagrams[&port].concat();
    assert_eq!(heard(1005), b"one ");
    assert_eq!(heard(1006), b"one two three ");
    assert_eq!(heard(1007), b"four ");
    assert_eq!(inboxes.dropped, 0);
}

#[test]
fn a_message_that_no_datagram_holds_is_counted_for_each_peer_but_its_speaker() {
    let mut rooms = Rooms::default();
    for number in [5, 6, 7] {
        rooms.join_peer(CHAT, ROOM, id(number), peer(1000 + number as u16), PLAIN);
    }
    let long = vec![b'x'; crate::service::LARGEST_DATAGRAM + 1];
    rooms.publish(CHAT, ROOM, Some(id(6)), &long);
    rooms.publish(CHAT, ROOM, None, &long[1..]);
    let inboxes = fan_out(&mut rooms);
    assert_eq!(inboxes.dropped, 2);
    assert_eq!(inboxes.datagrams.values().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn a_member_that_does_not_keep_up_holds_the_room_up_until_it_has_or_leaves() {
    let mut rooms = Rooms::default();
    for member in 1..=3 {
        rooms.join(CHAT, ROOM, handle(member), PLAIN);
    }
    rooms.join_peer(CHAT, ROOM, id(5), peer(1005), PLAIN);
    let mut inboxes = Inboxes { slow: vec![handle(1), handle(2)], ..Inboxes::default() };
    let publish = |rooms: &mut Rooms, inboxes: &mut Inboxes, word: &str| {
        rooms.publish(CHAT, ROOM, None, word.as_bytes());
        rooms.fan_out(inboxes, &mut Vec::new());
    };
    publish(&mut rooms, &mut inboxes, "one ");
    publish(&mut rooms, &mut inboxes, "two ");
    assert_eq!(inboxes.of(3), "one ");
    assert_eq!(inboxes.datagrams[&1005].concat(), b"one two ", "peers wait for nobody");
    assert!(!rooms.has_work() && rooms.is_held_up());
    inboxes.slow.pop();
    publish(&mut rooms, &mut inboxes, "three ");
    assert_eq!(inboxes.of(3), "one ");
    rooms.leave(CHAT, ROOM, handle(1));
    assert!(rooms.has_work() && !rooms.is_held_up());
    publish(&mut rooms, &mut inboxes, "four ");
    assert_eq!(inboxes.of(1), "one ");
    assert_eq!(inboxes.of(2), "one two three four ");
    assert_eq!(inboxes.of(3), "one two three four ");
}

#[test]
fn a_room_that_is_held_up_fills_and_then_keeps_its_publishers_waiting() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    let mut inboxes = Inboxes { slow: vec![handle(1)], ..Inboxes::default() };
    let mut readable = Vec::new();
    for _ in 0..2 {
        rooms.publish(CHAT, ROOM, None, &vec![b'x'; ROOM_CAPACITY]);
        rooms.wait_for_space(CHAT, ROOM, handle(2));
        rooms.fan_out(&mut inboxes, &mut readable);
        assert_eq!(readable, [handle(2)], "the first turn is delivered, the second waits");
    }
    assert!(rooms.is_full(CHAT, ROOM));
    inboxes.slow.clear();
    rooms.fan_out(&mut inboxes, &mut readable);
    assert_eq!(readable, [handle(2), handle(2)]);
}

#[test]
fn a_room_does_not_wait_for_a_member_that_has_caught_up_before_the_turn_was_delivered() {
    let mut rooms = Rooms::default();
    rooms.join(CHAT, ROOM, handle(1), PLAIN);
    rooms.join(CHAT, ROOM, handle(2), PLAIN);
    rooms.publish(CHAT, ROOM, None, b"one ");
    let mut inboxes = Inboxes { slow: vec![handle(1)], budget: Some(1), ..Inboxes::default() };
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    rooms.publish(CHAT, ROOM, None, b"two ");
    inboxes.slow.clear();
    inboxes.budget = None;
    rooms.fan_out(&mut inboxes, &mut Vec::new());
    assert!(rooms.has_work(), "nothing else would wake it");
}
