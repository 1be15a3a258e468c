//! Pickles: what numpy writes and we read, and the other way round.

use std::process::Command;

use libtest_mimic::Trial;
use onepoll::media::{convert, pattern::Pattern};
use onepoll::wire::frames::FrameReader;
use onepoll::wire::pickle;

use crate::tools::{obstacle, output, python, script, text};
use crate::trials::trial;

const MAX_BYTES: usize = 64 << 20;

/// A test with one generation of numpy.
type Test = fn(u8);

pub fn trials() -> Vec<Trial> {
    let tests: [(&str, Test); 3] = [
        ("loads what we write into a writable array", loads_what_we_write),
        ("writes pictures that we recognize", writes_what_we_recognize),
        ("still writes the fixtures", still_writes_the_fixtures),
    ];
    let mut trials = Vec::new();
    for generation in [1, 2] {
        let check = format!("import numpy; assert numpy.__version__.startswith('{generation}.')");
        let obstacle = obstacle(&python(generation), &["-c", &check]);
        for (name, test) in tests {
            trials.push(trial(format!("numpy {generation} {name}"), obstacle.clone(), move || {
                test(generation)
            }));
        }
    }
    trials
}

fn loads_what_we_write(generation: u8) {
    for (width, height) in [(640, 480), (1, 1), (300, 2), (1920, 1080)] {
        let picture = Pattern::new(width, height, 25).draw(7, "12:34:56");
        let program = "
import pickle, sys, zlib
frame = pickle.loads(sys.stdin.buffer.read())
print(type(frame).__module__, type(frame).__name__, frame.dtype, frame.shape)
print(frame.flags.writeable, frame.flags.c_contiguous, frame.base is None)
print(frame.tobytes().hex()[:60], sum(frame.ravel().tolist()))
frame[0, 0] = 255
assert frame[0, 0].tolist() == [255] * 3
frame += 1
";
        let mut command = Command::new(python(generation));
        let found = text(command.args(["-c", program]), &convert::to_pickle(&picture));
        let sum: u64 = picture.bgr().iter().map(|byte| u64::from(*byte)).sum();
        let start: String = picture.bgr().iter().take(30).map(|byte| format!("{byte:02x}")).collect();
        let expected =
            format!("numpy ndarray uint8 ({height}, {width}, 3)\nTrue True False\n{start} {sum}\n");
        assert_eq!(found, expected);
    }
}

/// The program sends pairs of frames: a pickled array, and its shape and elements.
fn writes_what_we_recognize(generation: u8) {
    let mut command = Command::new(python(generation));
    let stream = output(command.arg(script("media_tools/numpy_frames.py")), b"");
    let (mut reader, mut frames, mut rest) = (FrameReader::default(), Vec::new(), &stream[..]);
    while let (used, Some(frame)) = reader.next(rest, MAX_BYTES).unwrap() {
        frames.push(frame);
        rest = &rest[used..];
    }
    assert!(!reader.is_in_frame());
    assert!(frames.len() > 300, "{} frames", frames.len());
    for pair in frames.chunks(2) {
        let array = pickle::recognize(&pair[0], MAX_BYTES).unwrap();
        let (shape, elements) = pair[1].split_at(12);
        let dimension =
            |place: usize| u32::from_le_bytes(*shape[place * 4..].first_chunk().unwrap()) as usize;
        assert_eq!([array.height, array.width, array.channels], [0, 1, 2].map(dimension));
        let picture = convert::from_array(&array).unwrap();
        let stretched: Vec<u8> = match array.channels {
            1 => elements.iter().flat_map(|grey| [*grey; 3]).collect(),
            4 => elements.chunks(4).flat_map(|pixel| pixel[..3].to_vec()).collect(),
            _ => elements.to_vec(),
        };
        assert!(picture.bgr() == stretched, "{array:?}");
    }
}

fn still_writes_the_fixtures(generation: u8) {
    let all = include_str!("../fixtures/numpy_pickles.txt");
    let without_version = |line: &str| line.split_once('\t').map(|(_, rest)| rest.to_owned());
    let of_generation = all.lines().filter(|line| line.starts_with(&format!("{generation}.")));
    let expected: Vec<_> = of_generation.map(without_version).collect();
    let mut command = Command::new(python(generation));
    let written = text(command.arg(script("fixtures/numpy_pickles.py")), b"");
    assert!(!expected.is_empty());
    assert_eq!(written.lines().map(without_version).collect::<Vec<_>>(), expected);
}
