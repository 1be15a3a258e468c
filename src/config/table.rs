//! A TOML table that remembers where each of its keys stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{ConfigError, Source};
use super::values::{self, Read};

/// A table of the file. Ask first [`each_key`](Table::each_key) whether all
/// keys are known, then [`set`](Table::set) one setting after the other.
pub(super) struct Table<'a> {
    source: Source<'a>,
    /// Where an error about the table as a whole points to.
    at: Range<usize>,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    pub fn root(source: Source<'a>, root: &'a Spanned<DeTable<'a>>) -> Table<'a> {
        Table { source, at: 0..0, entries: root.get_ref() }
    }

    /// The table below `key`, where there is one.
    pub fn table(&self, key: &str) -> Result<Option<Table<'a>>, ConfigError> {
        let Some((name, value)) = self.entry(key) else { return Ok(None) };
        match value.get_ref() {
            DeValue::Table(entries) => Ok(Some(Table { source: self.source, at: name.span(), entries })),
            other => {
                let reason = values::instead("a table", other);
                Err(self.source.error(value.span().start, format!("{key}: {reason}")))
            }
        }
    }

    /// The tables in this one, in the order of the file.
    pub fn tables(&self) -> Result<Vec<(&'a str, Table<'a>)>, ConfigError> {
        let mut tables = Vec::new();
        for name in self.keys() {
            if let Some(table) = self.table(name.get_ref())? {
                tables.push((&**name.get_ref(), table));
            }
        }
        Ok(tables)
    }

    /// Asks about each key in the order of the file; an answer is why it cannot stand here.
    pub fn each_key(&self, refusal: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        for key in self.keys() {
            if let Some(sentence) = refusal(key.get_ref()) {
                return Err(self.source.error(key.span().start, sentence));
            }
        }
        Ok(())
    }

    /// Overwrites a setting where its key is there.
    pub fn set<T>(
        &self,
        key: &str,
        setting: &mut T,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
    ) -> Result<(), ConfigError> {
        if let Some(value) = self.get(key, read)? {
            *setting = value;
        }
        Ok(())
    }

    /// Reads a setting that has no default.
    pub fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&DeValue<'_>) -> Read<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((_, value)) = self.entry(key) else { return Ok(None) };
        let setting = read(value.get_ref());
        setting.map(Some).map_err(|reason| self.error_in(key, format!("{key}: {reason}")))
    }

    /// An error about the value of `key`, or about the table where it has none.
    pub fn error_in(&self, key: &str, sentence: impl Into<String>) -> ConfigError {
        let at = self.entry(key).map_or(self.at.clone(), |(_, value)| value.span());
        self.source.error(at.start, sentence)
    }

    /// The keys in the order of the file.
    fn keys(&self) -> Vec<&'a Spanned<DeString<'a>>> {
        let mut keys: Vec<_> = self.entries.keys().collect();
        keys.sort_by_key(|key| key.span().start);
        keys
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)> {
        self.entries.iter().find(|(name, _)| name.get_ref() == key)
    }
}
