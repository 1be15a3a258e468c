//! `chat`: every line must reach every other member once, and in order.
//!
//! The first members are the senders. A line is in flight until all members have
//! it; its latency is measured at each of them.

mod lines;
mod sender;

use std::collections::HashMap;
use std::time::Instant;

use onepoll::reactor::ConnectionId;
use onepoll::service::{Answer, CloseReason, Context, Input, Service};

pub use lines::HEADER;
use lines::{Heard, Lines};
use sender::{Sender, Spoken};

use super::kinds::end_of_connection;
use super::link::REMEMBERED;
use super::measure::between;
use super::run::{Phase, Run, Share, Turn};

pub struct Chat {
    run: Run,
    lines: Lines,
    echo_to_sender: bool,
    members: Vec<Member>,
    senders: Vec<Sender>,
    /// The next number that each member expects from each sender, grouped by
    /// member.
    expected: Vec<u64>,
    /// The lines of a sender that a member has not received although it received
    /// later ones.
    missing: HashMap<(usize, usize), Vec<u64>>,
    /// Senders that may send again after this callback.
    freed: Vec<usize>,
    out: Vec<u8>,
}

#[derive(Debug, Default)]
struct Member {
    connection: Option<ConnectionId>,
}

/// Which member a connection is, and when it was asked for.
#[derive(Debug, Default)]
pub struct Session {
    member: Option<usize>,
    asked: Option<Instant>,
}

impl Chat {
    pub fn new(run: Run, size: usize, senders: usize, echo_to_sender: bool) -> Chat {
        let members = run.plan.connections;
        Chat {
            lines: Lines::new(size, run.plan.seed),
            echo_to_sender,
            members: (0..members).map(|_| Member::default()).collect(),
            senders: (0..senders).map(|sender| Sender::new(Share::new(sender, senders))).collect(),
            expected: vec![0; members * senders],
            missing: HashMap::new(),
            freed: Vec::new(),
            out: Vec::new(),
            run,
        }
    }

    fn open_more(&mut self, cx: &mut Context<'_>) {
        for member in self.run.next_links(cx.moment()) {
            self.run.ask(member, cx);
        }
    }

    /// Whether a sender may have one more line in flight.
    fn is_free(&self, sender: usize) -> bool {
        let speaker = &self.senders[sender];
        let depth = if speaker.is_known { self.run.plan.load.depth() } else { 1 };
        self.members[sender].connection.is_some() && speaker.expected < depth
    }

    /// Lets a sender send as much as it may.
    fn speak(&mut self, sender: usize, now: Instant, cx: &mut Context<'_>) {
        let Some(connection) = self.members[sender].connection else { return };
        let left = self.run.open_now() - usize::from(!self.echo_to_sender);
        if left == 0 {
            return;
        }
        self.out.clear();
        while self.is_free(sender)
            && let speaker = &mut self.senders[sender]
            && let Some(due) = self.run.take_next(&mut speaker.share, now)
        {
            let line = speaker.speak(due, now, left);
            self.lines.write(sender, line.number, &mut self.out);
            self.run.tally.under_way += 1;
            self.run.tally.counts.sent += 1;
        }
        if !self.out.is_empty() {
            self.run.tally.counts.bytes_sent += self.out.len() as u64;
            cx.tell(connection, &self.out);
        }
    }

    /// Hands the senders the lines that fell due.
    fn speak_when_due(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some((sender, due)) = self.run.next_due(self.senders.len(), now) {
            let is_free = self.is_free(sender);
            let share = &mut self.senders[sender].share;
            self.run.fell_due(share, due, is_free, now);
            if self.members[sender].connection.is_none() {
                self.run.drop_waiting(share, now);
            }
            self.speak(sender, now, cx);
        }
    }

    /// Takes a line that a member received.
    fn hear(&mut self, member: usize, line: &[u8], now: Instant) {
        let has_load = !matches!(self.run.phase, Phase::Reaching | Phase::Ramp | Phase::Settle);
        match self.lines.read(line) {
            Heard::Line { sender, number, is_right } if sender < self.senders.len() => {
                self.hear_line(member, sender, number, is_right, now);
            }
            Heard::Other => self.run.tally.counts.other_lines += 1,
            // A greeting.
            Heard::Corrupted if !has_load => self.run.tally.counts.other_lines += 1,
            Heard::Line { .. } | Heard::Corrupted => self.run.tally.counts.corrupted += 1,
        }
    }

    fn hear_line(&mut self, member: usize, sender: usize, number: u64, is_right: bool, now: Instant) {
        let place = member * self.senders.len() + sender;
        let tally = &mut self.run.tally;
        let speaker = &mut self.senders[sender];
        if number >= speaker.next {
            tally.counts.corrupted += 1;
            return;
        }
        if member == sender && !self.echo_to_sender {
            // It was not meant for its own sender: one delivery too many.
            tally.counts.duplicated += 1;
            return;
        }
        let expected = &mut self.expected[place];
        let is_overtaken = number < *expected;
        if !is_overtaken {
            if number > *expected {
                let missing = self.missing.entry((member, sender)).or_default();
                missing.extend(*expected..number);
                missing.drain(..missing.len().saturating_sub(REMEMBERED));
                for overtaken in *expected..number {
                    speaker.change(overtaken, |spoken| spoken.overtaken += 1);
                }
                self.freed.push(sender);
            }
            *expected = number + 1;
        } else {
            let missing = self.missing.entry((member, sender)).or_default();
            let Some(place) = missing.iter().position(|missing| *missing == number) else {
                tally.counts.duplicated += 1;
                return;
            };
            missing.remove(place);
        }
        let heard = speaker.change(number, |spoken| {
            spoken.left = spoken.left.saturating_sub(1);
            spoken.overtaken -= usize::from(is_overtaken);
        });
        match heard {
            Some(spoken) => {
                if is_right {
                    tally.counts.reordered += u64::from(is_overtaken);
                    tally.delivered(&spoken.line, now);
                } else {
                    tally.counts.corrupted += 1;
                    tally.given_up(&spoken.line, now);
                }
                if spoken.left == spoken.overtaken {
                    self.finish_lines(sender);
                }
            }
            // It had already been given up and counted as lost.
            None => tally.counts.late_answers += 1,
        }
    }

    /// Removes the lines that all members have received.
    fn finish_lines(&mut self, sender: usize) {
        let speaker = &mut self.senders[sender];
        while speaker.take_if(|spoken| spoken.left == 0).is_some() {
            speaker.is_known = true;
            self.run.tally.under_way -= 1;
        }
        self.freed.push(sender);
    }

    fn go_on_speaking(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(sender) = self.freed.pop() {
            self.speak(sender, now, cx);
        }
    }

    /// Handles a member's end: lines that it has not received will never arrive.
    fn leave(&mut self, member: usize, error: Option<String>, now: Instant) {
        if self.members[member].connection.take().is_none() {
            return;
        }
        self.run.closed();
        if let Some(error) = error {
            self.run.error(&error);
        }
        let count = self.senders.len();
        for sender in 0..count {
            let expected = self.expected[member * count + sender];
            let missing = self.missing.get(&(member, sender));
            let speaker = &mut self.senders[sender];
            if member == sender {
                self.run.drop_waiting(&mut speaker.share, now);
                if !self.echo_to_sender {
                    continue;
                }
            }
            for place in 0..speaker.under_way.len() {
                let Spoken { line, left, .. } = speaker.under_way[place];
                let is_overtaken = missing.is_some_and(|missing| missing.contains(&line.number));
                if (line.number >= expected || is_overtaken) && left > 0 {
                    speaker.change(line.number, |spoken| {
                        spoken.left -= 1;
                        spoken.overtaken -= usize::from(is_overtaken);
                    });
                    self.run.tally.counts.lost += 1;
                    self.run.tally.given_up(&line, now);
                }
            }
            self.finish_lines(sender);
        }
    }

    /// Gives up the lines that some member has been waiting for too long, or all
    /// lines.
    fn sweep(&mut self, now: Instant, all: bool) {
        let timeout = self.run.plan.timeout;
        for sender in 0..self.senders.len() {
            let speaker = &mut self.senders[sender];
            let is_due = |spoken: &Spoken| all || between(spoken.line.sent, now) >= timeout;
            while let Some(spoken) = speaker.take_if(is_due) {
                self.run.tally.counts.lost += spoken.left as u64;
                self.run.tally.under_way -= 1;
                (0..spoken.left).for_each(|_| self.run.tally.given_up(&spoken.line, now));
            }
            self.finish_lines(sender);
        }
    }
}

impl Service for Chat {
    type Session = Session;

    fn start(&mut self, cx: &mut Context<'_>) {
        if self.run.start(cx) {
            self.open_more(cx);
        }
    }

    fn finished(&mut self, _: Option<&mut Self::Session>, answer: Answer, cx: &mut Context<'_>) {
        if self.run.found(answer, cx) {
            self.open_more(cx);
        }
    }

    fn connecting(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        session.member = self.run.asked_link();
        session.asked = Some(cx.moment());
    }

    fn open(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        if session.member.is_none() {
            session.member = self.run.asked_link();
        }
        let Some(member) = session.member else { return };
        self.run.opened(session.asked, cx.moment());
        self.members[member].connection = cx.connection();
        self.open_more(cx);
    }

    fn receive(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        let Some(member) = session.member else { return };
        let now = cx.moment();
        let bytes = input.unread();
        let mut rest = bytes;
        while let Some(line) = self.lines.first(rest) {
            rest = &rest[line.len()..];
            self.hear(member, line, now);
        }
        let used = bytes.len() - rest.len();
        input.consume(used);
        self.run.tally.counts.bytes_received += used as u64;
        self.run.tally.last_heard = Some(now);
        self.go_on_speaking(now, cx);
        self.speak_when_due(now, cx);
    }

    fn end_of_input(&mut self, session: &mut Session, _: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
        if let Some(member) = session.member {
            let now = cx.moment();
            self.leave(member, Some("closed by the server".into()), now);
            self.go_on_speaking(now, cx);
        }
    }

    fn closed(&mut self, session: Session, why: &CloseReason, cx: &mut Context<'_>) {
        let Some(member) = session.member else { return };
        match why {
            CloseReason::NotConnected(error) => {
                if self.run.not_opened(error, cx) {
                    self.run.ask(member, cx);
                }
                self.open_more(cx);
            }
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            why => {
                let now = cx.moment();
                self.leave(member, end_of_connection(why), now);
                self.go_on_speaking(now, cx);
            }
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.moment();
        match self.run.go_on(now) {
            Turn::GoOn => {}
            Turn::Sweep => self.sweep(now, false),
            Turn::End => {
                self.sweep(now, true);
                for sender in &mut self.senders {
                    self.run.drop_waiting(&mut sender.share, now);
                }
                return self.run.finish(cx);
            }
        }
        self.open_more(cx);
        if std::mem::take(&mut self.run.begins_load) {
            self.senders.iter_mut().for_each(|sender| sender.share.restart());
            self.freed = (0..self.senders.len()).collect();
        }
        self.go_on_speaking(now, cx);
        self.speak_when_due(now, cx);
        self.run.set_tick(now, cx);
    }
}

/// The run ended early: nobody waits any longer for what is in flight or due.
impl Drop for Chat {
    fn drop(&mut self) {
        if !self.run.is_under_way() {
            return;
        }
        let now = self.run.latest();
        for sender in &self.senders {
            for spoken in &sender.under_way {
                (0..spoken.left).for_each(|_| self.run.tally.cut_off(&spoken.line, now));
            }
            self.run.cut_off_waiting(&sender.share, now);
        }
    }
}
