//! Writes a value as Python's `json.dumps` does, straight from its text and
//! without building a tree, in as many steps as its caller likes. What a later key
//! repeats is found when its object has been written: by comparing the keys of a small
//! object, and by a table of those of a large one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::{JsonText, is_continuation};

/// An object with more members has a table of its keys: to compare them all would take too
/// long in one step.
const FEW: usize = 16;

/// One member of the object being written: where in the output its key and its
/// value start, and where the value ends.
#[derive(Debug, Clone, Copy)]
struct Member {
    key: usize,
    value: usize,
    end: usize,
    /// The last member with this key, or `None` if an earlier one has it too. Known of
    /// the members of a large object.
    last: Option<usize>,
}

/// An array or object that has begun.
#[derive(Debug)]
struct Frame {
    /// Where in the output its first element starts.
    start: usize,
    /// How many members those around it have so far.
    outer: usize,
    is_object: bool,
    /// Where the key and the value of the current member start.
    key: usize,
    value: Option<usize>,
    /// The keys of a large object, by their hashes, and the first member with each.
    seen: HashMap<u64, usize>,
    has_repeats: bool,
}

/// Appends the value in `text`, which the grammar has accepted, to `out`.
pub(super) fn dumps(text: &[u8], ensure_ascii: bool, out: &mut Vec<u8>) {
    out.reserve(text.len() + text.len() / 8);
    let mut dumping = Dumping::of(Cow::Borrowed(text), ensure_ascii);
    dumping.out = std::mem::take(out);
    dumping.step(usize::MAX);
    *out = dumping.out;
}

/// A value that is being written in steps, so that others need not wait for a large one.
#[derive(Debug)]
pub struct Dumping<'a> {
    text: Cow<'a, [u8]>,
    /// How much of it is written.
    at: usize,
    in_string: bool,
    ensure_ascii: bool,
    out: Vec<u8>,
    /// The arrays and objects that have begun, the innermost last.
    frames: Vec<Frame>,
    /// The members of all open objects, those of the innermost object last.
    members: Vec<Member>,
    hasher: RandomState,
}

impl<'a> Dumping<'a> {
    /// Begins to write a value as [`JsonText::dumps`] does.
    pub fn new(value: JsonText<'a>, ensure_ascii: bool) -> Dumping<'a> {
        Dumping::of(value.0, ensure_ascii)
    }

    fn of(text: Cow<'a, [u8]>, ensure_ascii: bool) -> Dumping<'a> {
        Dumping {
            text,
            at: 0,
            in_string: false,
            ensure_ascii,
            out: Vec::new(),
            frames: Vec::new(),
            members: Vec::new(),
            hasher: RandomState::new(),
        }
    }

    /// Writes on until about `budget` bytes are read or written; false if the value goes on.
    pub fn step(&mut self, budget: usize) -> bool {
        let (start, written) = (self.at, self.out.len());
        while self.at - start + self.out.len().saturating_sub(written) < budget {
            if self.in_string {
                self.string(budget);
                continue;
            }
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_ascii_start().len();
            let Some(next) = self.text.get(self.at) else { return true };
            match next {
                b'{' | b'[' => self.begin(*next),
                b'}' | b']' => self.end(*next),
                b',' => {
                    self.end_member();
                    self.token(b", ");
                }
                b':' => {
                    let value = self.out.len();
                    if let Some(frame) = self.frames.last_mut() {
                        frame.value = Some(value);
                    }
                    self.token(b": ");
                }
                b'"' => {
                    let key = self.out.len();
                    if let Some(frame) = self.frames.last_mut().filter(|frame| frame.value.is_none()) {
                        frame.key = key;
                    }
                    self.token(b"\"");
                    self.in_string = true;
                }
                _ => self.scalar(),
            }
        }
        false
    }

    /// The value, once it is written.
    pub fn written(&self) -> &[u8] {
        &self.out
    }

    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        let seen: usize = self.frames.iter().map(|frame| frame.seen.capacity()).sum();
        self.text.len()
            + self.out.capacity()
            + self.members.capacity() * size_of::<Member>()
            + seen * size_of::<(u64, usize)>()
    }

    /// Writes one byte of the text in this form.
    fn token(&mut self, form: &[u8]) {
        self.at += 1;
        self.out.extend_from_slice(form);
    }

    fn begin(&mut self, bracket: u8) {
        self.token(&[bracket]);
        self.frames.push(Frame {
            start: self.out.len(),
            outer: self.members.len(),
            is_object: bracket == b'{',
            key: 0,
            value: None,
            seen: HashMap::new(),
            has_repeats: false,
        });
    }

    fn end(&mut self, bracket: u8) {
        self.end_member();
        if let Some(frame) = self.frames.pop() {
            let members = &self.members[frame.outer..];
            if members.len() <= FEW {
                merge_few(&mut self.out, frame.start, members);
            } else if frame.has_repeats {
                merge_many(&mut self.out, frame.start, &self.members, frame.outer);
            }
            self.members.truncate(frame.outer);
        }
        self.token(&[bracket]);
    }

    /// Notes the member that ends here, if it is one.
    fn end_member(&mut self) {
        let Dumping { frames, members, out, hasher, .. } = self;
        let Some(frame) = frames.last_mut().filter(|frame| frame.is_object) else { return };
        let Some(value) = frame.value.take() else { return };
        let number = members.len();
        members.push(Member { key: frame.key, value, end: out.len(), last: Some(number) });
        let count = members.len() - frame.outer;
        let first = match count {
            _ if count <= FEW => return,
            _ if frame.seen.is_empty() => frame.outer,
            _ => number,
        };
        for number in first..members.len() {
            let key = &out[members[number].key..members[number].value];
            let mut hash = hasher.hash_one(key);
            // Two keys with one hash are next to impossible: the second goes by the next.
            while let Some(earlier) = frame.seen.get(&hash).copied() {
                if &out[members[earlier].key..members[earlier].value] == key {
                    members[earlier].last = Some(number);
                    members[number].last = None;
                    frame.has_repeats = true;
                    break;
                }
                hash = hash.wrapping_add(1);
            }
            if members[number].last.is_some() {
                frame.seen.insert(hash, number);
            }
        }
    }

    /// A number, or true, false or null: it is written as it arrived.
    fn scalar(&mut self) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let rest = &self.text[self.at..];
        // The grammar accepts nothing else here, but a step must not stand still.
        let length = rest.iter().take_while(|byte| is_part(byte)).count().max(1);
        self.out.extend_from_slice(&rest[..length]);
        self.at += length;
    }

    /// Writes the next part of a string, or its end.
    fn string(&mut self, most: usize) {
        let ensure_ascii = self.ensure_ascii;
        let stays =
            |byte: &u8| !matches!(byte, b'"' | b'\\') && !(ensure_ascii && (*byte == 0x7F || *byte >= 0x80));
        let rest = &self.text[self.at..];
        let length = rest.iter().take(most).take_while(|byte| stays(byte)).count();
        self.out.extend_from_slice(&rest[..length]);
        self.at += length;
        match rest.get(length) {
            Some(byte) if stays(byte) => {}
            Some(b'\\') => self.escaped(),
            Some(b'"') => {
                self.token(b"\"");
                self.in_string = false;
            }
            Some(_) => self.non_ascii(most),
            None => self.in_string = false,
        }
    }

    /// Writes some characters outside printable ASCII as escapes.
    fn non_ascii(&mut self, most: usize) {
        let rest = &self.text[self.at..];
        let mut length = rest.iter().take(most.max(4)).take_while(|byte| **byte >= 0x7F).count();
        while rest.get(length).is_some_and(|byte| is_continuation(*byte)) {
            length -= 1;
        }
        let text = String::from_utf8_lossy(&rest[..length]);
        text.chars().for_each(|character| escape(u32::from(character), true, &mut self.out));
        self.at += length;
    }

    /// Writes an escape sequence. A surrogate pair is one character; a lone
    /// surrogate is none and stays escaped, as Python leaves it.
    fn escaped(&mut self) {
        let rest = &self.text[self.at..];
        let (code, length) = match rest.get(1) {
            Some(b'b') => (0x08, 2),
            Some(b'f') => (0x0C, 2),
            Some(b'n') => (0x0A, 2),
            Some(b'r') => (0x0D, 2),
            Some(b't') => (0x09, 2),
            Some(b'u') => {
                let high = hexadecimal(rest.get(2..).unwrap_or_default());
                let low = match rest.get(6..) {
                    Some([b'\\', b'u', low @ ..]) if matches!(high, 0xD800..0xDC00) => hexadecimal(low),
                    _ => 0,
                };
                match low {
                    0xDC00..0xE000 => (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), 12),
                    _ => (high, 6),
                }
            }
            Some(itself) => (u32::from(*itself), 2),
            None => (u32::from(b'\\'), 1),
        };
        escape(code, self.ensure_ascii, &mut self.out);
        self.at = (self.at + length).min(self.text.len());
    }
}

/// Appends `text` as a JSON string, in quotes, ASCII only.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    text.chars().for_each(|character| escape(u32::from(character), true, out));
    out.push(b'"');
}

/// The value of the four hexadecimal digits at the front of `digits`.
fn hexadecimal(digits: &[u8]) -> u32 {
    digits.iter().take(4).fold(0, |value, digit| value << 4 | char::from(*digit).to_digit(16).unwrap_or(0))
}

/// Appends the character `code` (or a lone surrogate) in the form it takes
/// inside a string.
fn escape(code: u32, ensure_ascii: bool, out: &mut Vec<u8>) {
    let short = match code {
        0x08 => b'b',
        0x09 => b't',
        0x0A => b'n',
        0x0C => b'f',
        0x0D => b'r',
        0x22 => b'"',
        0x5C => b'\\',
        _ => {
            match char::from_u32(code) {
                Some(character) if matches!(code, 0x20..0x7F) || (!ensure_ascii && code >= 0x7F) => {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(character) => {
                    character
                        .encode_utf16(&mut [0; 2])
                        .iter()
                        .for_each(|unit| escape_unit(u32::from(*unit), out));
                }
                None => escape_unit(code, out),
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends `\uXXXX` for one UTF-16 code unit.
fn escape_unit(unit: u32, out: &mut Vec<u8>) {
    let digit = |shift: u32| b"0123456789abcdef"[(unit >> shift & 15) as usize];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Rewrites the members of a small object, which `out` holds from `start` on, if any of
/// their keys are equal: a key keeps its first position and takes its last value. How a
/// string is written depends only on its characters, so equal keys have equal bytes.
fn merge_few(out: &mut Vec<u8>, start: usize, members: &[Member]) {
    let key = |member: &Member| &out[member.key..member.value];
    let is_repeated =
        |number: usize| members[..number].iter().any(|earlier| key(earlier) == key(&members[number]));
    if !(1..members.len()).any(is_repeated) {
        return;
    }
    let first = (0..members.len()).filter(|number| !is_repeated(*number));
    let last = |member: &Member| members.iter().rposition(|other| key(other) == key(member));
    let merged = first.map(|number| (members[number], members[last(&members[number]).unwrap_or(number)]));
    let merged: Vec<(Member, Member)> = merged.collect();
    rewrite(out, start, merged.into_iter());
}

/// The same for a large object, whose members are those from `outer` on.
fn merge_many(out: &mut Vec<u8>, start: usize, members: &[Member], outer: usize) {
    rewrite(out, start, members[outer..].iter().filter_map(|member| Some((*member, members[member.last?]))));
}

/// Writes the key of the first and the value of the second member of each pair.
fn rewrite(out: &mut Vec<u8>, start: usize, merged: impl Iterator<Item = (Member, Member)>) {
    let mut kept = Vec::new();
    for (first, last) in merged {
        if !kept.is_empty() {
            kept.extend_from_slice(b", ");
        }
        kept.extend_from_slice(&out[first.key..first.value]);
        kept.extend_from_slice(&out[last.value..last.end]);
    }
    out.truncate(start);
    out.extend_from_slice(&kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dumped(text: &str, ensure_ascii: bool) -> String {
        let mut out = Vec::new();
        dumps(text.as_bytes(), ensure_ascii, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Text, `json.dumps(json.loads(text))`, and the same with
    /// `ensure_ascii=False`, as produced by CPython 3.11.
    const PYTHON: [(&str, &str, &str); 13] = [
        (
            r#"{"a":1,"b":[],"c":{} , "d" : [1,2 ,{"x":null}],"e":true,"f":false}"#,
            r#"{"a": 1, "b": [], "c": {}, "d": [1, 2, {"x": null}], "e": true, "f": false}"#,
            r#"{"a": 1, "b": [], "c": {}, "d": [1, 2, {"x": null}], "e": true, "f": false}"#,
        ),
        ("\"한글 é 😀 \u{7f}\"", r#""\ud55c\uae00 \u00e9 \ud83d\ude00 \u007f""#, "\"한글 é 😀 \u{7f}\""),
        (
            r#""\/ \" \\ \b\f\n\r\t \u0000 \u001F \u007f \u0080 \u2028""#,
            r#""/ \" \\ \b\f\n\r\t \u0000 \u001f \u007f \u0080 \u2028""#,
            "\"/ \\\" \\\\ \\b\\f\\n\\r\\t \\u0000 \\u001f \u{7f} \u{80} \u{2028}\"",
        ),
        (
            r#""\ud83d\ude00 \uD83D \ude00 \ud83d\ud83d\ude00 \ud800""#,
            r#""\ud83d\ude00 \ud83d \ude00 \ud83d\ud83d\ude00 \ud800""#,
            r#""😀 \ud83d \ude00 \ud83d😀 \ud800""#,
        ),
        (r#"{"a":1,"b":2,"\u0061":3}"#, r#"{"a": 3, "b": 2}"#, r#"{"a": 3, "b": 2}"#),
        (
            r#"{"x":{"k":1,"k":[1]},"y":0,"x":{"k":2,"j":3,"k":{}}}"#,
            r#"{"x": {"k": {}, "j": 3}, "y": 0}"#,
            r#"{"x": {"k": {}, "j": 3}, "y": 0}"#,
        ),
        (r#"{"\ud83d\ude00":1,"😀":2}"#, r#"{"\ud83d\ude00": 2}"#, r#"{"😀": 2}"#),
        ("  [ ]  ", "[]", "[]"),
        ("{ }", "{}", "{}"),
        (r#""""#, r#""""#, r#""""#),
        ("[[],[{}],[[1]]]", "[[], [{}], [[1]]]", "[[], [{}], [[1]]]"),
        ("\n[\t1\r\n,\n2 ]", "[1, 2]", "[1, 2]"),
        (
            "[0,-1,12345678901234567890123456789012345678901234567890]",
            "[0, -1, 12345678901234567890123456789012345678901234567890]",
            "[0, -1, 12345678901234567890123456789012345678901234567890]",
        ),
    ];

    #[test]
    fn values_are_written_as_python_writes_them() {
        for (text, ascii, raw) in PYTHON {
            assert_eq!(dumped(text, true), ascii);
            assert_eq!(dumped(text, false), raw);
        }
    }

    #[test]
    fn writing_the_output_again_changes_nothing() {
        for (_, ascii, raw) in PYTHON {
            assert_eq!(dumped(ascii, true), ascii);
            assert_eq!(dumped(raw, false), raw);
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        for number in ["1E5", "1e+5", "-0", "1.0", "0.10", "-0.0e-00", &"7".repeat(100)] {
            assert_eq!(dumped(number, true), number);
            assert_eq!(dumped(&format!(r#"{{"n":[{number}]}}"#), true), format!(r#"{{"n": [{number}]}}"#));
        }
    }

    #[test]
    fn a_duplicate_key_keeps_its_first_position_and_takes_its_last_value() {
        let members: Vec<String> = (0..1000).map(|n| format!("\"{}\":{n}", n % 7)).collect();
        let written = dumped(&format!("[{{{}}}]", members.join(",")), true);
        assert_eq!(written, r#"[{"0": 994, "1": 995, "2": 996, "3": 997, "4": 998, "5": 999, "6": 993}]"#);
    }

    #[test]
    fn a_large_object_is_merged_like_a_small_one() {
        for (count, keys) in [(15, 7), (16, 16), (17, 17), (18, 17), (500, 9), (500, 499)] {
            let members: Vec<String> = (0..count).map(|n| format!("\"{}\":[{n}]", n % keys)).collect();
            let text = format!("{{\"x\":{{{}}},\"y\":0}}", members.join(","));
            let meant: serde_json::Value = serde_json::from_str(&text).unwrap();
            let read: serde_json::Value = serde_json::from_str(&dumped(&text, true)).unwrap();
            assert_eq!(read.to_string(), meant.to_string(), "{count} members, {keys} keys");
        }
    }

    #[test]
    fn it_appends() {
        let mut out = b"> ".to_vec();
        dumps(br#"{"a":1,"a":2}"#, true, &mut out);
        assert_eq!(out, br#"> {"a": 2}"#);
    }

    #[test]
    fn quote_escapes_what_a_string_cannot_hold() {
        let mut out = Vec::new();
        quote("가\"\\\n\u{1}😀", &mut out);
        assert_eq!(out, br#""\uac00\"\\\n\u0001\ud83d\ude00""#);
    }

    /// Any value, as serde_json writes it. There are few keys, so that they
    /// repeat.
    fn value() -> impl Strategy<Value = String> {
        let string = any::<String>().prop_map(|text| serde_json::Value::from(text).to_string());
        let leaf = prop_oneof![Just("null".to_owned()), any::<i64>().prop_map(|n| n.to_string()), string];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let member = ("[ab가]", inner.clone()).prop_map(|(key, value)| format!("\"{key}\" :{value}"));
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(|items| format!("[{}]", items.join(" , "))),
                prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(","))),
            ]
        })
    }

    proptest! {
        #[test]
        fn in_steps_it_is_written_the_same(text in value(), budget in 1usize..40, ensure_ascii: bool) {
            let mut dumping = Dumping::new(JsonText::parse(text.as_bytes()).unwrap(), ensure_ascii);
            while !dumping.step(budget) {}
            let at_once = dumped(&text, ensure_ascii);
            prop_assert_eq!(dumping.written(), at_once.as_bytes());
        }

        /// serde_json, too, keeps the first position and takes the last value.
        #[test]
        fn an_independent_parser_reads_the_same_value(text in value()) {
            let meant: serde_json::Value = serde_json::from_str(&text).unwrap();
            let ascii = dumped(&text, true);
            prop_assert!(ascii.bytes().all(|byte| matches!(byte, 0x20..0x7F)));
            for written in [ascii, dumped(&text, false)] {
                let read: serde_json::Value = serde_json::from_str(&written).unwrap();
                // Compared as text, so that the order of the keys counts.
                prop_assert_eq!(read.to_string(), meant.to_string());
            }
        }
    }
}
