//! What holds on every disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::disk::{Identity, Modified};
use crate::files::open_files::OpenFiles;

#[test]
fn an_upload_appears_when_it_is_whole() {
    Stage::on_each(|stage| {
        let root = stage.start(Policy::default());
        let mut incoming = root.begin(&name("보고서.txt"), Some(11)).unwrap();
        incoming.write("안녕".as_bytes()).unwrap();
        assert_eq!(listed(&root), [""; 0]);
        assert_eq!(download(&root, "보고서.txt"), Err(FileError::NotFound));
        assert!(stage.names().iter().all(|name| is_temporary(name)));
        incoming.write(b"hello").unwrap();
        let contents = "안녕hello".as_bytes();
        let stored = incoming.finish(Some(sha256(contents))).unwrap();
        assert_eq!(
            stored,
            Stored { name: name("보고서.txt"), size: contents.len() as u64, sha256: sha256(contents) }
        );
        assert_eq!(stage.contents(), BTreeMap::from([("보고서.txt".into(), contents.into())]));
        assert_eq!(download(&root, "보고서.txt").unwrap(), contents);
        assert_eq!(listed(&root), ["보고서.txt"]);
        assert_eq!(figures(&root), [1, 11, 0, 0]);
    });
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_nobody_is_overwritten() {
    Stage::on_each(|stage| {
        stage.put("a.txt", b"by hand");
        let root = stage.start(Policy::default());
        let names: Vec<_> =
            (0..3).map(|n| upload(&root, "a.txt", &[n; 9]).unwrap().name.to_string()).collect();
        assert_eq!(names, ["a (2).txt", "a (3).txt", "a (4).txt"]);
        assert_eq!(download(&root, "a.txt").unwrap(), b"by hand");
        assert_eq!(download(&root, "a (3).txt").unwrap(), [1; 9]);
    });
}

#[test]
fn names_that_look_the_same_do_not_hide_each_other() {
    Stage::on_each(|stage| {
        // As a Mac stores it.
        stage.put("\u{1112}\u{1161}\u{11ab}.txt", b"by hand");
        let root = stage.start(Policy::default());
        assert_eq!(listed(&root), ["한.txt"]);
        assert_eq!(download(&root, "한.txt").unwrap(), b"by hand");
        let stored = upload(&root, "\u{1112}\u{1161}\u{11ab}.txt", b"another").unwrap();
        assert_eq!(stored.name.as_str(), "한 (2).txt");
        assert_eq!(listed(&root), ["한 (2).txt", "한.txt"]);
    });
}

#[test]
fn what_does_not_come_as_announced_is_not_stored() {
    Stage::on_each(|stage| {
        let root = stage.start(Policy::default());
        let mut wrong = root.begin(&name("a"), None).unwrap();
        wrong.write(b"abc").unwrap();
        assert_eq!(wrong.finish(Some([0; 32])), Err(FileError::WrongSum));

        let mut short = root.begin(&name("a"), Some(4)).unwrap();
        short.write(b"abc").unwrap();
        assert_eq!(short.finish(None), Err(FileError::WrongSize { told: 4, came: 3 }));

        let mut long = root.begin(&name("a"), Some(4)).unwrap();
        let error = FileError::WrongSize { told: 4, came: 5 };
        assert_eq!(long.write(b"abcde"), Err(error.clone()));
        assert_eq!(long.finish(None), Err(error));

        drop(root.begin(&name("a"), Some(4)).unwrap());
        assert_eq!(stage.names(), [""; 0]);
        assert_eq!(figures(&root), [0; 4]);
    });
}

#[test]
fn quotas_count_what_is_in_flight_and_come_back() {
    Stage::on_each(|stage| {
        let policy = Policy { writable: true, max_file_size: 10, max_total_size: 25, max_files: 3 };
        let root = stage.start(policy);
        let begin = |expected| root.begin(&name("a"), expected);
        assert_eq!(begin(Some(11)).unwrap_err(), FileError::TooLarge(10));

        let mut unannounced = begin(None).unwrap();
        unannounced.write(&[1; 10]).unwrap();
        assert_eq!(unannounced.write(&[1]), Err(FileError::TooLarge(10)));
        let announced = begin(Some(10)).unwrap();
        assert_eq!(begin(Some(6)).unwrap_err(), FileError::NoRoom(25));
        let mut grows = begin(Some(5)).unwrap();
        assert_eq!(begin(None).unwrap_err(), FileError::TooManyFiles(3));
        assert_eq!(figures(&root), [0, 0, 3, 25]);

        drop(announced);
        assert_eq!(grows.write(&[2; 6]), Err(FileError::WrongSize { told: 5, came: 6 }));
        drop(grows);
        let mut last = begin(None).unwrap();
        last.write(&[2; 10]).unwrap();
        drop(unannounced);
        last.finish(None).unwrap();
        assert_eq!(figures(&root), [1, 10, 0, 0]);

        upload(&root, "b", &[3; 10]).unwrap();
        assert_eq!(upload(&root, "c", &[4; 6]), Err(FileError::NoRoom(25)));
        upload(&root, "c", &[4; 5]).unwrap();
        assert_eq!(upload(&root, "d", b""), Err(FileError::TooManyFiles(3)));
        assert_eq!(figures(&root), [3, 25, 0, 0]);
    });
}

#[test]
fn uploads_of_one_name_from_many_threads_are_all_kept() {
    Stage::on_each(|stage| {
        let root = stage.start(Policy { max_files: 100, ..Policy::default() });
        let work = |thread: u8| {
            let names = (0..30).map(|n| upload(&root, "과제.c", &vec![thread; 10 + n]).ok());
            names.flatten().map(|stored| stored.name).collect::<Vec<_>>()
        };
        let mut names: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        // While others are stored, one may be counted twice and keep a place free.
        assert!((90..=100).contains(&names.len()), "{}", names.len());
        names.extend(
            (names.len()..120).map_while(|_| upload(&root, "과제.c", b"more").ok()).map(|stored| stored.name),
        );
        let stored: BTreeSet<_> = names.iter().map(Name::to_string).collect();
        assert_eq!((names.len(), stored.len()), (100, 100));
        assert_eq!(stage.names(), stored.into_iter().collect::<Vec<_>>());
        root.shared.scan(&root.directory().unwrap()).unwrap();
        let bytes: usize = stage.contents().values().map(Vec::len).sum();
        assert_eq!(figures(&root), [100, bytes as u64, 0, 0]);
    });
}

#[test]
fn a_refusal_looks_again_whether_somebody_made_room() {
    Stage::on_each(|stage| {
        let root = stage.start(Policy { max_files: 2, max_total_size: 20, ..Policy::default() });
        upload(&root, "a", &[1; 10]).unwrap();
        upload(&root, "b", &[1; 10]).unwrap();
        assert_eq!(upload(&root, "c", b""), Err(FileError::TooManyFiles(2)));
        // The clock of a file system may tick only a few hundred times per second.
        let directory = root.directory().unwrap();
        let before = directory.modified().unwrap();
        stage.take("a");
        while directory.modified().unwrap() == before {
            stage.put(".tick", b"");
            stage.take(".tick");
        }
        upload(&root, "c", &[1; 10]).unwrap();
    });
}

#[test]
fn files_that_were_there_before_or_were_listed_count() {
    Stage::on_each(|stage| {
        stage.put("before", &[1; 30]);
        stage.put(".hidden", &[1; 5]);
        let root = stage.start(Policy { max_total_size: 50, ..Policy::default() });
        assert_eq!(figures(&root), [2, 35, 0, 0]);
        stage.put("meanwhile", &[1; 10]);
        assert_eq!(listed(&root), ["before", "meanwhile"]);
        assert_eq!(upload(&root, "a", &[1; 6]), Err(FileError::NoRoom(50)));
        upload(&root, "a", &[1; 5]).unwrap();
    });
}

#[test]
fn files_added_by_hand_are_counted_now_and_then() {
    let disk = simulated::Disk::new(1);
    let stage = Stage::in_memory(&disk);
    let root = stage.start(Policy::default());
    stage.put("by hand", &[1; 1000]);
    assert_eq!(figures(&root), [0; 4]);
    for _ in 0..300 {
        drop(root.begin(&name("a"), None).unwrap());
    }
    assert_eq!(figures(&root), [1, 1000, 0, 0]);
}

#[test]
fn a_service_that_may_not_write_does_not() {
    Stage::on_each(|stage| {
        stage.put("a", b"a");
        let root = stage.start(Policy { writable: false, ..Policy::default() });
        assert_eq!(root.begin(&name("b"), None).unwrap_err(), FileError::ReadOnly);
        assert_eq!(download(&root, "a").unwrap(), b"a");
        assert_eq!(stage.names(), ["a"]);
    });
}

#[test]
fn the_newest_file_is_the_one_that_changed_last() {
    Stage::on_each(|stage| {
        let root = stage.start(Policy::default());
        assert!(root.newest().unwrap().is_none());
        for (number, wanted) in (1..).zip(["b", "a", "c"]) {
            upload(&root, wanted, wanted.as_bytes()).unwrap();
            stage.date(wanted, number);
        }
        let newest = root.newest().unwrap().unwrap();
        assert_eq!((newest.name.as_str(), read(&newest)), ("c", b"c".to_vec()));
        stage.put(".hidden", b"newer");
        assert_eq!(root.newest().unwrap().unwrap().name, name("c"));
        stage.take("c");
        assert_eq!(root.newest().unwrap().unwrap().name, name("a"));
    });
}

#[test]
fn hidden_files_are_neither_listed_nor_the_newest_nor_handed_out() {
    Stage::on_each(|stage| {
        stage.put("shown", b"");
        for hidden in [".secret", "con", "a\\b", ".onepoll-upload-7"] {
            stage.put(hidden, b"secret");
        }
        let root = stage.start(Policy::default());
        assert_eq!(listed(&root), ["shown"]);
        assert_eq!(root.newest().unwrap().unwrap().name, name("shown"));
        assert_eq!(download(&root, "a\\b"), Err(FileError::NotFound));
        assert_eq!(clean(".secret"), Err(BadName::Hidden));
    });
}

#[test]
fn a_file_that_is_replaced_while_it_is_downloaded_stays_as_it_was() {
    Stage::on_each(|stage| {
        stage.put("a", b"old contents");
        let root = stage.start(Policy::default());
        let found = root.open(&name("a")).unwrap();
        stage.put("a", b"new");
        assert_eq!(read(&found), b"old contents");
        assert_ne!(root.open(&name("a")).unwrap().identity, found.identity);
        stage.take("a");
        assert_eq!(read(&found), b"old contents");
        found.file.warm(0..100).unwrap();
    });
}

#[test]
fn a_missing_root_is_created_with_a_first_file_and_one_that_is_there_is_left_alone() {
    Stage::on_each(|stage| {
        let there = stage.start(Policy::default());
        assert_eq!(listed(&there), [""; 0]);
        let path = stage.path.join("새/root");
        let roots = Roots::on(stage.disk.clone());
        let root = roots.root(&path, Policy { writable: false, ..Policy::default() });
        assert_eq!(listed(&root), ["welcome.txt"]);
        let welcome = root.newest().unwrap().unwrap();
        assert!(String::from_utf8(read(&welcome)).unwrap().contains("환영합니다"));
        assert_eq!(figures(&root)[0], 1);
    });
}

#[test]
fn unfinished_uploads_of_an_earlier_run_are_removed_and_those_of_another_daemon_are_not() {
    Stage::on_each(|stage| {
        stage.put(".onepoll-upload-1", b"broken off");
        stage.put(".onepoll-upload-77", b"broken off");
        stage.put("whole", b"whole");
        let one = stage.start(Policy::default());
        assert_eq!(stage.names(), ["whole"]);
        let mut incoming = one.begin(&name("a"), None).unwrap();
        incoming.write(b"in flight").unwrap();
        let other = stage.start(Policy::default());
        assert_eq!(upload(&other, "b", b"b").unwrap().name, name("b"));
        assert_eq!(incoming.finish(None).unwrap().name, name("a"));
        assert_eq!(stage.names(), ["a", "b", "whole"]);
    });
}

#[test]
fn a_sum_is_computed_in_slices_and_remembered_until_the_file_changes() {
    Stage::on_each(|stage| {
        let contents = vec![7; (32 << 20) + 5];
        stage.put("large", &contents);
        stage.put("empty", b"");
        let root = stage.start(Policy::default());
        let large = root.open(&name("large")).unwrap();
        assert_eq!(sum(&root, &large), (Ok(sha256(&contents)), 3));
        assert_eq!(sum(&root, &large), (Ok(sha256(&contents)), 1));
        assert_eq!(sum(&root, &root.open(&name("empty")).unwrap()), (Ok(sha256(b"")), 1));
        stage.put("large", b"small");
        assert_eq!(sum(&root, &root.open(&name("large")).unwrap()), (Ok(sha256(b"small")), 1));
        // What was uploaded has been hashed already.
        let stored = upload(&root, "up", b"abc").unwrap();
        let found = root.open(&name("up")).unwrap();
        assert_eq!(root.known_sum(&found.identity), Some(stored.sha256));
    });
}

#[test]
fn a_file_that_changes_while_it_is_hashed_has_no_sum() {
    let stage = Stage::on_disk();
    let path = stage.path.join("growing");
    fs::write(&path, vec![1; 20 << 20]).unwrap();
    let root = stage.start(Policy::default());
    let found = root.open(&name("growing")).unwrap();
    let Step::More(summing) = root.sum(&found).step().unwrap() else { panic!("one step hashed 20 MiB") };
    assert_eq!(summing.progress(), (16 << 20, 20 << 20));
    fs::write(&path, b"cut").unwrap();
    assert_eq!(summing.step().unwrap_err(), FileError::Changed);
    assert_eq!(root.known_sum(&found.identity), None);
}

#[test]
fn the_sums_of_many_files_take_bounded_room() {
    let stage = Stage::on_disk();
    let root = stage.start(Policy::default());
    stage.put("a", b"");
    let identity = root.open(&name("a")).unwrap().identity;
    for inode in 0..10_000 {
        root.remember_sum(crate::disk::Identity { inode, ..identity }, [0; 32]);
    }
    let known = (0..10_000)
        .filter(|inode| root.known_sum(&crate::disk::Identity { inode: *inode, ..identity }).is_some());
    assert_eq!(known.count(), 4096);
}

#[test]
fn a_huge_directory_shows_its_newest_files_in_bounded_room() {
    let disk = simulated::Disk::new(1);
    let stage = Stage::in_memory(&disk);
    for number in 0..100_000 {
        stage.put(&format!("{number:06}"), b"1");
    }
    let root = stage.start(Policy::default());
    let listing = root.list().unwrap();
    assert_eq!((listing.files.len(), listing.left_out), (MOST_LISTED, 90_000));
    assert_eq!(listing.files[0].name, name("090000"));
    assert_eq!(root.newest().unwrap().unwrap().name, name("099999"));
    assert_eq!(download(&root, "000000").unwrap(), b"1");
    assert_eq!(upload(&root, "a", b""), Err(FileError::TooManyFiles(10_000)));
}

#[test]
fn a_root_that_is_removed_is_created_again() {
    let stage = Stage::on_disk();
    let root = stage.start(Policy::default());
    upload(&root, "a", b"a").unwrap();
    fs::remove_dir_all(&stage.path).unwrap();
    assert_eq!(root.begin(&name("b"), None).unwrap_err().code(), "unavailable");
    upload(&root, "b", b"b").unwrap();
    assert_eq!(listed(&root), ["b", "welcome.txt"]);
}

#[test]
fn a_file_that_is_open_is_shared_until_nobody_has_it() {
    Stage::on_each(|stage| {
        stage.put("a.txt", b"hello");
        let root = stage.start(Policy::default());
        let one = root.open(&name("a.txt")).unwrap();
        let other = root.clone().open(&name("a.txt")).unwrap();
        assert!(Arc::ptr_eq(&one.file, &other.file));
        // Under its name there is another file now, and the old one is still there.
        stage.put("a.txt", b"goodbye");
        let new = root.open(&name("a.txt")).unwrap();
        assert!(!Arc::ptr_eq(&one.file, &new.file));
        assert_eq!((one.file.size().unwrap(), new.file.size().unwrap()), (5, 7));
        let old = Arc::downgrade(&one.file);
        drop((one, other));
        assert_eq!(old.strong_count(), 0);
        assert!(Arc::ptr_eq(&new.file, &root.open(&name("a.txt")).unwrap().file));
    });
}

#[test]
fn no_more_files_are_open_than_may_be() {
    Stage::on_each(|stage| {
        let names: Vec<String> = (0..5).map(|number| format!("{number}.txt")).collect();
        names.iter().for_each(|name| stage.put(name, b"hello"));
        let roots = Roots::with_open_files(stage.disk.clone(), 4);
        let root = roots.root(&stage.path, Policy::default());
        let mut open: Vec<_> = names[..3].iter().map(|it| root.open(&name(it)).unwrap()).collect();
        let incoming = root.begin(&name("new.txt"), Some(2)).unwrap();
        assert_eq!(root.open(&name(&names[3])).unwrap_err(), FileError::Busy);
        assert_eq!(root.begin(&name("other.txt"), None).unwrap_err(), FileError::Busy);
        open.push(root.open(&name(&names[0])).unwrap());
        drop(incoming);
        open.push(root.open(&name(&names[3])).unwrap());
        assert_eq!(root.open(&name(&names[4])).unwrap_err(), FileError::Busy);
        drop(open);
        let open: Vec<_> = names[1..].iter().map(|it| root.open(&name(it)).unwrap()).collect();
        assert_eq!(open.len(), 4);
    });
}

#[test]
fn files_that_were_closed_are_forgotten() {
    let files = OpenFiles::new(usize::MAX);
    for inode in 0..100_000 {
        let modified = Modified { seconds: 0, nanoseconds: 0 };
        let identity = Identity { device: 1, inode, size: 0, modified };
        files.share(crate::disk::File::in_memory(Vec::new()), &identity).unwrap();
    }
    assert!(files.known() < 200, "{}", files.known());
}

#[test]
fn everybody_who_lists_shares_one_text() {
    Stage::on_each(|stage| {
        stage.put("a.txt", b"hello");
        let root = stage.start(Policy::default());
        let listing = root.list().unwrap();
        let text = listing.text(|listing| vec![b'x'; listing.files.len()]);
        assert_eq!(*text, *b"x");
        let again = listing.text(|_| panic!("it was written already"));
        assert!(Arc::ptr_eq(&text, &again));
        upload(&root, "b.txt", b"hello").unwrap();
        assert_eq!(*root.list().unwrap().text(|listing| vec![b'x'; listing.files.len()]), *b"xx");
    });
}
