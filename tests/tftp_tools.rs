//! The daemon's TFTP against the clients that people have: curl, tftp-hpa and atftp, and
//! our own, which fetch and store files of lengths at which mistakes show.
//!
//! A tool that is missing has its tests reported as ignored.

mod support;
#[path = "support/trials.rs"]
mod trials;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use libtest_mimic::Arguments;
use support::Daemon;
use trials::trial;

/// Nothing, the least, a whole block and none, a block and a byte, and more blocks of 512
/// bytes than a block number can count.
const LENGTHS: [(&str, usize); 5] =
    [("0 bytes", 0), ("1 byte", 1), ("512 bytes", 512), ("513 bytes", 513), ("40 MiB", 40 << 20)];

/// A client, by its name and the arguments that make it fetch and store.
struct Tool {
    program: &'static str,
    package: &'static str,
    fetch: fn(&Job) -> Vec<String>,
    store: fn(&Job) -> Vec<String>,
    /// Whether it saves text with the line ends of the network. It encodes none either: the
    /// text that it stores arrives as it is.
    is_raw: bool,
}

/// What a client is to do.
struct Job {
    host: String,
    port: String,
    /// The file's name on the server.
    name: String,
    /// The file here.
    local: String,
    is_text: bool,
}

impl Job {
    fn mode(&self, text: &'static str, binary: &'static str) -> &'static str {
        if self.is_text { text } else { binary }
    }

    fn url(&self) -> String {
        let Job { host, port, name, .. } = self;
        format!("tftp://{host}:{port}/{name};mode={}", self.mode("netascii", "octet"))
    }
}

fn words(line: &[&str]) -> Vec<String> {
    line.iter().map(|word| (*word).to_owned()).collect()
}

const TOOLS: [Tool; 4] = [
    Tool {
        program: "curl",
        package: "curl",
        fetch: |job| words(&["-sS", "--max-time", "100", "-o", &job.local, &job.url()]),
        store: |job| words(&["-sS", "--max-time", "100", "-T", &job.local, &job.url()]),
        is_raw: true,
    },
    Tool {
        program: "tftp",
        package: "tftp-hpa",
        fetch: |job| {
            let mode = job.mode("ascii", "binary");
            words(&["-m", mode, &job.host, &job.port, "-c", "get", &job.name, &job.local])
        },
        store: |job| {
            let mode = job.mode("ascii", "binary");
            words(&["-m", mode, &job.host, &job.port, "-c", "put", &job.local, &job.name])
        },
        is_raw: false,
    },
    Tool {
        program: "atftp",
        package: "atftp",
        fetch: |job| {
            let mode = format!("mode {}", job.mode("netascii", "octet"));
            words(&[
                "--option",
                &mode,
                "--option",
                "blksize 1428",
                "--option",
                "windowsize 8",
                "-g",
                "-r",
                &job.name,
                "-l",
                &job.local,
                &job.host,
                &job.port,
            ])
        },
        store: |job| {
            let mode = format!("mode {}", job.mode("netascii", "octet"));
            words(&[
                "--option",
                &mode,
                "--option",
                "blksize 1428",
                "-p",
                "-r",
                &job.name,
                "-l",
                &job.local,
                &job.host,
                &job.port,
            ])
        },
        is_raw: false,
    },
    Tool {
        program: env!("CARGO_BIN_EXE_onepoll"),
        package: "onepoll",
        fetch: |job| {
            let target = format!("{}:{}", job.host, job.port);
            let mode = job.mode("netascii", "octet");
            words(&["tftp", "get", &target, &job.name, "--output", &job.local, "--mode", mode])
        },
        store: |job| {
            let target = format!("{}:{}", job.host, job.port);
            let mode = job.mode("netascii", "octet");
            words(&["tftp", "put", &target, &job.local, "--as", &job.name, "--mode", mode])
        },
        is_raw: false,
    },
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for tool in TOOLS {
        let tool = Arc::new(tool);
        let obstacle = obstacle(&tool);
        for (number, (length, bytes)) in LENGTHS.into_iter().enumerate() {
            let case = format!("{}-{number}", tool.package);
            let (one, name, at) = (tool.clone(), format!("{} fetches {length}", tool.package), case.clone());
            trials.push(trial(name, obstacle.clone(), move || fetches(&one, &at, &contents(bytes), false)));
            let (one, name) = (tool.clone(), format!("{} stores {length}", tool.package));
            trials.push(trial(name, obstacle.clone(), move || stores(&one, &case, &contents(bytes), false)));
        }
        let (one, name) = (tool.clone(), format!("{} fetches a text as netascii", tool.package));
        trials.push(trial(name, obstacle.clone(), move || {
            fetches(&one, &format!("{}-text", one.package), &text(), true)
        }));
        let (one, name) = (tool.clone(), format!("{} stores a text as netascii", tool.package));
        trials.push(trial(name, obstacle.clone(), move || {
            stores(&one, &format!("{}-text", one.package), &text(), true)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn obstacle(tool: &Tool) -> Option<String> {
    let mut command = Command::new(tool.program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().and_then(|mut child| child.wait()).err().map(|_| format!("there is no {}", tool.package))
}

/// Bytes that do not repeat soon.
fn contents(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Lines that do not end where blocks do.
fn text() -> Vec<u8> {
    (0..3000).map(|line| format!("{line}번째 줄\n")).collect::<String>().into_bytes()
}

/// A folder for one test, with one for the daemon in it.
fn folder(case: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tftp-{case}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("served")).unwrap();
    folder
}

fn daemon(case: &str, folder: &Path) -> Daemon {
    let root = folder.join("served");
    let config = format!("[services.tftp]\nudp = 0\nroot = {:?}\nwritable = true\n", root.to_str().unwrap());
    Daemon::with_config(&format!("tftp-{case}"), &config)
}

fn run(tool: &Tool, daemon: &Daemon, local: &Path, is_text: bool, arguments: fn(&Job) -> Vec<String>) {
    let address = daemon.udp("tftp");
    let job = Job {
        host: address.ip().to_string(),
        port: address.port().to_string(),
        name: "file.bin".into(),
        local: local.to_str().unwrap().into(),
        is_text,
    };
    let output = Command::new(tool.program).args(arguments(&job)).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}: {output:?}", tool.package);
}

fn fetches(tool: &Tool, case: &str, contents: &[u8], is_text: bool) {
    let case = format!("{case}-fetch");
    let folder = folder(&case);
    fs::write(folder.join("served/file.bin"), contents).unwrap();
    let daemon = daemon(&case, &folder);
    let local = folder.join("here.bin");
    run(tool, &daemon, &local, is_text, tool.fetch);
    if is_text && tool.is_raw {
        compare(&local, String::from_utf8_lossy(contents).replace('\n', "\r\n").as_bytes());
    } else {
        compare(&local, contents);
    }
    fs::remove_dir_all(folder).unwrap();
}

fn stores(tool: &Tool, case: &str, contents: &[u8], is_text: bool) {
    let case = format!("{case}-store");
    let folder = folder(&case);
    let local = folder.join("here.bin");
    fs::write(&local, contents).unwrap();
    let daemon = daemon(&case, &folder);
    run(tool, &daemon, &local, is_text, tool.store);
    compare(&folder.join("served/file.bin"), contents);
    let stored = fs::read_dir(folder.join("served")).unwrap().count();
    assert_eq!(stored, 1, "something else was left");
    fs::remove_dir_all(folder).unwrap();
}

fn compare(file: &Path, expected: &[u8]) {
    let found = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(found == expected, "{}: {} bytes, {} expected", file.display(), found.len(), expected.len());
}
