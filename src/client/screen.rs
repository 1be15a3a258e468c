//! Standard output, whose reader may have gone (`| head -1`) or be a person.

use std::io::{self, IsTerminal, Write};

use onepoll::service::Context;

/// Moves to the start of the line and erases it (ECMA-48: CR, EL).
pub const CLEAR_LINE: &str = "\r\x1b[K";

/// Prints a text, which may come from anybody, and a line end if it has none. A pipe or a
/// file gets every byte as it is; on a terminal, control characters are shown and not
/// obeyed.
///
/// Returns false when there is nobody left to print for. The client then ends:
/// quietly if the reader closed the pipe, with a sentence if writing failed.
#[must_use]
pub fn print_line(text: &[u8], cx: &mut Context<'_>) -> bool {
    write(b"", text, !text.ends_with(b"\n"), cx)
}

/// As [`print_line`], while somebody may be typing: on a terminal, the text replaces a
/// half-typed line. The kernel's line discipline keeps that line and delivers it once it
/// is finished, but we cannot show it again, since only the kernel knows it.
#[must_use]
pub fn print_between(text: &[u8], cx: &mut Context<'_>) -> bool {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    write(if is_terminal { CLEAR_LINE } else { "" }.as_bytes(), text, !text.ends_with(b"\n"), cx)
}

/// Erases a prompt or a half-typed line from the terminal, so that an error begins on a
/// line of its own.
pub fn clear_line() {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        let _ = io::stderr().write_all(CLEAR_LINE.as_bytes());
    }
}

/// Prints an answer exactly as it is, and a line end in any case.
#[must_use]
pub fn print_answer(answer: &[u8], cx: &mut Context<'_>) -> bool {
    write(b"", answer, true, cx)
}

fn write(before: &[u8], text: &[u8], ends_line: bool, cx: &mut Context<'_>) -> bool {
    let shown = if io::stdout().is_terminal() { visible(text).into_bytes() } else { text.to_vec() };
    let end: &[u8] = if ends_line { b"\n" } else { b"" };
    write_as_it_is(&[before, &shown, end].concat(), cx)
}

/// Writes bytes that are safe for a terminal: our own, or made [`visible`]. The
/// result means what it does for [`print_line`].
#[must_use]
pub fn write_as_it_is(bytes: &[u8], cx: &mut Context<'_>) -> bool {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            cx.stop();
            false
        }
        Err(error) => {
            cx.fail(format!("cannot write to standard output: {error}"));
            false
        }
    }
}

/// Invites a person to type; shown only on a terminal.
///
/// If it is dropped unanswered (Ctrl-D, Ctrl-C), it ends its line, so that the
/// shell's own prompt begins on a new one.
#[derive(Debug, Default)]
pub struct Prompt {
    is_shown: bool,
}

impl Prompt {
    /// Shows it, unless it is already shown.
    pub fn show(&mut self) {
        if !self.is_shown && io::stdin().is_terminal() {
            self.is_shown = true;
            let _ = write!(io::stderr(), "> ");
        }
    }

    /// The user finished a line, so the cursor is on the next one.
    pub fn answered(&mut self) {
        self.is_shown = false;
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = writeln!(io::stderr());
        }
    }
}

/// Makes control characters visible, as pictures (U+2400 and on) or in the form
/// `<U+202E>`, so that a stranger's message cannot move the cursor, rename the
/// window, or reorder the text around it.
pub fn visible(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\u{0}'..='\u{1F}' => shown.push(char::from_u32(0x2400 + character as u32).unwrap_or('\u{FFFD}')),
            '\u{7F}' => shown.push('\u{2421}'),
            _ if character.is_control() => shown.push('\u{FFFD}'),
            _ if is_invisible_control(character) => shown.push_str(&format!("<U+{:04X}>", character as u32)),
            _ => shown.push(character),
        }
    }
    shown
}

/// Soft hyphen, Arabic letter mark, Mongolian vowel separator, zero-width space,
/// line and paragraph separators, bidirectional controls, invisible operators,
/// byte order mark, interlinear annotation, tags. The zero-width joiners and the
/// variation selectors stay, since emoji and several scripts need them.
fn is_invisible_control(character: char) -> bool {
    matches!(
        character,
        '\u{AD}'
            | '\u{61C}'
            | '\u{180E}'
            | '\u{200B}'
            | '\u{200E}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{E0000}'..='\u{E007F}'
    )
}

/// As [`visible`], on one line.
pub fn visible_line(text: &[u8]) -> String {
    visible(text).trim_end_matches('\n').replace('\n', "\u{240A}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(visible("안녕\x1b[2J\t\r\n\x7f\u{9b}".as_bytes()), "안녕␛[2J\t\n␡\u{FFFD}");
        assert_eq!(visible_line(b"a\nb\r\n"), "a␊b");
    }

    #[test]
    fn invisible_controls_are_shown_by_their_number_and_emoji_stay_whole() {
        let text = "\u{202E}evil\u{2028}\u{2029}\u{2066}\u{200B}\u{FEFF}\u{E0041}";
        assert_eq!(visible(text.as_bytes()), "<U+202E>evil<U+2028><U+2029><U+2066><U+200B><U+FEFF><U+E0041>");
        for whole in ["👩\u{200D}👧", "❤\u{FE0F}", "🇰🇷", "각", "می\u{200C}خواهم"] {
            assert_eq!(visible(whole.as_bytes()), whole);
        }
    }
}
