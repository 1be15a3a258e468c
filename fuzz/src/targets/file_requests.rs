//! Requests for files, their answers, and the opening that tells them from the course's
//! programs.

use arbitrary::{Result, Unstructured};
use onepoll::wire::files::framed::{
    About, Answer, Entry, Line, Opening, Step, format_sum, last_request, line, next_request, parse_sum,
};

use crate::generate::{bytes, joined, name, number, one_of};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "file_requests",
    check,
    generate,
    words: &[
        b"LIST\n",
        b"LIST\r\n",
        b"GET ",
        b"SUM ",
        b"PUT ",
        b"OK ",
        b"OK send",
        b"ERR ",
        b"\r\n",
        b"\n",
        b" ",
        b" - ",
        b"18446744073709551616",
        b"00000000000000000000001",
        b"-1",
        b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 256 },
};

const ABOUT: [About; 5] = [About::List, About::Get, About::Sum, About::Put, About::Contents];

fn check(input: &[u8]) {
    for limit in [1, 20, 1024] {
        let whole = requests(&[input], limit);
        for pieces in splits(input) {
            assert_eq!(requests(&pieces, limit), whole, "the split matters at a limit of {limit}");
        }
        let _ = last_request(input, limit);
    }
    opening_is_final(input);
    if let (_, Line::Whole(line)) = line(input, usize::MAX) {
        answers_are_read_back(line);
    }
    answers_are_read_back(input);
    if let Some(sum) = parse_sum(input) {
        assert!(format_sum(&sum).as_bytes().eq_ignore_ascii_case(input));
    }
}

/// What a connection finds in input that arrives in pieces.
fn requests(pieces: &[&[u8]], limit: usize) -> Vec<String> {
    let (mut unread, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            let (used, step) = next_request(&unread, limit);
            match step {
                Step::Incomplete => break,
                Step::TooLong => {
                    found.push("too long".to_owned());
                    return found;
                }
                step => found.push(format!("{step:?}")),
            }
            assert!(used > 0, "a request takes at least its line end");
            unread.drain(..used);
        }
        assert!(unread.len() <= limit + 1, "more than a line is held back");
    }
    found.push(format!("{} bytes unread", unread.len()));
    found
}

/// What is clear of a connection stays so, whatever comes next.
fn opening_is_final(input: &[u8]) {
    let mut known = Opening::Unclear;
    for end in 0..=input.len().min(16) {
        let opening = Opening::of(&input[..end]);
        assert!(known == Opening::Unclear || opening == known, "{known:?} became {opening:?}");
        known = opening;
    }
}

fn answers_are_read_back(line: &[u8]) {
    for about in ABOUT {
        if let Some(answer) = Answer::read(line, about) {
            assert_eq!(Answer::read(answer.to_string().as_bytes(), about), Some(answer));
        }
    }
    if let Some(entry) = Entry::read(line) {
        assert_eq!(Entry::read(entry.to_string().as_bytes()), Some(entry));
    }
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    joined(u, 6, |u| {
        let mut line = one_of(u, &[b"LIST", b"GET", b"SUM", b"PUT", b"OK", b"ERR", b"get", b""])?;
        for _ in 0..u.int_in_range(0..=3)? {
            line.push(b' ');
            line.extend(match u.int_in_range(0..=4u8)? {
                0 => number(u)?.to_string().into_bytes(),
                1 => b"-".to_vec(),
                2 => format_sum(&u.arbitrary()?).into_bytes(),
                3 => bytes(u, 30)?,
                _ => name(u)?,
            });
        }
        line.extend(one_of(u, &[b"\n", b"\r\n", b"\r\r\n", b"", b"\n\n"])?);
        Ok(line)
    })
}
