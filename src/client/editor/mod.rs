//! A line editor without a terminal: typed bytes come in; finished lines, other
//! events and drawings go out.

mod draft;
mod drawing;
mod keys;

use std::collections::VecDeque;

use draft::Draft;
use keys::{Decoder, Key};

pub use drawing::{CLEAR_SCREEN, commit};

/// The longest line in bytes: what our chat server accepts by default. The kernel's
/// own line editing stops at 4095 (termios(3)).
pub const LONGEST_DRAFT: usize = 64 * 1024;
/// How many lines the arrow keys can recall.
const LONGEST_HISTORY: usize = 1000;

/// What the user did, besides editing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Finished a line, perhaps an empty one.
    Line(String),
    /// Ended the input.
    End,
    /// Asked to suspend the program.
    Suspend,
    /// Asked to clear the screen.
    ClearScreen,
    /// Typed more than a line can hold; the rest is dropped.
    TooLong,
}

/// The draft and the history.
#[derive(Debug, Default)]
pub struct Editor {
    decoder: Decoder,
    draft: Draft,
    history: VecDeque<String>,
    /// The index of the recalled line, and the draft that it replaced.
    recalled: Option<(usize, String)>,
}

impl Editor {
    /// Edits the draft, and returns the events in order.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        for key in self.decoder.keys(bytes) {
            let event = self.press(key);
            // Once is enough for a long paste.
            if event != Some(Event::TooLong) || events.last() != Some(&Event::TooLong) {
                events.extend(event);
            }
        }
        events
    }

    /// The draft as it stands.
    pub fn draft(&self) -> &str {
        self.draft.text()
    }

    /// Draws the draft on the line that the terminal's cursor is on.
    pub fn draw(&self, columns: usize) -> String {
        drawing::draw(&self.draft, columns)
    }

    fn press(&mut self, key: Key) -> Option<Event> {
        let draft = &mut self.draft;
        match key {
            Key::Insert(character) if draft.text().len() + character.len_utf8() > LONGEST_DRAFT => {
                return Some(Event::TooLong);
            }
            Key::Paste if draft.text().len() + draft.cut_length() > LONGEST_DRAFT => {
                return Some(Event::TooLong);
            }
            Key::Insert(character) => draft.insert(character),
            Key::Enter => return Some(Event::Line(self.finish_line())),
            Key::EndOrDelete if draft.text().is_empty() => return Some(Event::End),
            Key::EndOrDelete | Key::Delete => draft.delete(),
            Key::Backspace => draft.backspace(),
            Key::Left => draft.left(),
            Key::Right => draft.right(),
            Key::WordLeft => draft.word_left(),
            Key::WordRight => draft.word_right(),
            Key::Home => draft.home(),
            Key::End => draft.end(),
            Key::Up => self.recall_older(),
            Key::Down => self.recall_newer(),
            Key::CutToStart => draft.cut_to_start(),
            Key::CutToEnd => draft.cut_to_end(),
            Key::CutWordLeft => draft.cut_word_left(),
            Key::CutWordRight => draft.cut_word_right(),
            Key::Paste => draft.paste(),
            Key::ClearScreen => return Some(Event::ClearScreen),
            Key::Suspend => return Some(Event::Suspend),
        }
        None
    }

    fn finish_line(&mut self) -> String {
        let line = self.draft.take();
        self.recalled = None;
        if !line.is_empty() && self.history.back() != Some(&line) {
            if self.history.len() == LONGEST_HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        line
    }

    fn recall_older(&mut self) {
        let shown = self.recalled.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(at) = shown.checked_sub(1) else { return };
        let hidden = self.recalled.take().map_or_else(|| self.draft.take(), |(_, hidden)| hidden);
        self.draft.set(self.history[at].clone());
        self.recalled = Some((at, hidden));
    }

    fn recall_newer(&mut self) {
        let Some((at, hidden)) = self.recalled.take() else { return };
        match self.history.get(at + 1) {
            Some(newer) => {
                self.draft.set(newer.clone());
                self.recalled = Some((at + 1, hidden));
            }
            None => self.draft.set(hidden),
        }
    }
}

#[cfg(test)]
mod tests;
