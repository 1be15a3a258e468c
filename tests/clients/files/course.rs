//! `get --course` and `put --course`.

use std::fs;
use std::io::Write;
use std::time::Duration;

use super::*;
use crate::support::eventually;

/// A course server that says this, in one write, to whoever says anything.
fn offering(name: &str, contents: &[u8]) -> String {
    let all = [name.as_bytes(), contents].concat();
    let address = tcp_server("127.0.0.1:0", move |mut connection, _| {
        let _ = connection.read(&mut [0; 1024]);
        connection.write_all(&all).unwrap();
    });
    address.0.to_string()
}

#[test]
fn files_go_both_ways_through_the_daemon() {
    let room = Classroom::new();
    let (file, upload) = (room.server(), room.daemon.tcp("upload").to_string());
    for (number, size) in [1, 1023, 1024, 70_000, 100 * MIB].into_iter().enumerate() {
        let name = format!("과제 {number}.txt");
        fs::write(room.home().join(&name), contents(size)).unwrap();
        let ended = room.run(&["put", "--course", &upload, &name]);
        assert!(ended.out.starts_with(&format!("sent {name}: ")), "{ended:?}");
        let stored = room.base.join("upload").join(&name);
        eventually("it is stored", || stored.exists());
        assert!(fs::read(&stored).unwrap() == contents(size), "{size} bytes differ");
        fs::rename(&stored, room.root().join(&name)).unwrap();
        fs::remove_file(room.home().join(&name)).unwrap();
        let ended = room.run(&["get", "--course", &file, &name]);
        assert!(ended.out.starts_with(&format!("got {name}: ")), "{ended:?}");
        assert!(fs::read(room.home().join(&name)).unwrap() == contents(size), "{size} bytes differ");
    }
    // Without a name, the server offers its newest file.
    fs::write(room.root().join("빈 파일.txt"), "").unwrap();
    let ended = room.run(&["get", "--course", "--json", &file]);
    let [object] = &objects(&ended)[..] else { panic!("{ended:?}") };
    assert_eq!((&object["name"], &object["bytes"]), (&"빈 파일.txt".into(), &0.into()));
    assert_eq!(object["verified"], false);
}

#[test]
fn a_name_and_contents_in_one_read_are_told_apart_or_refused() {
    let folder = folder();
    let picture = [b"\x89PNG\r\n\x1a\n".as_slice(), &contents(5000)].concat();
    for (name, bytes) in [("숙제.py", "# 안녕하세요\n".as_bytes()), ("사진.png", &picture)] {
        let ended = run_in(&folder, &["get", "--course", &offering(name, bytes)]);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        assert!(ended.err.contains("cut by guess"), "{ended:?}");
        assert!(fs::read(folder.join(name)).unwrap() == bytes);
    }
    // The name that was asked for is known.
    let ended = run_in(&folder, &["get", "--course", &offering("README", b"hello"), "README"]);
    assert!(ended.status == Some(0) && ended.err.is_empty(), "{ended:?}");
    assert_eq!(fs::read(folder.join("README")).unwrap(), b"hello");
    fs::remove_file(folder.join("README")).unwrap();
    run_in(&folder, &["get", "--course", &offering("그림.png", &[0; 1000])])
        .failed_saying(&["TCP is a stream of bytes"]);
    run_in(&folder, &["get", "--course", &offering("README", b"hello")])
        .failed_saying(&["\"READMEhello\"", "no contents"]);
    assert_eq!(names(&folder), ["사진.png", "숙제.py"]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_of_a_course_server_stay_in_the_folder_and_replace_nothing() {
    let base = folder();
    let home = base.join("home");
    fs::create_dir(&home).unwrap();
    let up = offering("../../evil.txt", b"hello");
    assert_eq!(run_in(&home, &["get", "--course", &up]).status, Some(0));
    for (server, said) in [(up, "evil.txt exists already"), (offering("../.bashrc.txt", b"x"), "not usable")]
    {
        let ended = run_in(&home, &["get", "--course", &server]);
        assert!(ended.status == Some(1) && ended.err.contains(said), "{ended:?}");
    }
    run_in(&home, &["get", "--course", &offering("a\x1b[2J.txt", b"x")])
        .failed_saying(&["nothing tells them"]);
    assert_eq!((names(&home), names(&base)), (vec!["evil.txt".to_owned()], vec!["home".to_owned()]));
    fs::remove_dir_all(base).unwrap();
}

#[test]
fn a_download_that_is_reset_leaves_nothing() {
    let folder = folder();
    let part = folder.join("a.txt.part");
    let (address, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        let _ = connection.read(&mut [0; 1024]);
        connection.write_all(b"a.txt").unwrap();
        connection.write_all(&contents(100_000)).unwrap();
        eventually("what was sent is saved", || fs::metadata(&part).is_ok_and(|part| part.len() == 100_000));
        socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
    });
    run_in(&folder, &["get", "--course", &address.to_string(), "a.txt"])
        .failed_saying(&["reset the connection after 100000 bytes"]);
    assert_eq!(names(&folder), [""; 0]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_upload_server_that_is_not_ready_or_leaves_is_told() {
    let folder = folder();
    fs::write(folder.join("a.bin"), contents(20 * MIB)).unwrap();
    let silent = answering("");
    run_in(&folder, &["put", "--course", "--timeout", "300ms", &silent, "a.bin"])
        .failed_saying(&["silent for 300ms", "speaks first"]);
    let (leaves, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        connection.write_all(b"I am ready").unwrap();
        let _ = connection.read(&mut [0; 1024]);
    });
    run_in(&folder, &["put", "--course", &leaves.to_string(), "a.bin"])
        .failed_saying(&["the connection before it had all of a.bin"]);
    let (closes, _) = tcp_server("127.0.0.1:0", |connection, _| drop(connection));
    run_in(&folder, &["put", "--course", &closes.to_string(), "a.bin"])
        .failed_saying(&["before it was ready for a.bin"]);
    fs::remove_dir_all(folder).unwrap();
}
