//! A download: what is asked, what comes, and what is handed to the disk.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use onepoll::service::{Answer as JobAnswer, CloseReason, Context, Input, Lane, Service};
use onepoll::wire::files::framed::{About, Answer, Entry, Line, Sha256, line};

use super::offer::{self, Offer};
use crate::client::progress::Progress;
use crate::client::target::cause;
use crate::client::transfer::{
    Completion, Destination, Filling, LONGEST_LINE, Report, Saving, Server, shown,
};

/// What the course's clients say to begin a download.
const READY: &[u8] = b"I am ready";
/// How long a broken download waits until the disk has what came. A write that had not begun
/// when the server reset the connection is lost with it, and nobody tells.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// What the user wants.
pub(super) struct Wanted {
    pub name: Option<String>,
    pub output: Option<PathBuf>,
    pub force: bool,
    pub resume: bool,
    pub course: bool,
}

/// What the server has been asked, and what comes next.
#[derive(Debug)]
pub(super) enum Dialog {
    /// Nothing was asked yet.
    Silent,
    /// How many files there are.
    Count,
    /// The only one of them.
    OnlyOne,
    /// The local file is being looked at, before anything is asked.
    Preparing,
    /// The size of the file.
    Size,
    /// The file's name, perhaps with contents.
    Offer,
    /// So many bytes; without a number, all until the server closes.
    Contents { left: Option<u64> },
    /// The sum of the file.
    Sum,
    /// All has come. A framed server has told the size and the sum.
    Whole(Option<(u64, Sha256)>),
    /// The file gets its name.
    Over,
}

/// Bytes of the file.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counted {
    /// Those that an earlier download had left.
    pub resumed: u64,
    /// All that are there now.
    pub came: u64,
    /// The size that the server has told.
    pub size: Option<u64>,
}

/// What a job brings back.
enum Done {
    /// Nothing is in the way. There may be a partial file to go on from.
    Prepared(Result<Option<Saving>, String>),
    /// Open or written to, with the buffer of what was written.
    Written(Result<(Saving, Vec<u8>), String>),
    /// The file has its name, and the contents this sum.
    Saved(Result<Sha256, String>),
}

/// The client of one server.
pub(super) struct Download {
    pub server: Server,
    pub report: Report,
    pub wanted: Wanted,
    pub dialog: Dialog,
    filling: Filling,
    /// A job opens the file or writes to it.
    is_writing: bool,
    pub progress: Progress,
    /// Where what came is kept if the download breaks.
    pub part: Option<PathBuf>,
    /// How many bytes are known to be there.
    pub written: u64,
    pub counted: Counted,
    pub begun: Option<Instant>,
    /// The download is broken, and fails as soon as the disk has what came.
    pub failure: Option<String>,
    pub completion: Completion,
}

impl Download {
    pub fn new(server: Server, report: Report, wanted: Wanted, completion: Completion) -> Download {
        Download {
            server,
            report,
            wanted,
            dialog: Dialog::Silent,
            filling: Filling::default(),
            is_writing: false,
            progress: Progress::none(),
            part: None,
            written: 0,
            counted: Counted::default(),
            begun: None,
            failure: None,
            completion,
        }
    }

    /// Looks at the place where the file is to be, before the server is asked for it.
    fn prepare(&mut self, cx: &mut Context<'_>) {
        let Wanted { name, output, force, resume, course: _ } = &self.wanted;
        let name = name.as_deref().unwrap_or_default();
        if name.chars().any(char::is_control) {
            return self.fail(None, "the name of a file has no control characters; check it".into(), cx);
        }
        match Destination::of(output.as_deref(), name, *force, *resume) {
            Ok(destination) => cx.offload(Lane::Write, move || Done::Prepared(destination.prepare())),
            Err(sentence) => self.fail(None, sentence, cx),
        }
    }

    /// Where a file of that name is to be.
    pub fn destination(&self, name: &str) -> Result<Destination, String> {
        let Wanted { output, force, resume, .. } = &self.wanted;
        Destination::of(output.as_deref(), name, *force, *resume)
    }

    /// Sends the first words on a connection.
    fn begin(&mut self, cx: &mut Context<'_>) {
        self.server.expect(0, cx);
        match (&self.wanted.name, self.wanted.course) {
            (name, true) => {
                cx.send(name.as_deref().map_or(READY, str::as_bytes));
                self.dialog = Dialog::Offer;
            }
            (Some(_), false) => self.ask(cx),
            (None, false) => {
                cx.send(b"LIST\n");
                self.dialog = Dialog::Count;
            }
        }
    }

    /// Asks for the contents and, so that nothing has to go back and forth, for the sum.
    fn ask(&mut self, cx: &mut Context<'_>) {
        let name = self.wanted.name.as_deref().unwrap_or_default();
        let request = format!("GET {} {name}\nSUM {name}\n", self.counted.resumed);
        cx.send(request.as_bytes());
        self.begun = Some(cx.now());
        self.server.expect(0, cx);
        self.dialog = Dialog::Size;
    }

    /// Takes what the server says, as far as it has come.
    fn hear(&mut self, input: &mut Input<'_>, cx: &mut Context<'_>) {
        while self.failure.is_none() && !input.unread().is_empty() {
            let unread = input.unread();
            match &mut self.dialog {
                Dialog::Offer => {
                    input.consume_all();
                    self.hear_offer(unread, cx);
                }
                Dialog::Contents { left } => {
                    let most = left.map_or(unread.len() as u64, |left| left.min(unread.len() as u64));
                    let contents = &unread[..most as usize];
                    input.consume(contents.len());
                    if let Some(left) = left {
                        *left -= most;
                        if *left == 0 {
                            self.await_sum(cx);
                        }
                    }
                    self.take(contents, cx);
                }
                Dialog::Count | Dialog::OnlyOne | Dialog::Size | Dialog::Sum => {
                    let (used, heard) = line(unread, LONGEST_LINE);
                    input.consume(used);
                    match heard {
                        Line::Whole(heard) => self.hear_line(heard, cx),
                        Line::Incomplete if unread.len() <= LONGEST_LINE => break,
                        Line::Incomplete | Line::TooLong => {
                            input.consume_all();
                            self.not_understood(cx);
                        }
                    }
                }
                // Nothing more is wanted.
                Dialog::Silent | Dialog::Preparing | Dialog::Whole(_) | Dialog::Over => {
                    input.consume_all();
                }
            }
        }
        self.write_on(cx);
    }

    fn hear_line(&mut self, heard: &[u8], cx: &mut Context<'_>) {
        let about = match self.dialog {
            Dialog::Count => About::List,
            Dialog::Sum => About::Sum,
            _ => About::Get,
        };
        if let (Dialog::OnlyOne, Some(entry)) = (&self.dialog, Entry::read(heard)) {
            self.wanted.name = Some(entry.name.to_owned());
            self.dialog = Dialog::Preparing;
            self.server.rest();
            return self.prepare(cx);
        }
        match (&self.dialog, Answer::read(heard, about)) {
            (_, Some(Answer::Refused { code, why })) => self.refused(code, why, cx),
            (Dialog::Count, Some(Answer::Entries(1))) => self.dialog = Dialog::OnlyOne,
            (Dialog::Count, Some(Answer::Entries(0))) => {
                self.fail(None, format!("{} has no files yet", self.server), cx);
            }
            (Dialog::Count, Some(Answer::Entries(count))) => {
                let server = &self.server;
                let sentence =
                    format!("{server} has {count} files: name one; onepoll ls {server} lists them");
                self.fail(None, sentence, cx);
            }
            (Dialog::Size, Some(Answer::Size(size))) if size >= self.counted.resumed => {
                self.contents_begin(size, cx);
            }
            (Dialog::Sum, Some(Answer::Sum { size, sha256 })) => {
                self.server.rest();
                self.dialog = Dialog::Whole(Some((size, sha256)));
            }
            _ => self.not_understood(cx),
        }
    }

    /// Takes the name that a course server sends, and what came with it.
    fn hear_offer(&mut self, read: &[u8], cx: &mut Context<'_>) {
        let asked = self.wanted.name.as_deref();
        let Some(Offer { name, contents, guess, .. }) = Offer::read(read, asked) else {
            let sentence = format!(
                "{} sent the file's name and contents together, and nothing tells them apart: {}",
                self.server, "TCP is a stream of bytes; the server has to pause between the two"
            );
            return self.break_off(sentence, cx);
        };
        if let Some(guess) = guess {
            let sentence = format!("name and contents came together; the name was cut by guess: {guess}");
            self.report.remark(&sentence);
        }
        self.begun = Some(cx.now());
        let destination = match self.destination(name) {
            Ok(destination) => destination,
            Err(sentence) => return self.break_off(sentence, cx),
        };
        self.wanted.name = Some(name.to_owned());
        self.progress = Progress::begin(name, 0, None);
        self.dialog = Dialog::Contents { left: None };
        self.is_writing = true;
        cx.offload(Lane::Write, move || {
            let created = destination.clone().prepare().and_then(|_| Saving::create(destination, false));
            Done::Written(created.map(|saving| (saving, Vec::new())))
        });
        self.take(contents, cx);
    }

    /// The server has told the size; its contents follow.
    fn contents_begin(&mut self, size: u64, cx: &mut Context<'_>) {
        let name = self.wanted.name.clone().unwrap_or_default();
        let destination = match self.destination(&name) {
            Ok(destination) => destination,
            Err(sentence) => return self.break_off(sentence, cx),
        };
        self.part = Some(destination.part().to_owned());
        let resumed = self.counted.resumed;
        self.counted.size = Some(size);
        self.server.expect(0, cx);
        self.progress = Progress::begin(&name, resumed, Some(size));
        match size - resumed {
            0 => self.await_sum(cx),
            left => self.dialog = Dialog::Contents { left: Some(left) },
        }
        if self.filling.settled().is_none() {
            self.is_writing = true;
            cx.offload(Lane::Write, move || {
                Done::Written(Saving::create(destination, true).map(|saving| (saving, Vec::new())))
            });
        }
    }

    /// All contents have come. The server hashes all of them before it tells the sum.
    fn await_sum(&mut self, cx: &mut Context<'_>) {
        self.dialog = Dialog::Sum;
        self.server.expect(self.counted.size.unwrap_or(0), cx);
    }

    fn take(&mut self, contents: &[u8], cx: &mut Context<'_>) {
        self.filling.take(contents);
        self.counted.came += contents.len() as u64;
        self.progress.set(self.counted.came);
        self.server.moved(cx);
    }

    /// Hands what is waiting to the disk, and goes on once it is all there.
    fn write_on(&mut self, cx: &mut Context<'_>) {
        if let Some((saving, bytes)) = self.filling.next() {
            self.is_writing = true;
            cx.offload(Lane::Write, move || {
                Done::Written(saving.write(&bytes).map(|saving| (saving, bytes)))
            });
        }
        if self.filling.is_full() {
            cx.pause();
        }
        if self.failure.is_some() {
            if !self.is_writing {
                self.give_up(cx);
            }
            return;
        }
        let Some(saving) = self.filling.settled() else { return };
        let Dialog::Whole(told) = self.dialog else { return };
        if let Some((size, sha256)) = told
            && (saving.sum() != sha256 || saving.written() != size)
        {
            saving.discard();
            self.part = None;
            let name = self.wanted.name.as_deref().unwrap_or_default();
            let again = match self.counted.resumed {
                0 => "; the file may have changed meanwhile: get it again",
                _ => ", so the partial file was one of another version, and is removed: get it again",
            };
            let sentence = format!("the sum of {} differs from the server's{again}", shown(name.as_ref()));
            return self.fail(Some("wrong-sum"), sentence, cx);
        }
        self.dialog = Dialog::Over;
        // Not a job of the connection, since it is to be done even if that ends now.
        cx.set_tick(cx.now());
    }

    /// Fails once the disk has what came. The connection, if there is one, stays until then:
    /// its end would take a write along that has not begun.
    pub fn break_off(&mut self, sentence: String, cx: &mut Context<'_>) {
        self.failure.get_or_insert(sentence);
        cx.pause();
        cx.set_tick(cx.now() + LAST_WRITES);
        self.write_on(cx);
    }

    /// Nothing is in the way of the file.
    fn prepared(&mut self, cx: &mut Context<'_>) {
        match self.dialog {
            // On the connection that has told the name.
            Dialog::Preparing => self.ask(cx),
            _ => self.server.connect(cx),
        }
    }

    /// Whether the name may have swallowed the contents.
    fn is_doubtful(&self) -> bool {
        self.wanted.name.as_deref().is_some_and(offer::is_doubtful)
    }
}

impl Service for Download {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        match (&self.wanted.name, &self.wanted.output) {
            // Nothing is known yet about the place.
            (None, None) => self.server.connect(cx),
            (None, Some(_)) if !self.wanted.course => self.server.connect(cx),
            _ => self.prepare(cx),
        }
    }

    fn open(&mut self, _: &mut (), cx: &mut Context<'_>) {
        self.server.keep_time(cx);
        self.begin(cx);
    }

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.hear(input, cx);
    }

    fn end_of_input(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        self.hear(input, cx);
        if self.failure.is_some() {
            return;
        }
        match self.dialog {
            Dialog::Contents { left: None } if self.counted.came > 0 || !self.is_doubtful() => {
                self.server.rest();
                self.dialog = Dialog::Whole(None);
                self.write_on(cx);
            }
            Dialog::Contents { left: None } => {
                let name = shown(Path::new(self.wanted.name.as_deref().unwrap_or_default()));
                let sentence = format!(
                    "{} sent {name:?} and no contents: the name may have swallowed them, as TCP is a stream of bytes",
                    self.server
                );
                self.break_off(sentence, cx);
            }
            Dialog::Whole(_) | Dialog::Over => {}
            _ => {
                let sentence = self.ended("closed the connection");
                self.break_off(sentence, cx);
            }
        }
    }

    fn timeout(&mut self, _: &mut (), _: &mut Input<'_>, cx: &mut Context<'_>) {
        if self.failure.is_some() {
            return;
        }
        if self.is_writing {
            // Our own disk keeps the server waiting.
            self.server.moved(cx);
        }
        match self.server.silence(cx) {
            Some(sentence) => self.break_off(sentence, cx),
            None => self.server.keep_time(cx),
        }
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        let sentence = match why {
            CloseReason::NotConnected(error) => match self.server.not_connected(error, cx) {
                Ok(()) => return,
                Err(sentence) => sentence,
            },
            CloseReason::ShuttingDown | CloseReason::CutOff => return,
            _ if matches!(self.dialog, Dialog::Over) => return,
            CloseReason::Reset => self.ended("reset the connection"),
            CloseReason::Failed(error) => self.ended(&format!("is lost ({})", cause(error))),
            why => self.ended(&format!("is lost ({why})")),
        };
        self.break_off(sentence, cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        if self.failure.is_some() {
            return self.give_up(cx);
        }
        if let Some(saving) = self.filling.take_saving() {
            cx.offload(Lane::Write, move || {
                let sum = saving.sum();
                Done::Saved(saving.finish().map(|()| sum))
            });
        }
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: JobAnswer, cx: &mut Context<'_>) {
        let done = match answer.result {
            Ok(result) => match result.downcast::<Done>() {
                Ok(done) => *done,
                Err(found) => {
                    let answer = JobAnswer { connection: answer.connection, result: Ok(found) };
                    return self.server.found(answer, cx);
                }
            },
            Err(error) => return self.fail(None, format!("the file cannot be saved: {error}"), cx),
        };
        match done {
            Done::Prepared(Ok(Some(saving))) => {
                self.counted.resumed = saving.written();
                if saving.is_unhashed() {
                    return cx.offload(Lane::Hash, move || Done::Prepared(saving.hash().map(Some)));
                }
                self.counted.came = saving.written();
                self.written = saving.written();
                self.part = Some(saving.destination().part().to_owned());
                self.filling.put_back(saving, Vec::new());
                self.prepared(cx);
            }
            Done::Prepared(Ok(None)) => self.prepared(cx),
            Done::Written(Ok((saving, buffer))) => {
                self.is_writing = false;
                self.written = saving.written();
                self.filling.put_back(saving, buffer);
                if !self.filling.is_full() {
                    cx.resume();
                }
                self.write_on(cx);
            }
            Done::Saved(Ok(sum)) => self.saved(&sum, cx),
            Done::Prepared(Err(why)) | Done::Written(Err(why)) | Done::Saved(Err(why)) => {
                self.fail(None, why, cx);
            }
        }
    }
}
