//! Frames with their length in front.

use arbitrary::{Result, Unstructured};
use onepoll::wire::frames::{FrameReader, kind, prefix};

use crate::generate::{bytes, joined, number};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "frames",
    check,
    generate,
    words: &[
        b"\0\0\0\0\0\0\0\0",
        b"\x01\0\0\0\0\0\0\0",
        b"\x20\0\0\0\0\0\0\0",
        b"\0\x10\0\0\0\0\0\0",
        b"\xFF\xFF\xFF\x3F\0\0\0\0",
        b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
        b"\0\0\0\0\x01\0\0\0",
        b"\xFF\xD8",
        b"\xFF\xD9",
        b"\x80\x05",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 64 },
};

fn check(input: &[u8]) {
    for limit in [0, 40, 1 << 30] {
        let whole = read(&[input], limit);
        for pieces in splits(input) {
            assert!(read(&pieces, limit) == whole, "the split matters at a limit of {limit}");
        }
        let written: Vec<u8> =
            whole.0.iter().flat_map(|frame| [&prefix(frame.len())[..], frame].concat()).collect();
        assert!(input.starts_with(&written), "the frames are not those of the stream");
    }
    let framed = [&prefix(input.len())[..], input].concat();
    assert!(
        read(&[&framed], input.len()) == (vec![input.to_vec()], None, false),
        "what is written is read back"
    );
    let _ = kind(input);
}

/// The frames, the length that was too long, and whether a frame is unfinished.
fn read(pieces: &[&[u8]], limit: usize) -> (Vec<Vec<u8>>, Option<u64>, bool) {
    let (mut reader, mut frames, mut received) = (FrameReader::default(), Vec::new(), 0);
    for mut piece in pieces.iter().copied() {
        received += piece.len();
        loop {
            let (used, frame) = match reader.next(piece, limit) {
                Ok(read) => read,
                Err(too_long) => return (frames, Some(too_long.announced), false),
            };
            piece = &piece[used..];
            assert!(
                reader.held() <= 2 * received && reader.held() <= limit,
                "{} bytes are held",
                reader.held()
            );
            let Some(frame) = frame else { break };
            assert!(frame.len() <= limit);
            frames.push(frame);
        }
        assert!(piece.is_empty());
    }
    (frames, None, reader.is_in_frame())
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    joined(u, 6, |u| {
        let frame = bytes(u, 60)?;
        let length = if u.ratio(1, 8)? { number(u)?.to_le_bytes() } else { prefix(frame.len()) };
        Ok([&length[..], &frame].concat())
    })
}
