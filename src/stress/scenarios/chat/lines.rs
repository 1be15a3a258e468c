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
    /// A line of this run, as it was sent.
    Line { sender: usize, number: u64 },
    /// A line of the server's own (its announcements begin with `* `), or of
    /// another run.
    Other,
    /// A line that nobody sent like this.
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

    /// Composes a line and passes it to `put` in parts.
    pub fn write(&self, sender: usize, number: u64, mut put: impl FnMut(&[u8])) {
        let mut header = [b' '; HEADER];
        header[..self.mark.len()].copy_from_slice(&self.mark);
        put_hex(sender as u64, &mut header[1 + MARK..][..SENDER]);
        put_hex(number, &mut header[1 + MARK + SENDER..][..NUMBER]);
        put(&header);
        put(self.padding(sender, number));
        put(b"\n");
    }

    /// The length of the first line of `bytes`, including its line end, if it is
    /// complete. A line that lacks its end ends where another one of ours begins.
    pub fn first(&self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() >= self.size && bytes.starts_with(&self.mark) && bytes[self.size - 1] == b'\n' {
            return Some(self.size);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').map(|place| place + 1);
        let next = (1..end.unwrap_or(bytes.len())).find(|place| self.header(&bytes[*place..]).is_some());
        next.or(end)
    }

    /// The sender and the number of one of our lines, if one begins here.
    pub fn header(&self, bytes: &[u8]) -> Option<(usize, u64)> {
        if !bytes.starts_with(&self.mark) {
            return None;
        }
        let field = |from: usize, length: usize| bytes.get(from..from + length).and_then(hex);
        Some((field(1 + MARK, SENDER)? as usize, field(1 + MARK + SENDER, NUMBER)?))
    }

    /// How many bytes at the beginning and at the end are those of a line.
    pub fn likeness(&self, sender: usize, number: u64, bytes: &[u8]) -> usize {
        let mut line = Vec::with_capacity(self.size);
        self.write(sender, number, |part| line.extend_from_slice(part));
        let at_beginning = line.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let left = bytes.len().min(self.size) - at_beginning;
        let ends = line.iter().rev().zip(bytes.iter().rev()).take(left);
        at_beginning + ends.take_while(|(a, b)| a == b).count()
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Finds out what a line is.
    pub fn read(&self, line: &[u8]) -> Heard {
        match self.header(line) {
            Some((sender, number)) if self.is_right(line, sender, number) => Heard::Line { sender, number },
            None if line.starts_with(b"* ") || self.is_of_another_run(line) => Heard::Other,
            _ => Heard::Corrupted,
        }
    }

    fn is_right(&self, line: &[u8], sender: usize, number: u64) -> bool {
        line.len() == self.size
            && line[HEADER - 1] == b' '
            && line.ends_with(b"\n")
            && line[HEADER..self.size - 1] == *self.padding(sender, number)
    }

    /// Whether a line has the form of ours, but the mark of another run: if it were
    /// ours with a wrong mark, its padding would be right.
    fn is_of_another_run(&self, line: &[u8]) -> bool {
        let field = |from: usize, length: usize| line.get(from..from + length).and_then(hex);
        let numbers = field(1 + MARK, SENDER).zip(field(1 + MARK + SENDER, NUMBER));
        let has_our_padding =
            |(sender, number)| self.size > HEADER + 8 && self.is_right(line, sender as usize, number);
        line.first() == Some(&b'~')
            && field(1, MARK).is_some()
            && line.last() == Some(&b'\n')
            && line.get(HEADER - 1) == Some(&b' ')
            && numbers.is_some_and(|numbers| !has_our_padding(numbers))
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

/// What each byte is worth as a hexadecimal digit; 16 if it is none.
const DIGITS: [u8; 256] = {
    let mut digits = [16; 256];
    let mut digit = 0;
    while digit < 16 {
        digits[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

fn hex(digits: &[u8]) -> Option<u64> {
    let (mut number, mut all) = (0, 0);
    for byte in digits {
        let digit = DIGITS[usize::from(*byte)];
        all |= digit;
        number = number << 4 | u64::from(digit);
    }
    (all < 16).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lines: &Lines, sender: usize, number: u64) -> Vec<u8> {
        let mut line = Vec::new();
        lines.write(sender, number, |part| line.extend_from_slice(part));
        line
    }

    #[test]
    fn a_line_is_known_again_and_a_wrong_byte_is_seen() {
        for size in [HEADER + 1, 64, 1000] {
            let lines = Lines::new(size, 3);
            let text = [line(&lines, 17, 4711), line(&lines, 1, 2)].concat();
            assert_eq!((text.len(), lines.first(&text)), (2 * size, Some(size)));
            let as_sent = Heard::Line { sender: 17, number: 4711 };
            assert_eq!(lines.read(&text[..size]), as_sent);
            for place in 0..size {
                let mut wrong = text[..size].to_vec();
                wrong[place] ^= 0x40;
                assert_ne!(lines.read(&wrong), as_sent, "byte {place} of {size}");
                assert!(lines.likeness(17, 4711, &wrong) == size - 1, "byte {place} of {size}");
            }
        }
    }

    #[test]
    fn a_line_without_its_end_ends_where_the_next_one_begins() {
        let lines = Lines::new(64, 3);
        let (mut first, next) = (line(&lines, 0, 7), line(&lines, 0, 8));
        *first.last_mut().unwrap() = b'?';
        assert_eq!(lines.first(&[&first[..], &next].concat()), Some(64));
        assert_eq!(lines.first(&[&first[..63], &next[..20]].concat()), Some(63));
        assert_eq!(lines.first(&[b"?", &next[..]].concat()), Some(1));
        assert_eq!(lines.first(&first), None);
    }

    #[test]
    fn a_line_with_a_wrong_mark_is_corrupted_and_not_another_runs() {
        let lines = Lines::new(64, 3);
        let mut wrong = line(&lines, 17, 4711);
        wrong[2] ^= 1;
        assert_eq!(lines.read(&wrong), Heard::Corrupted);
        assert_eq!(lines.read(&line(&Lines::new(64, 4), 17, 4711)), Heard::Other, "another run's");
    }

    #[test]
    fn what_the_server_says_is_no_line_of_ours() {
        let lines = Lines::new(64, 3);
        assert_eq!(lines.first("* 민수 joined\n~".as_bytes()), Some("* 민수 joined\n".len()));
        assert_eq!(lines.read("* 민수 joined\n".as_bytes()), Heard::Other);
        assert_eq!(lines.read(b"nonsense\n"), Heard::Corrupted);
        assert_eq!(lines.read(b"~this is a line that nobody has ever sent\n"), Heard::Corrupted);
        assert_eq!(lines.first(b"not whole"), None);
    }
}
