//! Our clients against small Python servers in the style of the course.

use crate::program::Program;
use crate::shared_udp_port;

pub const TESTS: &[(&str, fn())] = &[
    ("onepoll echo against echo_server", || {
        asks("echo_server", &["echo"], &["안녕하세요", "Hello"], "안녕하세요\nHello\n");
    }),
    ("onepoll echo against echo_thread_server", || {
        // Longer than the server's recv(1024): the answer comes in pieces.
        let long = "길다 ".repeat(2000);
        asks("echo_thread_server", &["echo"], &[&long, "끝"], &format!("{long}\n끝\n"));
    }),
    ("onepoll echo against echo_selectors_server", || {
        asks("echo_selectors_server", &["echo"], &["하나", "둘"], "하나\n둘\n");
    }),
    ("onepoll echo, typed, against echo_server", typed_lines_are_echoed_until_the_end_word),
    ("onepoll upper against upper_server", || {
        // The server closes after each answer.
        asks("upper_server", &["upper"], &["hello 안녕", "world"], "HELLO 안녕\nWORLD\n");
    }),
    ("onepoll number against number_server", || {
        asks("number_server", &["number"], &["1", "3", "열"], "one\nthree\nTry again\n");
    }),
    ("onepoll time against time_server", || {
        asks("time_server", &["time"], &[], "Thu Jan  1 00:00:00 1970\n");
    }),
    ("onepoll json against json_server", || {
        let expected = "{\"a\": [1, 2.5, null]}\n\"\\ud55c\"\n";
        asks("json_server", &["json"], &["{\"a\":[1,2.5,null]}", "\"한\""], expected);
    }),
    ("onepoll echo --udp against udp_echo_server", || {
        asks("udp_echo_server", &["echo", "--udp"], &["안녕", "", "끝"], "안녕\n\n끝\n");
    }),
    ("onepoll upper --udp against udp_upper_server", || {
        asks("udp_upper_server", &["upper", "--udp"], &["hello 안녕"], "HELLO 안녕\n");
    }),
    ("onepoll number --udp against udp_number_server", || {
        asks("udp_number_server", &["number", "--udp"], &["2", "이"], "two\nTry again\n");
    }),
    ("onepoll time --udp against udp_time_server", || {
        asks("udp_time_server", &["time", "--udp"], &[], "Thu Jan  1 00:00:00 1970\n");
    }),
    ("onepoll hello against hello_server", || {
        asks("hello_server", &["hello"], &[], "Hello UDP Client\n");
    }),
    ("onepoll chat against chat_server", chat_meets_the_courses_chat_client),
    ("onepoll chat, leaving, against chat_server", leaving_the_chat_is_no_failure),
    ("onepoll discover against discovery_server", discover_finds_the_server),
    ("onepoll broadcast listen against broadcast_sender", listen_hears_the_broadcast),
    ("onepoll broadcast send against broadcast_receiver", the_receiver_hears_our_broadcast),
    ("onepoll multicast send against multicast_receiver", send_prints_the_acknowledgement),
    ("onepoll multicast listen against multicast_sender", listen_acknowledges),
];

const BROADCAST: &str = "127.255.255.255";
const GROUP: &str = "224.0.0.251";

/// Asks a server with a command line and compares the answers.
fn asks(server: &str, command: &[&str], messages: &[&str], expected: &str) {
    let server = Program::python(server, "127.0.0.1", 0, &[]);
    let target = format!("127.0.0.1:{}", server.port());
    Program::onepoll(&[command, &[&target], messages].concat()).ends_with(expected);
}

fn typed_lines_are_echoed_until_the_end_word() {
    let server = Program::python("echo_server", "127.0.0.1", 0, &[]);
    let mut client = Program::onepoll(&["echo", &format!("127.0.0.1:{}", server.port())]);
    client.types("첫 줄");
    client.shows(&["첫 줄"]);
    client.types("둘째 줄");
    client.types("/end");
    client.ends_with("첫 줄\n둘째 줄\n/end\n");
}

fn chat_meets_the_courses_chat_client() {
    let server = Program::python("chat_server", "127.0.0.1", 0, &[]);
    let port = server.port().to_string();
    let mut ours = Program::onepoll(&["chat", &format!("127.0.0.1:{port}"), "--name", "우리"]);
    server.shows(&[&port, "사람 수: 1"]);
    let mut theirs = Program::python("chat_client", "127.0.0.1", server.port(), &["학생"]);
    server.shows(&[&port, "사람 수: 1", "사람 수: 2"]);

    ours.types("안녕하세요");
    theirs.shows(&["입장: 학생", "[우리] 안녕하세요"]);
    theirs.types("반가워요");
    ours.shows(&["[학생] 반가워요"]);
    ours.types("bye");
    ours.ends_with("[학생] 반가워요\n");
    let relayed = ["중계: [우리] 안녕하세요", "중계: [학생] 반가워요"];
    let seen = [&[port.as_str(), "사람 수: 1", "사람 수: 2"], &relayed[..], &["퇴장, 남은 사람: 1"]].concat();
    server.shows(&seen);
    theirs.types("bye");
    theirs.ends_with("입장: 학생\n[우리] 안녕하세요\n");
}

/// The server closes as soon as it reads "bye", while the client is still ending.
fn leaving_the_chat_is_no_failure() {
    let server = Program::python("chat_server", "127.0.0.1", 0, &[]);
    for _ in 0..30 {
        let mut client = Program::onepoll(&["chat", &format!("127.0.0.1:{}", server.port())]);
        client.types("bye");
        client.ends_with("");
    }
}

fn discover_finds_the_server() {
    let server = Program::python("discovery_server", "", 0, &[]);
    let port = server.port();
    let arguments = ["--port", &port.to_string(), "--broadcast", BROADCAST, "--timeout", "500ms"];
    let (status, table, errors) = Program::onepoll(&[&["discover"], &arguments[..]].concat()).end();
    assert!(status.success(), "{errors}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2, "a heading and one server:\n{table}");
    assert!(lines[1].starts_with(&format!("127.0.0.1:{port} ")), "{table}");
    assert!(lines[1].contains(" receive message "), "{table}");
}

fn listen_hears_the_broadcast() {
    let (_held, port) = shared_udp_port();
    let listener = Program::onepoll(&["broadcast", "listen", &port.to_string(), "--count", "2"]);
    let _sender = Program::python("broadcast_sender", BROADCAST, port, &[]);
    let (status, output, errors) = listener.end();
    assert!(status.success(), "{errors}");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 2, "{output}");
    for line in lines {
        assert!(line.starts_with("from 127.0.0.1:") && line.ends_with(": 공지: 오늘 휴강"), "{output}");
    }
}

fn the_receiver_hears_our_broadcast() {
    let (_held, port) = shared_udp_port();
    let receiver = Program::python("broadcast_receiver", "", port, &[]);
    let to = format!("{BROADCAST}:{port}");
    let _sender = Program::onepoll(&["broadcast", "send", &to, "오늘 시험", "--every", "50ms"]);
    receiver.ends_with(&"방송: 오늘 시험\n".repeat(3));
}

fn send_prints_the_acknowledgement() {
    let receiver = Program::python("multicast_receiver", GROUP, 0, &[]);
    let port = receiver.port();
    let group = format!("{GROUP}:{port}");
    Program::onepoll(&["multicast", "send", &group, "여러분", "--interface", "127.0.0.1"])
        .ends_with(&format!("from 127.0.0.1:{port}: ACK\n"));
    receiver.shows(&[&port.to_string(), "받음: 여러분"]);
}

fn listen_acknowledges() {
    let (_held, port) = shared_udp_port();
    let group = format!("{GROUP}:{port}");
    let listener = Program::onepoll(&["multicast", "listen", &group, "--interface", "127.0.0.1", "--ack"]);
    listener.remarks("listening");
    Program::python("multicast_sender", GROUP, port, &[]).ends_with("받음: ACK\n더 없음\n");
}
