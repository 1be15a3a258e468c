//! web: the daemon in a browser, over HTTP/1.1.
//!
//! - `page`: what the browser loads first.
//! - `live`: the figures of the services, as server-sent events.
//! - `picture`: the live picture, and one frame of it.
//! - `files`: the folder of files, and each of them.
//! - `metrics`: the figures for Prometheus.
//! - `answers`: the head that every answer begins with.
//!
//! A request is answered at once if it can be. One that waits for a disk, a report or a
//! frame stays unread while its connection is paused; then it is read again, and finds
//! what it waited for. So there is one way to an answer, and requests behind it wait in
//! the kernel.

mod answers;
mod files;
mod live;
mod metrics;
mod page;
mod picture;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value, files as config_files};
use crate::service::{Answer, CloseReason, Context, Farewell, Input, Message, Service};
use crate::wire::http::request::{self, Parsed, Request};
use crate::wire::http::{Status, host};
use answers::Answers;
use files::{Files, Looked};
use live::Live;
use picture::Picture;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "web",
    about: "shows the picture, the services and the files in a browser",
    notes: "Unless send_buffer is set, it is 128 KiB, so that the picture does not wait in the system.",
    tcp: Some(8000),
    udp: None,
    keys: &[VIDEO, HOSTS, KEEP_ALIVE, config_files::ROOT],
    plan,
};

const VIDEO: Key = Key {
    name: "video",
    value: Value::Default(r#""video""#),
    about: "The name of the service whose picture is shown.",
};

const HOSTS: Key = Key {
    name: "hosts",
    value: Value::Default("[]"),
    about: "The names of this machine that browsers may ask for, such as [\"lab.school.kr\"]. Its \
            addresses and localhost always do; any other name is refused, since it may be a page \
            elsewhere that asks (DNS rebinding).",
};

const KEEP_ALIVE: Key = Key {
    name: "keep_alive",
    value: Value::Default(r#""60s""#),
    about: "How long a connection stays open for the next request; 0 means no limit.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    settings.socket.send_buffer.get_or_insert(SEND_BUFFER);
    let video = settings.get(&VIDEO, values::text);
    let hosts = settings.get(&HOSTS, host_names);
    let keep_alive = settings.get(&KEEP_ALIVE, values::duration);
    let files = Files::new(config_files::read_only_root(settings));
    let picture = Picture::new(settings.name.to_owned(), video);
    settings.listen(Web::new(files, picture, hosts, keep_alive))
}

fn host_names(value: &Toml<'_>) -> Read<Vec<String>> {
    let list =
        value.as_array().ok_or_else(|| values::instead("a list such as [\"lab.school.kr\"]", value))?;
    let names = list.iter().map(|name| {
        let name = values::text(name.get_ref())?;
        let is_name = !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if is_name { Ok(name) } else { Err(format!("{name:?} is not a host name; write it without a port")) }
    });
    names.collect()
}

/// What the system holds of the output of one connection, or half of it: a few frames. By
/// default it lets this grow to some MiB, which is seconds of a film. Downloads on loopback
/// are a third faster with it, since their bytes stay in the processor's caches.
const SEND_BUFFER: usize = 128 * 1024;

/// How much of a long answer goes out at once.
const STEP: usize = 64 * 1024;

/// The web service.
#[derive(Debug)]
pub struct Web {
    answers: Answers,
    live: Live,
    picture: Picture,
    files: Files,
    /// Names that it answers for, besides addresses and localhost.
    hosts: Vec<String>,
    /// `None` if connections may wait for their next request for ever.
    keep_alive: Option<Duration>,
}

/// One connection of the web service.
#[derive(Debug, Default)]
pub struct WebSession {
    state: State,
    /// When the last answer was given, or the connection was made.
    active: Option<Instant>,
    /// Whether the client sends no more.
    has_ended: bool,
    /// Whether requests are left unread behind the one that is being answered.
    has_unread: bool,
}

/// What a connection is doing.
#[derive(Debug, Default)]
enum State {
    /// Waiting for a request.
    #[default]
    Ready,
    /// The request in front of its input waits for this; the connection is paused.
    Waiting(Wanted),
    /// A job has found what the request in front of its input asks for.
    Found(Box<Looked>),
    /// The rest of a long answer is to be sent; the connection is paused.
    Sending { rest: Bytes, keep_alive: bool },
    /// It is sent events until it closes.
    Listening,
    /// It is sent pictures until it closes.
    Watching,
    /// It was closed.
    Over,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Job,
    Reports,
    Frame,
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It was answered.
    Answered,
    /// It was answered, and the answer ends with the connection.
    Last,
    /// It waits, and is to be read again.
    Later(Wanted),
    /// It was answered with the beginning of something long.
    Begun(Bytes),
    /// It was answered with something that lasts until the connection closes.
    Lasting(Lasting),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lasting {
    Events,
    Pictures,
}

impl Web {
    fn new(files: Files, picture: Picture, hosts: Vec<String>, keep_alive: Duration) -> Web {
        Web {
            answers: Answers::default(),
            live: Live::default(),
            picture,
            files,
            hosts,
            keep_alive: Some(keep_alive).filter(|keep_alive| !keep_alive.is_zero()),
        }
    }

    /// Answers the requests in the input, as far as that is possible now.
    fn go_on(&mut self, session: &mut WebSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        loop {
            match session.state {
                State::Ready | State::Found(_) | State::Waiting(Wanted::Reports | Wanted::Frame) => {}
                State::Waiting(Wanted::Job) | State::Sending { .. } => break,
                State::Listening | State::Watching | State::Over => {
                    input.consume_all();
                    return;
                }
            }
            if input.unread().is_empty() {
                break;
            }
            if !cx.may_go_on(input) {
                return;
            }
            match request::parse(input.unread()) {
                Parsed::Request(length, request) => {
                    let next = self.answer(session, &request, cx);
                    let is_answered = !matches!(next, Next::Later(_));
                    self.enter(session, next, request.keep_alive, cx);
                    if !is_answered {
                        break;
                    }
                    input.consume(length);
                }
                Parsed::Refused(status) => self.refuse(session, status, cx),
                Parsed::Incomplete if session.has_ended && !input.unread().trim_ascii().is_empty() => {
                    self.refuse(session, Status::BadRequest, cx);
                }
                Parsed::Incomplete => break,
            }
        }
        session.has_unread = !input.unread().is_empty();
        if session.has_ended && matches!(session.state, State::Ready) {
            self.close(session, cx);
        }
    }

    fn answer(&mut self, session: &mut WebSession, request: &Request<'_>, cx: &mut Context<'_>) -> Next {
        let state = std::mem::take(&mut session.state);
        if let Some(host) = request.host
            && !host::is_ours(host, &self.hosts)
        {
            let words = format!(
                "this server does not answer for {host}: use an address or localhost, or add the name to \
                 its setting hosts"
            );
            return self.answers.error(Status::MisdirectedRequest, &words, request, cx);
        }
        match request.path {
            "/healthz" => self.answers.text("text/plain; charset=utf-8", "no-store", b"ok\n", request, cx),
            "/events" => self.live.begin(&mut self.answers, request, cx),
            "/video.mjpg" => self.picture.begin(&mut self.answers, request, cx),
            "/snapshot.jpg" => {
                let has_waited = matches!(state, State::Waiting(Wanted::Frame));
                self.picture.snapshot(&mut self.answers, has_waited, request, cx)
            }
            "/metrics" => match (state, self.live.reports()) {
                (State::Waiting(Wanted::Reports), Some(reports)) => {
                    let text = metrics::write(reports, self.live.since(), &self.answers, cx);
                    self.answers.text(metrics::CONTENT_TYPE, "no-store", text.as_bytes(), request, cx)
                }
                _ => {
                    self.live.ask(cx);
                    Next::Later(Wanted::Reports)
                }
            },
            path => {
                let found = match state {
                    State::Found(found) => Some(*found),
                    _ => None,
                };
                if let Some(page) = page::find(path) {
                    return self.answers.text(page.kind, "no-cache", page.text.as_bytes(), request, cx);
                }
                match path.strip_prefix("/files") {
                    Some("" | "/") => self.files.list(&mut self.answers, found, request, cx),
                    Some(name) if name.starts_with('/') => {
                        self.files.get(&mut self.answers, &name[1..], found, request, cx)
                    }
                    _ => self.answers.error(Status::NotFound, "there is no such page", request, cx),
                }
            }
        }
    }

    /// Goes over to what an answer has left the connection to do.
    fn enter(&mut self, session: &mut WebSession, next: Next, keep_alive: bool, cx: &mut Context<'_>) {
        session.active = Some(cx.now());
        session.state = match next {
            Next::Answered if keep_alive => State::Ready,
            Next::Answered | Next::Last => return self.close(session, cx),
            Next::Later(wanted) => {
                cx.pause();
                if wanted == Wanted::Frame {
                    cx.set_deadline_after(picture::PATIENCE);
                }
                State::Waiting(wanted)
            }
            Next::Begun(rest) => {
                cx.holds(rest.len());
                cx.pause();
                cx.more_to_send();
                State::Sending { rest, keep_alive }
            }
            Next::Lasting(Lasting::Events) => State::Listening,
            Next::Lasting(Lasting::Pictures) => State::Watching,
        };
    }

    /// Answers what is no request, and closes: nobody knows where the next one begins.
    fn refuse(&mut self, session: &mut WebSession, status: Status, cx: &mut Context<'_>) {
        self.answers.refuse(status, cx);
        self.close(session, cx);
    }

    fn close(&mut self, session: &mut WebSession, cx: &mut Context<'_>) {
        session.state = State::Over;
        cx.close();
    }

    /// Gives up what a session holds.
    fn release(&mut self, state: &State, cx: &mut Context<'_>) {
        match state {
            State::Listening => self.live.leave(),
            State::Watching => self.picture.leave(cx),
            State::Waiting(Wanted::Frame) => self.picture.stop_waiting(cx),
            _ => {}
        }
    }
}

impl Service for Web {
    type Session = WebSession;

    fn start(&mut self, cx: &mut Context<'_>) {
        self.live.start(cx);
    }

    fn open(&mut self, session: &mut WebSession, cx: &mut Context<'_>) {
        session.active = Some(cx.now());
        if let Some(keep_alive) = self.keep_alive {
            cx.set_deadline_after(keep_alive);
        }
    }

    fn receive(&mut self, session: &mut WebSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.go_on(session, input, cx);
    }

    fn end_of_input(&mut self, session: &mut WebSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        session.has_ended = true;
        match session.state {
            // Nobody reads a stream behind a half-close.
            State::Listening | State::Watching => {
                self.release(&session.state, cx);
                self.close(session, cx);
            }
            _ => self.go_on(session, input, cx),
        }
    }

    /// A deadline moves on lazily, so that an answer does not have to set one.
    fn timeout(&mut self, session: &mut WebSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        if let State::Waiting(Wanted::Frame) = session.state {
            // It is read again, and finds that there is none.
            cx.resume();
        }
        let (Some(keep_alive), Some(active)) = (self.keep_alive, session.active) else { return };
        match session.state {
            State::Ready if input.unread().is_empty() && active + keep_alive <= cx.now() => {
                self.close(session, cx);
            }
            State::Ready => cx.set_deadline((active + keep_alive).max(cx.now() + keep_alive / 8)),
            State::Waiting(_) | State::Found(_) | State::Sending { .. } => cx.set_deadline_after(keep_alive),
            State::Listening | State::Watching | State::Over => {}
        }
    }

    fn room_to_send(&mut self, session: &mut WebSession, cx: &mut Context<'_>) {
        let State::Sending { rest, keep_alive } = &mut session.state else { return };
        cx.send(&rest.split_to(STEP.min(rest.len())));
        session.active = Some(cx.now());
        if !rest.is_empty() {
            return cx.more_to_send();
        }
        if !*keep_alive || session.has_ended && !session.has_unread {
            return self.close(session, cx);
        }
        session.state = State::Ready;
        cx.resume();
    }

    fn finished(&mut self, session: Option<&mut WebSession>, answer: Answer, cx: &mut Context<'_>) {
        let looked = self.files.finished(answer, cx);
        if let Some(session) = session
            && matches!(session.state, State::Waiting(Wanted::Job))
        {
            cx.holds(looked.memory());
            session.state = State::Found(Box::new(looked));
            cx.resume();
        }
    }

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        if let Some(message) = self.picture.message(message, cx) {
            self.live.message(message, self.picture.shown(), cx);
        }
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.files.forget_old(cx.now());
        if self.live.tick(cx) || !self.files.is_empty() {
            cx.set_tick(cx.now() + live::EVERY);
        }
    }

    fn closed(&mut self, session: WebSession, _: &CloseReason, cx: &mut Context<'_>) {
        self.release(&session.state, cx);
    }

    fn footprint(&self, session: &WebSession) -> usize {
        match &session.state {
            State::Sending { rest, .. } => rest.len(),
            State::Found(found) => found.memory(),
            _ => 0,
        }
    }

    fn farewell(&self, why: Farewell) -> String {
        answers::farewell(why)
    }

    /// Words in the middle of an answer would be taken for a part of it.
    fn farewell_in(&self, session: &WebSession, why: Farewell) -> String {
        match session.state {
            State::Ready => answers::farewell(why),
            _ => String::new(),
        }
    }
}
