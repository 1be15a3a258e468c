//! What a client says, and its exit status, if something is wrong.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::stage::{Live, answering, ask, echo, free_port, onepoll, recv, tcp_server, udp_server};
use super::support::PATIENCE;

fn unused_address() -> String {
    format!("127.0.0.1:{}", free_port())
}

#[test]
fn refused_says_so() {
    let nobody = unused_address();
    for command in
        [&["echo"][..], &["time"], &["json"], &["chat"], &["chat", "--udp"], &["echo", "--udp"], &["hello"]]
    {
        let has_messages = !matches!(command[0], "time" | "chat" | "hello");
        let message: &[&str] = if has_messages { &["1"] } else { &[] };
        let ended = ask(&[command, &[&nobody], message].concat());
        ended.failed_saying(&[&nobody, "refused", "start the server"]);
    }
}

#[test]
fn no_answer_says_so_after_the_timeout() {
    let server = udp_server("127.0.0.1:0", |_| None).to_string();
    let ended = ask(&["echo", "--udp", "--timeout", "200ms", &server, "안녕"]);
    ended.failed_saying(&["no answer", &server, "200ms"]);
    let (server, _) =
        tcp_server("127.0.0.1:0", |mut connection, _| while !recv(&mut connection).is_empty() {});
    let server = server.to_string();
    ask(&["upper", "--timeout", "0.2s", &server, "안녕"]).failed_saying(&["no answer", &server, "200ms"]);
}

#[test]
fn half_an_answer_is_printed_and_reported() {
    let (server, _) = answering(|_| b"[1, 2".to_vec());
    let ended = ask(&["json", "--timeout", "200ms", &server.to_string(), "[]"]);
    assert_eq!(ended.out, "[1, 2\n");
    ended.failed_saying(&["was not done within 200ms", "5 bytes"]);
}

/// Sends a text to each client over and over, one byte per 20 ms.
fn dripping(text: &'static [u8]) -> String {
    let (server, _) = tcp_server("127.0.0.1:0", move |mut connection, _| {
        for byte in text.iter().cycle() {
            if connection.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    server.to_string()
}

#[test]
fn the_timeout_bounds_the_whole_answer_however_slowly_it_comes() {
    let long = "x".repeat(100_000);
    for (command, text, message) in [
        ("echo", &b"x"[..], Some(long.as_str())),
        ("upper", b"X", Some(&long)),
        ("json", b"[", Some("[]")),
        ("json", b"1", Some("1")),
        ("time", b"x", None),
    ] {
        let server = dripping(text);
        let mut arguments = vec![command, "--timeout", "500ms", &server];
        arguments.extend(message);
        let started = Instant::now();
        let ended = ask(&arguments);
        assert!(started.elapsed() < PATIENCE / 2, "{command}: {:?}", started.elapsed());
        assert!(!ended.out.trim_end().is_empty(), "{command} shows what came");
        ended.failed_saying(&[&server, "was not done within 500ms", "may be cut"]);
    }
    // White space does not begin an answer.
    let server = dripping(b"\n");
    ask(&["number", "--timeout", "500ms", &server, "7"]).failed_saying(&["no answer", "500ms"]);
}

#[test]
fn an_answer_that_is_already_wrong_ends_the_client_at_once() {
    for (command, message, said) in [
        ("echo", "hi", "not an echo server"),
        ("upper", "hi", "not an upper server"),
        ("number", "7", "not a number server"),
        ("json", "[]", "not a json server"),
    ] {
        let server = dripping(b"x");
        // Without a limit, only the first byte can end it.
        ask(&[command, "--timeout", "0", &server, message]).failed_saying(&[&server, said]);
    }
}

#[test]
fn an_answer_in_time_is_whole_although_the_silence_after_it_is_longer_than_the_timeout() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        connection.write_all("지금".as_bytes()).unwrap();
        recv(&mut connection);
    });
    ask(&["time", "--timeout", "190ms", &server.to_string()]).printed(&["지금"]);
}

#[test]
fn a_close_without_an_answer_says_so() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        recv(&mut connection);
    });
    let server = server.to_string();
    ask(&["echo", &server, "안녕"]).failed_saying(&[&server, "closed the connection without an answer"]);
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| drop(connection));
    let server = server.to_string();
    ask(&["time", &server]).failed_saying(&[&server, "closed the connection without an answer"]);
}

#[test]
fn a_reset_says_so() {
    let (server, _) = tcp_server("127.0.0.1:0", |mut connection, _| {
        recv(&mut connection);
        socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let server = server.to_string();
    ask(&["number", &server, "1"]).failed_saying(&[&server, "reset"]);
}

#[test]
fn a_name_that_is_not_found_says_so() {
    // A label of more than 63 characters never reaches a name server.
    let host = format!("{}.invalid", "a".repeat(64));
    let ended = ask(&["echo", &format!("{host}:3333"), "x"]);
    ended.failed_saying(&[&host, "not found", "spelling"]);
}

#[test]
fn a_datagram_that_is_too_long_says_so() {
    let server = udp_server("127.0.0.1:0", |datagram| Some(datagram.to_vec())).to_string();
    ask(&["echo", "--udp", &server, &"a".repeat(65_508)]).failed_saying(&[&server, "too long", "65507"]);
    let longest = "a".repeat(65_507);
    ask(&["echo", "--udp", &server, &longest]).printed(&[&longest]);
}

#[test]
fn wrong_usage_shows_the_usage_with_status_2() {
    for line in [
        "echo",
        "echo localhost",
        "echo ::1:3333 x",
        "echo localhost:0 x",
        "echo localhost:70000 x",
        "upper --timeout 3 localhost:1 x",
        "number --tcp localhost:1",
        "time",
        "time localhost:1 x",
        "json",
        "json localhost:1 [1, ]",
        "json localhost:1 {} [1,\"a",
        "hello",
        "chat",
        "chat localhost:1 x",
        "chat localhost:1 --name a --nick b",
        "discover --port 0",
        "discover --broadcast nowhere",
        "discover --timeout 0",
        "multicast send 224.0.0.255:5005 x --timeout 0s",
        "broadcast",
        "broadcast send 127.255.255.255 x",
        "broadcast send 127.255.255.255:1",
        "broadcast send [::1]:1 x",
        "broadcast send 127.255.255.255:1 x --every 0",
        "broadcast send 127.255.255.255:1 x --count 0",
        "broadcast listen",
        "broadcast listen 0",
        "multicast send 127.0.0.1:5005 x",
        "multicast send 224.0.0.255 x",
        "multicast send 224.0.0.255:5005 x --ttl 256",
        "multicast listen 224.0.0.255:5005 --interface lo",
        "get",
        "get localhost a",
        "get localhost:1 a --resume --course",
        "get localhost:1 a b",
        "get localhost:1 a --timeout 3",
        "put localhost:1",
        "put localhost a",
        "ls",
        "ls localhost:1 a",
        "udp-file",
        "udp-file send localhost:1",
        "udp-file send localhost a",
        "udp-file receive",
        "udp-file receive 0",
        "udp-file receive 70000",
        "udp-file receive 1 --count 0",
    ] {
        let ended = ask(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.status, Some(2), "{line}: {ended:?}");
        assert!(ended.err.contains("Usage: onepoll"), "{line}: {ended:?}");
        assert_eq!(ended.out, "", "{line}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let mut child = onepoll(&["echo", &server.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.stdin.as_mut().unwrap().write_all("안녕\n둘\n".as_bytes()).unwrap();
    // Its input stays open: it ends because nobody reads its output.
    let stdin = child.stdin.take();
    let ended = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_says_so() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = onepoll(&["echo", &server.to_string(), "안녕"]).stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("cannot write to standard output"));
}

#[test]
fn an_interrupt_ends_a_client_in_order() {
    let (server, _) = tcp_server("127.0.0.1:0", |connection, _| echo(connection));
    let mut client = Live::start(&["echo", &server.to_string()]);
    client.type_in("안녕\n".as_bytes());
    client.wait_for_output("안녕");
    client.interrupt();
    client.end().printed(&["안녕"]);

    // Nobody accepts, so nothing is answered, and the client is interrupted while
    // it waits.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Live::start(&["time", "--timeout", "0", &listener.local_addr().unwrap().to_string()]);
    let _connected = listener.accept().unwrap();
    client.interrupt();
    client.end().printed(&[]);
}
