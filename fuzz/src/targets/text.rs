//! Messages from people and simple programs, as chunks or lines.

use arbitrary::{Result, Unstructured};
use onepoll::wire::text::{Mode, Step, TextFraming, incomplete_suffix, strip_line_end};

use crate::generate::{bytes, joined, one_of};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "text",
    check,
    generate,
    words: &[
        b"\r\n",
        b"\r",
        b"\n",
        b"\n\r",
        b"\xEA\xB0\x80",
        b"\xEA\xB0",
        b"\xF0\x9F\x98\x80",
        b"\xF0\x9F",
        b"\xC0\x80",
        b"\xED\xA0\x80",
        b"\xF4\x90\x80\x80",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 256 },
};

fn check(input: &[u8]) {
    for limit in [0, 1, 5, 200] {
        let whole = Peer::hears(b"\n", &[input], limit);
        for pieces in splits(input) {
            let peer = Peer::hears(b"\n", &pieces, limit);
            assert_eq!(peer.framing.mode(), Mode::Line);
            assert_eq!(
                (&peer.texts, peer.too_long),
                (&whole.texts, whole.too_long),
                "lines depend on the split"
            );
            chunks_lose_nothing(input, &pieces, limit);
        }
    }
    let suffix = incomplete_suffix(input);
    assert!(suffix <= 3 && suffix <= input.len());
    assert!(input.starts_with(strip_line_end(input)));
}

fn chunks_lose_nothing(input: &[u8], pieces: &[&[u8]], limit: usize) {
    let peer = Peer::hears(b"x", pieces, limit);
    assert_eq!((peer.framing.mode(), peer.too_long), (Mode::Chunk, false));
    assert_eq!(peer.raw, [b"x", input].concat());
    // The last one may have been flushed.
    let before = &peer.texts[..peer.texts.len().saturating_sub(1)];
    if (limit == 0 || limit > 3) && std::str::from_utf8(input).is_ok() {
        assert!(before.iter().all(|chunk| std::str::from_utf8(chunk).is_ok()), "a character was cut");
    }
}

/// A connection; what it leaves unread is shown again in front of the next piece.
#[derive(Default)]
struct Peer {
    framing: TextFraming,
    unread: Vec<u8>,
    texts: Vec<Vec<u8>>,
    raw: Vec<u8>,
    too_long: bool,
}

impl Peer {
    /// `first` decides between chunks and lines.
    fn hears(first: &[u8], pieces: &[&[u8]], limit: usize) -> Peer {
        let mut peer = Peer::default();
        peer.hear(first, limit);
        for piece in pieces {
            peer.hear(piece, limit);
        }
        if let Some(message) = peer.framing.flush(&peer.unread).filter(|_| !peer.too_long) {
            peer.texts.push(message.text.to_vec());
            peer.raw.extend_from_slice(message.raw);
        }
        peer
    }

    fn hear(&mut self, piece: &[u8], limit: usize) {
        if self.too_long {
            return;
        }
        self.unread.extend_from_slice(piece);
        loop {
            let (used, step) = self.framing.next(&self.unread, limit);
            match step {
                Step::Message(message) => {
                    assert!(used > 0 && (limit == 0 || message.text.len() <= limit));
                    assert!(message.raw.starts_with(message.text));
                    self.texts.push(message.text.to_vec());
                    self.raw.extend_from_slice(message.raw);
                }
                Step::Incomplete => {
                    self.unread.drain(..used);
                    assert!(limit == 0 || self.unread.len() <= limit, "too much is held back");
                    return;
                }
                Step::TooLong => {
                    self.too_long = true;
                    return;
                }
            }
            self.unread.drain(..used);
        }
    }
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    joined(u, 12, |u| {
        let mut line = if u.ratio(1, 4)? {
            bytes(u, 12)?
        } else {
            one_of(u, &[b"hello", "안녕 😀".as_bytes(), b"/nick kim", b""])?
        };
        line.extend(one_of(u, &[b"\n", b"\r\n", b"\r", b"\r\r\n", b"", b"\xEA"])?);
        Ok(line)
    })
}
