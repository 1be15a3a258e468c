//! The line on a terminal that shows the progress of a run.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use super::table::time;
use crate::stress::measure::Interval;
use crate::stress::tally::Tally;

/// The time between two updates.
const REFRESH: Duration = Duration::from_millis(250);
/// Columns of the progress bar without its brackets: the most it takes, and the
/// fewest that are of any use.
const LONGEST_BAR: usize = 20;
const SHORTEST_BAR: usize = 5;
/// Columns of a terminal that does not report its width.
const USUAL_WIDTH: usize = 80;

#[derive(Debug)]
pub struct Live {
    shown: Instant,
    answered: u64,
}

impl Live {
    /// `None` if nobody sees it, or if one line cannot replace another.
    pub fn new() -> Option<Live> {
        let has_escapes = env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        (io::stderr().is_terminal() && has_escapes).then(|| Live { shown: Instant::now(), answered: 0 })
    }

    pub fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.shown) >= REFRESH
    }

    /// Shows the state of a run of which `part`, from 0 to 1, is done; `run` is
    /// its number if there are several.
    pub fn show(&mut self, run: Option<u32>, interval: &Interval, part: f64, tally: &Tally, now: Instant) {
        let answered = tally.counts.answered;
        let passed = now.saturating_duration_since(self.shown).as_secs_f64();
        let rate = answered.saturating_sub(self.answered) as f64 / passed;
        (self.shown, self.answered) = (now, answered);
        let latency = interval.latency.map_or("-".into(), |[_, p99, _]| time(p99));
        // In display order, with the importance of each.
        let parts = [
            (run.map_or(String::new(), |run| format!("run {run}")), 1),
            (format!("{:3.0} %  {:<7}", part * 100.0, interval.phase), 6),
            (format!("{rate:>9.0}/s"), 5),
            (format!("p99 {latency:<8}"), 3),
            (format!("errors {}", tally.counts.faults()), 4),
            (format!("{} connections", interval.connections), 2),
        ];
        // Nothing is lost if nobody sees it.
        let _ = write!(io::stderr(), "\r{}\x1b[K", fit(&parts, part, width()));
    }

    /// Removes the line, and starts over.
    pub fn clear(&mut self) {
        self.answered = 0;
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn width() -> usize {
    let told = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if told == 0 { USUAL_WIDTH } else { told }
}

/// The line for a terminal of this width: the bar gets what the parts leave, and
/// if there is too little room the least important parts are left out.
fn fit(parts: &[(String, u8)], done: f64, width: usize) -> String {
    // A character in the last column makes some terminals wrap.
    let room = width.saturating_sub(1);
    let mut parts: Vec<&(String, u8)> = parts.iter().filter(|(text, _)| !text.is_empty()).collect();
    loop {
        let texts: Vec<&str> = parts.iter().map(|(text, _)| text.as_str()).collect();
        let line = texts.join("  ");
        let used = line.chars().count();
        let least = (0..parts.len()).min_by_key(|place| parts[*place].1);
        match least {
            Some(least) if used > room && parts.len() > 1 => {
                parts.remove(least);
            }
            _ => return line + &bar(done, room.saturating_sub(used)),
        }
    }
}

/// The bar, including the space that separates it from the rest.
fn bar(done: f64, room: usize) -> String {
    let length = room.saturating_sub("  []".len()).min(LONGEST_BAR);
    if length < SHORTEST_BAR {
        return String::new();
    }
    let full = (done.clamp(0.0, 1.0) * length as f64) as usize;
    format!("  [{}{}]", "#".repeat(full), ".".repeat(length - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_and_what_matters_most_stays() {
        let parts = [("run 2", 1), (" 64 %  measure", 6), ("   127513/s", 5), ("p99 12.5 µs ", 3)];
        let parts = parts.into_iter().chain([("errors 0", 4), ("10000 connections", 2)]);
        let parts: Vec<(String, u8)> = parts.map(|(text, weight)| (text.to_owned(), weight)).collect();
        for width in 0..200 {
            let line = fit(&parts, 0.64, width);
            assert!(line.contains("64 %"), "{width}: {line}");
            assert!(line.chars().count() < width.max(15), "{width}: {line}");
        }
        let [wide, usual, narrow] = [120, 80, 50].map(|width| fit(&parts[1..], 0.64, width));
        assert!(wide.ends_with("10000 connections  [############........]"), "{wide}");
        assert!(usual.ends_with("10000 connections  [###..]"), "{usual}");
        assert!(narrow.contains("errors 0") && !narrow.contains("connections"), "{narrow}");
        assert_ne!(fit(&parts[..3], 0.64, 60), fit(&parts[..3], 0.89, 60), "the bar tells them apart");
    }
}
