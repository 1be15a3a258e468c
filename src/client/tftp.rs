//! `onepoll tftp get` and `onepoll tftp put`.

mod local;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use onepoll::config::parse_duration;
use onepoll::reactor::SocketOptions;
use onepoll::service::{Answer, Context, DatagramSpec, Lane, Service, SocketId, any_address};
use onepoll::wire::tftp::{
    ErrorCode, Failure, LONGEST_REQUEST, Mode, Options, Packet, Receiver, Request, Sender, error,
};

use super::screen::print_line;
use super::target::{Route, Target};
use super::{ClientError, Run, run_service};
use local::{Chunk, Saving, Source};

/// Fetch a file by TFTP, or store one
#[derive(Debug, Parser)]
#[command(name = "tftp")]
pub struct TftpCommand {
    #[command(subcommand)]
    action: Action,
}

/// Which way the file goes.
#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch a file
    Get(GetArgs),
    /// Store a file
    Put(PutArgs),
}

/// The command line of `tftp get`.
#[derive(Debug, Args)]
struct GetArgs {
    /// The server, as in localhost:6969
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// The file's name on the server
    name: String,
    /// Where to save it [default: the file's name, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    how: How,
}

/// The command line of `tftp put`.
#[derive(Debug, Args)]
struct PutArgs {
    /// The server, as in localhost:6969
    #[arg(value_name = "HOST:PORT")]
    target: Target,
    /// The file to store
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its name on the server [default: that of the file]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    how: How,
}

/// How the file goes over the wire.
#[derive(Debug, Clone, Copy, Args)]
struct How {
    /// Bytes per block
    #[arg(long, value_name = "N", default_value_t = 1428, value_parser = clap::value_parser!(u16).range(8..=65464))]
    blksize: u16,
    /// Blocks per acknowledgement
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    windowsize: u16,
    /// Byte for byte, or as text with line ends of the network
    #[arg(long, value_enum, default_value_t = ModeName::Octet)]
    mode: ModeName,
    /// How long both sides wait before they send again, in seconds from 1s to 255s [default: as the round trip suggests]
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    timeout: Option<u8>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Octet,
    Netascii,
}

fn parse_seconds(text: &str) -> Result<u8, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    let seconds = u8::try_from(duration.as_secs()).ok().filter(|seconds| *seconds > 0);
    let whole = seconds.filter(|_| duration.subsec_nanos() == 0);
    whole.ok_or_else(|| "TFTP agrees on whole seconds, from 1s to 255s".to_owned())
}

impl How {
    fn mode(self) -> Mode {
        match self.mode {
            ModeName::Octet => Mode::Octet,
            ModeName::Netascii => Mode::Netascii,
        }
    }

    /// What to ask the server for. Servers that know no options are asked for none if
    /// the block and the window are those of RFC 1350.
    fn options(self, size: Option<u64>) -> Options {
        Options {
            block_size: Some(self.blksize).filter(|size| *size != 512),
            window_size: Some(self.windowsize).filter(|window| *window > 1),
            timeout: self.timeout,
            transfer_size: size.filter(|_| self.blksize != 512 || self.windowsize > 1),
        }
    }
}

impl Run for TftpCommand {
    /// Fetches or stores the file.
    fn run(self) -> Result<(), ClientError> {
        let (target, how, plan) = match self.action {
            Action::Get(GetArgs { target, name, output, force, how }) => {
                (target, how, Plan::Get { name, output, force })
            }
            Action::Put(PutArgs { target, file, name, how }) => (target, how, Plan::Put { file, name }),
        };
        let client = Client {
            route: Route::new(target),
            how,
            plan,
            file: None,
            machine: None,
            is_busy: false,
            socket: None,
            server: None,
            begun: None,
            bytes: 0,
            packet: Vec::new(),
        };
        run_service("tftp", client, SocketOptions::default())
    }
}

/// What the user wants.
enum Plan {
    Get { name: String, output: Option<PathBuf>, force: bool },
    Put { file: PathBuf, name: Option<String> },
}

/// One end of the transfer.
enum Machine {
    Sender(Sender),
    Receiver(Receiver),
}

/// The local file; `None` in [`Client`] while a job has it.
enum Local {
    Source(Source),
    Saving(Saving),
}

/// What a job brings back.
enum Done {
    Opened(Result<Local, String>),
    Read(Source, Result<Chunk, String>),
    Written(Result<Saving, String>),
    /// Saved, with so many bytes.
    Saved(Result<u64, String>),
}

struct Client {
    route: Route,
    how: How,
    plan: Plan,
    file: Option<Local>,
    machine: Option<Machine>,
    /// A job is under way.
    is_busy: bool,
    socket: Option<SocketId>,
    /// Where the server answers from, once it has.
    server: Option<SocketAddr>,
    begun: Option<Instant>,
    /// Bytes of the local file.
    bytes: u64,
    packet: Vec<u8>,
}

impl Client {
    /// The file's name on the server.
    fn remote_name(&self) -> String {
        match &self.plan {
            Plan::Get { name, .. } | Plan::Put { name: Some(name), .. } => name.clone(),
            Plan::Put { file, name: None } => base_name(file),
        }
    }

    /// Opens the local file: nothing is sent before that has succeeded.
    fn open(&mut self, cx: &mut Context<'_>) {
        let mode = self.how.mode();
        match &self.plan {
            Plan::Get { name, output, force } => {
                let path = output.clone().unwrap_or_else(|| base_name(Path::new(name)).into());
                let force = *force;
                cx.offload(Lane::Write, move || {
                    Done::Opened(Saving::begin(&path, force, mode).map(Local::Saving))
                });
            }
            Plan::Put { file, .. } => {
                let file = file.clone();
                cx.offload(Lane::Read, move || Done::Opened(Source::open(&file, mode).map(Local::Source)));
            }
        }
    }

    /// The local file is open: prepares the request, and looks for the server.
    fn opened(&mut self, local: Local, cx: &mut Context<'_>) {
        let name = self.remote_name();
        let mode = self.how.mode();
        let size = match &local {
            Local::Source(source) => Some(source.size()).filter(|_| mode == Mode::Octet),
            Local::Saving(_) => Some(0),
        };
        let options = self.how.options(size);
        let request = Request { name: name.as_bytes(), mode, options };
        let request = match &local {
            Local::Source(_) => Packet::Write(request).bytes(),
            Local::Saving(_) => Packet::Read(request).bytes(),
        };
        if name.is_empty() || name.contains('\0') || request.len() > LONGEST_REQUEST {
            return cx.fail(format!("{name:?} cannot be asked for: the name is empty or too long"));
        }
        self.machine = Some(match &local {
            Local::Source(_) => Machine::Sender(Sender::for_client(request, options)),
            Local::Saving(_) => Machine::Receiver(Receiver::for_client(request, options)),
        });
        self.file = Some(local);
        match self.route.current() {
            Some(address) => self.open_socket(address, cx),
            None => self.route.look_up(cx),
        }
    }

    fn open_socket(&mut self, server: SocketAddr, cx: &mut Context<'_>) {
        cx.open_socket(0, DatagramSpec::bound(any_address(server)));
    }

    /// Sends what there is to send, keeps the disk busy, and notices the end.
    fn go_on(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        self.use_disk(cx);
        let (Some(socket), Some(asked), Some(machine)) =
            (self.socket, self.route.current(), &mut self.machine)
        else {
            return;
        };
        let to = self.server.unwrap_or(asked);
        while machine.next_packet(&mut self.packet, now) {
            cx.send_to_proven(socket, to, &self.packet);
        }
        let (due, outcome) = (machine.due(), machine.outcome().cloned());
        // Without any loss so far, the last acknowledgement arrives too.
        let is_over =
            matches!(machine, Machine::Receiver(receiver) if receiver.is_dallying() && !receiver.was_lossy());
        match outcome {
            Some(Ok(())) => return self.succeed(cx),
            Some(Err(failure)) => {
                let sentence = self.why(&failure);
                return cx.fail(sentence);
            }
            None if is_over => return self.succeed(cx),
            None => {}
        }
        match due {
            Some(due) => cx.set_tick(due),
            None => cx.clear_tick(),
        }
        self.use_disk(cx);
    }

    fn use_disk(&mut self, cx: &mut Context<'_>) {
        if self.is_busy {
            return;
        }
        match (&mut self.machine, self.file.take()) {
            (Some(Machine::Sender(sender)), Some(Local::Source(mut source))) => {
                let Some(wanted) = sender.wants() else {
                    self.file = Some(Local::Source(source));
                    return;
                };
                cx.offload(Lane::Read, move || {
                    let chunk = source.read(wanted);
                    Done::Read(source, chunk)
                });
            }
            (Some(Machine::Receiver(receiver)), Some(Local::Saving(saving))) => {
                let Some((bytes, is_last)) = receiver.take() else {
                    self.file = Some(Local::Saving(saving));
                    return;
                };
                cx.offload(Lane::Write, move || match saving.write(&bytes, is_last) {
                    Ok(saving) if is_last => Done::Saved(saving.finish()),
                    written => Done::Written(written),
                });
            }
            (_, file) => {
                self.file = file;
                return;
            }
        }
        self.is_busy = true;
    }

    /// The local file failed: tells the server, and the user.
    fn give_up(&mut self, why: &str, cx: &mut Context<'_>) {
        if let (Some(socket), Some(server)) = (self.socket, self.server) {
            cx.send_to_proven(socket, server, &error(ErrorCode::Undefined, "the client cannot go on"));
        }
        cx.fail(why);
    }

    fn why(&self, failure: &Failure) -> String {
        let (route, name) = (&self.route, self.remote_name());
        match failure {
            Failure::Silence if self.server.is_none() => {
                format!("{route} does not answer: check that a TFTP server listens there, and the firewall")
            }
            Failure::Silence => format!("{route} stopped answering in the middle of {name:?}; try again"),
            Failure::Refused { code, text } if text.is_empty() => {
                format!("{route} refused {name:?} with error {code}")
            }
            Failure::Refused { code, text } => format!("{route} refused {name:?}: {text} (error {code})"),
            Failure::Ended { text, .. } => format!("{route} does not keep to the protocol: {text}"),
        }
    }

    fn succeed(&mut self, cx: &mut Context<'_>) {
        let time = self.begun.map_or(Duration::ZERO, |begun| cx.moment().saturating_duration_since(begun));
        let (name, bytes, seconds) = (self.remote_name(), self.bytes, time.as_secs_f64());
        let (command, verb) = match self.plan {
            Plan::Get { .. } => ("get", "got"),
            Plan::Put { .. } => ("put", "put"),
        };
        let line = if self.how.json {
            serde_json::json!({ "command": command, "name": name, "bytes": bytes, "seconds": seconds })
                .to_string()
        } else {
            let rate = bytes as f64 / seconds.max(1e-6) / 1e6;
            format!("{verb} {name}: {bytes} bytes in {seconds:.3} s, {rate:.1} MB/s")
        };
        // If nobody reads it, the client ends all the same.
        let _ = print_line(line.as_bytes(), cx);
        cx.stop();
    }
}

/// The last part of a path, as a text.
fn base_name(path: &Path) -> String {
    let text = path.to_string_lossy();
    text.rsplit(['/', '\\']).next().unwrap_or_default().to_owned()
}

impl Machine {
    fn next_packet(&mut self, packet: &mut Vec<u8>, now: Instant) -> bool {
        match self {
            Machine::Sender(sender) => sender.next_packet(packet, now),
            Machine::Receiver(receiver) => receiver.next_packet(packet, now),
        }
    }

    fn due(&self) -> Option<Instant> {
        match self {
            Machine::Sender(sender) => sender.due(),
            Machine::Receiver(receiver) => receiver.due(),
        }
    }

    fn outcome(&self) -> Option<&Result<(), Failure>> {
        match self {
            Machine::Sender(sender) => sender.outcome(),
            Machine::Receiver(receiver) => receiver.outcome(),
        }
    }
}

impl Service for Client {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        self.open(cx);
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(socket) => {
                self.socket = Some(socket);
                self.begun = Some(cx.now());
                self.go_on(cx);
            }
            Err(error) => cx.fail(self.route.unreachable(&error)),
        }
    }

    fn datagram(&mut self, on: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let Some(asked) = self.route.current() else { return };
        // The server answers from a port of its own, and the first answer tells which.
        if self.server.is_none() && from.ip() == asked.ip() {
            self.server = Some(from);
        }
        if self.server != Some(from) {
            if !matches!(Packet::parse(datagram), Ok(Packet::Error { .. })) {
                let words = "this port belongs to another transfer";
                cx.send_to(on, from, &error(ErrorCode::UnknownTransfer, words));
            }
            return;
        }
        let now = cx.now();
        match &mut self.machine {
            Some(Machine::Sender(sender)) => sender.handle(datagram, now),
            Some(Machine::Receiver(receiver)) => receiver.handle(datagram, now),
            None => {}
        }
        self.go_on(cx);
    }

    fn tick(&mut self, cx: &mut Context<'_>) {
        let now = cx.now();
        match &mut self.machine {
            Some(Machine::Sender(sender)) => sender.expire(now),
            Some(Machine::Receiver(receiver)) => receiver.expire(now),
            None => {}
        }
        self.go_on(cx);
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Answer, cx: &mut Context<'_>) {
        let Answer { connection, result } = answer;
        let done = match result.map(|result| result.downcast::<Done>()) {
            Ok(Ok(done)) => *done,
            Ok(Err(found)) => {
                return match self.route.found(Answer { connection, result: Ok(found) }) {
                    Ok(address) => self.open_socket(address, cx),
                    Err(sentence) => cx.fail(sentence),
                };
            }
            Err(error) => return cx.fail(format!("{} cannot be used: {error}", self.remote_name())),
        };
        self.is_busy = false;
        let now = cx.now();
        match (done, &mut self.machine) {
            (Done::Opened(Ok(local)), _) => return self.opened(local, cx),
            (Done::Opened(Err(why)), _) => return cx.fail(why),
            (Done::Read(source, Ok(chunk)), Some(Machine::Sender(sender))) => {
                self.bytes = source.size();
                self.file = Some(Local::Source(source));
                sender.supply(&chunk.bytes, chunk.is_last);
            }
            (Done::Written(Ok(saving)), _) => self.file = Some(Local::Saving(saving)),
            (Done::Saved(Ok(bytes)), Some(Machine::Receiver(receiver))) => {
                self.bytes = bytes;
                receiver.stored(now);
            }
            (Done::Read(_, Err(why)) | Done::Written(Err(why)) | Done::Saved(Err(why)), _) => {
                return self.give_up(&why, cx);
            }
            _ => {}
        }
        self.go_on(cx);
    }
}
