//! chat: one room, where a message goes to every other member, over TCP and UDP.
//!
//! In this file members join, speak and leave over either transport. `circle` knows who
//! is there and relays what they say, `command` reads what they say to the server, and
//! `throttle` limits how often they speak.

mod circle;
mod command;
#[cfg(test)]
mod tests;
mod throttle;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::conversation::{Conversation, Heard};
use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::service::{
    CloseReason, Context, DatagramPeer, Farewell, Input, Membership, Overflow, Room, Service, SocketId,
};
use crate::wire::text::Mode;
use circle::{Circle, Person, Then, say};
use throttle::Verdict;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "chat",
    about: "one room: a message goes to every other member",
    notes: "TCP and UDP share it.",
    tcp: Some(9999),
    udp: Some(9999),
    keys: &[ECHO_TO_SENDER],
    plan,
};

const ECHO_TO_SENDER: Key = Key {
    name: "echo_to_sender",
    value: Value::Default("false"),
    about: "Send a message to its sender too.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let echo_to_sender = settings.get(&ECHO_TO_SENDER, values::flag);
    settings.listen(Chat::new(echo_to_sender))
}

const ROOM: Room = Room(0);
/// The most UDP members at once. No handshake shows that a sender is real, so forged
/// sources can join; this limits what they cost to about 2 MB.
const UDP_MEMBERS: usize = 10_000;
/// The least time between two searches for idle UDP members.
const SWEEP: Duration = Duration::from_secs(1);

const LEFT: &str = "left";
const DOES_NOT_READ: &str = "was dropped: it does not read";
const SENDS_TOO_MUCH: &str = "was dropped: it sends too much";

/// The chat service.
///
/// A connection is a member from its start to its end. UDP has neither: the first
/// datagram makes its sender a member, and a member that sends nothing for the idle
/// timeout is removed, even if it only listens, since nothing tells it from one that is
/// gone. An empty datagram is enough to stay.
#[derive(Debug)]
pub struct Chat {
    circle: Circle,
    peers: HashMap<(SocketId, SocketAddr), Peer>,
    /// Whether the tick is set.
    sweeps: bool,
}

/// One TCP member.
#[derive(Debug, Default)]
pub struct ChatSession {
    conversation: Conversation,
    person: Person,
    /// Whether it counts as a member.
    is_member: bool,
    /// Whether it hears whole lines.
    hears_lines: bool,
    /// Whether it will send no more; unread input is still to be relayed.
    has_ended: bool,
}

/// One UDP member.
#[derive(Debug)]
struct Peer {
    reach: DatagramPeer,
    person: Person,
    /// When its last datagram came.
    heard: Instant,
}

impl Chat {
    /// A chat service. With `echo_to_sender`, messages go to their sender too.
    pub fn new(echo_to_sender: bool) -> Chat {
        Chat { circle: Circle::new(echo_to_sender), peers: HashMap::new(), sweeps: false }
    }

    /// Relays what a member has said. One that speaks too often is left unread for a
    /// while, so that TCP slows it down.
    fn converse(&mut self, session: &mut ChatSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        loop {
            if Circle::is_throttled(cx) && session.conversation.has_next(input, cx) {
                match self.circle.may_speak(&mut session.person, cx) {
                    Verdict::Admitted => {}
                    Verdict::Refused { until, begins } => {
                        if begins {
                            report_flood("is read more slowly", cx);
                        }
                        session.conversation.release(cx);
                        return cx.pause_until(until);
                    }
                    Verdict::Flooding => {
                        say(&flooded(cx), cx);
                        input.consume_all();
                        return self.part(session, SENDS_TOO_MUCH, cx);
                    }
                }
            }
            let Some(heard) = session.conversation.next(input, cx) else { break };
            if !session.hears_lines && session.conversation.mode() == Mode::Line {
                session.hears_lines = true;
                cx.join(ROOM, membership(true));
            }
            let then = match heard {
                Heard::Message(message) => {
                    self.circle.hear(&mut session.person, message.text, message.raw, cx)
                }
                Heard::TooLong => {
                    say(&self.farewell(Farewell::TooLong), cx);
                    cx.close_for(Farewell::TooLong);
                    Then::Leaves
                }
            };
            if then == Then::Leaves {
                input.consume_all();
                return self.part(session, LEFT, cx);
            }
        }
        let yields = !input.unread().is_empty() && cx.has_done_its_share(input);
        if session.has_ended && !yields {
            self.flush(session, input, cx);
            self.part(session, LEFT, cx);
        }
    }

    /// Relays what was held back. That happens at most once per second, so the throttle
    /// is not asked.
    fn flush(&mut self, session: &mut ChatSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if let Some(message) = session.conversation.flush(input, cx)
            && self.circle.hear(&mut session.person, message.text, message.raw, cx) == Then::Leaves
        {
            self.part(session, LEFT, cx);
        }
    }

    /// Takes out a TCP member and closes its connection.
    fn part(&mut self, session: &mut ChatSession, how: &str, cx: &mut Context<'_>) {
        if std::mem::take(&mut session.is_member) {
            self.circle.depart(&mut session.person, how, cx);
            cx.leave(ROOM);
        }
        cx.close();
    }

    /// Makes the sender of a first datagram a member. Returns false if there are too
    /// many.
    fn admit(&mut self, reach: DatagramPeer, cx: &mut Context<'_>) -> bool {
        if self.peers.len() >= UDP_MEMBERS {
            log::debug!("chat: {} is turned away: {UDP_MEMBERS} members use UDP already", reach.address);
            say(&self.farewell(Farewell::Full), cx);
            return false;
        }
        let peer = Peer { reach, person: Person::default(), heard: cx.now() };
        self.peers.insert((reach.socket, reach.address), peer);
        self.circle.enter();
        cx.join(ROOM, membership(false));
        if let Some(limit) = cx.limits().idle_timeout
            && !std::mem::replace(&mut self.sweeps, true)
        {
            cx.set_tick(cx.now() + limit);
        }
        true
    }

    /// Takes out a UDP member.
    fn remove(&mut self, key: (SocketId, SocketAddr), how: &str, cx: &mut Context<'_>) {
        if let Some(mut peer) = self.peers.remove(&key) {
            self.circle.depart(&mut peer.person, how, cx);
            cx.leave_peer(ROOM, &peer.reach);
        }
    }
}

impl Service for Chat {
    type Session = ChatSession;

    fn open(&mut self, session: &mut ChatSession, cx: &mut Context<'_>) {
        session.is_member = true;
        self.circle.enter();
        cx.join(ROOM, membership(false));
    }

    fn receive(&mut self, session: &mut ChatSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.converse(session, input, cx);
    }

    fn timeout(&mut self, session: &mut ChatSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.flush(session, input, cx);
    }

    fn end_of_input(&mut self, session: &mut ChatSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        session.has_ended = true;
        self.converse(session, input, cx);
    }

    fn closed(&mut self, mut session: ChatSession, why: &CloseReason, cx: &mut Context<'_>) {
        let how = match why {
            CloseReason::TooSlow | CloseReason::SendTimeout => DOES_NOT_READ,
            _ => LEFT,
        };
        self.part(&mut session, how, cx);
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let Some(reach) = cx.datagram_peer() else { return };
        let key = (on, from);
        let leaves = command::parse(datagram, true) == command::Said::Leave;
        if !self.peers.contains_key(&key) && (leaves || !self.admit(reach, cx)) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.heard = cx.now();
        if datagram.is_empty() {
            return;
        }
        if leaves {
            return self.remove(key, LEFT, cx);
        }
        match self.circle.may_speak(&mut peer.person, cx) {
            Verdict::Admitted => {
                self.circle.hear(&mut peer.person, datagram, datagram, cx);
            }
            Verdict::Refused { begins: true, .. } => report_flood("loses messages", cx),
            Verdict::Refused { begins: false, .. } => {}
            Verdict::Flooding => {
                say(&flooded(cx), cx);
                self.remove(key, SENDS_TOO_MUCH, cx);
            }
        }
    }

    /// Takes out the UDP members that sent nothing for the idle timeout.
    fn tick(&mut self, cx: &mut Context<'_>) {
        self.sweeps = false;
        let Some(limit) = cx.limits().idle_timeout else { return };
        let now = cx.now();
        let is_idle = |peer: &Peer| now.duration_since(peer.heard) >= limit;
        let mut idle: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| is_idle(peer))
            .map(|(key, peer)| (*key, peer.reach))
            .collect();
        // The same members always go in the same order.
        idle.sort_by_key(|(key, _)| *key);
        let words = self.farewell(Farewell::Idle);
        for (key, reach) in idle {
            cx.send_to_peer(reach, words.as_bytes());
            self.remove(key, LEFT, cx);
        }
        if let Some(heard) = self.peers.values().map(|peer| peer.heard).min() {
            self.sweeps = true;
            cx.set_tick((heard + limit).max(now + SWEEP));
        }
    }

    fn farewell(&self, why: Farewell) -> String {
        format!("* {why}\n")
    }
}

fn membership(lines: bool) -> Membership {
    Membership { overflow: Overflow::Disconnect, lines }
}

/// Logs what happens to a member that begins to send too much.
fn report_flood(outcome: &str, cx: &mut Context<'_>) {
    let rate = cx.limits().messages_per_second.per_second;
    if let Some(peer) = cx.peer() {
        cx.report(format!("{peer} {outcome}: it sends more than {rate} messages per second"));
    }
}

/// Logs that a member is dropped for its flood, and returns what the member is told.
fn flooded(cx: &mut Context<'_>) -> String {
    let rate = cx.limits().messages_per_second.per_second;
    if let Some(peer) = cx.peer() {
        cx.report(format!("{peer} is dropped: it sent more than {rate} messages per second for 10 s"));
    }
    format!("* you are dropped: you send more than {rate} messages a second\n")
}
