//! Sends requests and checks answers: `echo`, `request`, `connect` and `idle`
//! differ only in what they send.
//!
//! A [`Link`] is one of the plan's connections. It has a connection or a UDP
//! socket, and a window of requests in flight. With [`Style::Churn`] it has a new
//! connection for every request.

mod ending;
mod sending;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use onepoll::reactor::{ConnectionId, SocketId};
use onepoll::service::{Answer, CloseReason, Context, Input, Service};

use ending::{End, RETRY};

use crate::stress::kinds::{end_of_connection, kind};
use crate::stress::link::Window;
use crate::stress::payload::Payload;
use crate::stress::request::Request;
use crate::stress::run::{Reconnects, Run, Share, Turn};

/// How many corrupted messages in a row show that a stream is out of step, so
/// that what comes on it means nothing any more.
const OUT_OF_STEP: u32 = 8;

/// What is sent.
#[derive(Debug)]
pub enum Script {
    /// Messages of our own, which come back unchanged.
    Echo(Payload),
    /// A given message with a given answer.
    Request(Request),
    /// Nothing.
    Silence,
}

/// How long a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As long as the run.
    Kept,
    /// For one request; it is closed in order, or with a reset.
    Churn { reset: bool },
}

pub struct Talk {
    run: Run,
    script: Script,
    style: Style,
    is_udp: bool,
    links: Vec<Link>,
    sockets: HashMap<SocketId, usize>,
    /// The first link on which load has not begun.
    next_to_start: usize,
    /// Links whose connection failed, and when to reconnect them.
    retries: BTreeSet<(Instant, usize)>,
    /// How many messages in flight on one connection can be told apart.
    most_under_way: usize,
    /// One or more messages for a connection other than the callback's own.
    out: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    way: Way,
    key: u64,
    window: Window,
    /// An incomplete answer.
    answer: Vec<u8>,
    share: Share,
    /// Whether anything has come since it was connected.
    is_answered: bool,
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

impl Talk {
    pub fn new(mut run: Run, script: Script, style: Style, is_udp: bool) -> Talk {
        run.reconnects = match (style, &script) {
            (Style::Churn { .. }, _) => Reconnects::Always,
            (Style::Kept, Script::Silence) => Reconnects::Never,
            (Style::Kept, _) => Reconnects::AfterFailure,
        };
        let most_under_way = match &script {
            Script::Echo(payload) => Payload::numbers(payload.size()) / 2,
            _ => u64::MAX,
        };
        let link = |number| Link {
            way: Way::Down,
            key: match &script {
                Script::Echo(payload) => payload.key(number),
                _ => 0,
            },
            window: Window::default(),
            answer: Vec::new(),
            share: Share::new(number, run.plan.connections),
            is_answered: false,
        };
        let links = (0..run.plan.connections).map(link).collect();
        let sockets = HashMap::new();
        Talk {
            run,
            script,
            style,
            is_udp,
            links,
            sockets,
            next_to_start: 0,
            retries: BTreeSet::new(),
            most_under_way: usize::try_from(most_under_way).unwrap_or(usize::MAX),
            out: Vec::new(),
        }
    }

    /// Takes what came for a link.
    fn hear(&mut self, number: usize, bytes: &[u8], cx: &mut Context<'_>) {
        let now = cx.moment();
        let link = &mut self.links[number];
        link.is_answered = true;
        let tally = &mut self.run.tally;
        tally.last_heard = Some(now);
        tally.counts.bytes_received += bytes.len() as u64;
        match &self.script {
            Script::Echo(payload) if self.is_udp => {
                link.window.hear_datagram(payload, link.key, bytes, now, tally);
            }
            Script::Echo(payload) => link.window.hear(payload, link.key, bytes, now, tally),
            Script::Request(request) if self.is_udp => {
                request.hear_datagram(&mut link.window, bytes, now, tally);
            }
            Script::Request(request) => {
                request.hear(&mut link.window, &mut link.answer, bytes, now, tally);
            }
            Script::Silence => {}
        }
        if !self.is_udp && link.window.corrupted_in_a_row >= OUT_OF_STEP {
            cx.abort();
            return self.ended(number, End::GivenUp, now, cx);
        }
        if let Style::Churn { reset } = self.style
            && link.window.in_flight.is_empty()
        {
            if reset {
                cx.abort()
            } else {
                cx.close()
            }
            self.ended(number, End::Done, now, cx);
        }
        self.fill(number, now, cx);
        self.send_due(now, cx);
    }

    fn link_of(&self, session: &Session, cx: &Context<'_>) -> Option<usize> {
        let way = Way::Connection(cx.connection()?);
        session.link.filter(|number| self.links[*number].way == way)
    }
}

impl Service for Talk {
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
        let (Some(number), Some(connection)) = (session.link, cx.connection()) else { return };
        self.run.opened(session.asked, cx.moment());
        let link = &mut self.links[number];
        link.way = Way::Connection(connection);
        if let (Style::Churn { .. }, Some(message)) = (self.style, link.window.in_flight.back()) {
            let sequence = message.number;
            self.put(number, sequence, cx);
        } else if self.next_to_start > number {
            self.fill(number, cx.moment(), cx);
        }
        self.open_more(cx);
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
        let link = &mut self.links[number];
        let mut error = Some("closed by the server");
        if let (Style::Churn { .. }, Script::Request(request)) = (self.style, &self.script) {
            request.end(&mut link.window, &mut link.answer, now, &mut self.run.tally);
            error = error.filter(|_| !link.window.in_flight.is_empty());
        }
        self.ended(number, error.map_or(End::Done, End::Failed), now, cx);
        self.fill(number, now, cx);
    }

    fn closed(&mut self, session: Session, why: &CloseReason, cx: &mut Context<'_>) {
        let Some(number) = session.link else { return };
        if let CloseReason::NotConnected(error) = why {
            if self.run.not_opened(error, cx) {
                return self.open_link(number, cx);
            }
            let now = cx.moment();
            let link = &mut self.links[number];
            link.way = Way::Down;
            if let Some(message) = link.window.in_flight.pop_back() {
                self.run.tally.under_way -= 1;
                self.run.tally.given_up(&message, now);
                self.retry(number, now);
            } else if self.run.reconnects == Reconnects::AfterFailure {
                self.run.drop_waiting(&mut link.share, now);
                self.retry(number, now + RETRY);
            }
            self.open_more(cx);
        } else if !matches!(why, CloseReason::ShuttingDown | CloseReason::CutOff)
            && self.link_of(&session, cx).is_some()
        {
            let error = end_of_connection(why);
            self.ended(number, error.as_deref().map_or(End::Done, End::Failed), cx.moment(), cx);
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(socket) => {
                let Some(number) = self.run.asked_link() else { return };
                self.sockets.insert(socket, number);
                self.links[number].way = Way::Socket(socket);
                self.run.opened(None, cx.moment());
                if self.next_to_start > number {
                    self.fill(number, cx.moment(), cx);
                }
                self.open_more(cx);
            }
            // This reports a datagram that was refused earlier.
            Err(error) if self.run.tally.counts.sent > 0 => {
                if self.run.tally.counts.answered == 0 {
                    self.run.fail(self.run.route.unreachable(&error), cx);
                }
                self.run.error_once(&kind(&error));
            }
            Err(error) => {
                let Some(number) = self.run.asked_link() else { return };
                if self.run.not_opened(&error, cx) {
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
        match self.run.go_on(now) {
            Turn::GoOn => {}
            Turn::Sweep => self.sweep(now, cx),
            Turn::End => {
                self.account(now);
                return self.run.finish(cx);
            }
        }
        self.open_more(cx);
        self.take_retries(now, cx);
        let has_more = self.start_load(now, cx);
        self.send_due(now, cx);
        if has_more {
            cx.set_tick(now);
        } else {
            self.run.set_tick(now, cx);
        }
    }
}

/// The run ended early: nobody waits any longer for what is in flight or due.
impl Drop for Talk {
    fn drop(&mut self) {
        if self.run.is_under_way() {
            self.cut_off(self.run.latest());
        }
    }
}
