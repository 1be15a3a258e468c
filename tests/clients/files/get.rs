//! `get` and `ls`.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use socket2::SockRef;

use super::*;
use crate::stage::free_port;
use crate::support::eventually;

const NAME: &str = "강의 자료 1주차.pdf";

#[test]
fn files_of_any_size_are_listed_downloaded_and_verified() {
    let room = Classroom::new();
    let server = room.server();
    room.run(&["ls", &server]).printed(&[]);
    for (number, size) in [0, 1, 1023, 1024, 65_536, MIB + 1, 100 * MIB].into_iter().enumerate() {
        let name = format!("강의 {number}.bin");
        fs::write(room.root().join(&name), contents(size)).unwrap();
        let ended = room.run(&["get", &server, &name]);
        assert_eq!(ended.status, Some(0), "{ended:?}");
        let bytes = if size == 1 { "1 byte".into() } else { format!("{size} bytes") };
        assert!(ended.out.starts_with(&format!("got {name}: {bytes} in ")), "{ended:?}");
        assert!(fs::read(room.home().join(&name)).unwrap() == contents(size), "{size} bytes differ");
    }
    let listed = objects(&room.run(&["ls", "--json", &server]));
    assert_eq!(listed.len(), 7);
    assert!(listed.iter().any(|file| file["name"] == "강의 5.bin" && file["bytes"] == MIB + 1), "{listed:?}");
    let table = room.run(&["ls", &server]).out;
    assert!(table.lines().any(|line| line == "        1024 강의 3.bin"), "{table}");
    assert!(names(&room.home()).iter().all(|name| !name.contains(".part")));
}

#[test]
fn the_only_file_needs_no_name_and_a_script_gets_an_object() {
    let room = Classroom::new();
    let server = room.server();
    room.run(&["get", &server]).failed_saying(&["no files yet"]);
    fs::write(room.root().join(NAME), contents(70_000)).unwrap();
    let ended = room.run(&["get", "--json", &server, "-o", "저장.pdf"]);
    let [object] = &objects(&ended)[..] else { panic!("{ended:?}") };
    assert_eq!(object["name"], NAME);
    assert_eq!(object["file"], "저장.pdf");
    assert_eq!(object["bytes"], 70_000);
    assert_eq!(object["sha256"], sum(&contents(70_000)));
    assert_eq!((&object["verified"], &object["resumed_from"]), (&true.into(), &0.into()));
    fs::write(room.root().join("둘.txt"), "둘").unwrap();
    room.run(&["get", &server]).failed_saying(&["has 2 files", "onepoll ls"]);
    assert_eq!(names(&room.home()), ["저장.pdf"]);
}

#[test]
fn a_refusal_is_told_with_its_code() {
    let room = Classroom::new();
    let server = room.server();
    room.run(&["get", &server, "없는 파일"]).failed_saying(&["refused 없는 파일", "(not-found)"]);
    let ended = room.run(&["get", "--json", &server, "없는 파일"]);
    assert_eq!((ended.status, &objects(&ended)[0]["code"]), (Some(1), &"not-found".into()));
    assert_eq!(names(&room.home()), [""; 0]);
    let server = answering("ERR busy \x1b[2Jlater\n");
    room.run(&["ls", &server]).failed_saying(&["refused the list", "␛[2Jlater", "(busy)"]);
    room.run(&["get", &server]).failed_saying(&["refused", "␛[2Jlater"]);
}

#[test]
fn nothing_that_is_there_is_replaced_unless_forced() {
    let room = Classroom::new();
    fs::write(room.root().join("a.txt"), "새것").unwrap();
    let (server, home) = (room.server(), room.home());
    fs::write(home.join("a.txt"), "옛것").unwrap();
    // Nobody is asked before that is clear.
    let nobody = format!("127.0.0.1:{}", free_port());
    room.run(&["get", &nobody, "a.txt"]).failed_saying(&["a.txt exists already", "--force"]);
    assert_eq!(fs::read(home.join("a.txt")).unwrap(), "옛것".as_bytes());
    assert_eq!(room.run(&["get", "--force", &server, "a.txt"]).status, Some(0));
    assert_eq!(fs::read(home.join("a.txt")).unwrap(), "새것".as_bytes());
    fs::create_dir(home.join("폴더")).unwrap();
    for output in ["폴더", "폴더/", "."] {
        room.run(&["get", "--force", &server, "a.txt", "-o", output]).failed_saying(&["is a folder"]);
    }
    room.run(&["get", &server, "a.txt", "-o", "없는/b.txt"]).failed_saying(&["no folder 없는"]);
    // A link to nowhere is there too.
    symlink("nowhere", home.join("link")).unwrap();
    room.run(&["get", &server, "a.txt", "-o", "link"]).failed_saying(&["link exists already"]);
    symlink("a.txt", home.join("b.txt.part")).unwrap();
    for option in ["--resume", "--force"] {
        room.run(&["get", option, &server, "a.txt", "-o", "b.txt"]).failed_saying(&["is no regular file"]);
    }
    assert_eq!(fs::read(home.join("a.txt")).unwrap(), "새것".as_bytes());
}

#[test]
fn the_longest_name_has_room_for_its_partial_file() {
    let room = Classroom::new();
    let name = format!("{}.txt", "가".repeat(83));
    fs::write(room.root().join(&name), "길다").unwrap();
    assert_eq!(room.run(&["get", &room.server(), &name]).status, Some(0));
    assert_eq!(names(&room.home()), [name]);
}

/// Where a connection ends, and how.
type Cut = (usize, Box<dyn Fn(&TcpStream) + Send>);

/// Serves a file once per connection, of which `cuts` says where it ends, and how.
fn cutting(contents: Vec<u8>, mut cuts: Vec<Cut>) -> String {
    cuts.reverse();
    let address = server(move |mut requests, mut connection| {
        let asked = requests.next();
        let offset: usize = asked.split(' ').nth(1).unwrap().parse().unwrap();
        connection.write_all(format!("OK {}\n", contents.len()).as_bytes()).unwrap();
        let (end, ending) = cuts.pop().unwrap_or((contents.len(), Box::new(|_| ())));
        connection.write_all(&contents[offset..end]).unwrap();
        if end == contents.len() {
            assert!(requests.next().starts_with("SUM "), "{asked}");
            connection.write_all(format!("OK {end} {}\n", sum(&contents)).as_bytes()).unwrap();
            return requests.drain();
        }
        requests.next();
        ending(&connection);
    });
    address.to_string()
}

#[test]
fn a_download_that_breaks_is_resumed_where_it_broke() {
    let (folder, whole) = (folder(), contents(3 * MIB));
    let part = folder.join(format!("{NAME}.part"));
    let saved = part.clone();
    let reset = move |connection: &TcpStream| {
        let has_come = || fs::metadata(&saved).is_ok_and(|part| part.len() == 2 * MIB as u64);
        eventually("what was sent is saved", has_come);
        SockRef::from(connection).set_linger(Some(Duration::ZERO)).unwrap();
    };
    let server = cutting(whole.clone(), vec![(MIB, Box::new(|_| ())), (2 * MIB, Box::new(reset))]);
    let first = run_in(&folder, &["get", &server, NAME]);
    first.failed_saying(&[
        "closed the connection after 1048576 of 3145728 bytes",
        &format!("{NAME}.part"),
        "--resume",
    ]);
    assert!(fs::read(&part).unwrap() == whole[..MIB]);
    run_in(&folder, &["get", &server, NAME]).failed_saying(&["left from an earlier download", "--resume"]);
    let second = run_in(&folder, &["get", "--resume", &server, NAME]);
    second.failed_saying(&["reset the connection after 2097152 of 3145728 bytes", "--resume"]);
    assert!(fs::read(&part).unwrap() == whole[..2 * MIB]);
    let third = run_in(&folder, &["get", "--json", "--resume", &server, NAME]);
    let object = &objects(&third)[0];
    assert_eq!(
        (&object["resumed_from"], &object["bytes"]),
        (&(2 * MIB).into(), &(3 * MIB).into()),
        "{third:?}"
    );
    assert!(fs::read(folder.join(NAME)).unwrap() == whole);
    assert_eq!(names(&folder), [NAME]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_partial_file_of_another_version_is_noticed() {
    let room = Classroom::new();
    fs::write(room.root().join("a.bin"), contents(100_000)).unwrap();
    let (server, part) = (room.server(), room.home().join("a.bin.part"));
    fs::write(&part, vec![0; 50_000]).unwrap();
    room.run(&["get", "--resume", &server, "a.bin"]).failed_saying(&["sum of a.bin differs", "get it again"]);
    assert_eq!(names(&room.home()), [""; 0]);
    fs::write(&part, vec![0; 100_001]).unwrap();
    room.run(&["get", "--resume", &server, "a.bin"]).failed_saying(&["(bad-offset)", "--force"]);
    assert_eq!(names(&room.home()), ["a.bin.part"]);
    // All of it is there already, and only the name is missing.
    fs::write(&part, contents(100_000)).unwrap();
    assert_eq!(room.run(&["get", "--resume", &server, "a.bin"]).status, Some(0));
    assert_eq!(names(&room.home()), ["a.bin"]);
}

#[test]
fn lengths_and_sums_that_lie_are_found_out() {
    let folder = folder();
    let sum_of = |contents: &str| sum(contents.as_bytes());
    for (answer, said) in [
        (format!("OK 5\nhelloOK 5 {}\n", sum_of("hallo")), "sum of a.txt differs"),
        (format!("OK 5\nhelloOK 6 {}\n", sum_of("hello")), "sum of a.txt differs"),
        ("OK 5\nhello more than that\n".to_owned(), "does not answer as a file server does"),
        ("OK 5\nhelloERR changed it grows\n".to_owned(), "cannot be verified"),
        ("OK 18446744073709551616\n".to_owned(), "does not answer as a file server does"),
        ("OK five\n".to_owned(), "does not answer as a file server does"),
        ("a".repeat(100_000), "does not answer as a file server does"),
    ] {
        run_in(&folder, &["get", &answering(answer), "a.txt"]).failed_saying(&[said]);
        assert!(!folder.join("a.txt").exists(), "{said}");
        // What cannot be verified may still be whole.
        let _ = fs::remove_file(folder.join("a.txt.part"));
        assert_eq!(names(&folder), [""; 0], "{said}");
    }
    // Nothing is reserved for a length that nobody has.
    let server = server(|mut requests, mut connection| {
        requests.next();
        requests.next();
        connection.write_all(b"OK 18446744073709551615\nhello").unwrap();
    });
    let ended = run_in(&folder, &["get", &server.to_string(), "a.txt"]);
    ended.failed_saying(&["after 5 of 18446744073709551615 bytes"]);
    assert_eq!(fs::read(folder.join("a.txt.part")).unwrap(), b"hello");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn names_of_a_server_stay_in_the_folder() {
    let (folder, file) = (folder(), "안녕");
    let home = folder.join("home");
    fs::create_dir(&home).unwrap();
    for (name, saved) in [
        ("../../evil.txt", Some("evil.txt")),
        ("/etc/evil", Some("evil")),
        ("..\\evil.exe", Some("evil.exe")),
        ("..", None),
        ("../.bashrc", None),
        ("a\x1b[2J.txt", None),
        ("con.txt", None),
        ("a\u{202e}txt.exe", None),
    ] {
        let server = server(move |mut requests, mut connection| {
            assert_eq!(requests.next(), "LIST");
            connection.write_all(format!("OK 1\n6 {name}\n").as_bytes()).unwrap();
            if requests.next().starts_with("GET 0 ") {
                let answer = format!("OK 6\n{file}OK 6 {}\n", sum(file.as_bytes()));
                connection.write_all(answer.as_bytes()).unwrap();
            }
            requests.drain();
        });
        let ended = run_in(&home, &["get", &server.to_string()]);
        match saved {
            Some(saved) => {
                assert_eq!(ended.status, Some(0), "{ended:?}");
                assert_eq!(fs::read(home.join(saved)).unwrap(), file.as_bytes());
                fs::remove_file(home.join(saved)).unwrap();
            }
            None => {
                assert!(!ended.err.contains('\x1b'), "{ended:?}");
                ended.failed_saying(&[]);
            }
        }
        assert_eq!((names(&home), names(&folder)), (vec![], vec!["home".to_owned()]), "{name}");
        // A program gets the name as it is, in one object.
        let listing = answering(format!("OK 1\n6 {name}\n"));
        assert_eq!(objects(&run_in(&home, &["ls", "--json", &listing]))[0]["name"], name);
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_list_that_ends_early_is_reported() {
    let address = server(|mut requests, mut connection| {
        requests.next();
        connection.write_all("OK 3\n6 하나.txt\n".as_bytes()).unwrap();
    });
    let ended = run_in(Path::new("."), &["ls", &address.to_string()]);
    assert_eq!(ended.out, "           6 하나.txt\n");
    ended.failed_saying(&["2 files of its list are missing"]);
    run_in(Path::new("."), &["ls", &answering("220 smtp.example\r\n")])
        .failed_saying(&["does not answer as a file server does"]);
}

#[test]
fn servers_that_are_gone_silent_or_elsewhere_are_told_apart() {
    let folder = folder();
    let nobody = format!("127.0.0.1:{}", free_port());
    for command in [&["get", &nobody, "a"][..], &["get", &nobody], &["ls", &nobody]] {
        run_in(&folder, command).failed_saying(&["refused: nothing listens there"]);
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address.to_string())).unwrap();
    for command in [&["get", &silent.1, "a"][..], &["get", &silent.1], &["ls", &silent.1]] {
        let ended = run_in(&folder, &[command, &["--timeout", "300ms"]].concat());
        ended.failed_saying(&["silent for 300ms"]);
    }
    // In the middle, too.
    let stops = answering("OK 100000\nhello");
    run_in(&folder, &["get", "--timeout", "300ms", &stops, "a"]).failed_saying(&[
        "silent for 300ms",
        "a.part",
        "--resume",
    ]);
    assert_eq!(names(&folder), ["a.part"]);
    let ends = server(|mut requests, _| drop(requests.next())).to_string();
    run_in(&folder, &["get", "--force", &ends, "a"])
        .failed_saying(&["closed the connection without an answer"]);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn an_interrupted_download_fails_and_is_resumed() {
    let folder = folder();
    let whole = contents(2 * MIB);
    let stops = answering([format!("OK {}\n", whole.len()).as_bytes(), &whole[..MIB]].concat());
    let client = start_in(&folder, &["get", &stops, "a.bin"]);
    let part = folder.join("a.bin.part");
    eventually("the first half is saved", || fs::metadata(&part).is_ok_and(|part| part.len() == MIB as u64));
    // Two downloads never write to one file.
    run_in(&folder, &["get", "--resume", &stops, "a.bin"]).failed_saying(&["another download"]);
    client.interrupt();
    client.end().failed_saying(&["interrupted"]);
    let server = cutting(whole.clone(), vec![]);
    assert_eq!(run_in(&folder, &["get", "--resume", &server, "a.bin"]).status, Some(0));
    assert!(fs::read(folder.join("a.bin")).unwrap() == whole);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let folder = folder();
    let size = 100 * MIB;
    let whole = contents(size);
    let told = sum(&whole);
    let (ready, waiting) = std::sync::mpsc::channel::<()>();
    let server = server(move |mut requests, mut connection| {
        requests.next();
        connection.write_all(format!("OK {size}\n").as_bytes()).unwrap();
        connection.write_all(&whole).unwrap();
        waiting.recv().unwrap();
        connection.write_all(format!("OK {size} {told}\n").as_bytes()).unwrap();
        requests.drain();
    });
    let client = start_in(&folder, &["get", &server.to_string(), "큰 파일.bin"]);
    let part = folder.join("큰 파일.bin.part");
    eventually("all contents are saved", || fs::metadata(&part).is_ok_and(|part| part.len() == size as u64));
    let most = client.most_memory();
    ready.send(()).unwrap();
    assert_eq!(client.end().status, Some(0));
    assert!(most < 64 * MIB, "{most} bytes");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_reader_that_has_heard_enough_of_a_list_is_no_failure() {
    let (reader_is_gone, may_go_on) = std::sync::mpsc::channel::<()>();
    let address = server(move |mut requests, mut connection| {
        requests.next();
        may_go_on.recv().unwrap();
        connection.write_all("OK 2\n6 하나.txt\n3 둘.txt\n".as_bytes()).unwrap();
        requests.drain();
    });
    let mut command = onepoll(&["ls", &address.to_string()]);
    let mut client = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(client.stdout.take());
    reader_is_gone.send(()).unwrap();
    let ended = client.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}
