//! `onepoll stress` as its users run it: against the daemon, and against small
//! servers that lie. No test depends on speed.

#[path = "support/generator.rs"]
mod generator;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use generator::{command, free, json, server, stress, text};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use support::Daemon;

#[test]
fn every_scenario_runs_clean_against_the_daemon() {
    let daemon = Daemon::start(&[
        "--only",
        "echo,upper,number,json,hello,chat",
        "--port",
        "echo=0",
        "--port",
        "upper=0",
        "--port",
        "number=0",
        "--port",
        "json=0",
        "--port",
        "hello=0",
        "--port",
        "chat=0",
    ]);
    let tcp = |name: &str| daemon.tcp(name).to_string();
    let (echo, upper, number, chat) = (tcp("echo"), tcp("upper"), tcp("number"), tcp("chat"));
    let (values, greets, udp) =
        (tcp("json"), daemon.udp("hello").to_string(), daemon.udp("echo").to_string());
    let upper_udp = daemon.udp("upper").to_string();
    for (scenario, arguments) in [
        ("echo", &[&*echo, "--messages", "200"][..]),
        ("echo", &[&*echo, "--messages", "200", "--size", "1", "--depth", "8"]),
        ("echo", &[&*echo, "--messages", "60", "--size", "300 KiB", "--depth", "2", "--connections", "3"]),
        ("echo", &[&*echo, "--messages", "100", "--rate", "2000", "--ramp", "50ms"]),
        ("echo", &[&*echo, "--messages", "50", "--source", "127.0.0.0/8"]),
        ("echo", &["--udp", &*udp, "--messages", "200", "--depth", "4", "--size", "1 KiB"]),
        ("echo", &["--udp", &*udp, "--messages", "50", "--source", "127.0.0.0/8", "--connections", "4"]),
        (
            "request",
            &[&*upper, "--per-connection", "--messages", "50", "--send", "straße", "--expect", "STRASSE"],
        ),
        ("request", &["--udp", &*upper_udp, "--messages", "50", "--send", "straße", "--expect", "STRASSE"]),
        ("request", &[&*number, "--messages", "50", "--send", "7", "--expect", "seven"]),
        ("request", &[&*number, "--messages", "50", "--send", "7", "--rate", "1000"]),
        (
            "request",
            &[&*values, "--messages", "50", "--send", "{\"a\":1}", "--expect-regex", "^\\{\"a\": 1\\}$"],
        ),
        (
            "request",
            &["--udp", &*greets, "--messages", "50", "--send", "안녕", "--expect", "Hello UDP Client"],
        ),
        ("chat", &[&*chat, "--connections", "8", "--senders", "3", "--depth", "4", "--messages", "50"]),
        ("connect", &[&*echo, "--messages", "50", "--source", "127.0.0.0/8"]),
        ("connect", &[&*echo, "--messages", "50", "--reset", "--rate", "1000"]),
        ("idle", &[&*echo, "--duration", "200ms"]),
    ] {
        let file = free("scenario.json");
        let mut all = vec![scenario];
        all.extend(arguments);
        all.extend(["--json", &file]);
        if scenario != "idle" {
            all.extend(["--warmup", "20ms"]);
        }
        let output = stress(&all);
        let (table, error) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{all:?}\n{table}{error}");
        assert!(table.contains("errors        none"), "{all:?}\n{table}");
        let run = &json(&file)["runs"][0];
        if scenario == "idle" {
            assert_eq!(run["connections_opened"], 64);
        } else {
            let messages = arguments[arguments.iter().position(|word| *word == "--messages").unwrap() + 1];
            let each: u64 = if scenario == "chat" { 7 } else { 1 };
            assert_eq!(run["answered"], messages.parse::<u64>().unwrap() * each, "{all:?}");
            assert_eq!(run["service"]["count"], run["answered"], "{all:?}");
        }
    }
}

#[test]
fn a_server_that_lies_is_exposed_with_status_1() {
    // Echoes messages of 64 bytes; every tenth is lost, sent twice, put after the
    // next one, or altered.
    type Lie = fn(&mut Vec<Vec<u8>>);
    let lies: [(&str, Lie); 4] = [
        ("lost", |messages| {
            messages.remove(4);
        }),
        ("duplicated", |messages| messages.insert(4, messages[4].clone())),
        ("reordered", |messages| messages.swap(4, 5)),
        ("corrupted", |messages| messages[4][33] ^= 4),
    ];
    for (name, lie) in lies {
        let address = server(move |mut stream| {
            let mut bytes = vec![0; 640];
            while stream.read_exact(&mut bytes).is_ok() {
                let mut messages: Vec<Vec<u8>> = bytes.chunks(64).map(<[u8]>::to_vec).collect();
                lie(&mut messages);
                let _ = stream.write_all(&messages.concat());
            }
        });
        let file = free(&format!("{name}.json"));
        let address = address.to_string();
        let output = stress(&[
            "echo",
            &address,
            "--connections",
            "2",
            "--depth",
            "10",
            "--messages",
            "20",
            "--warmup",
            "0s",
            "--timeout",
            "300ms",
            "--json",
            &file,
        ]);
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("errors"), "{}", text(&output.stderr));
        let run = &json(&file)["runs"][0];
        for fault in ["lost", "duplicated", "reordered", "corrupted", "timeouts"] {
            let expected = if fault == name { 2 } else { 0 };
            assert_eq!(run[fault], expected, "{fault} of a server with messages {name}");
        }
    }
}

#[test]
fn a_server_that_comes_back_is_connected_to_again() {
    // The second to the tenth connection are closed without a word.
    let accepted = Arc::new(AtomicUsize::new(0));
    let address = server(move |mut stream| {
        if (1..10).contains(&accepted.fetch_add(1, Ordering::SeqCst)) {
            return;
        }
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            let _ = stream.write_all(&bytes);
        }
    });
    let file = free("back.json");
    let address = address.to_string();
    let output = stress(&[
        "connect",
        &address,
        "--connections",
        "1",
        "--messages",
        "30",
        "--warmup",
        "0s",
        "--json",
        &file,
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let run = &json(&file)["runs"][0];
    assert_eq!([&run["answered"], &run["closed"], &run["unanswered"], &run["lost"]], [21, 9, 9, 0]);
    assert_eq!(run["connections_opened"], 31);
}

#[test]
fn a_chat_that_echoes_to_the_sender_is_accepted_if_announced() {
    let config = "[services.chat]\ntcp = 0\necho_to_sender = true\n";
    let daemon = Daemon::with_config("stress-echo-chat", config);
    let address = daemon.tcp("chat").to_string();
    let chat =
        ["chat", &address, "--connections", "5", "--senders", "2", "--messages", "20", "--warmup", "0s"];
    let file = free("echoing.json");
    let output = stress(&[&chat[..], &["--echo-to-sender", "--json", &file]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert_eq!(json(&file)["runs"][0]["answered"], 100);
    let output = stress(&[&chat[..], &["--json", &file, "--force"]].concat());
    assert_eq!(output.status.code(), Some(1));
    // The last of them may not have come by the end.
    let often = json(&file)["runs"][0]["duplicated"].as_u64().unwrap();
    assert!((1..=20).contains(&often), "{often} lines came to their own sender");
}

#[test]
fn a_datagram_without_an_answer_is_lost() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        let mut number = 0;
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            number += 1;
            if number % 5 != 0 {
                let _ = socket.send_to(&datagram[..length], from);
            }
        }
    });
    let file = free("udp.json");
    let output = stress(&[
        "echo",
        "--udp",
        &address,
        "--connections",
        "1",
        "--messages",
        "20",
        "--warmup",
        "0s",
        "--timeout",
        "100ms",
        "--json",
        &file,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let run = &json(&file)["runs"][0];
    assert_eq!((&run["lost"], &run["answered"]), (&4.into(), &16.into()));
}

#[test]
fn a_condition_that_holds_ends_with_status_3() {
    let address = server(|mut stream| {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..count]);
        }
    });
    let address = address.to_string();
    let with = |conditions: &[&str]| {
        let mut all = vec!["echo", &*address, "--connections", "2", "--messages", "50", "--warmup", "0s"];
        conditions.iter().for_each(|condition| all.extend(["--fail-if", *condition]));
        stress(&all)
    };
    assert_eq!(with(&["errors>0", "p99>1h", "rate<0.001"]).status.code(), Some(0));
    let output = with(&["errors>0", "p99>0ms"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("--fail-if 'p99>0ms' holds: it is "), "{}", text(&output.stderr));
    let output = with(&["answered<=50", "errors>0", "p99>0ms"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        error.contains("'answered<=50' holds") && error.contains("'p99>0ms' holds"),
        "each is told: {error}"
    );
    assert_eq!(with(&["speed>3"]).status.code(), Some(2));
}

#[test]
fn every_report_is_written_and_says_the_same() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let [summary, lines, log, page] = ["r.json", "r.ndjson", "r.hdr", "r.html"].map(free);
    let arguments = [
        "echo",
        &address,
        "--connections",
        "4",
        "--duration",
        "300ms",
        "--warmup",
        "50ms",
        "--interval",
        "50ms",
        "--rate",
        "500",
        "--repeat",
        "2",
        "--json",
        &summary,
        "--ndjson",
        &lines,
        "--hdr",
        &log,
        "--report",
        &page,
    ];
    let output = stress(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in ["run 2 of 2", "p99.9", "due-time minus service time", "generator", "spread"] {
        assert!(table.contains(part), "{part} is missing:\n{table}");
    }

    let value = json(&summary);
    assert_eq!(value["format"], "onepoll-stress-2");
    assert_eq!(value["settings"]["rate"], 500.0);
    let runs = value["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    let timed: u64 = runs.iter().map(|run| run["due"]["count"].as_u64().unwrap()).sum();
    assert!(timed > 0);

    let lines = fs::read_to_string(&lines).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() >= 8, "{} intervals", lines.len());
    assert!(lines.iter().any(|line| line["phase"] == "measure" && line["p99_ms"].is_f64()));
    assert_eq!(lines.last().unwrap()["run"], 2);
    let measured = |number: u64, key: &str| -> u64 {
        let of_run = lines.iter().filter(|line| line["run"] == number && line["phase"] == "measure");
        of_run.map(|line| line[key].as_u64().unwrap()).sum()
    };
    for (number, run) in (1..).zip(runs) {
        for key in ["sent", "answered", "bytes_sent", "bytes_received"] {
            assert_eq!(measured(number, key), run[key], "{key} of run {number}");
        }
    }

    let log = fs::read(&log).unwrap();
    let mut in_log = 0;
    for entry in IntervalLogIterator::new(&log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = base64_of(interval.encoded_histogram());
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            in_log += histogram.len();
            let millis = histogram.max() as f64 / 1e6;
            assert!((interval.max() - millis).abs() < 0.001, "{} is not {millis} ms", interval.max());
        }
    }
    assert_eq!(in_log, timed, "the log has all that the summary has");
    assert_eq!(text(&log).matches("MaxValueDivisor").count(), 1, "{}", text(&log));

    let page = fs::read_to_string(&page).unwrap();
    assert_eq!(page.matches("<svg").count(), 3);
    assert_eq!(page.matches("</svg>").count(), 3);
    assert!(page.ends_with("</body></html>\n"));
    let outside = page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(outside, 0, "the page needs nothing from elsewhere");
    assert!(!page.contains("src=") && !page.contains("@import"));
}

/// What base64 (RFC 4648) stands for.
fn base64_of(text: &str) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        bits = bits << 6 | digits.iter().position(|known| *known == digit).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn no_file_is_overwritten_unless_asked_to() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let file = free("precious.json");
    fs::write(&file, "소중한 것").unwrap();
    for option in ["--json", "--ndjson", "--hdr", "--report"] {
        let output = stress(&["echo", &address, "--messages", "1", option, &file]);
        assert_eq!(output.status.code(), Some(2), "{option}");
        assert!(text(&output.stderr).contains("--force"), "{}", text(&output.stderr));
        assert_eq!(fs::read_to_string(&file).unwrap(), "소중한 것", "{option}");
    }
    let output = stress(&["echo", &address, "--messages", "1", "--warmup", "0s", "--json", &file, "--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(json(&file)["settings"]["messages"], 1);
}

#[test]
fn two_summaries_are_compared() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let files = ["one.json", "two.json"].map(free);
    for (file, size) in files.iter().zip(["64", "64"]) {
        let output = stress(&[
            "echo",
            &address,
            "--messages",
            "100",
            "--warmup",
            "0s",
            "--size",
            size,
            "--repeat",
            "3",
            "--json",
            file,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let output = stress(&["compare", &files[0], &files[1]]);
    let table = text(&output.stdout);
    // Which of them was slower depends on what else the machine did.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", text(&output.stderr));
    assert!(table.contains("B/A") && table.contains("spread"), "{table}");
    assert!(!table.contains("different settings"), "{table}");
    let output = stress(&["compare", &files[0], &files[0]]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in table.lines().filter(|line| line.starts_with("rate") || line.starts_with("service p99 ")) {
        assert!(line.contains("the spread"), "{line}");
    }
    let strange = free("strange.json");
    fs::write(&strange, "{}").unwrap();
    let output = stress(&["compare", &files[0], &strange]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is not a summary"), "{}", text(&output.stderr));
}

#[test]
fn a_server_that_is_not_there_is_reported_in_a_sentence() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let lines = free("nobody.ndjson");
    for arguments in
        [&["echo", &*nobody][..], &["echo", "--udp", &*nobody], &["chat", &*nobody], &["idle", &*nobody]]
    {
        let output = command(arguments).args(["--ndjson", &lines]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains("nothing listens there"), "{arguments:?}: {error}");
        assert!(!Path::new(&lines).exists(), "no file is in the way of the next try");
    }
}

#[test]
fn a_source_that_is_not_this_machines_is_not_blamed_on_the_server() {
    let address = server(drop).to_string();
    // An address from RFC 5737, which no machine has.
    for (transport, source) in [("tcp", "192.0.2.7"), ("udp", "192.0.2.7"), ("tcp", "192.0.2.6/31")] {
        let mut arguments = vec!["echo", &*address, "--source", source];
        arguments.extend((transport == "udp").then_some("--udp"));
        let output = stress(&arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.contains("192.0.2.") && error.contains("--source") && error.contains("ip address"),
            "{error}"
        );
        assert!(!error.contains("check the address"), "{error}");
    }
}

#[test]
fn wrong_usage_is_explained_with_status_2() {
    for (arguments, fragment) in [
        (&["echo", "127.0.0.1"][..], "port is missing"),
        (&["echo", "127.0.0.1:1", "--size", "0"], "--size"),
        (&["echo", "127.0.0.1:1", "--udp", "--size", "70000"], "65507"),
        (&["echo", "127.0.0.1:1", "--size", "1", "--depth", "200"], "told apart"),
        (&["echo", "127.0.0.1:1", "--rate", "0"], "messages per second"),
        (&["echo", "127.0.0.1:1", "--connections", "0"], "at least 1"),
        (&["idle", "127.0.0.1:1", "--connections", "2000000000"], "descriptors"),
        (&["echo", "127.0.0.1:1", "--messages", "5", "--duration", "1s"], "--duration"),
        (&["echo", "127.0.0.1:1", "--source", "nowhere"], "127.0.0.0/8"),
        (&["echo", "[::1]:1", "--source", "127.0.0.0/8"], "one is IPv4, the other IPv6"),
        (&["idle", "127.0.0.1:1", "--warmup", "1s"], "--warmup"),
        (&["echo", "127.0.0.1:1", "--interval", "9ms"], "it must be at least 10ms"),
        (&["echo", "127.0.0.1:1", "--duration", "9999h"], "longer than a year, which is the longest"),
        (&["request", "127.0.0.1:1"], "--send"),
        (&["request", "127.0.0.1:1", "--send", "\\q"], "backslash"),
        (&["request", "127.0.0.1:1", "--send", "a", "--depth", "2"], "--expect"),
        (&["request", "127.0.0.1:1", "--send", "a", "--expect-regex", "("], "--expect-regex"),
        (&["chat", "127.0.0.1:1", "--connections", "1"], "two members"),
        (&["chat", "127.0.0.1:1", "--connections", "2", "--senders", "3"], "3 senders"),
        (&["chat", "127.0.0.1:1", "--size", "5"], "--size"),
        (&["echo", "127.0.0.1:1", "--size", "16MiB", "--depth", "64", "--connections", "5"], "5.0 GiB"),
        (&["echo", "127.0.0.1:1", "--size", "16MiB", "--rate", "1", "--connections", "5"], "smaller --depth"),
        (&["chat", "127.0.0.1:1", "--size", "32KiB", "--depth", "9999", "--senders", "16"], "fewer senders"),
        (&["compare", "/no/such/file", "/no/such/file"], "/no/such/file"),
        (&["echo", "127.0.0.1:1", "--json", "/no/such/folder/file"], "folder"),
    ] {
        let output = stress(arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(fragment), "{arguments:?}: {error}");
    }
}

#[test]
fn conversations_that_are_still_closing_leave_descriptors_for_the_next() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let load = format!("stress connect {} --connections 200 --duration 300ms", daemon.tcp("echo"));
    // With a limit like that of most shells, which can be raised.
    let line = format!("ulimit -Sn 240; exec {} {load} --warmup 0s", env!("CARGO_BIN_EXE_onepoll"));
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn connections_that_the_server_closed_do_not_count_as_held() {
    let is_first = Arc::new(AtomicBool::new(true));
    let address = server(move |mut stream| {
        if !is_first.swap(false, Ordering::Relaxed) {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    let file = free("held.json");
    let address = address.to_string();
    let output = stress(&["idle", &address, "--connections", "3", "--duration", "300ms", "--json", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("2 of 3 connections"), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("3 opened, 2 still open at the end"), "{}", text(&output.stdout));
    let run = &json(&file)["runs"][0];
    assert_eq!((&run["connections_opened"], &run["connections_held"]), (&Value::from(3), &Value::from(2)));
}

#[test]
fn source_addresses_take_turns() {
    let (seen, addresses) = mpsc::channel();
    let address = server(move |stream| {
        seen.send(stream.peer_addr().unwrap().ip().to_string()).unwrap();
        let _ = (&stream).read(&mut [0; 1]);
    });
    let address = address.to_string();
    let output =
        stress(&["idle", &address, "--connections", "3", "--duration", "100ms", "--source", "127.9.0.0/16"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut addresses: Vec<String> = addresses.try_iter().collect();
    addresses.sort();
    assert_eq!(addresses, ["127.9.0.1", "127.9.0.2", "127.9.0.3"]);
}
