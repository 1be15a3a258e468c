//! Who is in the room, over either transport, and what becomes of what they say.

use std::collections::BTreeSet;

use super::ROOM;
use super::command::{self, Said};
use super::throttle::{Throttle, Verdict};
use crate::service::Context;

/// The most bytes of names that `/who` lists over TCP: more than a screen holds and, with
/// the default limits, far less than a member may leave unread.
const LIST_LENGTH: usize = 4 * 1024;
/// The same over UDP, where the question's source may be forged and a long
/// answer would go to somebody else.
const LIST_LENGTH_IN_DATAGRAM: usize = 400;

/// What the room knows about a member.
#[derive(Debug, Default)]
pub(super) struct Person {
    pub nick: Option<Box<str>>,
    /// Made with the first message that a rate applies to.
    pub throttle: Option<Box<Throttle>>,
}

/// Everybody in the room.
#[derive(Debug)]
pub(super) struct Circle {
    echo_to_sender: bool,
    members: usize,
    nicks: BTreeSet<Box<str>>,
    /// Where a nick is put in front of a message.
    signed: Vec<u8>,
}

/// Whether a member stays after what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Stays,
    Leaves,
}

impl Circle {
    pub fn new(echo_to_sender: bool) -> Circle {
        Circle { echo_to_sender, members: 0, nicks: BTreeSet::new(), signed: Vec::new() }
    }

    pub fn enter(&mut self) {
        self.members += 1;
    }

    /// Takes a member out. If it has a nick the others are told so, in a sentence that
    /// ends in `how`.
    pub fn depart(&mut self, person: &mut Person, how: &str, cx: &mut Context<'_>) {
        self.members -= 1;
        if let Some(nick) = person.nick.take() {
            self.nicks.remove(&nick);
            announce(&format!("* {nick} {how}\n"), cx);
        }
    }

    /// Whether a rate applies to the member that is speaking.
    pub fn is_throttled(cx: &Context<'_>) -> bool {
        let rate = cx.limits().messages_per_second;
        let is_local = || cx.peer().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        rate.per_second > 0 && (rate.loopback || !is_local())
    }

    /// Whether a member may say something now.
    pub fn may_speak(&self, person: &mut Person, cx: &Context<'_>) -> Verdict {
        if !Circle::is_throttled(cx) {
            return Verdict::Admitted;
        }
        let rate = cx.limits().messages_per_second;
        let throttle = person.throttle.get_or_insert_with(|| Box::new(Throttle::new(rate, cx.now())));
        throttle.ask(rate, cx.now())
    }

    /// Handles one message of a member: `text` is without its line end, `raw` with it.
    pub fn hear(&mut self, person: &mut Person, text: &[u8], raw: &[u8], cx: &mut Context<'_>) -> Then {
        match command::parse(text, cx.datagram_peer().is_some()) {
            Said::Text => self.relay(person, raw, cx),
            Said::Leave => return Then::Leaves,
            Said::Nick(nick) => self.name(person, nick, cx),
            Said::Who => say(&self.list(cx), cx),
            Said::Help => say(command::HELP, cx),
        }
        Then::Stays
    }

    fn relay(&mut self, person: &Person, raw: &[u8], cx: &mut Context<'_>) {
        let message = match &person.nick {
            None => raw,
            Some(nick) => {
                self.signed.clear();
                for part in [b"[", nick.as_bytes(), b"] ", raw] {
                    self.signed.extend_from_slice(part);
                }
                &self.signed
            }
        };
        if self.echo_to_sender {
            cx.publish_to_all(ROOM, message);
        } else {
            cx.publish(ROOM, message);
        }
    }

    fn name(&mut self, person: &mut Person, nick: &[u8], cx: &mut Context<'_>) {
        let nick = match command::check_nick(nick) {
            Ok(nick) => nick,
            Err(why) => return say(&format!("* {why}\n"), cx),
        };
        if person.nick.as_deref() != Some(nick) {
            if !self.nicks.insert(nick.into()) {
                return say(&format!("* {nick} is taken, choose another nick\n"), cx);
            }
            match person.nick.replace(nick.into()) {
                None => announce(&format!("* {nick} joined\n"), cx),
                Some(old) => {
                    self.nicks.remove(&old);
                    announce(&format!("* {old} is now {nick}\n"), cx);
                }
            }
        }
        say(&format!("* you are {nick}\n"), cx);
    }

    fn list(&self, cx: &Context<'_>) -> String {
        let longest = if cx.datagram_peer().is_some() { LIST_LENGTH_IN_DATAGRAM } else { LIST_LENGTH };
        let unnamed = self.members - self.nicks.len();
        let members = if self.members == 1 { "member is" } else { "members are" };
        let mut text = format!("* {} {members} here", self.members);
        if unnamed > 0 {
            text += &format!(", {unnamed} without a nick");
        }
        let mut listed = 0;
        let mut names = String::new();
        for nick in &self.nicks {
            if names.len() + nick.len() > longest {
                break;
            }
            names.push_str(if listed == 0 { "" } else { ", " });
            names.push_str(nick);
            listed += 1;
        }
        if listed > 0 {
            text = text + ": " + &names;
        }
        if listed < self.nicks.len() {
            text += &format!(" and {} more", self.nicks.len() - listed);
        }
        text + "\n"
    }
}

/// Sends a line to the member that the callback is about, and to nobody else.
pub(super) fn say(line: &str, cx: &mut Context<'_>) {
    match cx.datagram_peer() {
        Some(peer) => cx.send_to(peer.socket, peer.address, line.as_bytes()),
        None => cx.send(line.as_bytes()),
    }
}

/// Sends a line to all members but the one that the callback is about.
fn announce(line: &str, cx: &mut Context<'_>) {
    cx.publish(ROOM, line.as_bytes());
}
