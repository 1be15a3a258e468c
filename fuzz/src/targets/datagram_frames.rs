//! Frames in twenty datagrams. The input is a script, one byte per datagram: its number in
//! the lower five bits, and in the upper three what is wrong with it.

use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use onepoll::wire::datagram_frames::{
    DATAGRAM_LENGTH, FRAME_LENGTH, FrameAssembler, PIECE_LENGTH, PIECES, write,
};

use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "datagram_frames",
    check,
    generate,
    words: &[
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        &[10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
        &[0x20],
        &[0x40],
        &[0x60],
        &[0x80],
        &[0xFF],
    ],
    memory: Memory { fixed: 4 * FRAME_LENGTH, per_byte: 64 },
};

/// A frame may pause for this long, and not for longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// More datagrams would find nothing new, and take long.
const MOST_DATAGRAMS: usize = 200;

fn check(script: &[u8]) {
    let (mut assembler, mut now) = (FrameAssembler::default(), Instant::now());
    let mut datagram = vec![0; DATAGRAM_LENGTH];
    // The pieces so far of a frame that arrives as it should: what each is filled with.
    let mut run: Vec<u8> = Vec::new();
    let mut whole = 0;
    for (step, op) in script.iter().take(MOST_DATAGRAMS).enumerate() {
        let (number, fill) = (op & 0x1F, step as u8);
        datagram.resize(DATAGRAM_LENGTH, 0);
        datagram.fill(fill);
        datagram[0] = number;
        let pause = match op >> 5 {
            1 => LONGEST_PAUSE,
            2 => LONGEST_PAUSE + Duration::from_millis(1),
            _ => Duration::from_millis(1),
        };
        now += pause;
        match op >> 5 {
            3 => datagram.truncate(usize::from(fill)),
            4 => datagram.push(0),
            _ => {}
        }
        let received = assembler.receive(&datagram, now);
        let is_piece = datagram.len() == DATAGRAM_LENGTH && usize::from(number) < PIECES;
        assert_eq!(received.is_ok(), is_piece);
        let Ok(frame) = received else {
            // It changes nothing, so the pause lasts until the next piece.
            now -= pause;
            continue;
        };
        if usize::from(number) != run.len() || pause > LONGEST_PAUSE {
            run.clear();
        }
        if usize::from(number) == run.len() {
            run.push(fill);
        }
        assert_eq!(frame.is_some(), run.len() == PIECES, "at datagram {step}");
        assert!(assembler.held() <= 2 * run.len() * PIECE_LENGTH, "{} bytes are held", assembler.held());
        if let Some(frame) = frame {
            assert_eq!(frame.len(), FRAME_LENGTH);
            for (piece, fill) in frame.chunks(PIECE_LENGTH).zip(&run) {
                assert!(piece.iter().all(|byte| byte == fill), "a piece of another frame");
            }
            is_read_back(&frame);
            run.clear();
            whole += 1;
        }
    }
    assert!(assembler.incomplete() + whole <= script.len() as u64);
}

fn is_read_back(frame: &[u8]) {
    let (mut assembler, now, mut datagram) = (FrameAssembler::default(), Instant::now(), Vec::new());
    for piece in 0..PIECES {
        write(frame, piece, &mut datagram);
        let received = assembler.receive(&datagram, now).expect("what is written is a piece");
        assert!(received.is_none_or(|received| received == frame));
    }
    assert_eq!(assembler.held(), 0);
}

/// Frames that lack few pieces.
fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut script = Vec::new();
    for _ in 0..u.int_in_range(1..=4u8)? {
        for number in 0..PIECES as u8 {
            match u.int_in_range(0..=60u8)? {
                0 => {}
                1 => script.extend([number, number]),
                2 => script.push(u.arbitrary()?),
                3 => script.push(number | 0x20),
                4 => script.push(number | 0x40),
                _ => script.push(number),
            }
        }
    }
    Ok(script)
}
