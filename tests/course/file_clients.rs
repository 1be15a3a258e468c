//! `get`, `put` and `udp-file` against the course's own servers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::files::{KIB, MIB, contents};
use crate::program::Program;
use crate::support::eventually;

pub const TESTS: &[(&str, fn())] = &[
    ("onepoll get --course against file_server", || downloads("file_server")),
    ("onepoll get --course against file_server_pauses", || downloads("file_server_pauses")),
    ("onepoll put --course against upload_server", uploads),
    ("onepoll udp-file send against udp_file_receiver", sends_over_udp),
    ("onepoll udp-file receive against udp_file_sender", receives_over_udp),
];

/// A folder of ours and one of theirs.
struct Folders {
    base: PathBuf,
    ours: PathBuf,
    theirs: PathBuf,
}

impl Folders {
    fn new(name: &str) -> Folders {
        let name = format!("course-client-{name}-{}", std::process::id());
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        // There may be one from an earlier process of the same number.
        let _ = fs::remove_dir_all(&base);
        let (ours, theirs) = (base.join("ours"), base.join("theirs"));
        fs::create_dir_all(&ours).unwrap();
        fs::create_dir(&theirs).unwrap();
        Folders { base, ours, theirs }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.base);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn succeeds(program: Program) -> String {
    let (status, output, errors) = program.end();
    assert!(status.success(), "{output}{errors}");
    output
}

fn downloads(server: &str) {
    let folders = Folders::new(server);
    for (number, size) in [0, 1, KIB - 1, KIB, KIB + 1, 70_000, 100 * MIB].into_iter().enumerate() {
        let name = format!("강의 자료 {number}.txt");
        let (offered, saved) = (folders.theirs.join(&name), folders.ours.join(&name));
        fs::write(&offered, contents(size)).unwrap();
        let server = Program::python(server, "127.0.0.1", 0, &[text(&offered)]);
        let target = format!("127.0.0.1:{}", server.port());
        let said = succeeds(Program::onepoll(&["get", "--course", &target, "-o", text(&saved)]));
        assert!(said.starts_with("got ") && said.contains(&name), "{said}");
        assert!(fs::read(&saved).unwrap() == contents(size), "{size} bytes differ");
    }
}

fn uploads() {
    let folders = Folders::new("upload");
    let server = Program::python("upload_server", "127.0.0.1", 0, &[text(&folders.theirs)]);
    let target = format!("127.0.0.1:{}", server.port());
    let mut shown = vec![server.port().to_string()];
    for (number, size) in [0, 1, KIB, 70_000, 100 * MIB].into_iter().enumerate() {
        let name = format!("과제 {number}.hwp");
        let path = folders.ours.join(&name);
        fs::write(&path, contents(size)).unwrap();
        succeeds(Program::onepoll(&["put", "--course", &target, text(&path)]));
        shown.push(format!("받음: {name} {size}"));
        server.shows(&shown.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(fs::read(folders.theirs.join(&name)).unwrap() == contents(size), "{size} bytes differ");
    }
}

fn sends_over_udp() {
    let folders = Folders::new("udp-send");
    for (number, size) in [0, 1, 16_384, 256 * KIB].into_iter().enumerate() {
        let name = format!("과제 {number}.bin");
        let path = folders.ours.join(&name);
        fs::write(&path, contents(size)).unwrap();
        let receiver = Program::python("udp_file_receiver", "127.0.0.1", 0, &[text(&folders.theirs)]);
        let port = receiver.port();
        succeeds(Program::onepoll(&["udp-file", "send", &format!("127.0.0.1:{port}"), text(&path)]));
        receiver.ends_with(&format!("{port}\n받음: {name} {size}\n"));
        assert!(fs::read(folders.theirs.join(&name)).unwrap() == contents(size), "{size} bytes differ");
    }
}

fn receives_over_udp() {
    let folders = Folders::new("udp-receive");
    let port = free_udp_port();
    let arguments = ["udp-file", "receive", &port.to_string(), "-d", text(&folders.ours), "--count", "5"];
    let receiver = Program::onepoll(&arguments);
    receiver.remarks("listening");
    for (name, size, datagram) in [
        ("빈 파일.txt", 0, "16384"),
        ("하나.bin", 1, "16384"),
        ("둘.bin", 16_384, "16384"),
        ("셋.bin", 3 * MIB, "16384"),
        ("넷.bin", 20 * MIB, "64768"),
    ] {
        let path = folders.theirs.join(name);
        fs::write(&path, contents(size)).unwrap();
        Program::python("udp_file_sender", "127.0.0.1", port, &[text(&path), datagram])
            .ends_with("서버: ok\n전송 완료\n");
        let saved = folders.ours.join(name);
        eventually(&format!("{name} is saved"), || saved.exists());
        assert!(fs::read(&saved).unwrap() == contents(size), "{name} differs");
    }
    assert_eq!(succeeds(receiver).lines().count(), 5);
}

/// A port that nobody uses, at least for a moment.
fn free_udp_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
