//! A token bucket: how often something may happen.

use std::time::Instant;

use super::limits::Rate;

/// Counts against a [`Rate`]. It starts full.
#[derive(Debug, Clone, Copy)]
pub struct TokenBucket {
    tokens: f32,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> TokenBucket {
        TokenBucket { tokens: rate.burst as f32, filled: now }
    }

    /// Takes one token; false if there is none.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.fill(rate, now);
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }

    /// When the next token comes, if the bucket is empty.
    pub fn next_token(&self, rate: Rate) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled + std::time::Duration::from_secs_f32(missing / rate.per_second.max(1) as f32)
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f32();
        self.tokens = (self.tokens + elapsed * rate.per_second as f32).min(rate.burst as f32);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
}
