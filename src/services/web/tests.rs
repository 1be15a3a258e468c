use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::disk::{Disk, simulated};
use crate::files::{Policy, Roots};
use crate::rehearsal::{Client, Rehearsal, splits};
use crate::service::Limits;
use crate::services::refused;
use crate::services::video::frames::{Dark, Frame};

/// A stage whose folder has these files.
fn stage_with(files: &[(&str, &[u8])], limits: Limits) -> Rehearsal<Web> {
    let disk = Disk::Simulated(simulated::Disk::new(1));
    let folder = Path::new("files");
    disk.create(folder).unwrap();
    let directory = disk.open(folder).unwrap();
    for (name, contents) in files {
        directory.create(name).unwrap().write_at(contents, 0).unwrap();
    }
    let root = Roots::on(disk).root(folder, Policy { writable: false, ..Policy::default() });
    let picture = Picture::new("stage".into(), "video".into());
    let web = Web::new(Files::new(root), picture, vec!["lab.school.kr".into()], Duration::from_secs(60));
    let mut stage = Rehearsal::with_limits(web, limits);
    stage.set_wall_clock(UNIX_EPOCH + Duration::from_secs(1_795_300_205));
    stage
}

fn stage() -> Rehearsal<Web> {
    stage_with(&[("안녕.txt", "반갑습니다".as_bytes()), ("long", &[b'x'; 200_000])], Limits::default())
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost:8000\r\n{headers}\r\n")
}

/// One answer: its head, and its content.
fn answer(stage: &mut Rehearsal<Web>, client: Client, request: &str) -> (String, Vec<u8>) {
    stage.send(client, request.as_bytes());
    let all = stage.received(client);
    split(&all)
}

fn split(answer: &[u8]) -> (String, Vec<u8>) {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {:?}", answer.escape_ascii().to_string())) + 4;
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
}

fn ask(path: &str, headers: &str) -> (String, Vec<u8>) {
    let mut stage = stage();
    let client = stage.connect();
    answer(&mut stage, client, &get(path, headers))
}

/// A frame of the video service arrives.
fn show(stage: &mut Rehearsal<Web>, number: u64, jpeg: &[u8]) {
    let frame = Frame {
        from: "video".into(),
        number,
        published: std::time::Instant::now(),
        size: Some((640, 480)),
        jpeg: Some(Bytes::copy_from_slice(jpeg)),
        raw: None,
    };
    stage.post(Box::new(frame));
}

#[test]
fn the_page_and_its_parts_are_served_with_strict_headers() {
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let (head, content) = ask(path, "");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 22:30:05 GMT\r\n"), "{head}");
        for header in [
            &format!("Content-Type: {kind}"),
            &format!("Content-Length: {}", content.len()),
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
        ] {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "{header}: {head}");
        }
        assert!(head.contains("default-src 'none'") && head.contains("frame-ancestors 'none'"), "{head}");
    }
}

#[test]
fn a_connection_is_kept_and_closed_as_the_client_asks() {
    let mut stage = stage();
    let (kept, closed, old) = (stage.connect(), stage.connect(), stage.connect());
    let (head, _) = answer(&mut stage, kept, &get("/healthz", ""));
    assert!(head.contains("\r\nConnection: keep-alive\r\n") && !stage.is_closed(kept));
    let (head, content) = answer(&mut stage, closed, &get("/healthz", "Connection: close\r\n"));
    assert!(head.contains("\r\nConnection: close\r\n") && stage.is_closed(closed));
    assert_eq!(content, b"ok\n");
    answer(&mut stage, old, "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(stage.is_closed(old));
}

#[test]
fn head_has_the_same_head_and_no_content() {
    for path in ["/", "/healthz", "/files/", "/files/long", "/metrics", "/nothing"] {
        let mut stage = stage();
        let client = stage.connect();
        let (head, _) = answer(&mut stage, client, &get(path, ""));
        let request = get(path, "").replacen("GET", "HEAD", 1);
        let (bare, content) = answer(&mut stage, client, &request);
        assert!(content.is_empty(), "{path}");
        if path != "/metrics" {
            assert_eq!(head, bare);
        }
    }
    let mut stage = stage();
    let client = stage.connect();
    for path in ["/events", "/video.mjpg"] {
        let client = stage.connect();
        let (_, content) = answer(&mut stage, client, &get(path, "").replacen("GET", "HEAD", 1));
        assert!(content.is_empty() && stage.is_closed(client), "{path}");
    }
    assert!(!stage.is_closed(client));
}

#[test]
fn what_is_not_served_is_refused_with_words() {
    let long = "x".repeat(5000);
    for (request, status) in [
        (get("/nothing", ""), "404 Not Found"),
        (get("/files/none", ""), "404 Not Found"),
        (get("/files/.hidden", ""), "404 Not Found"),
        (get("/files/%2e%2e%2fetc%2fpasswd", ""), "404 Not Found"),
        (get("/files/..\\x", ""), "404 Not Found"),
        (get("/files/a%00b", ""), "400 Bad Request"),
        (get("/healthz", "Host: b\r\n"), "400 Bad Request"),
        ("GET /healthz HTTP/1.1\r\n\r\n".into(), "400 Bad Request"),
        ("hello\r\n\r\n".into(), "400 Bad Request"),
        (get("/healthz", "").replacen("GET", "POST", 1), "405 Method Not Allowed"),
        (get("/healthz", "Content-Length: 3\r\n") + "abc", "413 Content Too Large"),
        (get(&format!("/{long}"), ""), "414 URI Too Long"),
        (get("/files/long", "Range: bytes=200000-\r\n"), "416 Range Not Satisfiable"),
        (get("/healthz", &format!("X: {long}\r\nY: {long}\r\n")), "431 Request Header Fields Too Large"),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), "505 HTTP Version Not Supported"),
        (get("/healthz", "").replace("localhost", "evil.example"), "421 Misdirected Request"),
        (get("/healthz", "").replace("localhost:8000", "lab.school.kr.evil"), "421 Misdirected Request"),
    ] {
        let mut stage = stage();
        let client = stage.connect();
        let (head, content) = answer(&mut stage, client, &request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:.80}: {head}");
        assert!(status.starts_with("416") || content.len() > 10, "{request:.80}");
        assert_eq!(head.contains("\r\nAllow: GET, HEAD\r\n"), status.starts_with("405"));
    }
    for host in ["127.0.0.1", "[::1]:8000", "lab.school.kr:8000", "LOCALHOST"] {
        let request = get("/healthz", "").replace("localhost:8000", host);
        let mut stage = stage();
        let client = stage.connect();
        assert!(answer(&mut stage, client, &request).0.starts_with("HTTP/1.1 200 OK"), "{host}");
    }
}

#[test]
fn a_file_is_downloaded_under_its_name_whole_or_in_part() {
    let (head, content) = ask("/files/%EC%95%88%EB%85%95.txt", "");
    assert_eq!(String::from_utf8(content).unwrap(), "반갑습니다");
    assert!(
        head.contains("\r\nContent-Disposition: attachment; filename=\"__.txt\"; filename*=UTF-8''%EC%95%88%EB%85%95.txt\r\n"),
        "{head}"
    );
    let etag = head.split("\r\nETag: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned();
    let name = "/files/%EC%95%88%EB%85%95.txt";
    let (head, content) = ask(name, "Range: bytes=3-5\r\n");
    assert!(
        head.starts_with("HTTP/1.1 206") && head.contains("\r\nContent-Range: bytes 3-5/15\r\n"),
        "{head}"
    );
    assert_eq!(content, "갑".as_bytes());
    let (head, content) = ask(name, &format!("If-None-Match: {etag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 304 Not Modified\r\n") && content.is_empty(), "{head}");
    assert!(head.contains(&format!("\r\nETag: {etag}\r\n")));
    let (head, _) = ask(name, &format!("Range: bytes=3-5\r\nIf-Range: {etag}\r\n"));
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    let (head, _) = ask(name, "Range: bytes=3-5\r\nIf-Range: \"other\"\r\n");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

#[test]
fn files_stay_open_for_a_second_and_no_more_than_64_of_them() {
    let names: Vec<String> = (0..100).map(|number| format!("{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"x"[..])).collect();
    let mut stage = stage_with(&files, Limits::default());
    let client = stage.connect();
    for name in &names {
        let (_, content) = answer(&mut stage, client, &get(&format!("/files/{name}"), ""));
        assert_eq!(content, b"x");
    }
    assert_eq!(stage.service().files.kept_open(), 64);
    stage.pass(Duration::from_secs(2));
    assert_eq!(stage.service().files.kept_open(), 0);
}

#[test]
fn an_empty_file_is_an_answer_too() {
    let mut stage = stage_with(&[("empty", b"")], Limits::default());
    let client = stage.connect();
    for _ in 0..2 {
        let (head, content) = answer(&mut stage, client, &get("/files/empty", ""));
        assert!(head.contains("\r\nContent-Length: 0\r\n") && content.is_empty(), "{head}");
    }
}

#[test]
fn hostile_names_are_nothing_but_text_in_the_list() {
    let name = "<img src=x onerror=alert(1)>\"'&.txt";
    let mut stage = stage_with(&[(name, b"harmless")], Limits::default());
    let client = stage.connect();
    let (_, html) = answer(&mut stage, client, &get("/files/", ""));
    let html = String::from_utf8(html).unwrap();
    assert!(!html.contains("<img"), "{html}");
    let target = html.split("href=\"/files/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let (head, content) = answer(&mut stage, client, &get(&format!("/files/{target}"), ""));
    assert_eq!(content, b"harmless");
    assert!(head.contains("filename=\"<img src=x onerror=alert(1)>_'&.txt\""), "{head}");
}

#[test]
fn a_long_list_goes_out_in_steps_and_the_next_request_waits_for_it() {
    let names: Vec<String> = (0..2000).map(|number| format!("file {number:04}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    let mut stage = stage_with(&files, Limits::default());
    let client = stage.connect();
    stage.send(client, (get("/files/", "") + &get("/healthz", "Connection: close\r\n")).as_bytes());
    let (head, rest) = split(&stage.received(client));
    let length: usize =
        head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
    assert!(length > 2 * STEP);
    let html = String::from_utf8(rest[..length].to_vec()).unwrap();
    assert!(html.contains("file 0000") && html.contains("file 1999") && html.ends_with("</html>\n"));
    assert!(rest[length..].starts_with(b"HTTP/1.1 200 OK\r\n") && rest.ends_with(b"ok\n"));
    assert!(stage.is_closed(client));
}

#[test]
fn a_half_close_is_answered_and_then_the_connection_ends() {
    for path in ["/healthz", "/files/", "/files/long", "/metrics", "/snapshot.jpg"] {
        let mut stage = stage();
        let client = stage.connect();
        stage.stop_reading(client);
        stage.send(client, get(path, "").as_bytes());
        stage.half_close(client);
        stage.pass(picture::PATIENCE);
        stage.read_on(client);
        let (head, _) = split(&stage.received(client));
        let status = if path == "/snapshot.jpg" { "503" } else { "200" };
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {head}");
        assert!(stage.is_closed(client), "{path}");
    }
    let mut stage = stage();
    let client = stage.connect();
    stage.send(client, b"GET /healthz HTTP/1.1\r\nHo");
    stage.half_close(client);
    assert!(split(&stage.received(client)).0.starts_with("HTTP/1.1 400"));
    assert!(stage.is_closed(client));
}

#[test]
fn an_idle_connection_is_closed_without_words_and_a_slow_head_with_them() {
    let mut stage = stage();
    let (idle, slow) = (stage.connect(), stage.connect());
    stage.pass(Duration::from_secs(30));
    answer(&mut stage, idle, &get("/healthz", ""));
    stage.send(slow, b"GET ");
    for _ in 0..9 {
        stage.pass(Duration::from_secs(1));
        stage.send(slow, b"/");
    }
    stage.pass(Duration::from_millis(1001));
    assert!(split(&stage.received(slow)).0.starts_with("HTTP/1.1 408 Request Timeout\r\n"));
    assert!(stage.is_closed(slow));
    stage.pass(Duration::from_secs(45));
    assert!(!stage.is_closed(idle));
    stage.pass(Duration::from_secs(20));
    assert!(stage.is_closed(idle));
    assert_eq!(stage.received(idle), b"");
}

#[test]
fn clients_are_turned_away_in_http() {
    for (why, status) in [
        (Farewell::Full, "503"),
        (Farewell::TooManyFromPeer, "503"),
        (Farewell::MessageTimeout, "408"),
        (Farewell::TooLong, "431"),
    ] {
        let words = stage().service().farewell(why);
        let (head, content) = split(words.as_bytes());
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", content.len())), "{head}");
    }
}

#[test]
fn there_are_no_words_in_the_middle_of_a_stream() {
    let limits = Limits { idle_timeout: Some(Duration::from_secs(5)), ..Limits::default() };
    let mut stage = stage_with(&[], limits);
    let viewer = stage.connect();
    answer(&mut stage, viewer, &get("/video.mjpg", ""));
    stage.pass(Duration::from_secs(6));
    assert!(stage.is_closed(viewer));
    assert_eq!(stage.received(viewer), b"");
}

#[test]
fn events_come_once_per_second_while_somebody_listens() {
    let mut stage = stage();
    let (one, late) = (stage.connect(), stage.connect());
    let (head, content) = answer(&mut stage, one, &get("/events", ""));
    assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
    let text = String::from_utf8(content).unwrap();
    let data = text.strip_prefix("event: services\ndata: ").unwrap();
    let event: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!(
        (&event["services"][0]["name"], &event["services"][0]["connections"]),
        (&"stage".into(), &2.into())
    );
    assert!(event["services"][0]["bytes_received"].as_u64() > Some(40));
    stage.pass(Duration::from_millis(500));
    let (_, content) = answer(&mut stage, late, &get("/events", ""));
    assert_eq!(content, text.as_bytes(), "the newest is sent at once");
    stage.pass(Duration::from_secs(3));
    for client in [one, late] {
        let events = String::from_utf8(stage.received(client)).unwrap();
        assert_eq!(events.matches("event: services\n").count(), 3, "{events}");
    }
    stage.hang_up(one);
    stage.hang_up(late);
    stage.pass(Duration::from_secs(3));
    assert!(!stage.service().live.is_heard());
}

#[test]
fn metrics_name_every_service() {
    let mut stage = stage();
    let client = stage.connect();
    answer(&mut stage, client, &get("/healthz", ""));
    let (head, content) = answer(&mut stage, client, &get("/metrics", ""));
    let text = String::from_utf8(content).unwrap();
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    for line in [
        "onepoll_http_responses_total{code=\"200\"} 1",
        "onepoll_connections{service=\"stage\"} 1",
        "onepoll_connections_accepted_total{service=\"stage\"} 1",
        "onepoll_service_up{service=\"stage\"} 1",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
}

#[test]
fn pictures_come_as_parts_that_end_in_a_boundary() {
    let mut stage = stage();
    let (one, late) = (stage.connect(), stage.connect());
    let (head, content) = answer(&mut stage, one, &get("/video.mjpg", ""));
    assert!(head.contains("\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n"), "{head}");
    assert_eq!(content, b"--frame\r\n");
    let part = |jpeg: &str| {
        let length = jpeg.len();
        format!("Content-Type: image/jpeg\r\nContent-Length: {length}\r\n\r\n{jpeg}\r\n--frame\r\n")
    };
    show(&mut stage, 1, b"one");
    assert_eq!(String::from_utf8(stage.received(one)).unwrap(), part("one"));
    let (_, content) = answer(&mut stage, late, &get("/video.mjpg", ""));
    assert_eq!(String::from_utf8(content).unwrap(), format!("--frame\r\n{}", part("one")));
    show(&mut stage, 2, b"two");
    assert_eq!(String::from_utf8(stage.received(late)).unwrap(), part("two"));
}

#[test]
fn a_slow_viewer_skips_frames_and_gets_the_newest() {
    let mut stage = stage();
    let (fast, slow) = (stage.connect(), stage.connect_without_reading());
    for client in [fast, slow] {
        stage.send(client, get("/video.mjpg", "").as_bytes());
    }
    for number in 1..=100 {
        show(&mut stage, number, &[number as u8; 100_000]);
    }
    let count =
        |received: &[u8]| String::from_utf8_lossy(received).matches("Content-Type: image/jpeg").count();
    assert_eq!(count(&stage.received(fast)), 100);
    stage.read_on(slow);
    let received = stage.received(slow);
    assert!(count(&received) < 20, "{}", count(&received));
    let newest = [&[100; 100_000], &b"\r\n--frame\r\n"[..]].concat();
    assert!(received.ends_with(&newest));
}

#[test]
fn the_video_service_is_asked_only_while_somebody_looks() {
    let mut stage = stage();
    let (one, other) = (stage.connect(), stage.connect());
    assert!(!stage.service().picture.is_subscribed());
    for client in [one, other] {
        answer(&mut stage, client, &get("/video.mjpg", ""));
    }
    stage.hang_up(one);
    assert!(stage.service().picture.is_subscribed());
    stage.half_close(other);
    assert!(!stage.service().picture.is_subscribed() && stage.is_closed(other));
}

#[test]
fn a_snapshot_waits_for_a_frame() {
    let mut stage = stage();
    let client = stage.connect();
    stage.send(client, (get("/snapshot.jpg", "") + &get("/healthz", "")).as_bytes());
    assert_eq!(stage.received(client), b"");
    show(&mut stage, 7, b"jpeg");
    let (head, content) = split(&stage.received(client));
    assert!(head.contains("\r\nContent-Type: image/jpeg\r\n"), "{head}");
    assert!(content.starts_with(b"jpegHTTP/1.1 200 OK\r\n") && content.ends_with(b"ok\n"));
    assert!(!stage.service().picture.is_subscribed());
    // A long one goes out in steps.
    stage.send(client, (get("/snapshot.jpg", "") + &get("/healthz", "")).as_bytes());
    show(&mut stage, 8, &[b'j'; 150_000]);
    let (_, content) = split(&stage.received(client));
    assert!(content.starts_with(&[b'j'; 150_000]) && content.ends_with(b"ok\n"));
}

#[test]
fn a_snapshot_of_the_dark_is_refused() {
    let mut stage = stage();
    let (told, patient) = (stage.connect(), stage.connect());
    stage.send(told, get("/snapshot.jpg", "").as_bytes());
    stage.post(Box::new(Dark { from: "video".into() }));
    assert!(split(&stage.received(told)).0.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    stage.send(patient, get("/snapshot.jpg", "").as_bytes());
    stage.pass(picture::PATIENCE - Duration::from_millis(1));
    assert_eq!(stage.received(patient), b"");
    stage.pass(Duration::from_millis(1));
    assert!(split(&stage.received(patient)).0.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
    assert!(!stage.is_closed(patient) && !stage.service().picture.is_subscribed());
}

#[test]
fn a_viewer_that_leaves_while_it_waits_ends_the_subscription() {
    let mut stage = stage();
    let client = stage.connect();
    stage.send(client, get("/snapshot.jpg", "").as_bytes());
    assert!(stage.service().picture.is_subscribed());
    stage.hang_up(client);
    stage.pass(picture::PATIENCE);
    assert!(!stage.service().picture.is_subscribed());
}

#[test]
fn many_pipelined_requests_are_answered_in_order() {
    let mut stage = stage();
    let client = stage.connect();
    let request = get("/healthz", "") + &get("/files/long", "") + &get("/", "");
    stage.send(client, request.repeat(100).as_bytes());
    let received = stage.received(client);
    let mut rest = &received[..];
    for number in 0..300 {
        let (head, content) = split(rest);
        let length: usize =
            head.split("Content-Length: ").nth(1).unwrap().split("\r\n").next().unwrap().parse().unwrap();
        assert_eq!(length == 3, number % 3 == 0, "{number}: {head}");
        assert_eq!(length == 200_000, number % 3 == 1, "{number}: {head}");
        rest = &rest[head.len() + length..];
        let _ = content;
    }
    assert!(rest.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn requests_are_answered_the_same_at_any_split(
        paths in prop::collection::vec(
            prop::sample::select(vec!["/", "/healthz", "/files/", "/files/long", "/files/none", "/nothing", "/snapshot.jpg"]),
            1..8,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        end in prop::sample::select(vec!["", "nonsense\r\n\r\n", "GET /"]),
    ) {
        let text: String = paths.iter().map(|path| get(path, "")).collect::<String>() + end;
        let talk = |pieces: Vec<&[u8]>| {
            let mut stage = stage();
            let client = stage.connect();
            for piece in pieces {
                stage.send(client, piece);
            }
            // No snapshot comes, and each of them waits in turn.
            for _ in 0..9 {
                stage.pass(picture::PATIENCE);
            }
            stage.half_close(client);
            let received = stage.received(client);
            (String::from_utf8_lossy(&received).replace(|c: char| c.is_ascii_digit(), "#"), stage.is_closed(client))
        };
        prop_assert_eq!(talk(splits(text.as_bytes(), &cuts)), talk(vec![text.as_bytes()]));
    }
}

#[test]
fn a_host_that_is_no_name_is_refused_where_it_stands() {
    refused(
        &DESCRIPTION,
        &[
            ("tcp = 1\nhosts = \"lab\"", (3, 9), "expected a list"),
            ("tcp = 1\nhosts = [\"lab:80\"]", (3, 9), "\"lab:80\" is not a host name"),
            ("tcp = 1\nhosts = [7]", (3, 9), "expected a string"),
            ("tcp = 1\nroot = \"\"", (3, 8), "is not a folder"),
        ],
    );
}
