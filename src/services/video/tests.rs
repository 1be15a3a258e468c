//! The video service on stage.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::frames::{Form, Raw};
use super::hub::{Setup, Source, Video};
use super::recording::Recorder;
use super::source::Player;
use super::{DESCRIPTION, SEND_BUFFER};
use crate::disk::{Disk, simulated};
use crate::files::{Policy, Roots, clean};
use crate::media::{Picture, jpeg, mp4};
use crate::rehearsal::{Client, Rehearsal, splits};
use crate::services::{configured, refused};
use crate::wire::datagram_frames::{self, FRAME_LENGTH, PIECES};
use crate::wire::frames::{FrameReader, prefix};
use crate::wire::pickle;

const SECOND: Duration = Duration::from_secs(1);
const FRAME_SIZE: usize = 1 << 20;

fn stage(encoding: Form, source: Source) -> Rehearsal<Video> {
    Rehearsal::new(Video::new(setup(encoding, source)))
}

fn setup(encoding: Form, source: Source) -> Setup {
    let name = "video".to_owned();
    Setup { name, encoding, source, frame_size: FRAME_SIZE, quality: 80, recorder: None }
}

fn pattern() -> Player {
    Player::pattern(32, 24, 25)
}

/// A JPEG by its ends, with a number in it.
fn numbered(number: u8) -> Vec<u8> {
    [&[0xFF, 0xD8][..], &[number; 40], &[0xFF, 0xD9]].concat()
}

fn message(frame: &[u8]) -> Vec<u8> {
    [&prefix(frame.len())[..], frame].concat()
}

/// The frames that a client has received since the last call, which must be whole.
fn frames(stage: &mut Rehearsal<Video>, client: Client) -> Vec<Vec<u8>> {
    let received = stage.received(client);
    let (mut reader, mut rest, mut frames) = (FrameReader::default(), &received[..], Vec::new());
    while !rest.is_empty() {
        let (used, frame) = reader.next(rest, FRAME_SIZE + 1000).unwrap();
        rest = &rest[used..];
        frames.extend(frame);
    }
    assert!(!reader.is_in_frame());
    frames
}

fn at(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Sends these pieces of a frame, all of whose bytes are `shade`.
fn send_pieces(stage: &mut Rehearsal<Video>, from: SocketAddr, shade: u8, pieces: std::ops::Range<usize>) {
    let (frame, mut datagram) = (vec![shade; FRAME_LENGTH], Vec::new());
    for piece in pieces {
        datagram_frames::write(&frame, piece, &mut datagram);
        stage.datagram(from, &datagram);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn frames_reach_every_viewer_however_they_are_split(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut stage = stage(Form::Jpeg, Source::Publish);
        let (publisher, one, other) = (stage.connect(), stage.connect(), stage.connect());
        for number in 0..3 {
            for piece in splits(&message(&numbered(number)), &cuts) {
                stage.send(publisher, piece);
            }
            prop_assert_eq!(frames(&mut stage, one), vec![numbered(number)]);
            prop_assert_eq!(frames(&mut stage, other), vec![numbered(number)]);
        }
        prop_assert_eq!(stage.received(publisher), b"");
    }
}

#[test]
fn a_new_viewer_gets_the_newest_frame_at_once() {
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let publisher = stage.connect();
    stage.send(publisher, &message(&numbered(1)));
    stage.send(publisher, &message(&numbered(2)));
    let late = stage.connect();
    assert_eq!(frames(&mut stage, late), [numbered(2)]);
    stage.send(publisher, &message(&numbered(3)));
    assert_eq!(frames(&mut stage, late), [numbered(3)]);
}

#[test]
fn when_the_publisher_leaves_its_frame_is_forgotten_and_the_viewers_stay() {
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let (publisher, viewer) = (stage.connect(), stage.connect());
    stage.send(publisher, &message(&numbered(1)));
    stage.hang_up(publisher);
    let late = stage.connect();
    assert_eq!(frames(&mut stage, late), [b""; 0]);
    let next = stage.connect();
    stage.send(next, &message(&numbered(2)));
    assert_eq!(frames(&mut stage, viewer), [numbered(1), numbered(2)]);
    assert_eq!(frames(&mut stage, late), [numbered(2)]);
}

#[test]
fn whoever_sends_a_byte_is_the_publisher_and_a_second_one_is_closed() {
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let (publisher, second, viewer) = (stage.connect(), stage.connect(), stage.connect());
    stage.send(publisher, b"\x2C");
    stage.send(second, &message(&numbered(9)));
    assert!(stage.is_closed(second) && !stage.is_closed(publisher));
    stage.send(publisher, &message(&numbered(1))[1..]);
    assert_eq!(frames(&mut stage, viewer), [numbered(1)]);
    assert_eq!(stage.received(publisher), b"");
    // Being refused changes nothing for those who stay.
    stage.hang_up(publisher);
    let third = stage.connect();
    stage.send(third, &message(&numbered(2)));
    assert_eq!(frames(&mut stage, viewer), [numbered(2)]);
}

#[test]
fn a_publisher_of_anything_else_is_closed() {
    let mut pickled = Vec::new();
    pickle::write(700, 700, &vec![0; 700 * 700 * 3], &mut pickled);
    let too_long = prefix(FRAME_SIZE + 1).to_vec();
    for refused in [message(b""), message(b"hello"), message(b"\x80\x04."), message(&pickled), too_long] {
        let mut stage = stage(Form::Jpeg, Source::Publish);
        let (publisher, viewer) = (stage.connect(), stage.connect());
        stage.send(publisher, &refused);
        assert!(stage.is_closed(publisher));
        assert_eq!(frames(&mut stage, viewer), [b""; 0]);
        let next = stage.connect();
        stage.send(next, &message(&numbered(1)));
        assert_eq!(frames(&mut stage, viewer), [numbered(1)]);
    }
}

#[test]
fn a_publisher_that_is_refused_or_half_closes_makes_way_before_its_connection_is_gone() {
    for refused in [true, false] {
        let mut stage = stage(Form::Jpeg, Source::Publish);
        let (publisher, viewer) = (stage.connect(), stage.connect());
        stage.send(publisher, &message(&numbered(1)));
        stage.stop_reading(publisher);
        if refused {
            stage.send(publisher, &message(b"hello"));
        } else {
            stage.half_close(publisher);
        }
        assert!(!stage.is_closed(publisher));
        let next = stage.connect();
        assert_eq!(stage.received(next), b"");
        stage.send(next, &message(&numbered(2)));
        assert_eq!(frames(&mut stage, viewer), [numbered(1), numbered(2)]);
    }
}

#[test]
fn a_frame_that_does_not_become_whole_ends_the_publisher_however_it_drips() {
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let (publisher, viewer) = (stage.connect(), stage.connect());
    let frame = message(&numbered(1));
    stage.send(publisher, &frame);
    stage.pass(60 * SECOND);
    assert!(!stage.is_closed(publisher));
    for byte in &frame[..9] {
        stage.send(publisher, &[*byte]);
        stage.pass(SECOND);
    }
    assert!(!stage.is_closed(publisher));
    stage.pass(SECOND);
    assert!(stage.is_closed(publisher) && !stage.is_closed(viewer));
    let late = stage.connect();
    assert_eq!(stage.received(late), b"");
}

#[test]
fn a_frame_is_coded_for_those_who_want_it_and_later_ones_replace_the_one_that_waits() {
    let mut stage = stage(Form::Raw, Source::Publish);
    let shaded = |shade: u8| jpeg::encode(&Picture::new(8, 8, vec![shade; 8 * 8 * 3]).unwrap(), 95);
    let publisher = stage.connect();
    stage.hold_jobs();
    stage.send(publisher, &message(&shaded(10)));
    let viewer = stage.connect();
    for shade in [50, 100, 150, 200] {
        stage.send(publisher, &message(&shaded(shade)));
    }
    stage.release_jobs();
    let shades: Vec<u8> = frames(&mut stage, viewer)
        .iter()
        .map(|frame| pickle::recognize(frame, FRAME_SIZE).unwrap().data[0])
        .collect();
    // The first was in the works when the others came.
    assert_eq!(shades.len(), 2, "{shades:?}");
    assert!(shades[0].abs_diff(10) < 8 && shades[1].abs_diff(200) < 8, "{shades:?}");
    let late = stage.connect();
    assert_eq!(frames(&mut stage, late).len(), 1);
}

#[test]
fn a_job_for_a_publisher_that_has_left_shows_nothing_and_keeps_nobody_waiting() {
    let mut stage = stage(Form::Raw, Source::Publish);
    let (publisher, viewer) = (stage.connect(), stage.connect());
    stage.hold_jobs();
    let shaded = |shade: u8| jpeg::encode(&Picture::new(8, 8, vec![shade; 8 * 8 * 3]).unwrap(), 95);
    stage.send(publisher, &message(&shaded(10)));
    stage.hang_up(publisher);
    stage.release_jobs();
    assert_eq!(frames(&mut stage, viewer), [b""; 0]);
    let next = stage.connect();
    stage.send(next, &message(&shaded(200)));
    assert_eq!(frames(&mut stage, viewer).len(), 1);
}

#[test]
fn a_jpeg_that_cannot_be_decoded_is_left_out_for_raw_viewers() {
    let mut stage = stage(Form::Raw, Source::Publish);
    let (publisher, viewer) = (stage.connect(), stage.connect());
    stage.send(publisher, &message(&numbered(1)));
    assert_eq!(frames(&mut stage, viewer), [b""; 0]);
    assert!(!stage.is_closed(publisher));
    stage.send(publisher, &message(&jpeg::encode(&Picture::black(8, 8), 80)));
    assert_eq!(frames(&mut stage, viewer).len(), 1);
}

#[test]
fn a_viewer_that_does_not_read_skips_whole_frames_and_delays_nobody() {
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let (publisher, fast) = (stage.connect(), stage.connect());
    let slow = stage.connect_without_reading();
    let large = |number: u8| [&[0xFF, 0xD8][..], &vec![number; 700_000], &[0xFF, 0xD9]].concat();
    for number in 0..10 {
        stage.send(publisher, &message(&large(number)));
        assert_eq!(frames(&mut stage, fast), [large(number)]);
    }
    stage.read_on(slow);
    let numbers: Vec<u8> = frames(&mut stage, slow).iter().map(|frame| frame[2]).collect();
    // The stage's kernel takes 1 MiB: the first frame, and a part of the second.
    assert_eq!(numbers, [0, 1, 9]);
}

#[test]
fn frames_in_datagrams_reach_raw_viewers_bit_for_bit() {
    let mut stage = stage(Form::Raw, Source::Publish);
    let viewer = stage.connect();
    send_pieces(&mut stage, at(41_000), 7, 0..PIECES);
    let expected = Raw::new(640, 480, &vec![7; FRAME_LENGTH]).message();
    assert_eq!(stage.received(viewer), expected);
    // A frame that lacks a piece is not shown, and the next one is.
    send_pieces(&mut stage, at(41_000), 8, 0..7);
    send_pieces(&mut stage, at(41_000), 8, 8..PIECES);
    assert_eq!(stage.received(viewer), b"");
    send_pieces(&mut stage, at(41_000), 9, 0..PIECES);
    assert_eq!(frames(&mut stage, viewer).len(), 1);
}

#[test]
fn one_peer_publishes_at_a_time_over_both_transports_and_makes_way_after_two_seconds() {
    let mut stage = stage(Form::Raw, Source::Publish);
    let viewer = stage.connect();
    send_pieces(&mut stage, at(41_000), 1, 0..PIECES);
    send_pieces(&mut stage, at(41_001), 2, 0..PIECES);
    let on_tcp = stage.connect();
    assert_eq!(frames(&mut stage, on_tcp).len(), 1);
    stage.send(on_tcp, &message(&numbered(1)));
    assert!(stage.is_closed(on_tcp));
    assert_eq!(frames(&mut stage, viewer).len(), 1);
    stage.pass(SECOND);
    send_pieces(&mut stage, at(41_000), 1, 0..1);
    stage.pass(2 * SECOND - Duration::from_millis(1));
    let late = stage.connect();
    assert_eq!(frames(&mut stage, late).len(), 1);
    stage.pass(Duration::from_millis(1));
    let later = stage.connect();
    assert_eq!(stage.received(later), b"");
    send_pieces(&mut stage, at(41_001), 2, 0..PIECES);
    let received = frames(&mut stage, viewer);
    assert_eq!(pickle::recognize(&received[0], FRAME_SIZE).unwrap().data[0], 2);
}

#[test]
fn datagrams_that_are_no_pieces_make_nobody_the_publisher() {
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let (publisher, viewer) = (stage.connect(), stage.connect());
    let mut piece_20 = vec![0; datagram_frames::DATAGRAM_LENGTH];
    piece_20[0] = 20;
    for datagram in [&b""[..], b"hello", &piece_20] {
        stage.datagram(at(41_000), datagram);
    }
    stage.send(publisher, &message(&numbered(1)));
    assert_eq!(frames(&mut stage, viewer), [numbered(1)]);
}

#[test]
fn the_pattern_is_shown_while_nobody_publishes() {
    let mut stage = stage(Form::Jpeg, Source::Auto(pattern()));
    let viewer = stage.connect();
    stage.pass(SECOND);
    let shown = frames(&mut stage, viewer);
    assert_eq!(shown.len(), 26);
    assert!(shown[0] != shown[25] && jpeg::decode(&shown[0], FRAME_SIZE).is_ok());
    let publisher = stage.connect();
    frames(&mut stage, publisher);
    stage.send(publisher, &message(&numbered(1)));
    stage.pass(SECOND);
    assert_eq!(frames(&mut stage, viewer), [numbered(1)]);
    stage.hang_up(publisher);
    stage.pass(SECOND);
    assert_eq!(frames(&mut stage, viewer).len(), 26);
}

#[test]
fn nothing_is_drawn_while_nobody_looks() {
    let mut stage = stage(Form::Jpeg, Source::Player(pattern()));
    // Whoever comes after an hour sees the first frame, as if nothing had been before.
    let first = stage.connect();
    let first_frame = frames(&mut stage, first);
    stage.hang_up(first);
    stage.pass(3600 * SECOND);
    let second = stage.connect();
    let second_frame = frames(&mut stage, second);
    assert_eq!((first_frame.len(), second_frame.len()), (1, 1));
    stage.pass(Duration::from_millis(40));
    assert_eq!(frames(&mut stage, second).len(), 1);
}

#[test]
fn with_a_source_of_its_own_it_takes_no_frames() {
    let mut stage = stage(Form::Raw, Source::Player(pattern()));
    let (publisher, viewer) = (stage.connect(), stage.connect());
    stage.send(publisher, &message(&numbered(1)));
    assert!(stage.is_closed(publisher));
    frames(&mut stage, viewer);
    send_pieces(&mut stage, at(41_000), 1, 0..PIECES);
    assert_eq!(stage.received(viewer), b"");
}

#[test]
fn what_a_half_finished_frame_takes_is_counted() {
    use crate::service::Service;
    let mut stage = stage(Form::Jpeg, Source::Publish);
    let publisher = stage.connect();
    stage.send(publisher, &prefix(FRAME_SIZE));
    stage.send(publisher, &[0xFF; 100_000]);
    let mut session = super::Session::Publisher(Default::default());
    let super::Session::Publisher(incoming) = &mut session else { unreachable!() };
    incoming.reader.next(&[&prefix(FRAME_SIZE)[..], &[0xFF; 100_000]].concat(), FRAME_SIZE).unwrap();
    let footprint = stage.service().footprint(&session);
    assert!((100_000..=200_016).contains(&footprint), "{footprint}");
}

#[test]
fn its_settings_are_checked() {
    refused(
        &DESCRIPTION,
        &[
            ("tcp = 1\nsource = \"patern\"", (3, 10), "neither \"auto\", \"publish\", \"pattern\""),
            ("tcp = 1\nsource = \"service:\"", (3, 10), "lacks the name"),
            ("tcp = 1\nsource = \"service:video\"", (3, 10), "cannot come from the service itself"),
            ("tcp = 1\nencoding = \"png\"", (3, 12), "neither \"jpeg\" nor \"pickle\""),
            ("tcp = 1\nfps = 0", (3, 7), "whole number from 1 to 120"),
            ("tcp = 1\nwidth = 5000", (3, 9), "whole number from 16 to 4096"),
            ("tcp = 1\nrecord = \"../a.mp4\"", (3, 10), "not the name of an MP4 file"),
            ("tcp = 1\nrecord = \"a.avi\"", (3, 10), "not the name of an MP4 file"),
            ("tcp = 1\nquality = 0", (3, 11), "whole number from 1 to 100"),
            ("tcp = 1\nframe_size = 0", (3, 14), "cannot be turned off"),
            ("tcp = 1\nframe_size = \"1 GiB\"", (3, 14), "at most 63 MiB"),
            ("tcp = 1\nframe_size = \"100 KiB\"", (3, 14), "does not fit"),
        ],
    );
}

#[test]
fn the_kernel_holds_little_of_a_slow_viewers_frames_unless_it_is_told_to() {
    let buffer = |lines: &str| configured(&DESCRIPTION, lines).unwrap().socket.send_buffer;
    assert_eq!(buffer("tcp = 1"), Some(SEND_BUFFER));
    assert_eq!(buffer("tcp = 1\nsend_buffer = \"1 MiB\""), Some(1 << 20));
}

#[test]
fn what_is_recorded_is_there_while_it_grows_and_goes_on_in_a_new_file() {
    let roots = Roots::on(Disk::Simulated(simulated::Disk::new(1)));
    let frame = jpeg::encode(&Picture::black(64, 48), 80);
    let fragment = mp4::FRAGMENT_HEAD + frame.len();
    let head = mp4::head(64, 48).len();
    // Room for three frames, one of which is not written yet.
    let max_file_size = (head + 3 * fragment) as u64;
    let root = roots.root(Path::new("a"), Policy { max_file_size, ..Policy::default() });
    let recorder = Some(Recorder::new(root.clone(), clean("녹화.mp4").unwrap()));
    let mut stage = Rehearsal::new(Video::new(Setup { recorder, ..setup(Form::Raw, Source::Publish) }));
    let publisher = stage.connect();
    let mut publish = |frame: &[u8]| {
        stage.send(publisher, &message(frame));
        stage.pass(Duration::from_millis(40));
        let names = ["녹화.mp4", "녹화 (2).mp4", "녹화 (3).mp4"].map(|name| clean(name).unwrap());
        names.map(|name| root.open(&name).map_or(0, |found| found.size as usize))
    };
    publish(&frame);
    assert_eq!(publish(&frame), [head + fragment, 0, 0]);
    // No JPEG, though it has the ends of one.
    publish(&numbered(1));
    assert_eq!(publish(&frame), [head + 2 * fragment, 0, 0]);
    assert_eq!(publish(&frame), [head + 3 * fragment, 0, 0]);
    assert_eq!(publish(&frame), [head + 3 * fragment, head + fragment, 0]);
    // A file has pictures of one size.
    let other = jpeg::encode(&Picture::black(32, 48), 80);
    assert_eq!(publish(&other), [head + 3 * fragment, head + 2 * fragment, 0]);
    assert_ne!(publish(&other)[2], 0);
}

#[test]
fn a_disk_that_stands_still_costs_frames_of_the_recording_and_delays_no_viewer() {
    let roots = Roots::on(Disk::Simulated(simulated::Disk::new(1)));
    let root = roots.root(Path::new("a"), Policy::default());
    let recorder = Some(Recorder::new(root.clone(), clean("a.mp4").unwrap()));
    let mut stage = Rehearsal::new(Video::new(Setup { recorder, ..setup(Form::Jpeg, Source::Publish) }));
    let (publisher, viewer) = (stage.connect(), stage.connect());
    let frame = jpeg::encode(&Picture::black(64, 48), 80);
    stage.hold_jobs();
    for _ in 0..100 {
        stage.send(publisher, &message(&frame));
        assert_eq!(frames(&mut stage, viewer).len(), 1);
        stage.pass(Duration::from_millis(40));
    }
    stage.release_jobs();
    // The first frame was being written, the newest 25 waited, and the last of them is
    // written with the next.
    let size = root.open(&clean("a.mp4").unwrap()).unwrap().size as usize;
    let fragment = mp4::FRAGMENT_HEAD + frame.len();
    assert_eq!(size, mp4::head(64, 48).len() + 25 * fragment);
}

#[test]
fn a_recording_that_cannot_go_on_is_tried_again_and_leaves_no_empty_files() {
    let roots = Roots::on(Disk::Simulated(simulated::Disk::new(1)));
    let frame = jpeg::encode(&Picture::black(64, 48), 80);
    let root = roots.root(Path::new("a"), Policy { max_total_size: 500, ..Policy::default() });
    let recorder = Some(Recorder::new(root.clone(), clean("a.mp4").unwrap()));
    let mut stage = Rehearsal::new(Video::new(Setup { recorder, ..setup(Form::Jpeg, Source::Publish) }));
    let (publisher, viewer) = (stage.connect(), stage.connect());
    for _ in 0..200 {
        stage.send(publisher, &message(&frame));
        stage.pass(SECOND);
    }
    assert_eq!(frames(&mut stage, viewer).len(), 200);
    assert_eq!(root.list().unwrap().files.len(), 1);
}
