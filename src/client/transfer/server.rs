//! The way to a server of files, and how long it may be silent.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use onepoll::service::{Answer, Context};

use crate::client::Timeout;
use crate::client::target::{Route, Target};

/// How often a transfer is looked at, for its bar and for silence.
const BEAT: Duration = Duration::from_millis(100);
/// A server may take this long for a file, beyond its timeout, if it has to read or write
/// all of it before it answers: a slow disk's 16 MiB per second.
const DISK_PER_SECOND: u64 = 16 << 20;

/// A server, on the way to it and once it is reached.
#[derive(Debug)]
pub struct Server {
    route: Route,
    timeout: Timeout,
    /// When something has moved last; `None` if nothing is waited for.
    moved: Option<Instant>,
    /// What it may take longer for the sake of its disk.
    grace: Duration,
}

impl Server {
    /// A server that has yet to be reached.
    pub fn new(target: Target, timeout: Timeout) -> Server {
        Server { route: Route::new(target), timeout, moved: None, grace: Duration::ZERO }
    }

    /// Connects to it, after a lookup if that is needed.
    pub fn connect(&self, cx: &mut Context<'_>) {
        match self.route.current() {
            Some(address) => cx.connect(address),
            None => self.route.look_up(cx),
        }
    }

    /// Takes the answer of the lookup, and connects.
    pub fn found(&mut self, answer: Answer, cx: &mut Context<'_>) {
        match self.route.found(answer) {
            Ok(address) => cx.connect(address),
            Err(sentence) => cx.fail(sentence),
        }
    }

    /// Tries its next address. An error is a sentence: there is no other.
    pub fn not_connected(&mut self, error: &io::Error, cx: &mut Context<'_>) -> Result<(), String> {
        match self.route.next() {
            Some(address) => {
                cx.connect(address);
                Ok(())
            }
            None => Err(self.route.unreachable(error)),
        }
    }

    /// From now on an answer is waited for. Before it answers, it may read or write so many
    /// bytes.
    pub fn expect(&mut self, bytes: u64, cx: &Context<'_>) {
        self.moved = Some(cx.now());
        self.grace = Duration::from_secs(bytes / DISK_PER_SECOND);
    }

    /// Something has moved.
    pub fn moved(&mut self, cx: &Context<'_>) {
        if self.moved.is_some() {
            self.moved = Some(cx.now());
        }
    }

    /// Nothing is waited for.
    pub fn rest(&mut self) {
        self.moved = None;
    }

    /// Asks for the next beat of this connection. To be called in `open`, and in each
    /// `timeout`.
    pub fn keep_time(&self, cx: &mut Context<'_>) {
        cx.set_deadline_after(BEAT);
    }

    /// Why it is given up, if it has been silent for too long.
    pub fn silence(&self, cx: &Context<'_>) -> Option<String> {
        let limit = self.timeout.limit()? + self.grace;
        let silent = cx.now().saturating_duration_since(self.moved?);
        (silent >= limit).then(|| {
            format!("{self} has been silent for {}: check that it is the port of such a server", self.timeout)
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.route.fmt(f)
    }
}
