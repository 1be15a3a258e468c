//! Roots on both disks, and what only one of them shows: faults in memory, links and FIFOs
//! in the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::root::is_temporary;
use super::*;
use crate::disk::{Disk, simulated};

mod faults;
mod links;
mod roots;

/// A directory on one of the disks, with a hand that changes it behind the daemon's back.
struct Stage {
    path: PathBuf,
    disk: Disk,
}

impl Stage {
    /// Plays the same on both disks.
    fn on_each(play: impl Fn(&Stage)) {
        play(&Stage::in_memory(&simulated::Disk::new(1)));
        play(&Stage::on_disk());
    }

    /// A directory that is there, and empty.
    fn in_memory(disk: &simulated::Disk) -> Stage {
        let stage = Stage { path: "root".into(), disk: Disk::Simulated(disk.clone()) };
        stage.disk.create(&stage.path).unwrap();
        stage
    }

    fn on_disk() -> Stage {
        static STAGES: AtomicUsize = AtomicUsize::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("onepoll-root-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Stage { path, disk: Disk::Kernel }
    }

    /// A daemon that starts.
    fn start(&self, policy: Policy) -> Root {
        let root = Roots::on(self.disk.clone()).root(&self.path, policy);
        let _ = root.prepare();
        root
    }

    fn put(&self, name: &str, contents: &[u8]) {
        match &self.disk {
            Disk::Kernel => {
                // Over an old file, as most programs do: under another name first.
                let new = self.path.join(".new");
                fs::write(&new, contents).unwrap();
                fs::rename(new, self.path.join(name)).unwrap();
            }
            Disk::Simulated(disk) => disk.put(&self.path, name, contents),
        }
    }

    fn take(&self, name: &str) {
        match &self.disk {
            Disk::Kernel => fs::remove_file(self.path.join(name)).unwrap(),
            Disk::Simulated(disk) => disk.take(&self.path, name),
        }
    }

    /// Dates a file. In memory every change has a time of its own.
    fn date(&self, name: &str, second: u64) {
        if let Disk::Kernel = self.disk {
            let file = fs::File::options().write(true).open(self.path.join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(second)).unwrap();
        }
    }

    /// Everything in the directory, temporary files included.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        match &self.disk {
            Disk::Kernel => {
                let entries = fs::read_dir(&self.path).unwrap().map(Result::unwrap);
                let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
                let read =
                    |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()));
                files.map(read).map(|(name, bytes)| (name, bytes.unwrap())).collect()
            }
            Disk::Simulated(disk) => disk.contents(&self.path),
        }
    }

    fn names(&self) -> Vec<String> {
        self.contents().into_keys().collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Disk::Kernel = self.disk {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn name(name: &str) -> Name {
    clean(name).unwrap()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Uploads in pieces, told nothing.
fn upload(root: &Root, to: &str, contents: &[u8]) -> Result<Stored, FileError> {
    let mut incoming = root.begin(&name(to), None)?;
    for piece in contents.chunks(7) {
        incoming.write(piece)?;
    }
    incoming.finish(None)
}

fn download(root: &Root, from: &str) -> Result<Vec<u8>, FileError> {
    Ok(read(&root.open(&name(from))?))
}

fn read(found: &Found) -> Vec<u8> {
    let mut contents = vec![0; found.size as usize + 1];
    let count = found.file.read_at(&mut contents, 0).unwrap();
    contents.truncate(count);
    contents
}

fn listed(root: &Root) -> Vec<String> {
    root.list().unwrap().files.iter().map(|file| file.name.to_string()).collect()
}

fn sum(root: &Root, found: &Found) -> (Result<[u8; 32], FileError>, usize) {
    let mut summing = root.sum(found);
    for steps in 1.. {
        match summing.step() {
            Ok(Step::More(rest)) => summing = rest,
            Ok(Step::Done(sum)) => return (Ok(sum), steps),
            Err(error) => return (Err(error), steps),
        }
    }
    unreachable!("a sum has an end");
}

/// What is stored and what is in flight: files and bytes of each.
fn figures(root: &Root) -> [u64; 4] {
    root.shared.state().usage.figures()
}
