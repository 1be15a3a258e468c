//! Parses the notation of the exchanges in PROTOCOL.md, which explains it.

use std::net::{IpAddr, Ipv4Addr};
use std::str::Chars;
use std::time::Duration;

use onepoll::config::Transport;

/// One block: a conversation with one service.
#[derive(Debug)]
pub struct Exchange {
    /// The line number of its fence, from 1.
    pub line: usize,
    pub service: String,
    /// `key=value` pairs for the service's table, as TOML.
    pub settings: Vec<String>,
    pub steps: Vec<Step>,
}

/// One line of a block.
#[derive(Debug)]
pub struct Step {
    pub line: usize,
    pub peer: String,
    pub action: Action,
}

#[derive(Debug, PartialEq)]
pub enum Action {
    Connect,
    HalfClose,
    Close,
    Bind(IpAddr),
    BindToServicePort,
    Send { bytes: Vec<u8>, to: Option<IpAddr> },
    Hear { bytes: Vec<u8>, from: Option<IpAddr>, after: Duration },
    HearTime { like: Vec<u8> },
    HearHead { lines: Vec<Vec<u8>> },
    HearEnd,
    HearNothing,
}

impl Exchange {
    pub fn speaks(&self, transport: Transport) -> bool {
        self.steps.iter().any(|step| match step.action {
            Action::Connect => transport == Transport::Tcp,
            Action::Bind(_) | Action::BindToServicePort => transport == Transport::Udp,
            _ => false,
        })
    }
}

/// All exchanges of a document. An error names its line.
pub fn exchanges(document: &str) -> Result<Vec<Exchange>, String> {
    let mut lines = (1..).zip(document.lines());
    let mut found = Vec::new();
    while let Some((line, text)) = lines.next() {
        let Some(info) = text.strip_prefix("```exchange ") else { continue };
        let mut words = info.split_whitespace().map(str::to_owned);
        let service = words.next().ok_or(format!("PROTOCOL.md:{line}: an exchange names its service"))?;
        let mut exchange = Exchange { line, service, settings: words.collect(), steps: Vec::new() };
        loop {
            let Some((line, text)) = lines.next() else {
                return Err(format!("PROTOCOL.md:{line}: the block does not end"));
            };
            match text.trim() {
                "```" => break,
                text if text.is_empty() || text.starts_with('#') => {}
                text => {
                    let (peer, action) =
                        step(text).ok_or_else(|| format!("PROTOCOL.md:{line}: this is no step: {text}"))?;
                    exchange.steps.push(Step { line, peer, action });
                }
            }
        }
        found.push(exchange);
    }
    Ok(found)
}

fn step(text: &str) -> Option<(String, Action)> {
    let name = text.chars().next().filter(char::is_ascii_uppercase)?;
    let rest = &text[1..];
    let action = match rest.chars().next()? {
        '>' => send(rest[1..].trim())?,
        '<' => hear(rest[1..].trim())?,
        ' ' => match without_comment(rest) {
            "connects" => Action::Connect,
            "half-closes" => Action::HalfClose,
            "closes" => Action::Close,
            "hears nothing" => Action::HearNothing,
            "binds" => Action::Bind(Ipv4Addr::LOCALHOST.into()),
            "binds the service's port" => Action::BindToServicePort,
            other => Action::Bind(other.strip_prefix("binds ")?.parse().ok()?),
        },
        _ => return None,
    };
    Some((name.into(), action))
}

fn send(text: &str) -> Option<Action> {
    let (bytes, rest) = bytes(text)?;
    let to = match rest {
        "" => None,
        rest => Some(rest.strip_prefix("to ")?.parse().ok()?),
    };
    Some(Action::Send { bytes, to })
}

fn hear(text: &str) -> Option<Action> {
    if without_comment(text) == "end" {
        return Some(Action::HearEnd);
    }
    if let Some(sample) = text.strip_prefix("a time like ") {
        let (like, rest) = bytes(sample)?;
        return rest.is_empty().then_some(Action::HearTime { like });
    }
    if let Some(mut list) = text.strip_prefix("a head with ") {
        let mut lines = Vec::new();
        while !list.is_empty() {
            let (line, rest) = bytes(list)?;
            lines.push(line);
            list = rest.strip_prefix(", ").unwrap_or(rest);
        }
        return Some(Action::HearHead { lines });
    }
    let (bytes, rest) = bytes(text)?;
    let (mut from, mut after) = (None, Duration::ZERO);
    if let Some(address) = rest.strip_prefix("from ") {
        from = Some(address.parse().ok()?);
    } else if let Some(time) = rest.strip_prefix("after ") {
        after = onepoll::config::parse_duration(&time.replace(' ', "")).ok()?;
    } else if !rest.is_empty() {
        return None;
    }
    Some(Action::Hear { bytes, from, after })
}

/// A text in either quotes, `* COUNT` behind it if it repeats, and what follows.
fn bytes(text: &str) -> Option<(Vec<u8>, &str)> {
    let mut chars = text.chars();
    let quote = chars.next().filter(|c| matches!(c, '"' | '\''))?;
    let mut bytes = Vec::new();
    loop {
        match chars.next()? {
            c if c == quote => break,
            '\\' => bytes.push(escaped(&mut chars)?),
            plain => bytes.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    let rest = without_comment(chars.as_str());
    let Some(count) = rest.strip_prefix("* ") else { return Some((bytes, rest)) };
    let (count, rest) = count.split_once(' ').unwrap_or((count, ""));
    Some((bytes.repeat(count.parse().ok()?), rest.trim()))
}

fn escaped(chars: &mut Chars<'_>) -> Option<u8> {
    Some(match chars.next()? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '"' => b'"',
        '\'' => b'\'',
        '\\' => b'\\',
        'x' => {
            let digits = [chars.next()?, chars.next()?];
            u8::from_str_radix(&String::from_iter(digits), 16).ok()?
        }
        _ => return None,
    })
}

fn without_comment(text: &str) -> &str {
    text.split_once('#').map_or(text, |(text, _)| text).trim()
}

/// Bytes as the notation writes them.
pub fn text_of(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '"' | '\\' => text.extend(['\\', c]),
                c if c.is_ascii_control() => text.push_str(&format!("\\x{:02X}", c as u8)),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02X}")));
    }
    text + "\""
}
