//! What `[limits]` and `[socket]` have in common, and share with every service's
//! table: each of their keys is one [`Setting`].

use super::description::Key;
use super::values::{Read, Toml};
use crate::service::Transport;

/// A key, and the field of a `T` that it sets.
pub(super) struct Setting<T: 'static> {
    pub key: Key,
    /// The only transport that it makes sense for, if it does not for both.
    pub only: Option<Transport>,
    pub set: fn(&mut T, &Toml<'_>) -> Read<()>,
}

/// Overwrites a field with what was read.
pub(super) fn store<T>(field: &mut T, read: Read<T>) -> Read<()> {
    *field = read?;
    Ok(())
}

/// The setting of that name.
pub(super) fn find<T>(settings: &'static [Setting<T>], name: &str) -> Option<&'static Setting<T>> {
    settings.iter().find(|setting| setting.key.name == name)
}

/// The names of settings.
pub(super) fn names<T>(settings: &'static [Setting<T>]) -> impl Iterator<Item = &'static str> {
    settings.iter().map(|setting| setting.key.name)
}
