//! file and upload on a real disk: links that lead out of the folder, a daemon that is
//! killed, how downloads share the link, and which calls the loop's thread makes.
//!
//! Where `strace` is missing, or may not trace, the tests that need it are reported as
//! ignored.

mod support;
#[path = "support/trials.rs"]
mod trials;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Arguments;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};
use support::{Daemon, config_in_own_folder, connect, eventually, read_exactly, read_line, read_to_end, udp};
use trials::trial;

const MIB: usize = 1024 * 1024;

type Test = (&'static str, fn());

const TESTS: [Test; 6] = [
    (
        "checking_a_config_touches_nothing_and_a_root_that_is_unusable_is_a_warning",
        checking_a_config_touches_nothing_and_a_root_that_is_unusable_is_a_warning,
    ),
    ("no_name_leads_out_of_the_folder_through_any_door", no_name_leads_out_of_the_folder_through_any_door),
    (
        "a_daemon_that_is_killed_in_mid_upload_leaves_nothing_after_its_restart",
        a_daemon_that_is_killed_in_mid_upload_leaves_nothing_after_its_restart,
    ),
    (
        "a_daemon_that_is_told_to_end_finishes_what_it_has_begun",
        a_daemon_that_is_told_to_end_finishes_what_it_has_begun,
    ),
    (
        "a_hundred_downloads_at_once_share_the_link_within_a_factor_of_two",
        a_hundred_downloads_at_once_share_the_link_within_a_factor_of_two,
    ),
    (
        "memory_does_not_grow_with_the_size_of_a_file_in_either_direction",
        memory_does_not_grow_with_the_size_of_a_file_in_either_direction,
    ),
];

const TRACED_TESTS: [Test; 3] = [
    ("a_download_reads_no_contents_on_any_thread", a_download_reads_no_contents_on_any_thread),
    (
        "the_loop_calls_nothing_on_files_but_sendfile_and_close",
        the_loop_calls_nothing_on_files_but_sendfile_and_close,
    ),
    ("a_slow_disk_delays_no_echo", a_slow_disk_delays_no_echo),
];

fn main() -> ExitCode {
    let tests = TESTS.map(|(name, test)| trial(name, None, test));
    let obstacle = (!strace_works()).then(|| "there is no strace, or it may not trace".to_owned());
    let traced = TRACED_TESTS.map(|(name, test)| trial(name, obstacle.clone(), test));
    libtest_mimic::run(&Arguments::from_args(), tests.into_iter().chain(traced).collect()).exit_code()
}

fn strace_works() -> bool {
    let mut command = Command::new("strace");
    command.args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A folder with files to serve, next to one that nobody may see.
struct House {
    config: PathBuf,
    root: PathBuf,
    outside: PathBuf,
}

impl House {
    fn new(name: &str) -> House {
        let text = "[services.file]\ntcp = 0\nudp = 0\nroot = \"root\"\n\
                    [services.upload]\ntcp = 0\nroot = \"root\"\n\
                    [services.tftp]\nudp = 0\nroot = \"root\"\nwritable = true\n";
        let config = config_in_own_folder(name, text);
        let folder = config.parent().unwrap();
        let (root, outside) = (folder.join("root"), folder.join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        House { config, root, outside }
    }

    fn serve(&self) -> Daemon {
        Daemon::start(&["--config", self.config.to_str().unwrap()])
    }

    /// What is in a folder, by name, with contents; links are not followed.
    fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        files
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.config.parent().unwrap());
        }
    }
}

fn ask(stream: &TcpStream, request: &str) -> String {
    let mut stream = stream;
    stream.write_all(format!("{request}\n").as_bytes()).unwrap();
    read_line(stream)
}

/// Sends bytes on a connection of their own, and half-closes.
fn all_of(daemon: &Daemon, service: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(daemon.tcp(service));
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(&stream)
}

/// Uploads over UDP, and returns the answer to the name.
fn over_udp(socket: &UdpSocket, name: &[u8]) -> String {
    let mut answer = [0; 1000];
    socket.send(name).unwrap();
    let count = socket.recv(&mut answer).unwrap();
    socket.send(b"from udp").unwrap();
    socket.send(b"").unwrap();
    String::from_utf8(answer[..count].to_vec()).unwrap()
}

/// Asks over TFTP to read (1) or to write (2), and returns the answer's code. What may be
/// written is written.
fn over_tftp(daemon: &Daemon, code: u8, name: &[u8]) -> u8 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let request = [&[0, code], name, b"\0octet\0"].concat();
    socket.send_to(&request, daemon.udp("tftp")).unwrap();
    let mut answer = [0; 600];
    let (_, server) = socket.recv_from(&mut answer).unwrap();
    if answer[..4] == [0, 4, 0, 0] {
        socket.send_to(b"\0\x03\0\x01over tftp", server).unwrap();
        socket.recv_from(&mut answer).unwrap();
        assert_eq!(answer[..4], [0, 4, 0, 1], "{name:?} is stored");
    }
    answer[1]
}

fn no_name_leads_out_of_the_folder_through_any_door() {
    let house = House::new("files-hostile");
    fs::write(house.outside.join("secret"), "secret").unwrap();
    fs::create_dir(house.root.join("folder")).unwrap();
    symlink(house.outside.join("secret"), house.root.join("absolute")).unwrap();
    symlink("../outside/secret", house.root.join("relative")).unwrap();
    symlink("../outside", house.root.join("away")).unwrap();
    symlink("/etc/passwd", house.root.join("passwd")).unwrap();
    symlink("nowhere", house.root.join("dangling")).unwrap();
    nix::unistd::mkfifo(&house.root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let daemon = house.serve();

    let framed = connect(daemon.tcp("file"));
    assert_eq!(ask(&framed, "LIST"), "OK 0\n");
    let names = [
        "absolute",
        "relative",
        "away",
        "away/secret",
        "passwd",
        "dangling",
        "pipe",
        "folder",
        "secret",
        "../outside/secret",
        "..\\outside\\secret",
        "/etc/passwd",
        "folder/../../outside/secret",
        "..",
        ".",
        "",
        "%2e%2e/secret",
        "a\0b",
        "\x1B[2J",
        "CON",
        "nul.txt",
        "\u{202E}txt.exe",
    ];
    for name in names {
        for request in ["GET 0", "SUM"] {
            let answer = ask(&framed, &format!("{request} {name}"));
            assert!(answer.starts_with("ERR "), "{request} {name:?}: {answer}");
        }
        assert_eq!(over_tftp(&daemon, 1, name.as_bytes()), 5, "{name:?}");
        // Course mode has no words: there is no other file to offer either.
        assert_eq!(
            all_of(&daemon, "file", format!("{name}?").trim_end_matches('?').as_bytes()),
            b"",
            "{name:?}"
        );
    }

    // What is stored under such a name stays within the folder, and never takes another's place.
    let socket = udp(daemon.udp("file"));
    for name in names {
        let put = all_of(&daemon, "file", format!("PUT 4 - {name}\nfile").as_bytes());
        let put = String::from_utf8(put).unwrap();
        assert!(put.starts_with("OK send\nOK ") || put.starts_with("ERR "), "{name:?}: {put}");
        all_of(&daemon, "upload", format!("{name}.txtupload").as_bytes());
        if !name.is_empty() {
            let answer = over_udp(&socket, name.as_bytes());
            assert!(answer == "ok" || answer.starts_with("ERR bad-name "), "{name:?}: {answer}");
        }
        assert!([4, 5].contains(&over_tftp(&daemon, 2, name.as_bytes())), "{name:?}");
    }
    let others = ["secret"].map(|name| (name.to_owned(), b"secret".to_vec()));
    assert_eq!(House::contents(&house.outside), BTreeMap::from(others));
    assert!(fs::symlink_metadata(house.root.join("passwd")).unwrap().is_symlink());
    eventually("all uploads are over", || {
        House::contents(&house.root).keys().all(|name| !name.starts_with('.'))
    });
    for (name, contents) in House::contents(&house.root) {
        let known: [&[u8]; 4] = [b"file", b"upload", b"from udp", b"over tftp"];
        assert!(known.contains(&&*contents), "{name:?}: {contents:?}");
        assert!(!name.contains(['/', '\\', '\0', '\x1B']), "{name:?}");
    }
    assert!(house.root.join("folder").is_dir());
}

fn a_daemon_that_is_killed_in_mid_upload_leaves_nothing_after_its_restart() {
    let house = House::new("files-killed");
    let mut daemon = house.serve();
    let mut put = connect(daemon.tcp("file"));
    put.write_all(format!("PUT {} - big.bin\n", 10 * MIB).as_bytes()).unwrap();
    assert_eq!(read_line(&put), "OK send\n");
    put.write_all(&vec![b'x'; 3 * MIB]).unwrap();
    let mut upload = connect(daemon.tcp("upload"));
    assert_eq!(read_exactly(&upload, 10), b"I am ready");
    upload.write_all(b"a.txthello").unwrap();
    let socket = udp(daemon.udp("file"));
    socket.send(b"b.txt").unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 2);
    let temporary = || House::contents(&house.root);
    eventually("three uploads are on the disk", || {
        temporary().values().filter(|file| !file.is_empty()).count() >= 2
    });
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert!(temporary().len() >= 3 && temporary().keys().all(|name| name.starts_with(".onepoll-upload-")));

    let daemon = house.serve();
    let framed = connect(daemon.tcp("file"));
    assert_eq!(ask(&framed, "LIST"), "OK 0\n");
    assert_eq!(temporary(), BTreeMap::new());
    assert_eq!(ask(&framed, "PUT 0 - big.bin"), "OK send\n");
    assert_eq!(read_line(&framed), "OK big.bin\n");
}

fn a_daemon_that_is_told_to_end_finishes_what_it_has_begun() {
    let house = House::new("files-drained");
    fs::write(house.root.join("big.bin"), vec![b'x'; 30 * MIB]).unwrap();
    let mut daemon = house.serve();
    let mut stream = connect(daemon.tcp("file"));
    stream.write_all(b"GET 0 big.bin\n").unwrap();
    assert_eq!(read_line(&stream), format!("OK {}\n", 30 * MIB));
    daemon.signal(Signal::SIGTERM);
    let mut received = 0;
    let mut buffer = vec![0; MIB];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        received += count;
    }
    assert_eq!(received, 30 * MIB);
    drop(stream);
    assert!(daemon.wait().0.success());
}

fn checking_a_config_touches_nothing_and_a_root_that_is_unusable_is_a_warning() {
    let example = Command::new(env!("CARGO_BIN_EXE_onepoll")).args(["config", "example"]).output().unwrap();
    let example = String::from_utf8(example.stdout).unwrap();
    let config = config_in_own_folder("files-untouched", &example);
    let folder = config.parent().unwrap();
    let check = |config: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(["config", "check"]).arg(config).current_dir(folder).output().unwrap()
    };
    assert!(check(&config).status.success());
    assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "there is only the config file");

    // Nobody, not even root, can create a folder there.
    let text = "[services.file]\ntcp = 0\nroot = \"/proc/onepoll-files\"\n[services.upload]\ntcp = 0\n";
    fs::write(&config, text).unwrap();
    assert!(check(&config).status.success());
    let (daemon, log) = Daemon::logged("files-untouched", &["--config", config.to_str().unwrap()]);
    log.line_with(&["WARN", "/proc/onepoll-files", "cannot be created"]);
    let framed = connect(daemon.tcp("file"));
    assert!(ask(&framed, "LIST").starts_with("ERR unavailable "));
    // The default root is next to the file, not where the daemon was started.
    all_of(&daemon, "upload", b"a.txthello");
    let root = folder.join("onepoll-files");
    eventually("the upload is stored", || root.join("a.txt").exists());
    assert!(root.join("welcome.txt").exists());
    drop(daemon);
    fs::remove_dir_all(folder).unwrap();
}

/// A file of zeros that takes no room on the disk.
fn sparse(path: &Path, size: u64) {
    fs::File::create(path).unwrap().set_len(size).unwrap();
}

fn a_hundred_downloads_at_once_share_the_link_within_a_factor_of_two() {
    const DOWNLOADS: usize = 100;
    const IN_ALL: usize = 800 * MIB;
    const SIZE: usize = 64 * MIB;
    let house = House::new("files-fair");
    sparse(&house.root.join("big.bin"), SIZE as u64);
    let daemon = house.serve();
    // The kernel gives a larger receive buffer to whoever takes more; these all have the same.
    let mut streams: Vec<TcpStream> = (0..DOWNLOADS)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_recv_buffer_size(256 * 1024).unwrap();
            socket.connect(&daemon.tcp("file").into()).unwrap();
            socket.into()
        })
        .collect();
    streams.iter_mut().for_each(|stream| stream.write_all(b"GET 0 big.bin\n").unwrap());
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    // One reader takes what has come of each in turn, so what differs is how it was sent.
    let mut received = [0; DOWNLOADS];
    let mut buffer = vec![0; 4 * MIB];
    while received.iter().sum::<usize>() < IN_ALL {
        for (stream, received) in streams.iter_mut().zip(&mut received) {
            match stream.read(&mut buffer) {
                Ok(count) => *received += count,
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
            }
        }
    }
    let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
    assert!(*most < SIZE, "none has ended");
    assert!(most <= &(2 * least), "from {least} to {most} bytes: {received:?}");
}

fn memory_does_not_grow_with_the_size_of_a_file_in_either_direction() {
    const DOWNLOAD: usize = 1024 * MIB;
    const UPLOAD: usize = 256 * MIB;
    /// What buffers take at most: one read, and 1 MiB that waits for the disk with as much
    /// that is being written.
    const MOST: usize = 8 * MIB;
    let house = House::new("files-memory");
    sparse(&house.root.join("big.bin"), DOWNLOAD as u64);
    sparse(&house.root.join("small.bin"), MIB as u64);
    let daemon = house.serve();
    let mut framed = connect(daemon.tcp("file"));
    let mut buffer = vec![0; MIB];
    let mut download = |framed: &mut TcpStream, name: &str, size: usize| {
        assert_eq!(ask(framed, &format!("GET 0 {name}")), format!("OK {size}\n"));
        let (mut left, mut peak) = (size, 0);
        while left > 0 {
            left -= framed.read(&mut buffer[..left.min(MIB)]).unwrap();
            peak = peak.max(if left % 16 == 0 { daemon.resident() } else { 0 });
        }
        peak.max(daemon.resident())
    };
    let zeros = vec![0; MIB];
    let upload = |framed: &mut TcpStream, name: &str, size: usize| {
        assert_eq!(ask(framed, &format!("PUT {size} - {name}")), "OK send\n");
        let mut peak = 0;
        for _ in 0..size / MIB {
            framed.write_all(&zeros).unwrap();
            peak = peak.max(daemon.resident());
        }
        assert_eq!(read_line(framed), format!("OK {name}\n"));
        peak
    };
    // Threads and buffers are there once each way has been gone.
    let mut before = download(&mut framed, "small.bin", MIB);
    before = before.max(upload(&mut framed, "first.bin", 4 * MIB));
    let downloading = download(&mut framed, "big.bin", DOWNLOAD);
    assert!(downloading < before + MOST, "{before} bytes before, {downloading} in a download");
    let uploading = upload(&mut framed, "second.bin", UPLOAD);
    assert!(uploading < before + MOST, "{before} bytes before, {uploading} in an upload");
}

/// The calls of a daemon that strace has seen.
struct Trace {
    of_the_loop: String,
    of_all_threads: String,
}

/// Runs the daemon under strace, which writes each thread's calls into a file of its own.
fn traced(house: &House, options: &[&str], visit: impl FnOnce(&Daemon)) -> Trace {
    let trace = house.config.with_file_name("trace");
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "-y", "-s", "64", "-o"]).arg(&trace).args(options);
    command.arg(env!("CARGO_BIN_EXE_onepoll")).args(["serve", "--announce", "--config"]).arg(&house.config);
    command.stderr(Stdio::null());
    let mut daemon = Daemon::spawn(command);
    visit(&daemon);
    // strace hands the signal on only to its own child.
    let loop_thread =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.process.id())).unwrap();
    let pid: i32 = loop_thread.split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    assert!(daemon.wait().0.success());
    let files = House::contents(house.config.parent().unwrap());
    let traces = files.iter().filter(|(name, _)| name.starts_with("trace."));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Trace {
        of_the_loop: text(&files[&format!("trace.{pid}")]),
        of_all_threads: traces.map(|(_, bytes)| text(bytes)).collect(),
    }
}

impl Trace {
    /// What the loop's thread calls on files of the root, other than what it may.
    fn calls_that_may_wait(&self, root: &Path) -> Vec<&str> {
        // Before the first poll, the path of the folder is resolved.
        let (_, polling) = self.of_the_loop.split_once("epoll_wait(").unwrap();
        let root = root.to_str().unwrap();
        let of_files: Vec<&str> = polling.lines().filter(|line| line.contains(root)).collect();
        assert!(of_files.iter().any(|line| line.starts_with("sendfile(")), "nothing was sent");
        // In a debug build the standard library looks at a descriptor before it closes it.
        let may = |line: &str| {
            line.starts_with("sendfile(") || line.starts_with("close(") || line.contains("F_GETFD")
        };
        of_files.into_iter().filter(|line| !may(line)).collect()
    }
}

const FILE_CALLS: [&str; 2] = ["-e", "trace=file,desc"];

fn a_download_reads_no_contents_on_any_thread() {
    let house = House::new("files-download");
    fs::write(house.root.join("big.bin"), vec![b'x'; 20 * MIB]).unwrap();
    let Trace { of_all_threads, .. } = traced(&house, &FILE_CALLS, |daemon| {
        let framed = connect(daemon.tcp("file"));
        assert_eq!(ask(&framed, "GET 0 big.bin"), format!("OK {}\n", 20 * MIB));
        read_exactly(&framed, 20 * MIB);
        assert_eq!(all_of(daemon, "file", b"I am ready").len(), 7 + 20 * MIB);
    });
    let of_it: Vec<&str> = of_all_threads.lines().filter(|line| line.contains("big.bin>")).collect();
    assert!(of_it.iter().any(|line| line.starts_with("sendfile(")), "nothing was sent");
    let call = |line: &str| line.split('(').next().unwrap_or_default().to_owned();
    let reads: Vec<_> =
        of_it.iter().filter(|line| call(line).contains("read") || call(line) == "mmap").collect();
    assert!(reads.is_empty(), "{reads:#?}");
}

fn the_loop_calls_nothing_on_files_but_sendfile_and_close() {
    let house = House::new("files-traced");
    fs::write(house.root.join("big.bin"), vec![b'x'; 20 * MIB]).unwrap();
    let trace = traced(&house, &FILE_CALLS, |daemon| {
        let framed = connect(daemon.tcp("file"));
        assert_eq!(ask(&framed, "GET 0 big.bin"), format!("OK {}\n", 20 * MIB));
        read_exactly(&framed, 20 * MIB);
        assert!(ask(&framed, "SUM big.bin").starts_with("OK "));
        assert_eq!(ask(&framed, "LIST"), "OK 1\n");
        read_line(&framed);
        assert_eq!(ask(&framed, "PUT 5 - put.txt"), "OK send\n");
        (&framed).write_all(b"hello").unwrap();
        assert_eq!(read_line(&framed), "OK put.txt\n");
        assert_eq!(all_of(daemon, "upload", b"up.txthello"), b"I am ready");
        let socket = udp(daemon.udp("file"));
        assert_eq!(over_udp(&socket, b"udp.txt"), "ok");
        eventually("all is stored", || {
            house.root.join("udp.txt").exists() && house.root.join("up.txt").exists()
        });
        let course = all_of(daemon, "file", b"big.bin");
        assert_eq!(course.len(), 7 + 20 * MIB);
    });
    assert_eq!(trace.calls_that_may_wait(&house.root), [""; 0]);
}

/// Writes a file and has the kernel forget its pages.
fn cold(path: &Path, size: usize) {
    let file = fs::File::create(path).unwrap();
    (&file).write_all(&vec![b'x'; size]).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Asks the echo service for a while, and returns the times that the answers took.
fn echoes(daemon: &Daemon, mut goes_on: impl FnMut(usize) -> bool) -> Vec<Duration> {
    let mut stream = connect(daemon.tcp("echo"));
    stream.set_nodelay(true).unwrap();
    let mut times = Vec::new();
    while goes_on(times.len()) {
        let asked = Instant::now();
        stream.write_all(b"x").unwrap();
        read_exactly(&stream, 1);
        times.push(asked.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    times.sort_unstable();
    times
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

fn a_slow_disk_delays_no_echo() {
    /// What each of these calls takes in addition, in microseconds.
    const DELAY: Duration = Duration::from_millis(50);
    const SLOW: [&str; 4] = [
        "-e",
        "trace=openat2,openat,open,read,pread64,write,pwrite64,fsync,fdatasync,sendfile,close,statx,fstat,newfstatat,unlinkat,renameat2,getdents64,epoll_wait",
        "-e",
        "inject=pwrite64,fsync,openat2:delay_exit=50000",
    ];
    let house = House::new("files-slow");
    fs::write(&house.config, fs::read_to_string(&house.config).unwrap() + "[services.echo]\ntcp = 0\n")
        .unwrap();
    let names: Vec<String> = (0..4).map(|number| format!("cold-{number}.bin")).collect();
    names.iter().for_each(|name| cold(&house.root.join(name), 16 * MIB));
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let trace = traced(&house, &SLOW, |daemon| {
        alone = echoes(daemon, |count| count < 100);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let echo = scope.spawn(|| echoes(daemon, |_| !is_over.load(Ordering::Relaxed)));
            let mut clients = Vec::new();
            for name in &names {
                clients.push(scope.spawn(move || {
                    let framed = connect(daemon.tcp("file"));
                    assert_eq!(ask(&framed, &format!("GET 0 {name}")), format!("OK {}\n", 16 * MIB));
                    assert!(read_exactly(&framed, 16 * MIB).iter().all(|byte| *byte == b'x'));
                }));
                clients.push(scope.spawn(move || {
                    let mut framed = connect(daemon.tcp("file"));
                    assert_eq!(ask(&framed, &format!("PUT {} - up-{name}", 4 * MIB)), "OK send\n");
                    framed.write_all(&vec![b'y'; 4 * MIB]).unwrap();
                    assert_eq!(read_line(&framed), format!("OK up-{name}\n"));
                }));
            }
            let done: Vec<_> = clients.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::Relaxed);
            beside = echo.join().unwrap();
            assert!(done.iter().all(Result::is_ok), "a client failed");
        });
    });
    assert_eq!(trace.calls_that_may_wait(&house.root), [""; 0]);
    assert!(trace.of_all_threads.contains("(DELAYED)"), "no call was slow");
    assert!(!trace.of_the_loop.contains("(DELAYED)"), "the loop made a slow call");
    // What they take alone is strace's work; one slow call in a turn would show.
    let most = (5 * median(&alone)).max(Duration::from_millis(5));
    assert!(most < DELAY, "an echo alone takes {:?}: nothing can be seen", median(&alone));
    assert!(median(&beside) <= most, "{:?} alone, {:?} beside a slow disk", median(&alone), median(&beside));
}
