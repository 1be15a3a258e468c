//! Finds the JSON values in what a user types, however its lines break.

use onepoll::wire::json::{JsonError, JsonStep, JsonStream, Pending};

/// Splits a text that comes in pieces into its values, each unchanged.
///
/// Pass whole lines, or everything at once, to [`take`](JsonValues::take). What is not
/// JSON is returned too, to the end of its line: it is the server that says what is wrong
/// with it. At the end, [`rest`](JsonValues::rest) returns what is unfinished.
#[derive(Debug, Default)]
pub struct JsonValues {
    stream: JsonStream,
    /// What has come of an unfinished value.
    begun: Vec<u8>,
}

impl JsonValues {
    /// The values that end in `text`.
    pub fn take(&mut self, text: &[u8]) -> Vec<Vec<u8>> {
        let mut values = Vec::new();
        let mut rest = text;
        loop {
            let (used, step) = self.stream.next(rest, 0);
            self.begun.extend_from_slice(&rest[..used]);
            rest = &rest[used..];
            match step {
                JsonStep::Value(_) | JsonStep::Error(_) => values.push(self.rest()),
                JsonStep::Incomplete => break,
            }
        }
        if self.stream.pending() == Pending::Nothing {
            self.begun.clear();
        }
        values
    }

    /// What has come of an unfinished value; empty between two values.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.begun).trim_ascii().to_vec()
    }

    /// How many bytes have come of an unfinished value.
    pub fn begun(&self) -> usize {
        self.begun.len()
    }

    /// Says what is wrong with a text that ends here; a bare number is complete.
    pub fn finish(&mut self) -> Result<(), JsonError> {
        self.stream.finish().map_or(Ok(()), |finished| finished.map(|_| ()))
    }
}

/// The values of one argument of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonArgument(pub Vec<Vec<u8>>);

/// Reads an argument. Malformed JSON is for the server to judge. An unfinished value is
/// not, since the server would wait for the rest.
pub fn parse_argument(text: &[u8]) -> Result<JsonArgument, String> {
    let mut values = JsonValues::default();
    let mut found = values.take(text);
    values.finish().map_err(|error| {
        format!("a server would wait for the rest: {error}; an argument must hold whole values")
    })?;
    let number = values.rest();
    if !number.is_empty() {
        found.push(number);
    }
    if found.is_empty() { Err("it holds no value".into()) } else { Ok(JsonArgument(found)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(text: &str) -> (Vec<String>, String) {
        let mut values = JsonValues::default();
        let found = text.split_inclusive('\n').flat_map(|line| values.take(line.as_bytes()));
        let found = found.collect::<Vec<_>>();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (found.into_iter().map(text).collect(), text(values.rest()))
    }

    fn argument(text: &str) -> Result<Vec<String>, String> {
        let JsonArgument(values) = parse_argument(text.as_bytes())?;
        Ok(values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect())
    }

    #[test]
    fn a_value_may_take_several_lines_and_a_line_hold_several_values() {
        let (values, rest) = lines("{\n \"a\": 1\n}\n\n[] 2 \"가\"\r\n3\n[1,\n");
        assert_eq!(values, ["{\n \"a\": 1\n}", "[]", "2", "\"가\"", "3"]);
        assert_eq!(rest, "[1,");
        assert_eq!(lines("[1]\n2"), (vec!["[1]".into()], "2".into()));
        assert_eq!(lines("\n \n"), (vec![], String::new()));
    }

    #[test]
    fn what_is_no_json_is_one_message_to_the_end_of_its_line() {
        let (values, rest) = lines("tru [1]\n[1,\n x] 2\n3\n");
        assert_eq!(values, ["tru [1]", "[1,\n x] 2", "3"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn an_argument_holds_whole_values() {
        assert_eq!(argument("1 2").unwrap(), ["1", "2"]);
        assert_eq!(argument(" {} \n").unwrap(), ["{}"]);
        assert_eq!(argument("no json").unwrap(), ["no json"]);
        for unfinished in ["[1,", "\"a", "[] {", "-", "1.", "tru"] {
            assert!(argument(unfinished).unwrap_err().contains("unfinished"), "{unfinished}");
        }
        assert!(argument(" ").unwrap_err().contains("no value"));
    }

    proptest! {
        #[test]
        fn values_are_found_wherever_lines_break(
            values in prop::collection::vec("\\[[1-9]{1,2}(, \"[가a]{0,2}\"){0,2}\\]|\\{\\}|null |[1-9]{1,3} ", 1..8),
            breaks in prop::collection::vec(any::<bool>(), 8),
        ) {
            let text: String = values.iter().zip(breaks).map(|(value, breaks)| {
                let value = if breaks { value.replace(", ", ",\n") } else { value.clone() };
                value + if breaks { "\n" } else { "" }
            }).collect();
            let (found, rest) = lines(&text);
            let mut found: Vec<_> = found.iter().map(|value| value.replace(",\n", ", ")).collect();
            found.extend((!rest.is_empty()).then_some(rest));
            let expected: Vec<_> = values.iter().map(|value| value.trim()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
