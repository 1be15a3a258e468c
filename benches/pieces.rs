//! Times the parts alone, in memory: `cargo bench --bench pieces`, or only
//! those with `json` in their name: `cargo bench --bench pieces json`.
//!
//! `benches/peers/run` measures what a message costs on a socket, where the
//! kernel accounts for nearly all of it.
#![allow(missing_docs)]

use std::hint::black_box;
use std::io;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use onepoll::media::pattern::Pattern;
use onepoll::media::{convert, jpeg, terminal};
use onepoll::rehearsal::{Client, Rehearsal};
use onepoll::services::chat::Chat;
use onepoll::services::echo::Echo;
use onepoll::wire::http::request;
use onepoll::wire::jpeg::JpegReader;
use onepoll::wire::json::{JsonStep, JsonStream, JsonText};
use onepoll::wire::pickle;
use onepoll::wire::text::{Step, TextFraming};

// These files belong to the reactor and stay private to it. Instead of making
// anything public, hidden or optional for the sake of a benchmark, this one
// compiles them itself and uses only a part of them.
#[allow(dead_code, unused_imports)]
#[path = "../src/reactor/tcp/outbox.rs"]
mod outbox;
#[allow(dead_code)]
#[path = "../src/reactor/tcp/sending.rs"]
mod sending;
#[allow(dead_code)]
#[path = "../src/reactor/time/timers.rs"]
mod timers;
#[path = "../src/service"]
mod service {
    #[allow(dead_code)]
    pub mod ids;
    pub use onepoll::service::FileRange;
}

use onepoll::disk;
use outbox::Outbox;
use service::ids::{Generations, Handle};
use timers::{Timers, Wake};

const KIB: usize = 1024;

fn main() {
    divan::main();
}

/// A busy room's member that reads in bursts: many small pieces, one write.
#[divan::bench(args = [1, 64, 1000])]
fn outbox_takes_pieces_and_is_written(bencher: Bencher<'_, '_>, pieces: usize) {
    let line = Bytes::from_static(&[b'.'; 100]);
    bencher.counter(ItemsCount::new(pieces)).bench_local(|| {
        let mut outbox = Outbox::new(0);
        for _ in 0..pieces {
            outbox.push(black_box(&line).clone(), false);
        }
        outbox.write(|slices| Ok(slices.iter().map(|slice| slice.len()).sum()))
    });
}

/// A large answer to a peer that takes it in portions.
#[divan::bench(args = [4, 64])]
fn outbox_is_written_in_steps_of_kib(bencher: Bencher<'_, '_>, step: usize) {
    let answer = Bytes::from(vec![b'.'; 1024 * KIB]);
    bencher.counter(ItemsCount::new(answer.len() / (step * KIB))).bench_local(|| {
        let mut outbox = Outbox::new(0);
        outbox.push(black_box(&answer).clone(), false);
        while !outbox.is_empty() {
            let mut room = step * KIB;
            let written = outbox.write(|slices| match std::mem::take(&mut room) {
                0 => Err(io::ErrorKind::WouldBlock.into()),
                room => Ok(slices[0].len().min(room)),
            });
            let _ = black_box(written);
        }
    });
}

/// The deadline of every connection passes, in a scattered order.
#[divan::bench(args = [100, 10_000])]
fn timers_are_armed_and_all_fall_due(bencher: Bencher<'_, '_>, connections: u32) {
    let mut due = Vec::new();
    bencher.counter(ItemsCount::new(connections)).bench_local(|| {
        let mut timers = Timers::default();
        for (key, wake) in wakes().take(connections as usize) {
            timers.arm(scattered(key), wake);
        }
        due.clear();
        timers.take_due(u64::MAX, &mut due);
        due.len()
    });
}

/// Postponing: a connection that was busy is woken at its old deadline and
/// armed for the new one.
#[divan::bench(args = [100, 10_000])]
fn timers_wake_one_and_arm_it_later(bencher: Bencher<'_, '_>, connections: u32) {
    let mut timers = Timers::default();
    for (key, wake) in wakes().take(connections as usize) {
        timers.arm(scattered(key), wake);
    }
    let mut due = Vec::new();
    bencher.bench_local(|| {
        if let Some(now) = timers.next() {
            timers.take_due(now, &mut due);
            for (at, wake) in due.drain(..) {
                timers.arm(at + 60_000, wake);
            }
        }
    });
}

/// Half of the connections close before their deadline.
#[divan::bench(args = [1000, 10_000])]
fn timers_forget_what_is_stale(bencher: Bencher<'_, '_>, connections: u32) {
    let full = || {
        let mut timers = Timers::default();
        for (key, wake) in wakes().take(connections as usize) {
            timers.arm(scattered(key), wake);
        }
        timers
    };
    bencher.counter(ItemsCount::new(connections)).with_inputs(full).bench_local_values(|mut timers| {
        timers.compact(|_, wake| matches!(wake, Wake::Entry(handle) if handle.key % 2 == 0));
        timers
    });
}

/// What a connection is woken with, each with a key of its own.
fn wakes() -> impl Iterator<Item = (u32, Wake)> {
    let mut generations = Generations::default();
    (0..).map(move |key| (key, Wake::Entry(Handle { generation: generations.next(), key })))
}

/// Times within a minute, in milliseconds.
fn scattered(key: u32) -> u64 {
    u64::from(key.wrapping_mul(2_654_435_761) % 60_000)
}

/// A full read of short lines.
#[divan::bench(args = [16, 64, 1024])]
fn framing_finds_lines_of_bytes(bencher: Bencher<'_, '_>, length: usize) {
    let mut line = vec![b'.'; length];
    line[length - 1] = b'\n';
    let input = line.repeat(256 * KIB / length);
    bencher.counter(BytesCount::new(input.len())).bench_local(|| frame(black_box(&input)));
}

/// One `send` of a program, cut inside its last character. Only the end is
/// looked at, so it costs the same at any length.
#[divan::bench]
fn framing_takes_a_korean_chunk(bencher: Bencher<'_, '_>) {
    let text = "안녕하세요".repeat(70);
    let input = &text.as_bytes()[..text.len() - 1];
    bencher.bench_local(|| frame(black_box(input)));
}

fn frame(input: &[u8]) -> usize {
    let mut framing = TextFraming::default();
    let mut used = 0;
    let mut messages = 0;
    while let (taken, Step::Message(message)) = framing.next(&input[used..], 64 * KIB) {
        black_box(message);
        used += taken;
        messages += 1;
    }
    messages
}

const STUDENT: &str = r#"{"이름":"홍길동","age":21,"scores":[4.5,3.75,1e2],"active":true,"memo":null}"#;

/// What the json service does with a value that arrives whole.
#[divan::bench(args = [1, 100])]
fn json_is_checked_and_written_as_python_does(bencher: Bencher<'_, '_>, students: usize) {
    let input = format!("[{}]", vec![STUDENT; students].join(","));
    let mut answer = Vec::new();
    bencher.counter(BytesCount::of_str(&input)).bench_local(|| {
        answer.clear();
        if let Ok(value) = JsonText::parse(black_box(input.as_bytes())) {
            value.dumps(true, &mut answer);
        }
        answer.len()
    });
}

/// A value that arrives in pieces of this many bytes.
#[divan::bench(args = [1, 16, 1024])]
fn json_is_found_in_pieces(bencher: Bencher<'_, '_>, piece: usize) {
    let input = format!("[{}]", vec![STUDENT; 100].join(","));
    bencher.counter(BytesCount::of_str(&input)).bench_local(|| {
        let mut stream = JsonStream::default();
        let mut values = 0;
        for piece in black_box(input.as_bytes()).chunks(piece) {
            values += usize::from(matches!(stream.next(piece, 0), (_, JsonStep::Value(_))));
        }
        values
    });
}

/// An echo without a socket: the service, its context and its effects.
#[divan::bench(args = [64, 16 * 1024])]
fn service_echoes_bytes(bencher: Bencher<'_, '_>, length: usize) {
    let mut stage = Rehearsal::new(Echo::new("/end"));
    let client = stage.connect();
    let message = vec![b'.'; length];
    bencher.counter(BytesCount::new(length)).bench_local(|| {
        stage.send(client, black_box(&message));
        stage.received(client)
    });
}

/// A line in a room: gathered once, then copied for each other member; on
/// sockets that copy is a write.
#[divan::bench(args = [2, 100, 1000])]
fn room_delivers_a_line_to_members(bencher: Bencher<'_, '_>, members: usize) {
    let mut stage = Rehearsal::new(Chat::new(false));
    let members: Vec<Client> = (0..members).map(|_| stage.connect()).collect();
    bencher.counter(ItemsCount::new(members.len() - 1)).bench_local(|| {
        stage.send(members[0], black_box("안녕하세요, 여러분\n".as_bytes()));
        members.iter().map(|member| stage.received(*member).len()).sum::<usize>()
    });
}

/// What an offloaded job of the video service costs, for a picture of the usual size.
#[divan::bench]
fn picture_of_the_test_pattern(bencher: Bencher<'_, '_>) {
    let pattern = Pattern::new(640, 480, 25);
    bencher.bench_local(|| pattern.draw(black_box(1234), "12:34:56.789"));
}

#[divan::bench]
fn picture_becomes_a_jpeg(bencher: Bencher<'_, '_>) {
    let picture = Pattern::new(640, 480, 25).draw(1234, "12:34:56.789");
    bencher.bench_local(|| jpeg::encode(black_box(&picture), 80));
}

#[divan::bench]
fn picture_is_decoded_from_a_jpeg(bencher: Bencher<'_, '_>) {
    let picture = Pattern::new(640, 480, 25).draw(1234, "12:34:56.789");
    let coded = jpeg::encode(&picture, 80);
    bencher.bench_local(|| jpeg::decode(black_box(&coded), 1 << 20));
}

#[divan::bench]
fn picture_is_copied_from_a_pickle(bencher: Bencher<'_, '_>) {
    let pickled = convert::to_pickle(&Pattern::new(640, 480, 25).draw(1234, ""));
    bencher.bench_local(|| {
        let array = pickle::recognize(black_box(&pickled), 1 << 20).ok()?;
        convert::from_array(&array).ok()
    });
}

/// The part of that which may run on the loop: it copies nothing.
#[divan::bench]
fn pickle_is_recognized(bencher: Bencher<'_, '_>) {
    let pickled = convert::to_pickle(&Pattern::new(640, 480, 25).draw(1234, ""));
    bencher.bench_local(|| pickle::recognize(black_box(&pickled), 1 << 20).map(|array| array.data.len()));
}

#[divan::bench]
fn picture_becomes_half_blocks(bencher: Bencher<'_, '_>) {
    let picture = Pattern::new(640, 480, 25).draw(1234, "12:34:56.789");
    let mut text = String::new();
    bencher.bench_local(|| {
        text.clear();
        terminal::half_blocks(black_box(&picture), 80, 24, &mut text);
        text.len()
    });
}

#[divan::bench]
fn jpegs_are_told_apart(bencher: Bencher<'_, '_>) {
    let stream = jpeg::encode(&Pattern::new(640, 480, 25).draw(1234, "12:34:56.789"), 80);
    bencher
        .counter(BytesCount::new(stream.len()))
        .bench_local(|| JpegReader::default().next(black_box(&stream), 1 << 20).map(|(used, _)| used));
}

#[divan::bench]
fn request_is_parsed(bencher: Bencher<'_, '_>) {
    let input = b"GET /healthz HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: wrk\r\nAccept: */*\r\n\r\n";
    bencher.bench_local(|| matches!(request::parse(black_box(input)), request::Parsed::Request(..)));
}
