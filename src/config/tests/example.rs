//! The example, and its keys.

use super::*;
use std::collections::BTreeSet;

/// A key of the example and the table that it stands in.
type PlacedKey = (String, String);

/// The keys that the example gives a value, and those it shows in a comment.
fn keys_of_the_example() -> (Vec<PlacedKey>, Vec<PlacedKey>) {
    let (mut given, mut shown, mut table) = (Vec::new(), Vec::new(), String::new());
    for line in example(CATALOG).lines() {
        let name = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
        let is_key = |key: &String| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_end_matches(']').into();
        } else if let Some(comment) = line.strip_prefix("# ") {
            shown.extend(name(comment).filter(is_key).map(|key| (table.clone(), key)));
        } else {
            given.extend(name(line).map(|key| (table.clone(), key)));
        }
    }
    (given, shown)
}

#[test]
fn the_example_is_the_default_configuration() {
    let read = parse(&example(CATALOG)).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(format!("{read:#?}"), format!("{:#?}", built_in(Overrides::default()).unwrap()));
}

#[test]
fn the_example_has_every_key() {
    let (given, shown) = keys_of_the_example();
    let all: BTreeSet<_> = given.iter().chain(&shown).cloned().collect();
    let mut expected = BTreeSet::from(["bind", "memory"].map(|key| (String::new(), key.to_owned())));
    expected.extend(setting::names(&LIMITS).map(|key| ("limits".into(), key.into())));
    expected.extend(setting::names(&SOCKET_OPTIONS).map(|key| ("socket".into(), key.into())));
    for kind in CATALOG {
        let table = format!("services.{}", kind.name);
        expected.extend(kind.keys.iter().map(|key| (table.clone(), key.name.into())));
        expected.extend(kind.tcp.map(|_| (table.clone(), "tcp".into())));
        expected.extend(kind.udp.map(|_| (table.clone(), "udp".into())));
    }
    assert_eq!(all, expected);
    // Those of every service are told in front of the first one.
    let example = example(CATALOG);
    let (head, _) = example.split_once("[services.echo]").unwrap();
    for key in SERVICE_KEYS {
        assert!(head.contains(&format!("#     {key} = ")) || key == "udp", "{key}");
    }
}

#[test]
fn a_key_is_only_shown_where_its_default_has_no_text() {
    let (_, shown) = keys_of_the_example();
    let shown: Vec<_> = shown.iter().map(|(_, key)| key.as_str()).collect();
    let without_text = [
        "connections_per_peer",
        "messages_per_second",
        "datagrams_per_second",
        "receive_buffer",
        "send_buffer",
        "ttl",
        "congestion",
        "messages_per_second",
        "address",
        "interface",
        "offer",
        "record",
    ];
    assert_eq!(shown, without_text);
}

#[test]
fn every_sample_in_the_example_can_be_switched_on() {
    let (_, shown) = keys_of_the_example();
    let mut text = String::new();
    for line in example(CATALOG).lines() {
        let sample = line.strip_prefix("# ").filter(|comment| {
            shown.iter().any(|(_, key)| comment.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = ")))
        });
        text.push_str(sample.unwrap_or(line));
        text.push('\n');
    }
    let mut config = parse(&text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.socket.receive_buffer, Some(crate::service::DEFAULT_UDP_RECEIVE_BUFFER));
    assert_eq!(
        config.limits.messages_per_second.per_second,
        Limits::default().messages_per_second.per_second
    );
    assert_eq!(
        config.limits.datagrams_per_second.per_second,
        Limits::default().datagrams_per_second.per_second
    );
    // All other samples say what holds anyway.
    let expected = built_in(Overrides::default()).unwrap().services;
    for (service, expected) in config.services.iter_mut().zip(&expected) {
        service.limits = expected.limits.clone();
        service.socket = expected.socket.clone();
    }
    assert_eq!(format!("{:#?}", config.services), format!("{expected:#?}"));
}

#[test]
fn comments_of_the_example_fit_a_terminal() {
    let example = example(CATALOG);
    for line in example.lines() {
        assert!(line.chars().count() < 80, "{line}");
    }
    let (_, echo) = example.split_once("[services.echo]\n").unwrap();
    let (echo, _) = echo.split_once("\n\n").unwrap();
    let expected = "\
tcp = 3333
udp = 3333
# Input of exactly this text ends the connection; \"\" turns that off.
end_command = \"/end\"";
    assert_eq!(echo, expected);
}

#[test]
fn the_sample_of_a_second_service_can_be_switched_on() {
    let example = example(CATALOG);
    let sample = example.split_once("For instance:\n#\n").unwrap().1;
    let sample: String = sample
        .lines()
        .map_while(|line| line.strip_prefix("#     "))
        .map(|line| format!("{line}\n"))
        .collect();
    let service = one(&sample);
    assert_eq!((service.name.as_str(), service.kind.name), ("메아리", "echo"));
    assert_eq!(service.plan.tcp, Some("127.0.0.1:4000".parse().unwrap()));
}
