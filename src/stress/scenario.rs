//! The seam between a scenario and everything that all scenarios share.
//!
//! A [`Scenario`] is what the command line asks for: options, checks, settings. It
//! makes a [`Conversation`], which knows what is said on each link and what became
//! of it. [`Talk`](super::talk::Talk) makes the connections, decides when something
//! is sent, and waits.

use std::time::{Duration, Instant};

use super::plan::Plan;
use super::report::summary::Settings;
use super::tally::Tally;
use super::window::InFlight;

/// What a scenario needs to be told apart from the others.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub name: &'static str,
    pub is_udp: bool,
    pub style: Style,
    /// Whether several messages may be in flight per connection unless the user
    /// says otherwise.
    pub may_overlap: bool,
    /// How long nothing is sent once all connections are open.
    pub settle: Duration,
}

impl Shape {
    /// A scenario over TCP whose connections last.
    pub fn kept(name: &'static str) -> Shape {
        Shape { name, is_udp: false, style: Style::Kept, may_overlap: true, settle: Duration::ZERO }
    }
}

/// What becomes of a connection that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// It is made to last; another one takes its place if it does not.
    Kept,
    /// It serves one request, and is closed in order or with a reset. Another one
    /// follows.
    Churn { reset: bool },
    /// It is made to last, and nothing takes its place.
    Held,
}

/// What the command line asks for.
pub trait Scenario: 'static {
    type Conversation: Conversation;

    fn shape(&self) -> Shape;

    /// Checks what is sent against the load.
    ///
    /// # Errors
    /// A sentence for the user.
    fn check(&self, _plan: &Plan) -> Result<(), String> {
        Ok(())
    }

    /// The size of a message, and how many connections send: what the server has
    /// not taken yet is held in memory.
    fn held(&self, _plan: &Plan) -> (usize, usize) {
        (0, 0)
    }

    /// Adds its own settings to those that all scenarios have.
    fn describe(&self, _settings: &mut Settings) {}

    fn conversation(&self, plan: &Plan) -> Self::Conversation;
}

/// What the words for a scenario's figures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labels {
    pub answers: &'static str,
    pub service: &'static str,
    pub corrupted: &'static str,
}

impl Default for Labels {
    fn default() -> Labels {
        Labels { answers: "answers", service: "service time", corrupted: "corrupted" }
    }
}

/// What to do with a connection after what came on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Keep,
    /// Nothing that comes on it means anything any more, or nothing came in time.
    GiveUp,
}

/// What is said on every link of a run. A link is one of the plan's connections, by
/// its number.
pub trait Conversation: 'static {
    /// How many of `links` send something; they are the first ones.
    fn senders(&self, links: usize) -> usize {
        links
    }

    /// Notes that a link has a connection.
    fn opened(&mut self, _link: usize) {}

    /// Whether a link has a slot for another message.
    fn is_free(&self, link: usize, depth: usize) -> bool;

    /// Records a message that is sent now, and returns its number.
    fn record(&mut self, link: usize, due: Instant, now: Instant) -> u64;

    /// How many recorded messages a link waits for.
    fn in_flight(&self, link: usize) -> usize;

    /// One of them.
    fn message(&self, link: usize, place: usize) -> InFlight;

    /// Writes a message, and returns its length.
    fn write(&self, link: usize, number: u64, put: impl FnMut(&[u8])) -> usize;

    /// Takes what came for a link: bytes of a stream, or one datagram.
    fn hear(&mut self, link: usize, bytes: &[u8], now: Instant, tally: &mut Tally) -> Verdict;

    /// A link other than the one heard from that has a free slot now.
    fn freed(&mut self) -> Option<usize> {
        None
    }

    /// When the next of a link's messages is overdue.
    fn deadline(&self, link: usize, tally: &Tally) -> Option<Instant>;

    /// Handles the messages of a link that are overdue, where everything that had
    /// arrived by `read_until` has been heard.
    fn expire(&mut self, link: usize, read_until: Instant, now: Instant, tally: &mut Tally) -> Verdict;

    /// Notes that the server will send nothing more on a link's connection.
    fn end(&mut self, _link: usize, _now: Instant, _tally: &mut Tally) {}

    /// Whether a link waits for no answer and has no part of one.
    fn is_at_rest(&self, link: usize) -> bool;

    /// Whether everything in flight may be sent once more on another connection:
    /// no byte of an answer has come.
    fn may_retry(&self, _link: usize) -> bool {
        false
    }

    /// Takes back the message whose connection could not be made.
    fn withdraw(&mut self, _link: usize, _now: Instant, _tally: &mut Tally) {}

    /// Accounts for what was in flight on a connection that ended.
    fn lose(&mut self, link: usize, now: Instant, tally: &mut Tally);

    /// Accounts for what is in flight at the end or on a connection that is given
    /// up: no answer came in time.
    fn time_out(&mut self, link: usize, now: Instant, tally: &mut Tally);

    /// Times what is in flight and nobody waits for any longer.
    fn cut_off(&self, link: usize, now: Instant, tally: &mut Tally);
}
