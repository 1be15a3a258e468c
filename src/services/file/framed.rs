//! The framed mode: requests in lines, answers with lengths and error codes.
//!
//! One request is served at a time. While its answer is worked out or sent, the connection
//! is left unread, so pipelined requests wait in the kernel and cost nothing.

use std::fmt::Write;
use std::sync::Arc;

use super::download::{Download, Opened};
use super::{FileService, Talk};
use crate::files::receiving::{self, Progress, Receiving};
use crate::files::{FileError, Name, Root, Step as SumStep, Summing, clean};
use crate::service::{Answer as Outcome, CloseReason, Context, Farewell, Input, Lane, OffloadError};
use crate::services::transfers::{SILENCE, SILENT, Transfer, Way};
use crate::wire::files::framed::{
    self, Answer, BAD_OFFSET, BAD_REQUEST, BUSY, BadRequest, Entry, INCOMPLETE, Request, Sha256, Step,
};

/// How much of a list goes out at once.
const PART: usize = 64 * 1024;

/// What a connection in framed mode is doing.
#[derive(Debug)]
pub(super) enum Framed {
    /// Waiting for a request.
    Ready,
    /// A job looks something up for a request about this name.
    Looking { name: Vec<u8> },
    /// The rest of a list is to be sent.
    Listing { text: Arc<[u8]>, sent: usize },
    /// A file goes out.
    Sending(Download),
    /// A file comes in.
    Storing(Box<Storing>),
    /// It was closed.
    Over,
}

/// A file on its way in.
#[derive(Debug)]
pub(super) struct Storing {
    transfer: Transfer,
    receiving: Receiving,
    size: u64,
    sha256: Option<Sha256>,
    /// Whether the client was told to send.
    has_begun: bool,
}

/// What a job has looked up.
enum Looked {
    List(Result<Arc<[u8]>, FileError>),
    Open(Box<Result<Opened, FileError>>),
    Sum(u64, Box<Result<SumStep, FileError>>),
}

impl Framed {
    /// Serves requests, or takes contents in.
    pub fn receive(
        &mut self,
        service: &FileService,
        talk: &mut Talk,
        input: &mut Input<'_>,
        cx: &mut Context<'_>,
    ) {
        loop {
            let unread = input.unread();
            match self {
                Framed::Ready if unread.is_empty() => break,
                Framed::Ready => {
                    if !cx.may_go_on(input) {
                        return;
                    }
                    let limit = cx.limits().line_length;
                    let (used, step) = match framed::next_request(unread, limit) {
                        (_, Step::Incomplete) if talk.has_ended => {
                            (unread.len(), framed::last_request(unread, limit))
                        }
                        next => next,
                    };
                    input.consume(used);
                    match step {
                        Step::Request(request) => self.serve(service, talk, request, cx),
                        Step::Bad(bad) => self.refuse_line(talk, bad, cx),
                        Step::Incomplete => break,
                        Step::TooLong => {
                            talk.refuse(BAD_REQUEST, &Farewell::TooLong.to_string(), cx);
                            *self = Framed::Over;
                            return cx.close_for(Farewell::TooLong);
                        }
                    }
                }
                Framed::Storing(storing) if storing.wants_more() && !unread.is_empty() => {
                    input.consume(storing.take(unread, cx));
                }
                _ => break,
            }
        }
        talk.has_unread = !input.unread().is_empty();
        match self {
            Framed::Over => {
                input.consume_all();
            }
            Framed::Ready if talk.has_ended => cx.close(),
            Framed::Ready => {}
            Framed::Storing(storing) if storing.wants_more() => {
                if talk.has_ended {
                    self.break_off("the contents end before their size", service, talk, cx);
                }
            }
            _ => cx.pause(),
        }
    }

    fn serve(&mut self, service: &FileService, talk: &mut Talk, request: Request<'_>, cx: &mut Context<'_>) {
        let root = service.root.clone();
        match request {
            Request::List => {
                cx.offload(Lane::Read, move || Looked::List(list(&root)));
                *self = Framed::Looking { name: Vec::new() };
            }
            Request::Get { offset, name } => self.look(talk, name, cx, |name, cx| {
                cx.offload(Lane::Read, move || Looked::Open(Box::new(Opened::open(&root, &name, offset))));
            }),
            Request::Sum { name } => self.look(talk, name, cx, |name, cx| {
                cx.offload(Lane::Hash, move || {
                    let found = match root.open(&name) {
                        Ok(found) => found,
                        Err(error) => return Looked::Sum(0, Box::new(Err(error))),
                    };
                    Looked::Sum(found.size, Box::new(root.sum(&found).step()))
                });
            }),
            Request::Put { size, sha256, name } => {
                let transfer = Transfer::begin(name, cx);
                let name = match clean(name) {
                    Ok(name) => name,
                    Err(why) => {
                        transfer.refused(&why.to_string(), cx);
                        talk.refuse(FileError::from(why).code(), &why.to_string(), cx);
                        return self.close(cx);
                    }
                };
                let (receiving, job) = Receiving::begin(&service.root, name, Some(size));
                cx.offload(Lane::Write, move || job.run());
                let storing = Storing { transfer, receiving, size, sha256, has_begun: false };
                *self = Framed::Storing(Box::new(storing));
            }
        }
    }

    /// Checks a name, and begins to look something up.
    fn look<'a>(
        &mut self,
        talk: &mut Talk,
        name: &[u8],
        cx: &mut Context<'a>,
        begin: impl FnOnce(Name, &mut Context<'a>),
    ) {
        match clean(name) {
            Ok(clean) => {
                begin(clean, cx);
                *self = Framed::Looking { name: name.to_vec() };
            }
            Err(why) => talk.refuse(FileError::from(why).code(), &why.to_string(), cx),
        }
    }

    fn refuse_line(&mut self, talk: &mut Talk, bad: BadRequest, cx: &mut Context<'_>) {
        talk.refuse(BAD_REQUEST, bad.why, cx);
        if bad.is_put {
            self.close(cx);
        }
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        *self = Framed::Over;
        cx.close();
    }

    /// Contents are missing, and are not waited for.
    fn break_off(&mut self, why: &str, service: &FileService, talk: &mut Talk, cx: &mut Context<'_>) {
        let Framed::Storing(storing) = std::mem::replace(self, Framed::Over) else { return };
        talk.refuse(INCOMPLETE, why, cx);
        storing.abandon(&service.name, why, cx);
        cx.close();
    }

    /// Time to see whether contents still come.
    pub fn timeout(&mut self, service: &FileService, talk: &mut Talk, cx: &mut Context<'_>) {
        let Framed::Storing(storing) = self else { return };
        if storing.receiving.is_silent() {
            self.break_off(SILENT, service, talk, cx);
        } else {
            cx.set_deadline_after(SILENCE);
        }
    }

    /// A job is done.
    pub fn finished(
        &mut self,
        service: &FileService,
        talk: &mut Talk,
        answer: Outcome,
        cx: &mut Context<'_>,
    ) {
        let result = match answer.result {
            Ok(result) => result,
            Err(error) => return self.job_failed(service, talk, error, cx),
        };
        match result.downcast::<Looked>() {
            Ok(looked) => self.looked(talk, *looked, cx),
            Err(result) => {
                if let Ok(done) = result.downcast::<receiving::Done>() {
                    self.stored(service, talk, *done, cx);
                }
            }
        }
    }

    fn looked(&mut self, talk: &mut Talk, looked: Looked, cx: &mut Context<'_>) {
        let Framed::Looking { name } = std::mem::replace(self, Framed::Ready) else { return };
        let refusal = match looked {
            Looked::List(Ok(text)) => {
                cx.holds(share(&text));
                *self = Framed::Listing { text, sent: 0 };
                return self.send_list(talk, cx);
            }
            Looked::Open(opened) => match *opened {
                Ok(opened) => match Download::is_within(&opened) {
                    true => {
                        let transfer = Transfer::begin(opened.found.name.as_str(), cx);
                        talk.say(Answer::Size(opened.found.size), cx);
                        let download = Download::begin(opened, transfer, talk.queued, cx);
                        talk.queued += download.length();
                        *self = Framed::Sending(download);
                        return;
                    }
                    false => {
                        let size = opened.found.size;
                        talk.refuse(BAD_OFFSET, &format!("the file has only {size} bytes"), cx);
                        return self.next(talk, cx);
                    }
                },
                Err(error) => error,
            },
            Looked::Sum(size, step) => match *step {
                Ok(SumStep::Done(sha256)) => {
                    talk.say(Answer::Sum { size, sha256 }, cx);
                    return self.next(talk, cx);
                }
                Ok(SumStep::More(summing)) => {
                    cx.offload(Lane::Hash, move || go_on(size, summing));
                    *self = Framed::Looking { name };
                    return;
                }
                Err(error) => error,
            },
            Looked::List(Err(error)) => error,
        };
        talk.refuse(refusal.code(), &refusal.to_string(), cx);
        self.next(talk, cx);
    }

    /// The disk has gone on with contents.
    fn stored(
        &mut self,
        service: &FileService,
        talk: &mut Talk,
        done: receiving::Done,
        cx: &mut Context<'_>,
    ) {
        let Framed::Storing(storing) = self else {
            // It was given up meanwhile.
            return cx.offload(Lane::Write, move || drop(done));
        };
        match storing.receiving.done(done) {
            Ok(Progress::Goes) => {
                if !std::mem::replace(&mut storing.has_begun, true) {
                    talk.say(Answer::Send, cx);
                    cx.set_deadline_after(SILENCE);
                }
                storing.go_on(cx);
                if storing.wants_more() {
                    cx.resume();
                }
            }
            Ok(Progress::Stored(stored)) => {
                talk.say(Answer::Stored(stored.name.as_str()), cx);
                storing.log_stored(&service.name, stored.name.as_str(), stored.size, cx);
                self.next(talk, cx);
            }
            Err(error) => {
                // All contents have come, so what follows is the next request.
                let goes_on = matches!(error, FileError::WrongSum);
                talk.refuse(error.code(), &error.to_string(), cx);
                storing.log_refused(&service.name, &error.to_string(), cx);
                if goes_on { self.next(talk, cx) } else { self.close(cx) }
            }
        }
    }

    /// A job had no place, or panicked.
    fn job_failed(
        &mut self,
        service: &FileService,
        talk: &mut Talk,
        error: OffloadError,
        cx: &mut Context<'_>,
    ) {
        let code = match error {
            OffloadError::QueueFull => BUSY,
            OffloadError::Panicked => "io",
        };
        talk.refuse(code, &error.to_string(), cx);
        match self {
            Framed::Storing(storing) => {
                storing.log_refused(&service.name, &error.to_string(), cx);
                self.close(cx);
            }
            _ => self.next(talk, cx),
        }
    }

    /// Turns to the next request.
    fn next(&mut self, talk: &Talk, cx: &mut Context<'_>) {
        *self = Framed::Ready;
        cx.clear_deadline();
        if talk.has_ended && !talk.has_unread {
            self.close(cx);
        } else {
            cx.resume();
        }
    }

    fn send_list(&mut self, talk: &mut Talk, cx: &mut Context<'_>) {
        let Framed::Listing { text, sent } = self else { return };
        let part = &text[*sent..text.len().min(*sent + PART)];
        talk.send(part, cx);
        *sent += part.len();
        if *sent < text.len() { cx.more_to_send() } else { self.next(talk, cx) }
    }

    /// What was sent so far is out.
    pub fn room_to_send(&mut self, service: &FileService, talk: &mut Talk, cx: &mut Context<'_>) {
        match self {
            Framed::Listing { .. } => self.send_list(talk, cx),
            Framed::Sending(download) => {
                download.complete(&service.name, cx);
                self.next(talk, cx);
            }
            _ => {}
        }
    }

    /// The connection is gone.
    pub fn closed(self, service: &FileService, why: &CloseReason, cx: &mut Context<'_>) {
        match self {
            Framed::Sending(download) => download.closed(&service.name, why, cx),
            Framed::Storing(storing) => storing.abandon(&service.name, &why.to_string(), cx),
            Framed::Ready | Framed::Looking { .. } | Framed::Listing { .. } | Framed::Over => {}
        }
    }

    /// The memory that its peer has made it take.
    pub fn memory(&self) -> usize {
        match self {
            Framed::Listing { text, .. } => share(text),
            Framed::Storing(storing) => storing.receiving.memory(),
            _ => 0,
        }
    }
}

impl Storing {
    /// Whether contents may come now.
    fn wants_more(&self) -> bool {
        self.has_begun && self.receiving.received() < self.size && !self.receiving.is_full()
    }

    /// Takes contents in, and says how many bytes.
    fn take(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let left = self.size - self.receiving.received();
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.receiving.take(&bytes[..count]);
        cx.holds(count);
        self.go_on(cx);
        count
    }

    fn go_on(&mut self, cx: &mut Context<'_>) {
        if self.receiving.received() == self.size {
            self.receiving.end(self.sha256);
        }
        if let Some(job) = self.receiving.next_job() {
            cx.offload(Lane::Write, move || job.run());
        }
    }

    fn log_stored(&mut self, service: &str, name: &str, size: u64, cx: &Context<'_>) {
        self.transfer.stored_as(name);
        self.transfer.complete(service, Way::In, size, cx.now());
    }

    fn log_refused(&self, service: &str, why: &str, cx: &mut Context<'_>) {
        match self.has_begun {
            true => {
                let done = (self.receiving.received(), Some(self.size));
                self.transfer.broken(service, Way::In, done, why, cx.now());
            }
            false => self.transfer.refused(why, cx),
        }
    }

    /// Gives up, and has what was begun removed.
    fn abandon(self, service: &str, why: &str, cx: &mut Context<'_>) {
        self.log_refused(service, why, cx);
        if let Some(incoming) = self.receiving.abandon() {
            cx.offload(Lane::Write, move || drop(incoming));
        }
    }
}

fn list(root: &Root) -> Result<Arc<[u8]>, FileError> {
    Ok(root.list()?.text(|listing| {
        let mut text = format!("{}\n", Answer::Entries(listing.files.len() as u64));
        for file in &listing.files {
            let entry = Entry { size: file.size, name: file.name.as_str() };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{entry}");
        }
        text.into()
    }))
}

/// What one of those who share a text holds of it.
fn share(text: &Arc<[u8]>) -> usize {
    text.len() / Arc::strong_count(text)
}

fn go_on(size: u64, summing: Summing) -> Looked {
    Looked::Sum(size, Box::new(summing.step()))
}
