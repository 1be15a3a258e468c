//! A disk in memory that fails when a seed says so, is full when told, and forgets at a
//! power cut what was not synced.
//!
//! It takes no time: a slow disk is a slow job, which the simulated system arranges.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Entry, Identity, Modified};
use crate::rng::Rng;

/// A disk. Clones share it.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Mutex<State>>);

/// How often operations fail, each per thousand. A write that fails may have written some of
/// its bytes; everything else that fails has no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Creating a file.
    pub create: u32,
    /// Writing to a file.
    pub write: u32,
    /// Syncing a file or a directory.
    pub sync: u32,
    /// Renaming a file.
    pub rename: u32,
    /// Removing a file.
    pub remove: u32,
    /// Opening a file, reading from it, and listing a directory.
    pub read: u32,
}

/// One directory of a disk.
#[derive(Debug, Clone)]
pub struct Directory {
    disk: Disk,
    path: PathBuf,
    generation: u64,
}

/// An open file.
#[derive(Debug)]
pub struct File {
    disk: Disk,
    inode: u64,
    /// Whether this handle created it.
    created: bool,
    generation: u64,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    faults: Faults,
    capacity: Option<u64>,
    is_read_only: bool,
    /// The changes asked for so far, and which of them fails.
    changes: u64,
    failing: Option<Failing>,
    /// Handles of an earlier generation are dead.
    generation: u64,
    /// What files are stamped with; it ticks at each change.
    clock: i64,
    directories: BTreeMap<PathBuf, Names>,
    inodes: BTreeMap<u64, Inode>,
    last_inode: u64,
}

#[derive(Debug, Clone, Copy)]
enum Failing {
    Only(u64),
    From(u64),
}

#[derive(Debug, Default)]
struct Names {
    now: BTreeMap<String, u64>,
    /// As of the last sync, and what has changed since.
    durable: BTreeMap<String, u64>,
    unsynced: Vec<Change>,
    modified: i64,
}

#[derive(Debug)]
enum Change {
    Add(String, u64),
    Remove(String),
    Rename(String, String, u64),
}

#[derive(Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    modified: i64,
    has_name: bool,
    handles: usize,
    in_use: bool,
    /// The numbers of the pages that are in the page cache.
    cached: BTreeSet<u64>,
}

const PAGE: u64 = 4096;

fn pages(range: Range<u64>) -> Range<u64> {
    range.start / PAGE..range.end.div_ceil(PAGE)
}

impl Disk {
    /// An empty disk without faults. The seed draws the faults that are asked for later, and
    /// what survives a power cut.
    pub fn new(seed: u64) -> Disk {
        Disk(Arc::new(Mutex::new(State {
            rng: Rng::new(seed),
            faults: Faults::default(),
            capacity: None,
            is_read_only: false,
            changes: 0,
            failing: None,
            generation: 0,
            clock: 0,
            directories: BTreeMap::new(),
            inodes: BTreeMap::new(),
            last_inode: 0,
        })))
    }

    /// Makes operations fail from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Bounds the bytes that files can take together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Refuses all changes, as a file system that is mounted read-only does.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.state().is_read_only = is_read_only;
    }

    /// How many changes were asked for: each file created, written, synced, renamed or
    /// removed, and each directory created or synced.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Makes one change fail, `later` changes from now.
    pub fn fail_once(&self, later: u64) {
        let mut state = self.state();
        state.failing = Some(Failing::Only(state.changes + later));
    }

    /// Makes every change fail from then on, `later` changes from now, until
    /// [`Disk::cut_power`] or [`Disk::kill`].
    pub fn fail_from(&self, later: u64) {
        let mut state = self.state();
        state.failing = Some(Failing::From(state.changes + later));
    }

    /// Ends the process that uses the disk: its handles are dead, and its writes stay.
    pub fn kill(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.failing = None;
        for inode in state.inodes.values_mut() {
            (inode.handles, inode.in_use) = (0, false);
        }
        state.forget_nameless();
    }

    /// Cuts the power: handles are dead, and of what was not synced only parts survive, in
    /// no order.
    pub fn cut_power(&self) {
        let mut state = self.state();
        let State { rng, directories, inodes, .. } = &mut *state;
        for names in directories.values_mut() {
            for change in std::mem::take(&mut names.unsynced) {
                if rng.chance(500) {
                    change.apply(&mut names.durable);
                }
            }
            names.now.clone_from(&names.durable);
        }
        for inode in inodes.values_mut() {
            inode.tear(rng);
            inode.has_name = false;
        }
        for inode in directories.values().flat_map(|names| names.now.values()) {
            if let Some(inode) = inodes.get_mut(inode) {
                inode.has_name = true;
            }
        }
        drop(state);
        self.kill();
    }

    /// Puts a file where somebody else would: by hand, past all that the daemon does.
    pub fn put(&self, directory: &Path, name: &str, contents: &[u8]) {
        let mut state = self.state();
        let inode = state.add_inode();
        let clock = state.tick();
        state.inodes.insert(
            inode,
            Inode {
                now: contents.into(),
                durable: contents.into(),
                modified: clock,
                has_name: true,
                ..Inode::default()
            },
        );
        let names = state.directories.entry(directory.into()).or_default();
        names.modified = clock;
        names.durable.insert(name.into(), inode);
        let before = names.now.insert(name.into(), inode);
        if let Some(before) = before.and_then(|before| state.inodes.get_mut(&before)) {
            before.has_name = false;
        }
    }

    /// Removes a file by hand.
    pub fn take(&self, directory: &Path, name: &str) {
        let mut state = self.state();
        let clock = state.tick();
        let Some(names) = state.directories.get_mut(directory) else { return };
        names.modified = clock;
        names.durable.remove(name);
        let inode = names.now.remove(name);
        if let Some(inode) = inode.and_then(|inode| state.inodes.get_mut(&inode)) {
            inode.has_name = false;
        }
    }

    /// What is in a directory, temporary files and all, with its contents.
    pub fn contents(&self, directory: &Path) -> BTreeMap<String, Vec<u8>> {
        let state = self.state();
        let names = state.directories.get(directory).into_iter().flat_map(|names| &names.now);
        names.map(|(name, inode)| (name.clone(), state.inodes[inode].now.clone())).collect()
    }

    pub(super) fn open(&self, path: &Path) -> io::Result<Directory> {
        let mut state = self.state();
        state.may_read()?;
        if !state.directories.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(Directory { disk: self.clone(), path: path.into(), generation: state.generation })
    }

    pub(super) fn create(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let rate = state.faults.create;
        state.may_change(rate)?;
        state.directories.entry(path.into()).or_default();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a handle that is not dead.
    fn alive(&self, generation: u64) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.generation == generation { Ok(state) } else { Err(Errno::IO.into()) }
    }
}

impl State {
    fn may_read(&mut self) -> io::Result<()> {
        if self.rng.chance(self.faults.read) { Err(Errno::IO.into()) } else { Ok(()) }
    }

    fn may_change(&mut self, per_thousand: u32) -> io::Result<()> {
        let number = self.changes;
        self.changes += 1;
        let fails = match self.failing {
            Some(Failing::Only(failing)) => number == failing,
            Some(Failing::From(failing)) => number >= failing,
            None => false,
        };
        if self.is_read_only {
            return Err(Errno::ROFS.into());
        }
        if fails || self.rng.chance(per_thousand) { Err(Errno::IO.into()) } else { Ok(()) }
    }

    fn tick(&mut self) -> i64 {
        self.clock += 1;
        self.clock
    }

    fn add_inode(&mut self) -> u64 {
        self.last_inode += 1;
        self.last_inode
    }

    fn names(&mut self, path: &Path) -> io::Result<&mut Names> {
        self.directories.get_mut(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// How many more bytes there is room for.
    fn room(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let held = self.inodes.values().filter(|inode| inode.has_name || inode.handles > 0);
        capacity.saturating_sub(held.map(|inode| inode.now.len() as u64).sum())
    }

    /// Drops the contents that nothing can reach, not even after a power cut.
    fn forget_nameless(&mut self) {
        if self.directories.values().all(|names| names.unsynced.is_empty()) {
            self.inodes.retain(|_, inode| inode.has_name || inode.handles > 0);
        }
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Change::Add(name, inode) => {
                names.insert(name, inode);
            }
            Change::Remove(name) => {
                names.remove(&name);
            }
            Change::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

impl Inode {
    /// Keeps what was synced, and a random part of what was not.
    fn tear(&mut self, rng: &mut Rng) {
        if self.now != self.durable {
            let length = rng.below(self.now.len() + 1);
            let written = rng.below(length + 1);
            self.durable.resize(length, 0);
            self.durable[..written].copy_from_slice(&self.now[..written]);
            self.now.clone_from(&self.durable);
        }
    }
}

impl Directory {
    pub(super) fn entries(&self, visit: &mut dyn FnMut(Entry)) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        state.may_read()?;
        let names: Vec<_> =
            state.names(&self.path)?.now.iter().map(|(name, inode)| (name.clone(), *inode)).collect();
        let entries = names.into_iter().map(|(name, inode)| {
            let inode = state.inode(inode)?;
            let (size, modified) = (inode.now.len() as u64, stamp(inode.modified));
            Ok(Entry { name: Some(name), size, modified, is_link: false })
        });
        let entries: io::Result<Vec<_>> = entries.collect();
        drop(state);
        entries?.into_iter().for_each(visit);
        Ok(())
    }

    pub(super) fn modified(&self) -> io::Result<Modified> {
        Ok(stamp(self.disk.alive(self.generation)?.names(&self.path)?.modified))
    }

    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        let mut state = self.disk.alive(self.generation)?;
        state.may_read()?;
        let inode = *state.names(&self.path)?.now.get(name).ok_or(ErrorKind::NotFound)?;
        state.inode(inode)?.handles += 1;
        Ok(File { disk: self.disk.clone(), inode, created: false, generation: self.generation })
    }

    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let mut state = self.disk.alive(self.generation)?;
        let rate = state.faults.create;
        state.may_change(rate)?;
        if state.names(&self.path)?.now.contains_key(name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = state.add_inode();
        let modified = state.tick();
        let created = Inode { modified, has_name: true, handles: 1, in_use: true, ..Inode::default() };
        state.inodes.insert(inode, created);
        let names = state.names(&self.path)?;
        names.now.insert(name.into(), inode);
        names.unsynced.push(Change::Add(name.into(), inode));
        names.modified = modified;
        Ok(File { disk: self.disk.clone(), inode, created: true, generation: self.generation })
    }

    pub(super) fn is_in_use(&self, name: &str) -> io::Result<bool> {
        let mut state = self.disk.alive(self.generation)?;
        let inode = *state.names(&self.path)?.now.get(name).ok_or(ErrorKind::NotFound)?;
        Ok(state.inode(inode)?.in_use)
    }

    pub(super) fn contains(&self, name: &str) -> io::Result<bool> {
        let mut state = self.disk.alive(self.generation)?;
        Ok(state.names(&self.path)?.now.contains_key(name))
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        let rate = state.faults.rename;
        state.may_change(rate)?;
        let modified = state.tick();
        let names = state.names(&self.path)?;
        if names.now.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = names.now.remove(from).ok_or(ErrorKind::NotFound)?;
        names.now.insert(to.into(), inode);
        names.unsynced.push(Change::Rename(from.into(), to.into(), inode));
        names.modified = modified;
        Ok(())
    }

    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        let rate = state.faults.remove;
        state.may_change(rate)?;
        let modified = state.tick();
        let names = state.names(&self.path)?;
        let inode = names.now.remove(name).ok_or(ErrorKind::NotFound)?;
        names.unsynced.push(Change::Remove(name.into()));
        names.modified = modified;
        state.inode(inode)?.has_name = false;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        let rate = state.faults.sync;
        state.may_change(rate)?;
        let names = state.names(&self.path)?;
        names.unsynced.clear();
        names.durable.clone_from(&names.now);
        state.forget_nameless();
        Ok(())
    }
}

impl File {
    pub(super) fn identity(&self) -> io::Result<Identity> {
        let mut state = self.disk.alive(self.generation)?;
        let inode = state.inode(self.inode)?;
        let (size, modified) = (inode.now.len() as u64, stamp(inode.modified));
        Ok(Identity { device: 0, inode: self.inode, size, modified })
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.alive(self.generation)?;
        state.may_read()?;
        let bytes = &state.inode(self.inode)?.now;
        let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        let rate = state.faults.write;
        let mut outcome = state.may_change(rate);
        let start = usize::try_from(offset).map_err(|_| io::Error::from(Errno::FBIG))?;
        let mut count = bytes.len();
        if outcome.is_err() {
            count = if state.is_read_only { 0 } else { state.rng.below(count + 1) };
        }
        let length = state.inode(self.inode)?.now.len();
        let room = state.room();
        let grows = |count: usize| (start + count).saturating_sub(length) as u64;
        if count > 0 && grows(count) > room {
            count = (length as u64 + room).saturating_sub(start as u64) as usize;
            outcome = outcome.and(Err(Errno::NOSPC.into()));
        }
        let modified = state.tick();
        let inode = state.inode(self.inode)?;
        if count > 0 {
            inode.now.resize(length.max(start + count), 0);
            inode.now[start..start + count].copy_from_slice(&bytes[..count]);
            inode.cached.extend(pages(start as u64..(start + count) as u64));
            inode.modified = modified;
        }
        outcome
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        let rate = state.faults.sync;
        state.may_change(rate)?;
        let inode = state.inode(self.inode)?;
        inode.durable.clone_from(&inode.now);
        Ok(())
    }

    pub(super) fn warm(&self, range: Range<u64>) -> io::Result<()> {
        let mut state = self.disk.alive(self.generation)?;
        state.may_read()?;
        state.inode(self.inode)?.cached.extend(pages(range));
        Ok(())
    }

    /// What lies behind the end waits for nothing, and neither does a dead handle.
    pub(super) fn is_warm(&self, range: Range<u64>) -> bool {
        let Ok(mut state) = self.disk.alive(self.generation) else { return true };
        let Ok(inode) = state.inode(self.inode) else { return true };
        let end = range.end.min(inode.now.len() as u64);
        pages(range.start..end.max(range.start)).all(|page| inode.cached.contains(&page))
    }

    /// A file on a disk of its own.
    pub(super) fn alone(bytes: Vec<u8>) -> File {
        let disk = Disk::new(0);
        let inode = Inode { durable: bytes.clone(), now: bytes, handles: 1, ..Inode::default() };
        let mut state = disk.state();
        let number = state.add_inode();
        state.inodes.insert(number, inode);
        drop(state);
        File { disk, inode: number, created: false, generation: 0 }
    }

    /// Cuts off what lies behind `size`.
    #[cfg(test)]
    pub(crate) fn truncate(&self, size: usize) {
        let mut state = self.disk.state();
        if let Some(inode) = state.inodes.get_mut(&self.inode) {
            inode.now.truncate(size);
        }
    }

    /// Makes every later read of its disk fail.
    #[cfg(test)]
    pub(crate) fn break_down(&self) {
        self.disk.set_faults(Faults { read: 1000, ..Faults::default() });
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let Ok(mut state) = self.disk.alive(self.generation) else { return };
        let Ok(inode) = state.inode(self.inode) else { return };
        inode.handles -= 1;
        if self.created {
            inode.in_use = false;
        }
    }
}

fn stamp(modified: i64) -> Modified {
    Modified { seconds: modified, nanoseconds: 0 }
}
