//! Writing to the user, who may have gone (`| head -1`).

use std::io::{self, Write};

/// Writes to standard output at once. A reader that has closed it is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Says what went wrong, in one line on standard error.
pub fn complain(sentence: &str) {
    // There is nowhere left to report that standard error is closed.
    let _ = writeln!(io::stderr(), "onepoll: {sentence}");
}
