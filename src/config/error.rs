//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longer lines are not shown below the sentence.
const SHOWN_COLUMNS: usize = 160;

/// Something that is wrong with a configuration. It displays as `FILE:LINE:COLUMN:
/// sentence`, with the line and a caret below; an error without a place in a file
/// displays as the sentence alone.
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
    /// The line, unless it is too long to show.
    shown: Option<String>,
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
        self.place.as_ref().map_or(Ok(()), |place| place.show(f))
    }
}

impl std::error::Error for ConfigError {}

impl Place {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shown) = &self.shown else { return Ok(()) };
        // A tab is kept as one, so that the caret stands below its character.
        let indent = shown.chars().take(self.column - 1).map(|c| if c == '\t' { c } else { ' ' });
        let indent: String = indent.collect();
        let width = self.line.to_string().len();
        write!(f, "\n {} | {shown}\n {:width$} | {indent}^", self.line, "")
    }
}

/// Everything that is wrong with a configuration, in the order of the file.
/// There is at least one error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        ConfigErrors(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(Blame, String)>);

/// What is to blame, in the order in which people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blame {
    /// What stands at a byte of the file.
    At(usize),
    File,
    CommandLine,
}

impl Findings {
    /// Blames what stands at a byte of the file.
    pub fn at(&mut self, offset: usize, sentence: impl Into<String>) {
        self.0.push((Blame::At(offset), sentence.into()));
    }

    /// Blames the file as a whole.
    pub fn of_file(&mut self, sentence: impl Into<String>) {
        self.0.push((Blame::File, sentence.into()));
    }

    /// Blames the command line.
    pub fn of_command_line(&mut self, sentence: impl Into<String>) {
        self.0.push((Blame::CommandLine, sentence.into()));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `value` if nothing was found, otherwise the errors with their places in
    /// the `text` of `file`. Without a file there is neither.
    pub fn verdict<T>(mut self, value: T, file: Option<&Path>, text: &str) -> Result<T, ConfigErrors> {
        if self.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|(blame, _)| *blame);
        let mut walk = Walk { text, at: 0, line_start: 0, line: 1, column: 1 };
        let errors = self.0.into_iter().map(|(blame, sentence)| match (blame, file) {
            (Blame::At(offset), Some(file)) => {
                ConfigError { file: Some(file.into()), place: Some(walk.place(offset)), sentence }
            }
            (Blame::File, Some(file)) => ConfigError::of_file(file, sentence),
            (Blame::CommandLine, _) | (_, None) => ConfigError::new(sentence),
        });
        Err(ConfigErrors(errors.collect()))
    }
}

/// A walk through a text. It only goes forward, so that finding many places takes no
/// longer than reading the text once, even if it is one endless line.
struct Walk<'a> {
    text: &'a str,
    /// Where it is, and where the line there begins.
    at: usize,
    line_start: usize,
    line: usize,
    column: usize,
}

impl Walk<'_> {
    /// The place of a byte that is not before the last one asked for.
    fn place(&mut self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        for (index, c) in self.text[self.at..offset].char_indices() {
            self.column += 1;
            if c == '\n' {
                (self.line, self.column) = (self.line + 1, 1);
                self.line_start = self.at + index + 1;
            }
        }
        self.at = offset;
        Place { line: self.line, column: self.column, shown: self.line_here() }
    }

    fn line_here(&self) -> Option<String> {
        let line = self.text[self.line_start..].chars().take_while(|c| *c != '\n');
        let line: String = line.take(SHOWN_COLUMNS + 1).collect();
        let line = line.trim_end_matches('\r');
        // A control character, which TOML refuses, must not reach a terminal either.
        let harmless = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
        (line.chars().count() <= SHOWN_COLUMNS).then(|| line.chars().map(harmless).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, offset: usize) -> String {
        let mut findings = Findings::default();
        findings.at(offset, "no.");
        findings.verdict((), Some(Path::new("lab.toml")), text).unwrap_err().to_string()
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

    #[test]
    fn errors_come_in_the_order_of_the_file_and_then_of_the_command_line() {
        let mut findings = Findings::default();
        findings.of_command_line("--port");
        findings.at(12, "third");
        findings.of_file("all of it");
        findings.at(8, "second");
        findings.at(0, "first");
        let errors = findings.verdict((), Some(Path::new("lab.toml")), "a = 1\nb = 2, c").unwrap_err();
        let told: Vec<_> = errors.iter().map(|error| (error.sentence(), error.place())).collect();
        let places = [Some((1, 1)), Some((2, 3)), Some((2, 7)), None, None];
        let sentences = ["first", "second", "third", "all of it", "--port"];
        assert_eq!(told, sentences.into_iter().zip(places).collect::<Vec<_>>());
        assert!(errors.to_string().ends_with("\nlab.toml: all of it\n--port"), "{errors}");
    }
}
