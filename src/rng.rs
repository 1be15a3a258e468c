//! Random numbers from a seed.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and the same
/// everywhere. It decides what goes wrong; nothing secret depends on it.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of numbers that belongs to `seed`.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.next() % bound as u64) as usize }
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        least + self.below(most - least + 1)
    }

    /// True in `per_thousand` of a thousand cases. Does not draw a number for 0, so a
    /// fault that is turned off does not change what follows.
    pub fn chance(&mut self, per_thousand: u32) -> bool {
        per_thousand > 0 && self.below(1000) < per_thousand as usize
    }

    /// One of several things.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        &things[self.below(things.len())]
    }
}
