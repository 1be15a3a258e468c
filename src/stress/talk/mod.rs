//! The life of the connections of a run, whatever is said on them: opening them,
//! sending when it is time, waiting, and going on after an end.
//!
//! A [`Link`] is one of the plan's connections. It has a connection or a UDP
//! socket. With [`Style::Churn`] it has a new connection for every request.

mod ending;
mod sending;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use onepoll::reactor::{ConnectionId, SocketId};
use onepoll::service::{Answer, CloseReason, Context, Input, Service};

use ending::End;

use crate::stress::kinds::{end_of_connection, kind};
use crate::stress::run::{Reconnects, Run, Share, Turn};
use crate::stress::scenario::{Conversation, Shape, Style, Verdict};

pub struct Talk<C: Conversation> {
    run: Run,
    conversation: C,
    style: Style,
    links: Vec<Link>,
    senders: usize,
    sockets: HashMap<SocketId, usize>,
    /// The first link on which load has not begun.
    next_to_start: usize,
    /// What is to be done later, and when.
    due: BTreeSet<(Instant, Due)>,
    /// One or more messages for a connection other than the callback's own.
    out: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// A link's oldest message is overdue, unless its answer has come.
    Answer(usize),
    /// A link is to be connected again.
    Connection(usize),
}

#[derive(Debug)]
struct Link {
    way: Way,
    share: Share,
    /// Whether anything has come since it was connected.
    is_used: bool,
    /// Whether its messages in flight are being sent for the second time.
    is_retrying: bool,
    /// Whether its oldest message is among what is due.
    is_timed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Opening,
    Connection(ConnectionId),
    Socket(SocketId),
}

/// Which link a connection belongs to, and when it was asked for.
#[derive(Debug, Default)]
pub struct Session {
    link: Option<usize>,
    asked: Option<Instant>,
}

impl<C: Conversation> Talk<C> {
    pub fn new(mut run: Run, conversation: C, shape: Shape) -> Talk<C> {
        run.reconnects = match shape.style {
            Style::Churn { .. } => Reconnects::Always,
            Style::Held => Reconnects::Never,
            Style::Kept => Reconnects::AfterFailure,
        };
        // Nobody leaves a chat because a line is late.
        run.tally.late_is_lost = shape.is_udp || shape.style == Style::Held;
        let links = run.plan.connections;
        let senders = conversation.senders(links);
        let link = |number| Link {
            way: Way::Down,
            share: Share::new(number, senders),
            is_used: false,
            is_retrying: false,
            is_timed: false,
        };
        Talk {
            run,
            conversation,
            style: shape.style,
            links: (0..links).map(link).collect(),
            senders,
            sockets: HashMap::new(),
            next_to_start: 0,
            due: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    /// Takes what came for a link.
    fn hear(&mut self, number: usize, bytes: &[u8], cx: &mut Context<'_>) {
        let now = cx.moment();
        let link = &mut self.links[number];
        link.is_used = true;
        let tally = &mut self.run.tally;
        tally.last_heard = Some(now);
        tally.counts.bytes_received += bytes.len() as u64;
        if self.conversation.hear(number, bytes, now, tally) == Verdict::GiveUp {
            cx.abort();
            return self.ended(number, End::ByUs, now, cx);
        }
        if link.is_retrying {
            link.is_retrying = self.conversation.in_flight(number) > 0;
        }
        match self.style {
            Style::Churn { reset } if self.conversation.in_flight(number) == 0 => {
                if reset {
                    cx.abort()
                } else {
                    cx.close()
                }
                self.ended(number, End::ByUs, now, cx);
            }
            Style::Churn { .. } => {}
            _ => self.fill(number, now, cx),
        }
        self.fill_freed(now, cx);
        self.send_due(now, cx);
    }

    fn link_of(&self, session: &Session, cx: &Context<'_>) -> Option<usize> {
        let way = Way::Connection(cx.connection()?);
        session.link.filter(|number| self.links[*number].way == way)
    }

    /// Begins load on a link that has a connection or a socket now.
    fn opened(&mut self, number: usize, way: Way, asked: Option<Instant>, cx: &mut Context<'_>) {
        self.run.opened(asked, cx.now());
        self.links[number].way = way;
        self.conversation.opened(number);
        let now = cx.moment();
        self.put_again(number, now, cx);
        if self.next_to_start > number && self.style == Style::Kept {
            self.fill(number, now, cx);
        }
        self.open_more(cx);
    }
}

impl<C: Conversation> Service for Talk<C> {
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
        session.link = self.run.asked_link();
        session.asked = Some(cx.moment());
    }

    fn open(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        if session.link.is_none() {
            session.link = self.run.asked_link();
        }
        if let (Some(number), Some(connection)) = (session.link, cx.connection()) {
            self.opened(number, Way::Connection(connection), session.asked, cx);
        }
    }

    fn receive(&mut self, session: &mut Session, input: &mut Input<'_>, cx: &mut Context<'_>) {
        let bytes = input.unread();
        input.consume_all();
        if let Some(number) = self.link_of(session, cx) {
            self.hear(number, bytes, cx);
        }
    }

    fn end_of_input(&mut self, session: &mut Session, _: &mut Input<'_>, cx: &mut Context<'_>) {
        cx.close();
        let Some(number) = self.link_of(session, cx) else { return };
        let now = cx.moment();
        self.conversation.end(number, now, &mut self.run.tally);
        let is_done = self.style != Style::Held && self.conversation.is_at_rest(number);
        let how = match self.style {
            Style::Churn { .. } if is_done => End::ByUs,
            _ if is_done => End::InOrder,
            _ => End::Failed("closed by the server"),
        };
        self.ended(number, how, now, cx);
        self.fill_freed(now, cx);
    }

    fn closed(&mut self, session: Session, why: &CloseReason, cx: &mut Context<'_>) {
        let Some(number) = session.link else { return };
        if let CloseReason::NotConnected(error) = why {
            if self.run.not_opened(error, session.asked, cx) {
                return self.open_link(number, cx);
            }
            self.not_opened(number, cx);
        } else if !matches!(why, CloseReason::ShuttingDown | CloseReason::CutOff)
            && self.link_of(&session, cx).is_some()
        {
            let error = end_of_connection(why);
            self.ended(number, error.as_deref().map_or(End::ByUs, End::Failed), cx.moment(), cx);
            self.fill_freed(cx.moment(), cx);
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(socket) => {
                let Some(number) = self.run.asked_link() else { return };
                self.sockets.insert(socket, number);
                self.opened(number, Way::Socket(socket), None, cx);
            }
            // This reports a datagram that was refused earlier.
            Err(error) if self.run.tally.counts.sent > 0 => {
                if self.run.tally.counts.answered == 0 {
                    self.run.fail(self.run.route.unreachable(&error), cx);
                }
                self.run.refused_once(&kind(&error));
            }
            Err(error) => {
                let Some(number) = self.run.asked_link() else { return };
                if self.run.not_opened(&error, None, cx) {
                    self.open_link(number, cx);
                } else {
                    self.links[number].way = Way::Down;
                }
            }
        }
    }

    fn datagram(&mut self, on: SocketId, _: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if let Some(number) = self.sockets.get(&on) {
            self.hear(*number, datagram, cx);
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.moment();
        if self.run.go_on(now) == Turn::End {
            self.account(now);
            return self.run.finish(cx);
        }
        let has_connected = self.take_due(now, cx);
        if !has_connected && let Some(link) = self.run.next_link(now) {
            match self.style {
                Style::Churn { .. } => self.converse(link, now, now, cx),
                _ => self.open_link(link, cx),
            }
        }
        let has_more = self.start_load(now, cx);
        self.fill_freed(now, cx);
        self.send_due(now, cx);
        let next = if has_more { Some(now) } else { self.due.first().map(|(at, _)| *at) };
        self.run.set_tick(next, now, cx);
    }
}

/// The run ended early: nobody waits any longer for what is in flight or due.
impl<C: Conversation> Drop for Talk<C> {
    fn drop(&mut self) {
        if self.run.is_under_way() {
            self.cut_off(self.run.latest());
        }
    }
}
