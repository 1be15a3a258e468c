//! Running out of file descriptors: the daemon survives, does not spin, and
//! serves again once some are free.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::{Daemon, Log, connect, eventually, read_exactly, read_line, read_to_end};

const CHAT: &[&str] = &["--only", "echo,chat", "--port", "echo=0", "--port", "chat=0"];

/// Sets the daemon's soft limit from outside; the highest descriptor is one less
/// than that.
fn set_limit(daemon: &Daemon, limit: u64) {
    let pid = Pid::from_raw(daemon.process.id() as i32).unwrap();
    let hard = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(limit), maximum: None });
    // The hard limit cannot be raised again, so the old one has to be passed
    // back.
    if hard.is_err() {
        let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: Some(limit), maximum: hard };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    }
}

/// The limit that leaves this many descriptors free: the kernel hands out the
/// lowest free number, and there may be gaps.
fn limit_that_leaves(free: usize, daemon: &Daemon) -> u64 {
    let list = std::fs::read_dir(format!("/proc/{}/fd", daemon.process.id())).unwrap();
    let taken: Vec<u64> =
        list.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    (0..).filter(|number| !taken.contains(number)).nth(free).unwrap()
}

fn is_served(stream: &TcpStream) -> bool {
    let mut answer = [0; 1];
    matches!((&mut &*stream).write_all(b"x").and_then(|()| (&mut &*stream).read_exact(&mut answer)), Ok(()))
}

#[test]
fn without_descriptors_clients_are_turned_away_and_later_served_again() {
    let daemon = Daemon::start(CHAT);
    let kept = connect(daemon.tcp("echo"));
    assert!(is_served(&kept));
    set_limit(&daemon, limit_that_leaves(4, &daemon));
    let more: Vec<TcpStream> = (0..20).map(|_| connect(daemon.tcp("echo"))).collect();
    let served: Vec<&TcpStream> = more.iter().filter(|stream| is_served(stream)).collect();
    assert!((3..=5).contains(&served.len()), "{} served", served.len());
    assert!(is_served(&kept), "those who are in are not disturbed");
    // Clients that are turned away are told so if the protocol has words for it.
    let words = read_to_end(&connect(daemon.tcp("chat")));
    assert!(String::from_utf8(words).unwrap().contains("too many connections"));
    let before = daemon.cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = daemon.cpu_time() - before;
    assert!(spent < Duration::from_millis(200), "it spun: {spent:?} of CPU in a second");
    drop(more);
    eventually("clients are served again", || is_served(&connect(daemon.tcp("echo"))));
}

#[test]
fn without_even_a_spare_descriptor_it_waits_without_spinning() {
    let daemon = Daemon::start(CHAT);
    let kept = connect(daemon.tcp("echo"));
    assert!(is_served(&kept));
    set_limit(&daemon, 3);
    let waiting: Vec<TcpStream> = (0..5).map(|_| connect(daemon.tcp("echo"))).collect();
    (&waiting[0]).write_all(b"x").unwrap();
    let before = daemon.cpu_time();
    std::thread::sleep(Duration::from_secs(1));
    let spent = daemon.cpu_time() - before;
    assert!(spent < Duration::from_millis(200), "it spun: {spent:?} of CPU in a second");
    waiting[0].set_nonblocking(true).unwrap();
    let nothing = (&waiting[0]).read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(nothing, Err(ErrorKind::WouldBlock), "it must not have been accepted");
    waiting[0].set_nonblocking(false).unwrap();
    assert!(is_served(&kept));
    set_limit(&daemon, 1000);
    assert_eq!(read_exactly(&waiting[0], 1), b"x");
    for stream in &waiting[1..] {
        assert!(is_served(stream), "who waited in the backlog is served now");
    }
    eventually("new clients are served", || is_served(&connect(daemon.tcp("echo"))));
}

/// A daemon that may have this many descriptors.
fn limited(name: &str, descriptors: usize, config: &str) -> (Daemon, Log) {
    let config = support::config_file(name, config);
    let serve = format!(
        "ulimit -n {descriptors}; exec '{}' serve --announce --config '{config}'",
        env!("CARGO_BIN_EXE_onepoll")
    );
    let log = Log::new(name);
    let mut command = Command::new("sh");
    command.args(["-c", &serve]).stderr(log.writer()).env_remove("RUST_LOG");
    (Daemon::spawn(command), log)
}

#[test]
fn the_connection_limit_is_lowered_to_what_the_descriptors_allow() {
    let text = "[limits]\nconnections = 500\n[services.echo]\ntcp = 0\nconnections = 100\n";
    let (daemon, log) = limited("few", 60, text);
    let all: Vec<TcpStream> = (0..60).map(|_| connect(daemon.tcp("echo"))).collect();
    let served = all.iter().filter(|stream| is_served(stream)).count();
    assert!((5..60).contains(&served), "{served} served");
    log.line_with(&["WARN", "] connections = 500 is lowered to"]);
    log.line_with(&["WARN", "] echo: connections = 100 is lowered to"]);
}

#[test]
fn descriptors_are_kept_free_for_what_is_not_a_connection_however_many_services_there_are() {
    const DESCRIPTORS: usize = 200;
    let services: String = (0..60)
        .map(|number| format!("[services.echo-{number}]\nkind = \"echo\"\ntcp = 0\nudp = 0\n"))
        .collect();
    let (daemon, log) = limited("many-services", DESCRIPTORS, &services);
    let before = daemon.descriptors();
    assert!(before > 120, "each service has two sockets");
    let all: Vec<TcpStream> = (0..DESCRIPTORS).map(|_| connect(daemon.tcp("echo-0"))).collect();
    let served = all.iter().filter(|stream| is_served(stream)).count();
    assert!((DESCRIPTORS - before - 13..DESCRIPTORS - before).contains(&served), "{served} of {before}");
    assert!(daemon.descriptors() + 8 <= DESCRIPTORS, "{} are open", daemon.descriptors());
    assert!(!log.text().contains("no descriptor is free"), "{}", log.text());
}

/// The first answer to a read request over TFTP.
fn ask_by_tftp(daemon: &Daemon, name: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    socket.send_to(format!("\0\x01{name}\0octet\0").as_bytes(), daemon.udp("tftp")).unwrap();
    let mut answer = vec![0; 1000];
    let count = socket.recv(&mut answer).unwrap();
    answer.truncate(count);
    answer
}

#[test]
fn open_files_leave_descriptors_to_others_and_one_too_many_is_told() {
    const DESCRIPTORS: usize = 400;
    const FILES: usize = 150;
    const BUSY: &str = "the server has too many files open, try again later";
    let folder = support::config_in_own_folder("many-files", "").with_file_name("root");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..FILES {
        // Larger than what the kernel takes of it, so that it stays open.
        let file = std::fs::File::create(folder.join(format!("{number}"))).unwrap();
        file.set_len(64 << 20).unwrap();
    }
    let root = folder.to_str().unwrap();
    let text = format!(
        "[services.echo]\ntcp = 0\n[services.file]\ntcp = 0\nudp = 0\nroot = '{root}'\n\
         [services.upload]\ntcp = 0\nroot = '{root}'\n[services.tftp]\nudp = 0\nroot = '{root}'\n"
    );
    let (daemon, log) = limited("many-files", DESCRIPTORS, &text);
    let ask = |request: String| {
        let stream = connect(daemon.tcp("file"));
        (&stream).write_all(request.as_bytes()).unwrap();
        let answer = read_line(&stream);
        (stream, answer)
    };
    let all: Vec<_> = (0..FILES).map(|number| ask(format!("GET 0 {number}\n"))).collect();
    let is_sent = |(_, answer): &&(TcpStream, String)| answer.starts_with("OK ");
    assert_eq!(all.iter().filter(is_sent).count(), DESCRIPTORS / 4);
    let refusal = format!("ERR busy {BUSY}\n");
    assert!(
        all.iter().filter(|(_, answer)| !answer.starts_with("OK ")).all(|(_, answer)| *answer == refusal)
    );
    let (open, closed) = (0, FILES - 1);
    assert!(all[open].1.starts_with("OK ") && all[closed].1 == refusal);

    // A file that is open already takes no more; nothing else is stored or opened.
    assert!(ask(format!("GET 0 {open}\n")).1.starts_with("OK "));
    assert_eq!(ask("PUT 5 - new\nhello".to_owned()).1, refusal);
    assert_eq!(ask_by_tftp(&daemon, &open.to_string())[..4], [0, 3, 0, 1]);
    assert_eq!(ask_by_tftp(&daemon, &closed.to_string())[4..], *format!("{BUSY}\0").as_bytes());
    assert_eq!(ask("LIST\n".to_owned()).1, format!("OK {FILES}\n"));
    assert!(is_served(&connect(daemon.tcp("echo"))));

    // Whatever else clients open, what they have goes on.
    let more: Vec<TcpStream> = (0..DESCRIPTORS).map(|_| connect(daemon.tcp("echo"))).collect();
    let served = more.iter().filter(|stream| is_served(stream)).count();
    assert!(served > 10, "{served} are served");
    assert_eq!(ask_by_tftp(&daemon, &open.to_string())[..4], [0, 3, 0, 1]);
    assert!(!log.text().contains("no descriptor is free"), "{}", log.text());
    drop((all, more));
    eventually("there is room again", || ask(format!("GET 0 {closed}\n")).1.starts_with("OK "));
}
