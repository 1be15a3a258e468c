//! `onepoll tftp` as its users see it: what it prints, what it saves, and what it leaves
//! when something goes wrong.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use onepoll::wire::tftp::{ErrorCode, Packet, error};
use support::{Daemon, PATIENCE};

/// A daemon whose folder has one file, and a folder for the client.
struct Lab {
    daemon: Daemon,
    folder: PathBuf,
}

const LECTURE: &str = "첫 번째 강의\n";

impl Lab {
    fn new(test: &str) -> Lab {
        let folder = folder(test);
        let root = folder.join("served");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("강의.txt"), LECTURE).unwrap();
        let config =
            format!("[services.tftp]\nudp = 0\nroot = {:?}\nwritable = true\n", root.to_str().unwrap());
        Lab { daemon: Daemon::with_config(&format!("tftp-client-{test}"), &config), folder }
    }

    fn run(&self, action: &str, arguments: &[&str]) -> Output {
        let target = self.daemon.udp("tftp").to_string();
        tftp(&self.folder, &[&[action, &target], arguments].concat())
    }

    /// The names in the client's folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tftp-client-{test}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn tftp(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
    command.arg("tftp").args(arguments).current_dir(folder).env_remove("RUST_LOG");
    command.output().unwrap()
}

#[track_caller]
fn failed_saying(output: &Output, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

#[test]
fn a_file_is_saved_under_its_name_and_never_over_another() {
    let lab = Lab::new("get");
    let output = lab.run("get", &["강의.txt"]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with(&format!("got 강의.txt: {} bytes in ", LECTURE.len())), "{said}");
    assert_eq!(fs::read_to_string(lab.folder.join("강의.txt")).unwrap(), LECTURE);

    fs::write(lab.folder.join("강의.txt"), "mine").unwrap();
    failed_saying(&lab.run("get", &["강의.txt"]), &["강의.txt exists already", "--force"]);
    assert_eq!(fs::read_to_string(lab.folder.join("강의.txt")).unwrap(), "mine");
    assert!(lab.run("get", &["강의.txt", "--force"]).status.success());
    assert_eq!(fs::read_to_string(lab.folder.join("강의.txt")).unwrap(), LECTURE);
    assert_eq!(lab.names(), ["served", "강의.txt"]);
}

#[test]
fn a_file_is_stored_and_the_result_is_told_as_json() {
    let lab = Lab::new("put");
    fs::write(lab.folder.join("과제.txt"), "끝\n").unwrap();
    let output = lab.run("put", &["과제.txt", "--as", "1.txt", "--json"]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["command"], &result["name"]), (&"put".into(), &"1.txt".into()));
    assert_eq!(result["bytes"], "끝\n".len());
    assert_eq!(fs::read_to_string(lab.folder.join("served/1.txt")).unwrap(), "끝\n");
}

#[test]
fn what_the_server_refuses_is_told_in_its_words_and_leaves_nothing() {
    let lab = Lab::new("refused");
    failed_saying(
        &lab.run("get", &["없음"]),
        &["refused \"없음\"", "there is no file of that name (error 1)"],
    );
    failed_saying(&lab.run("put", &["없음"]), &["없음 cannot be read"]);
    let output = lab.run("get", &["a", "--timeout", "1500ms"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("whole seconds"), "{output:?}");
    assert_eq!(lab.names(), ["served"]);
}

/// A server by hand: the client's socket is asked from two ports.
#[test]
fn an_answer_from_another_port_is_told_so_and_does_not_disturb() {
    let [server, own, stranger] = [0; 3].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    for socket in [&server, &own, &stranger] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let at = server.local_addr().unwrap().to_string();
    let folder = folder("stranger");
    let client = {
        let folder = folder.clone();
        thread::spawn(move || tftp(&folder, &["get", &at, "a", "--blksize", "512", "--windowsize", "1"]))
    };
    let mut buffer = [0; 600];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    let Ok(Packet::Read(request)) = Packet::parse(&buffer[..length]) else { panic!("no request") };
    assert!(request.name == b"a" && request.options.is_empty());
    own.send_to(&Packet::Data { block: 1, bytes: &[b'x'; 512] }.bytes(), from).unwrap();
    let (length, _) = own.recv_from(&mut buffer).unwrap();
    assert_eq!(Packet::parse(&buffer[..length]), Ok(Packet::Ack { block: 1 }));
    stranger.send_to(&Packet::Data { block: 2, bytes: b"false" }.bytes(), from).unwrap();
    let (length, _) = stranger.recv_from(&mut buffer).unwrap();
    let unknown = ErrorCode::UnknownTransfer as u16;
    assert!(matches!(Packet::parse(&buffer[..length]), Ok(Packet::Error { code, .. }) if code == unknown));
    own.send_to(&Packet::Data { block: 2, bytes: b"end" }.bytes(), from).unwrap();
    assert!(client.join().unwrap().status.success());
    assert_eq!(fs::read(folder.join("a")).unwrap(), [&[b'x'; 512][..], b"end"].concat());
}

#[test]
fn a_server_that_breaks_off_leaves_no_file() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let at = server.local_addr().unwrap().to_string();
    let folder = folder("breaks-off");
    let client = {
        let folder = folder.clone();
        thread::spawn(move || tftp(&folder, &["get", &at, "a"]))
    };
    let mut buffer = [0; 600];
    let (_, from) = server.recv_from(&mut buffer).unwrap();
    server.send_to(&Packet::Data { block: 1, bytes: &[b'x'; 512] }.bytes(), from).unwrap();
    server.recv_from(&mut buffer).unwrap();
    server.send_to(&error(ErrorCode::Undefined, "no\x1b[2Jmore"), from).unwrap();
    failed_saying(&client.join().unwrap(), &["refused \"a\": no [2Jmore (error 0)"]);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}
