//! The course's file programs, as clients of file and upload.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::program::Program;
use crate::serves_on;
use crate::support::{Daemon, Log, config_file, connect, eventually, read_exactly};

pub const TESTS: &[(&str, fn())] = &[
    ("file_client against file", clients_download_files_of_any_size),
    ("file_client_asks against file", clients_name_the_file_that_they_want),
    ("file_client five times at once against file", a_class_downloads_at_once),
    ("file_framed against file", framed_requests_are_easy_to_write),
    ("upload_client against upload", clients_upload_files_of_any_size),
    ("upload_client_waits against upload", any_name_can_be_uploaded_if_it_comes_by_itself),
    ("mistake_upload_in_one_send against upload", a_name_that_comes_with_contents_is_cut_or_refused),
    ("udp_file_sender against file", clients_upload_files_over_udp),
    ("file_client, upload_client and udp_file_sender beside an echo load", files_move_beside_an_echo_load),
    ("mistake_file_leaves_early against file", a_client_that_leaves_early_is_logged),
    ("mistake_upload_without_contents against upload", an_upload_without_contents_is_refused),
];

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * 1024;

/// A daemon with a folder of its own, and a folder of a student's.
struct Classroom {
    daemon: Daemon,
    log: Log,
    root: PathBuf,
    home: PathBuf,
}

impl Classroom {
    fn new(name: &str) -> Classroom {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        let (root, home) = (base.join("root"), base.join("home"));
        // There may be one from an earlier process of the same number.
        let _ = fs::remove_dir_all(&base);
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&home).unwrap();
        let text = format!(
            "[services.echo]\ntcp = 0\n[services.file]\ntcp = 0\nudp = 0\nroot = {root:?}\n\
             [services.upload]\ntcp = 0\nroot = {root:?}\n"
        );
        let (daemon, log) = Daemon::logged(name, &["--config", &config_file(name, &text)]);
        Classroom { daemon, log, root, home }
    }

    fn program(&self, name: &str, service: &str, more: &[&str]) -> Program {
        let address =
            if name.starts_with("udp") { self.daemon.udp(service) } else { self.daemon.tcp(service) };
        Program::python(name, &address.ip().to_string(), address.port(), more)
    }

    /// Waits until a file has been stored whole.
    fn stored(&self, name: &str, contents: &[u8]) {
        self.log.line_with(&["received", name, &format!(", {} byte", contents.len())]);
        assert!(fs::read(self.root.join(name)).unwrap() == contents, "{name} differs");
    }

    /// Nothing but these files is left in the root.
    fn holds_only(&self, names: &[&str]) {
        let held = || {
            let entries = fs::read_dir(&self.root).unwrap();
            let mut held: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            held.sort();
            held
        };
        let mut names: Vec<_> = names.to_vec();
        names.sort();
        eventually(&format!("the root holds {names:?} alone"), || held() == names);
    }
}

impl Drop for Classroom {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.root.parent().unwrap());
        }
    }
}

/// Contents that differ at every place.
pub fn contents(length: usize) -> Vec<u8> {
    let mut state = length as u32 | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn clients_download_files_of_any_size() {
    let room = Classroom::new("course-download");
    for (number, size) in [0, 1, KIB - 1, KIB, KIB + 1, 70_000, 100 * MIB].into_iter().enumerate() {
        let (name, bytes) = (format!("강의 자료 {number}.pdf"), contents(size));
        // It becomes the newest file, and so the one that is offered.
        fs::write(room.root.join(&name), &bytes).unwrap();
        room.program("file_client", "file", &[room.home.to_str().unwrap()])
            .ends_with(&format!("파일 이름: {name}\n받은 크기: {size}\n"));
        let received = room.home.join(format!("받은_{name}"));
        assert!(fs::read(&received).unwrap() == bytes, "{size} bytes differ");
        room.log.line_with(&["sent", &name, &format!(", {size} byte")]);
    }
    serves_on(&room.daemon);
}

fn clients_name_the_file_that_they_want() {
    let room = Classroom::new("course-asks");
    let home = room.home.to_str().unwrap();
    for (name, size) in [("하나.txt", 5 * MIB), ("둘.txt", 0), ("셋 넷.md", 12)] {
        fs::write(room.root.join(name), contents(size)).unwrap();
    }
    for (name, size) in [("하나.txt", 5 * MIB), ("둘.txt", 0), ("셋 넷.md", 12)] {
        room.program("file_client_asks", "file", &[home, name])
            .ends_with(&format!("파일 이름: {name}\n완료\n"));
        assert!(
            fs::read(room.home.join(format!("받은_{name}"))).unwrap() == contents(size),
            "{name} differs"
        );
    }
    serves_on(&room.daemon);
}

fn a_class_downloads_at_once() {
    let room = Classroom::new("course-class");
    fs::write(room.root.join("과제.zip"), contents(3 * MIB)).unwrap();
    let class = ["가", "나", "다", "라", "마"].map(|student| {
        let home = room.home.join(student);
        fs::create_dir(&home).unwrap();
        (room.program("file_client", "file", &[home.to_str().unwrap()]), home)
    });
    for (student, home) in class {
        student.ends_with(&format!("파일 이름: 과제.zip\n받은 크기: {}\n", 3 * MIB));
        assert!(fs::read(home.join("받은_과제.zip")).unwrap() == contents(3 * MIB));
    }
    serves_on(&room.daemon);
}

fn framed_requests_are_easy_to_write() {
    let room = Classroom::new("course-framed");
    fs::write(room.root.join("다른.txt"), "다른 파일").unwrap();
    room.program("file_framed", "file", &[]).ends_with(
        "OK send\nOK 과제 1.txt\n16000 과제 1.txt\n나머지가 같음: True\n합이 같음: True\n\
         ERR not-found there is no file of that name\n",
    );
    room.stored("과제 1.txt", "안녕하세요\n".repeat(1000).as_bytes());
    room.holds_only(&["다른.txt", "과제 1.txt"]);
}

fn clients_upload_files_of_any_size() {
    let room = Classroom::new("course-upload");
    let mut names = Vec::new();
    for (number, size) in [1, KIB - 1, KIB, KIB + 1, 70_000, 100 * MIB].into_iter().enumerate() {
        let (name, bytes) = (format!("과제 {number}.txt"), contents(size));
        let path = room.home.join(&name);
        fs::write(&path, &bytes).unwrap();
        // It sends the whole path; only the name counts.
        room.program("upload_client", "upload", &[path.to_str().unwrap()])
            .ends_with("I am ready\n전송 완료\n");
        room.stored(&name, &bytes);
        names.push(name);
    }
    let picture = [b"\x89PNG\r\n\x1A\n".as_slice(), &contents(MIB)].concat();
    let path = room.home.join("사진.png");
    fs::write(&path, &picture).unwrap();
    room.program("upload_client", "upload", &[path.to_str().unwrap()]).ends_with("I am ready\n전송 완료\n");
    room.stored("사진.png", &picture);
    names.push("사진.png".to_owned());
    room.holds_only(&names.iter().map(String::as_str).collect::<Vec<_>>());
    serves_on(&room.daemon);
}

fn any_name_can_be_uploaded_if_it_comes_by_itself() {
    let room = Classroom::new("course-waits");
    for (name, size) in [("README", 100), ("보고서.hwp", 5 * MIB), ("a.unknown", 3)] {
        let path = room.home.join(name);
        fs::write(&path, contents(size)).unwrap();
        room.program("upload_client_waits", "upload", &[path.to_str().unwrap()])
            .ends_with("I am ready\n전송 완료\n");
        room.stored(name, &contents(size));
    }
    // The same name again: what is there is never overwritten.
    let path = room.home.join("README");
    fs::write(&path, "두 번째").unwrap();
    room.program("upload_client_waits", "upload", &[path.to_str().unwrap()])
        .ends_with("I am ready\n전송 완료\n");
    room.stored("README (2)", "두 번째".as_bytes());
    room.holds_only(&["README", "README (2)", "보고서.hwp", "a.unknown"]);
}

fn a_name_that_comes_with_contents_is_cut_or_refused() {
    let room = Classroom::new("course-one-send");
    let picture = [b"\x89PNG\r\n\x1A\n".as_slice(), &contents(100)].concat();
    for (name, bytes) in [("숙제.py", "# 안녕하세요\n".as_bytes()), ("사진.png", &picture)] {
        let path = room.home.join(name);
        fs::write(&path, bytes).unwrap();
        room.program("mistake_upload_in_one_send", "upload", &[path.to_str().unwrap()])
            .ends_with("I am ready\n");
        room.stored(name, bytes);
        room.log.line_with(&[name, "cut from the contents by guess", "ends there"]);
    }
    // It is no picture, so the name need not end there.
    let path = room.home.join("그림.png");
    fs::write(&path, [0; 1000]).unwrap();
    room.program("mistake_upload_in_one_send", "upload", &[path.to_str().unwrap()]).ends_with("I am ready\n");
    room.log.line_with(&["refused", "TCP is a stream of bytes"]);
    room.holds_only(&["숙제.py", "사진.png"]);
    serves_on(&room.daemon);
}

fn clients_upload_files_over_udp() {
    let room = Classroom::new("course-udp");
    let mut names = Vec::new();
    for (name, size, datagram) in [
        ("빈 파일.txt", 0, "16384"),
        ("하나.bin", 1, "16384"),
        ("둘.bin", 16_384, "16384"),
        ("셋.bin", 3 * MIB, "16384"),
        ("넷.bin", 100 * MIB, "64768"),
    ] {
        let path = room.home.join(name);
        fs::write(&path, contents(size)).unwrap();
        room.program("udp_file_sender", "file", &[path.to_str().unwrap(), datagram])
            .ends_with("서버: ok\n전송 완료\n");
        room.stored(name, &contents(size));
        names.push(name);
    }
    room.holds_only(&names);
    serves_on(&room.daemon);
}

fn files_move_beside_an_echo_load() {
    let room = Classroom::new("course-load");
    let (echo, is_over) = (room.daemon.tcp("echo"), AtomicBool::new(false));
    let ask_on = || {
        let client = connect(echo);
        let mut answers = 0u64;
        while !is_over.load(Ordering::Relaxed) {
            (&client).write_all("안녕".as_bytes()).unwrap();
            assert_eq!(read_exactly(&client, 6), "안녕".as_bytes());
            answers += 1;
        }
        answers
    };
    let answers: Vec<u64> = thread::scope(|scope| {
        let load: Vec<_> = (0..8).map(|_| scope.spawn(ask_on)).collect();
        let moved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| move_files(&room)));
        is_over.store(true, Ordering::Relaxed);
        let answers = load.into_iter().map(|client| client.join().unwrap()).collect();
        moved.unwrap();
        answers
    });
    assert!(answers.iter().all(|answers| *answers > 100), "{answers:?}");
}

/// In both directions over TCP, and in the one that the course has over UDP.
fn move_files(room: &Classroom) {
    let home = room.home.to_str().unwrap();
    fs::write(room.root.join("강의.pdf"), contents(20 * MIB)).unwrap();
    room.program("file_client", "file", &[home])
        .ends_with(&format!("파일 이름: 강의.pdf\n받은 크기: {}\n", 20 * MIB));
    assert!(fs::read(room.home.join("받은_강의.pdf")).unwrap() == contents(20 * MIB));
    let path = room.home.join("과제.txt");
    fs::write(&path, contents(20 * MIB)).unwrap();
    room.program("upload_client", "upload", &[path.to_str().unwrap()]).ends_with("I am ready\n전송 완료\n");
    room.stored("과제.txt", &contents(20 * MIB));
    let path = room.home.join("보고서.bin");
    fs::write(&path, contents(2 * MIB)).unwrap();
    room.program("udp_file_sender", "file", &[path.to_str().unwrap(), "16384"])
        .ends_with("서버: ok\n전송 완료\n");
    room.stored("보고서.bin", &contents(2 * MIB));
}

fn a_client_that_leaves_early_is_logged() {
    let room = Classroom::new("course-early");
    fs::write(room.root.join("긴 파일.bin"), contents(50 * MIB)).unwrap();
    room.program("mistake_file_leaves_early", "file", &[]).ends_with("파일 이름: 긴 파일.bin\n처음: 1024\n");
    room.log.line_with(&["긴 파일.bin", &format!("of {} bytes", 50 * MIB)]);
    serves_on(&room.daemon);
}

fn an_upload_without_contents_is_refused() {
    let room = Classroom::new("course-no-contents");
    room.program("mistake_upload_without_contents", "upload", &[]).ends_with("I am ready\n");
    room.log.line_with(&["refused", "no contents"]);
    room.holds_only(&[]);
    serves_on(&room.daemon);
}
