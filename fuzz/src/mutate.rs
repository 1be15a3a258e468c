//! Damages inputs.

use fastrand::Rng;

/// Numbers at the edges of what fields hold.
const EDGES: [&[u8]; 8] =
    [b"\0", b"\x01", b"\x7F", b"\x80", b"\xFF", b"\xFF\xFF\xFF\xFF", b"\xFF\xFF\xFF\x7F", b"\0\0\0\x01"];

/// Changes an input in one way. `other` is another input, and `words` are what the parser
/// knows.
pub fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Rng) {
    let place = random.usize(0..=input.len());
    let part = part(input.len(), random);
    match random.u8(0..10) {
        0 => flip(input, random),
        1 => {
            if let Some(byte) = input.get_mut(place) {
                *byte = random.u8(..);
            }
        }
        2 | 3 => insert(input, place, random.choice(words).unwrap_or(&&b""[..])),
        4 => insert(input, place, random.choice(EDGES).unwrap_or_default()),
        5 => {
            let word = random.choice(words).copied().unwrap_or_default();
            let end = (place + word.len()).min(input.len());
            input.splice(place..end, word.iter().copied());
        }
        6 => drop(input.drain(part)),
        7 => {
            let copy = input[part].to_vec();
            insert(input, place, &copy);
        }
        8 => {
            let from = self::part(other.len(), random);
            input.splice(part, other[from].iter().copied());
        }
        _ => input.truncate(place),
    }
}

fn flip(input: &mut [u8], random: &mut Rng) {
    if !input.is_empty() {
        let place = random.usize(..input.len());
        input[place] ^= 1 << random.u8(..8);
    }
}

fn insert(input: &mut Vec<u8>, place: usize, word: &[u8]) {
    input.splice(place..place, word.iter().copied());
}

/// A part of so many bytes, mostly a short one.
fn part(length: usize, random: &mut Rng) -> std::ops::Range<usize> {
    let start = random.usize(0..=length);
    let most = if random.bool() { 8 } else { length };
    start..(start + random.usize(0..=most)).min(length)
}
