//! A token bucket: how often something may happen.

use std::time::{Duration, Instant};

use super::limits::Rate;

/// Counts against a [`Rate`]. It starts full.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> TokenBucket {
        TokenBucket { tokens: f64::from(rate.burst), filled: now }
    }

    /// Takes one token; false if there is none.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take_many(1, rate, now)
    }

    /// Takes so many tokens; false, and takes none, if there are fewer.
    pub(crate) fn take_many(&mut self, tokens: u32, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let enough = self.tokens >= f64::from(tokens);
        if enough {
            self.tokens -= f64::from(tokens);
        }
        enough
    }

    /// Adds tokens, even beyond what the bucket holds by itself.
    pub(crate) fn add(&mut self, tokens: u32) {
        self.tokens += f64::from(tokens);
    }

    /// When it will be full again if nothing is taken.
    pub(crate) fn full_at(&self, rate: Rate) -> Instant {
        self.filled + time_for(f64::from(rate.burst) - self.tokens, rate)
    }

    /// When the next token comes, if the bucket is empty.
    pub fn next_token(&self, rate: Rate) -> Instant {
        self.filled + time_for(1.0 - self.tokens, rate)
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        let filled = (self.tokens + elapsed * f64::from(rate.per_second)).min(f64::from(rate.burst));
        // What was added beyond the burst stays.
        self.tokens = self.tokens.max(filled);
        self.filled = now;
    }
}

/// How long so many tokens take to come.
fn time_for(tokens: f64, rate: Rate) -> Duration {
    Duration::from_secs_f64(tokens.max(0.0) / f64::from(rate.per_second.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let rate = Rate { per_second: 10, burst: 3, loopback: true };
        let start = Instant::now();
        let mut bucket = TokenBucket::new(rate, start);
        assert_eq!((0..5).filter(|_| bucket.take(rate, start)).count(), 3);
        let next = bucket.next_token(rate);
        assert!(!bucket.take(rate, next - Duration::from_millis(2)));
        assert!(bucket.take(rate, next + Duration::from_millis(1)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..5).filter(|_| bucket.take(rate, later)).count(), 3);
    }
    #[test]
    fn what_is_added_beyond_the_burst_is_kept_and_not_refilled() {
        let rate = Rate { per_second: 10, burst: 100, loopback: true };
        let start = Instant::now();
        let mut bucket = TokenBucket::new(rate, start);
        bucket.add(50);
        let later = start + Duration::from_secs(60);
        assert!(!bucket.take_many(151, rate, later));
        assert!(bucket.take_many(150, rate, later));
        assert_eq!(bucket.full_at(rate), later + Duration::from_secs(10));
        assert!(!bucket.take_many(101, rate, later + Duration::from_secs(60)));
        assert!(bucket.take_many(100, rate, later + Duration::from_secs(60)));
    }
}
