use super::*;
use crate::disk::{Disk, simulated};
use crate::files::{Policy, Roots};
use crate::rehearsal::{Client, Rehearsal, splits};
use crate::service::Limits;
use crate::services::{configured, refused};
use crate::wire::files::framed::{CODES, format_sum};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::path::Path;

const FOLDER: &str = "files";
const MIB: usize = 1024 * 1024;

/// A service on a disk in memory, and clients.
struct Scene {
    disk: simulated::Disk,
    stage: Rehearsal<FileService>,
}

impl Scene {
    fn with(policy: Policy, offer: Option<&str>, name_gap: Duration) -> Scene {
        let disk = simulated::Disk::new(1);
        let kernel = Disk::Simulated(disk.clone());
        kernel.create(Path::new(FOLDER)).unwrap();
        let root = Roots::on(kernel).root(Path::new(FOLDER), policy);
        let service = FileService {
            name: "file".into(),
            root,
            offer: offer.map(|name| clean(name).unwrap()),
            name_gap,
            uploads: Uploads::default(),
        };
        // Uploads and downloads may take longer than a person waits.
        Scene { disk, stage: Rehearsal::with_limits(service, Limits::default()) }
    }

    fn new() -> Scene {
        Scene::with(Policy::default(), None, Duration::from_millis(200))
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) {
        self.disk.put(Path::new(FOLDER), name, contents.as_ref());
    }

    /// What is in the folder, temporary files and all.
    fn names(&self) -> Vec<String> {
        self.disk.contents(Path::new(FOLDER)).into_keys().collect()
    }

    fn contents(&self, name: &str) -> Option<Vec<u8>> {
        self.disk.contents(Path::new(FOLDER)).remove(name)
    }

    /// Sends a request on a connection of its own, and returns what comes back.
    fn ask(&mut self, request: impl AsRef<[u8]>) -> Vec<u8> {
        let client = self.stage.connect();
        self.stage.send(client, request.as_ref());
        self.stage.received(client)
    }

    fn text(&mut self, client: Client) -> String {
        String::from_utf8(self.stage.received(client)).unwrap()
    }
}

fn sum(bytes: &[u8]) -> String {
    format_sum(&Sha256::digest(bytes).into())
}

fn contents(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn a_course_client_gets_a_name_a_pause_the_contents_and_the_end() {
    let mut scene = Scene::new();
    scene.put("old.txt", "old");
    scene.put("강의.txt", "안녕");
    let client = scene.stage.connect();
    scene.stage.send(client, b"I am ready");
    assert_eq!(scene.text(client), "강의.txt");
    scene.stage.pass(Duration::from_millis(199));
    assert_eq!(scene.text(client), "");
    scene.stage.pass(Duration::from_millis(1));
    assert_eq!(scene.text(client), "안녕");
    assert!(scene.stage.is_closed(client));
}

#[test]
fn an_empty_file_is_a_name_and_an_end() {
    let mut scene = Scene::new();
    scene.put("empty", "");
    let client = scene.stage.connect();
    scene.stage.send(client, b"?");
    scene.stage.pass(Duration::from_millis(200));
    assert_eq!(scene.text(client), "empty");
    assert!(scene.stage.is_closed(client));
}

#[test]
fn a_course_client_may_name_the_file_and_half_close_at_once() {
    let mut scene = Scene::with(Policy::default(), None, Duration::ZERO);
    scene.put("a b.bin", contents(3 * MIB));
    scene.put("newer", "x");
    for asked in ["a b.bin", "a b.bin\r\n", "/home/kim/a b.bin", "C:\\work\\a b.bin"] {
        let client = scene.stage.connect();
        scene.stage.send(client, asked.as_bytes());
        scene.stage.half_close(client);
        let received = scene.stage.received(client);
        assert!(received == [b"a b.bin".as_slice(), &contents(3 * MIB)].concat(), "{asked}");
        assert!(scene.stage.is_closed(client));
    }
}

#[test]
fn whoever_names_no_file_is_offered_the_one_of_the_settings() {
    let mut scene = Scene::with(Policy::default(), Some("offer.txt"), Duration::ZERO);
    scene.put("offer.txt", "1");
    scene.put("newer.txt", "2");
    assert_eq!(scene.ask("hello"), b"offer.txt1");
    assert_eq!(scene.ask("newer.txt"), b"newer.txt2");
}

#[test]
fn without_a_file_the_connection_just_ends() {
    let mut scene = Scene::new();
    let client = scene.stage.connect();
    scene.stage.send(client, b"I am ready");
    assert_eq!(scene.text(client), "");
    assert!(scene.stage.is_closed(client));
}

#[test]
fn a_first_input_that_may_become_a_request_waits_for_200_ms() {
    let mut scene = Scene::with(Policy::default(), None, Duration::ZERO);
    scene.put("a", "x");
    let (slow, plain) = (scene.stage.connect(), scene.stage.connect());
    scene.stage.send(slow, b"LI");
    scene.stage.send(plain, b"LI");
    scene.stage.pass(Duration::from_millis(199));
    scene.stage.send(slow, b"ST\n");
    assert_eq!(scene.text(slow), "OK 1\n1 a\n");
    assert_eq!(scene.text(plain), "");
    scene.stage.pass(Duration::from_millis(1));
    assert_eq!(scene.text(plain), "ax");
    let cut = scene.stage.connect();
    scene.stage.send(cut, b"GET");
    scene.stage.half_close(cut);
    assert_eq!(scene.text(cut), "ax");
}

#[test]
fn whoever_closes_without_a_word_is_answered_nothing() {
    let mut scene = Scene::new();
    scene.put("a", "x");
    let client = scene.stage.connect();
    scene.stage.half_close(client);
    assert_eq!(scene.text(client), "");
    assert!(scene.stage.is_closed(client));
}

#[test]
fn requests_are_answered_one_after_another_however_fast_they_come() {
    let mut scene = Scene::new();
    scene.put("a", "abc");
    scene.put("b c", contents(2 * MIB));
    let client = scene.stage.connect();
    scene.stage.send(client, b"LIST\nGET 0 b c\nGET 1 a\r\nSUM a\nGET 3 a\nPUT 2 - d\nokLIST\n");
    let expected = [
        format!("OK 2\n3 a\n{} b c\nOK {}\n", 2 * MIB, 2 * MIB).as_bytes(),
        &contents(2 * MIB),
        format!("OK 3\nbcOK 3 {}\nOK 3\nOK send\nOK d\nOK 3\n3 a\n{} b c\n2 d\n", sum(b"abc"), 2 * MIB)
            .as_bytes(),
    ]
    .concat();
    let received = scene.stage.received(client);
    assert!(received == expected, "{:?}", String::from_utf8_lossy(&received[received.len() - 200..]));
    assert!(!scene.stage.is_closed(client));
    scene.stage.half_close(client);
    assert!(scene.stage.is_closed(client));
}

#[test]
fn a_half_close_ends_the_last_request_and_all_are_answered() {
    let mut scene = Scene::new();
    scene.put("a", "abc");
    let client = scene.stage.connect();
    scene.stage.send(client, b"GET 0 a\nGET 2 a\nGET 1 a");
    scene.stage.half_close(client);
    assert_eq!(scene.text(client), "OK 3\nabcOK 3\ncOK 3\nbc");
    assert!(scene.stage.is_closed(client));
}

#[test]
fn a_refusal_names_its_reason_and_the_connection_goes_on() {
    let mut scene = Scene::new();
    scene.put("a", "abc");
    let client = scene.stage.connect();
    for (request, code) in [
        ("GET 0 b", "not-found"),
        ("GET 4 a", "bad-offset"),
        ("GET 0 .", "bad-name"),
        ("GET 0 ..\\..\\", "bad-name"),
        ("GET 0 .onepoll-upload-1", "bad-name"),
        ("GET x a", "bad-request"),
        ("SUM b", "not-found"),
        ("SUM CON", "bad-name"),
        ("HELP", "bad-request"),
        ("", "bad-request"),
    ] {
        scene.stage.send(client, format!("GET 3 a\n{request}\n").as_bytes());
        let text = scene.text(client);
        assert!(text.starts_with(&format!("OK 3\nERR {code} ")), "{request}: {text}");
    }
    assert!(!scene.stage.is_closed(client));
}

#[test]
fn a_path_means_its_last_part() {
    let mut scene = Scene::new();
    scene.put("passwd", "not that one");
    for name in ["../../etc/passwd", "/etc/passwd", "..\\..\\passwd", "a/../passwd"] {
        assert_eq!(scene.ask(format!("GET 0 {name}\n")), b"OK 12\nnot that one", "{name}");
    }
    let stored = scene.ask("PUT 1 - ../../etc/passwd\nx");
    assert_eq!(stored, b"OK send\nOK passwd (2)\n");
    assert_eq!(scene.names(), ["passwd", "passwd (2)"]);
}

#[test]
fn contents_are_stored_once_they_are_whole_and_fit_their_sum() {
    let mut scene = Scene::new();
    let bytes = contents(3 * MIB);
    let client = scene.stage.connect();
    scene.stage.send(client, format!("PUT {} {} 과제.bin\n", bytes.len(), sum(&bytes)).as_bytes());
    assert_eq!(scene.text(client), "OK send\n");
    scene.stage.send(client, &bytes[..MIB]);
    assert_eq!(scene.text(client), "");
    assert!(scene.contents("과제.bin").is_none());
    scene.stage.send(client, &bytes[MIB..]);
    assert_eq!(scene.text(client), "OK 과제.bin\n");
    assert!(scene.contents("과제.bin").unwrap() == bytes);
    // The same name again takes a number, and an empty file is a file.
    scene.stage.send(client, b"PUT 0 - \xEA\xB3\xBC\xEC\xA0\x9C.bin\n");
    assert_eq!(scene.text(client), "OK send\nOK 과제 (2).bin\n");
    assert_eq!(scene.contents("과제 (2).bin").unwrap(), b"");
}

#[test]
fn contents_of_another_sum_are_not_stored_and_the_connection_goes_on() {
    let mut scene = Scene::new();
    let client = scene.stage.connect();
    scene.stage.send(client, format!("PUT 3 {} a\nabdLIST\n", sum(b"abc")).as_bytes());
    let text = scene.text(client);
    assert!(text.starts_with("OK send\nERR wrong-sum ") && text.ends_with("\nOK 0\n"), "{text}");
    assert!(!scene.stage.is_closed(client));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn a_refused_put_is_refused_before_its_contents_and_ends_the_connection() {
    let policy = Policy { max_file_size: 10, max_total_size: 15, max_files: 3, ..Policy::default() };
    for (put, code) in [
        ("PUT 11 - a", "too-large"),
        ("PUT 9 - a", "no-room"),
        ("PUT 1 - a/", "bad-name"),
        ("PUT 1 - NUL.txt", "bad-name"),
        ("PUT 1 a", "bad-request"),
        ("PUT -1 - a", "bad-request"),
    ] {
        let mut scene = Scene::with(policy, None, Duration::ZERO);
        scene.put("b", "1234567");
        // A list notices what was added by hand.
        scene.ask("LIST\n");
        let client = scene.stage.connect();
        scene.stage.send(client, format!("{put}\nxLIST\n").as_bytes());
        let text = scene.text(client);
        assert!(text.starts_with(&format!("ERR {code} ")) && text.lines().count() == 1, "{put}: {text}");
        assert!(scene.stage.is_closed(client), "{put}");
        assert_eq!(scene.names(), ["b"]);
    }
    let mut scene = Scene::with(policy, None, Duration::ZERO);
    ["x", "y", "z"].iter().for_each(|name| scene.put(name, ""));
    scene.ask("LIST\n");
    assert!(scene.ask("PUT 1 - a\n").starts_with(b"ERR too-many-files "));
    let mut scene = Scene::with(Policy { writable: false, ..policy }, None, Duration::ZERO);
    assert!(scene.ask("PUT 1 - a\n").starts_with(b"ERR read-only "));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn contents_that_end_early_leave_nothing_behind() {
    let mut scene = Scene::new();
    let (half, gone) = (scene.stage.connect(), scene.stage.connect());
    for client in [half, gone] {
        scene.stage.send(client, b"PUT 100 - a\n");
        scene.stage.send(client, b"x");
    }
    scene.stage.half_close(half);
    let text = scene.text(half);
    assert!(text.starts_with("OK send\nERR incomplete "), "{text}");
    assert!(scene.stage.is_closed(half));
    scene.stage.hang_up(gone);
    scene.stage.pass(Duration::from_secs(1));
    assert_eq!(scene.names(), [""; 0]);
}

/// Every write, sync and rename of an upload fails once: the client hears of it, or the
/// file is there whole; and nothing else is ever left.
#[test]
fn a_disk_that_fails_at_any_moment_leaves_nothing_half_written() {
    let bytes = contents(300_000);
    let mut fails = 0;
    for change in 0..20 {
        let mut scene = Scene::new();
        scene.stage.service();
        scene.disk.fail_once(change);
        let client = scene.stage.connect();
        scene.stage.send(client, format!("PUT {} - a\n", bytes.len()).as_bytes());
        scene.stage.send(client, &bytes);
        let text = scene.text(client);
        match text.lines().last() {
            Some("OK a") => assert!(scene.contents("a").unwrap() == bytes),
            Some(line) => {
                assert!(line.starts_with("ERR io "), "{line}");
                assert!(scene.contents("a").is_none() && scene.stage.is_closed(client));
                fails += 1;
            }
            None => panic!("nothing was answered"),
        }
        let left = scene.names();
        assert!(left.iter().all(|name| name == "a" || name.starts_with('.')), "{left:?}");
    }
    assert!(fails >= 4, "{fails} failures");
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let mut scene = Scene::new();
    scene.disk.set_capacity(Some(100_000));
    let client = scene.stage.connect();
    scene.stage.send(client, b"PUT 200000 - a\n");
    scene.stage.send(client, &contents(200_000));
    let text = scene.text(client);
    assert!(text.starts_with("OK send\nERR no-room "), "{text}");
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn a_file_that_shrinks_while_it_goes_out_ends_its_connection() {
    let mut scene = Scene::with(Policy::default(), None, Duration::ZERO);
    scene.put("a", contents(8 * MIB));
    let client = scene.stage.connect_without_reading();
    scene.stage.send(client, b"GET 0 a\n");
    scene.disk.truncate(Path::new(FOLDER), "a", MIB);
    scene.stage.read_on(client);
    let received = scene.stage.received(client).len();
    assert!(received < 2 * MIB && scene.stage.is_closed(client), "{received} bytes came");
}

#[test]
fn a_long_list_goes_out_in_parts_and_whole() {
    let mut scene = Scene::new();
    for number in 0..3000 {
        scene.put(&format!("{number:0>100}"), "");
    }
    let client = scene.stage.connect_without_reading();
    scene.stage.send(client, b"LIST\nLIST\n");
    scene.stage.read_on(client);
    let text = scene.text(client);
    let (first, second) = text.split_at(text.len() / 2);
    assert_eq!(first, second);
    assert!(first.starts_with("OK 3000\n0 0000") && first.lines().count() == 3001);
}

#[test]
fn a_request_must_be_finished_in_time_and_within_the_line_length() {
    let mut scene = Scene::new();
    let (slow, long) = (scene.stage.connect(), scene.stage.connect());
    scene.stage.send(slow, b"GET 0 a");
    scene.stage.send(long, &[b"GET 0 ".as_slice(), &[b'a'; 70_000]].concat());
    assert_eq!(scene.text(long), "ERR bad-request the line is too long\n");
    assert!(scene.stage.is_closed(long));
    scene.stage.pass(Duration::from_secs(9));
    assert!(!scene.stage.is_closed(slow));
    scene.stage.pass(Duration::from_secs(2));
    assert_eq!(scene.text(slow), "ERR bad-request the message took too long to arrive\n");
    assert!(scene.stage.is_closed(slow));
}

#[test]
fn every_code_of_a_file_error_is_in_the_table() {
    use crate::files::{BadName, FileError};
    let listed = |code: &str| CODES.iter().any(|(known, _)| *known == code);
    for error in [
        FileError::NotFound,
        FileError::Denied,
        FileError::BadName(BadName::Empty),
        FileError::TooLarge(1),
        FileError::NoRoom(1),
        FileError::DiskFull,
        FileError::TooManyFiles(1),
        FileError::ReadOnly,
        FileError::Taken,
        FileError::WrongSum,
        FileError::WrongSize { told: 1, came: 2 },
        FileError::Changed,
        FileError::Unavailable(String::new()),
        FileError::Io(String::new()),
    ] {
        assert!(listed(error.code()), "{}", error.code());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_conversation_is_the_same_at_any_split(
        requests in prop::collection::vec(
            prop::sample::select(vec![
                "LIST\n", "GET 0 a\n", "GET 2 a\r\n", "GET 9 a\n", "SUM a\n", "PUT 3 - b\nxyz", "PUT 0 - c\n",
                "GET 0 b\n", "?\n", "SUM b\n",
            ]),
            1..8,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let text = format!("LIST\n{}", requests.concat());
        let talk = |pieces: Vec<&[u8]>| {
            let mut scene = Scene::new();
            scene.put("a", "abcd");
            let client = scene.stage.connect();
            pieces.into_iter().for_each(|piece| scene.stage.send(client, piece));
            scene.stage.half_close(client);
            (scene.stage.received(client), scene.names())
        };
        prop_assert_eq!(talk(splits(text.as_bytes(), &cuts)), talk(vec![text.as_bytes()]));
    }
}

const FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 41_000);

fn told(scene: &mut Scene) -> Vec<String> {
    let said = scene.stage.datagrams().into_iter();
    said.map(|(_, text)| String::from_utf8(text).unwrap()).collect()
}

#[test]
fn an_upload_over_udp_is_a_name_ok_the_contents_and_an_empty_datagram() {
    let mut scene = Scene::new();
    let bytes = contents(200_000);
    scene.stage.datagram(FROM.into(), "/home/kim/과제.txt".as_bytes());
    assert_eq!(told(&mut scene), ["ok"]);
    for piece in bytes.chunks(16_384) {
        scene.stage.datagram(FROM.into(), piece);
    }
    assert!(scene.contents("과제.txt").is_none());
    scene.stage.datagram(FROM.into(), b"");
    assert!(scene.contents("과제.txt").unwrap() == bytes);
    // The same peer again, and an empty file.
    scene.stage.datagram(FROM.into(), b"b");
    scene.stage.datagram(FROM.into(), b"");
    assert_eq!(told(&mut scene), ["ok"]);
    assert_eq!(scene.contents("b").unwrap(), b"");
    assert!(scene.stage.service().uploads.is_empty());
}

#[test]
fn an_upload_over_udp_expires_after_ten_silent_seconds() {
    let mut scene = Scene::new();
    scene.stage.datagram(FROM.into(), b"a");
    for _ in 0..5 {
        scene.stage.pass(Duration::from_secs(9));
        scene.stage.datagram(FROM.into(), b"x");
    }
    assert_eq!(scene.names().len(), 1);
    scene.stage.pass(Duration::from_secs(10));
    assert_eq!(scene.names(), [""; 0]);
    // What follows is a new name.
    scene.stage.datagram(FROM.into(), b"b");
    assert_eq!(told(&mut scene), ["ok", "ok"]);
}

#[test]
fn a_refused_upload_over_udp_is_told_once_and_its_contents_are_ignored() {
    let mut scene = Scene::with(Policy { writable: false, ..Policy::default() }, None, Duration::ZERO);
    for datagram in ["a", "contents", "more", "", "..", "contents", ""] {
        scene.stage.datagram(FROM.into(), datagram.as_bytes());
    }
    let told = told(&mut scene);
    assert!(told[0].starts_with("ERR read-only ") && told[1].starts_with("ERR bad-name "), "{told:?}");
    assert_eq!((told.len(), scene.names().len()), (2, 0));
}

#[test]
fn uploads_over_udp_are_bounded_in_number() {
    let mut scene = Scene::new();
    for port in 1..=70 {
        let from = ([127, 0, 0, 1], 20_000 + port).into();
        scene.stage.datagram(from, format!("{port}").as_bytes());
        if port <= 64 {
            scene.stage.datagram(from, b"contents");
        }
    }
    let told = told(&mut scene);
    assert_eq!(told.iter().filter(|text| *text == "ok").count(), 64);
    assert_eq!(told.iter().filter(|text| text.starts_with("ERR busy ")).count(), 6);
    scene.stage.pass(Duration::from_secs(10));
    assert_eq!(scene.names(), [""; 0]);
}

#[test]
fn an_upload_over_udp_of_which_only_the_name_came_makes_room_for_another() {
    let mut scene = Scene::new();
    let from = |port: u16| SocketAddr::from(([127, 0, 0, 1], 20_000 + port));
    scene.stage.datagram(from(0), b"honest");
    scene.stage.datagram(from(0), b"begun");
    for port in 1..=200 {
        scene.stage.datagram(from(port), format!("{port}").as_bytes());
    }
    assert!(told(&mut scene).iter().all(|text| text == "ok"));
    assert_eq!(scene.names().len(), 64);
    for (port, contents) in [(0, b"ended"), (200, b"whole")] {
        scene.stage.datagram(from(port), contents);
        scene.stage.datagram(from(port), b"");
    }
    scene.stage.pass(Duration::from_secs(10));
    assert_eq!(scene.names(), ["200", "honest"]);
}

#[test]
fn the_offer_is_the_name_of_a_file() {
    assert!(configured(&DESCRIPTION, "tcp = 1\noffer = \"강의.pdf\"\nname_gap = 0").is_ok());
    refused(
        &DESCRIPTION,
        &[
            ("tcp = 1\noffer = \"../a\"", (3, 9), "write \"a\""),
            ("tcp = 1\noffer = \"NUL\"", (3, 9), "device"),
            ("tcp = 1\nname_gap = 5", (3, 12), "no unit"),
        ],
    );
}

#[test]
fn a_slow_disk_leaves_its_own_client_unread_and_nobody_else() {
    let mut scene = Scene::new();
    scene.put("a", "abc");
    let (slow, other) = (scene.stage.connect(), scene.stage.connect());
    scene.stage.send(slow, format!("PUT {} - big\n", 8 * MIB).as_bytes());
    assert_eq!(scene.text(slow), "OK send\n");
    scene.stage.send(other, b"GET 3 a\n");
    assert_eq!(scene.text(other), "OK 3\n");
    let before = scene.stage.statistics().bytes_received as usize;
    scene.stage.hold_jobs();
    scene.stage.send(slow, &contents(4 * MIB));
    let taken = scene.stage.statistics().bytes_received as usize - before;
    assert!((MIB / 2..=MIB).contains(&taken), "{taken} bytes wait for the disk");
    scene.stage.send(other, b"?\n");
    assert!(scene.text(other).starts_with("ERR bad-request "));
    scene.stage.release_jobs();
    // The rest was waiting in the stage's kernel, which holds 1 MiB.
    let taken = scene.stage.statistics().bytes_received as usize - before;
    assert!(taken > MIB + MIB / 2 && !scene.stage.is_closed(slow), "{taken} bytes were taken");
}

#[test]
fn a_put_of_which_nothing_comes_gives_its_room_back() {
    let policy = Policy { max_total_size: 1000, ..Policy::default() };
    let mut scene = Scene::with(policy, None, Duration::ZERO);
    let (silent, other) = (scene.stage.connect(), scene.stage.connect());
    scene.stage.send(silent, b"PUT 600 - a\n");
    assert_eq!(scene.text(silent), "OK send\n");
    scene.stage.send(other, b"PUT 600 - b\n");
    assert!(scene.text(other).starts_with("ERR no-room "));
    for _ in 0..5 {
        scene.stage.pass(Duration::from_secs(59));
        scene.stage.send(silent, b"x");
    }
    // While the disk is slow it is not the client that is silent.
    scene.stage.hold_jobs();
    scene.stage.send(silent, b"x");
    scene.stage.pass(Duration::from_secs(300));
    scene.stage.release_jobs();
    assert_eq!(scene.text(silent), "");
    scene.stage.pass(Duration::from_secs(120));
    assert_eq!(scene.text(silent), "ERR incomplete nothing of the contents came for 60 s\n");
    assert!(scene.stage.is_closed(silent));
    let last = scene.stage.connect();
    scene.stage.send(last, b"PUT 600 - b\n");
    assert_eq!(scene.text(last), "OK send\n");
    // What is stored is over, and its deadline with it.
    scene.stage.send(last, &contents(600));
    assert_eq!(scene.text(last), "OK b\n");
    scene.stage.pass(Duration::from_secs(300));
    scene.stage.send(last, b"SUM c\n");
    assert!(scene.text(last).starts_with("ERR not-found "));
}

#[test]
fn an_upload_over_udp_whose_disk_never_answers_does_not_keep_its_place() {
    let mut scene = Scene::new();
    scene.stage.datagram(FROM.into(), b"a");
    scene.stage.datagram(FROM.into(), b"contents");
    scene.stage.hold_jobs();
    scene.stage.datagram(FROM.into(), b"more");
    scene.stage.datagram(FROM.into(), b"");
    scene.stage.pass(Duration::from_secs(50));
    assert!(!scene.stage.service().uploads.is_empty());
    scene.stage.pass(Duration::from_secs(30));
    assert!(scene.stage.service().uploads.is_empty());
    scene.stage.release_jobs();
    assert_eq!(scene.names(), [""; 0]);
}
