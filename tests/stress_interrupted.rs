//! `onepoll stress` when Ctrl-C ends it early.

#[path = "support/generator.rs"]
mod generator;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use generator::{command, free, json, server, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Daemon, eventually};

/// The answers that an NDJSON file has reported so far.
fn answered(lines: &str) -> u64 {
    let text = fs::read_to_string(lines).unwrap_or_default();
    // The last line may still be incomplete.
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter_map(|record| record["answered"].as_u64()).sum()
}

#[test]
fn an_interrupted_run_still_reports_what_it_measured() {
    let daemon = Daemon::start(&["--only", "echo", "--port", "echo=0"]);
    for transport in ["tcp", "udp"] {
        let address = daemon.addresses("echo", transport)[0].to_string();
        let [summary, lines] = ["i.json", "i.ndjson"].map(free);
        let mut arguments =
            vec!["echo", &*address, "--connections", "2", "--duration", "1h", "--warmup", "0s"];
        arguments.extend(["--interval", "20ms", "--json", &summary, "--ndjson", &lines]);
        if transport == "udp" {
            arguments.push("--udp");
        }
        let child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
        eventually("something was answered", || answered(&lines) > 0);
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{transport}");
        assert!(text(&output.stdout).contains("ended early"), "{}", text(&output.stdout));
        let run = &json(&summary)["runs"][0];
        assert_eq!(run["interrupted"], true);
        assert!(run["answered"].as_u64().unwrap() > 0);
    }
}

#[test]
fn an_interrupted_run_hides_no_stall() {
    let address = server(|mut stream| {
        let mut message = [0; 64];
        let _ = stream.read_exact(&mut message).and_then(|()| stream.write_all(&message));
        // And it never answers again.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let [summary, lines] = ["stall.json", "stall.ndjson"].map(free);
    let address = address.to_string();
    let mut arguments = vec!["echo", &*address, "--connections", "2", "--duration", "1h", "--warmup", "0s"];
    arguments.extend(["--interval", "100ms", "--timeout", "1h", "--json", &summary, "--ndjson", &lines]);
    let child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    eventually("it stood still for an interval", || {
        let text = fs::read_to_string(&lines).unwrap_or_default();
        let last = text.lines().rfind(|line| line.contains("\"measure\""));
        answered(&lines) == 2 && last.is_some_and(|line| line.contains("\"answered\":0"))
    });
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(text(&output.stdout).contains("in flight: 2."), "{}", text(&output.stdout));
    let run = &json(&summary)["runs"][0];
    assert_eq!((&run["answered"], &run["under_way"]), (&Value::from(2), &Value::from(2)));
    assert_eq!(run["service"]["count"], 4, "the stall is among the latencies");
    assert!(run["service"]["max_ms"].as_f64().unwrap() >= 100.0, "{run}");
}

#[test]
fn an_interrupted_open_loop_counts_nothing_that_fell_due_later() {
    let address = server(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(&buffer[..length]);
        }
        // And it does not close its own end.
        thread::sleep(Duration::from_secs(1));
    });
    let address = address.to_string();
    let [summary, lines] = ["open.json", "open.ndjson"].map(free);
    let mut arguments = vec!["echo", &*address, "--connections", "2", "--rate", "20000", "--warmup", "0s"];
    arguments.extend(["--duration", "1h", "--json", &summary, "--interval", "20ms", "--ndjson", &lines]);
    let child = command(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    eventually("something was answered", || answered(&lines) > 0);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    child.wait_with_output().unwrap();
    let run = &json(&summary)["runs"][0];
    let [sent, answered, under_way, waiting] =
        ["sent", "answered", "under_way", "waiting"].map(|count| run[count].as_u64().unwrap());
    assert_eq!(under_way, sent - answered);
    assert!(under_way <= 2 * 64, "no more are in flight than --depth allows: {under_way}");
    // How many are due depends on when the signal is noticed, but on nothing else.
    let due = run["elapsed_s"].as_f64().unwrap() * 20_000.0 + 1.0;
    assert!((sent + waiting) as f64 <= due, "{sent} and {waiting} of {due}");
    assert_eq!(run["due"]["count"], sent + waiting, "whatever was due is timed");
}

#[test]
fn an_interrupted_run_without_an_answer_has_failed() {
    let address = server(|mut stream| drop(std::io::copy(&mut stream, &mut std::io::sink()))).to_string();
    for (scenario, status) in [("echo", 1), ("idle", 0)] {
        let lines = free("mute.ndjson");
        let load = ["--connections", "2", "--duration", "1h", "--timeout", "1h"];
        let files = ["--interval", "20ms", "--ndjson", &lines];
        let warmup: &[&str] = if scenario == "idle" { &[] } else { &["--warmup", "0s"] };
        let arguments = [&[scenario, &*address][..], &load, &files, warmup].concat();
        let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        eventually("an interval was measured", || {
            fs::read_to_string(&lines).is_ok_and(|lines| lines.contains("\"phase\":\"measure\""))
        });
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{scenario}: {error}");
        assert_eq!(error.contains("nothing was answered"), status == 1, "{scenario}: {error}");
    }
}
