//! What generators of inputs share.

use arbitrary::{Result, Unstructured};

/// Up to `most` arbitrary bytes.
pub fn bytes(u: &mut Unstructured, most: usize) -> Result<Vec<u8>> {
    let length = u.int_in_range(0..=most)?;
    (0..length).map(|_| u.arbitrary()).collect()
}

/// Up to `most` parts, one after another.
pub fn joined(
    u: &mut Unstructured,
    most: usize,
    part: impl Fn(&mut Unstructured) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut joined = Vec::new();
    for _ in 0..u.int_in_range(0..=most)? {
        joined.extend(part(u)?);
    }
    Ok(joined)
}

/// One of these.
pub fn one_of(u: &mut Unstructured, choices: &[&[u8]]) -> Result<Vec<u8>> {
    Ok(u.choose(choices)?.to_vec())
}

/// A number, often at the edge of some range.
pub fn number(u: &mut Unstructured) -> Result<u64> {
    let edges =
        [0, 1, 2, 7, 8, 255, 256, 511, 512, 1024, 65_464, 65_535, 65_536, 1 << 31, u64::MAX - 1, u64::MAX];
    if u.ratio(1, 2)? { u.arbitrary() } else { Ok(*u.choose(&edges)?) }
}

/// A name, good or bad.
pub fn name(u: &mut Unstructured) -> Result<Vec<u8>> {
    one_of(
        u,
        &[
            b"a.txt",
            b"README",
            "강의 자료 1주차.pdf".as_bytes(),
            b"../../etc/passwd",
            b"C:\\x\\y.png",
            b"con",
            b".hidden",
            b"a b  c.tar.gz",
            b"",
            b"\xFF\xFE",
            "\u{1112}\u{1161}\u{11ab}.txt".as_bytes(),
            b"a\0b",
            b"x\ny",
            b"%00/..%2f",
        ],
    )
}
