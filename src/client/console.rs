//! The terminal of a person who types while others' messages come in: they
//! scroll above the line that is being typed.

use std::env;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use onepoll::service::Context;
use rustix::process::{Signal, kill_current_process_group};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

use super::editor::{CLEAR_SCREEN, Editor, Event, LONGEST_DRAFT, commit, erase};
use super::screen::{visible, write_as_it_is};

/// Where the system does not tell the width.
const USUAL_COLUMNS: usize = 80;

/// A terminal in our hands: its keys come one by one, and the draft stands on
/// its last line. Dropped, it is what it was before.
pub struct Console {
    editor: Editor,
    /// What is still to be written.
    output: String,
    keys: KeyMode,
}

impl Console {
    /// Takes the terminal over. None if standard input and output are not one, or
    /// one that cannot move its cursor: then the system's own line editing stays.
    pub fn open() -> Option<Console> {
        let can_move = env::var_os("TERM").is_some_and(|kind| !kind.is_empty() && kind != "dumb");
        if !can_move || !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let keys = KeyMode::of(io::stdin()).ok()?;
        Some(Console { editor: Editor::default(), output: String::new(), keys })
    }

    /// Takes in what is typed. What comes of it is for the caller, who then
    /// [draws](Console::draw).
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.editor.typed(bytes)
    }

    /// Lets a line that was typed stand among the messages.
    pub fn commit(&mut self, line: &str) {
        self.output += &commit(line);
    }

    /// Puts a text above the draft.
    pub fn show(&mut self, text: &[u8]) {
        let text = visible(text);
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.output += &format!("{}{text}{end}", erase());
    }

    /// Does what the user asked for of the terminal itself.
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

    /// Writes what was shown, and the draft below it. False as
    /// [`print_line`](super::screen::print_line).
    pub fn draw(&mut self, cx: &mut Context<'_>) -> bool {
        let mut output = std::mem::take(&mut self.output);
        output += &self.editor.draw(columns());
        write_as_it_is(output.as_bytes(), cx)
    }

    /// Stops this program and what was started with it, as Ctrl-Z does, and
    /// comes back when the shell lets it go on.
    fn suspend(&mut self, cx: &mut Context<'_>) {
        self.output += erase();
        let _ = write_as_it_is(std::mem::take(&mut self.output).as_bytes(), cx);
        self.keys.leave();
        // If it cannot be stopped, it just goes on.
        let _ = kill_current_process_group(Signal::TSTP);
        self.keys.enter();
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Who was in the middle of a line may want to copy it.
        let draft = self.editor.draft();
        self.output += &if draft.is_empty() { erase().to_owned() } else { commit(draft) };
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

/// A terminal that hands over each key as it is pressed, and shows none. Ctrl-C
/// stays a signal. Dropped, it is put back into its former mode.
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
        // A Ctrl-S would stop the output, and the loop with it.
        ours.input_modes.remove(InputModes::IXON);
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Ctrl-Z has to put the mode back first, and Ctrl-\ never could.
        for key in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            ours.special_codes[key] = nix::libc::_POSIX_VDISABLE;
        }
        let mode = KeyMode { terminal, former, ours };
        mode.enter();
        Ok(mode)
    }

    // A terminal may have gone, as when its window was closed: then nothing is
    // left to set.

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
