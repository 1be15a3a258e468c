//! `put`.

use std::fs;
use std::io::Write;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::*;
use crate::stage::free_port;

#[test]
fn files_of_any_size_arrive_whole() {
    let room = Classroom::new();
    let mut arguments = vec!["put".to_owned(), "--json".to_owned(), room.server()];
    let sizes = [0, 1, 1023, 1024, 65_536, MIB + 1, 100 * MIB];
    for size in sizes {
        let name = format!("과제 {size}.bin");
        fs::write(room.home().join(&name), contents(size)).unwrap();
        // Only the name goes to the server.
        arguments.push(format!("./{name}"));
    }
    let ended = room.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ended.status, Some(0), "{ended:?}");
    for (object, size) in objects(&ended).iter().zip(sizes) {
        let name = format!("과제 {size}.bin");
        assert!(fs::read(room.root().join(&name)).unwrap() == contents(size), "{size} bytes differ");
        assert_eq!((&object["stored_as"], &object["bytes"]), (&name.into(), &size.into()));
        assert_eq!(object["sha256"], sum(&contents(size)));
    }
    assert_eq!(objects(&ended).len(), sizes.len());
    assert_eq!(names(&room.root()).len(), sizes.len());
}

#[test]
fn a_name_that_is_taken_is_stored_with_a_number() {
    let room = Classroom::new();
    fs::write(room.home().join("a.txt"), "둘째").unwrap();
    fs::write(room.root().join("a.txt"), "첫째").unwrap();
    let ended = room.run(&["put", &room.server(), "a.txt"]);
    assert!(ended.out.starts_with("put a.txt as a (2).txt: 6 bytes in "), "{ended:?}");
    assert_eq!(fs::read(room.root().join("a (2).txt")).unwrap(), "둘째".as_bytes());
}

#[test]
fn what_cannot_be_sent_does_not_keep_the_others() {
    let room = Classroom::new();
    let home = room.home();
    for (name, contents) in [("하나.txt", "1"), ("둘.txt", "2"), (".hidden", "3"), ("con.txt", "4")] {
        fs::write(home.join(name), contents).unwrap();
    }
    mkfifo(&home.join("fifo"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let server = room.server();
    for (file, said) in [
        ("없음.txt", "there is no file 없음.txt"),
        (".", "is a folder"),
        ("fifo", "no regular file"),
        (".hidden", "cannot be sent"),
        ("con.txt", "device"),
    ] {
        room.run(&["put", &server, file]).failed_saying(&[said]);
    }
    let ended = room.run(&["put", "--json", &server, "하나.txt", "없음.txt", "둘.txt"]);
    assert_eq!(ended.status, Some(1));
    let objects = objects(&ended);
    assert!(objects[1]["error"].as_str().unwrap().contains("there is no file"), "{objects:?}");
    assert!(ended.err.contains("1 of 3 files did not go through"), "{ended:?}");
    assert_eq!(names(&room.root()), ["둘.txt", "하나.txt"]);
}

#[test]
fn the_servers_refusals_are_told_and_the_next_file_is_tried() {
    let room = Classroom::with("max_file_size = \"1k\"");
    fs::write(room.home().join("큰.bin"), contents(MIB)).unwrap();
    fs::write(room.home().join("작은.bin"), contents(10)).unwrap();
    let ended = room.run(&["put", &room.server(), "큰.bin", "작은.bin"]);
    assert!(ended.err.contains("refused 큰.bin") && ended.err.contains("(too-large)"), "{ended:?}");
    assert!(ended.err.contains("1 of 2 files did not go through"), "{ended:?}");
    assert_eq!(names(&room.root()), ["작은.bin"]);
    let room = Classroom::with("writable = false");
    fs::write(room.home().join("a.txt"), "a").unwrap();
    room.run(&["put", &room.server(), "a.txt"]).failed_saying(&["refused a.txt", "(read-only)"]);
}

/// Answers to a PUT, takes `taken` bytes of its contents, and answers again.
fn taking(taken: usize, answer: &'static str) -> String {
    let address = server(move |mut requests, mut connection| {
        assert!(requests.next().starts_with("PUT "));
        connection.write_all(b"OK send\n").unwrap();
        requests.0.by_ref().take(taken as u64).read_exact(&mut vec![0; taken]).unwrap();
        connection.write_all(answer.as_bytes()).unwrap();
        if !answer.is_empty() {
            requests.drain();
        }
    });
    address.to_string()
}

#[test]
fn a_server_that_gives_up_in_the_middle_is_heard() {
    let room = Classroom::new();
    let (size, home) = (20 * MIB, room.home());
    fs::write(home.join("a.bin"), contents(size)).unwrap();
    fs::write(home.join("b.bin"), "b").unwrap();
    // Its refusal is read while the contents still go out.
    let full = taking(1000, "ERR no-room the server's disk is full\n");
    room.run(&["put", &full, "a.bin"]).failed_saying(&["refused a.bin", "disk is full", "(no-room)"]);
    let wrong = taking(size, "ERR wrong-sum the contents do not have the SHA-256 that was given\n");
    room.run(&["put", &wrong, "a.bin"]).failed_saying(&["(wrong-sum)"]);
    let gone = taking(1000, "");
    room.run(&["put", &gone, "a.bin", "b.bin"])
        .failed_saying(&["the connection before it had all of a.bin", "1 more file not sent"]);
    let never = taking(size, "OK");
    room.run(&["put", "--timeout", "300ms", &never, "b.bin", "a.bin"]).failed_saying(&["silent for 300ms"]);
    let other = taking(size, "what?\n");
    room.run(&["put", &other, "a.bin"]).failed_saying(&["does not answer as a file server does"]);
    let nobody = format!("127.0.0.1:{}", free_port());
    room.run(&["put", &nobody, "a.bin"]).failed_saying(&["nothing listens there"]);
    room.run(&["put", &answering("OK 1\n"), "a.bin"])
        .failed_saying(&["does not answer as a file server does"]);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_reported() {
    let room = Classroom::new();
    let path = room.home().join("a.bin");
    fs::write(&path, contents(20 * MIB)).unwrap();
    let shrinking = path.clone();
    let address = server(move |mut requests, mut connection| {
        requests.next();
        fs::File::options().write(true).open(&shrinking).unwrap().set_len(10).unwrap();
        connection.write_all(b"OK send\n").unwrap();
        requests.drain();
    });
    room.run(&["put", &address.to_string(), "a.bin"]).failed_saying(&["a.bin became shorter"]);
}
