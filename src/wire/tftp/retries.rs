//! When to send again, and when to give up.

use std::time::{Duration, Instant};

/// The wait before the round trip is known, where none is agreed on.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The least: a peer may write to a disk before it answers.
const LEAST_WAIT: Duration = Duration::from_millis(200);
/// Waits double up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How often something is sent to a peer that has not answered yet, whose address may be
/// forged: once, and again after 1 s and 3 s.
const SENDS_BEFORE_ANSWER: u32 = 3;
/// How often the same is sent to a peer that was heard: the peer is given up 23 s after
/// the first time.
const SENDS: u32 = 5;

/// What [`Retries::expire`] decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    NotYet,
    SendAgain,
    GiveUp,
}

/// The retransmission timer of one side: [`sent`](Retries::sent) starts it,
/// [`progress`](Retries::progress) rewinds it, and once it is [`due`](Retries::due),
/// [`expire`](Retries::expire) says what to do. The wait follows the round trip (RFC
/// 6298) and doubles each time.
#[derive(Debug)]
pub(super) struct Retries {
    /// What both sides agreed on; the round trip does not change it.
    agreed: Option<Duration>,
    smoothed: Option<Duration>,
    variation: Duration,
    wait: Duration,
    sends: u32,
    heard: bool,
    due: Option<Instant>,
    /// When what waits for an answer was sent. `None` once it was sent again: an answer
    /// would not tell which one it answers (Karn's algorithm).
    timed: Option<Instant>,
}

impl Retries {
    pub fn new() -> Retries {
        Retries {
            agreed: None,
            smoothed: None,
            variation: Duration::ZERO,
            wait: FIRST_WAIT,
            sends: 0,
            heard: false,
            due: None,
            timed: None,
        }
    }

    /// Waits this long from now on.
    pub fn agree(&mut self, wait: Option<Duration>) {
        self.agreed = wait;
        self.wait = self.first_wait();
    }

    /// Whether the peer has ever answered.
    pub fn was_heard(&self) -> bool {
        self.heard
    }

    /// The latest wait, for a side that dallies.
    pub fn wait(&self) -> Duration {
        self.wait
    }

    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Something that wants an answer was sent for the first time.
    pub fn sent(&mut self, now: Instant) {
        self.sends = self.sends.max(1);
        self.timed = (self.sends == 1).then_some(now);
        self.due = Some(now + self.wait);
    }

    /// The peer was asked for more than it has sent so far.
    pub fn watch(&mut self, now: Instant) {
        self.sends = self.sends.max(1);
        self.due = Some(now + self.wait);
    }

    /// An answer came.
    pub fn progress(&mut self, now: Instant) {
        if let Some(sent) = self.timed.take() {
            self.measure(now.saturating_duration_since(sent));
        }
        self.heard = true;
        self.sends = 0;
        self.wait = self.first_wait();
        self.due = None;
    }

    /// Nothing waits for an answer of the peer.
    pub fn stop(&mut self) {
        self.due = None;
        self.timed = None;
    }

    pub fn expire(&mut self, now: Instant) -> Expired {
        if self.due.is_none_or(|due| now < due) {
            return Expired::NotYet;
        }
        self.timed = None;
        let most = if self.heard { SENDS } else { SENDS_BEFORE_ANSWER };
        if self.sends >= most {
            self.due = None;
            return Expired::GiveUp;
        }
        self.sends += 1;
        self.wait = (2 * self.wait).min(LONGEST_WAIT.max(self.first_wait()));
        self.due = Some(now + self.wait);
        Expired::SendAgain
    }

    fn measure(&mut self, round_trip: Duration) {
        let Some(smoothed) = self.smoothed else {
            self.smoothed = Some(round_trip);
            self.variation = round_trip / 2;
            return;
        };
        self.variation = (3 * self.variation + smoothed.abs_diff(round_trip)) / 4;
        self.smoothed = Some((7 * smoothed + round_trip) / 8);
    }

    fn first_wait(&self) -> Duration {
        let measured = self.smoothed.map(|smoothed| smoothed + 4 * self.variation);
        let measured = measured.map(|wait| wait.clamp(LEAST_WAIT, LONGEST_WAIT));
        self.agreed.or(measured).unwrap_or(FIRST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets the timer run until it gives up. Returns after how long, and how often it
    /// sent in all.
    fn run_out(retries: &mut Retries, start: Instant) -> (Duration, u32) {
        retries.sent(start);
        let mut sends = 1;
        loop {
            let due = retries.due().unwrap();
            assert_eq!(retries.expire(due - Duration::from_millis(1)), Expired::NotYet);
            match retries.expire(due) {
                Expired::SendAgain => sends += 1,
                Expired::GiveUp => return (due - start, sends),
                Expired::NotYet => unreachable!("it was due"),
            }
        }
    }

    #[test]
    fn a_peer_that_never_answered_is_sent_little() {
        assert_eq!(run_out(&mut Retries::new(), Instant::now()), (Duration::from_secs(7), 3));
    }

    #[test]
    fn a_peer_that_was_heard_is_waited_for() {
        let (start, mut retries) = (Instant::now(), Retries::new());
        retries.sent(start);
        retries.progress(start + FIRST_WAIT);
        // The round trip of a second, and its variation, make the wait 3 s.
        assert_eq!(run_out(&mut retries, start + FIRST_WAIT), (Duration::from_secs(3 + 6 + 8 + 8 + 8), 5));
    }

    #[test]
    fn the_wait_follows_the_round_trip_unless_it_was_agreed_on() {
        let mut retries = Retries::new();
        let mut now = Instant::now();
        for _ in 0..20 {
            retries.sent(now);
            now += Duration::from_millis(1);
            retries.progress(now);
        }
        assert_eq!(retries.wait(), LEAST_WAIT);
        retries.agree(Some(Duration::from_secs(20)));
        retries.sent(now);
        assert_eq!(retries.due(), Some(now + Duration::from_secs(20)));
        assert_eq!(retries.expire(now + Duration::from_secs(20)), Expired::SendAgain);
        assert_eq!(retries.wait(), Duration::from_secs(20));
    }

    #[test]
    fn what_was_sent_again_says_nothing_about_the_round_trip() {
        let (start, mut retries) = (Instant::now(), Retries::new());
        retries.sent(start);
        assert_eq!(retries.expire(start + FIRST_WAIT), Expired::SendAgain);
        retries.progress(start + FIRST_WAIT);
        assert_eq!(retries.wait(), FIRST_WAIT);
    }
}
