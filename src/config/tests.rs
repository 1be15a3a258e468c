//! Files as people write them, right and wrong.

use std::path::Path;
use std::time::Duration;

use super::file::{SERVICE_KEYS, TOP_KEYS};
use super::limits::LIMITS;
use super::setting::{Only, Setting};
use super::socket::SOCKET_OPTIONS;
use super::*;
use crate::service::Rate;
use crate::services::CATALOG;
use proptest::prelude::*;

mod example;
mod files;
mod overrides;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    parse_with(text, &Overrides::default())
}

fn parse_with(text: &str, overrides: &Overrides) -> Result<Config, ConfigErrors> {
    Config::parse(CATALOG, text, Path::new("lab.toml"), overrides)
}

fn built_in(overrides: Overrides) -> Result<Config, ConfigErrors> {
    Config::built_in(CATALOG, &overrides)
}

/// The only error of a text.
fn error(text: &str) -> ConfigError {
    let errors = parse(text).expect_err(text);
    assert_eq!(errors.iter().count(), 1, "{text}\n{errors}");
    errors.iter().next().unwrap().clone()
}

/// Where datagrams come in, or go to where nothing comes in.
fn udp(service: &ServiceConfig) -> Option<SocketAddr> {
    service.plan.sends_to.map(Destination::address).or(service.plan.udp.first().map(|socket| socket.bind))
}

/// The interface of the group that a service joins.
fn interface(service: &ServiceConfig) -> Option<IpAddr> {
    service.plan.udp[0].multicast.unwrap().interface
}

/// What is said of a configuration's reach on one network.
fn told(config: &Config) -> Vec<String> {
    let services: Vec<_> = config.services.iter().map(Reach::of).collect();
    reachable(&services, &[Ipv4Addr::new(192, 0, 2, 255)])
}

fn one(text: &str) -> ServiceConfig {
    let mut config = parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.services.len(), 1, "{text}");
    config.services.remove(0)
}

/// Each text is refused at that line and column, with that in the sentence.
fn refused(cases: &[(&str, (usize, usize), &str)]) {
    for (text, place, part) in cases {
        let error = error(text);
        assert_eq!(error.place(), Some(*place), "{text}\n{error}");
        assert!(error.sentence().contains(part), "{text}\n{error}");
    }
}

#[test]
fn toml_that_does_not_parse_is_refused_where_it_stops() {
    refused(&[
        ("bind = ", (1, 8), "expected"),
        ("bind 127.0.0.1", (1, 6), "key with no value"),
        ("[services.echo]\ntcp = 3333\n\n[services.echo]\n", (4, 11), "duplicate"),
        ("[services.echo]\ntcp = 1\ntcp = 2\n", (3, 1), "duplicate"),
        ("[services.echo\n", (1, 15), "unclosed table"),
        ("bind = \"127.0.0.1\n", (1, 18), "invalid basic string"),
    ]);
}

#[test]
fn an_unknown_key_is_refused_with_what_was_likely_meant() {
    refused(&[
        ("bnid = \"127.0.0.1\"", (1, 1), "did you mean bind?"),
        ("idle_timeout = \"5s\"", (1, 1), "belongs in [limits]"),
        ("nodelay = true", (1, 1), "belongs in [socket]"),
        ("[echo]\ntcp = 3333", (1, 2), "called [services.echo]"),
        ("wallpaper = 1", (1, 1), "known are bind, memory, limits, socket, services"),
        ("[limits]\nidle_timout = \"5s\"", (2, 1), "did you mean idle_timeout?"),
        ("[limits]\nnodelay = true", (2, 1), "belongs in [socket]"),
        ("[socket]\n\n  no_delay = true", (3, 3), "did you mean nodelay?"),
        ("[socket]\nsend_timeout = \"1s\"", (2, 1), "belongs in [limits]"),
        ("[services.echo]\ntcp = 3333\nend_comand = \"q\"", (3, 1), "did you mean end_command?"),
        ("[services.echo]\ntcp = 3333\nwallpaper = 1", (3, 1), "echo has no key \"wallpaper\""),
        (
            "[services.chat]\ntcp = 9999\nend_command = \"q\"",
            (3, 1),
            "end_command belongs to echo, not to chat",
        ),
        (
            "[services.echo]\ntcp = 1\nmessage = \"\"",
            (3, 1),
            "belongs to hello, beacon, discovery, multicast",
        ),
    ]);
}

#[test]
fn a_value_of_the_wrong_type_is_refused_where_it_stands() {
    refused(&[
        ("bind = 5", (1, 8), "expected an IP address in quotes, not an integer"),
        ("limits = 5", (1, 10), "expected a table"),
        ("services = 5", (1, 12), "expected a table"),
        ("[services]\necho = 3333", (2, 8), "expected a table"),
        ("[[services.echo]]\ntcp = 3333", (1, 1), "expected a table, not an array"),
        ("[limits]\nconnections = \"many\"", (2, 15), "connections: expected a whole number"),
        ("[limits]\nconnections = -1", (2, 15), "-1 is not a whole number"),
        ("[socket]\nnodelay = 1", (2, 11), "expected true or false, not an integer"),
        ("[services.echo]\ntcp = true", (2, 7), "expected a port from 0 to 65535, not a boolean"),
        ("[services.echo]\ntcp = \"127.0.0.2:3333\"", (2, 7), "to change the address, set bind"),
        ("[services.echo]\ntcp = 3333\nend_command = 5", (3, 15), "expected a string, not an integer"),
        ("[services.echo]\ntcp = 3333\nkind = [\"echo\"]", (3, 8), "expected a string, not an array"),
    ]);
}

#[test]
fn an_address_that_cannot_be_bound_is_refused() {
    refused(&[
        ("bind = \"localhost\"", (1, 8), "names are not looked up"),
        ("bind = \"127.0.0.1:80\"", (1, 8), "is not an IP address"),
        ("bind = \"fe80::1\"", (1, 8), "is link-local"),
        ("[services.echo]\ntcp = 1\nbind = \"fe80::1\"", (3, 8), "is link-local"),
        ("bind = \"224.0.0.1\"", (1, 8), "stands for many hosts"),
        ("bind = \"255.255.255.255\"", (1, 8), "stands for many hosts"),
        ("[services.echo]\ntcp = 1\nbind = \"256.0.0.1\"", (3, 8), "is not an IP address"),
    ]);
}

#[test]
fn a_limit_that_makes_no_sense_is_refused() {
    refused(&[
        ("[limits]\nidle_timeout = 5", (2, 16), "idle_timeout: 5 has no unit; write \"5s\""),
        ("[limits]\nidle_timeout = \"5\"", (2, 16), "write \"5s\""),
        ("[limits]\nidle_timeout = \"soon\"", (2, 16), "is not a duration"),
        ("[limits]\nidle_timeout = 1.5", (2, 16), "not a float"),
        ("[limits]\noutput_limit = \"1 TB\"", (2, 16), "is not a size"),
        ("[limits]\noutput_limit = -1", (2, 16), "-1 is not a size"),
        ("[limits]\nline_length = 0", (2, 15), "cannot be turned off"),
        ("[limits]\nline_length = 63", (2, 15), "63 B is not between 64 B and 16 MiB"),
        ("[limits]\nline_length = \"17 MiB\"", (2, 15), "17 MiB is not between"),
        ("[limits]\nmessages_per_second = 4294967296", (2, 23), "4294967296 is not a whole number"),
        ("[services.echo]\ntcp = 1\nidle_timeout = 7", (3, 16), "write \"7s\""),
    ]);
}

#[test]
fn a_socket_option_that_makes_no_sense_is_refused() {
    refused(&[
        ("[socket]\nlinger = true", (2, 10), "does not say how long"),
        ("[socket]\nlinger = \"5s\"", (2, 10), "false or a number of seconds, not a string"),
        ("[socket]\nlinger = -1", (2, 10), "-1 is not a whole number"),
        ("[socket]\nttl = 0", (2, 7), "from 1 to 255"),
        ("[socket]\nttl = 256", (2, 7), "from 1 to 255"),
        ("[socket]\nbacklog = 0", (2, 11), "from 1 to"),
        ("[socket]\nreceive_buffer = 0", (2, 18), "leave the key out"),
        ("[socket]\nsend_buffer = \"2 GiB\"", (2, 15), "is not between 1 B and 1 GiB"),
        #[cfg(target_os = "linux")]
        ("[socket]\ncongestion = \"foo\"", (2, 14), "this system has no congestion control \"foo\"; it has"),
        ("[socket]\ncongestion = \"\"", (2, 14), "is not the name of a congestion control"),
        ("[socket]\ncongestion = \"sixteen_letters_\"", (2, 14), "is not the name of a congestion control"),
    ]);
    for option in ["nodelay = true", "backlog = 5", "keepalive = true", "linger = 1", "congestion = \"reno\""]
    {
        let text = format!("[services.echo]\nudp = 3333\n{option}");
        refused(&[(&text, (3, 1), "applies to TCP, and this service has only UDP")]);
        one(&format!("[services.echo]\nudp = 3333\ntcp = 3333\n{option}"));
    }
    for key in ["broadcast = true", "datagrams_per_second = 2"] {
        let text = format!("[services.echo]\ntcp = 1\n{key}");
        refused(&[(&text, (3, 1), "applies to UDP, and this service has only TCP")]);
    }
}

#[test]
fn a_limit_that_a_service_has_no_use_for_is_refused_in_its_table() {
    refused(&[
        (
            "[services.echo]\ntcp = 1\nmessages_per_second = 3",
            (3, 1),
            "messages_per_second belongs to chat, not to echo",
        ),
        ("[services.json]\ntcp = 1\ndatagrams_per_second = 2", (3, 1), "datagrams_per_second applies to UDP"),
        ("[services.chat]\ntcp = 1\nmessages_per_second = -1", (3, 23), "-1 is not a whole number"),
    ]);
    let text = "[limits]\nmessages_per_second = 3\ndatagrams_per_second = 2\n[services.chat]\ntcp = 1\n";
    assert_eq!(one(text).limits.messages_per_second, Rate::per_second(3));
    let own = format!("{text}messages_per_second = 4");
    assert_eq!(one(&own).limits.messages_per_second, Rate::per_second(4));
}

#[test]
fn the_drain_timeout_of_the_file_is_the_default_of_its_services() {
    let text = "[limits]\ndrain_timeout = '3s'\n[services.echo]\ntcp = 1\n";
    assert_eq!(one(text).limits.drain_timeout, Some(Duration::from_secs(3)));
    let own = format!("{text}drain_timeout = '1s'");
    assert_eq!(one(&own).limits.drain_timeout, Some(Duration::from_secs(1)));
}

#[test]
fn a_service_that_cannot_be_served_is_refused() {
    refused(&[
        ("[services.ehco]\ntcp = 1", (1, 11), "did you mean echo?"),
        ("[services.lab]\ntcp = 1", (1, 11), "name one of these with kind = \"…\": echo, upper"),
        ("[services.lab]\ntcp = 1\nkind = \"caht\"", (3, 8), "did you mean chat?"),
        ("[services.\"a/b\"]\ntcp = 1\nkind = \"echo\"", (1, 11), "use letters, digits, - and _"),
        ("[services.\"\"]\ntcp = 1\nkind = \"echo\"", (1, 11), "is not a service's name"),
        ("[services.echo]", (1, 11), "echo has no port; give it tcp = 3333 or udp = 3333"),
        ("[services.echo]\nnodelay = true", (1, 11), "echo has no port"),
        ("[services.hello]", (1, 11), "hello has no port; give it udp = 20001"),
        ("[services.hello]\ntcp = 20001", (2, 7), "hello speaks only UDP"),
        ("[services.json]\nudp = 9000", (2, 7), "json speaks only TCP"),
        ("[services.echo]\ntcp = 65536", (2, 7), "65536 is not a port from 0 to 65535"),
        ("[services.echo]\ntcp = -1", (2, 7), "-1 is not a port"),
    ]);
}

#[test]
fn every_service_can_be_bound_to_ipv6() {
    for bind in ["::1", "::", "2001:db8::1"] {
        let overrides = Overrides { bind: Some(bind.parse().unwrap()), ..Overrides::default() };
        let config = built_in(overrides).unwrap();
        assert_eq!(config.services.len(), CATALOG.len());
        let sentences = told(&config);
        assert!(sentences[0].starts_with("Only") == (bind == "::1"), "{sentences:?}");
    }
}

#[test]
fn two_services_cannot_share_an_address() {
    let twice = |first: &str, second: &str| {
        format!("[services.a]\nkind = \"echo\"\n{first}\n[services.b]\nkind = \"chat\"\n{second}")
    };
    refused(&[
        (&twice("tcp = 1", "tcp = 1"), (6, 7), "b and a both want tcp 127.0.0.1:1"),
        (&twice("udp = 1", "udp = 1"), (6, 7), "b and a both want udp"),
        (&twice("tcp = 1\nbind = \"0.0.0.0\"", "tcp = 1"), (7, 7), "both want tcp"),
    ]);
    refused(&[(
        "[services.discovery]\nudp = 1\n[services.hello]\nudp = 1\nbind = \"127.255.255.255\"",
        (4, 7),
        "hello and discovery both want udp 127.255.255.255:1",
    )]);
    for (first, second) in [
        ("tcp = 1", "udp = 1"),
        ("tcp = 0", "tcp = 0"),
        ("tcp = 1", "tcp = 1\nbind = \"127.0.0.2\""),
        ("tcp = 1\nbind = \"::\"", "tcp = 1"),
    ] {
        let config = parse(&twice(first, second)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.services.len(), 2, "{first} {second}");
    }
    // A beacon sends to its port and does not listen there.
    parse("[services.beacon]\nudp = 1\n[services.hello]\nudp = 1\nbind = \"127.255.255.255\"").unwrap();
    // A group is reached by those who joined it, not by every wildcard socket.
    parse("[services.multicast]\nudp = 1\n[services.hello]\nudp = 1\nbind = \"0.0.0.0\"").unwrap();
}

#[test]
fn a_file_without_services_is_refused() {
    for text in ["", "bind = \"127.0.0.1\"", "[services]"] {
        let error = error(text).to_string();
        assert!(error.starts_with("lab.toml: no service is named"), "{error}");
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_key() {
    assert_eq!(one("\u{feff}[services.echo]\ntcp = 0x10").plan.tcp.map(|address| address.port()), Some(16));
}

#[test]
fn a_service_inherits_what_it_does_not_set() {
    let text = "
        bind = '127.0.0.2'
        [limits]
        connections = 9
        connections_per_peer = 3
        idle_timeout = 0
        datagrams_per_second = 7
        [socket]
        nodelay = false
        receive_buffer = '64 KiB'
        linger = 0
        [services.zebra]
        kind = 'chat'
        tcp = 1
        connections = 5
        idle_timeout = '1.5s'
        messages_per_second = 0
        nodelay = true
        linger = false
        [services.echo]
        bind = '127.0.0.3'
        udp = 1
    ";
    let config = parse(text).unwrap();
    assert_eq!(config.limits.connections, 9);
    let [zebra, echo] = &config.services[..] else { panic!("{config:?}") };

    assert_eq!((zebra.name.as_str(), zebra.kind.name), ("zebra", "chat"));
    assert_eq!((zebra.plan.tcp, udp(zebra)), (Some("127.0.0.2:1".parse().unwrap()), None));
    assert_eq!((zebra.limits.connections, zebra.limits.connections_per_peer), (5, Some(3)));
    assert_eq!(zebra.limits.idle_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(zebra.limits.messages_per_second, Rate::OFF);
    assert_eq!(zebra.limits.datagrams_per_second, Rate::per_second(7));
    assert_eq!((zebra.socket.nodelay, zebra.socket.linger), (true, None));

    assert_eq!((echo.plan.tcp, udp(echo)), (None, Some("127.0.0.3:1".parse().unwrap())));
    assert_eq!((echo.limits.connections, echo.limits.idle_timeout), (0, None));
    assert_eq!((echo.socket.nodelay, echo.socket.linger), (false, Some(Duration::ZERO)));
    assert_eq!(echo.socket.receive_buffer, Some(65_536));
}

/// A file whose only table is a service of that kind with all the ports it can have.
fn table_of(entry: &Description, line: &str) -> String {
    let tcp = entry.tcp.map_or(String::new(), |port| format!("tcp = {port}\n"));
    let udp = entry.udp.map_or(String::new(), |port| format!("udp = {port}\n"));
    format!("[services.{}]\n{line}\n{tcp}{udp}", entry.name)
}

#[test]
fn every_known_key_is_read() {
    // A date is the type of no key, so whoever looks at the value refuses it.
    let mut cases = Vec::new();
    cases.extend(TOP_KEYS.map(|key| (key, format!("{key} = 1979-05-27"), 1)));
    let limits: Vec<_> = setting::names(&LIMITS).collect();
    cases.extend(limits.iter().map(|key| (*key, format!("[limits]\n{key} = 1979-05-27"), 2)));
    let options: Vec<_> = setting::names(&SOCKET_OPTIONS).collect();
    cases.extend(options.iter().map(|key| (*key, format!("[socket]\n{key} = 1979-05-27"), 2)));
    for kind in CATALOG {
        let own: Vec<_> = kind.keys.iter().map(|key| key.name).collect();
        let has = |limit: &&Setting<Limits>| match limit.only {
            None => true,
            Some(Only::Transport(transport)) => kind.port(transport).is_some(),
            // Then it is one of its own.
            Some(Only::Declared) => false,
        };
        let shared: Vec<_> = LIMITS.iter().filter(has).map(|limit| limit.key.name).collect();
        let keys = [&shared[..], &["kind", "bind"], &own].concat();
        cases.extend(keys.iter().map(|key| (*key, table_of(kind, &format!("{key} = 1979-05-27")), 2)));
    }
    let echo = CATALOG[0];
    cases.extend(options.iter().map(|key| (*key, table_of(echo, &format!("{key} = 1979-05-27")), 2)));
    for key in ["tcp", "udp"] {
        cases.push((key, format!("[services.echo]\n{key} = 1979-05-27"), 2));
    }
    for (key, text, line) in cases {
        let error = error(&text);
        assert_eq!(error.place(), Some((line, key.len() + 4)), "{text}\n{error}");
        assert!(error.sentence().starts_with(&format!("{key}: expected")), "{text}\n{error}");
    }
}
