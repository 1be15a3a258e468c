//! Uploads as the course does it: the server is ready, then a name, a pause, the contents
//! and the end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onepoll::service::{Answer as Outcome, CloseReason, Context, FileRange, Input, Lane, Service};

use super::Queue;
use crate::client::progress::{Progress, summary};
use crate::client::target::cause;
use crate::client::transfer::{Server, Source, shown};

/// The pause between the name and the contents, without which the server may receive both
/// at once.
const NAME_GAP: Duration = Duration::from_millis(200);

/// How far the current file is.
#[derive(Default)]
enum Stage {
    /// There is none.
    #[default]
    Idle,
    /// A job opens it.
    Opening { path: PathBuf },
    /// The server is to say that it is ready.
    Waiting(Upload),
    /// The name is out.
    Pausing { upload: Upload, until: Instant },
    /// The contents go out.
    Sending(Upload),
    /// All of it is out.
    Sent(Upload),
}

struct Upload {
    source: Source,
    begun: Instant,
}

/// The client of one server; each file takes a connection of its own.
pub(super) struct Put {
    server: Server,
    queue: Queue,
    stage: Stage,
    progress: Progress,
}

impl Put {
    pub fn new(server: Server, queue: Queue) -> Put {
        Put { server, queue, stage: Stage::Idle, progress: Progress::none() }
    }

    fn next_file(&mut self, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        self.server.rest();
        let Some(path) = self.queue.next(cx) else { return };
        self.stage = Stage::Opening { path: path.clone() };
        cx.offload(Lane::Read, move || Source::open(&path));
    }

    fn opened(&mut self, opened: Result<Source, String>, cx: &mut Context<'_>) {
        match opened {
            Ok(source) => {
                self.stage = Stage::Waiting(Upload { source, begun: cx.now() });
                self.server.connect(cx);
            }
            Err(sentence) => {
                let Stage::Opening { path } = &self.stage else { return };
                let name = path.to_string_lossy().into_owned();
                self.queue.failed(&name, None, sentence, cx);
                self.next_file(cx);
            }
        }
    }

    /// The pause is over: the kernel sends the contents.
    fn send(&mut self, upload: Upload, cx: &mut Context<'_>) {
        let Source { file, name, size } = &upload.source;
        self.progress = Progress::begin(name.as_str(), 0, Some(*size));
        cx.send_file(FileRange { file: file.clone(), range: 0..*size, warm: 0 });
        cx.more_to_send();
        self.stage = Stage::Sending(upload);
    }

    fn sent(&mut self, upload: &Upload, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        let (name, size) = (upload.source.name.as_str(), upload.source.size);
        let time = cx.moment().duration_since(upload.begun);
        let members = serde_json::json!({
            "name": name,
            "bytes": size,
            "seconds": time.as_secs_f64(),
            "verified": false,
        });
        if self.queue.report.done(&summary("sent", name, size, size, time), members, cx) {
            self.next_file(cx);
        } else {
            self.queue.completion.stop(cx);
        }
    }

    /// The connection ended before its time.
    fn ended(&mut self, how: &str, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        let Some(upload) = self.upload() else { return };
        let name = upload.source.name.to_string();
        let when = match self.stage {
            Stage::Waiting(_) => "before it was ready for",
            _ => "before it had all of",
        };
        let shown = shown(Path::new(&name));
        let sentence = format!("{} {how} {when} {shown}; check what the server itself reports", self.server);
        self.queue.give_up(Some(&name), sentence, cx);
    }

    fn upload(&self) -> Option<&Upload> {
        match &self.stage {
            Stage::Idle | Stage::Opening { .. } => None,
            Stage::Waiting(upload) | Stage::Pausing { upload, .. } => Some(upload),
            Stage::Sending(upload) | Stage::Sent(upload) => Some(upload),
        }
    }
}

impl Service for Put {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.next_file(cx);
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Outcome, cx: &mut Context<'_>) {
        let Outcome { connection, result } = answer;
        match result.map(|result| result.downcast::<Result<Source, String>>()) {
            Ok(Ok(opened)) => self.opened(*opened, cx),
            Ok(Err(found)) => self.server.found(Outcome { connection, result: Ok(found) }, cx),
            Err(error) => self.queue.give_up(None, format!("the files cannot be read: {error}"), cx),
        }
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.server.keep_time(cx);
        self.server.expect(0, cx);
    }

    /// Whatever the server says first, it is ready; what it says later is of no use.
    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        self.server.moved(cx);
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Waiting(upload) => {
                cx.send(upload.source.name.as_str().as_bytes());
                let until = cx.now() + NAME_GAP;
                Stage::Pausing { upload: Upload { begun: cx.now(), ..upload }, until }
            }
            other => other,
        };
    }

    fn timeout(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        self.server.keep_time(cx);
        match std::mem::take(&mut self.stage) {
            Stage::Pausing { upload, until } if until <= cx.now() => self.send(upload, cx),
            other => self.stage = other,
        }
        if let Stage::Sending(upload) = &self.stage {
            let sent = cx.bytes_sent().saturating_sub(upload.source.name.as_str().len() as u64);
            if self.progress.position() != sent {
                self.progress.set(sent);
                self.server.moved(cx);
            }
        }
        if let Some(mut sentence) = self.server.silence(cx) {
            if matches!(self.stage, Stage::Waiting(_)) {
                sentence += "; the course's upload server speaks first";
            }
            let name = self.upload().map(|upload| upload.source.name.to_string());
            self.queue.give_up(name.as_deref(), sentence, cx);
        }
    }

    fn room_to_send(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.stage = match std::mem::take(&mut self.stage) {
            Stage::Sending(upload) => {
                self.server.rest();
                cx.close();
                Stage::Sent(upload)
            }
            other => other,
        };
    }

    fn end_of_input(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        input.consume_all();
        self.ended("closed the connection", cx);
        cx.abort();
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        match why {
            CloseReason::NotConnected(error) => {
                if let Err(sentence) = self.server.not_connected(error, cx) {
                    self.queue.give_up(None, sentence, cx);
                }
            }
            CloseReason::ShuttingDown | CloseReason::CutOff => {}
            CloseReason::ByUs => {
                if let Stage::Sent(upload) = std::mem::take(&mut self.stage) {
                    self.sent(&upload, cx);
                }
            }
            CloseReason::FileShrank => {
                if let Some(upload) = self.upload() {
                    let (name, sentence) = (upload.source.name.to_string(), upload.source.shrank());
                    self.queue.failed(&name, None, sentence, cx);
                }
                self.next_file(cx);
            }
            CloseReason::Reset => self.ended("reset the connection", cx),
            CloseReason::Failed(error) => self.ended(&format!("is lost ({})", cause(error)), cx),
            why => self.ended(&format!("is lost ({why})"), cx),
        }
    }
}
