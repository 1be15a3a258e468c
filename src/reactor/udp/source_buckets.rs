//! Token buckets by source, in a table that forged sources cannot make grow.
//!
//! A source costs nothing to forge, so there is room for a fixed number, and each
//! source belongs to a small set of places; which one, nobody outside can tell. A
//! bucket that has filled up again is as good as a new one, so its place is free. One
//! that is in use keeps its place: nobody is forgotten before its time, and no source
//! gets more than its rate by being forgotten.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Instant;

use crate::service::TokenBucket;
use crate::service::limits::Rate;

/// Places per set.
const WAYS: usize = 8;
/// With all sets full, a table takes about two megabytes. With 10,000 sources in use,
/// one in 300 finds no place.
const SETS: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct SourceBuckets<K> {
    /// Made with the first source: on loopback alone there is none.
    sets: Vec<Vec<Place<K>>>,
    hasher: RandomState,
    size: usize,
    /// Sets that somebody has a place in.
    used: usize,
}

#[derive(Debug)]
struct Place<K> {
    source: K,
    bucket: TokenBucket,
    full_at: Instant,
}

impl<K> Default for SourceBuckets<K> {
    fn default() -> Self {
        SourceBuckets { sets: Vec::new(), hasher: RandomState::new(), size: SETS, used: 0 }
    }
}

impl<K: Hash + Eq + Copy> SourceBuckets<K> {
    /// Takes tokens of a source; false if it has fewer, `None` if there is no place
    /// for a new one.
    pub fn take(&mut self, source: K, tokens: u32, rate: Rate, now: Instant) -> Option<bool> {
        if self.sets.is_empty() {
            self.sets.resize_with(self.size, Vec::new);
        }
        let set = self.set_of(source);
        self.used += usize::from(self.sets[set].is_empty());
        let place = place_of(&mut self.sets[set], source, rate, now)?;
        let enough = place.bucket.take_many(tokens, rate, now);
        place.full_at = place.bucket.full_at(rate);
        Some(enough)
    }

    /// Adds to the tokens of a source, if it is known.
    pub fn add(&mut self, source: K, tokens: u32) {
        if self.sets.is_empty() {
            return;
        }
        let set = self.set_of(source);
        if let Some(place) = self.sets[set].iter_mut().find(|place| place.source == source) {
            place.bucket.add(tokens);
        }
    }

    /// The memory that it takes at most, in bytes.
    pub fn memory(&self) -> usize {
        self.sets.capacity() * size_of::<Vec<Place<K>>>() + self.used * WAYS * size_of::<Place<K>>()
    }

    fn set_of(&self, source: K) -> usize {
        self.hasher.hash_one(source) as usize % self.sets.len()
    }

    /// Sources that are known, and how many can be.
    #[cfg(any(test, feature = "simulated"))]
    pub fn load(&self) -> (usize, usize) {
        (self.sets.iter().map(Vec::len).sum(), self.size * WAYS)
    }
}

/// The place of a source in its set; a new one begins full.
fn place_of<K: Eq>(set: &mut Vec<Place<K>>, source: K, rate: Rate, now: Instant) -> Option<&mut Place<K>> {
    if let Some(at) = set.iter().position(|place| place.source == source) {
        return set.get_mut(at);
    }
    let place = Place { source, bucket: TokenBucket::new(rate, now), full_at: now };
    if set.len() < WAYS {
        set.push(place);
        return set.last_mut();
    }
    let free = set.iter_mut().min_by_key(|place| place.full_at).filter(|place| place.full_at <= now)?;
    *free = place;
    Some(free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::time::Duration;

    const RATE: Rate = Rate { per_second: 10, burst: 40, loopback: false };

    fn one_set() -> SourceBuckets<u32> {
        SourceBuckets { size: 1, ..SourceBuckets::default() }
    }

    #[test]
    fn the_table_does_not_grow_whatever_comes() {
        let now = Instant::now();
        let mut buckets = SourceBuckets::default();
        for source in 0..200_000u32 {
            buckets.take(source, 1, RATE, now);
        }
        let (known, most) = buckets.load();
        assert!(known <= most && most == 32_768, "{known}");
    }

    #[test]
    fn forged_sources_do_not_push_out_one_in_use() {
        let start = Instant::now();
        let mut buckets = one_set();
        assert_eq!(buckets.take(0, 40, RATE, start), Some(true));
        let placed = (1..1_000).filter(|forged| buckets.take(*forged, 1, RATE, start).is_some()).count();
        assert_eq!(placed, WAYS - 1);
        let second = start + Duration::from_secs(1);
        assert_eq!(buckets.take(0, 11, RATE, second), Some(false), "it did not come back full");
        assert_eq!(buckets.take(0, 10, RATE, second), Some(true), "nor empty");
    }

    #[test]
    fn the_place_of_a_bucket_that_is_full_again_is_free() {
        let start = Instant::now();
        let mut buckets = one_set();
        for source in 0..WAYS as u32 {
            assert_eq!(buckets.take(source, 40, RATE, start), Some(true));
        }
        assert_eq!(buckets.take(100, 1, RATE, start + Duration::from_millis(3_999)), None);
        assert_eq!(buckets.take(100, 40, RATE, start + Duration::from_secs(4)), Some(true));
    }

    proptest! {
        /// However sources come and go, none gets more than its burst and its rate.
        #[test]
        fn no_source_gets_more_than_its_rate_by_being_forgotten(
            steps in prop::collection::vec((0u32..30, 1u32..45, 0u64..900), 1..400)
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut buckets = one_set();
            let mut taken: HashMap<u32, u32> = HashMap::new();
            for (source, tokens, millis) in steps {
                now += Duration::from_millis(millis);
                if buckets.take(source, tokens, RATE, now) == Some(true) {
                    let all = taken.entry(source).or_default();
                    *all += tokens;
                    let most = 40.0 + 10.0 * now.duration_since(start).as_secs_f64();
                    prop_assert!(f64::from(*all) <= most + 1e-6, "{all} of {most}");
                }
            }
        }
    }
}
