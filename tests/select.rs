//! Whether `selectors::select` keeps the promises of Python's `select.select`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use onepoll::selectors::{SelectorError, select};
use socket2::SockRef;

const LOOK: Option<Duration> = Some(Duration::ZERO);
/// Ends a test that would otherwise wait forever; no test passes because of it.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));
/// No process here has this many descriptors.
const NO_DESCRIPTOR: i32 = 999_999;

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

#[test]
fn each_list_returns_its_ready_descriptors() {
    let (quiet, _quiet_peer) = UnixStream::pair().unwrap();
    let (spoken_to, mut peer) = UnixStream::pair().unwrap();
    peer.write_all("안녕".as_bytes()).unwrap();
    let (quiet, spoken_to) = (quiet.as_raw_fd(), spoken_to.as_raw_fd());
    let both = [quiet, spoken_to];
    assert_eq!(select(&both, &[], &both, None).unwrap(), (vec![spoken_to], vec![], vec![]));
    assert_eq!(select(&both, &[quiet], &[], None).unwrap(), (vec![spoken_to], vec![quiet], vec![]));
    assert_eq!(select(&[], &[spoken_to], &[], None).unwrap(), (vec![], vec![spoken_to], vec![]));
}

#[test]
fn lists_keep_their_order_and_repeats_come_once() {
    let (a, b) = UnixStream::pair().unwrap();
    let (a, b) = (a.as_raw_fd(), b.as_raw_fd());
    assert_eq!(select(&[], &[b, a, b, a], &[], None).unwrap().1, [b, a]);
    assert_eq!(select(&[], &[a, b], &[], None).unwrap().1, [a, b]);
}

#[test]
fn a_socket_that_is_still_ready_is_reported_again() {
    let (mut reader, mut writer) = UnixStream::pair().unwrap();
    writer.write_all(b"ab").unwrap();
    let fd = reader.as_raw_fd();
    for _ in 0..2 {
        assert_eq!(select(&[fd], &[], &[], LOOK).unwrap().0, [fd]);
        reader.read_exact(&mut [0]).unwrap();
    }
    assert!(select(&[fd], &[], &[], LOOK).unwrap().0.is_empty());
}

#[test]
fn nothing_ready_by_the_timeout_gives_three_empty_lists() {
    let (quiet, _peer) = UnixStream::pair().unwrap();
    let fd = [quiet.as_raw_fd()];
    for (read, except) in [(&fd[..], &fd[..]), (&[], &fd), (&[], &[])] {
        let (start, timeout) = (Instant::now(), Duration::from_micros(20_300));
        assert_eq!(select(read, &[], except, Some(timeout)).unwrap(), (vec![], vec![], vec![]));
        assert!(start.elapsed() >= timeout);
    }
}

#[test]
fn urgent_data_is_exceptional_and_not_readable() {
    let (client, server) = tcp_pair();
    let fd = server.as_raw_fd();
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    for _ in 0..2 {
        assert_eq!(select(&[fd], &[], &[fd], PATIENCE).unwrap(), (vec![], vec![], vec![fd]));
    }
    (&client).write_all(b"x").unwrap();
    assert_eq!(select(&[fd], &[], &[], PATIENCE).unwrap().0, [fd]);
    assert_eq!(select(&[fd], &[], &[fd], PATIENCE).unwrap(), (vec![fd], vec![], vec![fd]));
}

#[test]
fn a_hang_up_is_readable_and_not_exceptional() {
    let (stream, peer) = UnixStream::pair().unwrap();
    let fd = stream.as_raw_fd();
    drop(peer);
    assert_eq!(select(&[fd], &[], &[fd], PATIENCE).unwrap(), (vec![fd], vec![], vec![]));
    let (start, timeout) = (Instant::now(), Duration::from_millis(30));
    assert_eq!(select(&[], &[], &[fd], Some(timeout)).unwrap(), (vec![], vec![], vec![]));
    assert!(start.elapsed() >= timeout, "the hang-up ended the wait");
}

#[test]
fn regular_files_are_always_ready() {
    let file = File::open("Cargo.toml").unwrap();
    let (quiet, mut peer) = UnixStream::pair().unwrap();
    let (file, quiet) = (file.as_raw_fd(), quiet.as_raw_fd());
    let start = Instant::now();
    let lists = select(&[quiet, file], &[file], &[file], PATIENCE).unwrap();
    assert!(start.elapsed() < PATIENCE.unwrap(), "the file did not end the wait");
    assert_eq!(lists, (vec![file], vec![file], vec![]));
    peer.write_all(b"x").unwrap();
    assert_eq!(select(&[quiet, file], &[], &[], None).unwrap().0, [quiet, file]);
}

#[test]
fn numbers_that_are_not_descriptors_are_refused() {
    for number in [-1, NO_DESCRIPTOR] {
        let bad = [number];
        for (read, write, except) in [(&bad[..], &[][..], &[][..]), (&[], &bad, &[]), (&[], &[], &bad)] {
            let error = select(read, write, except, LOOK).unwrap_err();
            assert!(matches!(error, SelectorError::BadDescriptor { fd } if fd == number), "{error}");
        }
    }
}

/// The call's own descriptors take the lowest free numbers, so a list of all free
/// numbers includes them; they must not be watched by themselves.
#[test]
fn numbers_that_the_call_itself_takes_are_refused() {
    let open = |fd: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    let closed: Vec<i32> = (0..200).filter(|fd| !open(fd)).collect();
    for (read, except) in [(&closed, &vec![]), (&vec![], &closed)] {
        let error = select(read, &[], except, LOOK).unwrap_err();
        assert!(matches!(error, SelectorError::BadDescriptor { .. }), "{error}");
    }
}
