//! `udp-file`.

use std::fs;
use std::net::UdpSocket;

use super::*;
use crate::stage::{free_port, udp_server};
use crate::support::{PATIENCE, eventually};

/// A receiver that listens, and its address.
fn receiver(folder: &Path, more: &[&str]) -> (Live, String) {
    let port = free_port().to_string();
    let mut live = start_in(folder, &[&["udp-file", "receive", &port], more].concat());
    live.wait_for_remark("listening");
    (live, format!("127.0.0.1:{port}"))
}

#[test]
fn files_go_over_udp_to_the_daemon_and_to_our_own_receiver() {
    let room = Classroom::new();
    let saved = room.base.join("saved");
    fs::create_dir(&saved).unwrap();
    let (receiver, ours) = receiver(&room.home(), &["-d", "../saved", "--count", "5", "--json"]);
    let daemon = room.daemon.udp("file").to_string();
    let sizes = [0, 1, 16_384, 16_385, 3 * MIB];
    for size in sizes {
        let name = format!("강의 {size}.bin");
        fs::write(room.home().join(&name), contents(size)).unwrap();
        for server in [&ours, &daemon] {
            let ended = room.run(&["udp-file", "send", server, &name]);
            assert!(ended.status == Some(0) && ended.out.starts_with(&format!("sent {name}: ")), "{ended:?}");
        }
        for folder in [&saved, &room.root()] {
            let path = folder.join(&name);
            eventually("it is stored", || path.exists());
            assert!(fs::read(path).unwrap() == contents(size), "{size} bytes differ");
        }
    }
    let ended = receiver.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let received = objects(&ended);
    assert_eq!(received.len(), 5);
    assert_eq!(received[4]["sha256"], sum(&contents(3 * MIB)));
    assert_eq!(names(&saved).len(), 5);
}

#[test]
fn names_of_senders_stay_in_the_folder_and_replace_nothing() {
    let base = folder();
    let home = base.join("home");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("a.txt"), "옛것").unwrap();
    let (receiver, address) = receiver(&home, &["--count", "3"]);
    let send = |name: &str, contents: &str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect(&address).unwrap();
        socket.send(name.as_bytes()).unwrap();
        let mut answer = [0; 200];
        let length = socket.recv(&mut answer).unwrap();
        socket.send(contents.as_bytes()).unwrap();
        socket.send(b"").unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    for name in ["..", "../.bashrc", "a\x1b[2J", "con"] {
        assert!(send(name, "악의").starts_with("ERR bad-name "), "{name}");
    }
    for name in ["../../a.txt", "C:\\evil.txt", "/etc/passwd"] {
        assert_eq!(send(name, "새것"), "ok");
    }
    let ended = receiver.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(!ended.err.contains('\x1b') && ended.err.contains("is not saved"), "{ended:?}");
    assert_eq!(names(&home), ["a (2).txt", "a.txt", "evil.txt", "passwd"]);
    assert_eq!(fs::read(home.join("a.txt")).unwrap(), "옛것".as_bytes());
    assert_eq!(names(&base), ["home"]);
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_receiver_that_refuses_is_silent_or_gone_is_told() {
    let room = Classroom::with("writable = false");
    fs::write(room.home().join("a.bin"), contents(MIB)).unwrap();
    let daemon = room.daemon.udp("file").to_string();
    room.run(&["udp-file", "send", &daemon, "a.bin"]).failed_saying(&["refused a.bin", "(read-only)"]);
    room.run(&["udp-file", "send", &daemon, "없음"]).failed_saying(&["there is no file 없음"]);
    let nobody = format!("127.0.0.1:{}", free_port());
    room.run(&["udp-file", "send", &nobody, "a.bin"]).failed_saying(&["nothing listens there"]);
    let silent = udp_server("127.0.0.1:0", |_| None).to_string();
    room.run(&["udp-file", "send", "--timeout", "200ms", &silent, "a.bin"])
        .failed_saying(&["no answer from", "200ms"]);
    let echo = udp_server("127.0.0.1:0", |datagram| Some(datagram.to_vec())).to_string();
    room.run(&["udp-file", "send", &echo, "a.bin"]).failed_saying(&["said \"a.bin\"", "check the port"]);
    // It closes its socket after the name.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let gone = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (_, sender) = socket.recv_from(&mut [0; 100]).unwrap();
        socket.send_to(b"ok", sender).unwrap();
    });
    room.run(&["udp-file", "send", &gone, "a.bin"]).failed_saying(&["is gone after", "of 1048576 bytes"]);
    room.run(&["udp-file", "receive", "7", "-d", "없음"]).failed_saying(&["no folder 없음"]);
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    room.run(&["udp-file", "receive", &port]).failed_saying(&[&port, "is used by a program"]);
}

#[test]
fn a_receiver_ends_in_order_at_ctrl_c_and_leaves_nothing_unfinished() {
    let folder = folder();
    let (mut receiver, address) = receiver(&folder, &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(&address).unwrap();
    socket.send("반쪽.txt".as_bytes()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(socket.recv(&mut [0; 10]).unwrap(), 2);
    socket.send(b"x").unwrap();
    receiver.interrupt();
    receiver.wait_for_remark("listening");
    assert_eq!(receiver.end().status, Some(0));
    assert_eq!(names(&folder), [""; 0]);
    fs::remove_dir_all(folder).unwrap();
}
