//! The line that is being typed, and where its cursor stands.

use unicode_segmentation::{GraphemeCursor, GraphemeIncomplete};

/// A line of text with a cursor. The cursor moves by what a reader sees as one
/// character (a grapheme cluster, UAX #29), which may be several code points.
#[derive(Debug, Default)]
pub struct Draft {
    text: String,
    /// A byte offset, on a code point boundary.
    cursor: usize,
    /// The text that was cut last.
    cut: String,
}

impl Draft {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn before_cursor(&self) -> &str {
        &self.text[..self.cursor]
    }

    pub fn after_cursor(&self) -> &str {
        &self.text[self.cursor..]
    }

    /// Returns the line and starts an empty one.
    pub fn take(&mut self) -> String {
        self.cursor = 0;
        std::mem::take(&mut self.text)
    }

    /// Replaces the line and puts the cursor at its end.
    pub fn set(&mut self, text: String) {
        self.cursor = text.len();
        self.text = text;
    }

    pub fn insert(&mut self, character: char) {
        self.text.insert(self.cursor, character);
        self.cursor += character.len_utf8();
    }

    pub fn left(&mut self) {
        self.cursor = self.boundary_left();
    }

    pub fn right(&mut self) {
        self.cursor = self.boundary_right();
    }

    pub fn word_left(&mut self) {
        self.cursor = self.word_start();
    }

    pub fn word_right(&mut self) {
        self.cursor = self.word_end();
    }

    pub fn home(&mut self) {
        self.cursor = 0;
    }

    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    pub fn backspace(&mut self) {
        let start = self.boundary_left();
        self.text.replace_range(start..self.cursor, "");
        self.cursor = start;
    }

    pub fn delete(&mut self) {
        self.text.replace_range(self.cursor..self.boundary_right(), "");
    }

    pub fn cut_to_start(&mut self) {
        self.cut_to(0);
    }

    pub fn cut_to_end(&mut self) {
        self.cut_to(self.text.len());
    }

    pub fn cut_word_left(&mut self) {
        self.cut_to(self.word_start());
    }

    pub fn cut_word_right(&mut self) {
        self.cut_to(self.word_end());
    }

    /// Inserts what was cut last.
    pub fn paste(&mut self) {
        self.text.insert_str(self.cursor, &self.cut);
        self.cursor += self.cut.len();
    }

    /// How many bytes [`paste`](Draft::paste) would insert.
    pub fn cut_length(&self) -> usize {
        self.cut.len()
    }

    fn cut_to(&mut self, other: usize) {
        let range = self.cursor.min(other)..self.cursor.max(other);
        if !range.is_empty() {
            self.cursor = range.start;
            self.cut = self.text.drain(range).collect();
        }
    }

    fn boundary_left(&self) -> usize {
        self.boundary(GraphemeCursor::prev_boundary).unwrap_or(0)
    }

    fn boundary_right(&self) -> usize {
        self.boundary(GraphemeCursor::next_boundary).unwrap_or(self.text.len())
    }

    fn boundary(
        &self,
        find: fn(&mut GraphemeCursor, &str, usize) -> Result<Option<usize>, GraphemeIncomplete>,
    ) -> Option<usize> {
        let mut from = GraphemeCursor::new(self.cursor, self.text.len(), true);
        // It cannot be incomplete: it sees the whole text.
        find(&mut from, &self.text, 0).ok().flatten()
    }

    fn word_start(&self) -> usize {
        let words = self.before_cursor().trim_end();
        words.rfind(char::is_whitespace).map_or(0, |at| at + char_length(&words[at..]))
    }

    fn word_end(&self) -> usize {
        let after = self.after_cursor();
        let words = after.trim_start();
        let length = words.find(char::is_whitespace).unwrap_or(words.len());
        self.cursor + (after.len() - words.len()) + length
    }
}

fn char_length(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(before: &str, after: &str) -> Draft {
        Draft { text: format!("{before}{after}"), cursor: before.len(), cut: String::new() }
    }

    fn shown(draft: &Draft) -> (&str, &str) {
        (draft.before_cursor(), draft.after_cursor())
    }

    #[test]
    fn the_cursor_and_the_keys_that_erase_take_whole_characters() {
        // Decomposed as macOS writes file names, a family, a flag, a variation selector.
        for one in
            ["안", "\u{1112}\u{1161}\u{11ab}", "é", "e\u{301}", "👩\u{200D}👧", "🇰🇷", "❤\u{FE0F}", "👍🏽"]
        {
            let mut line = draft(&format!("a{one}"), "b");
            line.left();
            assert_eq!(shown(&line), ("a", format!("{one}b").as_str()));
            line.right();
            line.backspace();
            assert_eq!(shown(&line), ("a", "b"));
            let mut line = draft("a", &format!("{one}b"));
            line.delete();
            assert_eq!(shown(&line), ("a", "b"));
        }
    }

    #[test]
    fn at_either_end_there_is_nothing_to_move_or_erase() {
        let mut line = draft("", "");
        for key in
            [Draft::left, Draft::right, Draft::backspace, Draft::delete, Draft::word_left, Draft::word_right]
        {
            key(&mut line);
            assert_eq!(shown(&line), ("", ""));
        }
    }

    #[test]
    fn words_end_at_spaces() {
        let mut line = draft("안녕 hello-세계  ", "또 봐");
        line.word_left();
        assert_eq!(shown(&line), ("안녕 ", "hello-세계  또 봐"));
        line.word_right();
        assert_eq!(shown(&line), ("안녕 hello-세계", "  또 봐"));
        line.word_right();
        assert_eq!(shown(&line), ("안녕 hello-세계  또", " 봐"));
        let mut ideographic = draft("하나\u{3000}둘", "");
        ideographic.word_left();
        assert_eq!(shown(&ideographic), ("하나\u{3000}", "둘"));
    }

    #[test]
    fn what_is_cut_can_be_pasted() {
        let mut line = draft("하나 둘 셋", " 넷");
        line.cut_word_left();
        assert_eq!(shown(&line), ("하나 둘 ", " 넷"));
        line.end();
        line.paste();
        assert_eq!(line.text(), "하나 둘  넷셋");
        line.cut_to_start();
        assert_eq!(line.text(), "");
        // Cutting nothing keeps what was cut before.
        line.cut_to_end();
        line.paste();
        assert_eq!(line.text(), "하나 둘  넷셋");
        line.home();
        line.cut_word_right();
        assert_eq!(shown(&line), ("", " 둘  넷셋"));
    }
}
