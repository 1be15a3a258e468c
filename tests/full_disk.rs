//! Roots on file systems that are full, or mounted read-only. Each test has mounts of its
//! own.

#[path = "support/trials.rs"]
mod trials;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use libtest_mimic::Arguments;
use nix::sched::{CloneFlags, unshare};
use onepoll::disk::Disk;
use onepoll::files::{FileError, Name, Policy, Root, Roots, clean};
use sha2::{Digest, Sha256};
use trials::trial;

/// It is given a directory to mount on.
type Test = fn(&Path);

/// Set in the process that was started again as root of a user namespace.
const IS_AGAIN: &str = "ONEPOLL_TEST_IS_ROOT_OF_A_USER_NAMESPACE";

fn main() -> ExitCode {
    let tests: [(&str, Test); 4] = [
        ("a_full_file_system_refuses_an_upload_and_keeps_nothing_of_it", full_of_bytes),
        ("a_file_system_without_room_for_one_more_file_refuses_it", full_of_files),
        ("a_file_system_that_is_mounted_read_only_is_served", read_only),
        ("a_download_that_fills_the_disk_says_so_and_is_resumed_once_there_is_room", download_too_long),
    ];
    let obstacle = obstacle();
    if obstacle.is_some() && env::var_os(IS_AGAIN).is_none() {
        let mut again = Command::new("unshare");
        again.arg("-rm").arg(env::current_exe().unwrap()).args(env::args_os().skip(1)).env(IS_AGAIN, "1");
        let can = Command::new("unshare").args(["-rm", "true"]).output();
        if can.is_ok_and(|output| output.status.success()) {
            let status = again.status().unwrap();
            return ExitCode::from(status.code().map_or(1, |code| code as u8));
        }
    }
    let trials = tests.map(|(name, test)| trial(name, obstacle.clone(), move || with_mounts(name, test)));
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// What stands in the way of mounts of our own, if anything.
fn obstacle() -> Option<String> {
    let tried = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNS)).join().unwrap();
    tried.err().map(|error| format!("it needs mounts of its own: {error}"))
}

/// Runs a test with a directory to mount on, in a thread whose mounts nobody else sees.
fn with_mounts(name: &str, test: Test) {
    let directory = env::temp_dir().join(format!("onepoll-{name}-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let path = directory.clone();
    let ended = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(&["--make-rprivate", "/"]);
        test(&path);
    });
    let ended = ended.join();
    fs::remove_dir(&directory).unwrap();
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

fn mount(words: &[&str]) {
    let ended = Command::new("mount").args(words).output().unwrap();
    assert!(ended.status.success(), "mount {words:?}: {}", String::from_utf8_lossy(&ended.stderr));
}

fn mount_memory(at: &Path, options: &str) {
    mount(&["-t", "tmpfs", "-o", options, "none", at.to_str().unwrap()]);
}

fn root_at(path: &Path) -> Root {
    Roots::on(Disk::Kernel).root(path, Policy::default())
}

fn name(name: &str) -> Name {
    clean(name).unwrap()
}

fn upload(root: &Root, to: &str, size: usize) -> Result<(), FileError> {
    let mut incoming = root.begin(&name(to), None)?;
    for _ in 0..size / 4096 {
        incoming.write(&[7; 4096])?;
    }
    incoming.finish(None).map(drop)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn full_of_bytes(path: &Path) {
    mount_memory(path, "size=256k");
    let root = root_at(path);
    assert_eq!(upload(&root, "too long", 1 << 20), Err(FileError::DiskFull));
    assert_eq!(names(path), [""; 0]);
    upload(&root, "fits", 128 << 10).unwrap();
    assert_eq!(upload(&root, "fits no more", 160 << 10), Err(FileError::DiskFull));
    assert_eq!(names(path), ["fits"]);
    assert_eq!(root.open(&name("fits")).unwrap().size, 128 << 10);
}

fn full_of_files(path: &Path) {
    // The directory itself is one of them.
    mount_memory(path, "nr_inodes=3");
    let root = root_at(path);
    upload(&root, "a", 4096).unwrap();
    upload(&root, "b", 4096).unwrap();
    assert_eq!(upload(&root, "c", 4096), Err(FileError::DiskFull));
    fs::remove_file(path.join("a")).unwrap();
    upload(&root, "c", 4096).unwrap();
    assert_eq!(names(path), ["b", "c"]);
}

fn read_only(path: &Path) {
    mount_memory(path, "size=1m");
    fs::write(path.join("there"), b"there").unwrap();
    fs::write(path.join(".onepoll-upload-1"), b"broken off").unwrap();
    let early = root_at(path);
    early.prepare().unwrap();
    mount(&["-o", "remount,ro", path.to_str().unwrap()]);
    for root in [early, root_at(path)] {
        root.prepare().unwrap();
        assert_eq!(root.begin(&name("a"), None).unwrap_err(), FileError::ReadOnly);
        assert_eq!(root.newest().unwrap().unwrap().name, name("there"));
    }
    mount(&["-o", "remount,rw", path.to_str().unwrap()]);
    upload(&root_at(path), "a", 4096).unwrap();
    assert_eq!(names(path), ["a", "there"]);
}

/// A server of one file, for clients that may leave at any time.
fn serve(contents: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut asked = String::new();
            BufReader::new(connection.try_clone().unwrap()).read_line(&mut asked).unwrap();
            let offset: usize = asked.split(' ').nth(1).unwrap().parse().unwrap();
            let sum: String = Sha256::digest(&contents).iter().map(|byte| format!("{byte:02x}")).collect();
            let size = contents.len();
            let _ = writeln!(connection, "OK {size}")
                .and_then(|()| connection.write_all(&contents[offset..]))
                .and_then(|()| writeln!(connection, "OK {size} {sum}"));
            let _ = connection.read_to_end(&mut Vec::new());
        }
    });
    address
}

fn download_too_long(path: &Path) {
    mount_memory(path, "size=2m");
    let contents: Vec<u8> = (0..4 << 20).map(|at: u32| (at >> 8) as u8).collect();
    let server = serve(contents.clone());
    let get = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onepoll"));
        command.args(["get", &server, "강의.bin"]).args(options).current_dir(path);
        let ended = command.output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (status, said) = get(&[]);
    assert_eq!((status, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains("the disk is full") && said.contains("--resume goes on"), "{said}");
    assert_eq!(names(path), ["강의.bin.part"]);
    mount(&["-o", "remount,size=8m", path.to_str().unwrap()]);
    assert_eq!(get(&["--resume"]), (Some(0), String::new()));
    assert!(fs::read(path.join("강의.bin")).unwrap() == contents);
    assert_eq!(names(path), ["강의.bin"]);
}
