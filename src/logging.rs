//! The log on standard error: which lines are written, and what one looks like.

use std::env::{self, VarError};
use std::fmt;
use std::io::{self, Write};

use anstream::{AutoStream, ColorChoice};
use env_logger::fmt::Formatter;
use env_logger::fmt::style::{AnsiColor, Style};
use env_logger::{Target, WriteStyle};
use jiff::Zoned;
use log::{Level, LevelFilter, Record};

use crate::output;

/// What can be named in RUST_LOG: this program, and the crates in it that log.
const SOURCES: [&str; 2] = ["onepoll", "mio"];

/// Starts the log at a level, or as RUST_LOG says. A RUST_LOG that is wrong is
/// reported and ignored: taken for the name of a source, a misspelt level would
/// silence everything else.
pub fn start(level: LevelFilter) {
    let mut builder = env_logger::Builder::new();
    builder.target(Target::Pipe(Box::new(output::Aside))).write_style(write_style());
    match wanted() {
        Ok(Some(filters)) => builder.parse_filters(&filters),
        Ok(None) => builder.filter_level(level),
        Err(fault) => {
            let name = level.as_str().to_lowercase();
            output::remark(&format!("RUST_LOG {fault}; the log is at its default level, {name}"));
            builder.filter_level(level)
        }
    };
    builder.format(write_record).init();
}

/// From now on nobody waits until a line is written, see [`output::queue_stderr`].
pub fn queue_lines() {
    let style = match write_style() {
        WriteStyle::Never => Style::new(),
        WriteStyle::Auto | WriteStyle::Always => AnsiColor::Yellow.on_default(),
    };
    output::queue_stderr(move |dropped| {
        let mut line = Vec::new();
        let sentence =
            format_args!("{dropped} lines of the log are missing here: standard error was not read");
        // A vector takes everything.
        let _ = write_line(&mut line, Level::Warn, style, &sentence);
        String::from_utf8_lossy(&line).into_owned()
    });
}

/// Whether lines are coloured: as RUST_LOG_STYLE says, or else on a terminal.
fn write_style() -> WriteStyle {
    match env::var("RUST_LOG_STYLE").as_deref() {
        Ok("always") => WriteStyle::Always,
        Ok("never") => WriteStyle::Never,
        _ if AutoStream::choice(&io::stderr()) == ColorChoice::Never => WriteStyle::Never,
        _ => WriteStyle::Always,
    }
}

/// What RUST_LOG asks for; `None` if it asks for nothing.
fn wanted() -> Result<Option<String>, String> {
    match env::var("RUST_LOG") {
        Ok(filters) => check(&filters).map(|()| (!is_empty(&filters)).then_some(filters)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err("is not text".into()),
    }
}

fn is_empty(filters: &str) -> bool {
    filters.split(',').all(|filter| filter.trim().is_empty())
}

/// Checks that each of the filters is a level, a source, or SOURCE=LEVEL. After a
/// slash comes what a line has to contain, which can be anything.
fn check(filters: &str) -> Result<(), String> {
    let filters = filters.split('/').next().unwrap_or_default();
    for filter in filters.split(',').map(str::trim).filter(|filter| !filter.is_empty()) {
        let (source, level) = match filter.split_once('=') {
            Some((source, level)) => (source.trim(), level.trim()),
            None if is_level(filter) => continue,
            None => (filter, ""),
        };
        let shown = filter.escape_debug();
        if !level.is_empty() && !is_level(level) {
            return Err(format!(
                "has \"{shown}\", and its level is none of off, error, warn, info, debug, trace"
            ));
        }
        if !SOURCES.contains(&source.split("::").next().unwrap_or_default()) {
            return Err(format!(
                "has \"{shown}\", which is neither a level (off, error, warn, info, debug, trace) \
                 nor a source such as onepoll=debug"
            ));
        }
    }
    Ok(())
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

fn write_record(to: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let style = to.default_level_style(record.level());
    write_line(to, record.level(), style, record.args())
}

/// Writes a line with the local time in the format of RFC 3339, to the millisecond.
fn write_line(to: &mut impl Write, level: Level, style: Style, text: &fmt::Arguments<'_>) -> io::Result<()> {
    let time = Zoned::now();
    writeln!(to, "[{} {style}{level:<5}{style:#}] {text}", time.strftime("%FT%T%.3f%:z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_asks_for_nothing_counts_as_unset() {
        assert!(["", " ", ",", " , "].into_iter().all(is_empty));
        assert!(!is_empty("info"));
    }

    #[test]
    fn levels_and_sources_are_taken_and_misspelt_ones_named() {
        for right in [
            "info",
            "DEBUG",
            "off",
            "onepoll=debug",
            "onepoll::reactor=trace,warn",
            "mio=",
            "warn, mio=info",
            "info/ended",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for (wrong, named) in [
            ("inof", "\"inof\""),
            ("info,debgu", "\"debgu\""),
            ("onepoll=verbose", "\"onepoll=verbose\""),
            ("onepol=debug", "\"onepol=debug\""),
            ("a=b=c", "\"a=b=c\""),
            ("\u{1b}[2J", "\\u{1b}"),
        ] {
            let fault = check(wrong).unwrap_err();
            assert!(fault.contains(named) && !fault.contains('\u{1b}'), "{fault}");
        }
    }
}
