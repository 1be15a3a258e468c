//! A terminal where messages scroll above the line that is being typed.

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use onepoll::service::Context;
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::editor::{CLEAR_SCREEN, Editor, Event, LONGEST_DRAFT, commit};
use super::screen::{CLEAR_LINE, visible, write_as_it_is};

/// The width to assume if the terminal does not report one.
const USUAL_COLUMNS: usize = 80;

/// A terminal that we control: it delivers key by key, and its last line shows the
/// draft. Dropping it restores the terminal.
pub struct Console {
    editor: Editor,
    /// What the next draw writes first.
    output: String,
    keys: KeyMode,
}

impl Console {
    /// Takes over the terminal. `None` unless standard input and output are one
    /// that can move its cursor: then the kernel's own line editing stays.
    pub fn open() -> Option<Console> {
        let can_move = env::var_os("TERM").is_some_and(|kind| !kind.is_empty() && kind != "dumb");
        if !can_move || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let keys = KeyMode::of(io::stdin()).ok()?;
        Some(Console { editor: Editor::default(), output: String::new(), keys })
    }

    /// Edits the draft. The caller handles the events and then
    /// [draws](Console::draw).
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.editor.typed(bytes)
    }

    /// Puts a finished line among the messages.
    pub fn commit(&mut self, line: &str) {
        self.output += &commit(line);
    }

    /// Puts a text above the draft.
    pub fn show(&mut self, text: &[u8]) {
        let text = visible(text);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.output += &format!("{CLEAR_LINE}{text}{end}");
    }

    /// Handles the events that concern only the terminal.
    pub fn obey(&mut self, event: &Event, cx: &mut Context<'_>) {
        match event {
            Event::ClearScreen => self.output += CLEAR_SCREEN,
            Event::TooLong => {
                self.show(
                    format!("onepoll: a line has at most {LONGEST_DRAFT} bytes; the rest is left out")
                        .as_bytes(),
                );
            }
            Event::Suspend => self.suspend(cx),
            Event::Line(_) | Event::End => {}
        }
    }

    /// Writes everything shown since the last draw, and the draft below it. The
    /// result means what it does for [`print_line`](super::screen::print_line).
    pub fn draw(&mut self, cx: &mut Context<'_>) -> bool {
        let mut output = std::mem::take(&mut self.output);
        output += &self.editor.draw(columns());
        write_as_it_is(output.as_bytes(), cx)
    }

    /// Stops the whole foreground job, as Ctrl-Z does for any program, and returns
    /// when the shell continues it.
    fn suspend(&mut self, cx: &mut Context<'_>) {
        self.output += CLEAR_LINE;
        let _ = write_as_it_is(std::mem::take(&mut self.output).as_bytes(), cx);
        self.keys.leave();
        // If that is not possible, the chat simply goes on.
        let _ = kill_current_process_group(Signal::TSTP);
        self.keys.enter();
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // The user may want to copy a line that was not sent.
        let draft = self.editor.draft();
        self.output += &if draft.is_empty() { CLEAR_LINE.to_owned() } else { commit(draft) };
        let _ = io::Write::write_all(&mut io::stdout(), self.output.as_bytes());
        let _ = io::Write::flush(&mut io::stdout());
    }
}

fn columns() -> usize {
    match tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => USUAL_COLUMNS,
    }
}

/// A terminal in a mode where it delivers each key as it is pressed and does not
/// echo it. Ctrl-C still raises SIGINT. Dropping it restores the former mode.
struct KeyMode {
    terminal: OwnedFd,
    former: Termios,
    ours: Termios,
}

impl KeyMode {
    fn of(terminal: impl AsFd) -> io::Result<KeyMode> {
        let terminal = terminal.as_fd().try_clone_to_owned()?;
        let former = tcgetattr(&terminal)?;
        let mut ours = former.clone();
        ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        // Ctrl-S would block our next write, and with it the loop.
        ours.input_modes.remove(InputModes::IXON);
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        // As signals they would leave the mode behind. We handle Ctrl-Z ourselves.
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            ours.special_codes[key] = nix::libc::_POSIX_VDISABLE;
        }
        let mode = KeyMode { terminal, former, ours };
        mode.enter();
        Ok(mode)
    }

    // Setting the mode fails if the terminal is gone (its window was closed), and
    // then there is nothing to restore.

    fn enter(&self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.ours);
    }

    fn leave(&self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.former);
    }
}

impl Drop for KeyMode {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use std::panic::catch_unwind;

    #[test]
    fn a_panic_puts_the_terminal_back_into_its_former_mode() {
        let pty = openpty(None, None).unwrap();
        let modes = || {
            let modes = tcgetattr(&pty.slave).unwrap();
            let codes =
                [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT].map(|key| modes.special_codes[key]);
            (modes.local_modes, modes.input_modes, codes)
        };
        let former = modes();
        let outcome = catch_unwind(|| {
            let _keys = KeyMode::of(&pty.slave).unwrap();
            assert!(!modes().0.intersects(LocalModes::ICANON | LocalModes::ECHO));
            assert!(modes().0.contains(LocalModes::ISIG));
            panic!("as a bug would");
        });
        assert!(outcome.unwrap_err().downcast_ref::<&str>().is_some_and(|what| *what == "as a bug would"));
        assert_eq!(modes(), former);
    }
}
