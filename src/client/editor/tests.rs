use super::*;
use crate::client::screen::CLEAR_LINE;
use proptest::prelude::*;
use unicode_width::UnicodeWidthChar;

/// A minimal terminal: rows that scroll, wide characters, and the escape sequences
/// in use. It handles code point by code point, as many terminals do, and shares no
/// code with the drawing.
struct Terminal {
    columns: usize,
    rows: Vec<Vec<Cell>>,
    column: usize,
    saved: usize,
    wraps: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Blank,
    Text(String),
    /// The right half of a wide character.
    Half,
}

impl Terminal {
    fn new(columns: usize) -> Terminal {
        Terminal { columns, rows: vec![vec![Cell::Blank; columns]], column: 0, saved: 0, wraps: true }
    }

    fn write(&mut self, drawn: &str) {
        let mut rest = drawn;
        while let Some(character) = rest.chars().next() {
            rest = &rest[character.len_utf8()..];
            match character {
                '\r' => self.column = 0,
                // The kernel turns it into CR LF.
                '\n' => self.new_row(),
                '\t' => self.column = (self.column / 8 * 8 + 8).min(self.columns - 1),
                '\x1b' => rest = self.obey(rest),
                _ => self.put(character),
            }
        }
    }

    fn obey<'a>(&mut self, rest: &'a str) -> &'a str {
        let column = self.column;
        let sequence = ["[K", "7", "8", "[?7l", "[?7h"].into_iter().find(|known| rest.starts_with(known));
        match sequence {
            Some("[K") => self.row()[column..].fill(Cell::Blank),
            Some("7") => self.saved = column,
            Some("8") => self.column = self.saved,
            Some(wrapping) if wrapping.starts_with("[?7") => self.wraps = wrapping == "[?7h",
            _ => panic!("unknown sequence {rest:?}"),
        }
        &rest[sequence.map_or(0, str::len)..]
    }

    fn row(&mut self) -> &mut Vec<Cell> {
        self.rows.last_mut().unwrap()
    }

    fn new_row(&mut self) {
        self.rows.push(vec![Cell::Blank; self.columns]);
        self.column = 0;
    }

    fn put(&mut self, character: char) {
        let width = character.width().expect("a control character came through");
        if width == 0 {
            let column = self.column;
            if let Some(Cell::Text(text)) =
                self.row()[..column].iter_mut().rev().find(|cell| **cell != Cell::Half)
            {
                text.push(character);
            }
            return;
        }
        if self.column + width > self.columns {
            assert!(self.wraps, "the draft reaches over the right edge");
            self.new_row();
        }
        let column = self.column;
        let row = self.row();
        row[column] = Cell::Text(character.into());
        row[column + 1..column + width].fill(Cell::Half);
        self.column += width;
    }

    /// A row's text without the blanks at its end.
    fn text(&self, row: usize) -> String {
        let cells = self.rows[row].iter().map(|cell| match cell {
            Cell::Blank => " ",
            Cell::Text(text) => text,
            Cell::Half => "",
        });
        cells.collect::<String>().trim_end().to_owned()
    }

    fn last(&self) -> String {
        self.text(self.rows.len() - 1)
    }
}

fn width(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

fn type_in(editor: &mut Editor, typed: &str) -> Vec<Event> {
    editor.typed(typed.as_bytes())
}

fn line(text: &str) -> Event {
    Event::Line(text.into())
}

#[test]
fn each_line_of_a_pasted_text_is_a_line() {
    let mut editor = Editor::default();
    assert_eq!(type_in(&mut editor, "하나\r\n둘\n\n셋"), [line("하나"), line(""), line("둘"), line("")]);
    assert_eq!(editor.draft(), "셋");
}

#[test]
fn ctrl_d_ends_the_input_only_where_nothing_is_typed() {
    let mut editor = Editor::default();
    assert_eq!(type_in(&mut editor, "a\x1b[D\x04"), []);
    assert_eq!(editor.draft(), "");
    assert_eq!(type_in(&mut editor, "\x04"), [Event::End]);
}

#[test]
fn the_arrow_keys_bring_lines_back_and_the_draft_after_them() {
    let mut editor = Editor::default();
    type_in(&mut editor, "하나\r둘\r둘\r셋 반쯤");
    let mut shown = |key: &str| {
        type_in(&mut editor, key);
        editor.draft().to_owned()
    };
    const UP: &str = "\x1b[A";
    const DOWN: &str = "\x1b[B";
    assert_eq!(
        [UP, UP, UP, DOWN].map(&mut shown),
        ["둘", "하나", "하나", "둘"],
        "a line said twice is kept once"
    );
    assert_eq!([DOWN, DOWN].map(&mut shown), ["셋 반쯤"; 2]);
    assert_eq!(shown("\x1b[A!\x1b[A\x1b[B"), "둘", "what is brought back stays as it was");
    assert_eq!(type_in(&mut editor, "?\r"), [line("둘?")]);
    assert_eq!(type_in(&mut editor, DOWN), []);
    assert_eq!(editor.draft(), "");
}

#[test]
fn the_history_is_bounded() {
    let mut editor = Editor::default();
    for number in 0..LONGEST_HISTORY + 5 {
        type_in(&mut editor, &format!("{number}\r"));
    }
    type_in(&mut editor, &"\x1b[A".repeat(2 * LONGEST_HISTORY));
    assert_eq!(editor.draft(), "5");
}

#[test]
fn what_exceeds_a_line_is_dropped_and_reported_once() {
    let mut editor = Editor::default();
    let long = "가".repeat(LONGEST_DRAFT);
    assert_eq!(type_in(&mut editor, &long), [Event::TooLong]);
    assert_eq!(editor.draft().len(), LONGEST_DRAFT / 3 * 3);
    assert_eq!(type_in(&mut editor, "\x15\x19\x19"), [Event::TooLong]);
    assert_eq!(editor.draft().len(), LONGEST_DRAFT / 3 * 3);
}

/// What a user may type, key by key.
fn key() -> impl Strategy<Value = String> {
    let characters = prop::sample::select(vec![
        "a",
        " ",
        "안녕",
        "하",
        "😀",
        "e\u{301}",
        "\u{1112}\u{1161}\u{11ab}",
        "\t",
        "ㅋㅋㅋ",
    ]);
    let keys = prop::sample::select(vec![
        "\r",
        "\x7f",
        "\x04",
        "\x1b[3~",
        "\x1b[D",
        "\x1b[C",
        "\x1b[A",
        "\x1b[B",
        "\x01",
        "\x05",
        "\x0b",
        "\x15",
        "\x17",
        "\x19",
        "\x1bb",
        "\x1bf",
        "\x1bd",
        "\x1b[1;5D",
        "\x1b[99~",
    ]);
    prop_oneof![3 => characters, 1 => keys].prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn typing_has_the_same_result_at_any_split(
        keys in prop::collection::vec(key(), 0..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let typed = keys.concat().into_bytes();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(typed.len() + 1)).collect();
        ends.push(typed.len());
        ends.sort_unstable();
        let (mut once, mut split_up) = (Editor::default(), Editor::default());
        let mut events = Vec::new();
        let mut start = 0;
        for end in ends {
            events.extend(split_up.typed(&typed[start..end]));
            start = end;
        }
        prop_assert_eq!(events, once.typed(&typed));
        prop_assert_eq!(split_up.draft(), once.draft());
        prop_assert_eq!(split_up.draw(30), once.draw(30));
    }

    #[test]
    fn the_last_line_shows_the_draft_and_the_lines_above_it_what_was_said(
        steps in prop::collection::vec(prop_oneof![
            4 => key(),
            1 => prop::sample::select(vec!["\n[민수] 안녕", "\n* 영희 joined"]).prop_map(str::to_owned),
        ], 1..60),
        columns in 24..90usize,
    ) {
        let mut editor = Editor::default();
        let mut terminal = Terminal::new(columns);
        let mut said = Vec::new();
        terminal.write(&editor.draw(columns));
        for step in steps {
            if let Some(message) = step.strip_prefix('\n') {
                terminal.write(&format!("{CLEAR_LINE}{message}\n"));
                said.push(message.to_owned());
            } else {
                for event in type_in(&mut editor, &step) {
                    if let Event::Line(line) = event && !line.is_empty() {
                        terminal.write(&commit(&line));
                        said.push(format!("> {line}"));
                    }
                }
            }
            terminal.write(&editor.draw(columns));
            prop_assert!(terminal.wraps);

            let shown = terminal.last();
            let draft = editor.draft().replace('\t', "␉");
            if width(&draft) + 3 <= columns {
                let whole = format!("> {draft}");
                prop_assert_eq!(shown, whole.trim_end());
                let before = editor.draft.before_cursor().replace('\t', "␉");
                prop_assert_eq!(terminal.column, 2 + width(&before));
            } else {
                let part = shown.get(2..).unwrap_or_default();
                prop_assert!(draft.contains(part), "{part:?} of {draft:?}");
                prop_assert!(width(part) + 7 >= columns * 2 / 3, "{part:?} of {draft:?}");
            }
        }
        let above: String = (0..terminal.rows.len() - 1).map(|row| terminal.text(row)).collect();
        let spaceless = |text: &str| text.replace([' ', '\t'], "");
        prop_assert_eq!(spaceless(&above), spaceless(&said.concat()));
    }
}
