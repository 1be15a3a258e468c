//! The keys that `[limits]` and `[socket]` share with every service's table: each of them
//! is one [`Setting`].

use super::description::Key;
use super::values::{Read, Toml};
use crate::service::Transport;

/// A key, and the field of a `T` that it sets.
pub(super) struct Setting<T: 'static> {
    pub key: Key,
    /// Which services can set it, if not all of them.
    pub only: Option<Only>,
    pub set: fn(&mut T, &Toml<'_>) -> Read<()>,
}

/// The services whose tables can have a setting. In `[limits]` and `[socket]` it stands
/// for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Only {
    /// Those with a port for this transport.
    Transport(Transport),
    /// Those with a key of this name, whose plan reads it.
    Declared,
}

/// Overwrites a field with what was read.
pub(super) fn store<T>(field: &mut T, read: Read<T>) -> Read<()> {
    *field = read?;
    Ok(())
}

/// Finds a setting by its name.
pub(super) fn find<T>(settings: &'static [Setting<T>], name: &str) -> Option<&'static Setting<T>> {
    settings.iter().find(|setting| setting.key.name == name)
}

/// The names of settings.
pub(super) fn names<T>(settings: &'static [Setting<T>]) -> impl Iterator<Item = &'static str> {
    settings.iter().map(|setting| setting.key.name)
}
