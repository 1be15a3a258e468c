//! `onepoll put`: uploads files, framed or as the course does it.
//!
//! A file is opened and hashed in jobs, then offered to the server with its size and sum.
//! The kernel sends its contents. A file that fails does not keep the others from going
//! through; a server that is gone does.

mod course;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use onepoll::service::{
    Answer as Outcome, CloseReason, ConnectionId, Context, FileRange, Input, Lane, Service,
};
use onepoll::wire::files::framed::{About, Answer, Line, Sha256, format_sum, line};
use onepoll::wording::counted;

use super::progress::{Progress, summary};
use super::target::{Target, cause};
use super::transfer::{
    Completion, LONGEST_LINE, Refusal, Report, Server, Source, Step, Summing, run_transfer, shown,
};
use super::{ClientError, Run, Timeout, parse_timeout};

/// Upload files, each with its size and SHA-256
#[derive(Debug, Parser)]
#[command(name = "put")]
pub struct PutCommand {
    /// Speak as the course's programs do: a name, a pause, the contents, with nothing that says whether they arrived
    #[arg(long)]
    course: bool,
    /// Print one JSON object per file
    #[arg(long)]
    json: bool,
    /// How long the server may be silent, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "30s")]
    timeout: Timeout,
    /// The server; an IPv6 address needs brackets, as in [::1]:2600
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// What to upload
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl Run for PutCommand {
    /// Uploads one file after the other.
    fn run(self) -> Result<(), ClientError> {
        let PutCommand { course, json, timeout, target, files } = self;
        let completion = Completion::default();
        let server = Server::new(target, timeout);
        let report = Report { command: "put", json };
        let queue = Queue::new(files, report, completion.clone());
        if course {
            return run_transfer("put", &completion, course::Put::new(server, queue));
        }
        let client = Put {
            server,
            queue,
            link: None,
            is_connecting: false,
            stage: Stage::Idle,
            queued: 0,
            progress: Progress::none(),
        };
        run_transfer("put", &completion, client)
    }
}

/// The files that are to be sent, and what became of those before.
struct Queue {
    report: Report,
    files: VecDeque<PathBuf>,
    all: usize,
    failed: usize,
    last_failure: String,
    completion: Completion,
}

impl Queue {
    fn new(files: Vec<PathBuf>, report: Report, completion: Completion) -> Queue {
        let all = files.len();
        Queue { report, files: files.into(), all, failed: 0, last_failure: String::new(), completion }
    }

    /// The next file. If there is none, the client ends.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<PathBuf> {
        let next = self.files.pop_front();
        if next.is_none() {
            match (self.failed, self.all) {
                (0, _) => self.completion.stop(cx),
                (1, 1) => cx.fail(std::mem::take(&mut self.last_failure)),
                (failed, all) => {
                    cx.fail(format!("{failed} of {} did not go through", counted(all, "file")));
                }
            }
        }
        next
    }

    /// A file has failed, and the others are still to be tried.
    fn failed(&mut self, name: &str, code: Option<&str>, sentence: String, cx: &mut Context<'_>) {
        self.report.failed(Some(name), code, &sentence, cx);
        self.failed += 1;
        if self.all > 1 {
            self.report.remark(&sentence);
        }
        self.last_failure = sentence;
    }

    /// None of the others can be sent either.
    fn give_up(&mut self, name: Option<&str>, mut sentence: String, cx: &mut Context<'_>) {
        self.report.failed(name, None, &sentence, cx);
        if !self.files.is_empty() {
            sentence += &format!("; {} not sent", counted(self.files.len(), "more file"));
        }
        cx.fail(sentence);
    }
}

/// How far the current file is.
enum Stage {
    /// There is none.
    Idle,
    /// A job opens or hashes it.
    Hashing { path: PathBuf },
    /// It is to be offered, once there is a connection.
    Ready(Box<Upload>),
    /// The server was asked whether it takes it.
    Offered(Box<Upload>),
    /// Its contents go out, behind so many bytes of the connection.
    Sending { upload: Box<Upload>, start: u64 },
    /// All of it is out.
    Storing(Box<Upload>),
}

/// A file that is ready to be sent.
struct Upload {
    source: Source,
    sha256: Sha256,
    begun: Instant,
}

struct Put {
    server: Server,
    queue: Queue,
    link: Option<ConnectionId>,
    is_connecting: bool,
    stage: Stage,
    /// What was sent to this connection.
    queued: u64,
    progress: Progress,
}

/// What a job brings back: a file that is hashed as far as one job goes.
struct Hashed(Result<Step, String>);

impl Put {
    fn next_file(&mut self, cx: &mut Context<'_>) {
        self.server.rest();
        self.progress = Progress::none();
        self.stage = Stage::Idle;
        // Its jobs do not belong to the connection, which may end meanwhile.
        cx.set_tick(cx.now());
    }

    fn hashed(&mut self, hashed: Result<Step, String>, cx: &mut Context<'_>) {
        let Stage::Hashing { path } = &self.stage else { return };
        match hashed {
            Err(sentence) => {
                let name = path.to_string_lossy().into_owned();
                self.queue.failed(&name, None, sentence, cx);
                self.next_file(cx);
            }
            Ok(Step::More(summing)) => cx.offload(Lane::Hash, move || Hashed(summing.step())),
            Ok(Step::Done(source, sha256)) => {
                self.stage = Stage::Ready(Box::new(Upload { source, sha256, begun: cx.now() }));
                self.offer(cx);
            }
        }
    }

    /// Offers the file to the server, as soon as it is reached.
    fn offer(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.link else {
            if !std::mem::replace(&mut self.is_connecting, true) {
                self.server.connect(cx);
            }
            return;
        };
        let Stage::Ready(mut upload) = std::mem::replace(&mut self.stage, Stage::Idle) else { return };
        let Upload { source, sha256, .. } = &*upload;
        let request = format!("PUT {} {} {}\n", source.size, format_sum(sha256), source.name);
        cx.tell(link, request.as_bytes());
        self.queued += request.len() as u64;
        self.server.expect(0, cx);
        upload.begun = cx.now();
        self.stage = Stage::Offered(upload);
    }

    fn hear_line(&mut self, heard: &[u8], cx: &mut Context<'_>) {
        let about = match self.stage {
            Stage::Offered(_) => About::Put,
            Stage::Sending { .. } | Stage::Storing(_) => About::Contents,
            _ => return,
        };
        match (std::mem::replace(&mut self.stage, Stage::Idle), Answer::read(heard, about)) {
            (
                Stage::Offered(upload) | Stage::Sending { upload, .. } | Stage::Storing(upload),
                Some(Answer::Refused { code, why }),
            ) => {
                let name = shown(upload.source.name.as_str().as_ref());
                let Refusal { code, sentence } = Refusal::by(&self.server, &name, code, why);
                self.leave(cx);
                self.progress = Progress::none();
                self.queue.failed(upload.source.name.as_str(), Some(&code), sentence, cx);
                self.next_file(cx);
            }
            (Stage::Offered(upload), Some(Answer::Send)) => self.send(upload, cx),
            (Stage::Storing(upload), Some(Answer::Stored(name))) => self.stored(&upload, name, cx),
            _ => {
                let sentence =
                    format!("{} does not answer as a file server does: check the port", self.server);
                self.queue.give_up(None, sentence, cx);
            }
        }
    }

    /// Lets the kernel send the contents.
    fn send(&mut self, upload: Box<Upload>, cx: &mut Context<'_>) {
        let (size, start) = (upload.source.size, self.queued);
        self.server.expect(0, cx);
        if size == 0 {
            self.stage = Stage::Storing(upload);
            return;
        }
        self.progress = Progress::begin(upload.source.name.as_str(), 0, Some(size));
        cx.send_file(FileRange { file: upload.source.file.clone(), range: 0..size, warm: 0 });
        cx.more_to_send();
        self.queued += size;
        self.stage = Stage::Sending { upload, start };
    }

    fn stored(&mut self, upload: &Upload, stored: &str, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        let Upload { source, sha256, begun } = upload;
        let (name, time) = (source.name.as_str(), cx.moment().duration_since(*begun));
        let members = serde_json::json!({
            "name": name,
            "stored_as": stored,
            "bytes": source.size,
            "seconds": time.as_secs_f64(),
            "sha256": format_sum(sha256),
            "verified": true,
        });
        let named = if stored == name { name.to_owned() } else { format!("{name} as {stored}") };
        if self.queue.report.done(&summary("put", &named, source.size, source.size, time), members, cx) {
            self.next_file(cx);
        } else {
            self.queue.completion.stop(cx);
        }
    }

    /// Leaves this connection: after a refusal the server closes it, mostly.
    fn leave(&mut self, cx: &mut Context<'_>) {
        self.link = None;
        self.server.rest();
        cx.abort();
    }

    /// The connection ended in the middle of something.
    fn ended(&mut self, how: &str, cx: &mut Context<'_>) {
        self.link = None;
        self.progress = Progress::none();
        let (Stage::Offered(upload) | Stage::Sending { upload, .. } | Stage::Storing(upload)) = &self.stage
        else {
            return;
        };
        let name = upload.source.name.to_string();
        let when = match self.stage {
            Stage::Sending { .. } => "before it had all of",
            Stage::Storing(_) => "before it said whether it has stored",
            _ => "before it took",
        };
        let shown = shown(Path::new(&name));
        let sentence = format!("{} {how} {when} {shown}; check what the server itself reports", self.server);
        self.queue.give_up(Some(&name), sentence, cx);
    }
}

impl Service for Put {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.tick(cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let Some(path) = self.queue.next(cx) else { return };
        self.stage = Stage::Hashing { path: path.clone() };
        cx.offload(Lane::Read, move || Hashed(Summing::open(&path)));
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Outcome, cx: &mut Context<'_>) {
        let Outcome { connection, result } = answer;
        match result.map(|result| result.downcast::<Hashed>()) {
            Ok(Ok(hashed)) => self.hashed(hashed.0, cx),
            Ok(Err(found)) => self.server.found(Outcome { connection, result: Ok(found) }, cx),
            Err(error) => self.queue.give_up(None, format!("the files cannot be read: {error}"), cx),
        }
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.link = cx.connection();
        (self.is_connecting, self.queued) = (false, 0);
        self.server.keep_time(cx);
        self.offer(cx);
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.server.moved(cx);
        // Not from a connection that was left.
        while cx.connection() == self.link && !input.unread().is_empty() {
            let unread = input.unread();
            let (used, heard) = line(unread, LONGEST_LINE);
            input.consume(used);
            match heard {
                Line::Whole(heard) => self.hear_line(heard, cx),
                Line::Incomplete if unread.len() <= LONGEST_LINE => return,
                Line::Incomplete | Line::TooLong => {
                    input.consume_all();
                    self.hear_line(b"", cx);
                }
            }
        }
    }

    fn room_to_send(&mut self, _: &mut (), cx: &mut Context<'_>) {
        if let Stage::Sending { upload, .. } = std::mem::replace(&mut self.stage, Stage::Idle) {
            self.progress.set(upload.source.size);
            // Some of it is still to reach the server, and its disk has to take it.
            self.server.expect(upload.source.size, cx);
            self.stage = Stage::Storing(upload);
        }
    }

    fn end_of_input(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.receive(&mut (), input, cx);
        if cx.connection() == self.link {
            self.ended("closed the connection", cx);
            cx.abort();
        }
    }

    fn timeout(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        if let Stage::Sending { start, .. } = self.stage {
            let sent = cx.bytes_sent().saturating_sub(start);
            if self.progress.position() != sent {
                self.progress.set(sent);
                self.server.moved(cx);
            }
        }
        if let Some(sentence) = self.server.silence(cx) {
            return self.queue.give_up(None, sentence, cx);
        }
        self.server.keep_time(cx);
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::NotConnected(error) => {
                if let Err(sentence) = self.server.not_connected(error, cx) {
                    self.queue.give_up(None, sentence, cx);
                }
            }
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            _ if cx.connection() != self.link => {}
            CloseReason::FileShrank => {
                self.link = None;
                if let Stage::Sending { upload, .. } = std::mem::replace(&mut self.stage, Stage::Idle) {
                    let (name, sentence) = (upload.source.name.as_str(), upload.source.shrank());
                    self.queue.failed(name, None, sentence, cx);
                    self.next_file(cx);
                }
            }
            CloseReason::Reset => self.ended("reset the connection", cx),
            CloseReason::Failed(error) => self.ended(&format!("is lost ({})", cause(error)), cx),
            why => self.ended(&format!("is lost ({why})"), cx),
        }
    }
}
