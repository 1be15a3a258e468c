//! Standard output, whose reader may have gone (`| head -1`) or be a person.

use std::io::{self, IsTerminal, Write};

use onepoll::service::Context;

/// To the start of the line, and everything behind it away (ECMA-48: CR, EL).
const CLEAR_LINE: &[u8] = b"\r\x1b[K";

/// Prints a text, which may come from anybody, and a line end where it has
/// none. A pipe or a file gets every byte as it is; on a terminal, control
/// characters are shown and not obeyed.
///
/// Returns false when there is nobody left to print for. The client then ends:
/// quietly if the reader closed the pipe, with a sentence if writing failed.
#[must_use]
pub fn print_line(text: &[u8], cx: &mut Context<'_>) -> bool {
    write(b"", text, !text.ends_with(b"\n"), cx)
}

/// As [`print_line`], while somebody may be typing: on a terminal the text
/// takes the line of what is half typed. That stays in the kernel's line
/// discipline, which sends it with the rest of its line, but it cannot be shown
/// again: what it is, only the kernel knows.
#[must_use]
pub fn print_between(text: &[u8], cx: &mut Context<'_>) -> bool {
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    write(if is_terminal { CLEAR_LINE } else { b"" }, text, !text.ends_with(b"\n"), cx)
}

/// Lets an error begin on a line of its own, where a prompt or what is half
/// typed stands on the terminal.
pub fn clear_line() {
    if io::stdin().is_terminal() && io::stderr().is_terminal() {
        let _ = io::stderr().write_all(CLEAR_LINE);
    }
}

/// Prints an answer exactly as it is, and always a line end.
#[must_use]
pub fn print_answer(answer: &[u8], cx: &mut Context<'_>) -> bool {
    write(b"", answer, true, cx)
}

fn write(before: &[u8], text: &[u8], ends_line: bool, cx: &mut Context<'_>) -> bool {
    let mut out = io::stdout().lock();
    let shown = if out.is_terminal() { visible(text).into_bytes() } else { text.to_vec() };
    let end: &[u8] = if ends_line { b"\n" } else { b"" };
    match out.write_all(&[before, &shown, end].concat()).and_then(|()| out.flush()) {
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

/// Says something that is no answer.
pub fn remark(text: &str) {
    // There is nowhere left to report that standard error is closed.
    let _ = writeln!(io::stderr(), "onepoll: {text}");
}

/// Invites a person to type; says nothing to a pipe.
pub fn prompt() {
    if io::stdin().is_terminal() {
        let _ = write!(io::stderr(), "> ");
    }
}

/// The text with its control characters as pictures (Unicode, U+2400 on), so
/// that a stranger's message cannot move the cursor or rename the window.
pub fn visible(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    let picture = |character: char| match character {
        '\n' | '\t' => character,
        '\u{0}'..='\u{1F}' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{FFFD}'),
        '\u{7F}' => '\u{2421}',
        _ if character.is_control() => '\u{FFFD}',
        _ => character,
    };
    text.chars().map(picture).collect()
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
}
