//! file: hands out and takes files, over TCP and UDP.
//!
//! A TCP connection is in one of two modes. Its first input decides: a request begins the
//! `framed` mode, with lengths and error codes; anything else asks for a file as the
//! `course` does it, which is a name, a pause, the contents and the end. Over UDP files
//! only come in (`udp`). `download` is a file on its way out, in either mode.
//!
//! Every file is opened, read and written by jobs off the loop.

mod course;
mod download;
mod framed;
#[cfg(test)]
mod tests;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::values::{self, Read, Toml};
use crate::config::{Description, Key, Plan, Settings, Value, files};
use crate::files::{Name, Root, clean};
use crate::service::{Answer, CloseReason, Context, Farewell, Input, Lane, Service, SocketId};
use crate::services::transfers::drop_off_the_loop;
use crate::wire::files::framed::{self as wire, BAD_REQUEST, Opening};
use course::Course;
use framed::Framed;
use udp::Uploads;

/// What the catalog says about it.
pub static DESCRIPTION: Description = Description {
    name: "file",
    about: "hands out files and takes them",
    notes: "",
    tcp: Some(2600),
    udp: Some(2600),
    keys: &[
        files::ROOT,
        OFFER,
        NAME_GAP,
        files::WRITABLE,
        files::MAX_FILE_SIZE,
        files::MAX_TOTAL_SIZE,
        files::MAX_FILES,
    ],
    plan,
};

const OFFER: Key = Key {
    name: "offer",
    value: Value::Sample(r#""welcome.txt""#),
    about: "The file for clients that name none. If unset: the newest one.",
};

const NAME_GAP: Key = Key {
    name: "name_gap",
    value: Value::Default(r#""200ms""#),
    about: "The pause between a file's name and its contents, for clients that name none of the \
            requests: they receive the name with one recv.",
};

fn plan(settings: &mut Settings<'_>) -> Plan {
    let root = files::root(settings, &files::WRITABLE);
    let offer = settings.get_or(&OFFER, None, |value| name(value).map(Some));
    let name_gap = settings.get(&NAME_GAP, values::duration);
    let (name, stores_in) = (settings.name.to_owned(), root.stores_in());
    let service = FileService { name, root, offer, name_gap, uploads: Uploads::default() };
    Plan { stores_in, ..settings.listen(service) }
}

fn name(value: &Toml<'_>) -> Read<Name> {
    let text = values::text(value)?;
    let name = clean(&text).map_err(|why| why.to_string())?;
    if name.as_str() != text {
        return Err(format!("{text:?} is not the name of a file in the folder; write {:?}", name.as_str()));
    }
    Ok(name)
}

/// A first input that can still become a request is waited for this long.
const VERB_WAIT: Duration = Duration::from_millis(200);

/// The file service.
#[derive(Debug)]
pub struct FileService {
    /// What the log calls it.
    name: String,
    root: Root,
    offer: Option<Name>,
    name_gap: Duration,
    uploads: Uploads,
}

/// One connection of the file service.
#[derive(Debug, Default)]
pub struct FileSession {
    mode: Mode,
    talk: Talk,
}

#[derive(Debug, Default)]
enum Mode {
    /// Nothing has come that decides.
    #[default]
    Undecided,
    /// The first input can still become a request.
    Unclear,
    Course(Course),
    Framed(Framed),
}

/// What either mode keeps about its connection.
#[derive(Debug, Default)]
struct Talk {
    /// How many bytes the connection was sent, or will be.
    queued: u64,
    /// Whether the client sends no more.
    has_ended: bool,
    /// Whether requests are left unread.
    has_unread: bool,
}

impl Talk {
    fn send(&mut self, bytes: &[u8], cx: &mut Context<'_>) {
        self.queued += bytes.len() as u64;
        cx.send(bytes);
    }

    fn say(&mut self, answer: wire::Answer<'_>, cx: &mut Context<'_>) {
        self.send(format!("{answer}\n").as_bytes(), cx);
    }

    fn refuse(&mut self, code: &str, why: &str, cx: &mut Context<'_>) {
        self.say(wire::Answer::Refused { code, why }, cx);
    }
}

impl FileService {
    /// Goes on with what has come; `decides` if no more will.
    fn go_on(&self, session: &mut FileSession, input: &mut Input<'_>, decides: bool, cx: &mut Context<'_>) {
        let FileSession { mode, talk } = session;
        if matches!(mode, Mode::Undecided | Mode::Unclear) {
            match Opening::of(input.unread()) {
                Opening::Framed => {
                    cx.clear_deadline();
                    *mode = Mode::Framed(Framed::Ready);
                }
                Opening::Unclear if !decides => {
                    if matches!(mode, Mode::Undecided) {
                        cx.set_deadline_after(VERB_WAIT);
                        *mode = Mode::Unclear;
                    }
                    return;
                }
                Opening::Unclear | Opening::Plain => {
                    cx.clear_deadline();
                    *mode = Mode::Course(Course::begin(self, input.unread(), cx));
                }
            }
        }
        match mode {
            Mode::Framed(framed) => framed.receive(self, talk, input, cx),
            _ => {
                input.consume_all();
            }
        }
    }
}

impl Service for FileService {
    type Session = FileSession;

    fn start(&mut self, cx: &mut Context<'_>) {
        let root = self.root.clone();
        // If it fails, the log has said why, and the first client finds out again.
        cx.offload(Lane::Read, move || drop(root.prepare()));
    }

    fn receive(&mut self, session: &mut FileSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.go_on(session, input, false, cx);
    }

    fn timeout(&mut self, session: &mut FileSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        match &mut session.mode {
            Mode::Undecided | Mode::Unclear => self.go_on(session, input, true, cx),
            Mode::Course(course) => course.timeout(&session.talk, cx),
            Mode::Framed(framed) => framed.timeout(self, &mut session.talk, cx),
        }
    }

    fn end_of_input(&mut self, session: &mut FileSession, input: &mut Input<'_>, cx: &mut Context<'_>) {
        session.talk.has_ended = true;
        match session.mode {
            Mode::Undecided if input.unread().is_empty() => cx.close(),
            _ => self.go_on(session, input, true, cx),
        }
    }

    fn room_to_send(&mut self, session: &mut FileSession, cx: &mut Context<'_>) {
        match &mut session.mode {
            Mode::Course(course) => course.room_to_send(self, cx),
            Mode::Framed(framed) => framed.room_to_send(self, &mut session.talk, cx),
            Mode::Undecided | Mode::Unclear => {}
        }
    }

    fn finished(&mut self, session: Option<&mut FileSession>, answer: Answer, cx: &mut Context<'_>) {
        match session {
            Some(FileSession { mode: Mode::Course(course), talk }) => course.finished(self, talk, answer, cx),
            Some(FileSession { mode: Mode::Framed(framed), talk }) => framed.finished(self, talk, answer, cx),
            Some(_) => {}
            None if answer.connection.is_none() => self.upload_went_on(answer, cx),
            None => drop_off_the_loop(answer, cx),
        }
    }

    fn closed(&mut self, session: FileSession, why: &CloseReason, cx: &mut Context<'_>) {
        match session.mode {
            Mode::Course(course) => course.closed(self, why, cx),
            Mode::Framed(framed) => framed.closed(self, why, cx),
            Mode::Undecided | Mode::Unclear => {}
        }
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        self.receive_datagram(on, from, datagram, cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        self.expire_uploads(cx);
    }

    fn footprint(&self, session: &FileSession) -> usize {
        match &session.mode {
            Mode::Framed(framed) => framed.memory(),
            _ => 0,
        }
    }

    /// In course mode words would be taken for a file, so only a request that is not
    /// finished in time is answered.
    fn farewell(&self, why: Farewell) -> String {
        match why {
            Farewell::MessageTimeout | Farewell::TooLong => {
                format!("{}\n", wire::Answer::Refused { code: BAD_REQUEST, why: &why.to_string() })
            }
            Farewell::Full | Farewell::TooManyFromPeer | Farewell::Idle => String::new(),
        }
    }
}
