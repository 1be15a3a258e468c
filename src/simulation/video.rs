//! The frames of simulated publishers, and what viewers may be shown of them.

use std::collections::BTreeMap;

use crate::wire::frames::{FrameReader, prefix};

/// What stands around the filling of a frame: the marks of a JPEG, and two numbers.
const AROUND: usize = 2 + 4 + 4 + 2;
const LONGEST: usize = 1 << 20;

/// A frame with its length in front. It tells whose it is, and nothing in it is free.
pub(super) fn frame(publisher: u32, number: u32, filling: usize) -> Vec<u8> {
    let mut frame = prefix(AROUND + filling).to_vec();
    frame.extend_from_slice(&[0xFF, 0xD8]);
    frame.extend_from_slice(&publisher.to_le_bytes());
    frame.extend_from_slice(&number.to_le_bytes());
    frame.resize(frame.len() + filling, (publisher ^ number) as u8);
    frame.extend_from_slice(&[0xFF, 0xD9]);
    frame
}

/// Checks what one connection has received: whole frames, as they were sent, and of each
/// publisher never one again or an older one. The last may be on its way.
pub(super) fn check(received: &[u8]) -> Result<(), String> {
    let mut latest = BTreeMap::new();
    let (mut reader, mut rest) = (FrameReader::keeping_prefixes(), received);
    while !rest.is_empty() {
        let (used, message) = reader.next(rest, LONGEST).map_err(|error| error.to_string())?;
        rest = &rest[used..];
        let Some(message) = message else { break };
        let number_at = |at: usize| {
            let bytes = message.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        let (publisher, number) = (number_at(10), number_at(14));
        let filling = message.len().saturating_sub(8 + AROUND);
        if message != frame(publisher, number, filling) {
            return Err(format!("a frame of {} bytes is none that was sent", message.len()));
        }
        if let Some(before) = latest.insert(publisher, number).filter(|before| *before >= number) {
            return Err(format!("frame {number} of {publisher} came after its frame {before}"));
        }
    }
    Ok(())
}
