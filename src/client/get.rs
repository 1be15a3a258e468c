//! `onepoll get`: downloads a file, framed or as the course does it.
//!
//! Contents go to the disk in jobs, at most one at a time, under a temporary name. What the
//! server sends faster is left unread, so memory does not grow with the file. When a framed
//! download breaks, what came stays for a later `--resume`.

mod offer;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use onepoll::service::{Answer as Outcome, CloseReason, Context, Input, Lane, Service};
use onepoll::wire::files::framed::{About, Answer, Entry, Line, Sha256, format_sum, line};

use super::progress::{Progress, summary};
use super::target::{Target, cause};
use super::transfer::{
    Completion, Destination, Filling, LONGEST_LINE, Refusal, Report, Saving, Server, run_transfer, shown,
};
use super::{ClientError, Run, Timeout, parse_timeout};
use offer::Offer;

/// What the course's clients say to begin a download.
const READY: &[u8] = b"I am ready";
/// How long a broken download waits until the disk has what came. A write that had not begun
/// when the server reset the connection is lost with it, and nobody tells.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// Download a file, and verify its SHA-256
///
/// The file has the name FILE.part until it is whole. If the download breaks, --resume goes
/// on from what came.
#[derive(Debug, Parser)]
#[command(name = "get")]
pub struct GetCommand {
    /// Where to save it [default: the file's own name, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Go on from what an earlier download has left
    #[arg(long, conflicts_with = "course")]
    resume: bool,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
    /// Speak as the course's programs do: a name, then the contents, with no length and no sum
    #[arg(long)]
    course: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    /// How long the server may be silent, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "30s")]
    timeout: Timeout,
    /// The server; an IPv6 address needs brackets, as in [::1]:2600
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// Which file [default: the only one; with --course, the one that the server offers]
    name: Option<String>,
}

impl Run for GetCommand {
    /// Downloads the file.
    fn run(self) -> Result<(), ClientError> {
        let GetCommand { output, resume, force, course, json, timeout, target, name } = self;
        let completion = Completion::default();
        let client = Get {
            server: Server::new(target, timeout),
            report: Report { command: "get", json },
            wanted: Wanted { name, output, force, resume, course },
            dialog: Dialog::Silent,
            filling: Filling::default(),
            is_writing: false,
            progress: Progress::none(),
            part: None,
            written: 0,
            counted: Counted::default(),
            begun: None,
            failure: None,
            completion: completion.clone(),
        };
        run_transfer("get", &completion, client)
    }
}

/// What the user wants.
struct Wanted {
    name: Option<String>,
    output: Option<PathBuf>,
    force: bool,
    resume: bool,
    course: bool,
}

/// What the server has been asked, and what comes next.
#[derive(Debug)]
enum Dialog {
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
struct Counted {
    /// Those that an earlier download had left.
    resumed: u64,
    /// All that are there now.
    came: u64,
    /// The size that the server has told.
    size: Option<u64>,
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

struct Get {
    server: Server,
    report: Report,
    wanted: Wanted,
    dialog: Dialog,
    filling: Filling,
    /// A job opens the file or writes to it.
    is_writing: bool,
    progress: Progress,
    /// Where what came is kept if the download breaks.
    part: Option<PathBuf>,
    /// How many bytes are known to be there.
    written: u64,
    counted: Counted,
    begun: Option<Instant>,
    /// The download is broken, and fails as soon as the disk has what came.
    failure: Option<String>,
    completion: Completion,
}

impl Get {
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

    /// The destination of a file that begins to come.
    fn destination(&self, name: &str) -> Result<Destination, String> {
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
                            self.dialog = Dialog::Sum;
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
        // The server hashes all of it before it tells the sum.
        self.server.expect(size, cx);
        self.progress = Progress::begin(&name, resumed, Some(size));
        self.dialog = match size - resumed {
            0 => Dialog::Sum,
            left => Dialog::Contents { left: Some(left) },
        };
        if self.filling.settled().is_none() {
            self.is_writing = true;
            cx.offload(Lane::Write, move || {
                Done::Written(Saving::create(destination, true).map(|saving| (saving, Vec::new())))
            });
        }
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

    fn refused(&mut self, code: &str, why: &str, cx: &mut Context<'_>) {
        let name = shown(Path::new(self.wanted.name.as_deref().unwrap_or("the list")));
        let Refusal { code, mut sentence } = Refusal::by(&self.server, &name, code, why);
        match (&self.dialog, code.as_str()) {
            (Dialog::Sum, _) => sentence += "; the contents came, but cannot be verified",
            (_, "bad-offset") => {
                sentence += "; the partial file is of another version: get it anew with --force";
            }
            _ => {}
        }
        self.fail(Some(&code), sentence, cx);
    }

    fn not_understood(&mut self, cx: &mut Context<'_>) {
        let sentence = format!(
            "{} does not answer as a file server does: check the port; --course speaks with the course's servers",
            self.server
        );
        self.break_off(sentence, cx);
    }

    /// Fails once the disk has what came. The connection, if there is one, stays until then:
    /// its end would take a write along that has not begun.
    fn break_off(&mut self, sentence: String, cx: &mut Context<'_>) {
        self.failure.get_or_insert(sentence);
        cx.pause();
        cx.set_tick(cx.now() + LAST_WRITES);
        self.write_on(cx);
    }

    fn give_up(&mut self, cx: &mut Context<'_>) {
        if let Some(sentence) = self.failure.take() {
            self.fail(None, sentence, cx);
        }
    }

    fn fail(&mut self, code: Option<&str>, mut sentence: String, cx: &mut Context<'_>) {
        let part = self.part.as_deref().filter(|_| self.written > 0);
        if let Some(part) = part {
            sentence += &format!("; what came is in {}, and --resume goes on from it", shown(part));
        }
        self.progress = Progress::none();
        self.report.failed(self.wanted.name.as_deref(), code, &sentence, cx);
        cx.fail(sentence);
    }

    /// What is said if the connection ends now.
    fn ended(&self, how: &str) -> String {
        let Get { server, counted: Counted { came, size, .. }, .. } = self;
        match (&self.dialog, size) {
            (Dialog::Contents { .. }, Some(size)) => {
                format!("{server} {how} after {came} of {size} bytes")
            }
            (Dialog::Contents { .. }, None) => format!("{server} {how} after {came} bytes"),
            (Dialog::Sum, _) => format!("{server} {how} before it told the sum"),
            (Dialog::Offer, _) => {
                format!("{server} {how} without sending a file; check what the server itself reports")
            }
            _ => format!("{server} {how} without an answer; check what the server itself reports"),
        }
    }

    fn saved(&mut self, sum: &Sha256, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        let Counted { resumed, came, size } = self.counted;
        let time = self.begun.map_or_else(Default::default, |begun| cx.moment().duration_since(begun));
        let name = self.wanted.name.as_deref().unwrap_or_default();
        let path = self.destination(name).map(|to| to.path().to_owned()).unwrap_or_default();
        let members = serde_json::json!({
            "name": name,
            "file": path.to_string_lossy(),
            "bytes": came,
            "resumed_from": resumed,
            "seconds": time.as_secs_f64(),
            "sha256": format_sum(sum),
            "verified": size.is_some(),
        });
        let line = summary("got", &path.to_string_lossy(), came, came - resumed, time);
        if self.report.done(&line, members, cx) {
            self.completion.stop(cx);
        }
    }
}

impl Service for Get {
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
        if let Some(saving) = self.filling.into_saving() {
            cx.offload(Lane::Write, move || {
                let sum = saving.sum();
                Done::Saved(saving.finish().map(|()| sum))
            });
        }
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Outcome, cx: &mut Context<'_>) {
        let done = match answer.result {
            Ok(result) => match result.downcast::<Done>() {
                Ok(done) => *done,
                Err(found) => {
                    let answer = Outcome { connection: answer.connection, result: Ok(found) };
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

impl Get {
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
