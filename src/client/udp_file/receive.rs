//! Receiving files over UDP.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use onepoll::disk::Disk;
use onepoll::files::receiving::{Done, Job, Progress as Step, Receiving};
use onepoll::files::{FileError, Policy, Root, Roots, clean};
use onepoll::reactor::SocketOptions;
use onepoll::service::{
    Answer, Caps, Context, DatagramPeer, DatagramSpec, Lane, PeerSessions, Service, SocketId,
};
use onepoll::wire::files::framed::{Answer as Wire, format_sum};

use crate::client::broadcast::not_bound;
use crate::client::progress::summary;
use crate::client::screen::visible_line;
use crate::client::transfer::{Report, shown};
use crate::client::{ClientError, run_service};
use crate::output::remark;

/// Files at once, and of one address unless it is on loopback.
const CAPS: Caps = Caps { sessions: 64, per_address: 8, loopback: false };
/// A file of which nothing comes for this long is given up.
const SILENCE: Duration = Duration::from_secs(10);
/// The most of one file that waits for the disk. Nothing in the protocol slows a sender
/// down, so a file that comes faster is given up rather than saved with a gap.
const MOST_WAITING: usize = 8 * 1024 * 1024;

/// The command line of `udp-file receive`.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// The port to listen on
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The folder for the files; none that is there is replaced: a second a.txt becomes "a (2).txt"
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// The address to listen on; 0.0.0.0 hears other machines too
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// End after this many files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Print one JSON object per file
    #[arg(long)]
    json: bool,
}

/// Receives files.
pub fn run(arguments: ReceiveArgs) -> Result<(), ClientError> {
    let ReceiveArgs { port, directory, bind, count, json } = arguments;
    let policy =
        Policy { writable: true, max_file_size: u64::MAX, max_total_size: u64::MAX, max_files: u64::MAX };
    let client = Receive {
        address: SocketAddr::new(bind, port),
        root: Roots::on(Disk::default()).root(&directory, policy),
        directory,
        report: Report { command: "udp-file receive", json },
        left: count,
        files: PeerSessions::new(CAPS),
        current: HashMap::new(),
        last: 0,
    };
    run_service("udp-file", client, SocketOptions::default())
}

/// Tells one file from the next of the same sender.
type Number = u64;

struct Receive {
    address: SocketAddr,
    root: Root,
    directory: PathBuf,
    report: Report,
    /// How many files are still to come; `None` without a limit.
    left: Option<u64>,
    files: PeerSessions<Number, Incoming>,
    /// The file to which a sender's next datagram belongs.
    current: HashMap<SocketAddr, Number>,
    last: Number,
}

/// A file that is coming in.
struct Incoming {
    reach: DatagramPeer,
    name: String,
    begun: Instant,
    /// `None` if it failed: what comes of it is ignored, until it ends.
    receiving: Option<Receiving>,
    has_begun: bool,
    has_ended: bool,
}

/// What a job brings back.
enum Outcome {
    /// Whether the folder is there.
    Checked(Result<(), String>),
    Went(Number, Done),
}

impl Receive {
    fn begin(&mut self, reach: DatagramPeer, raw: &[u8], cx: &mut Context<'_>) {
        let from = reach.address;
        let name = visible_line(&raw[..raw.len().min(1024)]);
        if let Err(full) = self.files.has_room_for(from.ip()) {
            self.report_failure(&name, from, "busy", &full.to_string(), cx);
            return tell(reach, "busy", &full.to_string(), cx);
        }
        self.last += 1;
        let number = self.last;
        let receiving = match clean(raw) {
            Ok(name) => {
                let (receiving, job) = Receiving::begin(&self.root, name, None);
                offload(number, job, cx);
                Some(receiving)
            }
            Err(why) => {
                let code = FileError::from(why).code();
                self.report_failure(&name, from, code, &why.to_string(), cx);
                tell(reach, code, &why.to_string(), cx);
                None
            }
        };
        let begun = cx.now();
        let file = Incoming { reach, name, begun, receiving, has_begun: false, has_ended: false };
        if self.files.insert(number, from.ip(), file, cx.now() + SILENCE).is_ok() {
            self.current.insert(from, number);
        }
        self.set_tick(cx);
    }

    fn go_on(&mut self, number: Number, cx: &mut Context<'_>) {
        let receiving = self.files.get_mut(&number).and_then(|file| file.receiving.as_mut());
        if let Some(job) = receiving.and_then(Receiving::next_job) {
            offload(number, job, cx);
        }
    }

    fn went(&mut self, number: Number, done: Done, cx: &mut Context<'_>) {
        let Some(file) = self.files.get_mut(&number) else {
            // It was given up meanwhile.
            return drop_off_the_loop(done, cx);
        };
        let Some(receiving) = &mut file.receiving else {
            return drop_off_the_loop(done, cx);
        };
        match receiving.done(done) {
            Ok(Step::Goes) => {
                if !std::mem::replace(&mut file.has_begun, true) {
                    cx.send_to_peer(file.reach, b"ok");
                }
                self.go_on(number, cx);
            }
            Ok(Step::Stored(stored)) => {
                let time = cx.now().duration_since(file.begun);
                let path = self.directory.join(stored.name.as_str());
                let members = serde_json::json!({
                    "name": file.name,
                    "file": path.to_string_lossy(),
                    "from": file.reach.address.to_string(),
                    "bytes": stored.size,
                    "seconds": time.as_secs_f64(),
                    "sha256": format_sum(&stored.sha256),
                    "verified": false,
                });
                let line = summary("received", &path.to_string_lossy(), stored.size, stored.size, time);
                let line = format!("{line}, from {}", file.reach.address);
                self.forget(number);
                if self.report.done(&line, members, cx) {
                    self.count(cx);
                }
            }
            Err(error) => {
                let why = match &error {
                    FileError::DiskFull => "the disk is full".to_owned(),
                    error => error.to_string(),
                };
                self.give_up(number, error.code(), &why, cx);
            }
        }
    }

    fn count(&mut self, cx: &mut Context<'_>) {
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                cx.stop();
            }
        }
    }

    /// Ignores what still comes of a file, and tells both ends why.
    fn give_up(&mut self, number: Number, code: &str, why: &str, cx: &mut Context<'_>) {
        let Some(file) = self.files.get_mut(&number) else { return };
        let (reach, name, has_ended) = (file.reach, file.name.clone(), file.has_ended);
        if let Some(incoming) = file.receiving.take().and_then(Receiving::abandon) {
            drop_off_the_loop(incoming, cx);
        }
        tell(reach, code, why, cx);
        self.report_failure(&name, reach.address, code, why, cx);
        if has_ended {
            self.forget(number);
        }
    }

    fn forget(&mut self, number: Number) {
        if let Some(file) = self.files.remove(&number)
            && self.current.get(&file.reach.address) == Some(&number)
        {
            self.current.remove(&file.reach.address);
        }
    }

    fn report_failure(&self, name: &str, from: SocketAddr, code: &str, why: &str, cx: &mut Context<'_>) {
        let sentence = format!("{name} from {from} is not saved: {why}");
        self.report.failed(Some(name), Some(code), &sentence, cx);
        self.report.remark(&sentence);
    }

    fn set_tick(&self, cx: &mut Context<'_>) {
        match self.files.next_deadline() {
            Some(at) => cx.set_tick(at),
            None => cx.clear_tick(),
        }
    }
}

impl Service for Receive {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        let directory = self.directory.clone();
        cx.offload(Lane::Read, move || {
            let is_there = directory.is_dir();
            let sentence = || format!("there is no folder {}; make it first", shown(&directory));
            Outcome::Checked(if is_there { Ok(()) } else { Err(sentence()) })
        });
    }

    fn socket(&mut self, _: u64, opened: io::Result<SocketId>, cx: &mut Context<'_>) {
        match opened {
            Ok(_) => remark(&format!(
                "listening on {}, for files into {}; Ctrl-C ends it",
                self.address,
                shown(&self.directory)
            )),
            Err(error) => cx.fail(not_bound(self.address.port(), &error)),
        }
    }

    fn finished(&mut self, _: Option<&mut ()>, answer: Answer, cx: &mut Context<'_>) {
        // A job that had no place does not say whose it was: that file is given up once it
        // has been silent for too long.
        let Ok(Ok(outcome)) = answer.result.map(|result| result.downcast::<Outcome>()) else { return };
        match *outcome {
            Outcome::Checked(Ok(())) => cx.open_socket(0, DatagramSpec::bound(self.address)),
            Outcome::Checked(Err(sentence)) => cx.fail(sentence),
            Outcome::Went(number, done) => self.went(number, done, cx),
        }
    }

    fn datagram(&mut self, _: SocketId, from: SocketAddr, datagram: &[u8], cx: &mut Context<'_>) {
        let (Some(reach), false) = (cx.datagram_peer(), self.left == Some(0)) else { return };
        let Some(&number) = self.current.get(&from) else {
            if !datagram.is_empty() {
                self.begin(reach, datagram, cx);
            }
            return;
        };
        self.files.set_deadline(&number, cx.now() + SILENCE);
        let Some(file) = self.files.get_mut(&number) else { return };
        match &mut file.receiving {
            None if datagram.is_empty() => self.forget(number),
            None => {}
            Some(receiving) if datagram.is_empty() => {
                receiving.end(None);
                file.has_ended = true;
                // The sender's next datagram is the next name.
                self.current.remove(&from);
                self.go_on(number, cx);
            }
            Some(receiving) => {
                receiving.take(datagram);
                if receiving.memory() > MOST_WAITING {
                    self.give_up(number, "busy", "it came faster than the disk took it", cx);
                } else {
                    self.go_on(number, cx);
                }
            }
        }
    }

    /// Gives up what has been silent for too long.
    fn tick(&mut self, cx: &mut Context<'_>) {
        while let Some((number, file)) = self.files.expired(cx.now()) {
            let from = file.reach.address;
            if self.current.get(&from) == Some(&number) {
                self.current.remove(&from);
            }
            let Some(receiving) = file.receiving else { continue };
            if file.has_ended && receiving.is_with_the_disk() {
                let file = Incoming { receiving: Some(receiving), ..file };
                // Its place is free again.
                let _ = self.files.insert(number, from.ip(), file, cx.now() + SILENCE);
                continue;
            }
            self.report_failure(&file.name, from, "incomplete", "nothing more came for 10 s", cx);
            if let Some(incoming) = receiving.abandon() {
                drop_off_the_loop(incoming, cx);
            }
        }
        self.set_tick(cx);
    }
}

fn offload(number: Number, job: Job, cx: &mut Context<'_>) {
    cx.offload(Lane::Write, move || Outcome::Went(number, job.run()));
}

/// Drops an unfinished file, which removes it.
fn drop_off_the_loop(unfinished: impl std::marker::Send + 'static, cx: &mut Context<'_>) {
    cx.offload(Lane::Write, move || drop(unfinished));
}

/// Tells a sender why its file is not taken, in the words of the framed mode.
fn tell(reach: DatagramPeer, code: &str, why: &str, cx: &mut Context<'_>) {
    cx.send_to_peer(reach, Wire::Refused { code, why }.to_string().as_bytes());
}
