//! The escape sequences that show the draft on the terminal's last line.
//!
//! A draft never takes more than that line: of a longer one, only the part around
//! the cursor is shown. So a redraw needs no memory of the last one, and nothing of
//! the terminal but its present width.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::draft::Draft;
use crate::client::screen::{CLEAR_LINE, visible_line};

/// Marks what the user types.
const PROMPT: &str = "> ";
/// The same, if the beginning of the draft is hidden.
const PROMPT_OF_A_PART: &str = "< ";
/// Moves to the upper left corner and erases the screen.
pub const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Draws the draft over the line that the cursor is on.
///
/// Terminals disagree about the width of some characters. So the terminal saves and
/// restores its own cursor position (DECSC, DECRC) instead of being told a column,
/// and does not wrap at the right edge meanwhile (DECAWM).
pub fn draw(draft: &Draft, columns: usize) -> String {
    // The cursor needs a column of its own.
    let (before, after, is_cut) = window(draft, columns.saturating_sub(PROMPT.len() + 1));
    let prompt = if is_cut { PROMPT_OF_A_PART } else { PROMPT };
    format!("\r\x1b[?7l{prompt}{before}\x1b7{after}\x1b[K\x1b8\x1b[?7h")
}

/// Replaces the draft on the screen by a finished line, shown in full.
pub fn commit(line: &str) -> String {
    format!("{CLEAR_LINE}{PROMPT}{}\n", visible_line(line.as_bytes()))
}

/// The part of the draft that fits into `columns`: the text before the cursor, the
/// text after it, and whether the beginning is hidden.
fn window(draft: &Draft, columns: usize) -> (String, String, bool) {
    let before = draft.before_cursor().graphemes(true).rev();
    let after = draft.after_cursor().graphemes(true);
    // Up to a third is for the text after the cursor, plus what the text before
    // it does not need.
    let behind = fitting(after.clone(), columns / 3).1;
    let (mut shown_before, width, is_cut) = fitting(before, columns - behind);
    let (shown_after, ..) = fitting(after, columns - width);
    shown_before.reverse();
    (shown_before.concat(), shown_after.concat(), is_cut)
}

/// As many characters as fit into `columns`, in visible form; their width; and
/// whether any was left out.
fn fitting<'a>(characters: impl Iterator<Item = &'a str>, columns: usize) -> (Vec<String>, usize, bool) {
    let mut taken = Vec::new();
    let mut width = 0;
    for character in characters {
        let character = match character {
            "\t" => "\u{2409}".to_owned(),
            other => visible_line(other.as_bytes()),
        };
        let its_width = character.width();
        if width + its_width > columns {
            return (taken, width, true);
        }
        width += its_width;
        taken.push(character);
    }
    (taken, width, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(before: &str, after: &str, columns: usize) -> (String, String, bool) {
        let mut draft = Draft::default();
        draft.set(after.to_owned());
        draft.home();
        before.chars().for_each(|character| draft.insert(character));
        window(&draft, columns)
    }

    fn part(before: &str, after: &str, is_cut: bool) -> (String, String, bool) {
        (before.to_owned(), after.to_owned(), is_cut)
    }

    #[test]
    fn a_draft_that_fits_is_shown_whole() {
        assert_eq!(shown("안녕", "하세요", 10), part("안녕", "하세요", false));
        assert_eq!(shown("", "", 0), part("", "", false));
    }

    #[test]
    fn of_a_longer_one_the_part_round_the_cursor_is_shown() {
        assert_eq!(shown("가나다라마바", "", 10), part("나다라마바", "", true));
        assert_eq!(shown("", "가나다라마바", 10), part("", "가나다라마", false));
        assert_eq!(shown("가나다라마바", "사아자차카", 10), part("다라마바", "사", true));
        assert_eq!(shown("가나다라마바", "사아자차카", 12), part("다라마바", "사아", true));
        assert_eq!(shown("가나다라마바", "사", 12), part("나다라마바", "사", true));
        assert_eq!(shown("가나", "다라마바", 10), part("가나", "다라마", false));
        // Only half of a wide character would fit.
        assert_eq!(shown("a가나다라마", "", 9), part("나다라마", "", true));
        assert_eq!(shown("가", "", 1), part("", "", true));
    }

    #[test]
    fn control_characters_of_a_draft_are_shown_and_not_obeyed() {
        assert_eq!(shown("a\t\u{202E}", "", 20), part("a␉<U+202E>", "", false));
        assert_eq!(commit("a\x1b[2J"), "\r\x1b[K> a␛[2J\n");
    }
}
