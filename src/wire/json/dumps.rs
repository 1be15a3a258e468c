//! Writes a value as Python's `json.dumps` does, straight from its text and
//! without building a tree. Duplicate keys are found when their object has been
//! written, by sorting the keys in the output.

/// One member of the object being written: where in the output its key and its
/// value start, and where the value ends.
#[derive(Debug, Clone, Copy)]
struct Member {
    key: usize,
    value: usize,
    end: usize,
}

/// Appends the value in `text`, which the grammar has accepted, to `out`.
pub(super) fn dumps(text: &[u8], ensure_ascii: bool, out: &mut Vec<u8>) {
    out.reserve(text.len() + text.len() / 8);
    Writer { rest: text, ensure_ascii, out, members: Vec::new() }.value();
}

/// Appends `text` as a JSON string, in quotes, ASCII only.
pub(super) fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    text.chars().for_each(|character| escape(u32::from(character), true, out));
    out.push(b'"');
}

struct Writer<'a> {
    rest: &'a [u8],
    ensure_ascii: bool,
    out: &'a mut Vec<u8>,
    /// The members of all open objects, those of the innermost object last.
    members: Vec<Member>,
}

impl Writer<'_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied()
    }

    /// The next `count` bytes, or as many as are left.
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Recursion is safe here: the grammar bounds the depth.
    fn value(&mut self) {
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string(),
            _ => self.scalar(),
        }
    }

    /// A number, or true, false or null: it is written as it arrived.
    fn scalar(&mut self) {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        let length = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (scalar, rest) = self.rest.split_at(length);
        self.out.extend_from_slice(scalar);
        self.rest = rest;
    }

    fn array(&mut self) {
        self.take(1);
        self.out.push(b'[');
        while let Some(next) = self.peek() {
            match next {
                b']' => break,
                b',' => {
                    self.take(1);
                    self.out.extend_from_slice(b", ");
                }
                _ => {}
            }
            self.value();
        }
        self.take(1);
        self.out.push(b']');
    }

    fn object(&mut self) {
        self.take(1);
        let outer = self.members.len();
        self.out.push(b'{');
        let start = self.out.len();
        while let Some(next) = self.peek() {
            match next {
                b'}' => break,
                b',' => {
                    self.take(1);
                    self.out.extend_from_slice(b", ");
                    self.peek();
                }
                _ => {}
            }
            let key = self.out.len();
            self.string();
            self.peek();
            self.take(1);
            let value = self.out.len();
            self.out.extend_from_slice(b": ");
            self.value();
            self.members.push(Member { key, value, end: self.out.len() });
        }
        self.take(1);
        merge_duplicates(self.out, start, &self.members[outer..]);
        self.members.truncate(outer);
        self.out.push(b'}');
    }

    fn string(&mut self) {
        self.take(1);
        self.out.push(b'"');
        loop {
            let ensure_ascii = self.ensure_ascii;
            let stays = |byte: &u8| {
                !matches!(byte, b'"' | b'\\') && !(ensure_ascii && (*byte == 0x7F || *byte >= 0x80))
            };
            let length = self.rest.iter().take_while(|byte| stays(byte)).count();
            let (plain, rest) = self.rest.split_at(length);
            self.out.extend_from_slice(plain);
            self.rest = rest;
            match self.rest.first() {
                None | Some(b'"') => break,
                Some(b'\\') => self.escaped(),
                Some(_) => self.non_ascii(),
            }
        }
        self.take(1);
        self.out.push(b'"');
    }

    /// Writes a run of characters outside printable ASCII as escapes.
    fn non_ascii(&mut self) {
        let length = self.rest.iter().take_while(|byte| **byte >= 0x7F).count();
        let (run, rest) = self.rest.split_at(length);
        self.rest = rest;
        let text = String::from_utf8_lossy(run);
        text.chars().for_each(|character| escape(u32::from(character), true, self.out));
    }

    /// Reads an escape sequence. A surrogate pair is one character; a lone
    /// surrogate is none and stays escaped, as Python leaves it.
    fn escaped(&mut self) {
        let code = match self.take(2).last() {
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => 0x0A,
            Some(b'r') => 0x0D,
            Some(b't') => 0x09,
            Some(b'u') => {
                let high = hexadecimal(self.take(4));
                match self.rest {
                    [b'\\', b'u', low @ ..] if matches!(high, 0xD800..0xDC00) => match hexadecimal(low) {
                        low @ 0xDC00..0xE000 => {
                            self.take(6);
                            0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
                        }
                        _ => high,
                    },
                    _ => high,
                }
            }
            Some(itself) => u32::from(*itself),
            None => return,
        };
        escape(code, self.ensure_ascii, self.out);
    }
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

/// Rewrites the members that `out` holds from `start` on if any of their keys
/// are equal: a key keeps its first position and takes its last value. How a
/// string is written depends only on its characters, so equal keys have equal
/// bytes.
fn merge_duplicates(out: &mut Vec<u8>, start: usize, members: &[Member]) {
    let key = |index: &usize| &out[members[*index].key..members[*index].value];
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by(|a, b| key(a).cmp(key(b)));
    if order.windows(2).all(|pair| key(&pair[0]) != key(&pair[1])) {
        return;
    }
    // The sort is stable, so each group begins with the first position and ends
    // with the last value.
    let mut merged: Vec<(usize, usize)> =
        order.chunk_by(|a, b| key(a) == key(b)).map(|same| (same[0], same[same.len() - 1])).collect();
    merged.sort_unstable();
    let mut kept = Vec::new();
    for (first, last) in merged {
        if !kept.is_empty() {
            kept.extend_from_slice(b", ");
        }
        kept.extend_from_slice(&out[members[first].key..members[first].value]);
        kept.extend_from_slice(&out[members[last].value..members[last].end]);
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
