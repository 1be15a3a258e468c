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

/// Writes to standard error, because standard output is for something else.
pub fn print_aside(text: &str) {
    // There is nowhere left to report a failure.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Tells the user something that is not the result, on a line of standard error.
pub fn remark(sentence: &str) {
    // There is nowhere left to report that standard error is closed.
    let _ = writeln!(io::stderr(), "onepoll: {sentence}");
}
