//! The disk in memory does what the kernel's does, where neither fails.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use proptest::prelude::*;

/// A directory on a disk, and the files that are open in it.
struct Desk {
    directory: Directory,
    open: Vec<Option<File>>,
}

#[derive(Debug, Clone)]
enum Move {
    Create(usize, String),
    Open(usize, String),
    Write(usize, Vec<u8>, u64),
    Read(usize, usize, u64),
    Close(usize),
    Rename(String, String),
    Remove(String),
    Contains(String),
    IsInUse(String),
}

/// What a move came to, as far as both disks can say it the same way.
type Outcome = Result<(u64, Vec<u8>), ErrorKind>;

const HANDLES: usize = 3;

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let name = || "[abc]";
    let bytes = prop::collection::vec(any::<u8>(), 0..40);
    let one = prop_oneof![
        3 => (0..HANDLES, name()).prop_map(|(handle, name)| Move::Create(handle, name)),
        2 => (0..HANDLES, name()).prop_map(|(handle, name)| Move::Open(handle, name)),
        4 => (0..HANDLES, bytes, 0u64..60).prop_map(|(handle, bytes, at)| Move::Write(handle, bytes, at)),
        3 => (0..HANDLES, 0usize..80, 0u64..80).prop_map(|(handle, count, at)| Move::Read(handle, count, at)),
        1 => (0..HANDLES).prop_map(Move::Close),
        2 => (name(), name()).prop_map(|(from, to)| Move::Rename(from, to)),
        2 => name().prop_map(Move::Remove),
        1 => name().prop_map(Move::Contains),
        1 => name().prop_map(Move::IsInUse),
    ];
    prop::collection::vec(one, 1..60)
}

impl Desk {
    fn at(disk: &Disk, path: &Path) -> Desk {
        disk.create(path).unwrap();
        let open = (0..HANDLES).map(|_| None).collect();
        Desk { directory: disk.open(path).unwrap(), open }
    }

    fn play(&mut self, step: &Move) -> Outcome {
        let done = |result: io::Result<()>| result.map(|()| (0, Vec::new()));
        let told = |result: io::Result<bool>| result.map(|told| (u64::from(told), Vec::new()));
        let outcome = match step {
            Move::Create(handle, name) => {
                let created = self.directory.create(name);
                done(created.map(|file| self.open[*handle] = Some(file)))
            }
            Move::Open(handle, name) => {
                let opened = self.directory.open(name);
                done(opened.map(|file| self.open[*handle] = Some(file)))
            }
            Move::Write(handle, bytes, at) => match &self.open[*handle] {
                Some(file) => done(file.write_at(bytes, *at)).and_then(|_| Ok((file.size()?, Vec::new()))),
                None => Ok((0, Vec::new())),
            },
            Move::Read(handle, count, at) => match &self.open[*handle] {
                Some(file) => {
                    let mut buffer = vec![0; *count];
                    let warmed = file.warm(*at..*at + *count as u64);
                    warmed.and_then(|()| file.read_at(&mut buffer, *at)).map(|read| {
                        buffer.truncate(read);
                        (read as u64, buffer)
                    })
                }
                None => Ok((0, Vec::new())),
            },
            Move::Close(handle) => {
                self.open[*handle] = None;
                Ok((0, Vec::new()))
            }
            // The kernel finds that a name is taken first, the one in memory that there is
            // nothing to rename; both are right.
            Move::Rename(from, to) => match self.directory.contains(from) {
                Ok(true) => done(self.directory.rename(from, to)),
                _ => Ok((0, Vec::new())),
            },
            Move::Remove(name) => done(self.directory.remove(name)),
            Move::Contains(name) => told(self.directory.contains(name)),
            Move::IsInUse(name) => told(self.directory.is_in_use(name)),
        };
        outcome.map_err(|error| error.kind())
    }

    fn files(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        let visit = &mut |entry: Entry| {
            files.insert(entry.name.unwrap(), entry.size);
        };
        self.directory.entries(visit).unwrap();
        files
    }
}

fn temporary_path() -> PathBuf {
    static PATHS: AtomicUsize = AtomicUsize::new(0);
    let number = PATHS.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("onepoll-disk-{}-{number}", std::process::id()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn both_disks_agree(seed: u64, moves in moves()) {
        let path = temporary_path();
        let mut kernel = Desk::at(&Disk::Kernel, &path);
        let mut memory = Desk::at(&Disk::Simulated(simulated::Disk::new(seed)), Path::new("desk"));
        let played = moves.iter().map(|step| (step, kernel.play(step), memory.play(step))).collect::<Vec<_>>();
        let (of_kernel, of_memory) = (kernel.files(), memory.files());
        std::fs::remove_dir_all(&path).unwrap();
        for (step, expected, got) in played {
            prop_assert_eq!(got, expected, "{:?}", step);
        }
        prop_assert_eq!(of_memory, of_kernel);
    }
}

#[test]
fn only_single_names_are_accepted() {
    let path = temporary_path();
    let desk = Desk::at(&Disk::Kernel, &path);
    for name in ["", ".", "..", "/etc/passwd", "../x", "a/b"] {
        assert_eq!(desk.directory.open(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(desk.directory.create(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(desk.directory.remove(name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(desk.directory.rename(name, "a").unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
        assert_eq!(desk.directory.rename("a", name).unwrap_err().kind(), ErrorKind::InvalidInput, "{name:?}");
    }
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn what_was_synced_survives_a_power_cut_and_nothing_else_has_to() {
    let path = Path::new("desk");
    let (mut lost, mut torn) = (0, 0);
    for seed in 0..100 {
        let disk = simulated::Disk::new(seed);
        let desk = Desk::at(&Disk::Simulated(disk.clone()), path);
        let synced = desk.directory.create("synced").unwrap();
        synced.write_at(b"synced", 0).unwrap();
        synced.sync().unwrap();
        desk.directory.create("torn").unwrap().write_at(b"not synced", 0).unwrap();
        desk.directory.sync().unwrap();
        desk.directory.create("lost").unwrap();
        disk.cut_power();
        let left = disk.contents(path);
        assert_eq!(left["synced"], b"synced");
        torn += usize::from(left["torn"] != b"not synced");
        lost += usize::from(!left.contains_key("lost"));
        assert!(synced.size().is_err() && desk.directory.create("more").is_err(), "handles are dead");
    }
    assert!((30..70).contains(&lost) && torn > 50, "{lost} lost, {torn} torn");
}
