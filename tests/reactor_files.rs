//! Files that the kernel sends: what comes out of a real socket.

mod support;

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, mpsc};

use onepoll::disk;
use onepoll::reactor::{Reactor, SocketOptions};
use onepoll::service::{CloseReason, Context, FileRange, Input, Service};
use support::{PATIENCE, Running, connect, read_to_end};

const LENGTH: usize = 40 * 1024 * 1024 + 513;

/// A file of [`LENGTH`] bytes that is removed at the end.
struct Sample(PathBuf);

impl Sample {
    fn new(name: &str) -> Sample {
        let path = std::env::temp_dir().join(format!("onepoll-{name}-{}", process::id()));
        fs::write(&path, contents()).unwrap();
        Sample(path)
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn contents() -> Vec<u8> {
    (0..LENGTH as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends the file, from the offset that it is asked for, between two lines.
struct Library {
    file: Arc<disk::File>,
    ends: mpsc::Sender<(String, u64)>,
}

impl Service for Library {
    type Session = ();

    fn receive(&mut self, _: &mut (), input: &mut Input<'_>, cx: &mut Context<'_>) {
        let Ok(offset) = String::from_utf8_lossy(input.unread()).trim().parse() else { return };
        input.consume_all();
        cx.send("여기 있습니다\n".as_bytes());
        cx.send_file(FileRange { file: Arc::clone(&self.file), range: offset..LENGTH as u64, warm: 0 });
        cx.send("끝\n".as_bytes());
        cx.more_to_send();
    }

    fn end_of_input(&mut self, _: &mut (), _: &mut Input<'_>, _: &mut Context<'_>) {}

    fn room_to_send(&mut self, _: &mut (), cx: &mut Context<'_>) {
        cx.close();
    }

    fn closed(&mut self, _: (), why: &CloseReason, cx: &mut Context<'_>) {
        let _ = self.ends.send((why.to_string(), cx.bytes_sent()));
    }
}

fn library(sample: &Sample) -> (Running<SocketAddr>, mpsc::Receiver<(String, u64)>) {
    let (ends, told) = mpsc::channel();
    let file = Arc::new(disk::File::from(File::open(&sample.0).unwrap()));
    let running = Running::start(move |reactor: &mut Reactor| {
        // The same everywhere, and built into every kernel.
        let options = SocketOptions { congestion: Some("reno".to_owned()), ..SocketOptions::default() };
        let builder = reactor.host("library", Library { file, ends }).options(options);
        builder.tcp(([127, 0, 0, 1], 0).into()).start().unwrap().1[0].address
    });
    (running, told)
}

#[test]
fn a_file_comes_out_of_the_kernel_between_the_bytes_around_it() {
    let sample = Sample::new("whole");
    let (running, told) = library(&sample);
    let whole = contents();
    for offset in [0, 1, 4095, LENGTH - 1, LENGTH] {
        let stream = connect(running.made);
        writeln!(&stream, "{offset}").unwrap();
        // The download is not cut short by it.
        stream.shutdown(Shutdown::Write).unwrap();
        let received = read_to_end(&stream);
        let expected = ["여기 있습니다\n".as_bytes(), &whole[offset..], "끝\n".as_bytes()].concat();
        assert!(received == expected, "{} of {} bytes, or others", received.len(), expected.len());
        assert_eq!(told.recv_timeout(PATIENCE).unwrap().1, expected.len() as u64);
    }
}

#[test]
fn several_downloads_at_once_are_all_whole() {
    let sample = Sample::new("several");
    let (running, _told) = library(&sample);
    let whole = contents();
    let streams: Vec<TcpStream> = (0..8).map(|_| connect(running.made)).collect();
    for stream in &streams {
        writeln!(&*stream, "0").unwrap();
    }
    std::thread::scope(|scope| {
        for stream in &streams {
            scope.spawn(|| {
                let received = read_to_end(stream);
                let middle = &received["여기 있습니다\n".len()..received.len() - "끝\n".len()];
                assert!(middle == whole, "{} of {LENGTH} bytes, or others", middle.len());
            });
        }
    });
}

#[test]
fn a_file_that_is_cut_while_it_is_sent_ends_the_connection_with_a_reset() {
    let sample = Sample::new("cut");
    let (running, told) = library(&sample);
    let stream = connect(running.made);
    writeln!(&stream, "0").unwrap();
    (&stream).read_exact(&mut [0; 1024]).unwrap();
    File::options().write(true).open(&sample.0).unwrap().set_len(LENGTH as u64 - 1).unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let end = loop {
        match (&stream).read(&mut buffer) {
            Ok(0) => panic!("it looks whole"),
            Ok(_) => {}
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, ErrorKind::ConnectionReset);
    let (why, sent) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(why, "the file became shorter while it was being sent");
    assert_eq!(sent, ("여기 있습니다\n".len() + LENGTH - 1) as u64);
}
