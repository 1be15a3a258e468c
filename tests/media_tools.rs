//! What other programs make of our pictures, pickles and recordings, and we of theirs:
//! numpy 1 and 2, OpenCV, ffmpeg and ffprobe.
//!
//! Python comes from two virtual environments, `target/venv/numpy-1` and `numpy-2`, which
//! `.ci/run` creates. A test whose program is missing is reported as ignored.

#[path = "media_tools/numpy.rs"]
mod numpy;
#[path = "media_tools/recordings.rs"]
mod recordings;
#[path = "media_tools/tools.rs"]
mod tools;
#[path = "support/trials.rs"]
mod trials;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<Trial> = numpy::trials();
    trials.extend(recordings::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}
