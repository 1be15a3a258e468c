//! What `onepoll stress` leaves behind: its files, and what it says of a run.

#[path = "support/generator.rs"]
mod generator;
mod support;

use std::fs;

use generator::{free, json, stress, text};
use serde_json::Value;
use support::Daemon;

#[test]
fn a_summary_tells_everything_that_was_asked_for() {
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
    assert!(table.contains("not made with the same settings: "), "{table}");
    assert!(table.contains("send") && table.contains("per-connection"), "{table}");

    // A file as earlier versions wrote it: without any of this.
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
    assert!(!table.contains("same settings"), "{table}");
}
