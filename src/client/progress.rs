//! How far a transfer is: a bar on a terminal while it runs, and a line when it is over.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onepoll::wording::counted;

use super::screen::visible_line;

/// How often the bar is drawn at most, per second.
const DRAWS: u8 = 10;
const WITH_TOTAL: &str =
    "{wide_msg} {percent:>3}% [{bar:12}] {decimal_bytes} {decimal_bytes_per_sec}, {eta} left";
const WITHOUT_TOTAL: &str = "{wide_msg} {decimal_bytes} {decimal_bytes_per_sec}, {elapsed}";

/// The bar of one file, on standard error. Where that is no terminal, there is none.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing yet.
    pub fn none() -> Progress {
        Progress(ProgressBar::hidden())
    }

    /// Shows a bar for a file, `done` bytes of which are there already. Its size may be
    /// unknown.
    pub fn begin(name: &str, done: u64, total: Option<u64>) -> Progress {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(DRAWS));
        let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(visible_line(name.as_bytes()));
        // What was there before does not count for the rate.
        bar.set_position(done);
        bar.reset_eta();
        Progress(bar)
    }

    /// So many bytes of the file are done.
    pub fn set(&self, done: u64) {
        self.0.set_position(done);
    }

    /// How many bytes were done last.
    pub fn position(&self) -> u64 {
        self.0.position()
    }
}

impl Drop for Progress {
    /// Takes the bar off the screen, so that what is said next has a line of its own.
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What is said of a file that went through: how much, how long, how fast. The rate is that
/// of the `moved` bytes.
pub fn summary(verb: &str, name: &str, bytes: u64, moved: u64, time: Duration) -> String {
    let name = visible_line(name.as_bytes());
    let bytes = counted(usize::try_from(bytes).unwrap_or(usize::MAX), "byte");
    let rate = moved as f64 / time.as_secs_f64().max(1e-6) / 1e6;
    format!("{verb} {name}: {bytes} in {:.3} s, {rate:.1} MB/s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [WITH_TOTAL, WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_summary_tells_size_time_and_rate_on_one_line() {
        let line = summary("got", "강의\n1.pdf", 3_000_000, 2_000_000, Duration::from_millis(500));
        assert_eq!(line, "got 강의␊1.pdf: 3000000 bytes in 0.500 s, 4.0 MB/s");
        assert_eq!(summary("put", "a", 1, 1, Duration::from_secs(1)), "put a: 1 byte in 1.000 s, 0.0 MB/s");
    }
}
