//! The figures of the services, once per second, for the pages that are open.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;

use super::answers::Answers;
use super::picture::Shown;
use super::{Lasting, Next};
use crate::service::{ConnectionId, Context, Membership, Message, Overflow, Room, ServiceReport};
use crate::wire::http::Status;
use crate::wire::http::events;
use crate::wire::http::request::{Method, Request};

/// How often figures come.
pub(super) const EVERY: Duration = Duration::from_secs(1);

const ROOM: Room = Room(1);
/// An event holds all figures, so a page that is slow may miss some.
const HOW: Membership = Membership { overflow: Overflow::LatestFrame, lines: false };

/// The figures, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// When the service started.
    since: Option<Instant>,
    /// How many pages are sent events.
    listeners: usize,
    /// Whether a report has been asked for and has not come.
    is_asked: bool,
    reports: Option<Vec<ServiceReport>>,
    event: Option<(Instant, Bytes)>,
    /// Requests that wait for a report.
    waiting: Vec<ConnectionId>,
}

/// What an event says.
#[derive(Serialize)]
struct Event<'a> {
    /// Seconds.
    uptime: u64,
    services: Vec<Figures<'a>>,
    /// The newest picture; `None` if there is none, or nobody looks.
    picture: Option<Shown>,
}

#[derive(Serialize)]
struct Figures<'a> {
    name: &'a str,
    addresses: Vec<String>,
    stopped: bool,
    connections: usize,
    accepted: u64,
    bytes_received: u64,
    bytes_sent: u64,
    datagrams_received: u64,
    datagrams_sent: u64,
    limits_hit: u64,
}

impl<'a> Figures<'a> {
    fn of(report: &'a ServiceReport) -> Figures<'a> {
        let of_it = &report.statistics;
        let place = |bound: &crate::service::Bound| format!("{} {}", bound.transport, bound.address);
        Figures {
            name: &report.name,
            addresses: report.addresses.iter().map(place).collect(),
            stopped: report.is_stopped,
            connections: of_it.connections,
            accepted: of_it.accepted,
            bytes_received: of_it.bytes_received,
            bytes_sent: of_it.bytes_sent,
            datagrams_received: of_it.datagrams_received,
            datagrams_sent: of_it.datagrams_sent,
            limits_hit: of_it.refused + of_it.too_slow + of_it.timed_out + of_it.datagrams_dropped,
        }
    }
}

impl Live {
    pub fn start(&mut self, cx: &Context<'_>) {
        self.since = Some(cx.now());
    }

    /// When the service started.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// The newest report.
    pub fn reports(&self) -> Option<&[ServiceReport]> {
        self.reports.as_deref()
    }

    /// Asks for a report; this connection is resumed when it is there.
    pub fn ask(&mut self, cx: &mut Context<'_>) {
        self.waiting.extend(cx.connection());
        self.ask_once(cx);
    }

    fn ask_once(&mut self, cx: &mut Context<'_>) {
        if !std::mem::replace(&mut self.is_asked, true) {
            cx.ask_for_reports();
        }
    }

    /// Whether anybody listens.
    #[cfg(test)]
    pub fn is_heard(&self) -> bool {
        self.listeners > 0
    }

    /// Begins to send events to this connection.
    pub fn begin(&mut self, answers: &mut Answers, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
        let head = answers.head(Status::Ok, request, cx);
        head.header("Content-Type", events::CONTENT_TYPE)
            .header("Cache-Control", "no-store")
            .without_length();
        answers.send(b"", request, cx);
        if request.method == Method::Head {
            return Next::Last;
        }
        self.listeners += 1;
        cx.join(ROOM, HOW);
        match &self.event {
            Some((at, event)) if cx.now() < *at + EVERY => cx.send_latest(event.clone()),
            _ => self.ask_once(cx),
        }
        if self.listeners == 1 {
            cx.set_tick(cx.now() + EVERY);
        }
        Next::Lasting(Lasting::Events)
    }

    pub fn leave(&mut self) {
        self.listeners -= 1;
    }

    /// Asks again if anybody listens, and says whether.
    pub fn tick(&mut self, cx: &mut Context<'_>) -> bool {
        let is_heard = self.listeners > 0;
        if is_heard {
            self.ask_once(cx);
        }
        is_heard
    }

    /// A report has come.
    pub fn message(&mut self, message: Message, picture: Option<Shown>, cx: &mut Context<'_>) {
        let Ok(reports) = message.downcast::<Vec<ServiceReport>>() else { return };
        self.is_asked = false;
        for connection in self.waiting.drain(..) {
            cx.resume_other(connection);
        }
        if self.listeners > 0 {
            let uptime = self.since.map_or(0, |since| cx.now().saturating_duration_since(since).as_secs());
            let event = Event { uptime, services: reports.iter().map(Figures::of).collect(), picture };
            // Texts and numbers can always be written.
            let data = serde_json::to_string(&event).unwrap_or_default();
            let mut out = Vec::new();
            events::write("services", &data, &mut out);
            let out = Bytes::from(out);
            cx.publish_latest(ROOM, out.clone());
            self.event = Some((cx.now(), out));
        }
        self.reports = Some(*reports);
    }
}
