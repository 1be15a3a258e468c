//! Makes and reads the lines of a chat: each shows its sender and its number, and
//! every byte of it can be computed again.
//!
//! `~MMMMSSSSSNNNNNNNNNN padding` and LF: a mark of this run, the sender and the
//! number in hexadecimal, then letters that both determine.

use crate::stress::payload::mix;

/// Bytes before the padding.
pub const HEADER: usize = 1 + MARK + SENDER + NUMBER + 1;
const MARK: usize = 4;
const SENDER: usize = 5;
const NUMBER: usize = 10;
/// Positions in the block of letters at which padding can begin.
const PLACES: u64 = 16 * 1024;

#[derive(Debug)]
pub struct Lines {
    size: usize,
    mark: [u8; 1 + MARK],
    letters: Vec<u8>,
}

/// What a line turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A line of this run, and whether its padding is correct.
    Line { sender: usize, number: u64, is_right: bool },
    /// A line of the server's own (its announcements begin with `* `), or of
    /// another run.
    Other,
    /// A line that nobody sent.
    Corrupted,
}

impl Lines {
    /// Lines of `size` bytes including the line end, which must be more than
    /// [`HEADER`].
    pub fn new(size: usize, seed: u64) -> Lines {
        let size = size.max(HEADER + 1);
        let mut mark = *b"~0000";
        put_hex(mix(seed), &mut mark[1..]);
        let letter = |place: usize| b'a' + (mix(seed ^ mix(place as u64 + 1)) % 26) as u8;
        let letters = (0..PLACES as usize + size).map(letter).collect();
        Lines { size, mark, letters }
    }

    fn padding(&self, sender: usize, number: u64) -> &[u8] {
        let place = (mix(number ^ (sender as u64) << 40) % PLACES) as usize;
        &self.letters[place..place + self.size - HEADER - 1]
    }

    /// Appends a line.
    pub fn write(&self, sender: usize, number: u64, out: &mut Vec<u8>) {
        let mut header = [b' '; HEADER];
        header[..self.mark.len()].copy_from_slice(&self.mark);
        put_hex(sender as u64, &mut header[1 + MARK..][..SENDER]);
        put_hex(number, &mut header[1 + MARK + SENDER..][..NUMBER]);
        out.extend_from_slice(&header);
        out.extend_from_slice(self.padding(sender, number));
        out.push(b'\n');
    }

    /// The first line of `bytes`, including its line end, if it is complete.
    pub fn first<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if bytes.len() >= self.size && bytes.starts_with(&self.mark) && bytes[self.size - 1] == b'\n' {
            return Some(&bytes[..self.size]);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        Some(&bytes[..=end])
    }

    /// Finds out what a line is.
    pub fn read(&self, line: &[u8]) -> Heard {
        let has_mark = line.starts_with(&self.mark);
        let field = |from: usize, length: usize| line.get(from..from + length).and_then(hex);
        let sender = field(1 + MARK, SENDER).map(|sender| sender as usize);
        match sender.zip(field(1 + MARK + SENDER, NUMBER)) {
            Some((sender, number)) if has_mark || self.is_ours(line, sender, number) => {
                let is_right = has_mark && self.has_padding(line, sender, number) && line[HEADER - 1] == b' ';
                Heard::Line { sender, number, is_right }
            }
            Some(_) if line.first() == Some(&b'~') && field(1, MARK).is_some() => Heard::Other,
            _ if line.starts_with(b"* ") => Heard::Other,
            _ => Heard::Corrupted,
        }
    }

    /// Whether a line without our mark was ours. Its padding tells, if there is
    /// enough of it that no other run can have the same.
    fn is_ours(&self, line: &[u8], sender: usize, number: u64) -> bool {
        self.size > HEADER + 8 && self.has_padding(line, sender, number)
    }

    fn has_padding(&self, line: &[u8], sender: usize, number: u64) -> bool {
        line.len() == self.size && line[HEADER..self.size - 1] == *self.padding(sender, number)
    }
}

/// Writes the low digits of a number in hexadecimal.
fn put_hex(number: u64, digits: &mut [u8]) {
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_again_and_a_wrong_byte_is_seen() {
        for size in [HEADER + 1, 64, 1000] {
            let lines = Lines::new(size, 3);
            let mut text = Vec::new();
            lines.write(17, 4711, &mut text);
            lines.write(1, 2, &mut text);
            assert_eq!(text.len(), 2 * size);
            let first = lines.first(&text).unwrap().to_vec();
            assert_eq!(lines.read(&first), Heard::Line { sender: 17, number: 4711, is_right: true });
            for place in 0..size - 1 {
                let mut wrong = first.clone();
                wrong[place] ^= 0x40;
                let heard = lines.read(&wrong);
                let as_sent = Heard::Line { sender: 17, number: 4711, is_right: true };
                assert_ne!(heard, as_sent, "byte {place} of {size}");
            }
        }
    }

    #[test]
    fn a_line_with_a_wrong_mark_is_corrupted_and_not_lost() {
        let lines = Lines::new(64, 3);
        let mut line = Vec::new();
        lines.write(17, 4711, &mut line);
        line[2] ^= 1;
        assert_eq!(lines.read(&line), Heard::Line { sender: 17, number: 4711, is_right: false });
        let mut line = Vec::new();
        Lines::new(64, 4).write(17, 4711, &mut line);
        assert_eq!(lines.read(&line), Heard::Other, "another run's");
    }

    #[test]
    fn what_the_server_says_is_no_line_of_ours() {
        let lines = Lines::new(64, 3);
        assert_eq!(lines.first("* 민수 joined\n~".as_bytes()), Some("* 민수 joined\n".as_bytes()));
        assert_eq!(lines.read("* 민수 joined\n".as_bytes()), Heard::Other);
        assert_eq!(lines.read(b"nonsense\n"), Heard::Corrupted);
        assert_eq!(lines.read(b"~this is a line that nobody has ever sent\n"), Heard::Corrupted);
        assert_eq!(lines.first(b"not whole"), None);
    }
}
