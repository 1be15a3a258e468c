//! A TOML table that remembers where each of its keys is.

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::Findings;
use super::values::{self, Read, Toml};

/// A table of the file.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    /// Where an error about the table as a whole points to.
    at: usize,
    entries: &'a DeTable<'a>,
}

/// A key with its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a str,
    /// Where the key is.
    pub at: usize,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Table<'a> {
    pub fn root(root: &'a Spanned<DeTable<'a>>) -> Table<'a> {
        Table { at: 0, entries: root.get_ref() }
    }

    /// The entries in the order of the file.
    pub fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<_> = self.entries.iter().map(Entry::new).collect();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// The table below `key`, if there is one.
    pub fn table(&self, key: &str, findings: &mut Findings) -> Option<Table<'a>> {
        self.entry(key)?.table(findings)
    }

    /// The value of `key`, if it has one that can be read.
    pub fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&Toml<'_>) -> Read<T>,
        findings: &mut Findings,
    ) -> Option<T> {
        self.entry(key)?.read(read, findings)
    }

    /// Where the value of `key` is, or the table if it has none.
    pub fn place_of(&self, key: &str) -> usize {
        self.entry(key).map_or(self.at, |entry| entry.value.span().start)
    }

    fn entry(&self, key: &str) -> Option<Entry<'a>> {
        self.entries.get_key_value(key).map(Entry::new)
    }
}

impl<'a> Entry<'a> {
    fn new((key, value): (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>)) -> Entry<'a> {
        Entry { key: key.get_ref(), at: key.span().start, value }
    }

    /// The value, if it can be read.
    pub fn read<T>(&self, read: impl FnOnce(&Toml<'_>) -> Read<T>, findings: &mut Findings) -> Option<T> {
        let value = read(self.value.get_ref());
        value.map_err(|reason| findings.at(self.value.span().start, format!("{}: {reason}", self.key))).ok()
    }

    /// The value, if it is a table.
    pub fn table(&self, findings: &mut Findings) -> Option<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(entries) => Some(Table { at: self.at, entries }),
            other => {
                let reason = values::instead("a table", other);
                findings.at(self.value.span().start, format!("{}: {reason}", self.key));
                None
            }
        }
    }
}
