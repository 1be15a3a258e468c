//! The video service on real sockets: recordings that other programs play, sources, and
//! what it costs the loop.

mod support;
#[path = "support/trials.rs"]
mod trials;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use onepoll::config::{Config, Overrides};
use onepoll::hosting;
use onepoll::media::{jpeg, pattern::Pattern};
use onepoll::reactor::Reactor;
use onepoll::service::{Context, Message, Service, Transport};
use onepoll::services::CATALOG;
use onepoll::services::video::frames::{Dark, Form, Frame, Subscribe, Unsubscribe};
use onepoll::wire::datagram_frames;
use onepoll::wire::frames::prefix;
use onepoll::wire::pickle;
use support::{Daemon, PATIENCE, Running, connect, eventually, udp};
use trials::trial;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let ffprobe = obstacle(Path::new("ffprobe"), &["-version"]);
    let opencv = obstacle(&python(), &["-c", "import cv2"]);
    let trials = vec![
        trial("a recording plays after the daemon was killed", ffprobe, a_recording_plays_after_a_kill),
        trial("OpenCV plays a recording while it grows", opencv, opencv_plays_a_recording_while_it_grows),
        trial("frames that do not arrive whole are in the log", None, incomplete_frames_are_in_the_log),
        trial("the frames of files are shown in a loop", None, the_frames_of_files_are_shown_in_a_loop),
        trial("a service that subscribes is posted frames in its form", None, a_subscriber_is_posted_frames),
        trial(
            "no turn of the loop takes 5 ms of processor time",
            None,
            no_turn_of_the_loop_takes_5_ms_of_processor_time,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The Python that has OpenCV.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/numpy-2/bin/python")
}

fn obstacle(program: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let runs = command.status().is_ok_and(|status| status.success());
    (!runs).then(|| format!("`{} {}` does not run here", program.display(), arguments.join(" ")))
}

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A folder of its own for one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("onepoll-video-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn size(&self, name: &str) -> u64 {
        fs::metadata(self.0.join(name)).map_or(0, |file| file.len())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn next_frame(mut stream: &TcpStream) -> Vec<u8> {
    let mut length = [0; 8];
    stream.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u64::from_le_bytes(length) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

/// A daemon that records the test picture, until there are some frames.
fn recording_daemon(test: &str, folder: &Folder) -> Daemon {
    let text = format!(
        "[services.video]\ntcp = 0\nsource = \"pattern\"\nwidth = 320\nheight = 240\n\
         root = \"{}\"\nrecord = \"녹화.mp4\"\n",
        folder.0.display()
    );
    let daemon = Daemon::with_config(test, &text);
    eventually("a recording grows", || folder.size("녹화.mp4") > 100_000);
    daemon
}

fn a_recording_plays_after_a_kill() {
    let folder = Folder::new("killed");
    let mut daemon = recording_daemon("video-killed", &folder);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    let file = folder.0.join("녹화.mp4");
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-count_frames", "-of", "csv=p=0"]);
    command.args(["-show_entries", "stream=codec_name,width,height,nb_read_frames"]).arg(&file);
    let stream = output(&mut command);
    let frames = stream.trim().strip_prefix("mjpeg,320,240,").map(|frames| frames.parse::<u32>());
    assert!(matches!(frames, Some(Ok(10..))), "{stream}");
    // The next daemon keeps it, and records to another file.
    let before = folder.size("녹화.mp4");
    let text = format!(
        "[services.video]\ntcp = 0\nsource = \"pattern\"\nroot = \"{}\"\nrecord = \"녹화.mp4\"\n",
        folder.0.display()
    );
    let _daemon = Daemon::with_config("video-killed-again", &text);
    eventually("a second recording grows", || folder.size("녹화 (2).mp4") > 10_000);
    assert_eq!(folder.size("녹화.mp4"), before);
}

fn opencv_plays_a_recording_while_it_grows() {
    let folder = Folder::new("opencv");
    let _daemon = recording_daemon("video-opencv", &folder);
    let program = "
import cv2, sys
video = cv2.VideoCapture(sys.argv[1])
count = 0
while True:
    found, frame = video.read()
    if not found:
        break
    assert frame.shape == (240, 320, 3), frame.shape
    assert frame.max() > 200
    count += 1
print(count)
";
    let mut command = Command::new(python());
    let count = output(command.args(["-c", program]).arg(folder.0.join("녹화.mp4")));
    assert!(count.trim().parse::<u32>().unwrap() >= 10, "{count}");
}

fn incomplete_frames_are_in_the_log() {
    let arguments = ["--only", "video", "--port", "video=0"];
    let (daemon, log) = Daemon::logged("video-incomplete", &arguments);
    let camera = udp(daemon.udp("video"));
    let (frame, mut datagram) = (vec![7; datagram_frames::FRAME_LENGTH], Vec::new());
    // The end of a frame, and then a whole one.
    for piece in (13..datagram_frames::PIECES).chain(0..datagram_frames::PIECES) {
        datagram_frames::write(&frame, piece, &mut datagram);
        camera.send(&datagram).unwrap();
    }
    let address = camera.local_addr().unwrap();
    log.line_with(&["video: ", &format!("frames from {address} that did not arrive whole: 1 so far")]);
    let other = udp(daemon.udp("video"));
    other.send(&datagram).unwrap();
    log.line_with(&["video: pieces of frames refused: 1 so far", "somebody else publishes"]);
    other.send(b"hello").unwrap();
    log.line_with(&["video: datagrams that are no pieces of a frame: 1 so far", "has 46081 bytes"]);
}

fn the_frames_of_files_are_shown_in_a_loop() {
    let folder = Folder::new("files");
    let pattern = Pattern::new(64, 48, 25);
    let jpegs: Vec<Vec<u8>> = (0..3).map(|number| jpeg::encode(&pattern.draw(number * 20, ""), 90)).collect();
    fs::write(folder.0.join("clip.mjpeg"), jpegs.concat()).unwrap();
    let images = folder.0.join("images");
    fs::create_dir(&images).unwrap();
    for (number, jpeg) in jpegs.iter().enumerate() {
        fs::write(images.join(format!("{number}.jpg")), jpeg).unwrap();
    }
    for source in ["clip.mjpeg", "images"] {
        let text = format!(
            "[services.video]\ntcp = 0\nfps = 50\nsource = \"{}\"\n",
            folder.0.join(source).display()
        );
        let daemon = Daemon::with_config("video-files", &text);
        let viewer = connect(daemon.tcp("video"));
        let shown: Vec<Vec<u8>> = (0..7).map(|_| next_frame(&viewer)).collect();
        // Whether or not the machine was too slow for some, they are these, and not one
        // again and again.
        assert!(shown.iter().all(|frame| jpegs.contains(frame)), "{source}");
        assert!(jpegs.iter().filter(|jpeg| shown.contains(jpeg)).count() > 1, "{source}");
    }
}

/// A service that wants the pixels of frames until there are none, and says what it hears.
struct Watcher {
    heard: mpsc::Sender<String>,
    frames: u64,
}

impl Service for Watcher {
    type Session = ();

    fn start(&mut self, cx: &mut Context<'_>) {
        cx.post("video", Box::new(Subscribe { to: "watcher".into(), form: Form::Raw }));
    }

    fn message(&mut self, message: Message, cx: &mut Context<'_>) {
        let message = match message.downcast::<Dark>() {
            Ok(dark) => {
                if self.frames > 0 {
                    cx.post("video", Box::new(Unsubscribe { to: "watcher".into() }));
                }
                return self.heard.send(format!("{} is dark", dark.from)).unwrap();
            }
            Err(message) => message,
        };
        let Ok(frame) = message.downcast::<Frame>() else { panic!("neither a frame nor the end of them") };
        assert!(frame.jpeg.is_none() && frame.published <= cx.now());
        assert!(frame.number > self.frames);
        self.frames = frame.number;
        let raw = frame.raw.unwrap();
        assert_eq!(frame.size, Some((raw.width(), raw.height())));
        self.heard.send(format!("{}x{} of {}", raw.width(), raw.height(), raw.pixels()[0])).unwrap();
    }
}

fn a_subscriber_is_posted_frames() {
    let (heard, hears) = mpsc::channel();
    let running = Running::start(move |reactor| {
        let text = "[services.video]\ntcp = 0\nsource = \"publish\"\n";
        let config = Config::parse(CATALOG, text, Path::new("watched.toml"), &Overrides::default());
        let video = hosting::host(reactor, config.unwrap().services.remove(0)).unwrap();
        reactor.host("watcher", Watcher { heard, frames: 0 }).start().unwrap();
        video[0].address
    });
    let next = || hears.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), "video is dark");
    let publish = |camera: &mut TcpStream, shade: u8| {
        let mut message = prefix(pickle::OVERHEAD + 4 * 2 * 3).to_vec();
        pickle::write(2, 4, &[shade; 4 * 2 * 3], &mut message);
        camera.write_all(&message).unwrap();
    };
    let mut camera = connect(running.made);
    for shade in [10, 20] {
        publish(&mut camera, shade);
        assert_eq!(next(), format!("4x2 of {shade}"));
    }
    drop(camera);
    assert_eq!(next(), "video is dark");
    // It has unsubscribed, and others still see the frames.
    let (viewer, mut camera) = (connect(running.made), connect(running.made));
    for shade in [30, 40] {
        publish(&mut camera, shade);
        assert!(jpeg::decode(&next_frame(&viewer), 1000).is_ok());
    }
    assert!(hears.try_recv().is_err());
}

/// The processor time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// A test picture that is recorded and watched as JPEGs and as pickles, and a publisher of
/// pickles, whose frames are watched in both forms.
fn no_turn_of_the_loop_takes_5_ms_of_processor_time() {
    const LONGEST: Duration = Duration::from_millis(5);
    let folder = Folder::new("turns");
    let text = format!(
        "[services.pattern]\nkind = \"video\"\ntcp = 0\nsource = \"pattern\"\nroot = \"{}\"\nrecord = \"a.mp4\"\n\
         [services.pickles]\nkind = \"video\"\ntcp = 0\nsource = \"service:pattern\"\nencoding = \"pickle\"\n\
         [services.camera]\nkind = \"video\"\ntcp = 0\nsource = \"publish\"\nencoding = \"pickle\"\n\
         [services.relayed]\nkind = \"video\"\ntcp = 0\nsource = \"service:camera\"\n",
        folder.0.display()
    );
    let config = Config::parse(CATALOG, &text, Path::new("turns.toml"), &Overrides::default()).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let mut addresses = Vec::new();
    for service in config.services {
        let bound = hosting::host(&mut reactor, service).unwrap();
        addresses.extend(
            bound.iter().filter(|bound| bound.transport == Transport::Tcp).map(|bound| bound.address),
        );
    }
    let end = Instant::now() + Duration::from_secs(4);
    let camera = addresses[2];
    let mut threads = vec![std::thread::spawn(move || {
        let mut stream = connect(camera);
        let picture = Pattern::new(640, 480, 25).draw(0, "");
        let mut message = Vec::new();
        pickle::write(480, 640, picture.bgr(), &mut message);
        message.splice(0..0, prefix(message.len()));
        let mut sent = 0;
        // A little longer than the others look, so that none of them waits.
        while Instant::now() < end + Duration::from_millis(500) {
            stream.write_all(&message).unwrap();
            sent += 1;
            std::thread::sleep(Duration::from_millis(40));
        }
        sent
    })];
    for address in addresses {
        for _ in 0..2 {
            threads.push(std::thread::spawn(move || {
                let stream = connect(address);
                let mut seen = 0;
                while Instant::now() < end {
                    next_frame(&stream);
                    seen += 1;
                }
                seen
            }));
        }
    }
    let mut turns = Vec::new();
    while threads.iter().any(|thread| !thread.is_finished()) {
        let before = processor_time();
        reactor.turn(Some(Duration::from_millis(100))).unwrap();
        turns.push(processor_time() - before);
    }
    let frames: Vec<u32> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(frames.iter().all(|frames| *frames > 5), "frames sent, then seen by each viewer: {frames:?}");
    assert!(folder.size("a.mp4") > 100_000);
    turns.sort();
    let (middle, longest) = (turns[turns.len() / 2], turns[turns.len() - 1]);
    println!(
        "{} turns, median {middle:?}, p99 {:?}, longest {longest:?}",
        turns.len(),
        turns[turns.len() * 99 / 100]
    );
    println!("frames {frames:?}");
    assert!(longest < LONGEST, "a turn took {longest:?}, the median {middle:?}");
}
