//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longer lines are not shown below the sentence.
const SHOWN_COLUMNS: usize = 160;

/// Why a configuration cannot be served. It displays as
/// `FILE:LINE:COLUMN: sentence`, with the line and a caret below; what no
/// place in a file can be blamed for displays as the sentence alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    file: Option<PathBuf>,
    place: Option<Place>,
    sentence: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    line: usize,
    column: usize,
    shown: String,
}

impl ConfigError {
    /// An error that no file is to blame for, such as a wrong `--port`.
    pub(super) fn new(sentence: impl Into<String>) -> ConfigError {
        ConfigError { file: None, place: None, sentence: sentence.into() }
    }

    /// An error about a file as a whole.
    pub(super) fn of_file(file: &Path, sentence: impl Into<String>) -> ConfigError {
        ConfigError { file: Some(file.into()), place: None, sentence: sentence.into() }
    }

    /// Line and column of what is wrong, both from 1, the column in characters.
    pub fn place(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }

    /// What is wrong and what to do about it.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(place) = &self.place {
                write!(f, "{}:{}:", place.line, place.column)?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.sentence)?;
        match &self.place {
            Some(place) if place.shown.chars().count() <= SHOWN_COLUMNS => place.show(f),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Place {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A tab is kept as one, so that the caret stands below its character.
        let indent = self.shown.chars().take(self.column - 1).map(|c| if c == '\t' { c } else { ' ' });
        let indent: String = indent.collect();
        let width = self.line.to_string().len();
        write!(f, "\n {} | {}\n {:width$} | {indent}^", self.line, self.shown, "")
    }
}

/// The text of a file, to name places in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub file: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// An error about what stands at a byte offset.
    pub fn error(&self, offset: usize, sentence: impl Into<String>) -> ConfigError {
        let (before, after) = self.text.split_at(self.text.floor_char_boundary(offset));
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        let rest = after.split(['\r', '\n']).next().unwrap_or_default();
        let shown = before[start..].chars().chain(rest.chars());
        // A control character, which TOML refuses, must not reach a terminal either.
        let shown = shown.map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c });
        let line = before.matches('\n').count() + 1;
        let place = Place { line, column, shown: shown.collect() };
        ConfigError { file: Some(self.file.into()), place: Some(place), sentence: sentence.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, offset: usize) -> String {
        Source { file: Path::new("lab.toml"), text }.error(offset, "no.").to_string()
    }

    #[test]
    fn the_place_counts_lines_and_characters_from_one() {
        assert_eq!(shown("a = 1\nb = 2\n", 6), "lab.toml:2:1: no.\n 2 | b = 2\n   | ^");
        assert_eq!(shown("\"한글\" = 1", 11), "lab.toml:1:8: no.\n 1 | \"한글\" = 1\n   |        ^");
        assert_eq!(shown("a = 1\r\nb", 4), "lab.toml:1:5: no.\n 1 | a = 1\n   |     ^");
    }

    #[test]
    fn the_caret_follows_tabs() {
        assert_eq!(shown("\tb = 2", 1), "lab.toml:1:2: no.\n 1 | \tb = 2\n   | \t^");
    }

    #[test]
    fn control_characters_are_not_passed_on() {
        assert!(!shown("a = \u{1b}[31m", 4).contains('\u{1b}'));
    }

    #[test]
    fn the_end_of_the_file_is_a_place_too() {
        assert_eq!(shown("a =", 99), "lab.toml:1:4: no.\n 1 | a =\n   |    ^");
        assert_eq!(shown("", 0), "lab.toml:1:1: no.\n 1 | \n   | ^");
    }

    #[test]
    fn an_endless_line_is_not_shown() {
        assert_eq!(shown(&"x".repeat(1000), 3), "lab.toml:1:4: no.");
    }
}
