//! chat: one room, where a message goes to every other member, over TCP and UDP.
//!
//! In this file members join, speak and leave over either transport. `circle` knows who
//! is there and relays what they say, `command` reads what they say to the server,
//! `throttle` limits how often they speak, `admission` says whose datagrams make them
//! members, and `peers` who has to go when there are too many of those.

mod admission;
mod circle;
mod command;
mod peers;
#[cfg(test)]
mod tests;
mod throttle;

use std::net::SocketAddr;
use std::time::Duration;

use super::conversation::{Conversation, Heard};
use crate::config::{Description, Key, Plan, Settings, Value, values};
use crate::service::{
    CloseReason, Context, DatagramPeer, Farewell, Input, Membership, Overflow, Room, Service, SocketId,
};
use crate::wire::text::Mode;
use admission::Admission;
pub use admission::Members;
use circle::{Circle, Person, Then, say};
use peers::{Key as PeerKey, Peers};
use throttle::Verdict;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "chat",
    about: "relays each message to every other member of its room",
    notes: "TCP and UDP share the room.",
    tcp: Some(9999),
    udp: Some(9999),
    keys: &[ECHO_TO_SENDER, MEMBERS, MESSAGES_PER_SECOND],
    plan,
};

const ECHO_TO_SENDER: Key = Key {
    name: "echo_to_sender",
    value: Value::Default("false"),
    about: "Send a message to its sender too.",
};

const MEMBERS: Key = Key {
    name: "members",
    value: Value::Default(r#""local""#),
    about: "Who can join over UDP, where a source may be forged: \"local\" (this machine and the \
            networks that it is attached to), \"any\" or \"none\".",
};

const MESSAGES_PER_SECOND: Key =
    Key { name: "messages_per_second", value: Value::Sample("20"), about: "If unset: that of [limits]." };

fn plan(settings: &mut Settings<'_>) -> Plan {
    let echo_to_sender = settings.get(&ECHO_TO_SENDER, values::flag);
    let members = settings.get(&MEMBERS, admission::members);
    let rate = settings.limits.messages_per_second;
    settings.limits.messages_per_second = settings.get_or(&MESSAGES_PER_SECOND, rate, values::rate);
    settings.listen(Chat::new(echo_to_sender).with_members(members))
}

const ROOM: Room = Room(0);
/// The least time between two searches for idle UDP members.
const SWEEP: Duration = Duration::from_secs(1);
/// UDP members that are taken out in one turn: 10,000 at once held up everybody else
/// for 100 ms.
const EXPIRIES_PER_TURN: usize = 32;

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
    admission: Admission,
    peers: Peers,
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

impl Chat {
    /// A chat service. With `echo_to_sender`, messages go to their sender too.
    pub fn new(echo_to_sender: bool) -> Chat {
        let (admission, peers) = (Admission::new(Members::Local), Peers::default());
        Chat { circle: Circle::new(echo_to_sender), admission, peers, sweeps: false }
    }

    /// Sets who can join over UDP, instead of [`Members::Local`].
    pub fn with_members(self, members: Members) -> Chat {
        Chat { admission: Admission::new(members), ..self }
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

    /// Makes the sender of a first datagram a member, if it is one that can join. If
    /// there are too many, another goes.
    fn admit(&mut self, reach: DatagramPeer, cx: &mut Context<'_>) -> bool {
        if let Some(refusal) = self.admission.refusal(reach.address.ip(), cx.now()) {
            cx.report(format!("{} cannot join: members = {refusal}", reach.address));
            say(refusal.words(), cx);
            return false;
        }
        if let Some(key) = self.peers.one_too_many(reach.address.ip()) {
            log::debug!("chat: {} makes room for {}", key.1, reach.address);
            let words = self.farewell(Farewell::Full);
            self.remove(key, Some(&words), LEFT, cx);
        }
        self.peers.join(reach, cx.now());
        self.circle.enter();
        cx.join(ROOM, membership(false));
        if let Some(limit) = cx.limits().idle_timeout
            && !std::mem::replace(&mut self.sweeps, true)
        {
            cx.set_tick(cx.now() + limit);
        }
        true
    }

    /// Takes out a UDP member, with or without a word to it.
    fn remove(&mut self, key: PeerKey, words: Option<&str>, how: &str, cx: &mut Context<'_>) {
        let Some((reach, mut person)) = self.peers.remove(&key) else { return };
        if let Some(words) = words {
            cx.send_to_peer(reach, words.as_bytes());
        }
        self.circle.depart(&mut person, how, cx);
        cx.leave_peer(ROOM, &reach);
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
        let is_member = self.peers.hear(&key, cx.now());
        if !is_member && (leaves || !self.admit(reach, cx)) {
            return;
        }
        if datagram.is_empty() {
            return;
        }
        if leaves {
            return self.remove(key, None, LEFT, cx);
        }
        let Some(person) = self.peers.person(&key) else { return };
        match self.circle.may_speak(person, cx) {
            Verdict::Admitted => {
                self.circle.hear(person, datagram, datagram, cx);
            }
            Verdict::Refused { begins: true, .. } => report_flood("loses messages", cx),
            Verdict::Refused { begins: false, .. } => {}
            Verdict::Flooding => {
                say(&flooded(cx), cx);
                self.remove(key, None, SENDS_TOO_MUCH, cx);
            }
        }
    }

    /// Takes out UDP members that sent nothing for the idle timeout: some per turn.
    fn tick(&mut self, cx: &mut Context<'_>) {
        self.sweeps = false;
        let Some(limit) = cx.limits().idle_timeout else { return };
        let now = cx.now();
        let words = self.farewell(Farewell::Idle);
        for key in self.peers.silent(now, limit, EXPIRIES_PER_TURN) {
            self.remove(key, Some(&words), LEFT, cx);
        }
        if let Some(since) = self.peers.silent_since() {
            let next = since + limit;
            self.sweeps = true;
            cx.set_tick(if next <= now { now } else { next.max(now + SWEEP) });
        }
    }

    fn tables(&self) -> usize {
        self.peers.memory()
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
    format!("* you are dropped: you send more than {rate} messages per second\n")
}
