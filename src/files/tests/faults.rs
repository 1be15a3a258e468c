//! Uploads to a disk that fails, is full, or loses its power: at every step of the way.

use super::*;
use crate::disk::simulated::Faults;
use proptest::prelude::*;

const CONTENTS: &[u8] = b"thirty bytes, in several writes";

/// Every file under a final name is whole: one of those that were uploaded.
fn check_whole(stage: &Stage, context: &str) {
    for (name, contents) in stage.contents() {
        let whole = is_temporary(&name) || contents == CONTENTS || contents == b"there before";
        assert!(whole, "{context}: {name} has {:?}", String::from_utf8_lossy(&contents));
    }
}

/// A disk with one file, and a root on it.
fn begun(seed: u64) -> (simulated::Disk, Stage, Root) {
    let disk = simulated::Disk::new(seed);
    let stage = Stage::in_memory(&disk);
    stage.put("a.txt", b"there before");
    let root = stage.start(Policy::default());
    (disk, stage, root)
}

/// How many changes of the disk an upload takes.
fn steps() -> u64 {
    let (disk, _, root) = begun(1);
    let before = disk.changes();
    upload(&root, "a.txt", CONTENTS).unwrap();
    disk.changes() - before
}

#[test]
fn an_upload_survives_no_failure_halfway() {
    // Creating, five writes, a sync, two renames of which one finds the name taken, a sync.
    assert_eq!(steps(), 10);
    for step in 0..steps() {
        let (disk, stage, root) = begun(step);
        disk.fail_once(step);
        let error = upload(&root, "a.txt", CONTENTS).expect_err("it failed");
        let context = format!("step {step}");
        assert_eq!(error.code(), "io", "{context}");
        assert_eq!(stage.names(), ["a.txt"], "{context}");
        assert_eq!(figures(&root), [1, 12, 0, 0], "{context}");
        // And it works again.
        assert_eq!(upload(&root, "a.txt", CONTENTS).unwrap().name, name("a (2).txt"), "{context}");
        check_whole(&stage, &context);
    }
}

#[test]
fn what_cannot_be_removed_is_removed_later() {
    for step in 0..steps() {
        let (disk, stage, root) = begun(step);
        disk.fail_from(step);
        upload(&root, "a.txt", CONTENTS).map(drop).unwrap_or_default();
        let context = format!("from step {step} on");
        check_whole(&stage, &context);
        assert_eq!(figures(&root)[2..], [0, 0], "{context}");
        // The disk comes back, and the next upload cleans up.
        disk.fail_once(u64::MAX / 2);
        upload(&root, "b", CONTENTS).unwrap();
        assert!(!stage.names().iter().any(|name| is_temporary(name)), "{context}: {:?}", stage.names());
        check_whole(&stage, &context);
    }
}

#[test]
fn nothing_is_left_behind_when_the_daemon_is_killed_at_any_step() {
    for step in 0..=steps() {
        let (disk, stage, root) = begun(step);
        disk.fail_from(step);
        let outcome = upload(&root, "a.txt", CONTENTS);
        disk.kill();
        drop(root);
        check_after_restart(&stage, &outcome, &format!("killed at step {step}"));
    }
}

#[test]
fn nothing_half_written_appears_when_the_power_fails_at_any_step() {
    for seed in 0..200 {
        for step in 0..=steps() {
            let (disk, stage, root) = begun(seed);
            disk.fail_from(step);
            let outcome = upload(&root, "a.txt", CONTENTS);
            disk.cut_power();
            drop(root);
            check_after_restart(&stage, &outcome, &format!("seed {seed}, power cut at step {step}"));
        }
    }
}

/// After a restart all temporary files are gone, the file from before is as it was, and
/// what the client was told is stored is there.
fn check_after_restart(stage: &Stage, outcome: &Result<Stored, FileError>, context: &str) {
    let root = stage.start(Policy::default());
    let names = stage.names();
    assert!(!names.iter().any(|name| is_temporary(name)), "{context}: {names:?}");
    check_whole(stage, context);
    assert_eq!(stage.contents()["a.txt"], b"there before", "{context}");
    if let Ok(stored) = outcome {
        assert_eq!(download(&root, stored.name.as_str()).unwrap(), CONTENTS, "{context}");
    }
    let bytes: usize = stage.contents().values().map(Vec::len).sum();
    assert_eq!(figures(&root), [names.len() as u64, bytes as u64, 0, 0], "{context}");
}

#[test]
fn a_full_disk_refuses_and_keeps_nothing() {
    let (disk, stage, root) = begun(1);
    for capacity in [12, 13, 12 + CONTENTS.len() as u64 - 1] {
        disk.set_capacity(Some(capacity));
        assert_eq!(upload(&root, "b", CONTENTS), Err(FileError::DiskFull));
        assert_eq!(stage.names(), ["a.txt"]);
        assert_eq!(figures(&root), [1, 12, 0, 0]);
    }
    disk.set_capacity(Some(12 + CONTENTS.len() as u64));
    upload(&root, "b", CONTENTS).unwrap();
}

#[test]
fn a_disk_that_turns_read_only_refuses_and_serves() {
    let (disk, stage, root) = begun(1);
    let mut incoming = root.begin(&name("b"), None).unwrap();
    disk.set_read_only(true);
    assert_eq!(incoming.write(CONTENTS), Err(FileError::ReadOnly));
    assert_eq!(incoming.finish(None), Err(FileError::ReadOnly));
    assert_eq!(root.begin(&name("c"), None).unwrap_err(), FileError::ReadOnly);
    assert_eq!(download(&root, "a.txt").unwrap(), b"there before");
    assert_eq!(stage.start(Policy::default()).list().unwrap().files.len(), 1);
    disk.set_read_only(false);
    upload(&root, "c", CONTENTS).unwrap();
    assert_eq!(stage.names(), ["a.txt", "c"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Uploads side by side on a disk that fails now and then: files are whole, figures are
    /// true once all is over, and a restart finds nothing to complain about.
    #[test]
    fn many_uploads_on_a_bad_disk(
        seed: u64,
        rates in prop::array::uniform5(0u32..200),
        moves in prop::collection::vec((0usize..4, 0u8..5), 1..120),
    ) {
        let (disk, stage, root) = begun(seed);
        let [create, write, sync, rename, remove] = rates;
        disk.set_faults(Faults { create, write, sync, rename, remove, read: 0 });
        let mut uploads: [Option<Incoming>; 4] = [const { None }; 4];
        let mut stored = Vec::new();
        for (which, what) in moves {
            match (uploads[which].take(), what) {
                (None, _) => uploads[which] = root.begin(&name("a.txt"), None).ok(),
                (Some(_), 0) => {}
                (Some(mut upload), _) if upload.written() < CONTENTS.len() as u64 => {
                    let from = upload.written() as usize;
                    let to = CONTENTS.len().min(from + 11);
                    uploads[which] = upload.write(&CONTENTS[from..to]).is_ok().then_some(upload);
                }
                (Some(upload), _) => stored.extend(upload.finish(Some(sha256(CONTENTS)))),
            }
            check_whole(&stage, "meanwhile");
        }
        uploads.into_iter().for_each(drop);
        disk.set_faults(Faults::default());
        prop_assert_eq!(&figures(&root)[2..], [0, 0]);
        root.shared.scan(&root.directory().unwrap()).unwrap();
        let listing = listed(&root);
        for Stored { name, .. } in &stored {
            prop_assert!(listing.contains(&name.to_string()), "{name} is not among {listing:?}");
        }
        disk.cut_power();
        let root = stage.start(Policy::default());
        for Stored { name, .. } in &stored {
            prop_assert_eq!(download(&root, name.as_str()).unwrap(), CONTENTS);
        }
        prop_assert!(!stage.names().iter().any(|name| is_temporary(name)));
        check_whole(&stage, "after a restart");
    }
}
