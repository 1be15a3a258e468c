//! Ways in which a stream may arrive.

/// Splits an input in several ways: byte by byte, in halves, and at places that depend on
/// nothing but the input, so that a failure comes again.
pub fn splits(input: &[u8]) -> Vec<Vec<&[u8]>> {
    // A parser is shown what it left unread again and again: a long input in single bytes
    // would take too long.
    let least = (input.len() / 512).max(1);
    let mut random = fastrand::Rng::with_seed(hash(input));
    let mut splits = vec![input.chunks(least).collect()];
    splits.push(vec![&input[..input.len() / 2], &input[input.len() / 2..]]);
    for _ in 0..2 {
        let mut cuts: Vec<usize> = (0..random.usize(1..8)).map(|_| random.usize(0..=input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        splits.push(cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect());
    }
    splits
}

/// FNV-1a.
pub fn hash(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}
