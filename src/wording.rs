//! Wording that log lines and messages for people share.

/// A number with its noun: "1 byte", "2 bytes".
pub fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What was probably meant: the nearest word, if at most a third of it is wrong.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|candidate| (strsim::levenshtein(word, candidate), candidate));
    let (distance, near) = distances.min()?;
    (distance <= near.chars().count().div_ceil(3)).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_slip_is_recognized_and_another_word_is_not() {
        let known = ["echo", "upper", "메아리"];
        assert_eq!(nearest("ehco", known), Some("echo"));
        assert_eq!(nearest("메아", known), Some("메아리"));
        assert_eq!(nearest("chat", known), None);
        assert_eq!(nearest("echo", []), None);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([0, 1, 2].map(|number| counted(number, "byte")), ["0 bytes", "1 byte", "2 bytes"]);
    }
}
