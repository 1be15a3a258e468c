//! What `onepoll stress` says of a server, held against the server's own ledger.

#[path = "support/generator.rs"]
mod generator;
#[path = "support/ledger.rs"]
mod ledger;

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use generator::{free, json, stress, text};
use ledger::{Fault, Faults, accept};
use serde_json::Value;

/// The first run that these arguments lead to, and the exit status.
fn run_of(name: &str, arguments: &[&str]) -> (Value, Option<i32>) {
    let file = free(&format!("{name}.json"));
    let output = stress(&[arguments, &["--json", &file]].concat());
    assert!(std::path::Path::new(&file).exists(), "{name}: {}", text(&output.stderr));
    (json(&file)["runs"][0].clone(), output.status.code())
}

const ALL: &[Fault] =
    &[Fault::Loss, Fault::Duplicate, Fault::Swap, Fault::Flip, Fault::Truncation, Fault::Insertion];

/// Runs a server that makes some kinds of faults, and compares its ledger with the
/// summary.
fn agree(kinds: &'static [Fault], transport: &str, depth: u64, size: usize) {
    let name = format!("{:?}-{}-{transport}-{depth}-{size}", kinds[0], kinds.len());
    // With one message in flight, some faults cost a timeout each.
    let faults = Faults { kinds, distance: 64, count: if depth == 1 { 4 } else { 42 } };
    let (address, ledger) = match transport {
        "tcp" => ledger::echo(size, faults),
        "udp" => ledger::echo_udp(faults),
        _ => ledger::room(size, faults),
    };
    let (address, size, depth) = (address.to_string(), size.to_string(), depth.to_string());
    // A closed loop does not share its messages evenly between its connections.
    let (scenario, connections, listeners) =
        if transport == "chat" { ("chat", "3", 2) } else { ("echo", "1", 1) };
    // Until the last fault, and what follows it.
    let messages = (faults.distance * (faults.count + 2)).to_string();
    let mut arguments = vec![scenario, &*address, "--size", &*size, "--depth", &*depth];
    arguments.extend(["--connections", connections, "--messages", &*messages]);
    arguments.extend(["--warmup", "0s", "--timeout", "700ms"]);
    if transport == "udp" {
        arguments.push("--udp");
    }
    let (run, status) = run_of(&name, &arguments);
    let made = |kinds: &[Fault]| kinds.iter().map(|kind| ledger.count(*kind)).sum::<u64>();
    assert_eq!(made(ALL), listeners * faults.count, "{name}");
    for (fault, made) in [
        ("lost", made(&[Fault::Loss])),
        ("duplicated", made(&[Fault::Duplicate])),
        ("reordered", made(&[Fault::Swap])),
        ("corrupted", made(&[Fault::Flip, Fault::Truncation, Fault::Insertion])),
        ("timeouts", 0),
        ("closed", 0),
        ("unsent", 0),
    ] {
        assert_eq!(run[fault], made, "{name}: {fault}\n{run}");
    }
    assert_eq!(status, Some(1), "{name}");
    // A byte between two messages is a fault, and takes the place of none.
    if transport != "chat" && !kinds.contains(&Fault::Insertion) {
        let counts = &run["phases"]["measure"];
        let of = |key: &str| counts[key].as_u64().unwrap();
        assert_eq!(of("sent"), of("answered") + of("lost") + of("corrupted"), "{name}: {counts}");
    }
}

/// All kinds of faults, sizes and depths, over one transport.
fn agree_on_all(transport: &str) {
    let kinds = (0..ALL.len()).map(|place| &ALL[place..=place]).chain([ALL]);
    thread::scope(|scope| {
        for kinds in kinds {
            scope.spawn(move || {
                // A server that holds a message back until the next one comes has to
                // be sent two.
                let depths: &[u64] = if kinds.contains(&Fault::Swap) { &[16] } else { &[1, 16] };
                for depth in depths {
                    agree(kinds, transport, *depth, 32);
                    agree(kinds, transport, *depth, 100);
                }
            });
        }
    });
}

#[test]
fn the_ledger_and_the_summary_agree_over_tcp() {
    agree_on_all("tcp");
}

#[test]
fn the_ledger_and_the_summary_agree_over_udp() {
    agree_on_all("udp");
}

#[test]
fn the_ledger_and_the_summary_agree_in_a_chat() {
    agree_on_all("chat");
}

#[test]
fn every_byte_of_a_message_can_be_flipped_and_counts_once() {
    // More faults than bytes, so that each place has its turn.
    for transport in ["tcp", "udp", "chat"] {
        agree(&[Fault::Flip], transport, 16, 32);
    }
}

/// Echoes everything of a connection that it reads.
fn echo(mut stream: impl Read + Write) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn a_close_is_one_fault_and_what_it_left_unanswered_is_no_other() {
    // Each connection answers 100 messages, and closes on those behind them.
    let closed = Arc::new(AtomicU64::new(0));
    let count = closed.clone();
    let address = accept(move |mut stream, number| {
        if number >= 5 {
            return echo(stream);
        }
        let mut message = [0; 64];
        for _ in 0..100 {
            if stream.read_exact(&mut message).and_then(|()| stream.write_all(&message)).is_err() {
                return;
            }
        }
        // One more has come; whatever is behind it is discarded, so that the close is
        // one in order.
        let _ = stream.read_exact(&mut message);
        count.fetch_add(1, Ordering::SeqCst);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let address = address.to_string();
    let load = ["echo", &*address, "--connections", "1", "--messages", "2000", "--depth", "16"];
    let (run, status) = run_of("closes", &[&load[..], &["--warmup", "0s"]].concat());
    assert_eq!((&run["closed"], closed.load(Ordering::SeqCst)), (&5.into(), 5), "{run}");
    for fault in ["lost", "duplicated", "reordered", "corrupted", "timeouts", "unsent", "not_connected"] {
        assert_eq!(run[fault], 0, "{fault}: {run}");
    }
    let of = |key: &str| run["phases"]["measure"][key].as_u64().unwrap();
    assert_eq!(of("sent"), of("answered") + of("unanswered"), "{run}");
    assert!(of("unanswered") >= 5 && status == Some(1), "{run}");
}

#[test]
fn no_answer_after_the_timeout_is_right() {
    // Over TCP each answer takes 60 ms.
    let address = accept(|mut stream, _| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            thread::sleep(Duration::from_millis(60));
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    });
    let address = address.to_string();
    let load = ["echo", &*address, "--connections", "8", "--duration", "1s", "--warmup", "0s"];
    let (run, status) = run_of("late-tcp", &[&load[..], &["--timeout", "20ms"]].concat());
    let of = |key: &str| run["phases"]["measure"][key].as_u64().unwrap();
    assert_eq!((of("answered"), of("timeouts")), (0, of("sent")), "{run}");
    assert!(of("sent") >= 16 && status == Some(1), "{run}");

    // Over UDP, 350 ms.
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let (socket, datagram) = (socket.clone(), datagram[..length].to_vec());
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(350));
                socket.send_to(&datagram, from)
            });
        }
    });
    let load = ["echo", "--udp", &*address, "--connections", "4", "--duration", "2s", "--warmup", "0s"];
    let (run, status) = run_of("late-udp", &[&load[..], &["--timeout", "300ms"]].concat());
    let of = |key: &str| run["phases"]["measure"][key].as_u64().unwrap();
    assert_eq!((of("answered"), of("lost")), (0, of("sent")), "{run}");
    assert!(of("late_answers") > 0 && status == Some(1), "{run}");
}

#[test]
fn a_server_that_closes_between_two_answers_is_not_accused() {
    // As nginx does, each connection serves a hundred requests and closes, while the
    // next request may be on its way already.
    let served = Arc::new(AtomicU64::new(0));
    let counter = served.clone();
    let address = accept(move |mut stream, _| {
        let mut request = [0; 4];
        for _ in 0..100 {
            if stream.read_exact(&mut request).is_err() || stream.write_all(b"pong\n").is_err() {
                return;
            }
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    let address = address.to_string();
    let load = ["request", &*address, "--send", "ping", "--expect", "pong\\n", "--connections", "4"];
    let (run, status) = run_of("nginx", &[&load[..], &["--messages", "4000", "--warmup", "0s"]].concat());
    assert_eq!((&run["answered"], status), (&4000.into(), Some(0)), "{run}");
    assert_eq!(served.load(Ordering::SeqCst), 4000, "none was served twice");
    assert_eq!(run["errors"], serde_json::json!({}));
    let of = |key: &str| run[key].as_u64().unwrap();
    assert!((36..=40).contains(&of("reconnected")), "{run}");
    assert!(of("retried") <= of("reconnected"), "{run}");
    assert!(run["service"]["max_ms"].as_f64().unwrap() < 4000.0, "nobody waited for the timeout: {run}");
}

#[test]
fn a_request_that_is_closed_on_twice_is_a_fault() {
    // The first connection answers once; every other one closes on its first request.
    let address = accept(|mut stream, number| {
        let mut request = [0; 4];
        let _ = stream.read_exact(&mut request);
        if number == 0 {
            let _ = stream.write_all(b"pong");
            let _ = stream.read_exact(&mut request);
        }
    });
    let address = address.to_string();
    let load = ["request", &*address, "--send", "ping", "--expect", "pong", "--connections", "1"];
    let (run, status) = run_of("twice", &[&load[..], &["--duration", "300ms", "--warmup", "0s"]].concat());
    assert_eq!([&run["answered"], &run["retried"], &run["closed"]], [1, 1, 1], "{run}");
    assert_eq!((&run["unanswered"], status), (&1.into(), Some(1)), "{run}");
}

#[test]
fn a_wrong_answer_swallows_no_right_one_behind_it() {
    let address = accept(|mut stream, _| {
        let mut request = [0; 4];
        for number in 1.. {
            if stream.read_exact(&mut request).is_err() {
                return;
            }
            let answer: &[u8] = if number % 64 == 0 { b"oops!\n" } else { b"pong\n" };
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    });
    let address = address.to_string();
    for framing in [&["--expect", "pong\\n"][..], &["--expect-regex", "^pong\n$", "--until", "\\n"]] {
        let load = ["request", &*address, "--send", "ping", "--connections", "1", "--depth", "16"];
        let rest = ["--messages", "1000", "--warmup", "0s"];
        let (run, _) = run_of("swallow", &[&load[..], framing, &rest].concat());
        assert_eq!([&run["answered"], &run["corrupted"]], [985, 15], "{framing:?}: {run}");
        assert!(run["service"]["max_ms"].as_f64().unwrap() >= 5000.0, "a wrong one is timed so: {run}");
        assert!(run["elapsed_s"].as_f64().unwrap() < 4.0, "and none is waited for: {run}");
    }
}

#[test]
fn an_answer_ends_where_its_framing_says() {
    // 133 KB, which many reads bring; only the last byte is a line end.
    let address = accept(|mut stream, _| {
        let mut answer = vec![b'.'; 133_000];
        let length = answer.len() as u32;
        answer[..4].copy_from_slice(&(length - 4).to_be_bytes());
        *answer.last_mut().unwrap() = b'\n';
        let mut request = [0; 4];
        while stream.read_exact(&mut request).is_ok() && stream.write_all(&answer).is_ok() {}
    });
    let address = address.to_string();
    for framing in [["--until", "\\n"], ["--answer-length", "133000"], ["--length-prefix", "u32"]] {
        let load = ["request", &*address, "--send", "page", "--depth", "4", "--messages", "200"];
        let rest = ["--connections", "2", "--warmup", "0s", "--expect-regex", "\\.\n$"];
        let (run, status) = run_of("framed", &[&load[..], &rest, &framing].concat());
        assert_eq!((&run["answered"], status), (&200.into(), Some(0)), "{framing:?}: {run}");
    }
}

#[test]
fn counts_of_each_phase_add_up() {
    // Every tenth message is lost, in the warm-up too.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let received = Arc::new(AtomicU64::new(0));
    let counter = received.clone();
    thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            if counter.fetch_add(1, Ordering::SeqCst) % 10 != 9 {
                let _ = socket.send_to(&datagram[..length], from);
            }
        }
    });
    let load = ["echo", "--udp", &*address, "--connections", "1", "--rate", "1000", "--timeout", "500ms"];
    let (run, _) = run_of("phases", &[&load[..], &["--warmup", "400ms", "--duration", "600ms"]].concat());
    let mut sent = 0;
    for phase in ["warmup", "measure"] {
        let of = |key: &str| run["phases"][phase][key].as_u64().unwrap();
        assert_eq!(of("sent"), of("answered") + of("lost"), "{phase}: {run}");
        assert!(of("lost").abs_diff(of("sent") / 10) <= 1, "{phase}: {run}");
        sent += of("sent");
    }
    assert_eq!(sent, received.load(Ordering::SeqCst));
    assert_eq!(run["lost"], run["phases"]["measure"]["lost"]);
}

#[test]
fn a_run_stays_until_the_server_is_back_and_reports_the_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        // It serves for 0.8 s, is gone for 1.5 s, and serves again.
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let began = Instant::now();
        let mut bytes = [0; 4096];
        while began.elapsed() < Duration::from_millis(800) {
            if let Ok(count @ 1..) = (&stream).read(&mut bytes) {
                let _ = (&stream).write_all(&bytes[..count]);
            }
        }
        drop(stream);
        thread::sleep(Duration::from_millis(1500));
        let listener = TcpListener::bind(address).unwrap();
        listener.incoming().for_each(|stream| echo(stream.unwrap()));
    });
    let address = address.to_string();
    let load = ["echo", &*address, "--connections", "1", "--rate", "200", "--timeout", "300ms"];
    let (run, status) = run_of("outage", &[&load[..], &["--duration", "5s", "--warmup", "0s"]].concat());
    assert_eq!(status, Some(1));
    assert!(run["elapsed_s"].as_f64().unwrap() >= 5.0, "{run}");
    let outages = run["outages"].as_array().unwrap();
    assert_eq!(outages.len(), 1, "{run}");
    let of = |key: &str| outages[0][key].as_f64().unwrap();
    let length = of("to_s") - of("from_s");
    assert!(of("from_s") >= 0.7 && length >= 1.4, "{run}");
    assert!((of("due") - 200.0 * length).abs() <= 20.0, "{run}");
    assert!((run["unsent"].as_f64().unwrap() - of("due")).abs() <= 20.0, "{run}");
    assert!(run["rate"].as_f64().unwrap() > 80.0, "it was used again: {run}");
}

#[test]
fn a_ramp_is_even_and_failed_connects_are_timed() {
    // When each connection was accepted; 300 are to be made in 600 ms.
    let accepted = Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = accepted.clone();
    let address = accept(move |stream, _| {
        times.lock().unwrap().push(Instant::now());
        echo(stream);
    });
    let address = address.to_string();
    let load = ["idle", &*address, "--connections", "300", "--ramp", "600ms", "--duration", "100ms"];
    assert_eq!(run_of("ramp", &load).1, Some(0));
    let mut times = accepted.lock().unwrap().clone();
    times.sort();
    let mut gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort();
    assert!(gaps[gaps.len() / 2] > Duration::from_micros(500), "they came in bursts: {gaps:?}");

    // Nobody listens any more after the first connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        drop(listener);
        echo(stream);
    });
    let load = ["echo", &*address, "--connections", "20", "--ramp", "400ms", "--duration", "100ms"];
    let (run, status) = run_of("failed", &[&load[..], &["--warmup", "0s"]].concat());
    let failed = run["phases"]["warmup"]["not_connected"].as_u64().unwrap();
    assert!(failed >= 10 && status == Some(1), "{run}");
    assert_eq!(run["connect"]["count"], run["connections_asked"], "{run}");
}
