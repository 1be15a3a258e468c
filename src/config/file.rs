//! From the text of a file to a [`Config`].

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use toml::de::DeTable;

use super::check::check;
use super::error::{ConfigError, Source};
use super::table::Table;
use super::{Config, Kind, MulticastConfig, Overrides, ServiceConfig, Transport, values};
use crate::reactor::{Limits, SocketOptions};
use crate::services::catalog::{self, CATALOG, Entry};

pub(super) const TOP_KEYS: [&str; 4] = ["bind", "limits", "socket", "services"];
/// Keys of [limits], and of a service's table.
pub(super) const LIMIT_KEYS: [&str; 10] = [
    "connections",
    "connections_per_peer",
    "idle_timeout",
    "message_timeout",
    "send_timeout",
    "line_length",
    "output_limit",
    "messages_per_second",
    "datagrams_per_second",
    "drain_timeout",
];
/// Keys of [socket], and of a service's table.
pub(super) const SOCKET_KEYS: [&str; 12] = [
    "reuse_address",
    "reuse_port",
    "receive_buffer",
    "send_buffer",
    "keepalive",
    "linger",
    "nodelay",
    "dont_route",
    "broadcast",
    "ttl",
    "backlog",
    "congestion",
];
/// Socket options that a service without TCP cannot have.
const TCP_ONLY: [&str; 5] = ["nodelay", "backlog", "keepalive", "linger", "congestion"];
/// Socket options that a service without UDP cannot have.
const UDP_ONLY: [&str; 1] = ["broadcast"];
/// Keys of every service's table, beside limits, socket options and its own.
pub(super) const SERVICE_KEYS: [&str; 4] = ["kind", "bind", "tcp", "udp"];

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// A file that cannot be read, or of which [`Config::parse`] refuses the text.
    pub fn load(file: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
        let bytes = std::fs::read(file)
            .map_err(|error| ConfigError::of_file(file, format!("cannot read the configuration: {error}")))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Config::parse(text, file, overrides),
            Err(error) => {
                let source = Source { file, text: &String::from_utf8_lossy(&bytes) };
                Err(source.error(error.valid_up_to(), "not UTF-8; save the file in that encoding"))
            }
        }
    }

    /// Reads the text of a file; its name is for errors only. What depends on
    /// the bind address is read with that of `overrides`, where it has one.
    ///
    /// # Errors
    /// TOML that does not parse, keys and values that are unknown or wrong,
    /// parts that do not fit together: each with its line and column.
    pub fn parse(text: &str, file: &Path, overrides: &Overrides) -> Result<Config, ConfigError> {
        let source = Source { file, text };
        let root = DeTable::parse(text).map_err(|error| {
            source.error(error.span().map_or(text.len(), |span| span.start), error.message())
        })?;
        let top = Table::root(source, &root);
        only_known(&top, &TOP_KEYS, "at the top level")?;

        let mut config = Config::empty(Ipv4Addr::LOCALHOST.into());
        top.set("bind", &mut config.bind, values::bind)?;
        config.bind = overrides.bind_or(config.bind)?;
        if let Some(table) = top.table("limits")? {
            only_known(&table, &LIMIT_KEYS, "in [limits]")?;
            limits(&table, &mut config.limits)?;
        }
        if let Some(table) = top.table("socket")? {
            only_known(&table, &SOCKET_KEYS, "in [socket]")?;
            socket(&table, &mut config.socket)?;
        }
        let services = top.table("services")?;
        let tables = services.as_ref().map_or(Ok(Vec::new()), Table::tables)?;
        if tables.is_empty() {
            let sentence = "no service is named; add a table such as [services.echo] with tcp = 3333";
            return Err(ConfigError::of_file(file, sentence));
        }
        for (name, table) in &tables {
            let service = service(name, table, &config)?;
            config.services.push(service);
        }
        overrides.apply(&mut config)?;
        check(&config).map_err(|problem| match tables.iter().find(|(name, _)| *name == problem.service) {
            Some((_, table)) => table.error_in(problem.key, problem.sentence),
            None => ConfigError::of_file(file, problem.sentence),
        })?;
        Ok(config)
    }
}

fn limits(table: &Table<'_>, limits: &mut Limits) -> Result<(), ConfigError> {
    table.set("connections", &mut limits.connections, values::count)?;
    table.set("connections_per_peer", &mut limits.connections_per_peer, values::count)?;
    table.set("idle_timeout", &mut limits.idle_timeout, values::timeout)?;
    table.set("message_timeout", &mut limits.message_timeout, values::timeout)?;
    table.set("send_timeout", &mut limits.send_timeout, values::timeout)?;
    table.set("line_length", &mut limits.line_length, values::line_length)?;
    table.set("output_limit", &mut limits.output_limit, values::size)?;
    table.set("messages_per_second", &mut limits.messages_per_second, values::rate)?;
    table.set("datagrams_per_second", &mut limits.datagrams_per_second, values::rate)?;
    table.set("drain_timeout", &mut limits.drain_timeout, values::timeout)
}

fn socket(table: &Table<'_>, socket: &mut SocketOptions) -> Result<(), ConfigError> {
    table.set("reuse_address", &mut socket.reuse_address, values::flag)?;
    table.set("reuse_port", &mut socket.reuse_port, values::flag)?;
    table.set("receive_buffer", &mut socket.receive_buffer, values::socket_buffer)?;
    table.set("send_buffer", &mut socket.send_buffer, values::socket_buffer)?;
    table.set("keepalive", &mut socket.keepalive, values::flag)?;
    table.set("linger", &mut socket.linger, values::linger)?;
    table.set("nodelay", &mut socket.nodelay, values::flag)?;
    table.set("dont_route", &mut socket.dont_route, values::flag)?;
    table.set("broadcast", &mut socket.broadcast, values::flag)?;
    table.set("ttl", &mut socket.ttl, |value| values::integer(value, 1..=255).map(Some))?;
    table.set("backlog", &mut socket.backlog, |value| values::integer(value, 1..=i32::MAX as u32))?;
    table.set("congestion", &mut socket.congestion, values::congestion)
}

fn service(name: &str, table: &Table<'_>, config: &Config) -> Result<ServiceConfig, ConfigError> {
    // These characters cannot mean anything else in `--only a,b` and `--port a/tcp=1`.
    let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        let sentence = format!("{name:?} is not a service's name; use letters, digits, - and _");
        return Err(table.error_in("", sentence));
    }
    let kind = table.get("kind", values::text)?;
    let kind = kind.as_deref().unwrap_or(name);
    let entry = catalog::find(kind).ok_or_else(|| table.error_in("kind", unknown_kind(kind)))?;
    let tcp = table.get("tcp", values::port)?;
    let udp = table.get("udp", values::port)?;
    table.each_key(|key| misplaced(key, entry, tcp.is_some(), udp.is_some()))?;

    let bind = table.get("bind", values::bind)?.unwrap_or(config.bind);
    let mut service = ServiceConfig::new(name, entry, bind, config);
    own_keys(table, &mut service.kind, bind)?;
    limits(table, &mut service.limits)?;
    socket(table, &mut service.socket)?;
    for (transport, port) in [(Transport::Tcp, tcp), (Transport::Udp, udp)] {
        if let Some(port) = port {
            service.set_port(transport, port);
        }
    }
    Ok(service)
}

fn own_keys(table: &Table<'_>, kind: &mut Kind, bind: IpAddr) -> Result<(), ConfigError> {
    match kind {
        Kind::Time | Kind::Number => Ok(()),
        Kind::Echo(echo) => table.set("end_command", &mut echo.end_command, values::text),
        Kind::Upper(upper) => table.set("keep_open", &mut upper.keep_open, values::flag),
        Kind::Json(json) => {
            table.set("ensure_ascii", &mut json.ensure_ascii, values::flag)?;
            table.set("value_size", &mut json.value_size, values::value_size)
        }
        Kind::Chat(chat) => table.set("echo_to_sender", &mut chat.echo_to_sender, values::flag),
        Kind::Hello(hello) => table.set("message", &mut hello.message, values::message),
        Kind::Beacon(beacon) => {
            table.set("message", &mut beacon.message, values::message)?;
            table.set("interval", &mut beacon.interval, values::interval)?;
            table.set("address", &mut beacon.address, values::destination)
        }
        Kind::Discovery(discovery) => table.set("message", &mut discovery.message, values::message),
        Kind::Multicast(multicast) => {
            table.set("group", &mut multicast.group, values::group)?;
            multicast.interface = MulticastConfig::interface_for(multicast.group, bind);
            table.set("interface", &mut multicast.interface, values::interface)?;
            table.set("message", &mut multicast.message, values::message)
        }
    }
}

/// Why a key cannot stand in the table of a service with these transports.
fn misplaced(key: &str, entry: &Entry, tcp: bool, udp: bool) -> Option<String> {
    let known = [&SERVICE_KEYS[..], &LIMIT_KEYS, &SOCKET_KEYS, entry.keys].concat();
    // Without any port there is a better thing to say than what its options lack.
    if TCP_ONLY.contains(&key) && udp && !tcp {
        return Some(format!("{key} is an option of TCP sockets, and this service has only UDP"));
    }
    if UDP_ONLY.contains(&key) && tcp && !udp {
        return Some(format!("{key} is an option of UDP sockets, and this service has only TCP"));
    }
    if known.contains(&key) {
        return None;
    }
    let owners: Vec<_> =
        CATALOG.iter().filter(|other| other.keys.contains(&key)).map(|other| other.name).collect();
    if !owners.is_empty() {
        return Some(format!("{key} belongs to {}, not to {}", owners.join(", "), entry.name));
    }
    let hint = match nearest(key, &known) {
        Some(near) => format!("did you mean {near}?"),
        None => "`onepoll config example` shows them all".into(),
    };
    Some(format!("{} has no key {key:?}; {hint}", entry.name))
}

fn only_known(table: &Table<'_>, known: &[&str], place: &str) -> Result<(), ConfigError> {
    table.each_key(|key| (!known.contains(&key)).then(|| unknown(key, known, place)))
}

/// The sentence for a key that stands outside of the services.
fn unknown(key: &str, known: &[&str], place: &str) -> String {
    let hint = if LIMIT_KEYS.contains(&key) {
        "it belongs in [limits]".into()
    } else if SOCKET_KEYS.contains(&key) {
        "it belongs in [socket]".into()
    } else if catalog::find(key).is_some() {
        format!("a service's table is called [services.{key}]")
    } else if let Some(near) = nearest(key, known) {
        format!("did you mean {near}?")
    } else {
        format!("known are {}", known.join(", "))
    };
    format!("unknown key {key:?} {place}; {hint}")
}

fn unknown_kind(kind: &str) -> String {
    let known: Vec<_> = CATALOG.iter().map(|entry| entry.name).collect();
    let hint = match nearest(kind, &known) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("name one of these with kind = \"…\": {}", known.join(", ")),
    };
    format!("{kind:?} is not a kind of service; {hint}")
}

/// What was likely meant: the nearest word, at most a third of it wrong.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|candidate| (distance(word, candidate), *candidate)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// Insertions, deletions and replacements from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[row.len() - 1]
}
