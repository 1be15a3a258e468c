//! Sending a file over UDP.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use onepoll::service::{Answer, Context, DatagramSpec, Lane, Service, SocketId};
use onepoll::wire::files::framed::{About, Answer as Wire};
use onepoll::wording::counted;

use crate::client::progress::{Progress, summary};
use crate::client::screen::visible_line;
use crate::client::target::{Route, Target};
use crate::client::transfer::{Completion, Report, Source, run_transfer, shown};
use crate::client::{ClientError, Timeout, parse_timeout};

/// Bytes per datagram, and the time between two: what the course's programs use.
const PIECE: usize = 16_384;
const APART: Duration = Duration::from_millis(2);
/// What is read at once, and read again as soon as half of it is sent.
const READ_AHEAD: usize = 64 * PIECE;
/// What the receiver says once it has the name.
const OK: &[u8] = b"ok";
/// How long a complaint about the last datagrams is waited for.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// The command line of `udp-file send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The receiver; an IPv6 address needs brackets, as in [::1]:2600
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// What to send
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How long the receiver may take to answer to the name, 0 for no limit
    #[arg(long, value_parser = parse_timeout, default_value = "3s")]
    timeout: Timeout,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Sends the file.
pub fn run(arguments: SendArgs) -> Result<(), ClientError> {
    let SendArgs { target, file, timeout, json } = arguments;
    let completion = Completion::default();
    let client = Send {
        route: Route::new(target),
        path: file,
        timeout,
        report: Report { command: "udp-file send", json },
        source: None,
        socket: None,
        stage: Stage::Opening,
        read: 0,
        is_reading: false,
        waiting: Vec::new(),
        sent: 0,
        begun: None,
        progress: Progress::none(),
        completion: completion.clone(),
    };
    run_transfer("udp-file", &completion, client)
}

/// How far the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A job opens it, or its receiver is being looked up.
    Opening,
    /// The name is out.
    Named,
    /// The contents go out; the next datagram is due then.
    Sending { due: Instant },
    /// All of it is out.
    Ending,
}

struct Send {
    route: Route,
    path: PathBuf,
    timeout: Timeout,
    report: Report,
    source: Option<Source>,
    socket: Option<SocketId>,
    stage: Stage,
    /// How much of the file was read, or is being read.
    read: u64,
    is_reading: bool,
    /// What was read and not sent.
    waiting: Vec<u8>,
    sent: u64,
    begun: Option<Instant>,
    progress: Progress,
    completion: Completion,
}

/// What a job brings back.
enum Done {
    Opened(Result<Source, String>),
    Read(Result<Vec<u8>, String>),
}

impl Send {
    fn reach(&mut self, address: SocketAddr, cx: &mut Context<'_>) {
        cx.open_socket(0, DatagramSpec::connected(address));
    }

    fn send(&self, datagram: &[u8], cx: &mut Context<'_>) {
        if let (Some(socket), Some(to)) = (self.socket, self.route.current()) {
            cx.send_to(socket, to, datagram);
        }
    }

    /// Reads on, so that the next datagrams never wait for the disk.
    fn read_ahead(&mut self, cx: &mut Context<'_>) {
        let Some(source) = &self.source else { return };
        if self.is_reading || self.read >= source.size || self.waiting.len() > READ_AHEAD / 2 {
            return;
        }
        let (source, offset) = (source.clone(), self.read);
        self.read = source.size.min(offset + READ_AHEAD as u64);
        self.is_reading = true;
        cx.offload(Lane::Read, move || Done::Read(source.read(offset, READ_AHEAD)));
    }

    /// Sends the next datagram if it is due and has been read.
    fn send_next(&mut self, cx: &mut Context<'_>) {
        let (Stage::Sending { due }, Some(source)) = (self.stage, &self.source) else { return };
        let size = source.size;
        let length = usize::try_from(size - self.sent).unwrap_or(PIECE).min(PIECE);
        if cx.now() < due || self.waiting.len() < length {
            return;
        }
        let piece: Vec<u8> = self.waiting.drain(..length).collect();
        // An empty one ends it.
        self.send(&piece, cx);
        self.sent += length as u64;
        self.progress.set(self.sent);
        if length == 0 {
            self.stage = Stage::Ending;
            return cx.set_tick(cx.now() + LAST_WORDS);
        }
        let due = cx.now() + APART;
        self.stage = Stage::Sending { due };
        cx.set_tick(due);
        self.read_ahead(cx);
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        let dropped = cx.statistics().datagrams_dropped;
        if dropped > 0 {
            let dropped = counted(usize::try_from(dropped).unwrap_or(usize::MAX), "datagram");
            let sentence = format!("this machine dropped {dropped}: the network is too slow, try again");
            return self.fail(None, sentence, cx);
        }
        self.progress = Progress::none();
        let name = self.source.as_ref().map_or_else(String::new, |source| source.name.to_string());
        let time = self.begun.map_or_else(Default::default, |begun| cx.moment().duration_since(begun));
        let time = time.saturating_sub(LAST_WORDS);
        let members = serde_json::json!({
            "name": name,
            "bytes": self.sent,
            "seconds": time.as_secs_f64(),
            "verified": false,
        });
        self.report.done(&summary("sent", &name, self.sent, self.sent, time), members, cx);
        self.completion.stop(cx);
    }

    fn fail(&mut self, code: Option<&str>, sentence: String, cx: &mut Context<'_>) {
        self.progress = Progress::none();
        self.report.failed(Some(&self.path.to_string_lossy()), code, &sentence, cx);
        cx.fail(sentence);
    }
}

impl Service for Send {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        let path = self.path.clone();
        cx.offload(Lane::Read, move || Done::Opened(Source::open(&path)));
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Answer, cx: &mut Context<'_>) {
        let Answer { connection, result } = answer;
        let done = match result.map(|result| result.downcast::<Done>()) {
            Ok(Ok(done)) => *done,
            Ok(Err(found)) => {
                return match self.route.found(Answer { connection, result: Ok(found) }) {
                    Ok(address) => self.reach(address, cx),
                    Err(sentence) => self.fail(None, sentence, cx),
                };
            }
            Err(error) => return self.fail(None, format!("the file cannot be read: {error}"), cx),
        };
        match done {
            Done::Opened(Ok(source)) => {
                self.source = Some(source);
                match self.route.current() {
                    Some(address) => self.reach(address, cx),
                    None => self.route.look_up(cx),
                }
                self.read_ahead(cx);
            }
            Done::Read(Ok(bytes)) => {
                self.is_reading = false;
                self.waiting.extend_from_slice(&bytes);
                self.read_ahead(cx);
                self.send_next(cx);
            }
            Done::Opened(Err(why)) | Done::Read(Err(why)) => self.fail(None, why, cx),
        }
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(socket) => {
                self.socket = Some(socket);
                self.stage = Stage::Named;
                let name = self.source.as_ref().map_or_else(String::new, |source| source.name.to_string());
                self.send(name.as_bytes(), cx);
                if let Some(limit) = self.timeout.limit() {
                    cx.set_tick(cx.now() + limit);
                }
            }
            Err(error) if self.stage == Stage::Opening || self.stage == Stage::Named => {
                if let Some(socket) = self.socket.take() {
                    cx.close_socket(socket);
                }
                cx.clear_tick();
                match self.route.next() {
                    Some(address) => self.reach(address, cx),
                    None => {
                        let sentence = self.route.unreachable(&error);
                        self.fail(None, sentence, cx);
                    }
                }
            }
            // The course's receiver closes its socket at the empty datagram, which may have
            // come twice to the same end.
            Err(_) if self.stage == Stage::Ending => {}
            Err(_) => {
                let size = self.source.as_ref().map_or(0, |source| source.size);
                let sentence =
                    format!("{} is gone after {} of {size} bytes; start it again", self.route, self.sent);
                self.fail(None, sentence, cx);
            }
        }
    }

    fn datagram(&mut self, _: SocketId, _: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        if let Some(Wire::Refused { code, why }) = Wire::read(datagram, About::Put) {
            let [code, why] = [code, why].map(|text| visible_line(text.as_bytes()));
            let sentence = format!("{} refused {}: {why} ({code})", self.route, shown(Path::new(&self.path)));
            return self.fail(Some(&code), sentence, cx);
        }
        if self.stage != Stage::Named {
            return;
        }
        if datagram.trim_ascii() != OK {
            let said = visible_line(&datagram[..datagram.len().min(100)]);
            let sentence =
                format!("{} said {said:?} where the course's receiver says ok: check the port", self.route);
            return self.fail(None, sentence, cx);
        }
        self.stage = Stage::Sending { due: cx.now() };
        self.begun = Some(cx.now());
        if let Some(source) = &self.source {
            self.progress = Progress::begin(source.name.as_str(), 0, Some(source.size));
        }
        self.send_next(cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        match self.stage {
            Stage::Opening => {}
            Stage::Named => {
                let sentence = format!(
                    "no answer from {} within {}: check that it is the UDP port of a receiver of files",
                    self.route, self.timeout
                );
                self.fail(None, sentence, cx);
            }
            Stage::Sending { .. } => self.send_next(cx),
            Stage::Ending => self.finish(cx),
        }
    }
}
