//! The config file, and the units and ports that the command line shares with it.

use std::path::Path;

use arbitrary::{Result, Unstructured};
use onepoll::config::{
    Config, Overrides, PortOverride, describe, format_duration, format_size, parse_duration, parse_size,
};
use onepoll::services::CATALOG;

use crate::generate::{bytes, joined, number, one_of};
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "config",
    check,
    generate,
    words: &[
        b"[services.echo]\n",
        b"[services.chat]\n",
        b"[services.file]\n",
        b"[services.\"\xEA\xB0\x80\"]\nkind = \"echo\"\n",
        b"[limits]\n",
        b"[socket]\n",
        b"bind = \"127.0.0.1\"\n",
        b"memory = \"auto\"\n",
        b"tcp = 3333\n",
        b"udp = 0\n",
        b"kind = ",
        b"\"5s\"",
        b"\"64 KiB\"",
        b"true",
        b"-1",
        b"99999999999999999999",
        b"1e400",
        b"nan",
        b"[]",
        b"{}",
        b"\"\"\"",
        b"'''",
        b"\\u0000",
        b"\\e",
        b"1979-05-27",
        b"0x",
        b"=",
        b".",
        b"\n",
        b"\"",
        b"#",
        b"\x1b",
        b"\xEF\xBB\xBF",
    ],
    memory: Memory { fixed: 4 * 1024 * 1024, per_byte: 4096 },
};

fn check(input: &[u8]) {
    let file = Path::new("lab.toml");
    let read = || Config::read(CATALOG, input, file, &Overrides::default());
    match read() {
        Ok(config) => {
            assert!(!config.services.is_empty());
            is_fit_to_print(&describe(&config, &[]));
        }
        Err(errors) => {
            assert!(errors.iter().count() > 0);
            let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
            for error in errors.iter() {
                assert!(!error.sentence().is_empty() && !error.sentence().contains('\n'), "{error}");
                assert!(error.place().is_none_or(|(line, column)| (1..=lines).contains(&line) && column > 0));
            }
            is_fit_to_print(&errors.to_string());
            assert_eq!(read().map(drop), Err(errors), "it is read differently each time");
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        units(text);
    }
}

/// No character moves the terminal's cursor.
fn is_fit_to_print(text: &str) {
    assert!(!text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
}

/// What is written is read back.
fn units(text: &str) {
    for word in text.split(['"', '\n']) {
        if let Ok(duration) = parse_duration(word) {
            let written = format_duration(duration);
            let again = parse_duration(&written).unwrap_or_else(|error| panic!("{word:?}: {error}"));
            assert_eq!(format_duration(again), written);
        }
        if let Ok(size) = parse_size(word) {
            assert_eq!(parse_size(&format_size(size)), Ok(size));
        }
        if let Ok(port) = word.parse::<PortOverride>() {
            assert_eq!(port.to_string().parse(), Ok(port));
        }
    }
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    let top = joined(u, 2, |u| line(u, &["bind", "memory", "bnid"], None))?;
    let limits = [&b"[limits]\n"[..], &joined(u, 3, |u| line(u, SHARED, None))?].concat();
    let services = joined(u, 4, |u| {
        let kind = *u.choose(CATALOG)?;
        let mut table = match u.ratio(1, 4)? {
            false => format!("[services.{}]\n", kind.name),
            true => format!("[services.x{}]\nkind = \"{}\"\n", u.int_in_range(0..=9)?, kind.name),
        };
        let default = kind.tcp.map_or("udp", |_| "tcp");
        table += &format!("{default} = {}\n", u.arbitrary::<u16>()?);
        let mut table = table.into_bytes();
        table.extend(joined(u, 4, |u| match u.choose(kind.keys).ok() {
            Some(key) if u.ratio(2, 3)? => line(u, &[key.name], Some(key.value.text())),
            _ => line(u, SHARED, None),
        })?);
        Ok(table)
    })?;
    Ok([top, limits, services].concat())
}

const SHARED: &[&str] = &[
    "connections",
    "connections_per_address",
    "idle_timeout",
    "send_timeout",
    "line_length",
    "output_buffer",
    "receive_buffer",
    "send_buffer",
    "nodelay",
    "reuse_address",
    "keepalive",
    "backlog",
    "tcp",
    "udp",
    "bind",
    "root",
    "quota",
    "max_file_size",
    "read_only",
    "ttl",
    "group",
    "interface",
    "interval",
    "message",
];

fn line(u: &mut Unstructured, names: &[&str], default: Option<&str>) -> Result<Vec<u8>> {
    let name = u.choose(names)?.as_bytes().to_vec();
    let value = match (u.int_in_range(0..=7u8)?, default) {
        (0..=3, Some(default)) => default.as_bytes().to_vec(),
        (0 | 4, _) => number(u)?.to_string().into_bytes(),
        (1 | 5, _) => format!("\"{}{}\"", number(u)?, u.choose(&["s", "ms", " KiB", "m", ""])?).into_bytes(),
        (6, _) => [b"'''", &bytes(u, 10)?[..], b"'''"].concat(),
        _ => one_of(
            u,
            &[
                b"true",
                b"\"127.0.0.1\"",
                b"\"::\"",
                b"\"224.0.0.1\"",
                b"[1, 2]",
                b"{a = 1}",
                b"-1",
                b"0.5",
                b"\"\"",
            ],
        )?,
    };
    Ok([&name[..], b" = ", &value, b"\n"].concat())
}
