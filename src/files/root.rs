//! A root: the directory whose files services hand out and take.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{FileError, is_about_descriptors};
use super::listing::{Listed, Listing, Scan};
use super::names::Name;
use super::open_files::{OpenFiles, most_open};
use super::sums::Sums;
use super::usage::{Stored, Usage};
use crate::disk::{Directory, Disk, File, Identity, Modified};
use crate::wording::counted;

/// What temporary files are called, with a number behind it. Names of clients never begin
/// with a dot.
const TEMPORARY: &str = ".onepoll-upload-";
/// What a listing is used again for, if no file was added or removed meanwhile: however many
/// ask, a large directory is read once in that time.
const LISTING_LASTS: Duration = Duration::from_secs(1);
/// Files that vanish or cannot be read between listing and opening, before the newest is
/// given up.
const NEWEST_TRIED: usize = 16;
/// Temporary files that could not be removed, and are tried again; the next start finds
/// the others.
const MOST_LEFT_BEHIND: usize = 1000;

const WELCOME_NAME: &str = "welcome.txt";
const WELCOME: &str = "\
Welcome to onepoll! This file came over a socket.
Put files next to it, and everybody can download them.

onepoll에 오신 것을 환영합니다! 이 파일은 소켓을 통해 왔습니다.
이 폴더에 파일을 넣으면 누구나 내려받을 수 있습니다.
";

/// The roots of one daemon: services that name the same directory share it, quotas and all.
#[derive(Debug, Clone)]
pub struct Roots {
    disk: Disk,
    open_files: Arc<OpenFiles>,
    shared: Arc<Mutex<BTreeMap<PathBuf, Arc<Shared>>>>,
}

/// What one service may do in its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether it stores files.
    pub writable: bool,
    /// The most bytes of a file that it stores.
    pub max_file_size: u64,
    /// The most bytes of all files in the root together.
    pub max_total_size: u64,
    /// The most files in the root.
    pub max_files: u64,
}

/// A directory of files for clients, as one service sees it. It is opened, and created if
/// it is missing, when it is first used. Every method may wait for the disk.
#[derive(Clone)]
pub struct Root {
    pub(super) shared: Arc<Shared>,
    pub(super) policy: Policy,
}

/// An open file.
#[derive(Debug, Clone)]
pub struct Found {
    /// The file, which others may have found too.
    pub file: Arc<File>,
    /// The name by which it was found.
    pub name: Name,
    /// Its length when it was opened.
    pub size: u64,
    /// Which contents it had then.
    pub identity: Identity,
}

/// What the services of a root share.
#[derive(Debug)]
pub(super) struct Shared {
    disk: Disk,
    pub open_files: Arc<OpenFiles>,
    path: PathBuf,
    /// Not held while the disk works, except to open the root.
    state: Mutex<State>,
    last_temporary: AtomicU64,
    /// Temporary files that could not be removed.
    left_behind: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    directory: Option<Directory>,
    /// Whether any service stores files here.
    is_written: bool,
    /// Whether the log knows already that the root cannot be opened.
    told: bool,
    listing: Option<Cached>,
    pub usage: Usage,
    pub sums: Sums,
}

/// A listing that was made a moment ago.
#[derive(Debug, Clone)]
struct Cached {
    /// The directory then, and what this daemon had stored: its clock may tick more slowly
    /// than uploads come.
    of: (Modified, Stored),
    since: Instant,
    listing: Arc<Listing>,
}

/// Whether a name is that of an upload in flight, or of one that was broken off.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMPORARY)
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { writable: true, max_file_size: 1 << 30, max_total_size: 10 << 30, max_files: 10_000 }
    }
}

impl Roots {
    /// Roots on a disk.
    pub fn on(disk: Disk) -> Roots {
        let most = disk.descriptors().map_or(usize::MAX, most_open);
        Roots::with_open_files(disk, most)
    }

    /// Roots on a disk, of which this many files may be open at a time.
    pub(super) fn with_open_files(disk: Disk, most: usize) -> Roots {
        Roots { disk, open_files: OpenFiles::new(most), shared: Arc::default() }
    }

    /// The root at a path, for one service. Nothing is opened yet.
    pub fn root(&self, path: &Path, policy: Policy) -> Root {
        let path = self.disk.resolve(path);
        let mut all = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let create = || {
            Arc::new(Shared {
                disk: self.disk.clone(),
                open_files: self.open_files.clone(),
                path: path.clone(),
                state: Mutex::default(),
                last_temporary: AtomicU64::default(),
                left_behind: Mutex::default(),
            })
        };
        let shared = all.entry(path.clone()).or_insert_with(create).clone();
        drop(all);
        shared.state().is_written |= policy.writable;
        Root { shared, policy }
    }
}

impl Root {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Where it is, if clients may store files there.
    pub fn stores_in(&self) -> Option<PathBuf> {
        self.policy.writable.then(|| self.shared.path.clone())
    }

    /// What the service may do in it.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Opens the root, creates it if it is missing, removes what broken uploads left, and
    /// counts what is there. A service calls it as it starts, so that the log tells early
    /// what is wrong; the next use tries again.
    ///
    /// # Errors
    /// A root that cannot be opened or created.
    pub fn prepare(&self) -> Result<(), FileError> {
        self.directory().map(drop)
    }

    /// The files that clients may ask for.
    ///
    /// # Errors
    /// A root that cannot be read.
    pub fn list(&self) -> Result<Arc<Listing>, FileError> {
        let directory = self.directory()?;
        let modified = directory.modified().map_err(|error| self.shared.lost(&error))?;
        let state = self.shared.state();
        let of = (modified, state.usage.stored());
        if let Some(cached) = &state.listing
            && cached.of == of
            && cached.since.elapsed() < LISTING_LASTS
        {
            return Ok(cached.listing.clone());
        }
        drop(state);
        let listing = Arc::new(self.shared.scan(&directory)?.listing());
        let cached = Cached { of, since: Instant::now(), listing: listing.clone() };
        self.shared.state().listing = Some(cached);
        Ok(listing)
    }

    /// Opens the file that changed last; `None` if there is none that can be read.
    ///
    /// # Errors
    /// A root that cannot be read.
    pub fn newest(&self) -> Result<Option<Found>, FileError> {
        let listing = self.list()?;
        let mut files: Vec<&Listed> = listing.files.iter().collect();
        files.sort_unstable_by(|one, other| other.cmp(one));
        Ok(files.into_iter().take(NEWEST_TRIED).find_map(|file| self.open(&file.name).ok()))
    }

    /// Opens a file.
    ///
    /// # Errors
    /// A name of no regular file below the root, and what the disk refuses.
    pub fn open(&self, name: &Name) -> Result<Found, FileError> {
        let directory = self.directory()?;
        let file = match directory.open(name.as_str()) {
            Err(error) if error.kind() == ErrorKind::NotFound => match name.decomposed() {
                Some(decomposed) => directory.open(&decomposed),
                None => Err(error),
            },
            opened => opened,
        };
        let file = file.map_err(FileError::reading)?;
        let identity = file.identity().map_err(FileError::reading)?;
        let file = self.shared.open_files.share(file, &identity)?;
        Ok(Found { file, name: name.clone(), size: identity.size, identity })
    }

    pub(super) fn known_sum(&self, identity: &Identity) -> Option<[u8; 32]> {
        self.shared.state().sums.get(identity)
    }

    pub(super) fn remember_sum(&self, identity: Identity, sum: [u8; 32]) {
        self.shared.state().sums.remember(identity, sum);
    }

    pub(super) fn directory(&self) -> Result<Directory, FileError> {
        let mut state = self.shared.state();
        if let Some(directory) = &state.directory {
            return Ok(directory.clone());
        }
        let opened = self.shared.open(&mut state);
        match &opened {
            Ok(directory) => {
                state.directory = Some(directory.clone());
                state.told = false;
            }
            Err(error) if !std::mem::replace(&mut state.told, true) => {
                log::warn!("{}: {error}; it is tried again at each request", self.path().display());
            }
            Err(_) => {}
        }
        opened
    }
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, state: &mut State) -> Result<Directory, FileError> {
        let unavailable = |error| FileError::Unavailable(format!("the folder cannot be opened: {error}"));
        let path = &self.path;
        let (directory, is_new) = match self.disk.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let cannot = |error| FileError::Unavailable(format!("the folder cannot be created: {error}"));
                self.disk.create(path).map_err(cannot)?;
                (self.disk.open(path).map_err(unavailable)?, true)
            }
            opened => (opened.map_err(unavailable)?, false),
        };
        if is_new {
            log::info!("{} did not exist and was created, with {WELCOME_NAME} in it", path.display());
            if let Err(error) = welcome(self, &directory) {
                log::warn!("{}: {WELCOME_NAME} cannot be written: {error}", path.display());
            }
        } else if state.is_written
            && let Err(error) = probe(self, &directory)
        {
            log::warn!(
                "{} cannot be written: {error}. Its files are served, and uploads are refused",
                path.display()
            );
        }
        let before = state.usage.stored();
        let modified = directory.modified().ok();
        let mut scan = Scan::default();
        directory.entries(&mut |entry| scan.add(entry)).map_err(unavailable)?;
        state.usage.scanned(scan.files, scan.bytes, before, modified);
        if state.is_written {
            self.remove_abandoned(&directory, &scan.temporary);
        }
        Ok(directory)
    }

    /// Removes what uploads left when their daemon was killed, unless another one is still
    /// writing it.
    fn remove_abandoned(&self, directory: &Directory, temporary: &[String]) {
        let abandoned = temporary.iter().filter(|name| matches!(directory.is_in_use(name), Ok(false)));
        let removed = abandoned.filter(|name| directory.remove(name).is_ok()).count();
        if removed > 0 {
            let removed = counted(removed, "unfinished upload");
            log::info!("{}: {removed} of an earlier run removed", self.path.display());
        }
    }

    /// Goes through the directory once, and counts what is there.
    pub fn scan(&self, directory: &Directory) -> Result<Scan, FileError> {
        let before = self.state().usage.stored();
        let modified = directory.modified().ok();
        let mut scan = Scan::default();
        directory.entries(&mut |entry| scan.add(entry)).map_err(|error| self.lost(&error))?;
        self.state().usage.scanned(scan.files, scan.bytes, before, modified);
        Ok(scan)
    }

    /// Creates a temporary file under a name that is not in use.
    pub fn create_temporary(&self, directory: &Directory) -> std::io::Result<(String, File)> {
        loop {
            let number = self.last_temporary.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMPORARY}{number}");
            match directory.create(&name) {
                // Of an earlier run, or of another daemon in the same directory.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => return Ok((name, created?)),
            }
        }
    }

    /// Removes a temporary file, or notes that it is still there.
    pub fn remove_temporary(&self, directory: &Directory, name: String) {
        let Err(error) = directory.remove(&name) else { return };
        let mut left_behind = self.left_behind.lock().unwrap_or_else(PoisonError::into_inner);
        if error.kind() != ErrorKind::NotFound && left_behind.len() < MOST_LEFT_BEHIND {
            left_behind.push(name);
        }
    }

    /// Tries again to remove what could not be removed.
    pub fn clean_up(&self, directory: &Directory) {
        let left_behind =
            std::mem::take(&mut *self.left_behind.lock().unwrap_or_else(PoisonError::into_inner));
        for name in left_behind {
            self.remove_temporary(directory, name);
        }
    }

    /// What it means that the directory itself cannot be used any more: somebody may have
    /// removed it, and the next use opens the path anew.
    pub fn lost(&self, error: &std::io::Error) -> FileError {
        if is_about_descriptors(error) {
            return FileError::Busy;
        }
        let mut state = self.state();
        (state.directory, state.listing) = (None, None);
        FileError::Unavailable(format!("the folder cannot be read: {error}"))
    }
}

/// Writes the first file of a new root.
fn welcome(shared: &Shared, directory: &Directory) -> std::io::Result<()> {
    let (temporary, file) = shared.create_temporary(directory)?;
    let written = file.write_at(WELCOME.as_bytes(), 0).and_then(|()| file.sync());
    let named = written.and_then(|()| directory.rename(&temporary, WELCOME_NAME));
    match named {
        Ok(()) => directory.sync(),
        Err(error) => {
            shared.remove_temporary(directory, temporary);
            Err(error)
        }
    }
}

/// Tries whether files can be created.
fn probe(shared: &Shared, directory: &Directory) -> std::io::Result<()> {
    let (name, _file) = shared.create_temporary(directory)?;
    shared.remove_temporary(directory, name);
    Ok(())
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root").field("path", &self.shared.path).field("policy", &self.policy).finish()
    }
}
