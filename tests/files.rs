//! file and upload on a real disk: links that lead out of the folder, a daemon that is
//! killed, and which calls the loop's thread makes.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::{Daemon, config_in_own_folder, connect, eventually, read_exactly, read_line, read_to_end, udp};

const MIB: usize = 1024 * 1024;

/// A folder with files to serve, next to one that nobody may see.
struct House {
    config: PathBuf,
    root: PathBuf,
    outside: PathBuf,
}

impl House {
    fn new(name: &str) -> House {
        let text = "[services.file]\ntcp = 0\nudp = 0\nroot = \"root\"\n[services.upload]\ntcp = 0\nroot = \"root\"\n";
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

#[test]
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
    }
    let others = ["secret"].map(|name| (name.to_owned(), b"secret".to_vec()));
    assert_eq!(House::contents(&house.outside), BTreeMap::from(others));
    assert!(fs::symlink_metadata(house.root.join("passwd")).unwrap().is_symlink());
    eventually("all uploads are over", || {
        House::contents(&house.root).keys().all(|name| !name.starts_with('.'))
    });
    for (name, contents) in House::contents(&house.root) {
        let known: [&[u8]; 3] = [b"file", b"upload", b"from udp"];
        assert!(known.contains(&&*contents), "{name:?}: {contents:?}");
        assert!(!name.contains(['/', '\\', '\0', '\x1B']), "{name:?}");
    }
    assert!(house.root.join("folder").is_dir());
}

#[test]
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

#[test]
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

/// The calls of a daemon that strace has seen.
struct Trace {
    of_the_loop: String,
    of_all_threads: String,
}

/// Runs the daemon under strace, which writes each thread's calls into a file of its own.
fn traced(house: &House, visit: impl FnOnce(&Daemon)) -> Option<Trace> {
    let mut which = Command::new("strace");
    let works = which.args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !works.is_ok_and(|status| status.success()) {
        return None;
    }
    let trace = house.config.with_file_name("trace");
    let mut command = Command::new("strace");
    command.args(["-ff", "-qq", "-y", "-s", "64", "-o"]).arg(&trace).args(["-e", "trace=file,desc"]);
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
    Some(Trace {
        of_the_loop: text(&files[&format!("trace.{pid}")]),
        of_all_threads: traces.map(|(_, bytes)| text(bytes)).collect(),
    })
}

const NO_STRACE: &str = "strace does not run here: install it to see the calls";

#[test]
fn a_download_reads_no_contents_on_any_thread() {
    let house = House::new("files-download");
    fs::write(house.root.join("big.bin"), vec![b'x'; 20 * MIB]).unwrap();
    let trace = traced(&house, |daemon| {
        let framed = connect(daemon.tcp("file"));
        assert_eq!(ask(&framed, "GET 0 big.bin"), format!("OK {}\n", 20 * MIB));
        read_exactly(&framed, 20 * MIB);
        assert_eq!(all_of(daemon, "file", b"I am ready").len(), 7 + 20 * MIB);
    });
    let Some(Trace { of_all_threads, .. }) = trace else { return eprintln!("{NO_STRACE}") };
    let of_it: Vec<&str> = of_all_threads.lines().filter(|line| line.contains("big.bin>")).collect();
    assert!(of_it.iter().any(|line| line.starts_with("sendfile(")), "nothing was sent");
    let call = |line: &str| line.split('(').next().unwrap_or_default().to_owned();
    let reads: Vec<_> =
        of_it.iter().filter(|line| call(line).contains("read") || call(line) == "mmap").collect();
    assert!(reads.is_empty(), "{reads:#?}");
}

#[test]
fn the_loop_calls_nothing_on_files_but_sendfile_and_close() {
    let house = House::new("files-traced");
    fs::write(house.root.join("big.bin"), vec![b'x'; 20 * MIB]).unwrap();
    let root = house.root.to_str().unwrap().to_owned();
    let trace = traced(&house, |daemon| {
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
    let Some(Trace { of_the_loop, .. }) = trace else { return eprintln!("{NO_STRACE}") };
    // Before the first poll, the path of the folder is resolved.
    let (_, polling) = of_the_loop.split_once("epoll_wait(").unwrap();
    let of_files: Vec<&str> = polling.lines().filter(|line| line.contains(&root)).collect();
    assert!(of_files.iter().any(|line| line.starts_with("sendfile(")), "nothing was sent");
    // In a debug build the standard library looks at a descriptor before it closes it.
    let allowed = |line: &&&str| {
        line.starts_with("sendfile(") || line.starts_with("close(") || line.contains("F_GETFD")
    };
    let others: Vec<_> = of_files.iter().filter(|line| !allowed(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
}
