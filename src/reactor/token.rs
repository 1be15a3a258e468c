//! Handles: what a `mio::Token` means.
//!
//! A slab reuses its keys at once, and the kernel its descriptor numbers. So an
//! event may name something that was closed and replaced earlier in the same batch.
//! Every handle therefore carries a generation, and one that is out of date finds
//! nothing.

use mio::Token;

use crate::service::ids::{Generation, Handle};

const _: () = assert!(usize::BITS == 64, "a token holds 32 bits of key and 32 of generation");

impl Handle {
    pub fn token(self) -> Token {
        Token((self.generation.number() as usize) << 32 | self.key as usize)
    }

    pub fn from_token(token: Token) -> Option<Handle> {
        let generation = Generation::from_number((token.0 >> 32) as u32)?;
        Some(Handle { generation, key: token.0 as u32 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{ALARM, SIGNALS, WAKER};

    #[test]
    fn a_handle_survives_the_way_through_a_token() {
        for (number, key) in [(1, 0), (7, u32::MAX - 3), (u32::MAX, 12)] {
            let handle = Handle { generation: Generation::from_number(number).unwrap(), key };
            assert_eq!(Handle::from_token(handle.token()), Some(handle));
            assert!(![WAKER, SIGNALS, ALARM].contains(&handle.token()));
        }
    }
}
