//! From the text of a file to a [`Config`].

use std::fs::{self, File};
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::path::Path;

use toml::de::DeTable;

use super::description::{Description, find};
use super::error::{ConfigError, ConfigErrors, Findings};
use super::limits::LIMITS;
use super::planning::{self, Draft};
use super::setting::{self, Only, Setting};
use super::socket::SOCKET_OPTIONS;
use super::table::{Entry, Table};
use super::{Config, Overrides, Transport, values};
use crate::service::Limits;
use crate::wording::nearest;

pub(super) const TOP_KEYS: [&str; 5] = ["bind", "memory", "limits", "socket", "services"];
/// The keys of every service's table, besides limits, socket options and its own.
pub(super) const SERVICE_KEYS: [&str; 4] = ["kind", "bind", "tcp", "udp"];

/// The most bytes of a file: room for tens of thousands of services, and a bound for what
/// is not a config file at all.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

impl Config {
    /// Reads a file, in which each service of `catalog` may have a table.
    ///
    /// # Errors
    /// A file that cannot be read, or whose text [`Config::parse`] refuses.
    pub fn load(
        catalog: &[&'static Description],
        file: &Path,
        overrides: &Overrides,
    ) -> Result<Config, ConfigErrors> {
        let failed = |error| ConfigError::of_file(file, format!("cannot read the configuration: {error}"));
        // Opening a FIFO would wait for somebody who writes to it.
        if !fs::metadata(file).map_err(failed)?.is_file() {
            let sentence = "not a regular file; to read from a pipe, give - as the file's name";
            return Err(ConfigError::of_file(file, sentence).into());
        }
        let input = File::open(file).map_err(failed)?;
        Config::read(catalog, input, file, overrides)
    }

    /// Reads an input to its end; `file` is its name in errors.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn read(
        catalog: &[&'static Description],
        input: impl std::io::Read,
        file: &Path,
        overrides: &Overrides,
    ) -> Result<Config, ConfigErrors> {
        let mut bytes = Vec::new();
        if let Err(error) = input.take(LARGEST_FILE + 1).read_to_end(&mut bytes) {
            let sentence = format!("cannot read the configuration: {error}");
            return Err(ConfigError::of_file(file, sentence).into());
        }
        if bytes.len() as u64 > LARGEST_FILE {
            let most = super::format_size(LARGEST_FILE as usize);
            let sentence = format!("larger than {most}, which is more than a configuration may have");
            return Err(ConfigError::of_file(file, sentence).into());
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Config::parse(catalog, text, file, overrides),
            Err(error) => {
                let mut findings = Findings::default();
                findings.at(error.valid_up_to(), "not UTF-8; save the file in that encoding");
                let nothing = Config::empty(Ipv4Addr::LOCALHOST.into());
                findings.verdict(nothing, Some(file), &String::from_utf8_lossy(&bytes))
            }
        }
    }

    /// Reads the text of a file; `file` is its name in errors. If `overrides` have a bind
    /// address, whatever depends on the bind address follows that one.
    ///
    /// # Errors
    /// All mistakes, each with its line and column: TOML that does not parse, keys that
    /// are unknown, values that are wrong, settings that contradict each other.
    pub fn parse(
        catalog: &[&'static Description],
        text: &str,
        file: &Path,
        overrides: &Overrides,
    ) -> Result<Config, ConfigErrors> {
        let mut findings = Findings::default();
        let (root, syntax) = DeTable::parse_recoverable(text);
        for error in syntax {
            findings.at(error.span().map_or(text.len(), |span| span.start), error.message());
        }
        // What can be saved of broken TOML would only raise false alarms.
        let mut config = Config::empty(Ipv4Addr::LOCALHOST.into());
        if findings.is_empty() {
            let mut reader = Reader { catalog, findings: &mut findings };
            let drafts = reader.top(Table::root(&root), &mut config, overrides);
            let folder = file.parent().unwrap_or(Path::new(""));
            config.services = planning::plan(drafts, overrides, folder, &mut findings);
        }
        findings.verdict(config, Some(file), text)
    }
}

/// Reads a file table by table, and notes what is wrong.
struct Reader<'f> {
    catalog: &'f [&'static Description],
    findings: &'f mut Findings,
}

impl Reader<'_> {
    fn top<'a>(&mut self, top: Table<'a>, config: &mut Config, overrides: &Overrides) -> Vec<Draft<'a>> {
        for entry in top.entries().iter().filter(|entry| !TOP_KEYS.contains(&entry.key)) {
            let sentence = self.unknown(entry.key, &TOP_KEYS, "at the top level");
            self.findings.at(entry.at, sentence);
        }
        config.bind = top.get("bind", values::bind, self.findings).unwrap_or(config.bind);
        config.bind = overrides.bind_or(config.bind, self.findings);
        config.memory = top.get("memory", values::memory, self.findings).unwrap_or(None);
        if let Some(table) = top.table("limits", self.findings) {
            self.settings(table, &LIMITS, &mut config.limits, "in [limits]");
        }
        if let Some(table) = top.table("socket", self.findings) {
            self.settings(table, &SOCKET_OPTIONS, &mut config.socket, "in [socket]");
        }
        let services = top.table("services", self.findings).map_or(Vec::new(), |table| table.entries());
        if services.is_empty() && self.findings.is_empty() {
            self.findings.of_file("no service is named; add a table such as [services.echo] with tcp = 3333");
        }
        services.into_iter().filter_map(|entry| self.service(entry, config)).collect()
    }

    fn settings<T>(&mut self, table: Table<'_>, known: &'static [Setting<T>], into: &mut T, place: &str) {
        for entry in table.entries() {
            match setting::find(known, entry.key) {
                Some(setting) => {
                    entry.read(|value| (setting.set)(into, value), self.findings);
                }
                None => {
                    let names: Vec<_> = setting::names(known).collect();
                    let sentence = self.unknown(entry.key, &names, place);
                    self.findings.at(entry.at, sentence);
                }
            }
        }
    }

    /// Reads one service; `None` if it is unclear what kind of service it is.
    fn service<'a>(&mut self, entry: Entry<'a>, config: &Config) -> Option<Draft<'a>> {
        let name = entry.key;
        // These characters cannot mean anything else in `--only a,b` and `--port a/tcp=1`.
        let plain = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            let sentence = format!("{name:?} is not a service's name; use letters, digits, - and _");
            self.findings.at(entry.at, sentence);
            return None;
        }
        let table = entry.table(self.findings)?;
        let before = self.findings.len();
        let kind = table.get("kind", values::text, self.findings);
        if self.findings.len() > before {
            return None;
        }
        let kind = kind.as_deref().unwrap_or(name);
        let Some(kind) = find(self.catalog, kind) else {
            self.findings.at(table.place_of("kind"), self.unknown_kind(kind));
            return None;
        };
        let mut draft = Draft {
            name: name.into(),
            kind,
            bind: table.get("bind", values::bind, self.findings).unwrap_or(config.bind),
            tcp: self.port(table, "tcp"),
            udp: self.port(table, "udp"),
            // `connections` at the top is the bound of the whole daemon.
            limits: Limits { connections: 0, ..config.limits.clone() },
            socket: config.socket.clone(),
            table: Some(table),
            is_sound: true,
        };
        for entry in table.entries() {
            self.shared(entry, &mut draft);
        }
        draft.is_sound = self.findings.len() == before;
        Some(draft)
    }

    /// Reads a port. If it is wrong, 0 takes its place: the service does have a port.
    fn port(&mut self, table: Table<'_>, key: &str) -> Option<u16> {
        let before = self.findings.len();
        let port = table.get(key, values::port, self.findings);
        if self.findings.len() > before { Some(0) } else { port }
    }

    /// Reads a limit or a socket option of a service. Its own keys are read by its plan.
    fn shared(&mut self, entry: Entry<'_>, draft: &mut Draft<'_>) {
        let key = entry.key;
        if SERVICE_KEYS.contains(&key) || draft.kind.keys.iter().any(|own| own.name == key) {
            return;
        }
        let (limit, option) = (setting::find(&LIMITS, key), setting::find(&SOCKET_OPTIONS, key));
        let refusal = match limit.map(|limit| limit.only).or(option.map(|option| option.only)) {
            None | Some(Some(Only::Declared)) => Some(self.misplaced(key, draft.kind)),
            Some(Some(Only::Transport(only))) if lacks(draft, only) => Some(useless(key, only)),
            Some(_) => None,
        };
        if let Some(sentence) = refusal {
            self.findings.at(entry.at, sentence);
        } else if let Some(limit) = limit {
            entry.read(|value| (limit.set)(&mut draft.limits, value), self.findings);
        } else if let Some(option) = option {
            entry.read(|value| (option.set)(&mut draft.socket, value), self.findings);
        }
    }

    /// The sentence for a key that no service of this kind has.
    fn misplaced(&self, key: &str, kind: &Description) -> String {
        let has_it = |other: &&&Description| other.keys.iter().any(|own| own.name == key);
        let owners: Vec<_> = self.catalog.iter().filter(has_it).map(|other| other.name).collect();
        if !owners.is_empty() {
            return format!("{key} belongs to {}, not to {}", owners.join(", "), kind.name);
        }
        let mut known = SERVICE_KEYS.to_vec();
        let shared = LIMITS.iter().filter(|limit| limit.only != Some(Only::Declared));
        known.extend(shared.map(|limit| limit.key.name).chain(setting::names(&SOCKET_OPTIONS)));
        known.extend(kind.keys.iter().map(|own| own.name));
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => "`onepoll config example` shows them all".into(),
        };
        format!("{} has no key {key:?}; {hint}", kind.name)
    }

    /// The sentence for a key that stands outside of the services.
    fn unknown(&self, key: &str, known: &[&str], place: &str) -> String {
        let hint = if setting::find(&LIMITS, key).is_some() {
            "it belongs in [limits]".into()
        } else if setting::find(&SOCKET_OPTIONS, key).is_some() {
            "it belongs in [socket]".into()
        } else if find(self.catalog, key).is_some() {
            format!("a service's table is called [services.{key}]")
        } else if let Some(near) = nearest(key, known.iter().copied()) {
            format!("did you mean {near}?")
        } else {
            format!("known are {}", known.join(", "))
        };
        format!("unknown key {key:?} {place}; {hint}")
    }

    fn unknown_kind(&self, kind: &str) -> String {
        let known: Vec<_> = self.catalog.iter().map(|description| description.name).collect();
        let hint = match nearest(kind, known.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("name one of these with kind = \"…\": {}", known.join(", ")),
        };
        format!("{kind:?} is not a kind of service; {hint}")
    }
}

/// Whether a service has ports, but none for this transport. Without any port there is a
/// more important error to report.
fn lacks(draft: &Draft<'_>, transport: Transport) -> bool {
    draft.port(transport).is_none() && (draft.tcp.is_some() || draft.udp.is_some())
}

/// The sentence for a key of a transport that a service has no port for.
fn useless(key: &str, only: Transport) -> String {
    let [this, other] = match only {
        Transport::Tcp => ["TCP", "UDP"],
        Transport::Udp => ["UDP", "TCP"],
    };
    format!("{key} applies to {this}, and this service has only {other}")
}
