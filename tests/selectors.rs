//! Whether `selectors` keeps the promises of the Python module of that name: the
//! behaviours that CPython's own test suite checks, and what the kernel does with
//! numbers that are closed and reused.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::dup2;
use onepoll::selectors::{EVENT_READ, EVENT_WRITE, Events, Selector, SelectorError, SelectorKey};
use signal_hook_mio::v1_0::Signals;

const LOOK: Option<Duration> = Some(Duration::ZERO);
/// Ends a test that would otherwise wait forever; no test passes because of it.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
/// No process here has this many descriptors.
const NO_DESCRIPTOR: RawFd = 999_999;

fn both() -> Events {
    EVENT_READ | EVENT_WRITE
}

fn pair() -> (UnixStream, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    a.set_nonblocking(true).unwrap();
    b.set_nonblocking(true).unwrap();
    (a, b)
}

fn selector() -> Selector<&'static str> {
    Selector::new().unwrap()
}

/// What one `select` reports, as descriptor and events, by descriptor.
fn report<T: Clone>(selector: &mut Selector<T>, timeout: Option<Duration>) -> Vec<(RawFd, Events)> {
    let mut report: Vec<_> =
        selector.select(timeout).unwrap().into_iter().map(|(key, events)| (key.fd, events)).collect();
    report.sort_by_key(|(fd, _)| *fd);
    report
}

// Keys: register, unregister, modify, look up, close.

#[test]
fn register_returns_the_key() {
    let (reader, _writer) = pair();
    let mut selector = selector();
    let key = selector.register(&reader, EVENT_READ, "데이터").unwrap();
    assert_eq!((key.fd, key.events, key.data), (reader.as_raw_fd(), EVENT_READ, "데이터"));
}

#[test]
fn registering_no_events_is_refused() {
    let (reader, _writer) = pair();
    let mut selector = selector();
    let fd = reader.as_raw_fd();
    let error = selector.register(&reader, Events::default(), "").unwrap_err();
    assert!(matches!(error, SelectorError::NoEvents { fd: f } if f == fd), "{error}");
    selector.register(&reader, EVENT_READ, "kept").unwrap();
    let error = selector.modify(&reader, EVENT_READ & EVENT_WRITE, "").unwrap_err();
    assert!(matches!(error, SelectorError::NoEvents { .. }), "{error}");
    assert_eq!(selector.get_key(&reader).unwrap().data, "kept");
}

#[test]
fn registering_a_number_that_is_not_a_descriptor_is_refused() {
    let mut selector = selector();
    for number in [-10, NO_DESCRIPTOR] {
        let error = selector.register(&number, EVENT_READ, "").unwrap_err();
        assert!(matches!(error, SelectorError::BadDescriptor { fd } if fd == number), "{error}");
    }
    assert!(selector.get_map().unwrap().is_empty());
}

#[test]
fn registering_twice_is_refused_and_leaves_the_first_key() {
    let (reader, _writer) = pair();
    let mut selector = selector();
    let first = selector.register(&reader, EVENT_READ, "first").unwrap().clone();
    let error = selector.register(&reader, EVENT_WRITE, "second").unwrap_err();
    assert!(matches!(error, SelectorError::AlreadyRegistered { .. }), "{error}");
    let error = selector.register(&reader.as_raw_fd(), EVENT_READ, "by its number").unwrap_err();
    assert!(matches!(error, SelectorError::AlreadyRegistered { .. }), "{error}");
    assert_eq!(selector.get_key(&reader).unwrap(), &first);
}

#[test]
fn regular_files_and_directories_are_refused_in_plain_words() {
    let mut selector = selector();
    for path in ["Cargo.toml", "src"] {
        let file = File::open(path).unwrap();
        let error = selector.register(&file, EVENT_READ, "").unwrap_err();
        assert!(matches!(error, SelectorError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("regular file or a directory"), "{error}");
        assert!(matches!(selector.get_key(&file), Err(SelectorError::NotRegistered { .. })));
    }
}

#[test]
fn unregister_gives_the_key_back_and_silence() {
    let (reader, mut writer) = pair();
    let mut selector = selector();
    let key = selector.register(&reader, EVENT_READ, "").unwrap().clone();
    writer.write_all(b"x").unwrap();
    assert_eq!(selector.unregister(&reader).unwrap(), key);
    assert_eq!(report(&mut selector, LOOK), []);
}

#[test]
fn unregistering_what_is_not_registered_is_refused() {
    let (reader, _writer) = pair();
    let mut selector = selector();
    let error = selector.unregister(&NO_DESCRIPTOR).unwrap_err();
    assert!(matches!(error, SelectorError::NotRegistered { fd: NO_DESCRIPTOR }), "{error}");
    selector.register(&reader, EVENT_READ, "").unwrap();
    selector.unregister(&reader).unwrap();
    let error = selector.unregister(&reader).unwrap_err();
    assert!(matches!(error, SelectorError::NotRegistered { .. }), "{error}");
}

#[test]
fn unregister_works_after_the_descriptor_was_closed() {
    let (reader, writer) = pair();
    let (r, w) = (reader.as_raw_fd(), writer.as_raw_fd());
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "reader").unwrap();
    selector.register(&writer, EVENT_WRITE, "writer").unwrap();
    drop((reader, writer));
    assert_eq!(selector.unregister(&r).unwrap().data, "reader");
    assert_eq!(selector.unregister(&w).unwrap().data, "writer");
}

#[test]
fn a_closed_descriptor_that_was_reported_before_is_silent_without_an_error() {
    let (reader, mut writer) = pair();
    let fd = reader.as_raw_fd();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(report(&mut selector, PATIENCE), [(fd, EVENT_READ)]);
    drop(reader);
    assert_eq!(report(&mut selector, LOOK), []);
    selector.unregister(&fd).unwrap();
}

#[test]
fn unregister_works_after_the_number_was_reused() {
    let (reader, _writer) = pair();
    let (other, mut other_writer) = pair();
    let mut number = OwnedFd::from(reader);
    let mut selector = selector();
    selector.register(&number, EVENT_READ, "closed").unwrap();
    // Closes `number` and gives that number to `other`'s file, in one step.
    dup2(&other, &mut number).unwrap();
    other_writer.write_all(b"x").unwrap();
    assert_eq!(report(&mut selector, LOOK), [], "the new file was never registered");
    assert_eq!(selector.unregister(&number).unwrap().data, "closed");
    selector.register(&number, EVENT_READ, "reused").unwrap();
    assert_eq!(report(&mut selector, PATIENCE), [(number.as_raw_fd(), EVENT_READ)]);
}

#[test]
fn unregistering_a_reused_number_leaves_its_new_file_s_other_registration() {
    let (reader, _writer) = pair();
    let (other, mut other_writer) = pair();
    let mut number = OwnedFd::from(reader);
    let mut selector = selector();
    selector.register(&number, EVENT_READ, "closed").unwrap();
    selector.register(&other, EVENT_READ, "other").unwrap();
    dup2(&other, &mut number).unwrap();
    selector.unregister(&number).unwrap();
    other_writer.write_all(b"x").unwrap();
    assert_eq!(report(&mut selector, PATIENCE), [(other.as_raw_fd(), EVENT_READ)]);
}

/// The kernel keeps a registration while a duplicate of its descriptor is open,
/// and nobody can remove it by the closed number.
#[test]
fn late_events_of_a_closed_descriptor_are_not_taken_for_the_next_owner_s() {
    let (reader, mut writer) = pair();
    let _duplicate = reader.try_clone().unwrap();
    let (quiet, _quiet_writer) = pair();
    let mut number = OwnedFd::from(reader);
    let mut selector = selector();
    selector.register(&number, EVENT_READ, "closed").unwrap();
    dup2(&quiet, &mut number).unwrap();
    selector.unregister(&number).unwrap();
    selector.register(&number, EVENT_READ, "quiet").unwrap();
    writer.write_all(b"x").unwrap();
    let (start, timeout) = (Instant::now(), Duration::from_millis(50));
    assert_eq!(report(&mut selector, Some(timeout)), []);
    assert!(start.elapsed() >= timeout, "a late event ended the wait");
}

#[test]
fn a_file_that_comes_back_to_its_number_can_be_registered_again() {
    let (reader, mut writer) = pair();
    let duplicate = reader.try_clone().unwrap();
    let (other, _other_writer) = pair();
    let mut number = OwnedFd::from(reader);
    let mut selector = selector();
    selector.register(&number, EVENT_READ, "first").unwrap();
    dup2(&other, &mut number).unwrap();
    selector.unregister(&number).unwrap();
    dup2(&duplicate, &mut number).unwrap();
    selector.register(&number, EVENT_READ, "again").unwrap();
    writer.write_all(b"x").unwrap();
    let ready = selector.select(PATIENCE).unwrap();
    assert_eq!(ready.iter().map(|(key, _)| key.data).collect::<Vec<_>>(), ["again"]);
}

#[test]
fn modify_changes_events() {
    let (reader, mut writer) = pair();
    let fd = reader.as_raw_fd();
    let mut selector = selector();
    let before = selector.register(&reader, EVENT_READ, "").unwrap().clone();
    writer.write_all(b"x").unwrap();
    let after = selector.modify(&reader, EVENT_WRITE, "").unwrap().clone();
    assert_ne!(before.events, after.events);
    assert_eq!(selector.get_key(&reader).unwrap(), &after);
    assert_eq!(report(&mut selector, PATIENCE), [(fd, EVENT_WRITE)]);
    selector.modify(&reader, both(), "").unwrap();
    assert_eq!(report(&mut selector, PATIENCE), [(fd, both())]);
    selector.modify(&reader, EVENT_READ, "").unwrap();
    assert_eq!(report(&mut selector, PATIENCE), [(fd, EVENT_READ)]);
}

#[test]
fn modify_changes_data() {
    let (reader, mut writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "before").unwrap();
    assert_eq!(selector.modify(&reader, EVENT_READ, "after").unwrap().data, "after");
    writer.write_all(b"x").unwrap();
    assert_eq!(selector.select(PATIENCE).unwrap()[0].0.data, "after");
}

/// The kernel would refuse a closed number, so a call that succeeds cannot have
/// asked the kernel.
#[test]
fn modify_of_data_alone_makes_no_system_call() {
    let (reader, _writer) = pair();
    let (other, _other_writer) = pair();
    let mut number = OwnedFd::from(reader);
    let mut selector = selector();
    selector.register(&number, EVENT_READ, "before").unwrap();
    dup2(&other, &mut number).unwrap();
    assert_eq!(selector.modify(&number, EVENT_READ, "after").unwrap().data, "after");
    assert!(selector.modify(&number, EVENT_WRITE, "").is_err(), "the kernel was not asked at all");
}

#[test]
fn a_modify_that_the_kernel_refuses_unregisters() {
    let (reader, _writer) = pair();
    let (other, _other_writer) = pair();
    let mut number = OwnedFd::from(reader);
    let mut selector = selector();
    selector.register(&number, EVENT_READ, "").unwrap();
    dup2(&other, &mut number).unwrap();
    let error = selector.modify(&number, EVENT_WRITE, "").unwrap_err();
    assert!(matches!(error, SelectorError::System { .. }), "{error}");
    assert!(selector.get_map().unwrap().is_empty());
    selector.register(&number, EVENT_WRITE, "").unwrap();
}

#[test]
fn modifying_what_is_not_registered_is_refused() {
    let error = selector().modify(&NO_DESCRIPTOR, EVENT_READ, "").unwrap_err();
    assert!(matches!(error, SelectorError::NotRegistered { fd: NO_DESCRIPTOR }), "{error}");
}

#[test]
fn get_key_finds_by_object_and_by_number() {
    let (reader, writer) = pair();
    let mut selector = selector();
    let key = selector.register(&reader, EVENT_READ, "").unwrap().clone();
    assert_eq!(selector.get_key(&reader).unwrap(), &key);
    assert_eq!(selector.get_key(&reader.as_raw_fd()).unwrap(), &key);
    let error = selector.get_key(&writer).unwrap_err();
    assert!(matches!(error, SelectorError::NotRegistered { .. }), "{error}");
}

#[test]
fn get_map_holds_every_key_by_its_descriptor() {
    let (reader, writer) = pair();
    let mut selector = selector();
    assert!(selector.get_map().unwrap().is_empty());
    let key = selector.register(&reader, EVENT_READ, "").unwrap().clone();
    selector.register(&writer, EVENT_WRITE, "").unwrap();
    let map = selector.get_map().unwrap();
    assert_eq!(map.len(), 2);
    assert_eq!(map[&reader.as_raw_fd()], key);
    assert!(!map.contains_key(&NO_DESCRIPTOR));
}

#[test]
fn every_call_after_close_is_refused() {
    let (reader, writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    selector.close();
    selector.close();
    let refusals = [
        selector.register(&writer, EVENT_READ, "").map(drop),
        selector.modify(&reader, EVENT_WRITE, "").map(drop),
        selector.unregister(&reader).map(drop),
        selector.select(LOOK).map(drop),
        selector.get_key(&reader).map(drop),
        selector.get_map().map(drop),
        selector.fileno().map(drop),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(SelectorError::Closed)), "{refusal:?}");
    }
}

#[test]
fn close_and_drop_release_the_own_descriptor_and_leave_registered_ones_open() {
    let open = |fd: RawFd| File::open(format!("/proc/self/fdinfo/{fd}")).and_then(io::read_to_string);
    let watches = |fd: RawFd, target: RawFd| {
        open(fd).is_ok_and(|info| info.lines().any(|l| l.starts_with(&format!("tfd: {target:8} "))))
    };
    let (reader, mut writer) = pair();
    let fd = {
        let mut selector = selector();
        selector.register(&reader, EVENT_READ, "").unwrap();
        let fd = selector.fileno().unwrap();
        assert!(watches(fd, reader.as_raw_fd()));
        fd
    };
    assert!(!watches(fd, reader.as_raw_fd()), "drop closes");
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    let fd = selector.fileno().unwrap();
    selector.close();
    assert!(!watches(fd, reader.as_raw_fd()));
    writer.write_all(b"still open").unwrap();
}

#[test]
fn errors_turn_into_io_errors_with_their_sentence() {
    let error = io::Error::from(selector().unregister(&NO_DESCRIPTOR).unwrap_err());
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(error.to_string(), "descriptor 999999 is not registered with this selector");
}

// Waiting.

#[test]
fn select_returns_the_ready_keys_and_only_their_ready_events() {
    let (reader, writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    let key = selector.register(&writer, EVENT_WRITE, "writer").unwrap().clone();
    assert_eq!(selector.select(None).unwrap(), [(key, EVENT_WRITE)]);
}

#[test]
fn readable_and_writable_come_in_one_select() {
    let (a, mut b) = pair();
    let mut selector = selector();
    selector.register(&a, both(), "").unwrap();
    b.write_all(b"foo").unwrap();
    assert_eq!(report(&mut selector, None), [(a.as_raw_fd(), both())]);
}

#[test]
fn a_dozen_pairs_each_hear_their_own_message() {
    let pairs: Vec<_> = (0..12).map(|_| pair()).collect();
    let mut selector = Selector::new().unwrap();
    for (n, (reader, writer)) in pairs.iter().enumerate() {
        selector.register(reader, EVENT_READ, n).unwrap();
        selector.register(writer, EVENT_WRITE, n).unwrap();
    }
    for n in [5, 0, 11, 3, 7, 1, 10, 2, 9, 4, 8, 6] {
        let (mut reader, mut writer) = (&pairs[n].0, &pairs[n].1);
        writer.write_all("반갑습니다".as_bytes()).unwrap();
        let ready = selector.select(PATIENCE).unwrap();
        let readable = ready.iter().filter(|(_, events)| events.contains(EVENT_READ));
        assert_eq!(readable.map(|(key, _)| key.data).collect::<Vec<_>>(), [n]);
        let mut buffer = [0; 100];
        assert_eq!(reader.read(&mut buffer).unwrap(), 15);
        selector.unregister(reader).unwrap();
        selector.unregister(writer).unwrap();
    }
    assert!(selector.get_map().unwrap().is_empty());
}

#[test]
fn keys_are_copies_so_the_loop_over_them_may_unregister() {
    let (a, b) = pair();
    let mut selector = selector();
    selector.register(&a, EVENT_WRITE, "").unwrap();
    selector.register(&b, EVENT_WRITE, "").unwrap();
    for (key, _) in selector.select(None).unwrap() {
        selector.unregister(&key.fd).unwrap();
    }
    assert!(selector.get_map().unwrap().is_empty());
}

#[test]
fn an_empty_selector_waits_for_its_timeout() {
    let mut selector = selector();
    assert_eq!(report(&mut selector, LOOK), []);
    let (start, timeout) = (Instant::now(), Duration::from_millis(30));
    assert_eq!(report(&mut selector, Some(timeout)), []);
    assert!(start.elapsed() >= timeout);
}

/// Python's negative timeouts are zero here: a `Duration` cannot be negative.
#[test]
fn timeout_zero_only_looks() {
    let (reader, writer) = pair();
    let mut selector = selector();
    selector.register(&writer, EVENT_WRITE, "").unwrap();
    assert_eq!(report(&mut selector, LOOK).len(), 1);
    selector.unregister(&writer).unwrap();
    selector.register(&reader, EVENT_READ, "").unwrap();
    assert_eq!(report(&mut selector, LOOK), []);
}

#[test]
fn positive_timeouts_are_never_cut_short() {
    let (reader, _writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    for micros in [1, 300, 999, 1_000, 1_001, 2_500, 20_900] {
        let (start, timeout) = (Instant::now(), Duration::from_micros(micros));
        assert_eq!(report(&mut selector, Some(timeout)), []);
        assert!(start.elapsed() >= timeout, "{timeout:?} took {:?}", start.elapsed());
    }
}

#[test]
fn timeouts_beyond_the_clock_wait_like_none() {
    let (reader, mut writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    writer.write_all(b"x").unwrap();
    assert_eq!(report(&mut selector, Some(Duration::MAX)).len(), 1);
}

#[test]
fn timeout_none_waits_until_something_is_ready() {
    let (reader, mut writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(20));
            writer.write_all(b"x").unwrap();
            writer
        });
        assert_eq!(report(&mut selector, None), [(reader.as_raw_fd(), EVENT_READ)]);
    });
}

#[test]
fn a_signal_ends_the_wait_with_an_empty_list() {
    const SIGUSR1: i32 = nix::libc::SIGUSR1;
    let _handled = Signals::new([SIGUSR1]).unwrap();
    // kill(2) with a thread's id sends the signal to that thread.
    let this_thread = std::fs::read_link("/proc/thread-self").unwrap();
    let this_thread = this_thread.file_name().unwrap().to_str().unwrap().to_owned();
    let (reader, mut writer) = pair();
    let mut selector = selector();
    selector.register(&reader, EVENT_READ, "").unwrap();
    let (awake, woken) = mpsc::channel::<()>();
    thread::scope(|scope| {
        // Repeatedly, since the first signal may arrive before the wait begins.
        scope.spawn(move || {
            while woken.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
                let kill = format!("kill -USR1 {this_thread}");
                assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            }
        });
        let start = Instant::now();
        let ready = selector.select(PATIENCE);
        drop(awake);
        assert_eq!(ready.unwrap(), []);
        assert!(start.elapsed() < PATIENCE.unwrap(), "no signal interrupted the wait");
    });
    writer.write_all(b"x").unwrap();
    assert_eq!(report(&mut selector, PATIENCE).len(), 1, "it works on");
}

#[test]
fn more_than_1024_descriptors_are_reported_in_one_select() {
    const PAIRS: usize = 1100;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = 2 * PAIRS as u64 + 200;
    if hard < needed {
        eprintln!("skipped: the hard limit of {hard} descriptors is below {needed}");
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard).unwrap();
    let pairs: Vec<_> = (0..PAIRS).map(|_| pair()).collect();
    let mut selector = Selector::new().unwrap();
    for (reader, writer) in &pairs {
        selector.register(reader, EVENT_READ, ()).unwrap();
        selector.register(writer, EVENT_WRITE, ()).unwrap();
    }
    for _ in 0..2 {
        let report = report(&mut selector, PATIENCE);
        assert_eq!(report.len(), PAIRS);
        assert!(report.iter().all(|(_, events)| *events == EVENT_WRITE));
    }
}

// What can be registered.

#[test]
fn sockets_of_mio_pipes_and_bare_numbers_register() {
    let udp = mio::net::UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = udp.local_addr().unwrap();
    udp.send_to("안녕".as_bytes(), address).unwrap();
    let (pipe, mut pipe_writer) = io::pipe().unwrap();
    pipe_writer.write_all(b"x").unwrap();
    let (socket, mut socket_writer) = pair();
    socket_writer.write_all(b"x").unwrap();
    let mut selector = selector();
    let keys: Vec<SelectorKey<_>> = vec![
        selector.register(&udp, EVENT_READ, "mio").unwrap().clone(),
        selector.register(&pipe, EVENT_READ, "pipe").unwrap().clone(),
        selector.register(&socket.as_raw_fd(), EVENT_READ, "number").unwrap().clone(),
    ];
    let mut ready = selector.select(PATIENCE).unwrap();
    ready.sort_by_key(|(key, _)| keys.iter().position(|k| k == key));
    assert_eq!(ready, keys.into_iter().map(|key| (key, EVENT_READ)).collect::<Vec<_>>());
}
