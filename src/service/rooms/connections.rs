//! What a room owes its members on connections: everything that was gathered in a
//! turn, in one write each.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::{Deliver, Delivered, Delivery, Member, Membership, insert, is_member, remove};
use crate::service::ids::{Generation, Handle};

/// Messages of one speaker in a row, which all members hear or none does. So what a
/// member gets is found in as many steps as there are runs, however short the
/// messages are.
#[derive(Debug, Clone, Copy)]
struct Run {
    end: u32,
    /// Its end in [`Turn::lines`].
    lines_end: u32,
    /// Whose messages they are. Everybody hears messages of nobody.
    speaker: Option<Generation>,
}

/// What a room gathered in one turn, frozen for delivery.
#[derive(Debug)]
struct Turn {
    /// The messages as they were published.
    plain: Bytes,
    /// The same with LF after each message that has no line end; differs only if
    /// somebody wants it.
    lines: Bytes,
    runs: Vec<Run>,
    /// Sorted, so that a walk over the sorted members meets them on the way.
    speakers: Vec<Generation>,
    /// The number of the first run.
    first: u64,
    /// The last connection that was served; those before it were too.
    served: Option<Generation>,
}

/// A message that stands for itself: it is shared as it is, and a later one takes its
/// place.
#[derive(Debug)]
struct Frame {
    bytes: Bytes,
    /// Its place among the runs.
    number: u64,
}

/// The members of one room that are connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub members: Vec<Member<Handle>>,
    gathered: BytesMut,
    runs: Vec<Run>,
    /// Runs that have begun so far, which numbers them.
    begun: u64,
    /// A member has come since the last message, so the next one begins a run.
    must_begin: bool,
    /// The ends of the gathered messages that have no line end.
    unterminated: Vec<u32>,
    /// The newest frame, until it begins to go out.
    frame: Option<Frame>,
    turn: Option<Turn>,
    /// The members that had not kept up when they were last served. They hold the room
    /// up until each of them has caught up, or is gone.
    behind: Vec<Handle>,
}

impl Connections {
    pub fn join(&mut self, handle: Handle, how: Membership) {
        self.must_begin = true;
        insert(&mut self.members, handle.generation, handle, self.begun, how);
    }

    pub fn leave(&mut self, handle: Handle) {
        remove(&mut self.members, handle.generation);
        self.behind.retain(|behind| *behind != handle);
    }

    /// Bytes that wait to be frozen.
    pub fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// The memory that its messages take, in bytes.
    pub fn memory(&self) -> usize {
        let run = size_of::<Run>();
        let turn = |turn: &Turn| turn.plain.len() + turn.lines.len() + turn.runs.len() * run;
        let ends = self.unterminated.capacity() * size_of::<u32>();
        let frame = self.frame.as_ref().map_or(0, |frame| frame.bytes.len());
        let messages = self.gathered.capacity() + self.runs.capacity() * run + ends;
        messages + frame + self.turn.as_ref().map_or(0, turn)
    }

    /// Whether anything can be delivered now.
    pub fn has_work(&self) -> bool {
        self.turn.is_some() || self.has_published() && self.behind.is_empty()
    }

    fn has_published(&self) -> bool {
        !self.gathered.is_empty() || self.frame.is_some()
    }

    /// Whether a connection is a member, and something waits to be delivered.
    pub fn owe(&self, handle: Handle) -> bool {
        (self.turn.is_some() || self.has_published()) && is_member(&self.members, handle.generation)
    }

    /// Whether a member holds the room up, or did when it was last looked at.
    pub fn is_held_up(&self) -> bool {
        !self.behind.is_empty()
    }

    pub fn publish(&mut self, speaker: Option<Generation>, message: &[u8]) {
        self.gathered.extend_from_slice(message);
        let end = self.gathered.len() as u32;
        if !matches!(message.last(), Some(b'\n' | b'\r')) {
            self.unterminated.push(end);
        }
        let lines_end = end + self.unterminated.len() as u32;
        match self.runs.last_mut() {
            Some(run) if run.speaker == speaker && !self.must_begin => {
                (run.end, run.lines_end) = (end, lines_end);
            }
            _ => {
                self.runs.push(Run { end, lines_end, speaker });
                self.begun += 1;
                self.must_begin = false;
            }
        }
    }

    /// The frame takes the place of one that has not begun to go out.
    pub fn publish_latest(&mut self, bytes: Bytes) {
        let number = match &self.frame {
            // Whoever hears the one before hears this one.
            Some(frame) if !self.must_begin => frame.number,
            _ => self.number_for_frame(),
        };
        self.frame = Some(Frame { bytes, number });
    }

    /// A number between those of the runs that are gathered and of those to come.
    fn number_for_frame(&mut self) -> u64 {
        if let Some(last) = self.runs.last().copied() {
            // Runs are numbered in a row, so an empty one stands for the frame.
            self.runs.push(Run { speaker: None, ..last });
        }
        self.begun += 1;
        self.must_begin = false;
        self.begun - 1
    }

    /// Delivers the frozen turn, or else the newest frame, or else what is gathered. Returns false if the
    /// budget ran out first.
    ///
    /// It delivers one turn and no more: what its last deliveries bring in must be
    /// gathered before the next is frozen. Measured: if a room of 5,000 members
    /// went on with the next turn at once, its messages fell into two halves that
    /// never met again, and it delivered half as many per second.
    pub fn fan_out(&mut self, to: &mut impl Deliver) -> bool {
        let mut turn = match self.turn.take() {
            Some(turn) => turn,
            None if self.waits_for_a_member(to) || !self.has_published() => return true,
            None => self.frame.take().map_or_else(|| self.freeze(), Turn::of_frame),
        };
        let finished = self.deliver(&mut turn, to);
        if finished {
            // Whoever was served in an earlier turn may have caught up since, and will
            // not wake the room again.
            self.waits_for_a_member(to);
        } else {
            self.turn = Some(turn);
        }
        finished
    }

    /// Whether a member has yet to catch up. Each is looked at until it has, and only
    /// one at a time, so that a look costs little however many members are behind.
    fn waits_for_a_member(&mut self, to: &mut impl Deliver) -> bool {
        while let Some(handle) = self.behind.last() {
            if to.is_behind(*handle) {
                return true;
            }
            self.behind.pop();
        }
        false
    }

    fn freeze(&mut self) -> Turn {
        let plain = self.gathered.split().freeze();
        let runs = std::mem::take(&mut self.runs);
        let mut speakers: Vec<Generation> = runs.iter().filter_map(|run| run.speaker).collect();
        speakers.sort_unstable();
        speakers.dedup();
        let wanted = !self.unterminated.is_empty() && self.members.iter().any(|member| member.how.lines);
        let lines = if wanted { terminate_lines(&plain, &self.unterminated) } else { plain.clone() };
        self.unterminated = Vec::new();
        let first = self.begun - runs.len() as u64;
        Turn { plain, lines, runs, speakers, first, served: None }
    }

    fn deliver(&mut self, turn: &mut Turn, to: &mut impl Deliver) -> bool {
        let mut ranges = Vec::new();
        let start = self.members.partition_point(|member| Some(member.id) <= turn.served);
        let mut speakers = turn.speakers.iter().copied().peekable();
        for member in &self.members[start..] {
            while speakers.next_if(|id| *id < member.id).is_some() {}
            let speaks = speakers.peek() == Some(&member.id);
            turn.select(member, speaks, &mut ranges);
            turn.served = Some(member.id);
            if ranges.is_empty() {
                continue;
            }
            let bytes = if member.how.lines { &turn.lines } else { &turn.plain };
            let delivery = Delivery { bytes, ranges: &ranges, overflow: member.how.overflow };
            let Delivered { is_behind, goes_on } = to.to_connection(member.reach, delivery);
            if is_behind {
                self.behind.push(member.reach);
            }
            if !goes_on {
                return false;
            }
        }
        true
    }
}

impl Turn {
    fn of_frame(Frame { bytes, number }: Frame) -> Turn {
        let end = bytes.len() as u32;
        Turn {
            lines: bytes.clone(),
            plain: bytes,
            runs: vec![Run { end, lines_end: end, speaker: None }],
            speakers: Vec::new(),
            first: number,
            served: None,
        }
    }

    /// The ranges of this turn that a member gets: all but its own messages and
    /// those before it joined.
    fn select(&self, member: &Member<Handle>, speaks: bool, ranges: &mut Vec<Range<usize>>) {
        ranges.clear();
        let lines = member.how.lines;
        if !speaks && member.since <= self.first {
            ranges.push(0..if lines { self.lines.len() } else { self.plain.len() });
            return;
        }
        let mut start = 0;
        for (number, run) in (self.first..).zip(&self.runs) {
            let end =
                if lines && self.lines.len() > self.plain.len() { run.lines_end } else { run.end } as usize;
            if run.speaker != Some(member.id) && number >= member.since && start < end {
                match ranges.last_mut() {
                    Some(last) if last.end == start => last.end = end,
                    _ => ranges.push(start..end),
                }
            }
            start = end;
        }
    }
}

/// The same bytes with LF at each of `ends`.
fn terminate_lines(plain: &Bytes, ends: &[u32]) -> Bytes {
    let mut lines = BytesMut::with_capacity(plain.len() + ends.len());
    let mut start = 0;
    for end in ends.iter().map(|end| *end as usize) {
        lines.extend_from_slice(&plain[start..end]);
        lines.extend_from_slice(b"\n");
        start = end;
    }
    lines.extend_from_slice(&plain[start..]);
    lines.freeze()
}

/// What connections in a room are owed, for the simulation to judge.
#[cfg(feature = "simulated")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionsAudit {
    pub members: usize,
    pub gathered: usize,
    /// The number of the first run that is being delivered.
    pub delivers: Option<u64>,
    pub bytes: usize,
    /// The member that holds the room up.
    pub held_up_by: Option<Handle>,
}

#[cfg(feature = "simulated")]
impl Connections {
    pub fn audit(&self) -> ConnectionsAudit {
        ConnectionsAudit {
            members: self.members.len(),
            gathered: self.gathered.len(),
            delivers: self.turn.as_ref().map(|turn| turn.first),
            bytes: self.turn.as_ref().map_or(0, |turn| turn.plain.len()),
            held_up_by: self.behind.last().copied().filter(|_| self.turn.is_none()),
        }
    }
}
