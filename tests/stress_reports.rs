//! What `onepoll stress` leaves behind: its files, and what it says about a run.

#[path = "support/generator.rs"]
mod generator;
mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use generator::{command, free, json, server, stress, text};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;
use support::{Daemon, eventually};

/// A named pipe that nobody reads unless a test does.
fn pipe(name: &str) -> String {
    let path = free(name);
    mkfifo(path.as_str(), Mode::S_IRWXU).unwrap();
    path
}

/// Fills a pipe, so that whoever writes to it has to wait.
fn fill(pipe: &fs::File) {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL).unwrap());
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).unwrap();
    for size in [4096, 1] {
        while (&mut &*pipe).write(&vec![b' '; size]).is_ok() {}
    }
}

/// Waits until the command has printed a line that contains `part`.
fn wait_for(child: &mut Child, part: &str) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains(part)), "{part} was not printed");
    thread::spawn(move || lines.for_each(drop));
}

/// Sends signals, like somebody who presses Ctrl-C, until the command has ended.
fn interrupt(child: &mut Child) -> ExitStatus {
    eventually("it is ended by a signal", || {
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
        child.try_wait().unwrap().is_some()
    });
    child.wait().unwrap()
}

#[test]
fn a_summary_contains_everything_that_was_asked_for() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let [kept, churned, old] = ["kept.json", "churned.json", "old.json"].map(free);
    let request = ["request", &address, "--messages", "3", "--warmup", "0s"];
    let source = ["--source", "127.0.0.0/8", "--interval", "50ms"];
    for (arguments, file) in [
        (&["--send", "abcd", "--expect", "abcd"][..], &kept),
        (&["--send", "a\\x0a", "--expect-regex", "^a\n$", "--per-connection"], &churned),
    ] {
        let output = stress(&[&request[..], arguments, &source, &["--json", file]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
    let value = json(&churned);
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    let started = value["runs"][0]["started"].as_str().unwrap();
    assert!(started.parse::<jiff::Timestamp>().is_ok() && started.ends_with('Z'), "{started}");
    for (key, expected) in [
        ("send", Value::from("a\\n")),
        ("expect", Value::Null),
        ("expect_regex", "^a\n$".into()),
        ("per_connection", true.into()),
        ("source", "127.0.0.0/8".into()),
        ("interval_s", 0.05.into()),
        ("reset", Value::Null),
    ] {
        assert_eq!(value["settings"][key], expected, "{key}");
    }

    let compared = |a: &str, b: &str| {
        let output = stress(&["compare", a, b]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let table = compared(&kept, &churned);
    assert!(table.contains("have different settings: "), "{table}");
    assert!(table.contains("send") && table.contains("per-connection"), "{table}");

    // A file as earlier versions wrote it, without any of these keys.
    let mut value = json(&kept);
    value.as_object_mut().unwrap().remove("version");
    value["runs"][0].as_object_mut().unwrap().remove("started");
    let settings = value["settings"].as_object_mut().unwrap();
    for key in
        ["send", "expect", "expect_regex", "per_connection", "reset", "echo_to_sender", "settle_s", "source"]
    {
        assert!(settings.remove(key).is_some(), "{key}");
    }
    settings.remove("interval_s");
    fs::write(&old, value.to_string()).unwrap();
    let table = compared(&old, &kept);
    assert!(!table.contains("different settings"), "{table}");
}

#[test]
fn intervals_show_their_time_and_what_was_not_sent() {
    // It takes its time, so some of what falls due has no turn before the end.
    let address = server(|mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            thread::sleep(Duration::from_millis(60));
            let _ = stream.write_all(&message);
        }
    });
    let address = address.to_string();
    let [summary, lines] = ["unsent.json", "unsent.ndjson"].map(free);
    let load =
        ["--connections", "2", "--rate", "200", "--depth", "1", "--duration", "200ms", "--warmup", "0s"];
    let files = ["--interval", "50ms", "--timeout", "200ms", "--json", &summary, "--ndjson", &lines];
    let before = jiff::Timestamp::now();
    let output = stress(&[&["echo", &*address][..], &load, &files].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let unsent = json(&summary)["runs"][0]["unsent"].as_u64().unwrap();
    assert!(unsent >= 10, "{unsent} of about 40 were not sent");
    let lines = fs::read_to_string(&lines).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["unsent"].as_u64().unwrap()).sum::<u64>(), unsent);
    let times: Vec<jiff::Timestamp> =
        lines.iter().map(|line| line["time"].as_str().unwrap().parse().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > before && *times.last().unwrap() <= jiff::Timestamp::now());
}

#[test]
fn a_wrong_answer_is_shown_beside_what_was_expected() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let file = free("wrong.json");
    for (expectation, expected) in [
        (["--expect", "세븐\\n"], "  expected      세븐\\n\n"),
        (["--expect-regex", "^[a-z]$"], "anything that matches ^[a-z]$\n"),
    ] {
        let load = ["--connections", "1", "--messages", "2", "--warmup", "0s", "--timeout", "200ms"];
        let request = ["request", &*address, "--send", "일곱\\n\\xff", "--json", &file, "--force"];
        let output = stress(&[&request[..], &expectation, &load].concat());
        let table = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{table}");
        assert!(table.contains(" wrong answer") && !table.contains("corrupted"), "{table}");
        assert!(table.contains("  first wrong   일곱\\n\\xff\n"), "{table}");
        assert!(table.contains(expected), "{table}");
        assert_eq!(json(&file)["runs"][0]["wrong_answer"], "일곱\\n\\xff");
    }
}

#[test]
fn one_file_can_be_standard_output_which_holds_nothing_else() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let echo =
        ["echo", &*address, "--connections", "1", "--messages", "5", "--warmup", "0s", "--repeat", "2"];
    for (option, name) in
        [("--json", "-"), ("--json", "/dev/stdout"), ("--ndjson", "-"), ("--hdr", "-"), ("--report", "-")]
    {
        let output = stress(&[&echo[..], &[option, name]].concat());
        let (out, aside) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{option} {name}: {aside}");
        assert!(aside.contains("run 2 of 2") && aside.contains("errors        none"), "{option}: {aside}");
        match option {
            "--json" => assert_eq!(serde_json::from_str::<Value>(out).unwrap()["runs"][1]["answered"], 5),
            "--ndjson" => assert!(out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok())),
            "--hdr" => assert!(out.starts_with("#[Histogram log format") && !out.contains("errors"), "{out}"),
            _ => assert!(out.starts_with("<!DOCTYPE html>") && out.ends_with("</html>\n")),
        }
    }
    let output = stress(&[&echo[..], &["--json", "-", "--ndjson", "-"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("only one file"), "{}", text(&output.stderr));
    assert!(!std::path::Path::new("-").exists());
}

#[test]
fn a_short_run_has_its_charts() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let [page, summary] = ["short.html", "short.json"].map(free);
    let load = ["--connections", "1", "--duration", "200ms", "--warmup", "100ms"];
    let output = stress(&[&["echo", &*address, "--report", &page, "--json", &summary][..], &load].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read_to_string(&page).unwrap().matches("<svg").count(), 3);
    assert_eq!(json(&summary)["settings"]["interval_s"], 0.02);
}

#[test]
fn a_signal_ends_it_if_an_output_has_no_reader() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    for option in ["--json", "--report"] {
        let pipe = pipe("unread");
        let arguments = ["echo", &*address, "--connections", "1", "--messages", "5", "--warmup", "0s"];
        let mut child = command(&arguments).args([option, &*pipe]).stdout(Stdio::piped()).spawn().unwrap();
        wait_for(&mut child, "generator");
        assert_eq!(interrupt(&mut child).signal(), Some(Signal::SIGINT as i32), "{option}");
    }
}

#[test]
fn a_slow_reader_of_the_records_is_reported_and_slows_nothing_down() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let [lines, summary] = [pipe("slow"), free("slow.json")];
    let load = ["--connections", "1", "--rate", "200", "--messages", "100", "--warmup", "0s"];
    let files = ["--interval", "10ms", "--ndjson", &lines, "--json", &summary];
    let mut child = command(&["echo", &*address])
        .args(load)
        .args(files)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Nothing is read before the run is over, nor afterwards.
    let reader = fs::File::open(&lines).unwrap();
    let full = fs::OpenOptions::new().append(true).open(&lines).unwrap();
    fill(&full);
    eventually("the summary is written", || fs::metadata(&summary).is_ok());
    assert_eq!(json(&summary)["runs"][0]["answered"], 100, "all that fell due was sent and answered");
    assert!(interrupt(&mut child).signal().is_some());
    drop(reader);
}

#[test]
fn one_file_that_cannot_be_written_spoils_nothing_else() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let echo = ["echo", &*address, "--connections", "1", "--messages", "5", "--warmup", "0s"];
    let page = free("beside.html");
    let run = |more: &[&str]| {
        let output =
            stress(&[&echo[..], &["--json", "/dev/full", "--report", &page, "--force"], more].concat());
        assert!(fs::read_to_string(&page).unwrap().ends_with("</html>\n"));
        fs::remove_file(&page).unwrap();
        (output.status.code(), text(&output.stderr).to_owned())
    };
    let (status, error) = run(&[]);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("/dev/full cannot be written: No space left on device\n"), "{error}");
    let (status, error) = run(&["--fail-if", "answered>0"]);
    assert_eq!(status, Some(3), "{error}");
    assert!(error.contains("'answered>0' holds") && error.contains("/dev/full"), "{error}");
}

#[test]
fn files_that_cannot_be_written_are_refused_before_anything_is_measured() {
    // Nobody listens there, so a command that gets this far has status 1.
    let long = "n".repeat(300);
    let [link, lines] = ["dangling", "lines"].map(free);
    std::os::unix::fs::symlink("/no/such/file", &link).unwrap();
    let twice = lines.replace("/stress-", "/./stress-");
    for files in [
        &["--json", "/proc/self/summary.json"][..],
        &["--report", &link],
        &["--json", &long],
        &["--ndjson", &lines, "--json", &twice],
    ] {
        let output = stress(&[&["echo", "127.0.0.1:1"][..], files].concat());
        assert_eq!(output.status.code(), Some(2), "{files:?}: {}", text(&output.stderr));
        assert!(!fs::exists(&lines).unwrap(), "{files:?}");
    }
    fs::remove_file(&link).unwrap();
}

#[test]
fn a_descriptor_is_written_whatever_it_was_redirected_to() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    for (name, is_stdout) in [("/dev/stderr", false), ("/dev/fd/2", false), ("/dev/stdout", true)] {
        let [out, aside] = ["out", "aside"].map(free);
        let status = command(&["echo", &address, "--connections", "1", "--messages", "5", "--warmup", "0s"])
            .args(["--json", name])
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&aside).unwrap())
            .status()
            .unwrap();
        let [out, aside] = [out, aside].map(|file| fs::read_to_string(file).unwrap());
        assert_eq!(status.code(), Some(0), "{name}: {aside}");
        let (summary, table) = if is_stdout { (out, aside) } else { (aside, out) };
        assert!(serde_json::from_str::<Value>(&summary).is_ok(), "{name}: {summary}");
        assert!(table.contains("errors        none"), "{name}: {table}");
    }
}

#[test]
fn missing_runs_are_reported() {
    // It accepts the first run's connection and no other.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            let _ = stream.write_all(&message);
        }
    });
    let file = free("left-out.json");
    let load = ["--connections", "1", "--messages", "5", "--warmup", "0s", "--repeat", "4", "--json", &file];
    let output = stress(&[&["echo", &*address][..], &load].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("runs 2 to 4 are left out: ") && error.contains("nothing listens there"),
        "{error}"
    );
    assert_eq!(json(&file)["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn the_live_line_fits_its_terminal() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    for (kind, has_line) in [("xterm", true), ("dumb", false)] {
        let size = Winsize { ws_row: 24, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).unwrap();
        let output =
            command(&["echo", &address, "--connections", "2", "--duration", "700ms", "--warmup", "0s"])
                .env("TERM", kind)
                .stdout(Stdio::null())
                .stderr(terminal.slave.try_clone().unwrap())
                .status()
                .unwrap();
        assert!(output.success());
        let mut slave = fs::File::from(terminal.slave);
        slave.write_all(b"end").unwrap();
        let mut shown = Vec::new();
        let mut master = fs::File::from(terminal.master);
        while !shown.ends_with(b"end") {
            let mut some = [0; 4096];
            let count = master.read(&mut some).unwrap();
            shown.extend_from_slice(&some[..count]);
        }
        let lines: Vec<&str> = text(&shown).split('\r').filter(|line| line.contains('%')).collect();
        assert_eq!(!lines.is_empty(), has_line, "{kind}: {}", text(&shown));
        for line in lines {
            let line = line.strip_suffix("\x1b[K").unwrap();
            assert!(line.chars().count() < 50 && line.contains("errors 0"), "{line:?}");
        }
    }
}

#[test]
fn a_datagram_that_is_refused_is_counted_once() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        // It answers the first five and disappears.
        for _ in 0..5 {
            let mut datagram = [0; 64];
            let (_, from) = socket.recv_from(&mut datagram).unwrap();
            socket.send_to(&datagram, from).unwrap();
        }
    });
    let file = free("refused.json");
    let load = ["--connections", "1", "--messages", "10", "--warmup", "0s", "--timeout", "100ms"];
    let output = stress(&[&["echo", "--udp", &*address, "--json", &file][..], &load].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let run = &json(&file)["runs"][0];
    let missing = ["lost", "unsent"].map(|fault| run[fault].as_u64().unwrap());
    assert_eq!((&run["answered"], missing.iter().sum()), (&5.into(), 5), "{run}");
    assert_eq!(run["errors"], serde_json::json!({"refused (is the server running?)": 1}));
}

#[test]
fn a_page_says_what_was_run_and_what_is_wrong() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let address = daemon.tcp("echo").to_string();
    let [page, summary] = ["verdict.html", "verdict.json"].map(free);
    let load = ["echo", &*address, "--duration", "200ms", "--warmup", "0s", "--fail-if", "p99>0ms"];
    let output = stress(&[&load[..], &["--report", &page, "--json", &summary]].concat());
    assert_eq!(output.status.code(), Some(3));
    let page = fs::read_to_string(&page).unwrap();
    assert!(!page.contains("No errors."), "{page}");
    let host = json(&summary)["host"].as_str().unwrap().to_owned();
    let started = json(&summary)["runs"][0]["started"].as_str().unwrap().to_owned();
    for part in [
        "--fail-if 'p99&gt;0ms' holds: it is ",
        "stress echo 127.0.0.1",
        &host,
        &started,
        env!("CARGO_PKG_VERSION"),
        "Latency over time",
        "width=device-width",
    ] {
        assert!(page.contains(part), "{part} is missing:\n{page}");
    }
    assert!(!page.contains("<pre"), "nothing is wider than a small screen");
    let fine = free("fine.html");
    let output = stress(&[&load[..6], &["--fail-if", "lost>1%", "--report", &fine]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(fs::read_to_string(&fine).unwrap().contains("No errors."));
}

#[test]
fn errors_are_drawn_over_time() {
    let address = server(|mut stream| {
        let mut message = [0; 64];
        while stream.read_exact(&mut message).is_ok() {
            message[20] ^= 1;
            let _ = stream.write_all(&message);
        }
    });
    let page = free("errors.html");
    let address = address.to_string();
    let output = stress(&["echo", &address, "--duration", "300ms", "--warmup", "0s", "--report", &page]);
    assert_eq!(output.status.code(), Some(1));
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("Errors over time") && page.contains(" errors: see the table"), "{page}");
}

#[test]
fn a_comparison_refuses_what_is_worse() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    let good = daemon.tcp("echo").to_string();
    // It answers after 50 ms, and alters one message of each connection.
    let slow = server(|mut stream| {
        let mut message = [0; 64];
        for number in 0.. {
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            message[20] ^= u8::from(number == 1);
            let _ = stream.write_all(&message);
        }
    })
    .to_string();
    let [a, b] = ["refused-good.json", "refused-slow.json"].map(free);
    for (file, address) in [(&a, &good), (&b, &slow)] {
        let load = ["echo", address, "--connections", "2", "--duration", "400ms", "--warmup", "0s"];
        stress(&[&load[..], &["--repeat", "3", "--json", file]].concat());
    }
    let worse = stress(&["compare", &a, &b]);
    let (table, error) = (text(&worse.stdout), text(&worse.stderr));
    assert_eq!(worse.status.code(), Some(1), "{table}{error}");
    assert!(error.contains("service.p50 is worse") && error.contains("corrupted is 6, and was 0"), "{error}");
    for part in [&format!("A is {a}: echo over tcp to {good}"), &format!("B is {b}: "), ", on ", ", run 20"] {
        assert!(table.contains(part), "{part} is missing: {table}");
    }
    let better = stress(&["compare", &b, &a]);
    assert_eq!(better.status.code(), Some(0), "{}", text(&better.stderr));
    let condition = stress(&["compare", &b, &a, "--fail-if", "rate>1.5", "--fail-if", "service.p50>2"]);
    assert_eq!(condition.status.code(), Some(3));
    let error = text(&condition.stderr);
    assert!(error.contains("'rate>1.5' holds: B/A is ") && !error.contains("p50"), "{error}");
}
