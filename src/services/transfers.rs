//! What the log says about files that go in and out: one line per transfer, however it
//! ends.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::files::receiving;
use crate::service::{Answer, Context, Lane};
use crate::wording::counted;

/// How much the log shows of a name that a peer has sent.
const SHOWN: usize = 100;

/// A file that comes in over TCP is given up once nothing of it has come for this long, or
/// at most twice as long: until then it keeps its room on the disk from others.
pub(super) const SILENCE: Duration = Duration::from_secs(60);
/// Why it was given up.
pub(super) const SILENT: &str = "nothing of the contents came for 60 s";

/// A transfer, for its line in the log.
#[derive(Debug)]
pub(super) struct Transfer {
    peer: Option<SocketAddr>,
    name: String,
    begun: Instant,
    /// What else is to be said about it.
    note: String,
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out,
    In,
}

impl Transfer {
    /// A transfer that the peer of this callback has asked for. The name may be anything
    /// that it has sent.
    pub fn begin(name: impl AsRef<[u8]>, cx: &Context<'_>) -> Transfer {
        Transfer { peer: cx.peer(), name: shown(name.as_ref()), begun: cx.now(), note: String::new() }
    }

    /// Takes the name under which it was stored.
    pub fn stored_as(&mut self, name: &str) {
        self.name = shown(name.as_bytes());
    }

    /// Adds a note, which the line shows in parentheses.
    pub fn note(&mut self, note: impl fmt::Display) {
        self.note = format!(" ({note})");
    }

    /// Logs that all of it went through.
    pub fn complete(&self, service: &str, way: Way, bytes: u64, now: Instant) {
        log::info!("{service}: {}{}", self.line(way, "", &size(bytes), now), self.note);
    }

    /// Logs that it ended early. How many bytes there were to come is not always known.
    pub fn broken(&self, service: &str, way: Way, done: (u64, Option<u64>), why: &str, now: Instant) {
        let bytes = match done {
            (bytes, Some(all)) => format!("{bytes} of {}", size(all)),
            (bytes, None) => size(bytes),
        };
        log::info!("{service}: {}: {why}{}", self.line(way, "only a part of ", &bytes, now), self.note);
    }

    /// Logs that it was refused, unless too many are.
    pub fn refused(&self, why: &str, cx: &mut Context<'_>) {
        let Transfer { name, note, .. } = self;
        cx.report(format!("refused {name} {}: {why}{note}", self.peer("from")));
    }

    fn line(&self, way: Way, part: &str, bytes: &str, now: Instant) -> String {
        let (verb, word) = match way {
            Way::Out => ("sent", "to"),
            Way::In => ("received", "from"),
        };
        let time = now.saturating_duration_since(self.begun);
        format!("{verb} {part}{} {}, {bytes} in {}", self.name, self.peer(word), seconds(time))
    }

    fn peer(&self, word: &str) -> String {
        self.peer.map_or(String::new(), |peer| format!("{word} {peer}"))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}

fn size(bytes: u64) -> String {
    counted(usize::try_from(bytes).unwrap_or(usize::MAX), "byte")
}

/// A name for the log: in quotes, so that nothing in it can pass for another line.
fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Takes an answer that nobody waits for any more. An unfinished file is removed when it is
/// dropped, which may wait for the disk.
pub(super) fn drop_off_the_loop(answer: Answer, cx: &mut Context<'_>) {
    if let Ok(result) = answer.result
        && result.is::<receiving::Done>()
    {
        cx.offload(Lane::Write, move || drop(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_peer_cannot_make_a_line_of_its_own() {
        assert_eq!(shown("강의 1.txt".as_bytes()), "\"강의 1.txt\"");
        assert_eq!(shown(b"a\nfile: sent"), "\"a\\nfile: sent\"");
        assert_eq!(shown(b"\x1B[2J\xFF"), "\"\\u{1b}[2J\u{FFFD}\"");
        assert_eq!(shown(&[b'a'; 200]).len(), 100 + 2 + '…'.len_utf8());
    }
}
