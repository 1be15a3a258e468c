//! JSON values, compared with what serde_json takes and makes of them.

use arbitrary::{Result, Unstructured};
use onepoll::wire::json::{Dumping, JsonStep, JsonStream, JsonText, MAX_DEPTH, Pending};
use serde_json::Value;

use crate::generate::{bytes, joined, number, one_of};
use crate::pieces::splits;
use crate::{Memory, Target};

pub const TARGET: Target = Target {
    name: "json",
    check,
    generate,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"\"",
        b"\\u",
        b"\\ud83d\\ude00",
        b"\\ud83d",
        b"\\udc00",
        b"\\\"",
        b"\\\\",
        b"true",
        b"false",
        b"null",
        b"NaN",
        b"-Infinity",
        b"-0",
        b"1e5",
        b"1E+05",
        b"0.10",
        b"\xEF\xBB\xBF",
        b"\xEA\xB0\x80",
        b"\x7F",
        b"\xC2\x80",
        b"\n",
        b"\r\n",
        b"[[[[[[[[[[[[[[[[",
        b"]]]]]]]]]]]]]]]]",
        b"{\"a\":",
        b"\"a\":1,",
    ],
    memory: Memory { fixed: 64 * 1024, per_byte: 512 },
};

fn check(input: &[u8]) {
    for limit in [0, 60] {
        let whole = answers(b"0\n", &[input], limit);
        for pieces in splits(input) {
            assert_eq!(answers(b"0\n", &pieces, limit), whole, "the split matters");
            // In chunk mode what is dropped with an error depends on the split.
            answers(b"0 ", &pieces, limit);
        }
    }
    let value = JsonText::parse(input);
    let is_json = std::str::from_utf8(input).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(input).is_ok()
        && depth(input) <= MAX_DEPTH;
    assert_eq!(value.is_ok(), is_json, "serde_json says otherwise: {value:?}");
    match value {
        Ok(value) => is_dumped(&value),
        Err(error) => assert!(error.line > 0 && error.column > 0 && error.column <= input.len() + 1),
    }
}

/// What a connection is answered whose input arrives in pieces.
fn answers(first: &[u8], pieces: &[&[u8]], limit: usize) -> Vec<String> {
    let (mut stream, mut answers) = (JsonStream::default(), Vec::new());
    for mut rest in std::iter::once(first).chain(pieces.iter().copied()) {
        // A number ends in front of what ends it, and that is consumed next.
        let mut stood_still = false;
        loop {
            let (used, step) = stream.next(rest, limit);
            rest = &rest[used..];
            match step {
                JsonStep::Value(value) => {
                    assert!(
                        limit == 0 || value.as_bytes().len() <= limit,
                        "the value is longer than allowed"
                    );
                    answers.push(format!("{value:?}"));
                }
                JsonStep::Error(error) => answers.push(error.to_string()),
                JsonStep::Incomplete => break,
            }
            assert!(used > 0 || !stood_still, "two steps consumed nothing");
            stood_still = used == 0;
        }
        assert!(rest.is_empty(), "what is unfinished is kept by the stream");
        assert!(limit == 0 || stream.memory() <= 2 * limit + 8, "{} bytes are held", stream.memory());
    }
    if let Some(finished) = stream.finish() {
        answers.push(format!("{finished:?}"));
    }
    assert_eq!((stream.pending(), stream.memory()), (Pending::Nothing, 0));
    answers
}

/// How deep a text nests that is valid JSON.
fn depth(text: &[u8]) -> u32 {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0u32, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// What is written is read back as the same value, and does not depend on the steps.
fn is_dumped(value: &JsonText) {
    for ensure_ascii in [false, true] {
        let mut dumped = Vec::new();
        value.dumps(ensure_ascii, &mut dumped);
        assert!(!ensure_ascii || dumped.iter().all(|byte| matches!(byte, b' '..=b'~')));
        let again = JsonText::parse(&dumped).expect("what is written is JSON");
        let mut twice = Vec::new();
        again.dumps(ensure_ascii, &mut twice);
        assert_eq!(twice.escape_ascii().to_string(), dumped.escape_ascii().to_string());
        for budget in [1, 5, 100] {
            assert!(
                in_steps(value, ensure_ascii, budget) == dumped,
                "steps of {budget} change what is written"
            );
        }
        // serde_json has no half of a surrogate pair, and nests less deep.
        if let Ok(expected) = serde_json::from_slice::<Value>(value.as_bytes()) {
            let found: Value = serde_json::from_slice(&dumped).expect("both know what is JSON");
            assert_eq!(found.to_string(), expected.to_string());
        }
    }
}

fn in_steps(value: &JsonText, ensure_ascii: bool, budget: usize) -> Vec<u8> {
    let mut dumping = Dumping::new(value.clone(), ensure_ascii);
    let mut steps = 0;
    while !dumping.step(budget) {
        steps += 1;
        assert!(steps <= 2 * value.as_bytes().len() + 2, "a step stands still");
    }
    dumping.written().to_vec()
}

fn generate(u: &mut Unstructured) -> Result<Vec<u8>> {
    joined(u, 4, |u| {
        let mut text = value(u, 0)?;
        text.extend(one_of(u, &[b"", b" ", b"\n", b"\r\n", b"x"])?);
        Ok(text)
    })
}

fn value(u: &mut Unstructured, depth: u32) -> Result<Vec<u8>> {
    let kind = u.int_in_range(0..=if depth < 5 { 7u8 } else { 3 })?;
    Ok(match kind {
        0 => one_of(u, &[b"true", b"false", b"null", b"NaN", b"tru"])?,
        1 => number(u)?.to_string().into_bytes(),
        2 => one_of(u, &[b"-0", b"0.5", b"1e9", b"-1.5E-03", b"01", b"1.", b"-"])?,
        3 => string(u)?,
        4 | 5 => list(u, b"[", b"]", |u| value(u, depth + 1))?,
        6 => list(u, b"{", b"}", |u| Ok([string(u)?, b":".to_vec(), value(u, depth + 1)?].concat()))?,
        // More members than are compared with each other, with keys that repeat.
        _ => {
            let members: Result<Vec<Vec<u8>>> = (0..u.int_in_range(15..=40)?)
                .map(|_| {
                    Ok(format!("\"{}\":{}", u.int_in_range(0..=20)?, u.int_in_range(0..=9)?).into_bytes())
                })
                .collect();
            [b"{".to_vec(), members?.join(&b","[..]), b"}".to_vec()].concat()
        }
    })
}

fn string(u: &mut Unstructured) -> Result<Vec<u8>> {
    let mut string = b"\"".to_vec();
    string.extend(joined(u, 5, |u| match u.ratio(1, 8)? {
        true => bytes(u, 3),
        false => one_of(
            u,
            &[
                b"a",
                b"b",
                "가".as_bytes(),
                "😀".as_bytes(),
                b"\\n",
                b"\\/",
                b"\\u00e9",
                b"\\ud83d",
                b"\\ude00",
                b"\\\"",
                b"\x7F",
            ],
        ),
    })?);
    string.push(b'"');
    Ok(string)
}

fn list(
    u: &mut Unstructured,
    open: &[u8],
    close: &[u8],
    item: impl Fn(&mut Unstructured) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let mut list = open.to_vec();
    for number in 0..u.int_in_range(0..=4u8)? {
        if number > 0 {
            list.extend(one_of(u, &[b",", b", ", b" ,\n"])?);
        }
        list.extend(item(u)?);
    }
    list.extend_from_slice(close);
    Ok(list)
}
