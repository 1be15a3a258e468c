//! Makes messages that can be checked: each says which one it is, and every byte
//! of it can be computed again.
//!
//! A message of `size` bytes begins with its identity, up to eight bytes: the
//! sequence number plus a random key of the connection, little-endian. A message
//! on the wrong connection therefore has an impossible number. The rest is a
//! slice of one random block, at a position that the identity determines. Nothing
//! is computed per byte, so checking a message costs one comparison of memory.

/// Positions in the random block at which the rest of a message can begin.
const PLACES: u64 = 64 * 1024;

/// The messages of a run.
#[derive(Debug)]
pub struct Payload {
    size: usize,
    seed: u64,
    block: Vec<u8>,
}

impl Payload {
    /// Bytes of the identity, if the message is long enough.
    pub const IDENTITY: usize = 8;

    /// Messages of `size` bytes, which must be at least one.
    pub fn new(size: usize, seed: u64) -> Payload {
        let size = size.max(1);
        let rest = size.saturating_sub(Payload::IDENTITY);
        let mut state = seed;
        let words = (PLACES as usize + rest).div_ceil(8);
        let block = (0..words)
            .flat_map(|_| {
                state = state.wrapping_add(STEP);
                mix(state).to_le_bytes()
            })
            .collect();
        Payload { size, seed, block }
    }

    /// The size of each message in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The key of a connection.
    pub fn key(&self, connection: usize) -> u64 {
        mix(self.seed ^ mix(connection as u64 + 1))
    }

    /// How many messages can be told apart; one less than that may be in flight.
    pub fn numbers(size: usize) -> u64 {
        1u64.checked_shl(8 * size.min(Payload::IDENTITY) as u32).unwrap_or(u64::MAX)
    }

    fn identity_length(&self) -> usize {
        self.size.min(Payload::IDENTITY)
    }

    fn rest(&self, identity: u64) -> &[u8] {
        let place = (mix(identity) % PLACES) as usize;
        &self.block[place..place + self.size - self.identity_length()]
    }

    /// Composes a message and passes it to `put` in two parts.
    pub fn write(&self, key: u64, number: u64, mut put: impl FnMut(&[u8])) {
        let identity = key.wrapping_add(number);
        put(&identity.to_le_bytes()[..self.identity_length()]);
        if self.size > Payload::IDENTITY {
            put(self.rest(identity));
        }
    }

    /// Whether `bytes` are those of the message from byte `at` on.
    pub fn matches(&self, key: u64, number: u64, at: usize, bytes: &[u8]) -> bool {
        let identity = key.wrapping_add(number);
        let length = self.identity_length();
        let in_identity = length.saturating_sub(at).min(bytes.len());
        let (first, second) = bytes.split_at(in_identity);
        if !first.is_empty() && identity.to_le_bytes()[at..at + in_identity] != *first {
            return false;
        }
        let start = at.saturating_sub(length);
        second.is_empty() || self.rest(identity)[start..start + second.len()] == *second
    }

    /// Which message this is: the last one before `next` with this identity, if
    /// there is one. Whether its other bytes are correct is another question.
    pub fn number(&self, key: u64, next: u64, message: &[u8]) -> Option<u64> {
        let length = self.identity_length();
        let mut identity = [0; Payload::IDENTITY];
        identity[..length].copy_from_slice(message.get(..length)?);
        let number = u64::from_le_bytes(identity).wrapping_sub(key);
        let numbers = Payload::numbers(length);
        let back = match numbers {
            u64::MAX => next.wrapping_sub(1).wrapping_sub(number),
            numbers => next.wrapping_sub(1).wrapping_sub(number) % numbers,
        };
        next.checked_sub(1)?.checked_sub(back)
    }

    /// Which message these bytes are, if all of them are right.
    pub fn exact(&self, key: u64, next: u64, message: &[u8]) -> Option<u64> {
        self.number(key, next, message)
            .filter(|number| message.len() == self.size && self.matches(key, *number, 0, message))
    }

    /// How many bytes at the beginning and at the end are those of a message.
    pub fn likeness(&self, key: u64, number: u64, bytes: &[u8]) -> usize {
        let identity = key.wrapping_add(number).to_le_bytes();
        let message = || identity[..self.identity_length()].iter().chain(self.rest(key.wrapping_add(number)));
        let at_beginning = message().zip(bytes).take_while(|(a, b)| a == b).count();
        let left = bytes.len().min(self.size) - at_beginning;
        let at_end = message().rev().zip(bytes.iter().rev()).take(left).take_while(|(a, b)| a == b).count();
        at_beginning + at_end
    }
}

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64 (Steele, Lea, Flood: Fast Splittable
/// Pseudorandom Number Generators, 2014).
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(payload: &Payload, key: u64, number: u64) -> Vec<u8> {
        let mut message = Vec::new();
        payload.write(key, number, |part| message.extend_from_slice(part));
        message
    }

    proptest! {
        #[test]
        fn a_message_is_known_again_in_any_pieces(size in 1usize..300, seed: u64, connection in 0usize..9, number in 0u64..1000, cut: prop::sample::Index) {
            let payload = Payload::new(size, seed);
            let key = payload.key(connection);
            let whole = message(&payload, key, number);
            prop_assert_eq!(whole.len(), size);
            let (first, second) = whole.split_at(cut.index(size + 1));
            prop_assert!(payload.matches(key, number, 0, first));
            prop_assert!(payload.matches(key, number, first.len(), second));
            let near = Payload::numbers(size).min(100);
            prop_assert_eq!(payload.number(key, number + near, &whole), Some(number));
        }

        #[test]
        fn one_wrong_byte_is_seen(size in 1usize..300, seed: u64, number in 0u64..1000, place: prop::sample::Index, flip in 1u8..=255) {
            let payload = Payload::new(size, seed);
            let key = payload.key(0);
            let mut whole = message(&payload, key, number);
            whole[place.index(size)] ^= flip;
            prop_assert!(!payload.matches(key, number, 0, &whole));
        }
    }

    #[test]
    fn a_message_of_another_connection_has_no_number_here() {
        let payload = Payload::new(64, 7);
        let strange = message(&payload, payload.key(1), 5);
        assert_eq!(payload.number(payload.key(0), 10, &strange), None);
    }

    #[test]
    fn the_seed_decides_every_byte() {
        let of = |seed| {
            let payload = Payload::new(100, seed);
            message(&payload, payload.key(3), 4)
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
