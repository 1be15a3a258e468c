//! Where an answer ends in a stream.

use std::fmt;
use std::str::FromStr;

use memchr::memmem;

/// The largest answer that a length prefix may announce: a server that speaks
/// something else would announce any size.
pub const LONGEST: usize = 64 * 1024 * 1024;

/// How to find the end of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// It ends with these bytes.
    Until(Vec<u8>),
    /// It has this many bytes.
    Length(usize),
    /// It begins with its length.
    Prefix(Prefix),
}

/// A length before an answer, which does not count itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    width: usize,
    is_little_endian: bool,
}

impl Framing {
    /// The length of the first answer in `bytes`, if it is complete. The first
    /// `searched` bytes are known not to complete it.
    ///
    /// # Errors
    /// If the bytes announce an answer that is too long.
    pub fn first(&self, bytes: &[u8], searched: usize) -> Result<Option<usize>, ()> {
        match self {
            Framing::Until(end) => {
                let from = (searched + 1).saturating_sub(end.len());
                let found = memmem::find(&bytes[from.min(bytes.len())..], end);
                Ok(found.map(|place| from + place + end.len()))
            }
            Framing::Length(length) => Ok((bytes.len() >= *length).then_some(*length)),
            Framing::Prefix(Prefix { width, is_little_endian }) => {
                let Some(prefix) = bytes.get(..*width) else { return Ok(None) };
                let join = |length: u64, byte: &u8| length << 8 | u64::from(*byte);
                let length = if *is_little_endian {
                    prefix.iter().rev().fold(0, join)
                } else {
                    prefix.iter().fold(0, join)
                };
                match usize::try_from(length) {
                    Ok(length) if length <= LONGEST => {
                        let whole = width + length;
                        Ok((bytes.len() >= whole).then_some(whole))
                    }
                    _ => Err(()),
                }
            }
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}{}", 8 * self.width, if self.is_little_endian { "le" } else { "be" })
    }
}

impl FromStr for Prefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Prefix, Self::Err> {
        let number = text.trim_end_matches("le").trim_end_matches("be");
        let width = match number {
            "u8" => 1,
            "u16" => 2,
            "u32" => 4,
            "u64" => 8,
            _ => return Err("write u8, u16, u32 or u64, and le or be behind it, as in u32be"),
        };
        Ok(Prefix { width, is_little_endian: text.ends_with("le") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of a stream that comes byte by byte.
    fn answers(framing: &Framing, stream: &[u8]) -> Vec<usize> {
        let (mut found, mut from, mut searched) = (Vec::new(), 0, 0);
        for end in 1..=stream.len() {
            match framing.first(&stream[from..end], searched).unwrap() {
                Some(length) => {
                    found.push(length);
                    (from, searched) = (from + length, 0);
                }
                None => searched = end - from,
            }
        }
        found
    }

    #[test]
    fn an_answer_ends_where_its_framing_says() {
        assert_eq!(answers(&Framing::Until(b"\r\n".to_vec()), b"a\r\n\r\r\nb\r"), [3, 3]);
        assert_eq!(answers(&Framing::Length(3), b"abcdefg"), [3, 3]);
        let prefix = |text: &str| Framing::Prefix(text.parse().unwrap());
        assert_eq!(answers(&prefix("u8"), b"\x02ab\x00\x01c"), [3, 1, 2]);
        assert_eq!(answers(&prefix("u16"), b"\x00\x02ab\x00\x01"), [4]);
        assert_eq!(answers(&prefix("u32be"), b"\x00\x00\x00\x01a"), [5]);
        assert_eq!(answers(&prefix("u32le"), b"\x01\x00\x00\x00a"), [5]);
        assert_eq!(prefix("u64").first(&[255; 8], 0), Err(()));
        assert!("u24".parse::<Prefix>().is_err());
    }
}
