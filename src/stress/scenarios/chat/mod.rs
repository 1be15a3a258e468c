//! `chat`: every line must reach every other member once, and in order.
//!
//! The first members are the senders. A line is in flight until all members have
//! it; its latency is measured at each of them.

mod lines;
mod sender;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::Args;
use onepoll::config::{parse_duration, parse_size};

use lines::{HEADER, Heard, Lines};
use sender::{Sender, Spoken};

use crate::stress::arguments::{Common, LoadArgs, at_least};
use crate::stress::plan::Plan;
use crate::stress::report::summary::Settings;
use crate::stress::scenario::{Conversation, Labels, Scenario, Shape, Style, Verdict};
use crate::stress::tally::Tally;
use crate::stress::window::{InFlight, REMEMBERED};

/// A chat line must have room for its identity.
const SHORTEST_LINE: usize = HEADER + 1;
const LONGEST_LINE: usize = 32 * 1024;
/// How much is kept of a line that has no end.
const LONGEST_KEPT: usize = 2 * LONGEST_LINE;
/// The most pairs of senders and members that are tracked.
const MOST_PAIRS: usize = 64 * 1024 * 1024;

#[derive(Debug, Clone, Args)]
pub struct ChatArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Size of a line in bytes, including its line end
    #[arg(long, value_name = "B", default_value = "64", value_parser = parse_size)]
    size: usize,
    /// How many members send
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = at_least::<usize>)]
    senders: usize,
    /// Expect the server to send each line to its sender too
    #[arg(long)]
    echo_to_sender: bool,
    /// How long to stay silent once all are connected, so that the server can
    /// make all of them members
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_duration)]
    settle: Duration,
}

impl Scenario for ChatArgs {
    type Conversation = Chat;

    fn shape(&self) -> Shape {
        Shape { style: Style::Held, settle: self.settle, ..Shape::kept("chat") }
    }

    fn check(&self, plan: &Plan) -> Result<(), String> {
        let (size, senders, members) = (self.size, self.senders, plan.connections);
        if !(SHORTEST_LINE..=LONGEST_LINE).contains(&size) {
            return Err(format!("--size of a line must be from {SHORTEST_LINE} to {LONGEST_LINE} bytes"));
        }
        if senders > members {
            return Err(format!(
                "{senders} senders do not fit among {members} members: use fewer --senders or more --connections"
            ));
        }
        if members < 2 {
            return Err("a chat needs at least two members: use --connections 2 or more".into());
        }
        if senders.saturating_mul(members) > MOST_PAIRS {
            return Err("so many senders and members cannot be tracked: use fewer of either".into());
        }
        Ok(())
    }

    fn held(&self, _: &Plan) -> (usize, usize) {
        (self.size, self.senders)
    }

    fn describe(&self, settings: &mut Settings) {
        settings.labels = Labels { answers: "deliveries", ..Labels::default() };
        settings.size = Some(self.size);
        settings.senders = Some(self.senders);
        settings.echo_to_sender = Some(self.echo_to_sender);
        settings.settle_s = Some(self.settle.as_secs_f64());
    }

    fn conversation(&self, plan: &Plan) -> Chat {
        Chat::new(self.size, plan.seed, plan.connections, self.senders, self.echo_to_sender)
    }
}

pub struct Chat {
    lines: Lines,
    echo_to_sender: bool,
    members: Vec<Member>,
    present: usize,
    senders: Vec<Sender>,
    /// The next number that each member expects from each sender, grouped by
    /// member.
    expected: Vec<u64>,
    /// The lines of a sender that a member has not received although it received
    /// later ones.
    missing: HashMap<(usize, usize), Vec<u64>>,
    /// Whether any line has been sent: what came before is a greeting.
    has_begun: bool,
    /// Senders that may send again after this callback.
    freed: Vec<usize>,
}

#[derive(Debug, Default)]
struct Member {
    is_present: bool,
    /// An incomplete line.
    partial: Vec<u8>,
    /// Whether the last thing that came was a fault.
    is_astray: bool,
}

impl Chat {
    /// Lines of `size` bytes from the first `senders` of the members.
    pub fn new(size: usize, seed: u64, members: usize, senders: usize, echo_to_sender: bool) -> Chat {
        Chat {
            lines: Lines::new(size, seed),
            echo_to_sender,
            members: (0..members).map(|_| Member::default()).collect(),
            present: 0,
            senders: (0..senders).map(|_| Sender::new()).collect(),
            expected: vec![0; members * senders],
            missing: HashMap::new(),
            has_begun: false,
            freed: Vec::new(),
        }
    }

    /// Takes the first line of `bytes`, which has this length.
    fn hear_line(&mut self, member: usize, bytes: &[u8], length: usize, now: Instant, tally: &mut Tally) {
        let line = &bytes[..length];
        match self.lines.read(line) {
            Heard::Line { sender, number }
                if sender < self.senders.len() && number < self.senders[sender].next =>
            {
                self.members[member].is_astray = false;
                self.receive(member, sender, number, true, now, tally);
            }
            Heard::Other => tally.counts.other_lines += 1,
            _ if !self.has_begun => tally.counts.other_lines += 1,
            _ => {
                let is_rest = std::mem::replace(&mut self.members[member].is_astray, true);
                if is_rest && length < self.lines.size() {
                    return;
                }
                match self.stand_in(member, line, self.lines.header(&bytes[length..])) {
                    Some((sender, number)) => self.receive(member, sender, number, false, now, tally),
                    None => tally.counts.corrupted += 1,
                }
            }
        }
    }

    /// The line that a corrupted one stands for: the one that it resembles, or else
    /// the first one that was expected, in front of line `next`.
    fn stand_in(&self, member: usize, line: &[u8], next: Option<(usize, u64)>) -> Option<(usize, u64)> {
        let count = self.senders.len();
        let senders = (0..count).filter(|sender| self.echo_to_sender || *sender != member);
        let mut first = None;
        for sender in senders {
            let expected = self.expected[member * count + sender];
            let missing = self.missing.get(&(member, sender)).into_iter().flatten().copied();
            let end = match next {
                Some((of, number)) if of == sender => number.min(self.senders[sender].next),
                _ => self.senders[sender].next,
            };
            for number in missing.chain(expected..end) {
                if 2 * self.lines.likeness(sender, number, line) >= self.lines.size() {
                    return Some((sender, number));
                }
            }
            first = first.or((expected < end).then_some((sender, expected)));
        }
        first
    }

    /// Takes a line that a member received, right or corrupted.
    fn receive(
        &mut self,
        member: usize,
        sender: usize,
        number: u64,
        is_right: bool,
        now: Instant,
        tally: &mut Tally,
    ) {
        let place = member * self.senders.len() + sender;
        let speaker = &mut self.senders[sender];
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
                match (is_right, spoken.is_overdue) {
                    (true, true) => tally.came_late(&spoken.line),
                    (true, false) => tally.delivered(&spoken.line, now),
                    (false, _) => tally.count(&spoken.line, |counts| counts.corrupted += 1),
                }
                if is_right && is_overtaken {
                    tally.count(&spoken.line, |counts| counts.reordered += 1);
                } else if !is_right && !spoken.is_overdue {
                    tally.given_up(&spoken.line, now);
                }
                if spoken.left == spoken.overtaken {
                    self.finish_lines(sender, tally);
                }
            }
            // It had already been given up and counted as lost.
            None if is_right => tally.counts.late_answers += 1,
            None => tally.counts.corrupted += 1,
        }
    }

    /// Removes the lines that all members have received.
    fn finish_lines(&mut self, sender: usize, tally: &mut Tally) {
        let speaker = &mut self.senders[sender];
        while let Some(spoken) = speaker.take_if(|spoken| spoken.left == 0) {
            speaker.is_known = true;
            tally.settle(&spoken.line);
        }
        self.freed.push(sender);
    }
}

impl Conversation for Chat {
    fn senders(&self, _: usize) -> usize {
        self.senders.len()
    }

    fn opened(&mut self, link: usize) {
        self.members[link].is_present = true;
        self.present += 1;
    }

    fn is_free(&self, link: usize, depth: usize) -> bool {
        let speaker = &self.senders[link];
        let depth = if speaker.is_known { depth } else { 1 };
        self.present > usize::from(!self.echo_to_sender) && speaker.expected < depth
    }

    fn record(&mut self, link: usize, due: Instant, now: Instant) -> u64 {
        self.has_begun = true;
        self.senders[link].speak(due, now, self.present - usize::from(!self.echo_to_sender))
    }

    fn in_flight(&self, link: usize) -> usize {
        self.senders.get(link).map_or(0, |speaker| speaker.under_way.len())
    }

    fn message(&self, link: usize, place: usize) -> InFlight {
        self.senders[link].under_way[place].line
    }

    fn write(&self, link: usize, number: u64, put: impl FnMut(&[u8])) -> usize {
        self.lines.write(link, number, put);
        self.lines.size()
    }

    fn hear(&mut self, link: usize, bytes: &[u8], now: Instant, tally: &mut Tally) -> Verdict {
        let mut kept = std::mem::take(&mut self.members[link].partial);
        let mut rest = match kept.is_empty() {
            true => bytes,
            false => {
                kept.extend_from_slice(bytes);
                &kept
            }
        };
        while let Some(length) = self.lines.first(rest) {
            self.hear_line(link, rest, length, now, tally);
            rest = &rest[length..];
        }
        if rest.len() > LONGEST_KEPT {
            self.hear_line(link, rest, rest.len(), now, tally);
        } else {
            self.members[link].partial.extend_from_slice(rest);
        }
        Verdict::Keep
    }

    fn freed(&mut self) -> Option<usize> {
        self.freed.pop()
    }

    fn deadline(&self, link: usize, tally: &Tally) -> Option<Instant> {
        self.senders.get(link)?.deadline(tally)
    }

    fn expire(&mut self, link: usize, read_until: Instant, now: Instant, tally: &mut Tally) -> Verdict {
        self.senders[link].expire(read_until, now, tally);
        self.finish_lines(link, tally);
        Verdict::Keep
    }

    fn is_at_rest(&self, _: usize) -> bool {
        false
    }

    /// Lines that a member has not received when its connection ends will never
    /// arrive.
    fn lose(&mut self, link: usize, now: Instant, tally: &mut Tally) {
        if !std::mem::take(&mut self.members[link].is_present) {
            return;
        }
        self.present -= 1;
        let count = self.senders.len();
        for sender in 0..count {
            let expected = self.expected[link * count + sender];
            let missing = self.missing.get(&(link, sender));
            let speaker = &mut self.senders[sender];
            if link == sender && !self.echo_to_sender {
                continue;
            }
            for place in 0..speaker.under_way.len() {
                let Spoken { line, left, is_overdue, .. } = speaker.under_way[place];
                let is_overtaken = missing.is_some_and(|missing| missing.contains(&line.number));
                if (line.number >= expected || is_overtaken) && left > 0 {
                    speaker.change(line.number, |spoken| {
                        spoken.left -= 1;
                        spoken.overtaken -= usize::from(is_overtaken);
                    });
                    tally.count(&line, |counts| counts.unanswered += 1);
                    if !is_overdue {
                        tally.given_up(&line, now);
                    }
                }
            }
            self.finish_lines(sender, tally);
        }
    }

    fn time_out(&mut self, link: usize, now: Instant, tally: &mut Tally) {
        let Some(speaker) = self.senders.get_mut(link) else { return };
        while let Some(spoken) = speaker.take_if(|_| true) {
            tally.count(&spoken.line, |counts| counts.lost += spoken.left as u64);
            tally.settle(&spoken.line);
            if !spoken.is_overdue {
                (0..spoken.left).for_each(|_| tally.given_up(&spoken.line, now));
            }
        }
    }

    fn cut_off(&self, link: usize, now: Instant, tally: &mut Tally) {
        for spoken in self.senders.get(link).into_iter().flat_map(|speaker| &speaker.under_way) {
            (0..spoken.left).for_each(|_| tally.cut_off(&spoken.line, now));
        }
    }
}
